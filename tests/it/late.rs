//! Evidence that comes after the end of a payment. Where it contradicts the end, it opens a break.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::decide::{Failure, Reason, Spends, Step};
use domain::idempotency::{self, Key};
use domain::ids::{ClaimToken, GatewayName, PaymentId};
use domain::money::Money;
use domain::outcome::{Charge, ChargeStatus};
use domain::request::PaymentRequest;
use domain::status::HeldReason;
use serde_json::json;
use shared::merchant::auth::Presented;
use shared::merchant::keys;
use shared::payment::transition::{self, Lease, NewPayment, Settlement};
use sqlx::PgPool;
use tests::TestDatabase;
use tests::{claimant, peppers, presented};

const LEASE: Lease = Lease { lease: Duration::from_mins(5), send_window: Duration::from_secs(5) };

fn charge(id: &str) -> Charge {
    Charge {
        id: id.to_owned(),
        key: String::new(),
        status: ChargeStatus::Succeeded,
        amount: "12.30".parse().unwrap(),
        currency: "EUR".to_owned(),
        reference: None,
        decline: None,
    }
}

fn failure(code: &str) -> Step {
    Step::Fail(Failure { code: code.to_owned(), message: String::new(), retryable: true })
}

const fn doubt(reason: Reason) -> Step {
    Step::Doubt { wait: Duration::ZERO, reason, spends: Spends::Try, tells: false }
}

async fn settle(pool: &PgPool, payment_id: PaymentId, token: ClaimToken, step: Step) {
    let evidence = json!({ "op": "charge" });
    let settlement = Settlement { payment_id, token, step, evidence };
    transition::settle(pool, &GatewayName::default(), vec![settlement]).await.unwrap();
}

/// A payment that took these steps, each by a claim of its own.
async fn after(pool: &PgPool, api_key: Presented, steps: Vec<Step>) -> PaymentId {
    let request = PaymentRequest {
        money: Money::parse("12.30", "EUR".parse().unwrap()).unwrap(),
        customer_id: "customer-1".to_owned(),
        payment_method: "sim_ok".to_owned(),
        description: None,
        metadata: BTreeMap::new(),
    };
    let id = PaymentId::generate();
    let payment = NewPayment {
        id,
        api_key,
        key: Key::parse(id.to_string().as_bytes()).unwrap(),
        fingerprint: idempotency::fingerprint(&request),
        request,
        correlation_id: "late".to_owned(),
    };
    transition::accept(pool, &[payment]).await.unwrap();
    for step in steps {
        let claims = transition::claim(pool, &[id], &claimant("a worker", LEASE)).await.unwrap();
        settle(pool, id, claims[0].token, step).await;
    }
    id
}

const CHARGED: Option<&str> = Some("charged_after_end");
const ODD: Option<&str> = Some("contradiction");

/// The breaks that a late result opens which would have held the payment.
const fn exposed_by(reason: HeldReason) -> [Option<&'static str>; 3] {
    match reason {
        HeldReason::WrongAnswer => [ODD, CHARGED, CHARGED],
        HeldReason::Contradiction => [ODD, ODD, None],
        HeldReason::Unverifiable | HeldReason::Poison | HeldReason::Unreadable | HeldReason::Restored => {
            [None, None, None]
        }
    }
}

/// The break that each kind of late result opens, for a payment that succeeded by `ch_1`, one that failed,
/// and one that was reversed.
fn table() -> Vec<(Step, [Option<&'static str>; 3])> {
    let of_steps = [
        (Step::Succeed(charge("ch_1")), [None, CHARGED, CHARGED]),
        (Step::Succeed(charge("ch_2")), [ODD, CHARGED, CHARGED]),
        (doubt(Reason::WrongAnswer), [ODD, CHARGED, CHARGED]),
        (failure("card_declined"), [ODD, None, None]),
        (Step::Reverse { reason: Reason::VoidConfirmed }, [ODD, None, None]),
        (failure("retries_exhausted"), [None, None, None]),
        (failure("expired"), [None, None, None]),
        (failure("non_retryable"), [None, None, None]),
        (failure("payment_method_unknown"), [None, None, None]),
        (doubt(Reason::LookupFailed), [None, None, None]),
        (doubt(Reason::NotFound), [None, None, None]),
        (
            Step::Retry { wait: Duration::ZERO, reason: Reason::RateLimited, spends: Spends::Nothing },
            [None, None, None],
        ),
        (Step::StartVoid { reason: Reason::DoubtDeadline, spends: Spends::Nothing }, [None, None, None]),
    ];
    let of_reasons = HeldReason::ALL.iter().map(|&reason| (Step::Hold(reason), exposed_by(reason)));
    of_steps.into_iter().chain(of_reasons).collect()
}

#[tokio::test]
async fn evidence_against_the_end_of_a_payment_opens_one_break_and_changes_nothing() {
    let database = TestDatabase::fresh().await;
    let pool = shared::database::connect(&database.url, 2).await.unwrap();
    let merchant = shared::merchant::find_or_create(&pool, "merchant").await.unwrap().id;
    let api_key = presented(&keys::create_for(&pool, &peppers(), merchant, "key").await.unwrap().secret);
    let ends = || {
        let start_void = Step::StartVoid { reason: Reason::DoubtDeadline, spends: Spends::Nothing };
        [
            vec![Step::Succeed(charge("ch_1"))],
            vec![failure("card_declined")],
            vec![doubt(Reason::LookupFailed), start_void, Step::Reverse { reason: Reason::VoidConfirmed }],
        ]
    };

    for (late, opens) in table() {
        for (steps, kind) in ends().into_iter().zip(opens) {
            let id = after(&pool, api_key, steps).await;
            let row = "select row_to_json(p)::text from payments p where id = $1";
            let before: String = sqlx::query_scalar(row).bind(id.uuid()).fetch_one(&pool).await.unwrap();
            assert!(!before.contains("\"terminal_at\":null"), "it has not ended: {before}");
            for _ in 0..2 {
                settle(&pool, id, ClaimToken::generate(), late.clone()).await;
            }

            let kinds: Vec<String> = sqlx::query_scalar("select kind from breaks where payment_id = $1")
                .bind(id.uuid())
                .fetch_all(&pool)
                .await
                .unwrap();
            let now: String = sqlx::query_scalar(row).bind(id.uuid()).fetch_one(&pool).await.unwrap();
            assert_eq!(kinds, Vec::from_iter(kind), "{late:?} after {before}");
            assert_eq!(now, before);
        }
    }
}

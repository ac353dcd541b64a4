//! Results for payments that know nothing of the claim behind them: the end of the log was lost.

use domain::decide::Step;
use domain::ids::{GatewayName, PaymentId};
use domain::outcome::{Charge, ChargeStatus};
use serde_json::json;
use shared::payment::transition::{self, Claim, Lease, Settlement};
use std::time::Duration;
use tests::claimant;
use tests::{System, a_payment};

use super::{forget, with_worker, without_worker};
use crate::reconcile::{behind_the_guards, open_breaks};

const LEASE: Lease = Lease { lease: Duration::from_mins(5), send_window: Duration::from_secs(5) };

async fn claimed(system: &System, id: PaymentId) -> Claim {
    let pool = shared::database::connect(&system.database.url, 1).await.unwrap();
    let claims = transition::claim(&pool, &[id], &claimant("a worker", LEASE)).await.unwrap();
    claims.into_iter().next().unwrap()
}

/// Settles a claim by a charge, as the gateway showed it.
async fn charged(system: &System, claim: &Claim) -> transition::Settled {
    let answer = json!({ "id": "ch_1", "key": claim.key.as_str(), "status": "succeeded", "amount": "12.30",
                         "currency": "EUR", "reference": claim.payment_id });
    let charge = Charge {
        id: "ch_1".to_owned(),
        key: claim.key.to_string(),
        status: ChargeStatus::Succeeded,
        amount: "12.30".parse().unwrap(),
        currency: "EUR".to_owned(),
        reference: Some(claim.payment_id.to_string()),
        decline: None,
    };
    let settlement = Settlement {
        payment_id: claim.payment_id,
        token: claim.token,
        step: Step::Succeed(charge),
        evidence: json!({ "op": "charge", "http_status": 201, "answer": answer }),
    };
    transition::settle(&system.database.pool, &GatewayName::default(), vec![settlement]).await.unwrap()
}

#[tokio::test]
async fn a_result_of_a_claim_that_is_forgotten_puts_its_payment_in_doubt_and_it_is_looked_up() {
    let system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let claim = claimed(&system, id).await;
    // Makes it as it was before the claim.
    let back = "delete from payment_events where payment_id = $id and version > 1;
                update payments set status = 'pending', version = 1, claim_token = null, attempt_count = 0, first_sent_at = null,
                                    send_by = null, due_at = created_at, updated_at = created_at where id = $id";
    behind_the_guards(&system, back, id).await;

    let settled = charged(&system, &claim).await;

    assert_eq!(settled.late.len(), 1);
    assert_eq!(system.story(id).await, ["created", "doubted"]);
    assert_eq!(
        system.count("select count(*) from payments where status = 'processing' and in_doubt").await,
        1
    );
    let again = charged(&system, &claim).await;
    assert_eq!((again.late.len(), system.story(id).await.len()), (1, 2), "said twice, doubted once");
    // The gateway knows of none: the payment is charged once, after it was looked up.
    let system = with_worker(system).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert!(system.journal_of(id).await[0].contains("lookup"), "{:?}", system.journal_of(id).await);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_charge_of_a_payment_that_is_gone_is_kept_as_an_orphan_and_told_to_a_person() {
    let system = without_worker().await;
    let (gone, stays) = (system.accepted(a_payment()).await, system.accepted(a_payment()).await);
    let (claim, other) = (claimed(&system, gone).await, claimed(&system, stays).await);
    forget(&system, gone).await;

    charged(&system, &claim).await;

    let kept: (String, Option<String>, String) =
        sqlx::query_as("select key, reference, charge_id from orphans")
            .fetch_one(&system.database.pool)
            .await
            .unwrap();
    assert_eq!(kept, (claim.key.to_string(), Some(gone.to_string()), "ch_1".to_owned()));
    assert_eq!(open_breaks(&system).await, [format!("orphan of key {}", claim.key)]);
    charged(&system, &claim).await;
    assert_eq!(open_breaks(&system).await.len(), 1);
    // Other payments of its batch are settled as usual.
    assert_eq!(charged(&system, &other).await.moved.len(), 1);
}

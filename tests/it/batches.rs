//! The statements that move payments take many at once: batches that cross must neither deadlock nor take a
//! payment twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::decide::{Reason, Spends, Step};
use domain::idempotency::{self, Key};
use domain::ids::{GatewayName, PaymentId};
use domain::request::PaymentRequest;
use domain::request::Remembered;
use futures::future::join_all;
use rand::seq::SliceRandom as _;
use serde_json::json;
use shared::database::Seat;
use shared::database::batch::{Batcher, Work as _};
use shared::merchant::auth::Presented;
use shared::merchant::keys;
use shared::payment::transition::{
    self, Accepting, Effect, Lease, NewPayment, Recorded, Settled, Settlement, Settling,
};
use shared::queue::bell::Bell;
use sqlx::PgPool;
use tests::TestDatabase;
use tests::{claimant, peppers, presented};

const LEASE: Lease = Lease { lease: Duration::from_mins(5), send_window: Duration::from_secs(5) };

/// Concurrent callers, each with a connection of its own: to the database they are processes.
const CALLERS: u32 = 8;

fn a_new_payment(api_key: Presented, key: &str) -> NewPayment {
    let request = PaymentRequest {
        money: domain::money::Money::parse("12.30", "EUR".parse().unwrap()).unwrap(),
        customer_id: "customer-1".to_owned(),
        payment_method: "sim_ok".to_owned(),
        description: None,
        metadata: BTreeMap::new(),
    };
    NewPayment {
        id: PaymentId::generate(),
        api_key,
        key: Key::parse(key.as_bytes()).unwrap(),
        fingerprint: idempotency::fingerprint(&request),
        request,
        correlation_id: "batch".to_owned(),
    }
}

async fn callers(database: &TestDatabase) -> (PgPool, Presented) {
    let pool = shared::database::connect(&database.url, CALLERS).await.unwrap();
    let merchant = shared::merchant::find_or_create(&pool, "merchant").await.unwrap();
    let secret = keys::create_for(&pool, &peppers(), merchant.id, "key").await.unwrap().secret;
    (pool, presented(&secret))
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

fn shuffled<T: Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.shuffle(&mut rand::rng());
    items
}

/// Accepts these keys, all in one statement, as payments of their own. Answers how many of them are new.
async fn accept_all(pool: &PgPool, api_key: Presented, keys: &[String]) -> usize {
    let payments: Vec<_> = keys.iter().map(|key| a_new_payment(api_key, key)).collect();
    let recorded = transition::accept(pool, &payments).await.unwrap();
    recorded.values().filter(|recorded| matches!(recorded, Recorded::New(_))).count()
}

#[tokio::test]
async fn one_key_twice_in_one_batch_is_one_payment() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;

    let accepted =
        accept_all(&pool, api_key, &["same".to_owned(), "other".to_owned(), "same".to_owned()]).await;

    assert_eq!(accepted, 2);
    for table in [
        "select count(*) from payments",
        "select count(*) from idempotency_keys",
        "select count(*) from payment_events",
        "select count(*) from apalis.jobs",
    ] {
        assert_eq!(count(&pool, table).await, 2, "{table}");
    }
}

#[tokio::test]
async fn of_one_batch_only_what_came_with_a_valid_api_key_is_recorded_and_replayed() {
    let database = TestDatabase::fresh().await;
    let (pool, valid) = callers(&database).await;
    let merchant = shared::merchant::find_or_create(&pool, "merchant").await.unwrap();
    let made = keys::create_for(&pool, &peppers(), merchant.id, "another").await.unwrap();
    let revoked = presented(&made.secret);
    transition::accept(&pool, &[a_new_payment(revoked, "taken")]).await.unwrap();
    keys::revoke(&pool, made.id).await.unwrap();
    let unknown = presented("");
    let batch = [(revoked, "taken"), (revoked, "a"), (valid, "b"), (unknown, "b"), (unknown, "c")]
        .map(|(api_key, key)| a_new_payment(api_key, key));

    let recorded = transition::accept(&pool, &batch).await.unwrap();

    assert_eq!(recorded.keys().collect::<Vec<_>>(), [&batch[2].id]);
    assert_eq!(count(&pool, "select count(*) from payments").await, 2);
    assert_eq!(count(&pool, "select count(*) from idempotency_keys").await, 2);
}

#[tokio::test]
async fn keys_that_were_taken_before_tell_what_they_made_and_those_beside_them_are_recorded() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let first = a_new_payment(api_key, "taken");
    let accepted = transition::accept(&pool, std::slice::from_ref(&first)).await.unwrap();
    let Some(Recorded::New(made)) = accepted.get(&first.id).cloned() else { panic!("{accepted:?}") };
    let batch = ["new", "taken", "taken", "also-new"].map(|key| a_new_payment(api_key, key));

    let recorded = transition::accept(&pool, &batch).await.unwrap();

    let before = Remembered {
        fingerprint: first.fingerprint.to_vec(),
        renderer: idempotency::RENDERER,
        accepted: made.clone(),
    };
    for taken in [&batch[1], &batch[2]] {
        assert_eq!(recorded.get(&taken.id), Some(&Recorded::Before(before.clone())));
    }
    for new in [&batch[0], &batch[3]] {
        assert!(matches!(&recorded[&new.id], Recorded::New(accepted) if accepted.id == new.id.uuid()));
    }
    // As after a connection that broke after the commit: what a request recorded is its own.
    let again = transition::accept(&pool, std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(again.get(&first.id), Some(&Recorded::New(made)));
    assert_eq!(count(&pool, "select count(*) from payment_events").await, 3);
}

#[tokio::test]
async fn what_a_merchant_posts_behind_the_flood_of_another_one_is_recorded_with_the_next_batches() {
    let database = TestDatabase::fresh().await;
    let (pool, flooding) = callers(&database).await;
    let merchant = shared::merchant::find_or_create(&pool, "another").await.unwrap();
    let quiet = presented(&keys::create_for(&pool, &peppers(), merchant.id, "key").await.unwrap().secret);
    let work = Accepting { seat: Seat::new(pool.clone()), bell: Bell::new(pool.clone()) };
    let accepts = Batcher::new(work);
    let post = |api_key, key: String| {
        let (accepts, payment) = (accepts.clone(), a_new_payment(api_key, &key));
        tokio::spawn(async move { accepts.submit(payment).await.unwrap().is_some() })
    };

    let flood: Vec<_> = (0..2_000).map(|n| post(flooding, format!("flood-{n}"))).collect();
    let own: Vec<_> = (0..5).map(|n| post(quiet, format!("own-{n}"))).collect();

    for posted in flood.into_iter().chain(own) {
        assert!(posted.await.unwrap());
    }
    // One batch is one transaction, and they follow each other.
    let batches = "select count(distinct xmin::text) from payments";
    assert!(count(&pool, batches).await >= 8);
    let before = "select count(distinct p.xmin::text) from payments p
                   where p.xmin::text::bigint < (select max(q.xmin::text::bigint) from payments q
                                                   join merchants m on m.id = q.merchant_id where m.name = 'another')";
    assert!(count(&pool, before).await <= 2, "they waited behind the flood");
}

#[tokio::test]
async fn crossed_batches_of_the_same_keys_make_each_payment_once_and_never_deadlock() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;

    for round in 0..20 {
        let keys: Vec<String> = (0..50).map(|n| format!("key-{round}-{n}")).collect();
        let crossed = (0..CALLERS).map(|_| {
            let (pool, keys) = (pool.clone(), shuffled(&keys));
            async move { accept_all(&pool, api_key, &keys).await }
        });
        assert_eq!(join_all(crossed).await.into_iter().sum::<usize>(), keys.len());
    }
    assert_eq!(count(&pool, "select count(*) from payments").await, 1_000);
}

#[tokio::test]
async fn crossed_batches_of_claims_and_settlements_take_each_payment_once_and_never_deadlock() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let keys: Vec<String> = (0..400).map(|n| format!("key-{n}")).collect();
    accept_all(&pool, api_key, &keys).await;
    let ids: Vec<PaymentId> = sqlx::query_scalar("select id from payments")
        .fetch_all(&pool)
        .await
        .unwrap()
        .into_iter()
        .map(|id: uuid::Uuid| id.into())
        .collect();

    let crossed = (0..CALLERS).map(|_| {
        let (pool, ids) = (pool.clone(), shuffled(&ids));
        async move {
            let mut claimed = Vec::new();
            for batch in ids.chunks(100) {
                let claims = transition::claim(&pool, batch, &claimant("a worker", LEASE)).await.unwrap();
                claimed.extend(claims.iter().map(|claim| claim.payment_id));
                let held = |claim: &transition::Claim| Settlement {
                    payment_id: claim.payment_id,
                    token: claim.token,
                    step: Step::Doubt {
                        wait: Duration::from_hours(1),
                        reason: Reason::Timeout,
                        spends: Spends::Try,
                        tells: false,
                    },
                    evidence: json!({}),
                };
                let settlements = shuffled(&claims).iter().map(held).collect();
                transition::settle(&pool, &GatewayName::default(), settlements).await.unwrap();
            }
            claimed
        }
    });
    let claimed: Vec<PaymentId> = join_all(crossed).await.into_iter().flatten().collect();

    assert_eq!(claimed.len(), ids.len());
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>(), ids.iter().collect());
    assert_eq!(count(&pool, "select count(*) from payments where in_doubt and version = 3").await, 400);
}

#[tokio::test]
async fn a_settlement_sent_twice_takes_effect_once_and_is_no_late_evidence() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let payment = a_new_payment(api_key, "key");
    transition::accept(&pool, std::slice::from_ref(&payment)).await.unwrap();
    let claims = transition::claim(&pool, &[payment.id], &claimant("a worker", LEASE)).await.unwrap();
    let settlement = Settlement {
        payment_id: payment.id,
        token: claims[0].token,
        step: Step::Retry { wait: Duration::ZERO, reason: Reason::NotExecuted, spends: Spends::Try },
        evidence: json!({}),
    };

    let first = transition::settle(&pool, &GatewayName::default(), vec![settlement.clone()]).await.unwrap();
    let second = transition::settle(&pool, &GatewayName::default(), vec![settlement]).await.unwrap();

    assert_eq!(first.moved, [(payment.id, claims[0].token)]);
    assert_eq!(second, Settled::default());
    assert_eq!(count(&pool, "select retries_spent::bigint from payments").await, 1);
    assert_eq!(count(&pool, "select count(*) from late_evidence").await, 0);
}

#[tokio::test]
async fn a_token_that_nobody_knows_ends_nothing_and_leaves_its_evidence_and_a_doubt() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let payment = a_new_payment(api_key, "key");
    transition::accept(&pool, std::slice::from_ref(&payment)).await.unwrap();
    let _ = transition::claim(&pool, &[payment.id], &claimant("a worker", LEASE)).await.unwrap();
    let stale = Settlement {
        payment_id: payment.id,
        token: domain::ids::ClaimToken::generate(),
        step: Step::Reverse { reason: Reason::VoidConfirmed },
        evidence: json!({ "op": "void" }),
    };

    let settled = transition::settle(&pool, &GatewayName::default(), vec![stale.clone()]).await.unwrap();

    assert_eq!(settled, Settled { moved: vec![], halted: vec![], late: vec![(payment.id, stale.token)] });
    assert_eq!(
        count(
            &pool,
            "select count(*) from payments where status = 'processing' and in_doubt and version = 3"
        )
        .await,
        1
    );
    assert_eq!(count(&pool, "select count(*) from late_evidence where event_type = 'reversed'").await, 1);
}

#[tokio::test]
async fn a_stale_result_sent_twice_is_late_both_times_and_kept_once() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let payment = a_new_payment(api_key, "key");
    transition::accept(&pool, std::slice::from_ref(&payment)).await.unwrap();
    let stale = Settlement {
        payment_id: payment.id,
        token: domain::ids::ClaimToken::generate(),
        step: Step::Reverse { reason: Reason::VoidConfirmed },
        evidence: json!({ "op": "void" }),
    };

    let first = transition::settle(&pool, &GatewayName::default(), vec![stale.clone()]).await.unwrap();
    let second = transition::settle(&pool, &GatewayName::default(), vec![stale.clone()]).await.unwrap();

    assert_eq!(first, Settled { moved: vec![], halted: vec![], late: vec![(payment.id, stale.token)] });
    assert_eq!(second, first);
    assert_eq!(count(&pool, "select count(*) from late_evidence").await, 1);
}

#[tokio::test]
async fn a_stale_result_is_kept_even_where_the_current_one_is_beside_it() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let payment = a_new_payment(api_key, "key");
    transition::accept(&pool, std::slice::from_ref(&payment)).await.unwrap();
    let claims = transition::claim(&pool, &[payment.id], &claimant("a worker", LEASE)).await.unwrap();
    let settlement = |token| Settlement {
        payment_id: payment.id,
        token,
        step: Step::Retry { wait: Duration::ZERO, reason: Reason::NotExecuted, spends: Spends::Try },
        evidence: json!({}),
    };

    let both = [settlement(domain::ids::ClaimToken::generate()), settlement(claims[0].token)];
    let effects = Settling { seat: Seat::new(pool.clone()), gateway: GatewayName::default() }
        .work(&both)
        .await
        .unwrap();

    assert_eq!(effects, [Effect::Late, Effect::Moved], "each by its own claim");
    assert_eq!(count(&pool, "select count(*) from late_evidence").await, 1);
}

#[tokio::test]
async fn fifty_workers_race_for_one_payment_and_one_wins() {
    let database = TestDatabase::fresh().await;
    let (pool, api_key) = callers(&database).await;
    let payment = a_new_payment(api_key, "raced-for");
    let id = payment.id;
    transition::accept(&pool, &[payment]).await.unwrap();
    let crowd = shared::database::connect(&database.url, 50).await.unwrap();

    let race = (0..50).map(|n| {
        let crowd = crowd.clone();
        async move {
            transition::claim(&crowd, &[id], &claimant(&format!("racer-{n}"), LEASE)).await.unwrap().len()
        }
    });
    let won: usize = join_all(race).await.into_iter().sum();

    assert_eq!(won, 1);
    let events: i64 =
        sqlx::query_scalar("select count(*) from payment_events").fetch_one(&pool).await.unwrap();
    assert_eq!(events, 2);
}

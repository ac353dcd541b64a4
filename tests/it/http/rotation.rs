//! A key's life: it expires, gets another secret, is revoked, and says when it was last used. Whatever
//! happens to it holds with the next request, at every process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use domain::ids::KeyId;
use futures::future::join_all;
use shared::merchant::keys::{self, KeySummary, NewKey, Rotated};
use tests::{Client, Shape, System, a_payment, peppers, wait_until};
use tokio::sync::RwLock;

use super::an_api;
use crate::PROGRAM;

async fn two_apis() -> System {
    System::with(PROGRAM, Shape { apis: 2, ..Shape::default() }).await
}

async fn new_key(system: &System) -> NewKey {
    let merchant = shared::merchant::find_or_create(&system.database.pool, "first").await.unwrap();
    keys::create_for(&system.database.pool, &peppers(), merchant.id, "test").await.unwrap()
}

/// A client of each API with this secret.
fn of_each(system: &System, secret: &str) -> Vec<Client> {
    let bases = system.apis.iter().map(|api| api.address("api").to_owned());
    bases.map(|base| Client::new(vec![base], secret.to_owned())).collect()
}

/// Asserts how each process answers that secret on each kind of road: accepting, reading one, listing.
async fn assert_all_answer(system: &System, secret: &str, opens: bool) {
    let id = system.accepted(a_payment()).await;
    for client in of_each(system, secret) {
        let answers = [
            client.pay(a_payment()).await,
            client.get(&format!("/v1/payments/{id}")).await,
            client.get("/v1/payments").await,
            client.get(&format!("/v1/payments/{id}/events")).await,
        ];
        for answer in answers {
            assert_eq!(answer.status != 401, opens, "{}", String::from_utf8_lossy(&answer.body));
            assert!(opens == (answer.status < 300), "{}", answer.status);
        }
    }
}

async fn rotated(system: &System, id: KeyId, overlap: Duration) -> NewKey {
    let rotated = keys::rotate(&system.database.pool, &peppers(), id, overlap).await.unwrap();
    let Rotated::Done(key, _) = rotated else { unreachable!("{rotated:?}") };
    key
}

/// Moves what the overlap or the life of a key ends by into the past.
async fn has_passed(system: &System, column: &str, id: KeyId) {
    let sql = format!("update api_keys set {column} = now() - interval '1 second' where id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.uuid()).execute(&system.database.pool).await.unwrap();
}

async fn listed(system: &System, id: KeyId) -> KeySummary {
    let all = keys::list(&system.database.pool).await.unwrap();
    all.into_iter().find(|key| key.id == id).unwrap()
}

#[tokio::test]
async fn what_ends_a_key_holds_with_the_next_request_at_every_process() {
    let system = two_apis().await;
    let (revoked, expired) = (new_key(&system).await, new_key(&system).await);
    for key in [&revoked, &expired] {
        assert_all_answer(&system, &key.secret, true).await;
    }

    keys::revoke(&system.database.pool, revoked.id).await.unwrap();
    has_passed(&system, "expires_at", expired.id).await;

    for key in [&revoked, &expired] {
        assert_all_answer(&system, &key.secret, false).await;
    }
}

#[tokio::test]
async fn during_the_overlap_both_secrets_open_and_afterwards_the_new_one_alone() {
    let system = two_apis().await;
    let key = new_key(&system).await;

    let new = rotated(&system, key.id, Duration::from_hours(1)).await;

    assert_ne!(new.secret, key.secret);
    for secret in [&key.secret, &new.secret] {
        assert_all_answer(&system, secret, true).await;
    }
    let again =
        keys::rotate(&system.database.pool, &peppers(), key.id, Duration::from_hours(1)).await.unwrap();
    assert!(matches!(again, Rotated::TwoAlready(_)), "{again:?}");
    has_passed(&system, "prior_until", key.id).await;
    assert_all_answer(&system, &key.secret, false).await;
    assert_all_answer(&system, &new.secret, true).await;

    let last = rotated(&system, key.id, Duration::ZERO).await;
    for secret in [&key.secret, &new.secret] {
        assert_all_answer(&system, secret, false).await;
    }
    assert_all_answer(&system, &last.secret, true).await;
    keys::revoke(&system.database.pool, key.id).await.unwrap();
    assert_all_answer(&system, &last.secret, false).await;
    let ended = keys::rotate(&system.database.pool, &peppers(), key.id, Duration::ZERO).await.unwrap();
    assert!(matches!(ended, Rotated::Ended), "{ended:?}");
    let nobodys =
        keys::rotate(&system.database.pool, &peppers(), KeyId::generate(), Duration::ZERO).await.unwrap();
    assert!(matches!(nobodys, Rotated::NoSuchKey), "{nobodys:?}");
}

#[tokio::test]
async fn a_key_of_the_old_shape_goes_on_working_and_can_be_rotated() {
    let system = two_apis().await;
    let merchant = shared::merchant::find_or_create(&system.database.pool, "first").await.unwrap();
    let secret = format!("payonce_sk_{}", "0123456789abcdef".repeat(4));
    // As the version before made them.
    let id: uuid::Uuid = sqlx::query_scalar(
        "insert into api_keys (id, merchant_id, name, prefix, secret_hash)
         values (gen_random_uuid(), $1, 'old', 'payonce_sk_012345', sha256($2::bytea)) returning id",
    )
    .bind(merchant.id.uuid())
    .bind(secret.as_bytes())
    .fetch_one(&system.database.pool)
    .await
    .unwrap();
    assert_all_answer(&system, &secret, true).await;

    let new = rotated(&system, id.into(), Duration::from_hours(1)).await;

    for secret in [&secret, &new.secret] {
        assert_all_answer(&system, secret, true).await;
    }
    has_passed(&system, "prior_until", id.into()).await;
    assert_all_answer(&system, &secret, false).await;
    assert_all_answer(&system, &new.secret, true).await;
}

#[tokio::test]
async fn rotating_under_load_refuses_not_one_request() {
    let system = two_apis().await;
    let key = new_key(&system).await;
    // Held by each client as long as it uses the secret.
    let secret = RwLock::new(key.secret.clone());
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = join_all((0..8).map(async |_| {
        while !is_over.load(Ordering::Relaxed) {
            let held = secret.read().await;
            let client = system.client.with_secret(held.clone());
            client.pay(a_payment()).await.assert_status(202);
            client.get("/v1/payments?limit=1").await.assert_status(200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let rotations = async {
        for _ in 0..10 {
            // The overlap before must be over, or the older secret would end at once.
            let end =
                "update api_keys set prior_until = now() - interval '1 second' where prior_until is not null";
            sqlx::query(end).execute(&system.database.pool).await.unwrap();
            let new = rotated(&system, key.id, Duration::from_hours(1)).await.secret;
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests with the secret before", async || {
                answered.load(Ordering::Relaxed) > before + 8
            })
            .await;
            *secret.write().await = new;
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests with the new secret", async || {
                answered.load(Ordering::Relaxed) > before + 8
            })
            .await;
        }
        is_over.store(true, Ordering::Relaxed);
    };

    tokio::join!(clients, rotations);

    assert!(answered.into_inner() > 160);
}

#[tokio::test]
async fn the_day_of_a_keys_last_use_is_written_once_and_not_by_requests_that_are_refused() {
    let system = an_api().await;
    let (used, idle) = (new_key(&system).await, new_key(&system).await);
    let accepting = system.client.with_secret(used.secret.clone());
    let writes = "select xmin::text::bigint from api_keys where last_used_on is not null and name = 'test'";

    accepting.pay(a_payment()).await.assert_status(202);
    wait_until("the use to be written", async || listed(&system, used.id).await.last_used_on.is_some()).await;
    let written = system.count(writes).await;
    for _ in 0..20 {
        accepting.pay(a_payment()).await.assert_status(202);
        accepting.get("/v1/payments").await.assert_status(200);
    }
    // Another key's use is written after all that was noted before.
    system.client.get("/v1/payments").await.assert_status(200);
    let first = keys::list(&system.database.pool).await.unwrap()[0].id;
    wait_until("the other use to be written", async || listed(&system, first).await.last_used_on.is_some())
        .await;

    assert_eq!(system.count(writes).await, written, "written again");
    assert_eq!(listed(&system, idle.id).await.last_used_on, None);
    // By another day it is written again, by another process here.
    let yesterday = "update api_keys set last_used_on = last_used_on - 1";
    sqlx::query(yesterday).execute(&system.database.pool).await.unwrap();
    let another = system.api().start().await;
    let client = Client::new(vec![another.address("api").to_owned()], used.secret);
    client.get("/v1/payments").await.assert_status(200);
    wait_until("today's use to be written", async || {
        listed(&system, used.id).await.last_used_on == Some(chrono::Utc::now().date_naive())
    })
    .await;
}

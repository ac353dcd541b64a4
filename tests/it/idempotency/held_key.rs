//! A session that inserted the same key and does not commit: the others wait for it, but not for ever.

use domain::ids::PaymentId;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tests::{System, wait_until};

use super::{apis, the_request};

/// A transaction that made a payment under the key of [`the_request`], and has not ended.
pub(super) async fn holding_the_key(system: &System) -> Transaction<'static, Postgres> {
    let mut holding = system.database.pool.begin().await.unwrap();
    let id = PaymentId::generate();
    // A test's session is none of Payonce's, and may stand still.
    run(&mut holding, "set local idle_in_transaction_session_timeout = 0").await;
    let payment = "insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata,
                                         correlation_id, created_at, status, due_at, version, updated_at)
                   select $1, id, 'customer-1', 1, 'EUR', 'sim_ok', '{}', 'test', now(), 'pending', now(), 1, now()
                     from merchants where name = 'first'";
    sqlx::query(payment).bind(id.uuid()).execute(&mut *holding).await.unwrap();
    let key =
        "insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id,
                                             renderer, created_at)
               select id, 'create_payment', 'customer-1', 'order-77', sha256('another request'), $1, 1, now()
                 from merchants where name = 'first'";
    sqlx::query(key).bind(id.uuid()).execute(&mut *holding).await.unwrap();
    holding
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    sqlx::query(sql).execute(connection).await.unwrap();
}

/// How many sessions wait for another one's row.
pub(super) async fn waiting_sessions(pool: &PgPool) -> i64 {
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
    sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap()
}

pub(super) async fn somebody_waits(pool: &PgPool) {
    wait_until("a request to wait for the key", async || waiting_sessions(pool).await > 0).await;
}

#[tokio::test]
async fn a_request_gets_the_key_when_its_holder_rolls_back() {
    let system = apis(1).await;
    let holding = holding_the_key(&system).await;

    let (answer, ()) = tokio::join!(system.pay(the_request()), async {
        somebody_waits(&system.database.pool).await;
        holding.rollback().await.unwrap();
    });

    answer.assert_status(202);
    assert_eq!(answer.header("idempotent-replayed"), "false");
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_request_is_judged_by_the_holders_request_when_that_commits() {
    let system = apis(1).await;
    let holding = holding_the_key(&system).await;

    let (answer, ()) = tokio::join!(system.pay(the_request()), async {
        somebody_waits(&system.database.pool).await;
        holding.commit().await.unwrap();
    });

    answer.assert_problem(422, "idempotency_key_reused");
    assert_eq!(system.count("select count(*) from payments").await, 1);
}

#[tokio::test]
async fn requests_with_other_keys_do_not_wait() {
    let system = apis(1).await;
    let holding = holding_the_key(&system).await;

    let held_up = system.pay(the_request());
    let others = async {
        somebody_waits(&system.database.pool).await;
        for i in 0..10 {
            system.accepted(the_request().key(&format!("other-{i}"))).await;
        }
        holding.rollback().await.unwrap();
    };
    let (answer, ()) = tokio::join!(held_up, others);

    answer.assert_status(202);
    assert_eq!(system.stored().await, [11, 11, 11, 11]);
}

/// Slow: it takes as long as a request waits for a key.
#[tokio::test]
async fn a_request_whose_key_stays_held_is_told_to_come_back() {
    let system = apis(1).await;
    let holding = holding_the_key(&system).await;

    let answer = system.pay(the_request()).await;
    let stored = system.stored().await;
    holding.rollback().await.unwrap();
    let retried = system.pay(the_request()).await;

    answer.assert_problem(409, "idempotency_key_in_progress");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(stored, [0, 0, 0, 0]);
    retried.assert_status(202);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

//! Clients that hang up in the midst of a request: no session keeps a transaction open, and no payment is
//! half there.

use std::cell::Cell;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::stream::{self, StreamExt as _};
use tests::{System, a_payment, raw, wait_until};

use super::held_key::{holding_the_key, waiting_sessions};
use super::{apis, the_request};

/// The sessions of the test's database that are in one of these states.
async fn sessions(system: &System, states: &str) -> i64 {
    let sql = "select count(*) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and state = any(string_to_array($1, ','))";
    sqlx::query_scalar(sql).bind(states).fetch_one(&system.database.pool).await.unwrap()
}

const IN_TRANSACTION: &str = "idle in transaction,idle in transaction (aborted)";

#[tokio::test]
async fn two_hundred_clients_that_hang_up_leave_no_open_transaction_and_no_half_payment() {
    const CLIENTS: u64 = 200;
    let system = apis(1).await;
    let base = system.apis[0].address("api");
    let key = |i: u64| format!("order-{i}");

    let (all_hung_up, unanswered) = (Cell::new(false), Cell::new(0));
    let hang_up = async {
        for i in 0..CLIENTS {
            let request = raw::post(system.client.secret(), &key(i), &a_payment().body);
            // Spread, so that they hang up in every stage of the request.
            let patience = Duration::from_micros(i % 50 * 200);
            let hung_up = raw::send_and_hang_up(base, &request, patience).await;
            unanswered.set(unanswered.get() + i32::from(hung_up));
        }
        all_hung_up.set(true);
    };
    let watch = wait_until("the API to be through with all of them", async || {
        assert_eq!(sessions(&system, IN_TRANSACTION).await, 0, "a session stands still in a transaction");
        all_hung_up.get() && sessions(&system, "active").await == 0
    });
    join(hang_up, watch).await;
    assert!(unanswered.get() > 0, "every request was answered before its client hung up");

    let stored = system.stored().await;
    assert_eq!(stored, [stored[0]; 4], "a payment is half there");
    let mut retries =
        stream::iter(0..CLIENTS).map(|i| system.pay(a_payment().key(&key(i)))).buffer_unordered(16);
    while let Some(answer) = retries.next().await {
        answer.assert_status(202);
    }
    assert_eq!(system.stored().await, [200, 200, 200, 200]);
}

#[tokio::test]
async fn requests_whose_clients_hang_up_while_they_wait_for_the_key_leave_one_payment_and_no_open_transaction()
 {
    const CLIENTS: usize = 10;
    let system = apis(1).await;
    let holding = holding_the_key(&system).await;
    let request = the_request();
    let request =
        raw::post(system.client.secret(), request.key.as_deref().unwrap_or_default(), &request.body);

    let base = system.apis[0].address("api");
    let connections = join_all((0..CLIENTS).map(|_| raw::sent(base, &request))).await;
    // One of them waits in the database, and the others wait behind it.
    wait_until("the key to be waited for", async || waiting_sessions(&system.database.pool).await > 0).await;
    assert!(connections.iter().all(raw::is_silent), "a request was over before its client hung up");
    drop(connections);
    holding.rollback().await.unwrap();

    wait_until("the payment to be made by one of them", async || system.stored().await[0] > 0).await;
    wait_until("the API to be through with them", async || sessions(&system, "active").await == 0).await;
    assert_eq!(sessions(&system, IN_TRANSACTION).await, 0);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

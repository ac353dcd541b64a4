//! Clients that hang up in the midst of a request: no session keeps a transaction open, no payment is half there.

use std::cell::Cell;

use futures::future::{join, join_all};
use tests::{System, a_payment, raw, wait_until};

use super::apis;

/// The sessions of the test's database that are in this state.
async fn sessions(system: &System, states: &str) -> i64 {
    let sql = "select count(*) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and state = any(string_to_array($1, ','))";
    sqlx::query_scalar(sql).bind(states).fetch_one(&system.database.pool).await.unwrap()
}

const IN_TRANSACTION: &str = "idle in transaction,idle in transaction (aborted)";

#[tokio::test]
async fn two_hundred_clients_that_hang_up_leave_no_open_transaction_and_no_half_payment() {
    const CLIENTS: usize = 200;
    let system = apis(1).await;
    let base = system.apis[0].address("api");
    let key = |i: usize| format!("order-{i}");

    let all_hung_up = Cell::new(false);
    let hang_up = async {
        for i in 0..CLIENTS {
            let request = raw::post(system.client.secret(), &key(i), &a_payment().body);
            raw::send_and_hang_up(base, &request).await;
        }
        all_hung_up.set(true);
    };
    let watch = wait_until("the API to be through with all of them", async || {
        assert_eq!(sessions(&system, IN_TRANSACTION).await, 0, "a session stands still in a transaction");
        all_hung_up.get() && sessions(&system, "active").await == 0
    });
    join(hang_up, watch).await;

    assert_eq!(sessions(&system, IN_TRANSACTION).await, 0);
    let [payments, ..] = system.stored().await;
    assert_eq!(system.stored().await, [payments; 4], "a payment is half there");
    for answer in join_all((0..CLIENTS).map(|i| system.pay(a_payment().key(&key(i))))).await {
        answer.assert_status(202);
    }
    assert_eq!(system.stored().await, [200, 200, 200, 200]);
}

//! A session that keeps a whole table locked, as a migration or a person with psql does. A request is told
//! that, and not that its key is in use.

use futures::future::join_all;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tests::System;

use super::{apis, the_request};

/// A transaction that has locked a table, and has not ended.
async fn holding(system: &System, table: &str) -> Transaction<'static, Postgres> {
    let mut holding = system.database.pool.begin().await.unwrap();
    // A test's session is none of Payonce's, and may stand still.
    let lock = format!("set local idle_in_transaction_session_timeout = 0; lock table {table}");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *holding).await.unwrap();
    holding
}

/// Slow: it takes as long as a request waits.
#[tokio::test]
async fn requests_that_a_locked_table_holds_up_are_told_so_and_repeated_make_their_payments() {
    for (nth, table) in ["payments in share mode", "idempotency_keys in exclusive mode"].iter().enumerate() {
        let system = apis(1).await;
        let requests: Vec<_> = (0..10).map(|i| the_request().key(&format!("order-{nth}-{i}"))).collect();
        let holding = holding(&system, table).await;

        let answers = join_all(requests.iter().map(|request| system.pay(request.clone()))).await;
        let stored = system.stored().await;
        holding.rollback().await.unwrap();

        for answer in answers {
            answer.assert_problem(503, "database_busy");
            assert_eq!(answer.header("retry-after"), "1", "{table}");
        }
        assert_eq!(stored, [0, 0, 0, 0], "{table}");
        for request in requests {
            let answer = system.pay(request).await;
            answer.assert_status(202);
            assert_eq!(answer.header("idempotent-replayed"), "false", "{table}");
        }
        assert_eq!(system.stored().await, [10, 10, 10, 10], "{table}");
    }
}

#[tokio::test]
async fn a_request_goes_on_when_the_table_is_free_again_in_time() {
    let system = apis(1).await;
    let holding = holding(&system, "payments in share mode").await;

    let (answer, ()) = tokio::join!(system.pay(the_request()), async {
        super::held_key::somebody_waits(&system.database.pool).await;
        holding.rollback().await.unwrap();
    });

    answer.assert_status(202);
    assert_eq!(system.stored().await, [1, 1, 1, 1]);
}

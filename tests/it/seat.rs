//! A connection that is kept for one kind of statement: the same one each time, and another one once it is of
//! no use.

use shared::database::{Lend as _, Lent, Seat};
use sqlx::PgPool;
use tests::{TestDatabase, wait_until};

/// Sends a statement by that connection and gives it back. Answers the server process that answered.
async fn served_by(mut connection: Lent<'_>) -> sqlx::Result<i32> {
    let answered = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await;
    connection.back(answered)
}

async fn a_seat() -> (TestDatabase, PgPool, Seat) {
    let database = TestDatabase::fresh().await;
    let pool = shared::database::connect(&database.url, 2).await.unwrap();
    let seat = Seat::new(pool.clone());
    (database, pool, seat)
}

#[tokio::test]
async fn a_seats_statements_meet_one_server_process_whatever_the_pool_does() {
    let (_database, pool, seat) = a_seat().await;
    let first = served_by(seat.lend().await.unwrap()).await.unwrap();

    for _ in 0..5 {
        let pooled = served_by(pool.lend().await.unwrap()).await.unwrap();
        assert_ne!(pooled, first, "the pool has it no more");
        assert_eq!(served_by(seat.lend().await.unwrap()).await.unwrap(), first);
    }
}

#[tokio::test]
async fn a_seats_statements_are_planned_once() {
    let (_database, pool, seat) = a_seat().await;
    let mode = async |mut connection: Lent<'_>| -> String {
        let shown = sqlx::query_scalar("show plan_cache_mode").fetch_one(&mut *connection).await;
        connection.back(shown).unwrap()
    };
    let first = seat.lend().await.unwrap();
    assert_eq!(mode(seat.lend().await.unwrap()).await, "force_generic_plan", "while another task has it");
    assert_eq!(mode(first).await, "force_generic_plan");
    assert_eq!(mode(pool.lend().await.unwrap()).await, "auto");
}

#[tokio::test]
async fn a_statement_that_failed_costs_no_connection() {
    let (_database, _pool, seat) = a_seat().await;
    let first = served_by(seat.lend().await.unwrap()).await.unwrap();

    let mut connection = seat.lend().await.unwrap();
    let failed = sqlx::query("select 1 / 0").execute(&mut *connection).await;
    connection.back(failed).unwrap_err();

    assert_eq!(served_by(seat.lend().await.unwrap()).await.unwrap(), first);
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced_after_one_failure() {
    let (_database, pool, seat) = a_seat().await;
    let first = served_by(seat.lend().await.unwrap()).await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(first).execute(&pool).await.unwrap();
    wait_until("its server process is gone", async || {
        let is_there = "select exists (select from pg_stat_activity where pid = $1)";
        !sqlx::query_scalar::<_, bool>(is_there).bind(first).fetch_one(&pool).await.unwrap()
    })
    .await;

    let second = match served_by(seat.lend().await.unwrap()).await {
        // It had been idle for so long that it was checked first.
        Ok(second) => second,
        Err(_broken) => served_by(seat.lend().await.unwrap()).await.unwrap(),
    };

    assert_ne!(second, first);
    assert_eq!(served_by(seat.lend().await.unwrap()).await.unwrap(), second);
}

#[tokio::test]
async fn a_connection_in_the_middle_of_a_statement_is_not_used_again() {
    let (_database, pool, seat) = a_seat().await;
    let first = served_by(seat.lend().await.unwrap()).await.unwrap();

    let mut connection = seat.lend().await.unwrap();
    let long = sqlx::query("select pg_sleep(60)").execute(&mut *connection);
    let is_running = wait_until("it runs", async || {
        let runs = "select exists (select from pg_stat_activity where pid = $1 and query like '%pg_sleep%' and state = 'active')";
        sqlx::query_scalar::<_, bool>(runs).bind(first).fetch_one(&pool).await.unwrap()
    });
    tokio::select! { ended = long => panic!("it ended: {ended:?}"), () = is_running => {} }
    drop(connection);

    let second = served_by(seat.lend().await.unwrap()).await.unwrap();
    assert_ne!(second, first, "it would have waited for a minute");
}

#[tokio::test]
async fn who_needs_a_seat_that_is_taken_gets_another_connection() {
    let (_database, _pool, seat) = a_seat().await;
    let (one, other) = (seat.lend().await.unwrap(), seat.lend().await.unwrap());

    let (one, other) = (served_by(one).await.unwrap(), served_by(other).await.unwrap());

    assert_ne!(one, other);
    assert_eq!(served_by(seat.lend().await.unwrap()).await.unwrap(), other, "the last to come back");
}

//! The order of events, and its horizon: what a reader may be told, and when.

use domain::ids::PaymentId;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tests::{PrivateServer, Shape, System, a_payment, wait_until};

use super::{all, alone, ids, page, told};

async fn without_worker() -> (PrivateServer, System) {
    alone(Shape { apis: 1, ..Shape::default() }).await
}

/// Writes that a payment is held, as a statement of a settlement would; `version` is the event's.
async fn hold(on: &mut PgConnection, id: PaymentId, version: i32) {
    let event = "insert into payment_events (payment_id, version, type, from_status, to_status, reason, correlation_id, at)
                 values ($1, $2, 'held', 'pending', 'processing', 'contradiction', 'c', clock_timestamp())";
    sqlx::query(event).bind(id.uuid()).bind(version).execute(on).await.unwrap();
}

/// How many events may be told, as the database sees it.
async fn told_in_all(system: &System) -> i64 {
    system
        .count("select count(*) from public_events where tx < pg_snapshot_xmin(pg_current_snapshot())")
        .await
}

async fn places(pool: &PgPool) -> Vec<(i32, Option<i32>, String)> {
    let rows =
        "select version, previous_version, tx::text from public_events order by epoch, tx, object, version";
    sqlx::query_as(rows).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn nothing_is_told_above_a_transaction_that_may_still_write_in_whatever_database() {
    let (_server, system) = without_worker().await;
    let elsewhere = system.database.pool.connect_options().as_ref().clone().database("postgres");
    let (first, second) = (system.accepted(a_payment()).await, system.accepted(a_payment()).await);
    let mut one = PgConnection::connect(&system.database.url).await.unwrap();
    let mut other = PgConnection::connect_with(&elsewhere).await.unwrap();

    // An event is written and not committed; one that is committed meanwhile has to wait for it.
    let mut open = one.begin().await.unwrap();
    hold(&mut open, first, 2).await;
    let mut pool = system.database.pool.acquire().await.unwrap();
    hold(&mut pool, second, 2).await;
    assert_eq!(all(&system.client, 10).await, Vec::<Value>::new());
    open.commit().await.unwrap();
    let both = told(&system.client, 2).await;
    assert_eq!(both.len(), 2);
    assert!(ids(&both).is_sorted());

    // What any transaction with an id holds back is held back, and a reader's snapshot holds back nothing.
    let mut open = other.begin().await.unwrap();
    sqlx::query("select pg_current_xact_id()").execute(&mut *open).await.unwrap();
    hold(&mut pool, second, 3).await;
    assert_eq!(all(&system.client, 10).await, both);
    let last = ids(&both)[1].to_owned();
    let above: String = sqlx::query_scalar(
        "select 'evt_' || lpad(to_hex(epoch), 8, '0') || lpad(to_hex(tx::text::bigint), 16, '0') || replace(object::text, '-', '')
                || lpad(to_hex(version), 8, '0') from public_events where version = 3",
    )
    .fetch_one(&mut *pool)
    .await
    .unwrap();
    system.client.get(&format!("/v1/events/{above}")).await.assert_problem(404, "not_found");
    open.rollback().await.unwrap();
    let mut reading = other.begin().await.unwrap();
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *reading).await.unwrap();
    sqlx::query("select count(*) from pg_class").execute(&mut *reading).await.unwrap();
    told(&system.client, 3).await;
    let (rest, _) = page(&system.client, &format!("?after={last}")).await;
    assert_eq!(ids(&rest), [above]);
    assert_eq!(rest[0]["previous_version"], 2);
}

#[tokio::test]
async fn of_two_crossed_transactions_the_versions_of_a_payment_keep_their_order() {
    let (_server, system) = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let mut connections = Vec::new();
    for _ in 0..2 {
        connections.push(PgConnection::connect(&system.database.url).await.unwrap());
    }
    let [mut one, mut other] = <[PgConnection; 2]>::try_from(connections).ok().unwrap();
    let mut earlier = one.begin().await.unwrap();
    sqlx::query("select pg_current_xact_id()").execute(&mut *earlier).await.unwrap();
    // The later transaction writes and commits first; the earlier one writes the next version.
    hold(&mut other, id, 2).await;
    hold(&mut earlier, id, 3).await;
    earlier.commit().await.unwrap();

    let versions: Vec<i32> = places(&system.database.pool).await.into_iter().map(|it| it.0).collect();
    assert_eq!(versions, [2, 3]);
    let both = told(&system.client, 2).await;
    assert_eq!(both.iter().map(|it| it["version"].as_i64()).collect::<Vec<_>>(), [Some(2), Some(3)]);
    // Several at once, too, know the one before.
    let more = format!(
        "insert into payment_events (payment_id, version, type, from_status, to_status, correlation_id, at)
         select '{}', v, 'held', 'pending', 'processing', 'c', clock_timestamp() from generate_series(4, 5) v",
        id.uuid()
    );
    sqlx::query(AssertSqlSafe(more)).execute(&mut other).await.unwrap();
    let before: Vec<_> = places(&system.database.pool).await.into_iter().map(|it| it.1).collect();
    assert_eq!(before, [None, Some(2), Some(3), Some(4)]);
}

#[tokio::test]
async fn a_past_that_comes_back_begins_an_epoch_and_a_place_that_is_gone_is_a_410() {
    let (_server, system) = without_worker().await;
    let pool = &system.database.pool;
    let (first, second) = (system.accepted(a_payment()).await, system.accepted(a_payment()).await);
    let mut hand = PgConnection::connect(&system.database.url).await.unwrap();
    hold(&mut hand, first, 2).await;
    hold(&mut hand, second, 2).await;
    let both = told(&system.client, 2).await;
    // A place of the same epoch that there is not: an event of a tail that was lost.
    let gone = format!("{}{:08x}", &ids(&both)[1][..60], 9);

    // As a restore does it, under whatever timeline. Two that write first at once begin one epoch.
    sqlx::query("update installation set moves = moves + 1").execute(pool).await.unwrap();
    let begun = || async {
        let mut own = PgConnection::connect(&system.database.url).await.unwrap();
        sqlx::query_scalar::<_, i64>("select event_epoch()").fetch_one(&mut own).await.unwrap()
    };
    let begun = tokio::join!(begun(), begun(), begun());
    assert!(begun.0 == begun.1 && begun.1 == begun.2, "{begun:?}");
    assert_eq!(system.count("select count(*) from event_epochs").await, 2);
    hold(&mut hand, first, 3).await;

    let after = told(&system.client, 3).await;
    assert_eq!(after[..2], both);
    assert_eq!(after[2]["previous_version"], 2);
    assert!(ids(&after).is_sorted(), "{after:?}");
    let lost = system.client.get(&format!("/v1/events?after={gone}")).await;
    assert_eq!(lost.assert_problem(410, "cursor_lost")["resume_after"], both[1]["id"]);
    let of_nowhere = format!("evt_{:064x}", 0xabc);
    for path in ["/v1/events", "/v1/events/stream"] {
        let lost = system.client.get(&format!("{path}?after={of_nowhere}")).await;
        assert_eq!(lost.assert_problem(410, "cursor_lost")["resume_after"], Value::Null);
    }
    let (rest, _) = page(&system.client, &format!("?after={}", ids(&both)[1])).await;
    assert_eq!(ids(&rest), [ids(&after)[2]]);
}

#[tokio::test]
async fn what_nobody_wants_is_passed_over_in_pieces_and_its_reader_goes_on() {
    let (_server, system) = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let held = format!(
        "insert into payment_events (payment_id, version, type, from_status, to_status, correlation_id, at)
         select '{}', v, case when v = 2500 then 'failed' else 'held' end, 'pending', 'processing', 'c', clock_timestamp()
           from generate_series(2, 2500) v",
        id.uuid()
    );
    sqlx::query(AssertSqlSafe(held)).execute(&system.database.pool).await.unwrap();
    wait_until("the last one to be told", async || told_in_all(&system).await == 2499).await;
    let (mut after, mut pages) = (String::new(), 0);
    let found = loop {
        let (events, next) = page(&system.client, &format!("?types=payment.failed{after}")).await;
        pages += 1;
        match next {
            Some(next) => {
                assert_eq!(events, Vec::<Value>::new());
                after = format!("&after={next}");
            }
            None => break events,
        }
    };
    assert_eq!((pages, found.len(), &found[0]["version"]), (3, 1, &Value::from(2500)));
}

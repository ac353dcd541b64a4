//! The record that judges: what is in it, and when.

use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{books, wait_until};
use tokio::time::timeout;

use super::caller::{Gateway, a_charge};

#[tokio::test]
async fn a_charge_leaves_its_request_its_effect_and_its_answer() {
    let gateway = Gateway::start().await;
    let charge = gateway.charge(a_charge("pay_1").correlated("corr-1")).await.id();

    let rows: Vec<Value> = gateway.journal().await.into_iter().map(without_time).collect();

    let row = |seq: u8, kind: &str, status: Value, charge_id: Value| {
        json!({
            "seq": seq, "kind": kind, "op": "charge", "http_status": status, "key": "pay_1", "charge_id": charge_id,
            "amount": "12.30", "currency": "EUR", "reference": "pay_1", "correlation_id": "corr-1",
        })
    };
    let expected = [
        row(1, "request", Value::Null, Value::Null),
        row(2, "charge", Value::Null, json!(charge)),
        row(3, "answer", json!(201), json!(charge)),
    ];
    assert_eq!(rows, expected);
}

fn without_time(mut row: Value) -> Value {
    let at = row.as_object_mut().and_then(|row| row.remove("at"));
    assert!(at.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))), "{row} has no time");
    row
}

#[tokio::test]
async fn the_correlation_id_of_every_call_is_in_its_rows_and_in_no_others() {
    let gateway = Gateway::start().await;
    let correlated =
        |request: reqwest::RequestBuilder| gateway.call(request.header("x-correlation-id", "corr-1"));

    gateway.charge(a_charge("pay_1").correlated("corr-1")).await;
    correlated(gateway.request(reqwest::Method::GET, "/charges?key=pay_1")).await;
    let void = gateway.request(reqwest::Method::POST, "/voids").header("idempotency-key", "pay_1:void");
    correlated(void.json(&json!({ "key": "pay_1" }))).await;
    gateway.charge(a_charge("pay_2")).await;

    let rows = gateway.journal().await;
    let (of_first, of_second): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["key"] == "pay_1");
    assert_eq!((of_first.len(), of_second.len()), (8, 3));
    assert!(of_first.iter().all(|row| row["correlation_id"] == "corr-1"), "{of_first:?}");
    assert!(of_second.iter().all(|row| row["correlation_id"].is_null()), "{of_second:?}");
}

#[tokio::test]
async fn no_answer_leaves_before_it_is_in_the_journal() {
    let gateway = Gateway::start().await;
    let mut lock = gateway.database.pool.begin().await.unwrap();
    sqlx::query("lock table gateway_journal in share row exclusive mode").execute(&mut *lock).await.unwrap();

    {
        let mut call = pin!(gateway.charge(a_charge("pay_1")));
        let waits = "select count(*) from pg_locks
                      where relation = 'gateway_journal'::regclass and not granted";
        tokio::select! {
            told = &mut call => panic!("it was told {told:?}"),
            () = wait_until("the journal to be waited for", async || gateway.count(waits).await > 0) => {}
        }
        // No answer comes for as long as the lock is held.
        assert!(timeout(Duration::from_millis(300), call).await.is_err(), "an answer left");
    }
    lock.rollback().await.unwrap();

    // The caller waits no more, but the call was taken up.
    wait_until("the charge", async || gateway.look_up("pay_1").await == "200 [succeeded 12.30]").await;
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
}

#[tokio::test]
async fn an_answer_that_never_left_has_no_status() {
    let gateway = Gateway::start().await;

    for token in ["sim_reset_after", "sim_timeout_charged", "sim_timeout_not_charged"] {
        gateway.charge(a_charge(token).method(token)).await;
    }

    let journal = gateway.journal().await;
    let answers: Vec<&Value> = journal.iter().filter(|row| row["kind"] == "answer").collect();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|row| row["http_status"].is_null()), "{answers:?}");
}

#[tokio::test]
async fn a_reader_who_pages_while_calls_come_in_reads_every_row_once() {
    let gateway = Gateway::start().await;
    let calls = async {
        for round in 0..10 {
            let keys: Vec<String> = (0..10).map(|n| format!("pay_{round}_{n}")).collect();
            futures::future::join_all(keys.iter().map(|key| gateway.charge(a_charge(key)))).await;
        }
    };

    let ((), read) = tokio::join!(calls, read_until(&gateway, 300));

    assert_eq!(read, gateway.journal().await);
    let seqs: Vec<i64> = read.iter().filter_map(|row| row["seq"].as_i64()).collect();
    assert_eq!(seqs.len(), 300);
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
}

/// Reads page after page, three rows each, until there are `count` rows.
async fn read_until(gateway: &Gateway, count: usize) -> Vec<Value> {
    let mut read: Vec<Value> = Vec::new();
    while read.len() < count {
        let after = read.last().map_or(0, |row| row["seq"].as_i64().unwrap_or_default());
        let page = page(gateway, after, 3).await;
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        assert!(rows.len() <= 3, "{page}");
        // A page that is not full cannot have more behind it.
        assert!(rows.len() == 3 || page["has_more"] == false, "{page}");
        read.extend(rows);
    }
    read
}

async fn page(gateway: &Gateway, after: i64, limit: i64) -> Value {
    let path = format!("/journal?after={after}&limit={limit}");
    gateway.call(gateway.request(reqwest::Method::GET, &path)).await.answer().json()
}

#[tokio::test]
async fn a_page_says_whether_there_are_more() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;

    for (after, limit, rows, has_more) in [
        (0, 2, 2, true),
        (0, 3, 3, false),
        (0, 4, 3, false),
        (2, 1, 1, false),
        (1, 1, 1, true),
        (3, 5, 0, false),
    ] {
        let page = page(&gateway, after, limit).await;
        let found = (page["data"].as_array().map(Vec::len), page["has_more"].as_bool());
        assert_eq!(found, (Some(rows), Some(has_more)), "after {after}, limit {limit}");
    }
}

#[tokio::test]
async fn the_journal_goes_on_after_a_kill() {
    let mut gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;
    let before = gateway.journal().await;

    gateway.kill9_and_restart().await;
    gateway.charge(a_charge("pay_2")).await;

    let after = gateway.journal().await;
    assert_eq!(after[..3], before[..]);
    let seqs: Vec<i64> = after.iter().filter_map(|row| row["seq"].as_i64()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn the_journal_cannot_be_changed() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;
    let before = gateway.journal().await;

    for change in [
        "update gateway_journal set amount = 1",
        "delete from gateway_journal where seq = 1",
        "truncate gateway_journal",
    ] {
        let refused = sqlx::query(change).execute(&gateway.database.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }

    assert_eq!(gateway.journal().await, before);
}

#[tokio::test]
async fn reading_the_journal_leaves_no_row() {
    let gateway = Gateway::start().await;
    gateway.look_up("pay_1").await;

    gateway.journal().await;

    let words: Vec<String> = gateway.journal().await.iter().map(books::in_words).collect();
    assert_eq!(words, ["request lookup", "answer lookup 200"]);
}

//! The end of a process, and its successor.
#![expect(clippy::expect_used, reason = "a caller that cannot go on fails the test that uses it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::client::{Answer, answer};
use tests::{Exit, TestDatabase, books, wait_until};
use tokio::sync::watch;

use super::caller::{Gateway, a_charge, a_gateway};

const CALLERS: usize = 8;
const KILLS: usize = 8;
/// How many calls must be acknowledged between two kills, so that each falls into the midst of work.
const BETWEEN_KILLS: usize = 24;

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills_under_load() {
    let database = TestDatabase::fresh_empty().await;
    let mut process = a_gateway(&database).start().await;
    let (announce, base) = watch::channel(Some(process.address("gateway").to_owned()));
    let told = Arc::new(Mutex::new(Acknowledged::default()));
    let callers: Vec<_> =
        (0..CALLERS).map(|n| tokio::spawn(call_on(n, base.clone(), Arc::clone(&told)))).collect();

    for _ in 0..KILLS {
        wait_for_more(&told).await;
        process.kill9();
        process = a_gateway(&database).start().await;
        announce.send_replace(Some(process.address("gateway").to_owned()));
    }
    wait_for_more(&told).await;
    announce.send_replace(None);
    for caller in callers {
        caller.await.expect("a caller got what it may get");
    }

    let journal = books::journal(process.address("gateway")).await;
    let told = told.lock().expect("no caller panicked");
    assert!(told.cut_off > 0, "no kill came in between");
    assert_kept("charge", &told.charged, &journal);
    assert_kept("void", &told.voided, &journal);
    assert!(journal.iter().zip(1_i64..).all(|(row, seq)| row["seq"] == seq), "the numbers have gaps");
}

/// What callers were told, by key, and how often they were told nothing.
#[derive(Debug, Default)]
struct Acknowledged {
    charged: BTreeMap<String, String>,
    voided: BTreeMap<String, String>,
    cut_off: usize,
}

async fn wait_for_more(told: &Mutex<Acknowledged>) {
    let charged = || told.lock().expect("no caller panicked").charged.len();
    let before = charged();
    wait_until("more charges to be acknowledged", async || charged() >= before + BETWEEN_KILLS).await;
}

/// Charges key after key, and voids every third, each until it is answered, at the latest address there is.
async fn call_on(caller: usize, mut base: watch::Receiver<Option<String>>, told: Arc<Mutex<Acknowledged>>) {
    for n in 0.. {
        let key = format!("pay_{caller}_{n}");
        let Some(charged) = until_answered(&mut base, &told, "charges", &key).await else { return };
        let id = charged["id"].as_str().expect("a charge has an id").to_owned();
        told.lock().expect("no caller panicked").charged.insert(key.clone(), id);
        if n % 3 == 0 {
            let Some(voided) = until_answered(&mut base, &told, "voids", &key).await else { return };
            let id = voided["charge_id"].as_str().expect("a void of a charge names it").to_owned();
            told.lock().expect("no caller panicked").voided.insert(key, id);
        }
    }
}

/// The body of the 201 that a call gets in the end. None once there is no address any more.
async fn until_answered(
    base: &mut watch::Receiver<Option<String>>,
    told: &Mutex<Acknowledged>,
    path: &str,
    key: &str,
) -> Option<Value> {
    loop {
        let url = base.borrow_and_update().clone()?;
        if let Ok(answer) = call(&url, path, key).await {
            answer.assert_status(201);
            return Some(answer.json());
        }
        told.lock().expect("no caller panicked").cut_off += 1;
        base.changed().await.ok()?;
    }
}

async fn call(base: &str, path: &str, key: &str) -> reqwest::Result<Answer> {
    let (own_key, body) = match path {
        "voids" => (format!("{key}:void"), json!({ "key": key })),
        _ => (
            key.to_owned(),
            json!({ "amount": "1.00", "currency": "EUR", "payment_method": "sim_ok", "reference": key }),
        ),
    };
    let request = reqwest::Client::new().post(format!("{base}/{path}")).header("idempotency-key", own_key);
    answer(request.json(&body)).await
}

/// Asserts that everything acknowledged is in the journal as it was told, and that no key has two rows of
/// this kind.
#[track_caller]
fn assert_kept(kind: &str, acknowledged: &BTreeMap<String, String>, journal: &[Value]) {
    let mut kept: BTreeMap<&str, &str> = BTreeMap::new();
    for row in journal.iter().filter(|row| row["kind"] == kind) {
        let (key, id) = (row["key"].as_str().expect("a key"), row["charge_id"].as_str().expect("an id"));
        assert_eq!(kept.insert(key, id), None, "{key} has two rows of {kind}");
    }
    assert!(!acknowledged.is_empty());
    for (key, id) in acknowledged {
        assert_eq!(kept.get(key.as_str()), Some(&id.as_str()), "{key}: the {kind} is not as it was told");
    }
}

#[tokio::test]
async fn a_second_gateway_on_the_same_books_refuses_to_start() {
    let gateway = Gateway::start().await;

    let (exit, second) = a_gateway(&gateway.database).run().await;

    assert_eq!(exit, Exit::Code(1));
    assert_eq!(second.stdout(), "");
    let said = second.stderr();
    assert!(said.contains("another gateway holds the books"), "{said}");
    assert!(said.contains("GATEWAY_DATABASE_URL"), "{said}");
    assert_eq!(gateway.charge(a_charge("pay_1")).await, "201 succeeded 12.30");
}

#[tokio::test]
async fn a_gateway_that_lost_its_database_connection_charges_nothing_twice() {
    let gateway = Gateway::start().await;
    gateway.charge(a_charge("pay_1")).await;

    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where application_name = 'simgateway' and datname = current_database()",
    )
    .execute(&gateway.database.pool)
    .await
    .expect("superuser");

    wait_until("the gateway to answer again", async || gateway.charge(a_charge("pay_1")).await.is("201"))
        .await;
    assert_eq!(gateway.effects_of("pay_1").await, ["charged 12.30"]);
}

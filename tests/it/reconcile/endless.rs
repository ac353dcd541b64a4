//! A gateway whose books lead round in a circle, or on for ever: every reader comes to an end and says so.

use chrono::Utc;
use domain::ids::GatewayName;
use serde_json::{Value, json};
use shared::gateway::Gateway;
use shared::operations::reconciliation::{self, GatewayBooks, Trigger};
use shared::payment::transition::Waits;
use tests::Impostor;
use tokio_util::sync::CancellationToken;

use super::{as_if_never_reconciled, one_that_succeeded, payonce_with, reconcile};

/// The number after `after=` in a path.
fn after(path: &str) -> i64 {
    let after = path.split_once("after=").map_or("", |(_, rest)| rest);
    after.split('&').next().unwrap_or_default().parse().unwrap_or(0)
}

/// A row of a journal that moved no money.
fn row(seq: i64) -> Value {
    json!({ "seq": seq, "at": "2026-01-01T00:00:00Z", "kind": "request" })
}

fn charge(id: &str) -> Value {
    json!({ "id": id, "key": "k", "status": "succeeded", "amount": "1.00", "currency": "EUR", "reference": "k" })
}

fn page(rows: &[Value], has_more: bool) -> Value {
    json!({ "data": rows, "has_more": has_more })
}

/// The gateway's answers to the journal and to the list of charges, and what is said of them.
type Books = (fn(i64) -> Value, fn() -> Value, &'static str);

const CIRCLES: &[Books] = &[
    (|_| page(&[], true), || page(&[], false), "the gateway's journal does not move on after row 0"),
    (
        |_| page(&[row(1), row(2)], true),
        || page(&[], false),
        "the gateway's journal does not move on after row 2",
    ),
    (
        |_| page(&[row(5), row(4)], false),
        || page(&[], false),
        "the gateway's journal does not move on after row 5",
    ),
    (
        |_| page(&[row(7), row(7)], false),
        || page(&[], false),
        "the gateway's journal does not move on after row 7",
    ),
    (
        |after| if after < 3 { page(&[row(3)], true) } else { page(&[row(2)], true) },
        || page(&[], false),
        "the gateway's journal does not move on after row 3",
    ),
    (
        |_| page(&[], false),
        || page(&[], true),
        "the gateway's list of charges does not move on after its beginning",
    ),
    (
        |_| page(&[], false),
        || page(&[charge("ch_1"), charge("ch_2")], true),
        "the gateway's list of charges does not move on after row ch_2",
    ),
    (
        |_| page(&[], false),
        || page(&[charge("ch_2"), charge("ch_1")], false),
        "the gateway's list of charges does not move on after row ch_2",
    ),
];

#[tokio::test]
async fn books_that_lead_in_a_circle_are_left_with_a_sentence_and_read_again_by_the_next_run() {
    let (system, _) = one_that_succeeded().await;
    for &(journal, charges, says) in CIRCLES {
        as_if_never_reconciled(&system).await;
        let gateway =
            Impostor::start(
                move |path| {
                    if path.starts_with("/journal") { journal(after(path)) } else { charges() }
                },
            )
            .await;

        let (code, process) = payonce_with(&system, &gateway.url, &["reconcile", "--json"]).await;

        let report: Value = serde_json::from_str(&process.stdout()).unwrap();
        // A journal that can be read lacks the charge of our payment, which is a break besides.
        let expected = if says.contains("journal") { 1 } else { 3 };
        assert_eq!((code, &report["gateway_books"]), (expected, &"faulty".into()), "{report}");
        assert_eq!(report["gateway_books_why"], says);
        assert_eq!((&report["ledger"]["checked"], &report["history"]["checked"]), (&1.into(), &1.into()));
        as_if_never_reconciled(&system).await;
        let (_, process) = payonce_with(&system, &gateway.url, &["reconcile"]).await;
        assert!(process.stdout().contains(says), "{}", process.stdout());
        as_if_never_reconciled(&system).await;
        let (code, report) = reconcile(&system).await;
        assert_eq!((code, &report["gateway_books"]), (0, &"compared".into()), "{says}: {report}");
    }
}

#[tokio::test]
async fn a_journal_that_goes_on_for_ever_is_read_a_part_at_a_time_and_keeps_nothing_else_waiting() {
    let (system, _) = one_that_succeeded().await;
    let endless = Impostor::start(|path| {
        let next = after(path) + 1;
        let row = if path.starts_with("/journal") { row(next) } else { charge(&format!("{next:08}")) };
        page(&[row], true)
    })
    .await;
    let name = GatewayName::default();
    let gateway = [Gateway::new(name, &endless.url, None, std::time::Duration::from_secs(5)).unwrap()];
    let hurry = CancellationToken::new();
    hurry.cancel();

    let run = reconciliation::run(
        &system.database.pool,
        &gateway,
        Waits::UNKNOWN,
        Trigger::Tick(Utc::now()),
        &hurry,
    );
    let report = run.await.unwrap().unwrap();

    assert_eq!(report.findings.gateway_books, GatewayBooks::Partly, "{report:?}");
    assert_eq!((report.findings.ledger.checked, report.findings.history.checked), (1, 1));
    assert!(system.count("select read_up_to from gateway_cursors").await > 0, "nothing was read");
    // The next run continues with the charges where this one stopped.
    assert_eq!(system.count("select count(*) from gateway_cursors where listed_up_to > '00000000'").await, 1);
}

#[tokio::test]
async fn verify_leaves_a_journal_that_leads_in_a_circle_with_a_sentence() {
    let (system, _) = one_that_succeeded().await;
    let journals = CIRCLES.iter().filter(|(.., says)| says.contains("journal"));
    for &(journal, _, says) in journals {
        let gateway = Impostor::start(move |path| journal(after(path))).await;

        let (code, process) = payonce_with(&system, &gateway.url, &["verify"]).await;

        let place = says.rsplit(' ').next().unwrap();
        let says =
            format!("the gateway's journal at {}/journal does not move on after row {place}", gateway.url);
        assert_eq!((code, process.stdout().as_str()), (1, ""));
        assert!(process.stderr().contains(&says), "{says}\n{}", process.stderr());
    }
}

//! Times that the database's clock wrote while it was hours ahead are found when it is right again. An event
//! mends them, and they are told.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{GatewayName, PaymentId};
use serde_json::Value;
use shared::gateway::Gateway;
use shared::operations::reconciliation::{self, Report, Trigger};
use shared::payment::transition::{Rescheduled, Waits, reschedule};
use tests::{Shape, System, a_payment, wait_until};
use tokio_util::sync::CancellationToken;

use super::{behind_the_guards, one_that_succeeded, reconcile};
use crate::PROGRAM;
use crate::verify::{offences, report, verify};

/// Makes the last event of a payment, and what it wrote, as a clock would have written them that was that
/// far ahead.
async fn as_if_the_clock_was_ahead(system: &System, id: PaymentId, by: &str) {
    let moved = "update payment_events set at = at + interval '$by', due_at = due_at + interval '$by',
                        evidence = evidence || case when evidence ? 'send_by'
                            then jsonb_build_object('send_by', (evidence ->> 'send_by')::timestamptz + interval '$by')
                            else '{}' end
                  where payment_id = $id and version = (select version from payments where id = $id);
                 update payments set due_at = due_at + interval '$by', first_sent_at = first_sent_at + interval '$by',
                        send_by = send_by + interval '$by', updated_at = updated_at + interval '$by',
                        created_at = created_at + case when version = 1 then interval '$by' else '0' end
                  where id = $id;
                 update apalis.jobs set run_at = run_at + interval '$by' where status = 'Pending'";
    behind_the_guards(system, &moved.replace("$by", by), id).await;
}

/// A system without a worker, and a payment of it that was accepted that far ahead.
async fn accepted_ahead(by: &str) -> (System, PaymentId) {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    as_if_the_clock_was_ahead(&system, id, by).await;
    (system, id)
}

/// The row of a payment as JSON.
async fn row(system: &System, id: PaymentId) -> Value {
    let row = sqlx::query_scalar("select to_jsonb(p) from payments p where id = $1").bind(id.uuid());
    row.fetch_one(&system.database.pool).await.unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// Pulls near what is more than an hour away, for workers whose claims last that long.
async fn rescheduled(system: &System, lease: Duration) -> Rescheduled {
    let waits = Waits { lease, ..Waits::UNKNOWN };
    reschedule(&system.database.pool, waits, 100).await.unwrap()
}

#[tokio::test]
async fn a_payment_that_is_due_in_eight_hours_is_found_mended_and_told() {
    let (mut system, id) = accepted_ahead("8 hours").await;
    let (code, before) = report(verify(&system, &[])).await;
    let [(check, subject, says)] = &*offences(&before) else { panic!("{before}") };
    assert_eq!((code, check.as_str(), subject.clone()), (1, "liveness", id.to_string()));
    assert!(says.starts_with("is pending, and due only in 28"), "{says}");

    let (code, first) = reconcile(&system).await;
    let (_, second) = reconcile(&system).await;

    // The payment and its job count.
    assert_eq!(
        (code, &first["due_times"]["found"], &first["due_times"]["repaired"]),
        (0, &2.into(), &2.into()),
        "{first}"
    );
    assert_eq!(second["due_times"]["found"], 0, "{second}");
    assert_eq!(system.story(id).await, ["created", "rescheduled"]);
    assert_eq!(report(verify(&system, &[])).await.0, 0);
    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_worker_mends_it_by_itself_and_says_so() {
    let (mut system, id) = accepted_ahead("8 hours").await;

    let worker = system.add_worker([("RECONCILE_EVERY_MS", "300"), ("RUST_LOG", "info")]).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert_eq!(system.story(id).await, ["created", "rescheduled", "attempt_started", "succeeded"]);
    let said = system.workers[worker].stderr();
    assert!(
        said.lines().any(|line| line.contains("\"rescheduled\"") && line.contains(&id.to_string())),
        "{said}"
    );
    wait_until("it to be counted", async || {
        let scrape = tests::Scrape::of(&system.workers[worker]).await;
        scrape.sum("payonce_rescheduled_total", &[("kind", "payment")]).to_string() == "1"
            && scrape.sum("payonce_rescheduled_total", &[("kind", "job")]).to_string() == "1"
    })
    .await;
    assert_eq!(report(verify(&system, &[])).await.0, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_wait_that_may_be_is_left_as_it_is() {
    let (system, id) = accepted_ahead("60 seconds").await;
    let before = row(&system, id).await;
    let waits = Waits::of([&domain::decide::Policy::default()], Duration::from_secs(30));

    let done = reschedule(&system.database.pool, waits, 100).await.unwrap();
    let (_, report) = reconcile(&system).await;

    assert_eq!((done, &report["due_times"]["found"]), (Rescheduled::default(), &0.into()));
    assert_eq!(row(&system, id).await, before);
}

/// A payment that a worker has charged, and has frozen over. Its claim was written eight hours ahead.
async fn claimed_ahead() -> (System, PaymentId, usize) {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let worker = system.add_worker([("PAYONCE_FAULTS", "charge.answered=stop"), ("LEASE_MS", "60000")]).await;
    let id = system.accepted(a_payment()).await;
    system.workers[worker].wait_until_stopped().await;
    as_if_the_clock_was_ahead(&system, id, "8 hours").await;
    (system, id, worker)
}

#[tokio::test]
async fn a_claim_that_ends_in_eight_hours_ends_a_lease_from_now_and_settles_until_it_is_taken_over() {
    let (mut system, id, worker) = claimed_ahead().await;
    let before = row(&system, id).await;

    let done = rescheduled(&system, Duration::from_secs(60)).await;

    assert_eq!(done.payments.len(), 1, "{done:?}");
    let after = row(&system, id).await;
    assert_eq!((&after["claim_token"], &after["status"]), (&before["claim_token"], &"processing".into()));
    let at = time(&after["updated_at"]);
    assert_eq!(time(&after["due_at"]), at + TimeDelta::seconds(60));
    assert_eq!(time(&after["first_sent_at"]), at);
    assert_eq!(time(&after["send_by"]), at + TimeDelta::seconds(60));
    system.workers[worker].cont();
    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert_eq!(system.story(id).await, ["created", "attempt_started", "rescheduled", "succeeded"]);
    assert_eq!(report(verify(&system, &[])).await.0, 0);
    assert_eq!(reconcile(&system).await.0, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_claim_whose_worker_died_while_the_clock_was_ahead_is_taken_over_when_a_lease_is_over() {
    let (mut system, id, worker) = claimed_ahead().await;
    system.workers[worker].kill9();

    rescheduled(&system, Duration::from_millis(10)).await;

    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    let story = system.story(id).await;
    assert_eq!(story, ["created", "attempt_started", "rescheduled", "taken_over", "succeeded"]);
    assert_eq!(report(verify(&system, &[])).await.0, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn the_void_of_a_charge_after_the_end_that_is_due_in_eight_hours_is_due_now() {
    let (system, id) = one_that_succeeded().await;
    let planted = "insert into breaks (payment_id, kind, detail, opened_at, void_due_at)
                   values ($id, 'charged_after_end', '{}', now(), now() + interval '8 hours')";
    behind_the_guards(&system, planted, id).await;

    let done = rescheduled(&system, Duration::from_secs(1)).await;

    assert_eq!(done, Rescheduled { remedies: 1, ..Rescheduled::default() });
    assert_eq!(system.count("select count(*) from breaks where void_due_at <= clock_timestamp()").await, 1);
}

async fn tick(system: &System, after: TimeDelta) -> Option<Report> {
    let gateway =
        Gateway::new(GatewayName::default(), system.gateway.address("gateway"), None, Duration::from_secs(5))
            .unwrap();
    let (hurry, trigger) = (CancellationToken::new(), Trigger::Tick(Utc::now() + after));
    hurry.cancel();
    let pool = &system.database.pool;
    reconciliation::run(pool, &[gateway], Waits::UNKNOWN, trigger, &hurry).await.unwrap()
}

#[tokio::test]
async fn a_reconciliation_that_was_broken_off_while_the_clock_was_ahead_keeps_none_from_beginning() {
    let (system, id) = one_that_succeeded().await;
    let broken_off = "insert into reconciliation_runs (trigger, tick, holder, touched_at)
                      values ('tick', now() + interval '8 hours', gen_random_uuid(), now() + interval '8 hours')";
    behind_the_guards(&system, broken_off, id).await;

    let report = tick(&system, TimeDelta::zero()).await.expect("it is gone on with");

    assert_eq!(report.findings.ledger.checked, 1);
}

#[tokio::test]
async fn the_next_pass_goes_on_where_the_last_run_ended_and_not_where_the_latest_tick_did() {
    let (system, id) = one_that_succeeded().await;
    let ahead = "insert into reconciliation_runs (trigger, tick, finished_at, step, compared_up_to, pass_began_at)
                 values ('tick', now() + interval '8 hours', now(), 'done', 'ffffffff-ffff-ffff-ffff-ffffffffffff', now())";
    behind_the_guards(&system, ahead, id).await;

    let first = tick(&system, TimeDelta::zero()).await.unwrap();
    let second = tick(&system, TimeDelta::minutes(1)).await.unwrap();

    assert_eq!((first.findings.ledger.checked, second.findings.ledger.checked), (0, 1));
}

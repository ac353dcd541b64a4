//! Workers that freeze between two steps, as real processes, and go on long after another one finished
//! their work. Nothing that they still do changes anything. The matrix shows that they may die, fail or
//! pause anywhere.

use domain::ids::PaymentId;
use serde_json::{Value, json};
use tests::{Exit, Shape, System, a_payment};

use crate::PROGRAM;

async fn without_worker() -> System {
    System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await
}

#[tokio::test]
async fn an_attempt_is_on_record_before_the_gateway_hears_of_it() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let worker = system.add_worker([("PAYONCE_FAULTS", "charge.before=stop")]).await;
    system.workers[worker].wait_until_stopped().await;

    assert_eq!(system.story(id).await, ["created", "attempt_started"]);
    assert_eq!(system.journal_of(id).await, Vec::<String>::new());
}

#[tokio::test]
async fn when_only_workers_die_no_retry_is_spent() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    for point in ["charge.before", "lookup.before"] {
        let dying = system.add_worker([("PAYONCE_FAULTS", format!("{point}=kill"))]).await;
        assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{point}");
    }
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");

    let story = system.story(id).await;
    assert!(story.iter().filter(|event| *event == "taken_over").count() >= 2, "{story:?}");
    assert_eq!(system.count("select retries_spent::bigint from payments").await, 0);
    system.assert_books_agree().await;
}

/// The gateway's requests to charge this payment, as its journal has them.
async fn charge_requests(system: &System, id: PaymentId) -> usize {
    let key = id.to_string();
    let journal = system.journal().await;
    let is_one = |row: &&Value| row["kind"] == "request" && row["op"] == "charge";
    journal.iter().filter(is_one).filter(|row| row["reference"] == key.as_str()).count()
}

#[tokio::test]
async fn a_worker_killed_once_its_charge_was_answered_has_asked_for_the_only_one() {
    for point in ["charge.answered", "settle.before", "settle.committed"] {
        let mut system = without_worker().await;
        let id = system.accepted(a_payment()).await;
        let dying = system.add_worker([("PAYONCE_FAULTS", format!("{point}=kill"))]).await;
        assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{point}");
        assert_eq!(charge_requests(&system, id).await, 1, "{point}: the charge was to be answered");

        system.add_worker([("RUST_LOG", "info")]).await;
        let payment = system.ended(id).await;

        assert_eq!(payment["status"], "succeeded", "{point}");
        assert_eq!(charge_requests(&system, id).await, 1, "{point}: {:?}", system.journal_of(id).await);
        system.assert_books_agree().await;
    }
}

#[tokio::test]
async fn a_gateway_that_dies_between_its_books_and_its_answer_is_asked_for_one_charge() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    system.faults(json!({ "crash": "after" })).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(system.gateway.wait_exit().await, Exit::Signal(9));
    system.restart_gateway().await;
    let payment = system.ended(id).await;

    assert_eq!(payment["status"], "succeeded");
    assert_eq!(charge_requests(&system, id).await, 1, "{:?}", system.journal_of(id).await);
    system.assert_books_agree().await;
}

/// A payment whose first worker froze at `point`, and a second worker that knows nothing of that.
async fn frozen_at(point: &str, token: &str, second: &[(&'static str, &str)]) -> (System, PaymentId) {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment().method(token)).await;
    let first = system.add_worker([("PAYONCE_FAULTS", format!("{point}=stop"))]).await;
    system.workers[first].wait_until_stopped().await;
    system.add_worker(second.iter().copied()).await;
    (system, id)
}

/// Lets the frozen worker go on, and waits until it has written down its late evidence.
async fn thaw(system: &mut System) {
    system.workers[0].cont();
    tests::wait_until("the late evidence", async || late_evidence(system).await == 1).await;
}

async fn late_evidence(system: &System) -> i64 {
    system.count("select count(*) from late_evidence").await
}

async fn terminal_events(system: &System) -> i64 {
    system
        .count("select count(*) from payment_events where to_status in ('succeeded', 'failed', 'reversed')")
        .await
}

#[tokio::test]
async fn a_worker_frozen_before_it_sends_does_not_send_once_its_window_has_passed() {
    let (mut system, id) = frozen_at("charge.before", "sim_ok", &[]).await;
    let payment = system.ended(id).await;

    thaw(&mut system).await;

    assert_eq!(payment["status"], "succeeded");
    let charges = system.journal_of(id).await.iter().filter(|row| *row == "request charge").count();
    assert_eq!(charges, 1, "the frozen worker sent its charge after all");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_charge_sent_by_a_worker_long_taken_over_is_only_a_replay() {
    let (mut system, id) = frozen_at("charge.sending", "sim_ok", &[]).await;
    let payment = system.ended(id).await;

    thaw(&mut system).await;

    assert_eq!(payment["status"], "succeeded");
    let journal = system.journal_of(id).await;
    assert_eq!(journal.iter().filter(|row| *row == "request charge").count(), 2, "{journal:?}");
    assert_eq!(journal.iter().filter(|row| *row == "charge charge").count(), 1, "{journal:?}");
    assert_eq!(terminal_events(&system).await, 1);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_charge_that_arrives_after_its_void_charges_nothing() {
    let (mut system, id) = frozen_at("charge.sending", "sim_ok", &[("GATEWAY_HONOURS_KEYS", "false")]).await;
    let payment = system.ended(id).await;

    thaw(&mut system).await;

    assert_eq!(payment["status"], "reversed");
    let journal = system.journal_of(id).await;
    assert_eq!(journal.last().map(String::as_str), Some("answer charge 409"), "{journal:?}");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_worker_frozen_between_charge_and_settling_writes_nothing_once_it_was_taken_over() {
    for point in ["charge.answered", "settle.before"] {
        let (mut system, id) = frozen_at(point, "sim_ok", &[]).await;
        let payment = system.ended(id).await;

        thaw(&mut system).await;

        assert_eq!(payment["status"], "succeeded");
        assert_eq!(terminal_events(&system).await, 1);
        assert_eq!(system.count("select count(*) from ledger_transfers").await, 1);
        assert_eq!(system.client.payment(id).await, payment, "the late write changed the payment");
        system.assert_books_agree().await;
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_but_that_nobody_took_over_still_settles() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let only = system.add_worker([("PAYONCE_FAULTS", "settle.before=stop")]).await;
    system.workers[only].wait_until_stopped().await;
    system.make_due(id).await;

    // All its threads go on at once. Whether settling or sweeping comes first, one charge stands.
    system.workers[only].cont();
    let payment = system.ended(id).await;

    assert_eq!(payment["status"], "succeeded");
    assert_eq!(terminal_events(&system).await, 1);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_charge_found_by_a_frozen_lookup_is_not_adopted_once_the_void_is_through() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment().method("sim_reset_after")).await;
    let first = system.add_worker([("PAYONCE_FAULTS", "lookup.answered=stop")]).await;
    system.workers[first].wait_until_stopped().await;
    system.faults(json!({ "lookup_error_rate": 1.0 })).await;
    system.add_worker([("DOUBT_DEADLINE_MS", "1")]).await;
    let payment = system.ended(id).await;

    thaw(&mut system).await;

    assert_eq!(payment["status"], "reversed");
    assert_eq!(system.client.payment(id).await["status"], "reversed");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_void_sent_twice_by_a_frozen_worker_and_its_successor_is_one_void() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment().method("sim_reset_after")).await;
    system.faults(json!({ "lookup_error_rate": 1.0 })).await;
    let env = [("PAYONCE_FAULTS", "void.sending=stop"), ("DOUBT_DEADLINE_MS", "1")];
    let first = system.add_worker(env).await;
    system.workers[first].wait_until_stopped().await;
    system.add_worker([("DOUBT_DEADLINE_MS", "1")]).await;
    let payment = system.ended(id).await;

    thaw(&mut system).await;

    assert_eq!(payment["status"], "reversed");
    let journal = system.journal_of(id).await;
    assert_eq!(journal.iter().filter(|row| *row == "answer void 201").count(), 2, "{journal:?}");
    assert_eq!(journal.iter().filter(|row| *row == "void void").count(), 1, "{journal:?}");
    system.assert_books_agree().await;
}

//! Charges that come to light after their payment had ended without one, with real processes. Each is voided
//! at once, however often workers die over it, and its break tells a person so. And evidence against a
//! payment that succeeded.

use domain::held::Wish;
use domain::ids::PaymentId;
use serde_json::{Value, json};
use shared::payment::transition::{Asked, Asking, Justification, ask, close_break};
use tests::{Exit, Shape, System, a_payment, wait_for, wait_until};

use crate::PROGRAM;
use crate::reconcile::behind_the_guards;

async fn without_worker() -> System {
    System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await
}

/// A payment in status `failed` whose charge is on its way: hidden, until it arrives. No worker ever
/// claims it.
///
/// No program of ours leads to this state (`tests/it/teeth.rs` shows what stands against it), so it is
/// written by hand.
async fn failed_with_a_charge_on_its_way(system: &System) -> PaymentId {
    let id = system.accepted(a_payment()).await;
    let mut connection = system.database.pool.acquire().await.unwrap();
    sqlx::query("set session_replication_role = replica").execute(&mut *connection).await.unwrap();
    sqlx::query(
        "update payments set status = 'failed', due_at = null, failure_code = 'expired', failure_message = '',
                             failure_retryable = true, terminal_at = clock_timestamp()
          where id = $1",
    )
    .bind(id.uuid())
    .execute(&mut *connection)
    .await
    .unwrap();
    sqlx::query("reset session_replication_role").execute(&mut *connection).await.unwrap();
    let charge = json!({ "amount": "12.30", "currency": "EUR", "payment_method": "sim_ok", "reference": id });
    let sent = reqwest::Client::new()
        .post(format!("{}/charges", system.gateway.address("gateway")))
        .header("idempotency-key", system.gateway_key(id).await)
        .json(&charge)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 201);
    id
}

/// Opens the break as reconciliation does.
async fn found_by_reconciliation(system: &System, id: PaymentId) {
    let journal = system.journal().await;
    let charge =
        journal.iter().find(|row| row["kind"] == "charge" && row["reference"] == id.to_string().as_str());
    sqlx::query(
        "insert into breaks (payment_id, kind, detail, opened_at)
         values ($1, 'charged_after_end', $2, clock_timestamp())
             on conflict (payment_id, kind) where closed_at is null do nothing",
    )
    .bind(id.uuid())
    .bind(json!({ "charge_id": charge.map_or(&Value::Null, |row| &row["charge_id"]) }))
    .execute(&system.database.pool)
    .await
    .unwrap();
}

/// What the only break says of the void, once no worker asks any more.
async fn void_over(system: &System) -> Value {
    wait_for("the void to be over", async || {
        sqlx::query_scalar("select detail -> 'void' from breaks where void_ended_at is not null")
            .fetch_optional(&system.database.pool)
            .await
            .unwrap()
    })
    .await
}

async fn open_breaks(system: &System, kind: &str) -> i64 {
    sqlx::query_scalar("select count(*) from breaks where kind = $1 and closed_at is null")
        .bind(kind)
        .fetch_one(&system.database.pool)
        .await
        .unwrap()
}

async fn voids(system: &System, id: PaymentId) -> usize {
    system.journal_of(id).await.iter().filter(|row| *row == "void void").count()
}

#[tokio::test]
async fn a_charge_found_for_a_failed_payment_is_voided_and_its_break_says_so() {
    let mut system = without_worker().await;
    let id = failed_with_a_charge_on_its_way(&system).await;
    let before = system.client.payment(id).await;
    found_by_reconciliation(&system, id).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    let void = void_over(&system).await;

    assert_eq!(void["outcome"], "confirmed");
    assert_eq!(void["evidence"]["http_status"], 201);
    assert_eq!(voids(&system, id).await, 1);
    assert_eq!(open_breaks(&system, "charged_after_end").await, 1, "a person closes it");
    let kept = "select detail ->> 'charge_id' from breaks where kind = 'charged_after_end'";
    let found: Option<String> = sqlx::query_scalar(kept).fetch_one(&system.database.pool).await.unwrap();
    assert!(found.is_some_and(|id| id.starts_with("ch_")), "what was found is kept");
    assert_eq!(system.client.payment(id).await, before, "a terminal payment changed");
}

/// Shorter than the other tests' lease, since five deaths are waited for.
const SHORT_LEASE: [(&str, &str); 3] =
    [("GATEWAY_TIMEOUT_MS", "300"), ("SEND_WINDOW_MS", "300"), ("LEASE_MS", "900")];

/// Lets a worker die there with the void under way, and another one finish. Answers how many claims it took.
async fn survives(point: &str) -> i64 {
    let mut system = without_worker().await;
    let id = failed_with_a_charge_on_its_way(&system).await;
    found_by_reconciliation(&system, id).await;
    let fault = format!("{point}=kill");
    let env = SHORT_LEASE.into_iter().chain([("PAYONCE_FAULTS", fault.as_str())]);
    let dying = system.add_worker(env).await;
    assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{point}");
    system.add_worker([("RUST_LOG", "info")]).await;

    let void = void_over(&system).await;

    assert_eq!(void["outcome"], "confirmed", "{point}");
    assert_eq!(voids(&system, id).await, 1, "{point}");
    system.journal_of(id).await.iter().filter(|row| *row == "request void").count().try_into().unwrap()
}

#[tokio::test]
async fn workers_may_die_at_every_step_of_a_remedy() {
    let points =
        ["remedy_claim.committed", "void.before", "void.sending", "void.answered", "remedy_record.committed"];
    let requests = futures::future::join_all(points.map(survives)).await;
    assert_eq!(requests, [1, 1, 1, 2, 1], "requests to void, by point of death");
}

#[tokio::test]
async fn a_remedy_that_was_taken_over_changes_nothing_and_is_kept() {
    let mut system = without_worker().await;
    let id = failed_with_a_charge_on_its_way(&system).await;
    found_by_reconciliation(&system, id).await;
    let frozen = system.add_worker([("PAYONCE_FAULTS", "void.answered=stop")]).await;
    system.workers[frozen].wait_until_stopped().await;
    system.add_worker([("RUST_LOG", "info")]).await;
    let void = void_over(&system).await;

    system.workers[frozen].cont();

    wait_until("the late evidence", async || {
        system
            .count("select count(*) from late_evidence where event_type = 'reversed' and reason = 'remedy'")
            .await
            == 1
    })
    .await;
    assert_eq!(void_over(&system).await, void);
    assert_eq!(voids(&system, id).await, 1);
}

#[tokio::test]
async fn a_charge_that_cannot_be_voided_is_left_to_a_person_with_the_evidence() {
    for (declared, faults, asked) in
        [("true", json!({ "void_unsupported": true }), 1), ("false", json!({}), 0)]
    {
        let mut system = without_worker().await;
        system.faults(faults).await;
        let id = failed_with_a_charge_on_its_way(&system).await;
        found_by_reconciliation(&system, id).await;
        system.add_worker([("GATEWAY_VOID_SUPPORTED", declared)]).await;

        let void = void_over(&system).await;

        assert_eq!(void["outcome"], "unsupported", "{void}");
        let requests = system.journal_of(id).await.iter().filter(|row| *row == "request void").count();
        assert_eq!(requests, asked, "{declared}");
        assert_eq!(open_breaks(&system, "charged_after_end").await, 1);
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_is_asked_again_once_it_is_back_however_long_that_takes() {
    let mut system = without_worker().await;
    let id = failed_with_a_charge_on_its_way(&system).await;
    found_by_reconciliation(&system, id).await;
    system.gateway.kill9();
    let worker = system.add_worker([("DOUBT_DEADLINE_MS", "1")]).await;
    wait_until("the worker to find out", async || {
        system.workers[worker].stderr().contains("\"event\":\"breaker_opened\"")
    })
    .await;

    system.restart_gateway().await;
    let void = void_over(&system).await;

    assert_eq!((&void["outcome"], &void["is_over"]), (&json!("confirmed"), &json!(true)));
    assert_eq!(voids(&system, id).await, 1);
    assert_eq!(open_breaks(&system, "charged_after_end").await, 1);
}

#[tokio::test]
async fn what_belongs_to_a_payment_that_succeeded_or_to_a_closed_break_is_not_voided() {
    let mut system = without_worker().await;
    let closed = failed_with_a_charge_on_its_way(&system).await;
    found_by_reconciliation(&system, closed).await;
    let by_hand = Justification::new("ada", "refunded").unwrap();
    let id: i64 = sqlx::query_scalar("select id from breaks").fetch_one(&system.database.pool).await.unwrap();
    assert!(close_break(&system.database.pool, id, &by_hand).await.unwrap());
    let paid = system.accepted(a_payment()).await;
    let first = system.add_worker([("RUST_LOG", "info")]).await;
    system.ended(paid).await;
    system.workers[first].kill9();
    found_by_reconciliation(&system, paid).await;
    let last = failed_with_a_charge_on_its_way(&system).await;
    found_by_reconciliation(&system, last).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    void_over(&system).await;

    assert_eq!(voids(&system, last).await, 1);
    assert_eq!(voids(&system, paid).await + voids(&system, closed).await, 0);
    assert_eq!(system.client.payment(paid).await["status"], "succeeded");
}

/// A worker frozen at `point` with the payment's first charge, and the payment ended by a second worker.
async fn frozen_at(point: &str, second: &[(&'static str, &str)]) -> (System, PaymentId, Value) {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let first = system.add_worker([("PAYONCE_FAULTS", format!("{point}=stop"))]).await;
    system.workers[first].wait_until_stopped().await;
    system.add_worker(second.iter().copied()).await;
    let payment = system.ended(id).await;
    (system, id, payment)
}

#[tokio::test]
async fn late_evidence_of_a_charge_for_a_reversed_payment_opens_a_break_that_is_remedied() {
    let no_lookups = [("GATEWAY_LOOKUP_SUPPORTED", "false")];
    let (mut system, id, payment) = frozen_at("settle.before", &no_lookups).await;
    assert_eq!(payment["status"], "reversed");

    system.workers[0].cont();

    assert_eq!(void_over(&system).await["outcome"], "confirmed");
    assert_eq!(open_breaks(&system, "charged_after_end").await, 1);
    assert_eq!(voids(&system, id).await, 1, "the void of a voided charge moves nothing");
    assert_eq!(system.client.payment(id).await, payment);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_charge_that_comes_to_light_for_a_payment_that_a_person_failed_without_proof_is_left_to_a_person() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let first = system.add_worker([("PAYONCE_FAULTS", "settle.before=stop")]).await;
    system.workers[first].wait_until_stopped().await;
    let neither = [("GATEWAY_LOOKUP_SUPPORTED", "false"), ("GATEWAY_VOID_SUPPORTED", "false")];
    let second = system.add_worker(neither).await;
    let held = i32::try_from(system.held(id).await["version"].as_i64().unwrap()).unwrap();
    let by_hand = Justification::new("ada", "the customer says so").unwrap();
    let fail = Asking::new((id, held), Wish::Fail, true, by_hand, "ada").unwrap();
    assert!(matches!(ask(&system.database.pool, &fail).await.unwrap(), Asked::Open(_)));
    assert_eq!(system.ended(id).await["status"], "failed");
    system.workers[second].kill9();

    system.workers[first].cont();

    wait_until("the break", async || open_breaks(&system, "unproven_refuted").await == 1).await;
    // As if the break had been opened before the payment ended without proof. The remedy itself passes over
    // it, too.
    behind_the_guards(&system, "update breaks set kind = 'charged_after_end' where payment_id = $id", id)
        .await;
    // A remedy that is due is carried out before anything else, and this one never is. While it is frozen,
    // the worker cannot claim the payment too early.
    system.workers[first].stop().await;
    let other = failed_with_a_charge_on_its_way(&system).await;
    found_by_reconciliation(&system, other).await;
    system.workers[first].cont();
    assert_eq!(void_over(&system).await["outcome"], "confirmed");
    assert_eq!((voids(&system, other).await, voids(&system, id).await), (1, 0));
    assert_eq!(open_breaks(&system, "charged_after_end").await, 2);
}

#[tokio::test]
async fn a_second_charge_by_a_worker_long_taken_over_is_a_contradiction() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    let first = system.add_worker([("PAYONCE_FAULTS", "charge.sending=stop")]).await;
    system.workers[first].wait_until_stopped().await;
    system.add_worker([("RUST_LOG", "info")]).await;
    let payment = system.ended(id).await;
    assert_eq!(payment["status"], "succeeded");
    system.faults(json!({ "ignore_idempotency_keys": true })).await;

    system.workers[first].cont();

    wait_until("the break", async || open_breaks(&system, "contradiction").await == 1).await;
    assert_eq!(system.client.payment(id).await, payment);
    let odds = system.violations().await;
    assert!(odds.contains(&format!("{id} was charged 2 times")), "{odds:?}");
    assert_eq!(voids(&system, id).await, 0, "the charge that the customer owes must stand");
}

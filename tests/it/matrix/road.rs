//! The roads: how a cell's point is reached, and what follows after it fired. Each answers the payment, which
//! must end.

use domain::held::Wish;
use domain::ids::PaymentId;
use reqwest::{Method, RequestBuilder};
use rust_decimal::Decimal;
use shared::payment::transition::{
    Approving, Asked, Asking, Justification, Person, Proposal, Proposing, approve, ask, propose,
};
use shared::queue::repair::stray_jobs;
use sqlx::AssertSqlSafe;
use tests::client::answer;
use tests::{Client, Process, a_payment, wait_for, wait_until};

use super::cell::{Action, Cell, Lane};
use crate::operator::{ADAS_KEY, ADMIN_KEY, BOBS_KEY, charge_id, version, void_at_the_gateway};
use crate::reconcile::reconcile as reconcile_now;

/// A worker works on a payment, and another one goes on.
pub(super) async fn work(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    let armed = lane.worker(cell, &cell.faults()).await;
    lane.survives(cell, armed).await;
    id
}

/// A client posts, has no good answer, and posts again under its key.
pub(super) async fn accept(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let request = a_payment().method(cell.outcome.token);
    let mut api = lane.system.api().env("PAYONCE_FAULTS", cell.faults()).start().await;
    let client = client_of(lane, &api);
    let first = tokio::spawn({
        let request = request.clone();
        async move { client.try_pay(request).await }
    });
    cell.fires(&mut api).await;
    let again = restarted(lane, cell).await;
    let again_at = client_of(lane, again.as_ref().unwrap_or(&lane.system.apis[0]));

    let id = again_at.pay(request).await.payment_id();
    match first.await.unwrap() {
        Ok(answer) if answer.status == 202 => assert_eq!(answer.payment_id(), id, "{cell}"),
        Ok(answer) => assert!(answer.status >= 500, "{cell}: {}", answer.status),
        Err(_) => assert_eq!(cell.action, Action::Kill, "{cell}"),
    }
    lane.worker(cell, "").await;
    id
}

fn client_of(lane: &Lane, api: &Process) -> Client {
    Client::new(vec![api.address("api").to_owned()], lane.system.client.secret().to_owned())
}

/// A worker is frozen between its charge and settling it, until another one, which is armed, has reversed the
/// payment. The frozen worker's late evidence opens a break, and the charge is remedied.
pub(super) async fn remedy(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let id = lane.system.accepted(a_payment()).await;
    let frozen = lane.frozen_before_settling(cell).await;
    let armed = lane.worker(cell, &cell.faults()).await;
    lane.system.ended(id).await;
    lane.system.workers[frozen].cont();
    let evidence = "select exists (select from late_evidence where payment_id = $1)";
    wait_until("the late evidence", async || {
        let evidence = sqlx::query_scalar(evidence).bind(id.uuid());
        evidence.fetch_one(&lane.system.database.pool).await.unwrap()
    })
    .await;
    lane.system.workers[frozen].kill9();
    lane.survives(cell, armed).await;
    let remedied = "select count(*) from breaks
                     where void_ended_at is not null and detail -> 'void' ->> 'outcome' = 'confirmed'";
    let breaks = "select count(*) from breaks where kind = 'charged_after_end'";
    wait_until("the remedy", async || {
        let remedied = lane.system.count(remedied).await;
        remedied > 0 && remedied == lane.system.count(breaks).await
    })
    .await;
    id
}

/// A held payment, and a person's decision about it. A gateway that tells nothing leaves only an end
/// without proof.
async fn held(lane: &mut Lane, cell: &Cell) -> (PaymentId, String) {
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    lane.worker(cell, "").await;
    let fields = decision(lane, id).await;
    (id, fields)
}

async fn decision(lane: &Lane, id: PaymentId) -> String {
    let held = version(&lane.system.held(id).await);
    let charge = charge_id(&lane.system, id).await;
    format!("version={held}&decision=succeed+unproven&charge_id={charge}&reason=seen")
}

/// A person ends a held payment, at an API that is armed, and then once more.
pub(super) async fn decide(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let (id, fields) = held(lane, cell).await;
    a_person_does(lane, cell, &format!("/ops/payments/{id}"), (ADMIN_KEY, fields)).await;
    id
}

/// The same decision, checked by a worker that is armed.
pub(super) async fn check(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let (id, fields) = held(lane, cell).await;
    lane.system.workers.iter_mut().for_each(Process::kill9);
    let armed = lane.worker(cell, &cell.faults()).await;
    let asked = tokio::spawn(answer(form(
        &lane.system.apis[0],
        &format!("/ops/payments/{id}"),
        (ADMIN_KEY, &fields),
    )));
    lane.survives(cell, armed).await;
    assert_eq!(asked.await.unwrap().unwrap().status, 303, "{cell}");
    id
}

/// A person gives a held payment back, at an API that is armed, and then once more. Held again, it is
/// decided about.
pub(super) async fn release(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let (id, _) = held(lane, cell).await;
    let before = version(&lane.system.client.payment(id).await);
    let fields = format!("version={before}&decision=release&reason=seen");
    a_person_does(lane, cell, &format!("/ops/payments/{id}"), (ADMIN_KEY, fields)).await;
    wait_until("the payment to be held again", async || {
        version(&lane.system.client.payment(id).await) > before
            && lane.system.held(id).await["due_at"].is_null()
    })
    .await;
    decided(lane, cell, id).await;
    id
}

async fn decided(lane: &Lane, cell: &Cell, id: PaymentId) {
    let fields = decision(lane, id).await;
    let asked =
        answer(form(&lane.system.apis[0], &format!("/ops/payments/{id}"), (ADMIN_KEY, &fields))).await;
    assert_eq!(asked.unwrap().status, 303, "{cell}");
}

/// A person takes back a decision that no worker has come for, at an API that is armed, and then once more.
pub(super) async fn withdraw(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let (id, _) = held(lane, cell).await;
    lane.system.workers.iter_mut().for_each(Process::kill9);
    let ada = Justification::new("ada", "seen").unwrap();
    let about = (id, version(&lane.system.client.payment(id).await));
    let asking = Asking::new(about, Wish::Fail, true, ada, "ada").unwrap();
    let Asked::Open(open) = ask(&lane.system.database.pool, &asking).await.unwrap() else {
        unreachable!("nobody else asks")
    };
    let fields = format!("decision=withdraw&id={open}&reason=seen");
    a_person_does(lane, cell, &format!("/ops/payments/{id}"), (ADMIN_KEY, fields)).await;
    let withdrawn = format!("select count(*) from decisions where id = {open} and outcome = 'withdrawn'");
    let withdrawn: i64 =
        sqlx::query_scalar(AssertSqlSafe(withdrawn)).fetch_one(&lane.system.database.pool).await.unwrap();
    assert_eq!(withdrawn, 1, "{cell}");
    lane.worker(cell, "").await;
    decided(lane, cell, id).await;
    id
}

/// A payment that succeeded, whose charge was given back at the gateway.
async fn given_back(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    lane.worker(cell, "").await;
    lane.system.ended(id).await;
    void_at_the_gateway(&lane.system, id).await;
    id
}

fn person(name: &str) -> Person {
    Person { name: name.to_owned(), credential: name.to_owned(), key: name.to_owned() }
}

async fn proposed(lane: &Lane, id: PaymentId) -> i64 {
    let nothing = (Decimal::ZERO, None);
    let proposal = Proposal::new(id, "charge_refunded", nothing, "seen", person("eve")).unwrap();
    match propose(&lane.system.database.pool, &proposal).await.unwrap() {
        Proposing::Open(correction) | Proposing::Another(correction) => correction,
        Proposing::NoSuchPayment | Proposing::UnderWay => unreachable!("{id} is over"),
    }
}

/// Waits until the correction is posted, which happens once the gateway's journal is copied anew.
async fn posted(lane: &Lane, cell: &Cell, id: PaymentId) {
    reconcile_now(&lane.system).await;
    wait_until(format!("{cell}: the correction to be posted"), async || {
        let posted = "select exists (select from corrections where payment_id = $1 and outcome = 'posted')";
        sqlx::query_scalar(posted).bind(id.uuid()).fetch_one(&lane.system.database.pool).await.unwrap()
    })
    .await;
}

/// Two people correct a payment, one of them at an API that is armed, and then once more.
pub(super) async fn correct(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let id = given_back(lane, cell).await;
    if cell.point.starts_with("correction_propose") {
        let fields = "kind=charge_refunded&amount=0&reason=seen".to_owned();
        a_person_does(lane, cell, &format!("/ops/payments/{id}/corrections"), (ADAS_KEY, fields)).await;
    }
    if cell.point.starts_with("correction_withdraw") {
        let path = format!("/ops/corrections/{}", proposed(lane, id).await);
        a_person_does(lane, cell, &path, (BOBS_KEY, "action=withdraw&reason=seen".to_owned())).await;
    }
    let correction = proposed(lane, id).await;
    if cell.point.starts_with("correction_approve") {
        let path = format!("/ops/corrections/{correction}");
        a_person_does(lane, cell, &path, (BOBS_KEY, "action=approve".to_owned())).await;
    } else {
        let approved = approve(&lane.system.database.pool, correction, &person("bob")).await.unwrap();
        assert_eq!(approved, Approving::Done, "{cell}");
    }
    posted(lane, cell, id).await;
    id
}

/// A worker that is armed carries out what two people agree on, and another one goes on.
pub(super) async fn carry_out(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let id = given_back(lane, cell).await;
    lane.system.workers.iter_mut().for_each(Process::kill9);
    let correction = proposed(lane, id).await;
    approve(&lane.system.database.pool, correction, &person("bob")).await.unwrap();
    reconcile_now(&lane.system).await;
    let armed = lane.worker(cell, &cell.faults()).await;
    lane.survives(cell, armed).await;
    posted(lane, cell, id).await;
    id
}

/// A person closes a break, at an API that is armed, and then once more.
pub(super) async fn close_break(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    lane.worker(cell, "").await;
    lane.system.ended(id).await;
    let open: i64 = sqlx::query_scalar(
        "insert into breaks (payment_id, kind, detail, opened_at)
         values ($1, 'contradiction', '{}', clock_timestamp()) returning id",
    )
    .bind(id.uuid())
    .fetch_one(&lane.system.database.pool)
    .await
    .unwrap();
    a_person_does(lane, cell, &format!("/ops/breaks/{open}"), (ADMIN_KEY, "reason=seen".to_owned())).await;
    let closed = "select count(*) from breaks where kind = 'contradiction' and closed_at is null";
    assert_eq!(lane.system.count(closed).await, 0, "{cell}");
    id
}

/// A person replays a dead letter, at an API that is armed, and then once more.
pub(super) async fn replay(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let pool = lane.system.database.pool.clone();
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    let lost_twice = "update apalis.jobs set attempts = 2, run_at = now() - interval '1 hour'";
    sqlx::query(lost_twice).execute(&pool).await.unwrap();
    stray_jobs(&pool, 10).await.unwrap();
    let open = "select id from dead_letters where closed_at is null and job_key = $1::uuid || ':1'";
    let open: i64 = sqlx::query_scalar(open).bind(id.uuid()).fetch_one(&pool).await.unwrap();
    let fields = "closing=replay&reason=seen".to_owned();
    a_person_does(lane, cell, &format!("/ops/dead-letters/{open}"), (ADMIN_KEY, fields)).await;
    let replayed = "select count(*) from dead_letters l
                      join apalis.jobs j on j.id = l.job_id and j.idempotency_key = l.job_key and j.status = 'Pending'
                     where l.closed_as = 'replayed'";
    assert_eq!(lane.system.count(replayed).await, 1, "{cell}");
    assert_eq!(lane.system.count("select count(*) from apalis.jobs").await, 1, "{cell}");
    lane.worker(cell, "").await;
    id
}

/// A form, as a browser sends it with that key.
fn form(api: &Process, path: &str, (key, fields): (&str, &str)) -> RequestBuilder {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    http.request(Method::POST, format!("{}{path}", api.address("ops")))
        .basic_auth("ada", Some(key))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(fields.to_owned())
}

/// Sends a form at an API that is armed, and once more after it. One of the two must be told that it is done.
async fn a_person_does(lane: &Lane, cell: &Cell, path: &str, (key, fields): (&str, String)) {
    let mut api = lane.system.api().env("PAYONCE_FAULTS", cell.faults()).start().await;
    let form = |api: &Process| form(api, path, (key, &fields));
    let first = tokio::spawn(answer(form(&api)));
    cell.fires(&mut api).await;
    let again = restarted(lane, cell).await;
    let second = answer(form(again.as_ref().unwrap_or(&lane.system.apis[0]))).await.unwrap().status;
    let first = first.await.unwrap().map(|answer| answer.status);
    // The second may be told that the first one was done already.
    assert!(matches!(second, 303 | 409), "{cell}: {second}");
    assert!(matches!(first, Err(_) | Ok(303 | 409 | 500..)), "{cell}: {first:?}");
    assert!(!matches!((&first, second), (Ok(409), 409)), "{cell}: neither was done");
}

/// The API that a supervisor starts instead of a dead one. None where it lives.
async fn restarted(lane: &Lane, cell: &Cell) -> Option<Process> {
    match cell.action {
        Action::Kill => Some(lane.system.api().start().await),
        Action::Error | Action::Delay => None,
    }
}

/// A worker reconciles, and another one, or its next tick, completes what it did not get done.
pub(super) async fn reconcile(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let finished = "select count(*) from reconciliation_runs where finished_at is not null";
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    let armed = lane.worker(cell, &cell.faults()).await;
    cell.fires(&mut lane.system.workers[armed]).await;
    let before = lane.system.count(finished).await;
    // A worker that only pauses goes on by itself, and may hold the run's row.
    if cell.action != Action::Delay {
        lane.age_runs().await;
    }
    lane.worker(cell, "").await;
    wait_for("a reconciliation to be finished", async || {
        (lane.system.count(finished).await > before).then_some(())
    })
    .await;
    id
}

/// A worker gets a job that can never be done. Whichever workers fail over it, one letter is open for it in
/// the end.
pub(super) async fn park(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let pool = lane.system.database.pool.clone();
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    let job: String = sqlx::query_scalar(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         values (apalis.generate_ulid(), 'payments', 'nonsense', 'Pending', 0, 1, now(), 0, '') returning id",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    let armed = lane.worker(cell, &cell.faults()).await;
    lane.survives(cell, armed).await;
    if cell.action == Action::Kill {
        // As if the time had passed after which its worker counts as lost.
        let lost = "update apalis.jobs set lock_at = now() - interval '1 hour' where id = $1";
        sqlx::query(lost).bind(&job).execute(&pool).await.unwrap();
        lane.age_runs().await;
    }
    wait_until(format!("{cell} to be parked"), async || {
        let parked = "select count(*) = 1 from dead_letters l join apalis.jobs j on j.id = l.job_id
                       where l.job_id = $1 and l.closed_at is null and j.status in ('Failed', 'Killed')";
        sqlx::query_scalar(parked).bind(&job).fetch_one(&pool).await.unwrap()
    })
    .await;
    id
}

/// A worker deletes what is old, and another one, or its next tick, completes what it did not get done.
pub(super) async fn prune(lane: &mut Lane, cell: &Cell) -> PaymentId {
    let old = "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, done_at)
               values (repeat('0', 26), 'payments', '', 'Done', 1, 1, now(), 0, '', now() - interval '1 day');
               insert into apalis.workers (id, worker_type, storage_name, last_seen)
               values ('old', 'payments', 'x', now() - interval '1 day');
               insert into reconciliation_runs (trigger, tick, finished_at, step)
               values ('tick', now() - interval '1 year', now(), 'done');
               insert into account_sums (pass_began_at, account_id, debits, credits, transfers)
               values (now() - interval '1 year', gen_random_uuid(), 0, 0, 0)";
    sqlx::raw_sql(old).execute(&lane.system.database.pool).await.unwrap();
    let id = lane.system.accepted(a_payment().method(cell.outcome.token)).await;
    let armed = lane.worker(cell, &cell.faults()).await;
    cell.fires(&mut lane.system.workers[armed]).await;
    lane.worker(cell, "").await;
    let left = "select (select count(*) from apalis.jobs where id = repeat('0', 26))
                     + (select count(*) from apalis.workers where id = 'old')
                     + (select count(*) from reconciliation_runs where tick < now() - interval '31 days')
                     + (select count(*) from account_sums where pass_began_at < now() - interval '31 days')";
    wait_until(format!("{cell}: what is old to be deleted"), async || lane.system.count(left).await == 0)
        .await;
    id
}

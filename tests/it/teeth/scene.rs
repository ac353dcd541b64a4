//! Scenes in which a guard matters, each without the guards that it is told to leave out.

use std::fs;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use shared::platform::fault::SABOTAGES;
use sqlx::AssertSqlSafe;
use tests::client::answer;
use tests::{Answer, Client, Exit, Process, Second, Shape, System, a_payment, guardian, wait_until};

use super::{Left, PROMISES, Without};
use crate::PROGRAM;
use crate::operator::{BLIND, decides, version};
use crate::past::charged_at_the_gateway;

/// The database's answer to a failure that was not proved.
const REFUSED: &str = "a payment in doubt ends by a charge found, a stored decline or a void";

impl Without {
    pub(super) fn takes(self, guard: &str) -> bool {
        self.0.contains(&guard)
    }

    /// The guards that processes leave out, as faults, with `more`.
    pub(super) fn faults(self, more: &str) -> String {
        let sabotages = self.0.iter().filter(|guard| SABOTAGES.contains(guard));
        let sabotages = sabotages.map(|guard| format!("sabotage={guard}"));
        let more = (!more.is_empty()).then(|| more.to_owned());
        sabotages.chain(more).collect::<Vec<_>>().join(",")
    }

    /// Has the gateway leave out its part of the guards, with `more`.
    async fn at_the_gateway(self, system: &System, mut more: Value) {
        for promise in PROMISES.iter().filter(|promise| self.takes(promise)) {
            more[*promise] = json!(true);
        }
        system.faults(more).await;
    }

    /// An API and a gateway, without the database's part of the guards.
    pub(super) async fn system(self) -> System {
        let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
        for trigger in self.0.iter().filter(|guard| guard.starts_with("payments_")) {
            let disabled = format!("alter table payments disable trigger {trigger}");
            sqlx::query(AssertSqlSafe(disabled)).execute(&system.database.pool).await.unwrap();
        }
        self.at_the_gateway(&system, json!({})).await;
        system
    }

    /// One more worker, which has these faults and settings.
    async fn worker(self, system: &mut System, more: &str, settings: &[(&'static str, &str)]) -> usize {
        let faults = ("PAYONCE_FAULTS", self.faults(more));
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        system.add_worker(settings.chain([faults])).await
    }
}

impl Left {
    /// The system as it is now, without workers.
    pub(super) fn by(mut system: System, arguments: &[&str]) -> Self {
        system.workers.iter_mut().for_each(Process::kill9);
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { system, arguments, _second: None }
    }

    /// The same, with the journals of both gateways for `verify`.
    fn with_both(system: System, second: Second) -> Self {
        let left = Self::by(system, &[]);
        let arguments = second.verify_arguments(&left.system).to_vec();
        Self { arguments, _second: Some(second), ..left }
    }

    /// The same, with the answers of clients to what they asked for under `key`.
    fn told(system: System, key: &str, answers: &[Answer]) -> Self {
        let heading = json!({ "history": 1, "merchant_id": null }).to_string();
        let exchange = |answer: &Answer| {
            let id = (answer.status == 202).then(|| answer.json()["id"].clone());
            json!({
                "customer_id": "customer-1", "key": key, "amount": "12.30", "currency": "EUR",
                "payment_method": "sim_ok", "status": answer.status, "payment_id": id,
            })
            .to_string()
        };
        let lines: Vec<String> = std::iter::once(heading).chain(answers.iter().map(exchange)).collect();
        let file = guardian::scratch().join(format!("told-{:016x}", rand::random::<u64>()));
        fs::write(&file, lines.join("\n")).unwrap();
        Self::by(system, &["--history", file.to_str().unwrap()])
    }
}

/// An API with these faults, and a client that knows only it.
async fn an_api(system: &System, faults: String) -> (Process, Client) {
    let api = system.api().env("PAYONCE_FAULTS", faults).start().await;
    let client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    (api, client)
}

/// Whether the payment is over.
async fn is_over(system: &System, id: PaymentId) -> bool {
    !system.client.payment(id).await["terminal_at"].is_null()
}

pub(super) async fn a_payment_charged(without: Without) -> Left {
    let mut system = without.system().await;
    let id = system.accepted(a_payment()).await;
    // A worker that cannot believe the answer gives up soon.
    without.worker(&mut system, "", &[("DOUBT_DEADLINE_MS", "500")]).await;
    wait_until("the payment to end, or to be halted", async || {
        let payment = system.client.payment(id).await;
        !payment["terminal_at"].is_null() || !payment["held_reason"].is_null()
    })
    .await;
    Left::by(system, &[])
}

/// A refund is made at the gateway, and its answer is lost.
pub(super) async fn a_refund_never_answered(without: Without) -> Left {
    let mut system = without.system().await;
    let id = system.accepted(a_payment().method("sim_refund_timeout_done").amount("20")).await;
    without.worker(&mut system, "", &[]).await;
    system.ended(id).await;
    let asked = system.client.request(reqwest::Method::POST, &format!("/v1/payments/{id}/refunds"));
    let asked = asked.header("idempotency-key", "refund-1").json(&json!({ "amount": "5" }));
    answer(asked).await.unwrap().assert_status(202);
    wait_until("the refund to end, or to be made anew", async || {
        let sent = "select coalesce(max(attempt_count), 0)::bigint from operations";
        let over = "select count(*) from operations where status <> 'pending'";
        system.count(over).await == 1 || system.count(sent).await > 2
    })
    .await;
    Left::by(system, &[])
}

/// A worker that knows the default gateway gets a job about a payment that is charged at another one.
pub(super) async fn a_job_that_names_the_wrong_gateway(without: Without) -> Left {
    let mut system = without.system().await;
    let second = Second::beside(&system, PROGRAM).await;
    let merchant = second.merchant(&system, "charged elsewhere").await;
    let id = merchant.pay(a_payment()).await.payment_id();
    sqlx::query("update apalis.jobs set job = convert_to((convert_from(job, 'UTF8')::jsonb - 'gateway')::text, 'UTF8')")
        .execute(&system.database.pool)
        .await
        .unwrap();
    without.worker(&mut system, "", &[]).await;
    wait_until("the job to be done, and what follows from it", async || {
        let is_done = system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0;
        is_done && (!without.takes("any_gateway") || !merchant.payment(id).await["terminal_at"].is_null())
    })
    .await;
    Left::with_both(system, second)
}

pub(super) async fn the_same_key_twice(without: Without) -> Left {
    let mut system = without.system().await;
    let (api, client) = an_api(&system, without.faults("")).await;
    let answers =
        [client.pay(a_payment().key("order-1")).await, client.pay(a_payment().key("order-1")).await];
    system.apis.push(api);
    Left::told(system, "order-1", &answers)
}

/// The API cannot record the payment, answers all the same, and dies.
pub(super) async fn an_api_killed_before_its_commit(without: Without) -> Left {
    let mut system = without.system().await;
    system.apis[0].kill9();
    let (mut api, client) = an_api(&system, without.faults("")).await;
    let mut lock = system.database.pool.begin().await.unwrap();
    for held in ["set local idle_in_transaction_session_timeout = 0", "lock table payments in share mode"] {
        sqlx::query(held).execute(&mut *lock).await.unwrap();
    }

    let answer = client.pay(a_payment().key("order-1")).await;
    api.kill9();
    // The statement that it had sent dies with it.
    let others = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                   where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()";
    wait_until("its connections to be gone", async || {
        // A transaction sees the other sessions as they were when it first looked, unless it is told to
        // look anew.
        sqlx::query("select pg_stat_clear_snapshot()").execute(&mut *lock).await.unwrap();
        sqlx::query_scalar::<_, i64>(others).fetch_one(&mut *lock).await.unwrap() == 0
    })
    .await;
    lock.rollback().await.unwrap();

    Left::told(system, "order-1", &[answer])
}

/// The API dies when the payment is recorded. A later payment is taken at once.
pub(super) async fn an_api_killed_after_its_commit(without: Without) -> Left {
    let mut system = without.system().await;
    let (mut api, client) = an_api(&system, without.faults("accept.committed=kill")).await;
    assert!(client.try_pay(a_payment()).await.is_err());
    assert_eq!(api.wait_exit().await, Exit::Signal(9));
    let next = system.accepted(a_payment()).await;
    without.worker(&mut system, "", &[]).await;
    system.ended(next).await;
    if !without.takes("no_sweep") {
        system.settled().await;
    }
    // There was no other job than its own.
    assert_eq!(system.count("select count(*) from apalis.jobs where job_type = 'payments'").await, 1);
    Left::by(system, &["--grace", "0"])
}

/// A worker freezes after its charge, with most of its lease before it, and the job comes to another one
/// as well.
pub(super) async fn a_job_delivered_twice(without: Without) -> Left {
    let lease = ("LEASE_MS", "600000");
    let mut system = without.system().await;
    let id = system.accepted(a_payment()).await;
    let first = system.add_worker([("PAYONCE_FAULTS", "charge.answered=stop"), lease]).await;
    system.workers[first].wait_until_stopped().await;
    without.worker(&mut system, "", &[lease]).await;
    // A worker that has not asked the gateway yet would put the job off.
    let other = system.accepted(a_payment()).await;
    system.ended(other).await;
    let again =
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         select apalis.generate_ulid(), job_type, job, 'Pending', 0, 1, run_at, 0, ''
           from apalis.jobs where job_type = 'payments' and idempotency_key = $1 || ':1'";
    sqlx::query(again).bind(id.uuid().to_string()).execute(&system.database.pool).await.unwrap();
    let done = "select count(*) from apalis.jobs
                 where job_type = 'payments' and idempotency_key is null and status in ('Done', 'Failed')";
    wait_until("the second job to be done", async || system.count(done).await == 1).await;
    wait_until("the second claim, if there is one", async || {
        let claims = system
            .story(id)
            .await
            .iter()
            .filter(|event| *event == "attempt_started" || *event == "taken_over")
            .count();
        claims == if without.takes("no_lease_check") { 2 } else { 1 }
    })
    .await;
    system.workers[first].cont();
    assert_eq!(system.ended(id).await["status"], "succeeded");
    Left::by(system, &[])
}

/// A worker charges and dies, and another one finds the payment.
pub(super) async fn a_worker_killed_after_its_charge(without: Without) -> Left {
    let mut system = without.system().await;
    let id = system.accepted(a_payment()).await;
    let dying = system.add_worker([("PAYONCE_FAULTS", "charge.answered=kill")]).await;
    assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9));
    system.make_due(id).await;
    let next = without.worker(&mut system, "", &[]).await;
    wait_until("the payment to end, or to be kept from it", async || {
        is_over(&system, id).await || system.workers[next].stderr().contains(REFUSED)
    })
    .await;
    let is_refused = without.0 == ["timer_writes_failed"];
    assert_eq!(system.workers[next].stderr().contains(REFUSED), is_refused);
    Left::by(system, &[])
}

/// Answers are lost, with the charge or before it.
pub(super) async fn answers_lost(without: Without) -> Left {
    let mut system = without.system().await;
    let mut ids = Vec::new();
    for token in ["sim_reset_after", "sim_reset_before", "sim_timeout_charged"] {
        ids.push(system.accepted(a_payment().method(token)).await);
    }
    without.worker(&mut system, "", &[]).await;
    for id in ids {
        system.ended(id).await;
    }
    Left::by(system, &[])
}

/// A charge is under way for so long that it is sent again, and arrives then.
pub(super) async fn a_charge_that_arrives_late(without: Without) -> Left {
    let mut system = without.system().await;
    without.at_the_gateway(&system, json!({ "late_arrival_ms": 3_600_000 })).await;
    if without.0.contains(&"keys_optional") {
        // A charge without a key is known by its reference. So is a payment from before there were keys.
        let of_before = sqlx::query("update installation set key_scheme = 1");
        of_before.execute(&system.database.pool).await.unwrap();
    }
    let id = system.accepted(a_payment().method("sim_late_arrival")).await;
    without.worker(&mut system, "", &[]).await;
    let ends = if without.0 == ["no_gateway_key"] { "failed" } else { "succeeded" };
    assert_eq!(system.ended(id).await["status"], ends);
    arrives(&system, id).await;
    Left::by(system, &[])
}

/// Lets a charge arrive that is under way.
async fn arrives(system: &System, id: PaymentId) {
    let charged = async || system.journal_of(id).await.iter().filter(|row| *row == "charge charge").count();
    let before = charged().await;
    let sql = "update gateway_charges set decide_at = clock_timestamp() where status = 'arriving'";
    let arriving = sqlx::query(sql).execute(&system.gateway_database.pool).await.unwrap().rows_affected();
    if arriving > 0 {
        wait_until("the late charge", async || charged().await > before).await;
    }
}

/// A charge is under way for so long that it is sent again. It is refused until no try is left, and
/// arrives then.
pub(super) async fn tries_used_up_in_doubt(without: Without) -> Left {
    let mut system = without.system().await;
    without.at_the_gateway(&system, json!({ "late_arrival_ms": 3_600_000 })).await;
    let id = system.accepted(a_payment().method("sim_late_arrival")).await;
    let worker = without.worker(&mut system, "", &[]).await;
    wait_until("the first charge to be sent", async || {
        system.journal_of(id).await.contains(&"request charge".to_owned())
    })
    .await;
    without.at_the_gateway(&system, json!({ "late_arrival_ms": 3_600_000, "not_executed_rate": 1.0 })).await;
    wait_until("the payment to end, or to be kept from it", async || {
        is_over(&system, id).await || system.workers[worker].stderr().contains(REFUSED)
    })
    .await;
    let is_refused = without.0 == ["doubt_forgotten"];
    assert_eq!(system.workers[worker].stderr().contains(REFUSED), is_refused);
    system.workers[worker].kill9();
    arrives(&system, id).await;
    Left::by(system, &[])
}

/// A worker freezes with a definite refusal in its hands. Another one takes over, charges, and is about to
/// say so when the first one goes on.
pub(super) async fn a_stale_worker_writes(without: Without) -> Left {
    let mut system = without.system().await;
    without.at_the_gateway(&system, json!({ "not_executed_rate": 1.0 })).await;
    let id = system.accepted(a_payment()).await;
    let stale = without.worker(&mut system, "charge.answered=stop", &[("RETRIES", "0")]).await;
    system.workers[stale].wait_until_stopped().await;
    without.at_the_gateway(&system, json!({})).await;
    system.make_due(id).await;
    let current =
        system.add_worker([("PAYONCE_FAULTS", "charge.answered=stop"), ("LEASE_MS", "60000")]).await;
    system.workers[current].wait_until_stopped().await;

    system.workers[stale].cont();

    wait_until("the stale worker to write", async || {
        is_over(&system, id).await
            || system.workers[stale].stderr().contains(REFUSED)
            || system.count("select count(*) from late_evidence").await > 0
    })
    .await;
    let is_refused = without.0 == ["no_fence"];
    assert_eq!(system.workers[stale].stderr().contains(REFUSED), is_refused);
    if !is_over(&system, id).await {
        system.workers[stale].kill9();
        system.workers[current].cont();
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }
    Left::by(system, &[])
}

/// A person says of a payment in doubt that it was charged, by a charge that was never made. Where that is
/// refused, the payment is voided.
pub(super) async fn a_person_names_a_charge_that_nobody_made(without: Without) -> Left {
    let mut system = without.system().await;
    let id = system.accepted(a_payment().method("sim_reset_before")).await;
    let blind = system.add_worker(BLIND).await;
    let held = version(&system.held(id).await);
    system.workers[blind].kill9();
    without.worker(&mut system, "", &[]).await;
    let named = decides(&system, id, held, "succeed&charge_id=ch_made_up").await;
    assert_eq!(named.status, if without.takes("decision_unchecked") { 303 } else { 409 });
    if named.status == 409 {
        decides(&system, id, held, "void").await.assert_status(303);
    }
    system.ended(id).await;
    Left::by(system, &[])
}

/// A charge stands under a payment's key, by the name of another payment that is known.
pub(super) async fn a_charge_by_another_payments_name(without: Without) -> Left {
    let mut system = without.system().await;
    let (id, known) = (system.accepted(a_payment()).await, system.accepted(a_payment()).await);
    charged_at_the_gateway(&system, &system.gateway_key(id).await, known, "12.30").await;
    without.worker(&mut system, "", &[]).await;
    system.ended(id).await;
    system.ended(known).await;
    Left::by(system, &[])
}

//! Metrics in the text format of Prometheus: every name there is, and one function for each fact that is
//! counted.
//!
//! Invariants: a label has a handful of values that are known beforehand (a route's template, a word of
//! ours), never an id or a client's text. All parts of one process share one recorder.
//!
//! Most gauges are read from the database at a scrape, so they are the same in every process: take the `max`
//! over processes. Counters and histograms are each process's own: take the `sum`. A worker's breaker is its
//! own gauge; the `max` tells whether any is open.

mod accounts;
mod born;
mod buckets;

use std::sync::OnceLock;
use std::time::Duration;

use domain::dead_letter::Class;
use domain::decide::Purpose;
use domain::ids::GatewayName;
use domain::operation::OperationEvent;
use domain::outcome::FailureKind;
use domain::status::{EventType, PaymentStatus};
use metrics::{SharedString, counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

mod refusal;

pub(crate) use accounts::{Ask, DONE, account_decided};
pub use born::{describe_gateway, describe_route};
pub use buckets::Buckets;
pub use refusal::Refusal;

/// The kind of number that a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It shows how long something took, in seconds.
    Histogram,
}

/// One metric, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name, with its unit.
    pub name: &'static str,
    /// The kind of number.
    pub kind: Kind,
    /// The sentence that says what it shows, with its labels.
    pub help: &'static str,
}

/// Declares every metric once: constant, kind, name and help. The prefix `payonce_` is added here, so that no
/// name of ours can be taken for another program's.
macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $help:literal)+) => {
        $(#[doc = $help] pub const $constant: &str = concat!("payonce_", $name);)+

        /// Every metric there is.
        pub const ALL: &[Metric] = &[$(Metric { name: $constant, kind: Kind::$kind, help: $help }),+];
    };
}

metrics! {
    BUILD Gauge "build_info"
        "Which program this is, by version and commit (unknown where the build was not told); always 1."
    HTTP_REQUESTS Counter "http_requests_total"
        "Requests answered by the API, by method, route (its template) and status."
    HTTP_REQUEST_DURATION Histogram "http_request_duration_seconds"
        "How long the API took to answer, by method and route; without those that were asked to wait."
    API_REFUSALS Counter "api_refusals_total"
        "Requests with an API key that a limit refused, by limit: writes, reads (a second), `under_way` (of the key), all (keys), waits, `no_share` (503)."
    OTHER_PEPPER Gauge "api_keys_of_other_pepper"
        "API keys that are neither revoked nor expired and open nothing, because this process does not have their pepper."
    JWKS_READS Counter "jwks_reads_total"
        "Readings of the keys that verify JWTs, by result: ok, failed."
    ACCEPTS Counter "payment_accepts_total"
        "Well-formed requests for a payment, by result: created, replayed, refused (another request had the key)."
    EVENTS Counter "payment_events_total"
        "Events written to the histories of payments, by event: attempts, looks, retries, ends."
    E2E Histogram "payment_e2e_seconds"
        "From a payment's acceptance to its end, by status: succeeded, failed or reversed."
    CLAIMS Counter "claims_total"
        "Claims, by purpose (charge, verify, void; none where it got nothing) and result: taken, nothing, failed."
    QUEUE_DELAY Histogram "event_queue_delay_seconds"
        "From the moment a payment was due to its claim, by purpose."
    GATEWAY_CALLS Counter "gateway_calls_total"
        "Exchanges with a gateway, by gateway, op (charge, lookup, void, refund, `refund_lookup`) and what the answer meant."
    GATEWAY_CALL_DURATION Histogram "gateway_call_duration_seconds"
        "How long an exchange with a gateway took, by gateway and op."
    FAILURES Counter "gateway_failures_total"
        "Exchanges that gave no usable answer, and workers that were lost, by gateway and kind: timeout, reset, unreachable, `not_the_gateway`, `worker_lost` and others."
    BREAKER Gauge "gateway_breaker_state"
        "Whether a worker asks a gateway, by gateway: 0 yes (closed), 1 one probe is under way (half-open), 2 no (open)."
    PUT_OFF Counter "gateway_put_off_total"
        "Looks at due payments that were put off, because a worker had called the gateway as often as it may, by gateway."
    SETTLE_DURATION Histogram "settle_duration_seconds"
        "From the gateway's answer to its commit, with all tries."
    LATE_EVIDENCE Counter "late_evidence_total"
        "Results that came after their claim was gone: they changed nothing and are kept."
    RESCHEDULED Counter "rescheduled_total"
        "What was due further away than any wait and was pulled near, by kind: payment, job, void; the database's clock was wrong."
    SWEEPS Counter "sweeps_total"
        "Looks for due payments that no job came for, by result: ok, failed."
    SWEEP_FOUND Counter "sweep_found_total"
        "Payments that a sweep found due."
    QUEUE_JOBS Gauge "queue_jobs_waiting"
        "Jobs that are due and that no worker has fetched."
    QUEUE_OLDEST Gauge "queue_oldest_job_age_seconds"
        "How long the oldest of these has been due; 0 where there is none."
    PAYMENTS_OPEN Gauge "payments_open"
        "Payments that are not over and not held, by status: pending, processing, `in_review`."
    PAYMENTS_OVERDUE Gauge "payments_overdue"
        "Payments that have been due for more than 10 s and that nobody took, by gateway."
    PAYMENTS_HELD Gauge "payments_held"
        "Payments that wait for a person."
    BREAKS_OPEN Gauge "breaks_open"
        "Contradictions that no person has closed, by kind."
    REFUNDS Counter "refunds_total"
        "Events written to the histories of refunds, by event: requests, looks, retries, ends."
    REFUNDS_OPEN Gauge "refunds_open"
        "Refunds that are neither over nor held."
    REFUNDS_HELD Gauge "refunds_held"
        "Refunds that wait for a person."
    DEAD_LETTERS Counter "dead_letters_total"
        "What the queue could not do and parked, by class: `non_retryable`, `retry_exhausted`, poison."
    DEAD_LETTERS_OPEN Gauge "dead_letters_open"
        "Dead letters that no person has replayed or discarded."
    DEAD_LETTER_REPLAYS Counter "dead_letter_replays_total"
        "Replays that were asked for, by result: replayed, duplicate (it had been closed before, and nothing happened)."
    ACCOUNT_REQUESTS Counter "account_requests_total"
        "Requests of accounts that were decided, by ask (transfer, hold, group, post, void) and result: done, `insufficient_funds` or another refusal that is remembered."
    HOLDS_OPEN Gauge "account_holds_open"
        "Holds of accounts that were neither posted nor given back."
    HOLDS_OLDEST_DUE Gauge "account_hold_oldest_due_seconds"
        "For how long the time of the oldest of these has been over; 0 where there is none."
    WEBHOOK_DELIVERIES Counter "webhook_deliveries_total"
        "Tries to deliver an event to an endpoint, by result: delivered, failed."
    WEBHOOK_DISABLED Counter "webhook_endpoints_disabled_total"
        "Endpoints that were disabled because they were gone or failed for days."
    WEBHOOK_OLDEST Gauge "webhook_oldest_due_seconds"
        "How long the delivery that waits longest has been due, whether or not its endpoint answers; 0 where there is none."
    EVENTS_HELD_BACK Gauge "events_held_back_seconds"
        "How long the oldest transaction that may still write has run, in whatever database of the server: no later event is told until it ends."
    CLOSED Gauge "installation_closed"
        "Whether nothing is claimed: 1 where a past came back, the database is another one, or another server took over and was not looked into; 0 ordinarily."
    RECONCILIATIONS Counter "reconciliation_runs_total"
        "Reconciliations that the schedule started, by result: finished, failed, left (another one was under way)."
    RECONCILIATION_AGE Gauge "reconciliation_age_seconds"
        "How long ago the last reconciliation ended; +Inf where none has."
    SNAPSHOT_AGE Gauge "database_snapshot_age_seconds"
        "For how long the oldest snapshot has kept dead rows from being cleared, by who holds it: session, `idle_in_transaction`, prepared."
    SNAPSHOT_AGE_TRANSACTIONS Gauge "database_snapshot_age_transactions"
        "How many transactions began since; also by slot and standby, of which nobody knows since when."
    SNAPSHOT_PID Gauge "database_snapshot_pid"
        "The server's process that holds the oldest of them; 0 where none does, or where it is no process."
    SESSIONS_HIDDEN Gauge "database_sessions_hidden"
        "Sessions that do not show what they hold, for want of the right `pg_read_all_stats`."
    DEAD_ROWS Gauge "database_dead_rows"
        "Dead rows that were not cleared yet, by table: payments, apalis.jobs."
}

/// The pause between two times at which measured durations are counted into their buckets. Without it they
/// wait for a scrape.
const UPKEEP: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts to record, with these buckets for what is measured. Every part of a process calls it before it does
/// anything; only the first call matters.
pub fn start(buckets: &Buckets) {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(buckets.bounds());
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::error!("metrics are recorded by somebody else");
        }
        born::describe();
        let upkeep = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        });
        handle
    });
}

/// A gateway's name, as a label has it.
fn label(gateway: &GatewayName) -> SharedString {
    gateway.to_string().into()
}

/// The content type of the answer to a scrape.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as text. `operations::gauges` has the gauges read before.
#[must_use]
pub fn render() -> String {
    RECORDER.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Shows how many API keys open nothing for want of their pepper.
#[expect(clippy::cast_precision_loss, reason = "there are not that many keys")]
pub fn keys_of_other_pepper(keys: i64) {
    gauge!(OTHER_PEPPER).set(keys as f64);
}

/// Counts a reading of the keys that verify JWTs.
pub fn jwks_read(is_read: bool) {
    counter!(JWKS_READS, "result" => if is_read { "ok" } else { "failed" }).increment(1);
}

/// Counts an answer of the API. `duration` is none for a request that was asked to wait.
pub fn http_answered(method: &'static str, route: String, status: u16, duration: Option<Duration>) {
    if let Some(duration) = duration {
        histogram!(HTTP_REQUEST_DURATION, "method" => method, "route" => route.clone()).record(duration);
    }
    counter!(HTTP_REQUESTS, "method" => method, "route" => route, "status" => status.to_string())
        .increment(1);
}

/// The result of a well-formed request for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// The request made a payment.
    Created,
    /// The same request had made the payment before.
    Replayed,
    /// Another request had taken the key.
    Refused,
}

impl Accept {
    const ALL: [Self; 3] = [Self::Created, Self::Replayed, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
        }
    }
}

/// Counts the answer to a well-formed request for a payment.
pub fn accepted(accept: Accept) {
    counter!(ACCEPTS, "result" => accept.as_str()).increment(1);
}

/// Counts an event that was committed to a payment's history.
pub(crate) fn event_written(event: impl Into<SharedString>) {
    counter!(EVENTS, "event" => event.into()).increment(1);
}

/// Counts an event that was committed to a refund's history.
pub fn refund_event(event: OperationEvent) {
    counter!(REFUNDS, "event" => event.as_str()).increment(1);
}

/// Counts a claim with its `event`, and how long after the payment was due it came.
pub(crate) fn claimed(purpose: Purpose, event: EventType, delay: Duration) {
    event_written(event.as_str());
    counter!(CLAIMS, "purpose" => purpose.as_str(), "result" => "taken").increment(1);
    histogram!(QUEUE_DELAY, "purpose" => purpose.as_str()).record(delay);
}

/// Counts a claim that took over from a lost worker.
pub(crate) fn taken_over(gateway: &GatewayName) {
    counter!(FAILURES, "gateway" => label(gateway), "kind" => FailureKind::WorkerLost.as_str()).increment(1);
}

/// Counts payments that were asked for and could not be claimed.
pub(crate) fn claimed_nothing(count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    counter!(CLAIMS, "purpose" => "none", "result" => "nothing").increment(count);
}

/// Counts claims that the database did not answer.
pub(crate) fn claim_failed(asked: usize) {
    let asked = u64::try_from(asked).unwrap_or(u64::MAX);
    counter!(CLAIMS, "purpose" => "none", "result" => "failed").increment(asked);
}

/// Counts a call of the gateway. `outcome` is what the answer meant.
pub fn gateway_called(
    (gateway, op): (&GatewayName, &'static str),
    outcome: &'static str,
    failure: Option<FailureKind>,
    duration: Duration,
) {
    let gateway = label(gateway);
    if let Some(kind) = failure {
        counter!(FAILURES, "gateway" => gateway.clone(), "kind" => kind.as_str()).increment(1);
    }
    counter!(GATEWAY_CALLS, "gateway" => gateway.clone(), "op" => op, "outcome" => outcome).increment(1);
    histogram!(GATEWAY_CALL_DURATION, "gateway" => gateway, "op" => op).record(duration);
}

/// Counts a read about no payment that did not find the gateway.
pub fn door_closed(gateway: &GatewayName, kind: FailureKind) {
    counter!(FAILURES, "gateway" => label(gateway), "kind" => kind.as_str()).increment(1);
}

/// Whether a worker asks the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// The worker asks the gateway.
    Closed,
    /// One probe is under way.
    HalfOpen,
    /// The worker does not ask.
    Open,
}

/// Shows the state of a worker's breaker for a gateway.
pub fn breaker(gateway: &GatewayName, state: Breaker) {
    let state = match state {
        Breaker::Closed => 0.0,
        Breaker::HalfOpen => 1.0,
        Breaker::Open => 2.0,
    };
    gauge!(BREAKER, "gateway" => label(gateway)).set(state);
}

/// Measures a settlement, from the gateway's answer to its commit.
pub fn settled(duration: Duration) {
    histogram!(SETTLE_DURATION).record(duration);
}

/// Measures a payment that ended, from its acceptance on.
pub fn ended(status: PaymentStatus, age: Duration) {
    histogram!(E2E, "status" => status.as_str()).record(age);
}

/// Counts a result that came after its claim was gone.
pub(crate) fn came_late() {
    counter!(LATE_EVIDENCE).increment(1);
}

/// Counts deliveries of a round: those that were taken and those that failed; and whether the endpoint was
/// disabled by it.
pub fn webhooks(delivered: usize, failed: usize, is_disabled: bool) {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    counter!(WEBHOOK_DELIVERIES, "result" => "delivered").increment(count(delivered));
    counter!(WEBHOOK_DELIVERIES, "result" => "failed").increment(count(failed));
    counter!(WEBHOOK_DISABLED).increment(u64::from(is_disabled));
}

/// Counts a request that a limit refused.
pub fn refused(by: Refusal) {
    counter!(API_REFUSALS, "limit" => by.as_str()).increment(1);
}

/// Counts a look that had to wait for the limit of gateway calls.
pub fn put_off(gateway: &GatewayName) {
    counter!(PUT_OFF, "gateway" => label(gateway)).increment(1);
}

/// Counts dead letters of this class.
pub(crate) fn buried(class: Class, count: u64) {
    counter!(DEAD_LETTERS, "class" => class.as_str()).increment(count);
}

/// Counts a replay that was asked for. A duplicate had no effect.
pub(crate) fn replay_asked(is_duplicate: bool) {
    let result = if is_duplicate { "duplicate" } else { "replayed" };
    counter!(DEAD_LETTER_REPLAYS, "result" => result).increment(1);
}

/// Counts a reconciliation of the schedule: finished, failed, left.
pub fn reconciled(result: &'static str) {
    counter!(RECONCILIATIONS, "result" => result).increment(1);
}

/// Counts what was due too far away and was pulled near: payment, job, void.
pub(crate) fn rescheduled(kind: &'static str, count: u64) {
    counter!(RESCHEDULED, "kind" => kind).increment(count);
}

/// Counts a sweep, with the number of payments that it found; none where it failed.
pub fn swept(found: Option<usize>) {
    let result = if found.is_some() { "ok" } else { "failed" };
    counter!(SWEEPS, "result" => result).increment(1);
    counter!(SWEEP_FOUND).increment(u64::try_from(found.unwrap_or(0)).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests;

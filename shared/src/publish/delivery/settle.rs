//! What a round writes down, as columns.

use sqlx::PgPool;
use uuid::Uuid;

use super::{Columns, Done, Taken, wait_after};
use crate::database::{InTime as _, millis};

/// How many failures in a row, and for how long, before an endpoint is disabled.
const FAILURES_MAX: i32 = 20;
const FAILING_DAYS: i64 = 5;

/// The longest pause of an endpoint that does not answer, in seconds.
const PAUSE_MAX_S: f64 = 300.0;

/// Failures of as many different objects in a round show that it is the endpoint, and not one event.
const OBJECTS_MIN: usize = 3;

/// The deliveries and tries of a round.
#[derive(Default)]
pub(super) struct Rows {
    epochs: Vec<i64>,
    txs: Vec<String>,
    objects: Vec<Uuid>,
    versions: Vec<i32>,
    statuses: Vec<String>,
    tries: Vec<i32>,
    waits_ms: Vec<Option<i64>>,
    http_statuses: Vec<Option<i32>>,
    errors: Vec<Option<String>>,
    attempts: Attempts,
    pub(super) delivered: usize,
    pub(super) failed: usize,
    /// Whether the receiver said that it is gone.
    is_gone: bool,
    /// Whether the endpoint as a whole seems not to answer.
    is_silent: bool,
}

#[derive(Default)]
struct Attempts {
    events: Vec<String>,
    types: Vec<String>,
    numbers: Vec<i32>,
    took_ms: Vec<i32>,
    http_statuses: Vec<Option<i32>>,
    answers: Vec<Option<String>>,
    errors: Vec<Option<String>>,
}

impl Rows {
    pub(super) fn of(done: Vec<Done>, haste: u32) -> Self {
        let mut rows = Self::default();
        for it in done {
            rows.push(it, haste);
        }
        rows.is_silent |= rows.failed >= OBJECTS_MIN;
        rows
    }

    fn push(&mut self, done: Done, haste: u32) {
        let (due, came) = match done {
            Done::Waits(due) => (due, None),
            Done::Sent(due, came, took) => (due, Some((came, took))),
        };
        let tries = due.tries + i32::from(came.is_some());
        let at = Columns::of(due.told.event.id);
        let (status, wait) = match &came {
            None => ("pending", Some(std::time::Duration::ZERO)),
            Some((came, _)) if came.is_success() => ("delivered", None),
            Some((came, _)) => match wait_after(tries, came.retry_after, haste) {
                Some(wait) => ("pending", Some(wait)),
                None => ("given_up", None),
            },
        };
        self.epochs.push(at.epoch);
        self.txs.push(at.tx);
        self.objects.push(at.object);
        self.versions.push(at.version);
        self.statuses.push(status.to_owned());
        self.tries.push(tries);
        self.waits_ms.push(wait.map(millis));
        let http_status = came.as_ref().and_then(|(came, _)| came.http_status).map(i32::from);
        let error = came.as_ref().and_then(|(came, _)| came.error.clone());
        self.http_statuses.push(http_status);
        self.errors.push(error.clone());
        let Some((came, took)) = came else { return };
        self.delivered += usize::from(came.is_success());
        self.failed += usize::from(!came.is_success());
        self.is_gone |= http_status == Some(410);
        self.is_silent |= http_status.is_none();
        let attempts = &mut self.attempts;
        attempts.events.push(due.told.event.id.to_string());
        attempts.types.push(due.told.event.event_type);
        attempts.numbers.push(tries);
        attempts.took_ms.push(took.as_millis().try_into().unwrap_or(i32::MAX));
        attempts.http_statuses.push(http_status);
        attempts.answers.push(came.http_status.is_some().then_some(came.answer));
        attempts.errors.push(error);
    }

    /// Writes them under the endpoint's lease. Answers whether the endpoint was disabled by it; none if the
    /// lease is gone.
    pub(super) async fn write(
        &self,
        pool: &PgPool,
        taken: &Taken,
        cursor: Option<Columns>,
    ) -> sqlx::Result<Option<bool>> {
        let day_ms = 24 * 3_600 * 1_000;
        let written = sqlx::query_file_scalar!(
            "queries/webhook_settle.sql",
            taken.id.uuid(),
            taken.token,
            cursor.as_ref().map(|it| it.epoch),
            cursor.as_ref().map(|it| it.tx.as_str()),
            cursor.as_ref().map(|it| it.object),
            cursor.as_ref().map(|it| it.version),
            &self.epochs,
            &self.txs,
            &self.objects,
            &self.versions,
            i32::try_from(self.delivered).unwrap_or(i32::MAX),
            i32::try_from(self.failed).unwrap_or(i32::MAX),
            self.is_gone,
            self.is_silent || taken.misses > 0,
            FAILURES_MAX,
            FAILING_DAYS * day_ms,
            PAUSE_MAX_S,
            &self.statuses,
            &self.tries,
            &self.waits_ms as &[Option<i64>],
            &self.http_statuses as &[Option<i32>],
            &self.errors as &[Option<String>],
            &self.attempts.events,
            &self.attempts.types,
            &self.attempts.numbers,
            &self.attempts.took_ms,
            &self.attempts.http_statuses as &[Option<i32>],
            &self.attempts.answers as &[Option<String>],
            &self.attempts.errors as &[Option<String>]
        );
        written.fetch_optional(pool).in_time().await
    }
}

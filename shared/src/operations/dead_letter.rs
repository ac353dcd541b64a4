//! Dead letters: jobs that cannot be done, and payments that kill their workers, parked with their evidence.
//!
//! Invariants: nothing that the queue gives up is dropped. One letter is open for a job or payment at a time.
//! A replay keeps the job's key, and its id if the queue can read it. A letter is replayed once. A letter
//! moves no money: a replayed job is again only a hint, and a poisonous payment is released by
//! [`transition`].

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use ulid::Ulid;
use uuid::Uuid;

use crate::database::{InTime as _, durable};
use crate::payment::history;
use crate::payment::transition::{self, Justification, Unusable};
use crate::platform::metrics;
use crate::queue::new_job_id;

/// A dead letter, as it is kept.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the columns of the table `dead_letters`, which explains them")]
pub struct Letter {
    pub id: i64,
    pub class: String,
    pub queue: String,
    pub job_id: Option<String>,
    pub job_key: Option<String>,
    pub job: Option<Vec<u8>>,
    pub payment_id: Option<Uuid>,
    pub error: String,
    pub detail: Value,
    pub parked_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub closed_as: Option<String>,
    pub closed_by: Option<String>,
    pub closed_reason: Option<String>,
}

impl Letter {
    /// The job's body: as text if it is some, else in hexadecimal digits after `\x`.
    #[must_use]
    pub fn body(&self) -> Option<String> {
        let bytes = self.job.as_deref()?;
        Some(match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) => text.to_owned(),
            Ok(_) | Err(_) => bytes.iter().fold("\\x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
        })
    }
}

/// The letters to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only letters of this class.
    pub class: Option<String>,
    /// Only open letters, or only closed ones.
    pub is_open: Option<bool>,
    /// Only letters with a lower number, so older ones.
    pub before: Option<i64>,
    /// The largest number of letters.
    pub limit: i64,
}

/// The letters that `filter` describes, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Letter>> {
    let before = filter.before.unwrap_or(i64::MAX);
    // Two statements, since only one of them can read the index of the open letters.
    if filter.is_open == Some(true) {
        return sqlx::query_as!(
            Letter,
            "select id, class, queue, job_id, job_key, job, payment_id, error, detail, parked_at, closed_at, closed_as,
                    closed_by, closed_reason
               from dead_letters
              where closed_at is null and id < $1 and ($3::text is null or class = $3)
              order by id desc
              limit $2",
            before,
            filter.limit,
            filter.class
        )
        .fetch_all(pool)
        .in_time()
        .await;
    }
    sqlx::query_as!(
        Letter,
        "select id, class, queue, job_id, job_key, job, payment_id, error, detail, parked_at, closed_at, closed_as, closed_by,
                closed_reason
           from dead_letters
          where id < $1 and ($3::text is null or class = $3) and ($4::bool is null or closed_at is not null)
          order by id desc
          limit $2",
        before,
        filter.limit,
        filter.class,
        filter.is_open
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// The letter of that number.
///
/// # Errors
/// Returns the database's error.
pub async fn find(pool: &PgPool, id: i64) -> sqlx::Result<Option<Letter>> {
    sqlx::query_as!(
        Letter,
        "select id, class, queue, job_id, job_key, job, payment_id, error, detail, parked_at, closed_at, closed_as, closed_by,
                closed_reason
           from dead_letters where id = $1",
        id
    )
    .fetch_optional(pool)
    .in_time()
    .await
}

/// What to do with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The job is delivered again under its own id and key. A payment that is held for poison is released.
    Replay,
    /// Nothing is done: the letter is only put away.
    Discard,
}

impl Closing {
    const fn closed_as(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Discard => "discarded",
        }
    }
}

/// The result of closing a letter.
#[derive(Debug, Clone)]
pub enum Closed {
    /// The letter is closed now.
    Now(Letter),
    /// The same person had done the same for the same reason. Nothing happened.
    Before(Letter),
    /// It was closed before by another person, for another reason or in another way. Nothing happened.
    Otherwise(Letter),
    /// There is no letter of that number.
    NoSuchLetter,
    /// Its payment is held, so the letter cannot be put away: replay it, or decide about the payment.
    IsHeld,
    /// The queue has not yet noted that the job failed, or the payment is not to be released now: ask again.
    NotYet,
    /// A field cannot be used.
    Unusable(Unusable),
}

/// Replays or discards a letter, once. A caller that asks again is told what was done.
///
/// # Errors
/// The database's error; then nothing was written. If the connection broke, all of it may be: the same
/// request tells.
pub async fn close(
    pool: &PgPool,
    id: i64,
    closing: Closing,
    (by, reason): (&str, &str),
) -> sqlx::Result<Closed> {
    let justification = match Justification::new(by, reason) {
        Ok(justification) => justification,
        Err(why) => return Ok(Closed::Unusable(why)),
    };
    let Some(found) = find(pool, id).await? else { return Ok(Closed::NoSuchLetter) };
    let is_mine = found.closed_at.is_none()
        && match (found.payment_id, closing) {
            (Some(payment), Closing::Replay) => release(pool, payment, &justification).await?,
            (Some(_), Closing::Discard) => return Ok(Closed::IsHeld),
            (None, _) => close_job(pool, &found, closing, &justification).await?,
        };
    if closing == Closing::Replay && (is_mine || found.closed_at.is_some()) {
        metrics::replay_asked(!is_mine);
    }
    let is_so = |it: &Letter| {
        it.closed_as.as_deref() == Some(closing.closed_as())
            && justification.is(it.closed_by.as_deref(), it.closed_reason.as_deref())
    };
    // If two people ask at once, one wins, and the other is told what happened.
    Ok(match find(pool, id).await? {
        None => Closed::NoSuchLetter,
        Some(now) if now.closed_at.is_none() => Closed::NotYet,
        Some(now) if is_mine => Closed::Now(now),
        Some(now) if is_so(&now) => Closed::Before(now),
        Some(now) => Closed::Otherwise(now),
    })
}

/// Writes the event `released`: workers look again, and count takeovers anew. The payment's break and letter
/// are closed as well.
async fn release(pool: &PgPool, payment: Uuid, justification: &Justification) -> sqlx::Result<bool> {
    let version = history::row(pool, payment.into()).await?.version;
    Ok(transition::release(pool, payment.into(), version, justification).await?.is_some())
}

/// Closes a job's letter and, to replay it, puts the job back where it was: one statement, so that it happens
/// once. An id that the queue cannot read is replaced by a new one, since it would keep the queue from all
/// other jobs.
async fn close_job(
    pool: &PgPool,
    letter: &Letter,
    closing: Closing,
    justification: &Justification,
) -> sqlx::Result<bool> {
    let old_id = letter.job_id.clone().unwrap_or_default();
    let job_id = if Ulid::from_string(&old_id).is_ok() { old_id } else { new_job_id() };
    let statement = sqlx::query_scalar!(
        "with letter as (
             update dead_letters l
                set closed_at = clock_timestamp(), closed_as = $2, closed_by = $3, closed_reason = $4
              where id = $1 and closed_at is null
                and not exists (select from apalis.jobs j where j.id = l.job_id and j.status in ('Queued', 'Running'))
             returning id, queue, job_id, job_key, job),
         revived as (
             update apalis.jobs j
                set id = $5, status = 'Pending', attempts = 0, run_at = now(), lock_by = null, lock_at = null,
                    done_at = null, last_result = null
               from letter l
              where $6 and j.id = l.job_id),
         enqueued as (
             insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata,
                                      idempotency_key)
             select $5, l.queue, l.job, 'Pending', 0, 1, now(), 0, ''::hstore, l.job_key
               from letter l
              where $6 and not exists (select from apalis.jobs j where j.id = l.job_id)
                 on conflict do nothing)
         select id from letter",
        letter.id,
        closing.closed_as(),
        justification.by(),
        justification.reason(),
        job_id,
        closing == Closing::Replay
    )
    .fetch_optional(pool)
    .in_time();
    Ok(durable("close_letter", statement).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(job: &[u8]) -> Letter {
        Letter {
            id: 1,
            class: "non_retryable".to_owned(),
            queue: "payments".to_owned(),
            job_id: None,
            job_key: None,
            job: Some(job.to_owned()),
            payment_id: None,
            error: String::new(),
            detail: Value::Null,
            parked_at: DateTime::UNIX_EPOCH,
            closed_at: None,
            closed_as: None,
            closed_by: None,
            closed_reason: None,
        }
    }

    #[test]
    fn a_body_is_shown_as_text_or_else_in_digits() {
        assert_eq!(letter(b"{\"a\":\n1").body().unwrap(), "{\"a\":\n1");
        assert_eq!(letter(b"\xff\x00a").body().unwrap(), "\\xff0061");
        assert_eq!(letter(b"a\x00").body().unwrap(), "\\x6100");
    }
}

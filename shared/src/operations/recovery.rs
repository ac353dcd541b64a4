//! What a start after a crash found under way, and what became of it.
//!
//! A worker that starts lists the claims of workers that are gone, before it claims anything itself.
//!
//! Invariants: a claim is listed once, however many workers start. Listing moves no payment, and if it fails
//! the worker goes on all the same. What became of a payment is read from its events, and never stored a
//! second time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::decide::Purpose;
use domain::status::{Claims, EventType, PaymentStatus};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, durable, millis};
use crate::queue::ORPHANED_AFTER;

/// Payments that one report lists.
const LISTED_MAX: i64 = 1_000;

/// How long a start waits for the list.
const PATIENCE: Duration = Duration::from_secs(2);

/// The beginning of the name of a worker's connections. A worker that knows no derived keys is named
/// otherwise: see `payonce migrate --finish`.
const SESSION: &str = "payonce worker (keys 2) ";

/// Events shown of each payment, from the lost claim on.
const EVENTS_SHOWN: i64 = 20;

/// The name of a worker's connections, by which others see that it lives. Only this worker has the name's
/// end.
#[must_use]
pub fn session_name(worker: &str) -> String {
    format!("{SESSION}{}", worker.rsplit('-').next().unwrap_or_default())
}

/// Lists what was under way in workers that are gone. A worker calls it at its start, before it claims
/// anything.
pub async fn at_start(pool: &PgPool, worker: &str) {
    match tokio::time::timeout(PATIENCE, record(pool, worker)).await {
        Ok(Ok((0, _))) => {}
        Ok(Ok((lost, more))) => tracing::warn!(
            event = "recovery",
            lost,
            more,
            "payments were under way in workers that are gone: payonce recovery list"
        ),
        Ok(Err(why)) => {
            tracing::warn!(%why, "could not list what was under way; it is taken over all the same")
        }
        Err(_) => tracing::warn!("listing what was under way takes too long; it is taken over all the same"),
    }
}

/// Lists the lost claims. Answers how many are listed, and how many more there are.
async fn record(pool: &PgPool, worker: &str) -> sqlx::Result<(i64, i64)> {
    let statement =
        sqlx::query_file!("queries/recovery_record.sql", worker, LISTED_MAX, SESSION, millis(ORPHANED_AFTER))
            .fetch_one(pool)
            .in_time();
    let found = durable("recovery", statement).await?;
    Ok((found.listed, found.more))
}

/// A start that found something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number of the report.
    pub id: i64,
    /// The worker that started.
    pub worker: String,
    /// When the worker looked.
    pub found_at: DateTime<Utc>,
    /// How many payments the report lists.
    pub payments: i64,
    /// How many more payments there were.
    pub more: i64,
}

/// A payment that was under way in a worker that is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// The payment that was under way.
    pub payment_id: Uuid,
    /// The claim that was lost.
    pub claim_token: Uuid,
    /// When the lost claim was made.
    pub claimed_at: DateTime<Utc>,
    /// The worker that is gone; none where the claim does not name it.
    pub lost_worker: Option<String>,
    /// What the worker was doing: `charge`, `verify` or `void`; `unknown` where another version claimed it by
    /// an event that this one does not know.
    pub was_doing: &'static str,
    /// What became of the payment: `succeeded`, `failed`, `reversed`, `held`, `under_way`, or `waits` if no
    /// worker has taken it over yet.
    pub became: String,
    /// Whether its worker settled it after all: it was not gone, only away.
    pub came_back: bool,
    /// The charge by which it succeeded; none if it has not.
    pub charge_id: Option<String>,
    /// The code of its failure; none if it has not failed.
    pub failure_code: Option<String>,
    /// The reason why it is held; none if it is not.
    pub held_reason: Option<String>,
    /// The events since then, oldest first: what each decided, and by which evidence.
    pub events: Value,
}

/// The last reports before number `before`, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, before: Option<i64>, limit: i64) -> sqlx::Result<Vec<Report>> {
    let rows = sqlx::query!(
        "select id, worker, found_at, more,
                (select count(*) from recovery_items i where i.report = r.worker) as \"payments!\"
           from recovery_reports r where id < $1 order by id desc limit $2",
        before.unwrap_or(i64::MAX),
        limit
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let report = rows.into_iter().map(|row| Report {
        id: row.id,
        worker: row.worker,
        found_at: row.found_at,
        payments: row.payments,
        more: row.more,
    });
    Ok(report.collect())
}

/// One report, with all that it lists, in the order of the payments' ids.
///
/// # Errors
/// Returns the database's error.
pub async fn find(pool: &PgPool, id: i64) -> sqlx::Result<Option<(Report, Vec<Recovered>)>> {
    let Some(report) = list(pool, id.checked_add(1), 1).await?.into_iter().find(|report| report.id == id)
    else {
        return Ok(None);
    };
    let rows = sqlx::query!(
        "select i.payment_id, i.claim_token, c.type as claim_type, c.at as claimed_at, c.evidence ->> 'worker' as lost_worker,
                exists (select from payment_events v
                         where v.payment_id = i.payment_id and v.type = 'void_started' and v.version < c.version) as \"voiding!\",
                p.status, p.held_reason, p.gateway_transaction_id as charge_id, p.failure_code, later.came_back, later.claimed,
                later.events
           from recovery_items i
           join payments p on p.id = i.payment_id
          cross join lateral (
                select version, type, at, evidence from payment_events
                 where payment_id = i.payment_id and claim_token = i.claim_token
                 order by version limit 1) c
          cross join lateral (
                select bool_or(claim_token = i.claim_token) as came_back,
                       bool_or(type in ('attempt_started', 'taken_over', 'verifying')) as claimed,
                       jsonb_agg(jsonb_build_object('version', version, 'type', type, 'reason', reason, 'at', at,
                                                    'evidence', evidence) order by version) as events
                  from (select * from payment_events
                         where payment_id = i.payment_id and version > c.version
                         order by version limit $2) e) later
          where i.report = $1
          order by i.payment_id",
        report.worker,
        EVENTS_SHOWN
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    let recovered = rows.into_iter().map(|row| {
        let came_back = row.came_back.unwrap_or(false);
        let is_touched = came_back || row.claimed.unwrap_or(false);
        Recovered {
            payment_id: row.payment_id,
            claim_token: row.claim_token,
            claimed_at: row.claimed_at,
            lost_worker: row.lost_worker,
            was_doing: was_doing(&row.claim_type, row.voiding),
            became: became(&row.status, row.held_reason.is_some(), is_touched),
            came_back,
            charge_id: row.charge_id,
            failure_code: row.failure_code,
            held_reason: row.held_reason,
            events: row.events.unwrap_or_else(|| Value::Array(Vec::new())),
        }
    });
    Ok(Some((report, recovered.collect())))
}

/// The purpose of a claim of this type; "unknown" where another version made a claim that this one cannot
/// read.
fn was_doing(claim_type: &str, voiding: bool) -> &'static str {
    match claim_type.parse().map(EventType::claims) {
        Ok(Some(Claims::ToCharge)) => Purpose::Charge.as_str(),
        Ok(Some(Claims::ToLook)) if voiding => Purpose::Void.as_str(),
        Ok(Some(Claims::ToLook)) => Purpose::Verify.as_str(),
        Ok(None) | Err(_) => "unknown",
    }
}

/// The state of a payment, in a word. A status that another version wrote is shown as it stands.
fn became(status: &str, is_held: bool, is_touched: bool) -> String {
    let is_under_way = status.parse().is_ok_and(|status: PaymentStatus| !status.is_terminal());
    match (is_under_way, is_held, is_touched) {
        (true, true, _) => "held",
        (true, false, true) => "under_way",
        (true, false, false) => "waits",
        (false, _, _) => status,
    }
    .to_owned()
}

/// Deletes the reports of more than `days` ago, with what they list.
///
/// # Errors
/// Returns the database's error.
pub async fn forget(pool: &PgPool, days: i32) -> sqlx::Result<u64> {
    let statement = sqlx::query!(
        "delete from recovery_reports where found_at < clock_timestamp() - make_interval(days => $1)",
        days
    )
    .execute(pool);
    Ok(durable("prune_recoveries", statement).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_another_version_is_read_as_none_of_ours() {
        assert_eq!(was_doing("attempt_started", false), "charge");
        assert_eq!(["taken_over", "verifying"].map(|it| was_doing(it, false)), ["verify"; 2]);
        assert_eq!(["taken_over", "verifying"].map(|it| was_doing(it, true)), ["void"; 2]);
        assert_eq!(["held", "refunding"].map(|it| was_doing(it, true)), ["unknown"; 2]);
        assert_eq!(became("processing", true, true), "held");
        assert_eq!(became("pending", false, false), "waits");
        assert_eq!(["succeeded", "refunded"].map(|it| became(it, false, true)), ["succeeded", "refunded"]);
    }

    #[test]
    fn a_session_is_named_by_what_no_other_start_has_and_fits_into_a_name_of_postgres() {
        let name = format!("payonce-{}-17-01KA2238C469B700B84A52", "host-with-dashes".repeat(10));

        let session = session_name(&name);

        assert_eq!(session, "payonce worker (keys 2) 01KA2238C469B700B84A52");
        assert!(session_name(&crate::queue::worker_name()).len() < 64);
    }

    #[test]
    fn what_became_of_a_payment_is_a_word() {
        for (status, held, touched, word) in [
            ("succeeded", false, true, "succeeded"),
            ("reversed", false, false, "reversed"),
            ("processing", true, true, "held"),
            ("pending", false, true, "under_way"),
            ("processing", false, false, "waits"),
        ] {
            assert_eq!(became(status, held, touched), word);
        }
        assert_eq!([was_doing("attempt_started", false), was_doing("taken_over", true)], ["charge", "void"]);
        assert_eq!(was_doing("verifying", false), "verify");
    }
}

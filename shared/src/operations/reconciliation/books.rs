//! The gateway's books beside ours, both ways.
//!
//! The rows of its journal that moved money are copied, and SQL compares the copy: the other way round from
//! the walk over our payments. Only payments that had ended before the journal was asked for its end are
//! judged. All that led to their end was in it by then, whatever the clocks say. Its list of charges shows
//! what it says now of what it said before.

use chrono::{DateTime, Utc};
use domain::ids::{GATEWAY, PaymentId};
use domain::outcome::Charge;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::copy::{Copied, Copies, copy, cursor, storable};
use super::run::{Run, Step};
use super::{Counts, GatewayBooks, PAGE, charges, say_opened};
use crate::database::{InTime as _, durable};
use crate::gateway::Gateway;
use crate::gateway::books::{Bounds, Unread};
use crate::operations::breaks::{self, Opened};

/// What a page copied, and how far it led, is saved with the run.
impl Copies for Run {
    async fn page(
        &mut self,
        connection: &mut PgConnection,
        copied: i64,
        opened: &Opened,
    ) -> sqlx::Result<bool> {
        self.findings.journal.checked += copied;
        self.findings.journal.add(Counts::of(0, opened));
        self.save(connection).await
    }

    async fn rest(&mut self) {
        Self::rest(self).await;
    }
}

/// Copies the new rows of the journal, and compares them once it has been read to its end.
pub(super) async fn journal(
    pool: &PgPool,
    gateway: Option<&Gateway>,
    run: &mut Run,
    bounds: Bounds,
) -> sqlx::Result<bool> {
    if let Some(gateway) = gateway {
        let cursor = cursor(pool).await?;
        match copy(pool, gateway, run, &cursor, bounds).await? {
            Copied::TakenOver => return Ok(false),
            Copied::Unread(why) => unread(run, &why),
            Copied::Partly => run.findings.gateway_books = GatewayBooks::Partly,
            Copied::Whole => {
                run.findings.gateway_books = GatewayBooks::Compared;
                if !compare_effects(pool, run, cursor.compared_up_to).await? {
                    return Ok(false);
                }
            }
        }
    }
    run.step = Step::Payments;
    run.step_done(pool).await
}

/// Notes why the gateway's books could not be read, or not further.
fn unread(run: &mut Run, why: &Unread) {
    run.findings.gateway_books = match why {
        Unread::NotOffered(_) => {
            tracing::info!(%why, "only our own books are compared");
            GatewayBooks::NotOffered
        }
        Unread::Failed(_) => {
            tracing::warn!(%why, "the next run compares them");
            GatewayBooks::Unreachable
        }
        Unread::Stuck { .. } => {
            tracing::error!(%why, "the gateway's books are not read any further; the next run tries again");
            GatewayBooks::Faulty
        }
    };
    run.findings.gateway_books_why = Some(why.to_string());
}

/// Until when our copy of the journal is whole; none if it never was.
pub(super) async fn whole_at(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    let whole_at = sqlx::query_scalar!("select whole_at from gateway_cursors where gateway = $1", GATEWAY);
    Ok(whole_at.fetch_optional(pool).await?.flatten())
}

async fn may_claim(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!("select may_claim() as \"may!\"").fetch_one(connection).await
}

/// Compares each effect that was not compared yet with the payment that it names, page by page.
async fn compare_effects(pool: &PgPool, run: &mut Run, compared_up_to: i64) -> sqlx::Result<bool> {
    let whole_at = whole_at(pool).await?;
    let mut after = compared_up_to;
    loop {
        let page = sqlx::query!(
            "select e.seq, e.key, e.reference, o.adopted_by as \"adopted_by?\"
               from gateway_effects e
               left join orphans o on o.gateway = e.gateway and o.key = e.key
              where e.gateway = $1 and e.seq > $2 order by e.seq limit $3",
            GATEWAY,
            after,
            PAGE
        )
        .fetch_all(pool)
        .await?;
        let Some(last) = page.last().map(|row| row.seq) else { return Ok(true) };
        // A charge belongs to the payment that its reference names, or else its key, or that adopted it.
        let named = |row| {
            let (reference, key): (Option<&String>, &String) = row;
            [reference, Some(key)].into_iter().flatten().filter_map(|id| id.parse::<PaymentId>().ok())
        };
        let mut ids: Vec<Uuid> = page
            .iter()
            .flat_map(|row| named((row.reference.as_ref(), &row.key)))
            .map(PaymentId::uuid)
            .collect();
        ids.extend(page.iter().filter_map(|row| row.adopted_by));
        ids.sort_unstable();
        ids.dedup();
        let mut keys: Vec<String> = page.into_iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut findings = charges::beside_the_gateway(pool, &ids, whole_at).await?;
        findings.extend(charges::unknown(pool, &keys).await?);

        let mut transaction = pool.begin().in_time().await?;
        // An unknown charge decides whether the past came back. As long as that is looked into, none is
        // recorded.
        if !may_claim(&mut transaction).await? {
            run.findings.gateway_books = GatewayBooks::Partly;
            run.findings.gateway_books_why = Some("whether a past came back is looked into first".to_owned());
            return Ok(true);
        }
        charges::orphaned(&mut transaction, &findings).await?;
        let opened = breaks::open(&mut transaction, findings).await?;
        run.findings.journal.add(Counts::of(0, &opened));
        sqlx::query!(
            "update gateway_cursors set compared_up_to = greatest(compared_up_to, $2) where gateway = $1",
            GATEWAY,
            last
        )
        .execute(&mut *transaction)
        .await?;
        if !run.save(&mut transaction).await? {
            return Ok(false);
        }
        durable("reconcile_effects", transaction.commit()).await?;
        say_opened(&opened);
        after = last;
        run.rest().await;
    }
}

/// Compares what the gateway lists now with the payments that succeeded by it.
pub(super) async fn charges(
    pool: &PgPool,
    gateway: Option<&Gateway>,
    run: &mut Run,
    bounds: Bounds,
) -> sqlx::Result<bool> {
    if let (Some(gateway), GatewayBooks::Compared | GatewayBooks::Partly) =
        (gateway, run.findings.gateway_books)
    {
        let mut reading = gateway.read::<Charge>(run.listed_up_to.clone().unwrap_or_default(), bounds);
        loop {
            let asked_at =
                sqlx::query_scalar!("select clock_timestamp() as \"now!\"").fetch_one(pool).await?;
            let page = match reading.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(Unread::NotOffered(status)) => {
                    tracing::debug!(status, "the gateway lists no charges");
                    break;
                }
                Err(why) => {
                    // The place where the reading stuck is not kept: the next run begins with the first
                    // charge.
                    run.listed_up_to.take_if(|_| matches!(why, Unread::Stuck { .. }));
                    unread(run, &why);
                    break;
                }
            };
            let findings = charges::denied(pool, &page.data, asked_at).await?;
            let mut transaction = pool.begin().in_time().await?;
            let opened = breaks::open(&mut transaction, findings).await?;
            run.findings.charges.add(Counts::of(page.data.len(), &opened));
            // After the last charge the first one follows: a gateway may change its mind at any time.
            run.listed_up_to = page.data.last().filter(|_| page.has_more).map(|charge| storable(&charge.id));
            if !page.has_more {
                run.step = Step::Done;
            }
            if !run.save(&mut transaction).await? {
                return Ok(false);
            }
            durable("reconcile_charges", transaction.commit()).await?;
            say_opened(&opened);
            if !page.has_more {
                return Ok(true);
            }
            run.rest().await;
        }
    }
    run.step = Step::Done;
    run.step_done(pool).await
}

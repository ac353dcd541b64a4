//! The gateway's books beside ours, both ways.
//!
//! The rows of its journal that moved money are copied, and SQL compares the copy: the other way round from
//! the walk over our payments. Only payments that had ended before the journal was asked for its end are
//! judged. All that led to their end was in it by then, whatever the clocks say. Its list of charges shows
//! what it says now of what it said before.

use chrono::{DateTime, Utc};
use domain::ids::{GatewayName, PaymentId};
use domain::outcome::Charge;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::copy::{Copied, Copies, copy, cursor, storable};
use super::run::{Run, Step};
use super::{Counts, GatewayBooks, PAGE, Trigger, charges, say_opened};
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

/// Copies the new rows of each gateway's journal, and compares them once it has been read to its end. A
/// gateway that shows nothing keeps no other from being compared.
pub(super) async fn journal(
    pool: &PgPool,
    gateways: &[Gateway],
    run: &mut Run,
    bounds: Bounds,
) -> sqlx::Result<bool> {
    for gateway in gateways {
        let (name, bounds) = (gateway.name(), bounds.shared_by(gateways.len()));
        let cursor = cursor(pool, name).await?;
        match copy(pool, gateway, run, &cursor, bounds).await? {
            Copied::TakenOver => return Ok(false),
            Copied::Unread(why) => unread(run, name, &why),
            Copied::Partly => run.findings.read(name, GatewayBooks::Partly, None),
            Copied::Whole => {
                run.findings.read(name, GatewayBooks::Compared, None);
                if !compare_effects(pool, run, (name, cursor.compared_up_to)).await? {
                    return Ok(false);
                }
            }
        }
    }
    run.step = Step::Payments;
    run.step_done(pool).await
}

/// Notes why a gateway's books could not be read, or not further.
fn unread(run: &mut Run, gateway: &GatewayName, why: &Unread) {
    let books = match why {
        Unread::NotOffered(_) => {
            tracing::info!(%gateway, %why, "only our own books are compared");
            GatewayBooks::NotOffered
        }
        Unread::Failed(_) => {
            tracing::warn!(%gateway, %why, "the next run compares them");
            GatewayBooks::Unreachable
        }
        Unread::Stuck { .. } => {
            tracing::error!(%gateway, %why, "the gateway's books are not read any further; the next run tries again");
            GatewayBooks::Faulty
        }
    };
    run.findings.read(gateway, books, Some(why.to_string()));
}

/// A gateway's name, and until when our copy of its journal is whole.
pub(super) type WholeAt = (GatewayName, DateTime<Utc>);

/// Until when our copies of the journals are whole, gateway by gateway. One that never was is left out.
pub(super) async fn whole_at(pool: &PgPool) -> sqlx::Result<Vec<WholeAt>> {
    let rows = sqlx::query!(
        "select gateway, whole_at as \"whole_at!\" from gateway_cursors where whole_at is not null order by gateway"
    );
    let rows = rows.fetch_all(pool).await?;
    rows.into_iter().map(|row| Ok((name(&row.gateway)?, row.whole_at))).collect()
}

/// A gateway's name, as the database has it.
fn name(stored: &str) -> sqlx::Result<GatewayName> {
    stored.parse().map_err(|why| sqlx::Error::Decode(Box::new(why)))
}

async fn may_claim(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!("select may_claim() as \"may!\"").fetch_one(connection).await
}

/// Compares each effect that was not compared yet with the payment that it names, page by page.
async fn compare_effects(
    pool: &PgPool,
    run: &mut Run,
    (gateway, compared_up_to): (&GatewayName, i64),
) -> sqlx::Result<bool> {
    let mut whole_at = whole_at(pool).await?;
    whole_at.retain(|(name, _)| name == gateway);
    let mut after = compared_up_to;
    loop {
        let page = sqlx::query!(
            "select e.seq, e.key, e.reference, o.adopted_by as \"adopted_by?\"
               from gateway_effects e
               left join orphans o on o.gateway = e.gateway and o.key = e.key
              where e.gateway = $1 and e.seq > $2 order by e.seq limit $3",
            gateway.as_str(),
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
        let mut findings = charges::beside_the_gateways(pool, &ids, &whole_at).await?;
        findings.extend(charges::unknown(pool, gateway, &keys).await?);

        let mut transaction = pool.begin().in_time().await?;
        // An unknown charge decides whether the past came back. As long as that is looked into, none is
        // recorded.
        if !may_claim(&mut transaction).await? {
            let why = "whether a past came back is looked into first".to_owned();
            run.findings.read(gateway, GatewayBooks::Partly, Some(why));
            return Ok(true);
        }
        charges::orphaned(&mut transaction, gateway, &findings).await?;
        let opened = breaks::open(&mut transaction, findings).await?;
        run.findings.journal.add(Counts::of(0, &opened));
        sqlx::query!(
            "update gateway_cursors set compared_up_to = greatest(compared_up_to, $2) where gateway = $1",
            gateway.as_str(),
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

/// Compares what each gateway lists now with the payments that succeeded by it. It must have shown in this
/// run that it is the known one.
pub(super) async fn charges(
    pool: &PgPool,
    gateways: &[Gateway],
    run: &mut Run,
    trigger: Trigger,
) -> sqlx::Result<bool> {
    for gateway in gateways {
        let bounds = trigger.charge_bounds().shared_by(gateways.len());
        let is_due = run.findings.is_to_be_listed(gateway.name());
        if is_due && !charges_of(pool, gateway, run, (trigger, bounds)).await? {
            return Ok(false);
        }
    }
    run.step = Step::Done;
    run.step_done(pool).await
}

async fn charges_of(
    pool: &PgPool,
    gateway: &Gateway,
    run: &mut Run,
    (trigger, bounds): (Trigger, Bounds),
) -> sqlx::Result<bool> {
    let name = gateway.name();
    // A command reads the whole list. The ticks share a place in it.
    let is_tick = matches!(trigger, Trigger::Tick(_));
    let from = if is_tick { listed_up_to(pool, name).await? } else { None };
    let mut reading = gateway.read::<Charge>(from.unwrap_or_default(), bounds);
    loop {
        let asked_at = sqlx::query_scalar!("select clock_timestamp() as \"now!\"").fetch_one(pool).await?;
        let page = match reading.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(true),
            Err(Unread::NotOffered(status)) => {
                tracing::debug!(gateway = %name, status, "the gateway lists no charges");
                return Ok(true);
            }
            Err(why) => {
                unread(run, name, &why);
                // The place where the reading stuck is not kept: the next run begins with the first charge.
                if is_tick && matches!(why, Unread::Stuck { .. }) {
                    list_up_to(&mut *pool.acquire().in_time().await?, name, None).await?;
                }
                return Ok(true);
            }
        };
        let findings = charges::denied(pool, name, &page.data, asked_at).await?;
        let mut transaction = pool.begin().in_time().await?;
        let opened = breaks::open(&mut transaction, findings).await?;
        run.findings.charges.add(Counts::of(page.data.len(), &opened));
        // After the last charge the first one follows: a gateway may change its mind at any time.
        let last = page.data.last().filter(|_| page.has_more).map(|charge| storable(&charge.id));
        if is_tick {
            list_up_to(&mut transaction, name, last).await?;
        }
        if !page.has_more {
            run.findings.lists_of.insert(name.clone());
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

/// The last charge in a gateway's list that was compared; none before the first one.
async fn listed_up_to(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<Option<String>> {
    let place =
        sqlx::query_scalar!("select listed_up_to from gateway_cursors where gateway = $1", gateway.as_str());
    Ok(place.fetch_optional(pool).await?.flatten())
}

async fn list_up_to(
    connection: &mut PgConnection,
    gateway: &GatewayName,
    place: Option<String>,
) -> sqlx::Result<()> {
    sqlx::query!("update gateway_cursors set listed_up_to = $2 where gateway = $1", gateway.as_str(), place)
        .execute(connection)
        .await
        .map(drop)
}

//! How a server that took over is accepted: by the gateway's books, read from where our copy ends to their
//! end.
//!
//! Invariant: until then nothing is claimed (`may_claim()` in SQL). One worker reads for all. The gateway may
//! remember a payment that is forgotten here, or a key of a kind that was not to be made yet. Then a person
//! has to run `payonce restored`.

use std::future::{Future, ready};
use std::time::Duration;

use domain::ids::GatewayName;
use sqlx::{PgConnection, PgPool};

use super::orphans::{self, Which};
use super::{Installation, read, seen};
use crate::database::{InTime as _, durable};
use crate::gateway::Gateway;
use crate::gateway::books::{Bounds, Unread};
use crate::gateway::names;
use crate::operations::breaks::Opened;
use crate::operations::reconciliation::copy::{Copied, Copies, copy, cursor};

/// The number of the lock by which one process at a time reads.
const ONE_AT_A_TIME: i64 = 0x0070_6179_6f6e_6401;

/// How far one try reads. The next one goes on from there.
const BOUNDS: Bounds = Bounds { pages: 10_000, time: Duration::from_mins(5) };

/// The result of looking into a take-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// The server is the known one, or another process looks into it.
    NothingToDo,
    /// Nothing is forgotten: the server is the known one from now on.
    Accepted,
    /// The gateway shows no books, so that nobody knows. The server is the known one from now on.
    AcceptedBlindly,
    /// A person has to run `payonce restored`; the text is the reason.
    MustRestore(String),
    /// The books could not be read to their end this time; the text is the reason.
    Waits(String),
}

/// Copies that belong to no run.
pub(super) struct Unaccompanied;

impl Copies for Unaccompanied {
    fn page(
        &mut self,
        _: &mut PgConnection,
        _: i64,
        _: &Opened,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send {
        ready(Ok(true))
    }

    fn rest(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// Looks into a take-over, if the server is on a later timeline than the known one.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn look_into(pool: &PgPool, gateways: &[Gateway]) -> sqlx::Result<Returned> {
    if !is_ahead(&read(pool).await?, seen(pool).await?.timeline) {
        return Ok(Returned::NothingToDo);
    }
    // Asked before the lock: who lacks one must not take the turn of those that have all.
    if let Some(missing) = names::without_settings(pool, gateways).await?.first() {
        return Ok(Returned::Waits(format!("this worker has no settings for the gateway {missing}")));
    }
    // The lock goes with its connection, also if this process is killed.
    let mut own = pool.acquire().await?.detach();
    let lock = sqlx::query_scalar!("select pg_try_advisory_lock($1) as \"got!\"", ONE_AT_A_TIME);
    if !lock.fetch_one(&mut own).in_time().await? {
        return Ok(Returned::NothingToDo);
    }
    let (installation, timeline) = (read(pool).await?, seen(pool).await?.timeline);
    if !is_ahead(&installation, timeline) {
        return Ok(Returned::NothingToDo);
    }
    look(pool, gateways, &installation, timeline).await
}

fn is_ahead(installation: &Installation, timeline: i32) -> bool {
    let known = installation.known.as_ref().is_some_and(|known| known.timeline < timeline);
    known && installation.must_restore.is_none()
}

async fn look(
    pool: &PgPool,
    gateways: &[Gateway],
    installation: &Installation,
    timeline: i32,
) -> sqlx::Result<Returned> {
    let (mut is_blind, mut read) = (false, Vec::with_capacity(gateways.len()));
    // All are read to their end, and then what came meanwhile, before any is judged.
    for pass in 0..2 {
        for gateway in gateways {
            let from = cursor(pool, gateway.name()).await?;
            match copy(pool, gateway, &mut Unaccompanied, &from, BOUNDS).await? {
                Copied::Whole => {}
                Copied::Unread(Unread::NotOffered(_)) => is_blind = true,
                Copied::Unread(why) => return Ok(Returned::Waits(format!("{}: {why}", gateway.name()))),
                Copied::Partly | Copied::TakenOver => {
                    return Ok(Returned::Waits(format!("{}: its books are long", gateway.name())));
                }
            }
            if pass == 0 {
                read.push((gateway.name(), from.compared_up_to));
            }
        }
    }
    for (gateway, compared_up_to) in read {
        if let Some(why) = forgotten(pool, installation, (gateway, compared_up_to)).await? {
            return must_restore(pool, why).await;
        }
    }
    let statement = sqlx::query!(
        "update installation set timeline = $1, returned_at = clock_timestamp() where timeline < $1 and must_restore is null",
        timeline
    )
    .execute(pool)
    .in_time();
    durable("accept_timeline", statement).await?;
    Ok(if is_blind { Returned::AcceptedBlindly } else { Returned::Accepted })
}

/// Why a person must say how it goes on, if this gateway's books show something that is forgotten here.
/// Effects that were compared before had their payment then, and so they have now.
async fn forgotten(
    pool: &PgPool,
    installation: &Installation,
    (gateway, compared_up_to): (&GatewayName, i64),
) -> sqlx::Result<Option<String>> {
    let unknown = orphans::unknown(pool, gateway, Which::NewsAfter(compared_up_to)).await?;
    if let Some(first) = unknown.first() {
        return Ok(Some(format!(
            "another server took over, and {} payments are forgotten of which the gateway shows a charge, the first under the key {}",
            unknown.len(),
            first.key
        )));
    }
    let is_unfinished =
        installation.key_scheme == 1 && has_derived_keys(pool, (gateway, compared_up_to)).await?;
    Ok(is_unfinished.then(|| {
        "another server took over, and it is forgotten that `payonce migrate --finish` had run".to_owned()
    }))
}

/// Whether the gateway knows derived keys, which a database that does not remember having made any lost.
async fn has_derived_keys(pool: &PgPool, (gateway, after): (&GatewayName, i64)) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        "select exists (select from gateway_effects where gateway = $1 and seq > $2 and key like 'pk1\\_%') as \"has!\"",
        gateway.as_str(),
        after
    )
    .fetch_one(pool)
    .in_time()
    .await
}

async fn must_restore(pool: &PgPool, why: String) -> sqlx::Result<Returned> {
    let statement = sqlx::query!("update installation set must_restore = $1 where must_restore is null", why)
        .execute(pool)
        .in_time();
    durable("must_restore", statement).await?;
    Ok(Returned::MustRestore(why))
}

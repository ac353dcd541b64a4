//! The exchange: the table made from events takes the place of the one in use.
//!
//! Invariants: it happens behind closed doors, in one transaction, under a lock that was waited for no
//! longer than [`super::connect`] says. It happens only if the new table is what the event log makes, to its
//! last event.

use anyhow::{Context as _, Result, bail, ensure};
use domain::ids::PaymentId;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use terminal::progress;

use super::report::Report;
use super::{KEPT, REBUILT, carry, write};
use crate::doors;

/// Counts payments whose last event is not in the new table, or that the table has and the log has not.
const BEHIND: &str = "
    select count(*)
      from (select payment_id, max(version) as version from payment_events group by payment_id) e
      full join payments_rebuilt r on r.id = e.payment_id
     where r.version is distinct from e.version";

pub(super) async fn run(connection: &mut PgConnection, report: &mut Report) -> Result<()> {
    let [rebuilt, kept]: [bool; 2] = exist(connection).await?;
    ensure!(
        rebuilt,
        "there is no {REBUILT} yet: run payonce rebuild first, which may take its time while payments go on"
    );
    ensure!(
        !kept,
        "{KEPT} is still there from the exchange before; when nobody needs it any more: drop table {KEPT}"
    );
    doors::require_closed(connection).await?;
    carry::require_known(connection).await?;
    let untold = write::bring_up_to_date(connection, report).await?;
    if let Some(first) = untold.first() {
        bail!(
            "the events of {} payments make none, the first of them {}: payonce rebuild --check names them all. \
             Nothing was exchanged; compare with a backup",
            untold.len(),
            PaymentId::from(*first)
        );
    }
    progress::during("exchanging the tables", exchange(connection)).await?;
    report.swapped = true;
    Ok(())
}

async fn exist(connection: &mut PgConnection) -> Result<[bool; 2]> {
    let (rebuilt, kept) = sqlx::query_as(
        "select to_regclass('payments_rebuilt') is not null, to_regclass('payments_before_rebuild') is not null",
    )
    .fetch_one(connection)
    .await?;
    Ok([rebuilt, kept])
}

async fn exchange(connection: &mut PgConnection) -> Result<()> {
    let mut tables = vec!["payments".to_owned(), REBUILT.to_owned()];
    tables.extend(carry::referring(connection).await?);
    let mut transaction = connection.begin().await?;
    // Foreign keys are checked over whole tables.
    let plans = "set local enable_seqscan = on; set local enable_bitmapscan = on";
    sqlx::raw_sql(plans).execute(&mut *transaction).await?;
    let lock = format!("lock table {} in access exclusive mode", tables.join(", "));
    let locked = sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *transaction).await;
    locked.context("somebody holds a lock on the tables: close whatever is connected, and ask again")?;
    // A session that came in between waits for the lock now, and finds the new table. One that has written is
    // found here.
    doors::require_closed(&mut transaction).await?;
    let behind: i64 = sqlx::query_scalar(BEHIND).fetch_one(&mut *transaction).await?;
    ensure!(
        behind == 0,
        "{behind} payments moved in between: the doors are not closed. Nothing was exchanged; stop all APIs and workers"
    );
    carry::over(&mut transaction).await?;
    transaction.commit().await?;
    Ok(())
}

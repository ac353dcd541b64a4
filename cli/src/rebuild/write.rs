//! Writes what events make into a table of its own.
//!
//! Invariant: each page is one transaction, and a row that is not what the events make is written anew. So
//! whatever the table holds before, after a pass it is the log's picture.

use anyhow::{Context, Result, bail};
use domain::ids::PaymentId;
use serde_json::Value;
use shared::payment::replay;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::compare::{self, Differs};
use super::report::Report;
use super::{Pace, REBUILT};

/// A new table with the columns, checks and indexes of the one in use. A table that an earlier run left
/// is dropped.
const CREATE: &str = "
    begin;
    drop table if exists payments_rebuilt;
    create table payments_rebuilt (like payments including all);
    commit";

/// Makes the table and fills it.
pub(super) async fn anew(connection: &mut PgConnection, report: &mut Report) -> Result<()> {
    sqlx::raw_sql(CREATE).execute(&mut *connection).await.context("cannot make payments_rebuilt")?;
    // The comparison that follows names payments whose events make no row.
    bring_up_to_date(connection, report).await?;
    // The next reader of the table then has statistics, and need not look up each row's transaction.
    sqlx::raw_sql("vacuum (analyze) payments_rebuilt").execute(connection).await?;
    Ok(())
}

/// Walks over the log, and writes each payment whose row is missing or different. Answers the payments whose
/// events make none.
pub(super) async fn bring_up_to_date(
    connection: &mut PgConnection,
    report: &mut Report,
) -> Result<Vec<Uuid>> {
    let mut pace = Pace::new("writing");
    let (mut after, mut untold, mut seen) = (Uuid::nil(), Vec::new(), 0);
    loop {
        let mut transaction = connection.begin_with("begin isolation level repeatable read").await?;
        let page = replay::page(&mut transaction, after).await?;
        let differing = compare::page_beside(&mut transaction, REBUILT, after, &page).await?;
        let mut ids: Vec<Uuid> = differing.iter().map(Differs::payment).collect();
        ids.dedup();
        let mut rows = Vec::new();
        for story in &page.stories {
            match story.columns()? {
                None => untold.push(story.id),
                Some(columns) if ids.binary_search(&story.id).is_ok() => rows.push(columns),
                Some(_) => {}
            }
        }
        report.written += write(&mut transaction, &ids, rows).await?;
        transaction.commit().await?;
        seen += page.stories.len() as u64;
        pace.say(seen);
        if page.is_last {
            return Ok(untold);
        }
        after = page.until;
    }
}

async fn write(connection: &mut PgConnection, ids: &[Uuid], rows: Vec<Value>) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    sqlx::query("delete from payments_rebuilt where id = any($1)")
        .bind(ids)
        .execute(&mut *connection)
        .await?;
    let written = sqlx::query(
        "insert into payments_rebuilt select * from jsonb_populate_recordset(null::payments_rebuilt, $1)",
    )
    .bind(Value::Array(rows))
    .execute(connection)
    .await;
    match written {
        Ok(written) => Ok(written.rows_affected()),
        Err(sqlx::Error::Database(refused)) if refused.is_check_violation() => {
            let one = ids.first().map(|id| PaymentId::from(*id).to_string()).unwrap_or_default();
            bail!(
                "the events of a payment from {one} on make a row that the table refuses: {refused}. \
                 payonce verify says which; compare with a backup"
            )
        }
        Err(error) => Err(error).context("cannot write payments_rebuilt"),
    }
}

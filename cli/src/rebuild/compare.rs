//! The rows that events make, beside those of a table: each column compared exactly, in the database's
//! own words.
//!
//! Invariants: a page's events and its rows are of one snapshot. A column that no event fills counts as
//! different, so none can be forgotten.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use domain::ids::PaymentId;
use futures::TryStreamExt as _;
use serde_json::Value;
use shared::payment::replay::{self, Page};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::Pace;
use super::report::{Difference, Report};

/// A difference between a table's row and the events of the same payment.
#[derive(Debug)]
pub(super) enum Differs {
    /// They differ in a column.
    Column { payment: Uuid, column: String, row: Option<String>, told: Option<String> },
    /// There are events, but no row.
    NoRow(Uuid),
    /// There is a row, but no events that make one.
    NotTold(Uuid),
}

impl Differs {
    pub(super) const fn payment(&self) -> Uuid {
        match self {
            Self::Column { payment, .. } | Self::NoRow(payment) | Self::NotTold(payment) => *payment,
        }
    }
}

/// Compares all payments with the table, and tells the report.
pub(super) async fn all(connection: &mut PgConnection, table: &str, report: &mut Report) -> Result<()> {
    let mut pace = Pace::new("comparing");
    let mut after = Uuid::nil();
    loop {
        let mut snapshot = connection.begin_with("begin isolation level repeatable read read only").await?;
        let page = replay::page(&mut snapshot, after).await?;
        let differing = page_beside(&mut snapshot, table, after, &page).await?;
        snapshot.rollback().await?;
        tell(&page, &differing, report)?;
        pace.say(report.payments);
        if page.is_last {
            return Ok(());
        }
        after = page.until;
    }
}

/// The differences between the table and the events, for all payments from `after` to the page's end.
pub(super) async fn page_beside(
    connection: &mut PgConnection,
    table: &str,
    after: Uuid,
    page: &Page,
) -> Result<Vec<Differs>> {
    let told = page.stories.iter().filter_map(|story| story.columns().transpose());
    let told: Vec<Value> = told.collect::<serde_json::Result<_>>()?;
    let sql = include_str!("compare.sql").replace("$table", table);
    let mut rows = sqlx::query_as::<_, Read>(AssertSqlSafe(sql))
        .bind(Value::Array(told))
        .bind(after)
        .bind(page.until)
        .fetch(connection);
    let mut differing = Vec::new();
    while let Some(read) = rows.try_next().await.context("cannot compare")? {
        let Read { payment, is_there, is_told, column, standing, told } = read;
        differing.push(match column {
            _ if !is_there => Differs::NoRow(payment),
            _ if !is_told => Differs::NotTold(payment),
            column => Differs::Column { payment, column: column.unwrap_or_default(), row: standing, told },
        });
    }
    Ok(differing)
}

#[derive(sqlx::FromRow)]
struct Read {
    payment: Uuid,
    is_there: bool,
    is_told: bool,
    column: Option<String>,
    standing: Option<String>,
    told: Option<String>,
}

fn tell(page: &Page, differing: &[Differs], report: &mut Report) -> Result<()> {
    let mut rows_without: BTreeSet<Uuid> = BTreeSet::new();
    for differs in differing {
        match differs {
            Differs::NotTold(id) => {
                rows_without.insert(*id);
            }
            Differs::NoRow(id) => {
                report.problem(PaymentId::from(*id), "has events, but no row".to_owned())?
            }
            Differs::Column { payment, column, row, told } => report.differs(Difference {
                payment: (*payment).into(),
                column: column.clone(),
                row: row.clone(),
                events: told.clone(),
            })?,
        }
    }
    for story in &page.stories {
        report.payments += 1;
        report.events += story.events;
        let Err(why) = &story.told else { continue };
        let has_row = rows_without.remove(&story.id);
        let about = if has_row {
            "has events that make no payment"
        } else {
            "has events, but no row, and they make none"
        };
        report.problem(story.id.into(), format!("{about}: {why}"))?;
    }
    for id in rows_without {
        report.payments += 1;
        report.problem(id.into(), "has no events".to_owned())?;
    }
    Ok(())
}

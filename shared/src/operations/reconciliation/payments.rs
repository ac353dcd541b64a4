//! The walk over all payments, page by page: each beside its ledger transfers, beside what moved money at its
//! gateway, and beside its own events.

use std::collections::HashMap;

use domain::ids::PaymentId;
use domain::posting;
use domain::status::EventType;
use futures::TryStreamExt as _;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::books::WholeAt;
use super::run::{Run, Step};
use super::{Counts, PAGE, balances, books, charges, say_opened};
use crate::database::{InTime as _, durable};
use crate::operations::breaks::{self, Finding};
use crate::payment::history::{self, HistoryError, Row};
use crate::payment::{Event, transition};
use crate::platform::metrics;

/// The number of events in one page, so that no page takes long if payments have been tried for days. A
/// payment has as many events as its version says.
const PAGE_EVENTS: i64 = 20_000;

/// Compares up to `pages` pages. Once the last payment has been reached, the balances are next.
pub(super) async fn walk(pool: &PgPool, run: &mut Run, pages: usize) -> sqlx::Result<bool> {
    let whole_at = books::whole_at(pool).await?;
    for _ in 0..pages {
        let ids = page(pool, run.compared_up_to).await?;
        let is_over = ids.is_empty();
        if !compare(pool, run, ids, &whole_at).await? {
            return Ok(false);
        }
        if is_over {
            return Ok(true);
        }
        run.rest().await;
    }
    // The next tick goes on from here.
    run.step = Step::Charges;
    run.step_done(pool).await
}

/// The payments after `after`, oldest first.
async fn page(pool: &PgPool, after: Option<Uuid>) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select id
           from (select id, version, sum(version) over (order by id) as events
                   from (select id, version from payments where $1::uuid is null or id > $1 order by id limit $2) p) p
          where events - version < $3
          order by id",
        after,
        PAGE,
        PAGE_EVENTS
    )
    .fetch_all(pool)
    .await
}

/// Compares these payments. That it was done and what was found are written together, or neither is.
async fn compare(pool: &PgPool, run: &mut Run, ids: Vec<Uuid>, whole_at: &[WholeAt]) -> sqlx::Result<bool> {
    let ledger = beside_the_ledger(pool, &ids).await?;
    let gateway = charges::beside_the_gateways(pool, &ids, whole_at).await?;
    let histories = beside_their_events(pool, &ids).await?;

    let mut transaction = pool.begin().in_time().await?;
    balances::add(&mut transaction, run.pass_began_at, &ids).await?;
    let ledger = breaks::open(&mut transaction, ledger).await?;
    let gateway = breaks::open(&mut transaction, gateway).await?;
    let evidence: HashMap<PaymentId, (i32, serde_json::Value)> = histories
        .iter()
        .map(|(id, version, finding)| ((*id).into(), (*version, finding.detail.clone())))
        .collect();
    let history =
        breaks::open(&mut transaction, histories.into_iter().map(|(_, _, finding)| finding).collect())
            .await?;
    let mut held = 0;
    // Held only together with its break: a payment whose break a person has looked at and closed is not held
    // again.
    for (subject, _) in &history.opened {
        let breaks::Subject::Payment(id) = subject else { continue };
        let Some((version, evidence)) = evidence.get(id) else { continue };
        held += usize::from(transition::hold(&mut transaction, *id, *version, evidence).await?);
    }
    run.findings.ledger.add(Counts::of(ids.len(), &ledger));
    run.findings.gateway.add(Counts::of(if whole_at.is_empty() { 0 } else { ids.len() }, &gateway));
    run.findings.history.add(Counts::of(ids.len(), &history));
    run.compared_up_to = ids.last().copied();
    if ids.is_empty() {
        run.step = Step::Balances;
    }
    let is_ours = run.save(&mut transaction).await?;
    if is_ours {
        durable("reconcile_payments", transaction.commit()).await?;
        [&ledger, &gateway, &history].into_iter().for_each(say_opened);
        (0..held).for_each(|_| metrics::event_written(EventType::Held.as_str()));
    }
    Ok(is_ours)
}

async fn beside_the_ledger(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Finding>> {
    let posting = posting::columns();
    let rows = sqlx::query_file!(
        "queries/reconcile_ledger.sql",
        ids,
        &posting.event_types,
        &posting.debit_kinds,
        &posting.credit_kinds,
        &posting.codes
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| Finding::about(row.payment_id, &row.kind, row.detail)).collect())
}

/// Folds the events of each payment and compares the result with its row. Answers which payments differ, in
/// which version, and how. Rows and events are of one snapshot.
async fn beside_their_events(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<(Uuid, i32, Finding)>> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read read only").await?;
    let rows = history::rows(&mut snapshot, ids).await?;
    let mut folded: HashMap<Uuid, Result<Row, HistoryError>> = HashMap::with_capacity(ids.len());
    let mut events = sqlx::query!(
        "select payment_id, version, type as event_type, from_status, to_status, reason, evidence, claim_token, due_at,
                spends, correlation_id, at
           from payment_events where payment_id = any($1) order by payment_id, version",
        ids
    )
    .fetch(&mut *snapshot);
    while let Some(event) = events.try_next().await? {
        let so_far = match folded.remove(&event.payment_id) {
            None => None,
            Some(Ok(row)) => Some(row),
            Some(Err(why)) => {
                folded.insert(event.payment_id, Err(why));
                continue;
            }
        };
        let payment_id = event.payment_id;
        let event = Event {
            version: event.version,
            event_type: event.event_type,
            from_status: event.from_status,
            to_status: event.to_status,
            reason: event.reason,
            evidence: event.evidence,
            claim_token: event.claim_token,
            due_at: event.due_at,
            spends: event.spends,
            correlation_id: event.correlation_id,
            at: event.at,
        };
        folded.insert(payment_id, history::next(so_far, &event));
    }
    drop(events);
    snapshot.rollback().await?;
    let mut differing = Vec::new();
    for (id, row) in rows {
        let folded = folded.remove(&id).unwrap_or(Err(HistoryError::Empty));
        let why = match &folded {
            Err(why) => why.to_string(),
            Ok(folded) if *folded == row => continue,
            Ok(folded) => match folded.differences(&row).as_slice() {
                [] => continue,
                columns => format!("its events lead to another {}", columns.join(", ")),
            },
        };
        let finding = Finding::about(id, "history", json!({ "why": why }));
        differing.push((id, row.version, finding));
    }
    Ok(differing)
}

//! Our copy of the gateway's journal: what moved money there, page by page, each with the place that it leads
//! to.
//!
//! Invariant: a page and how far it leads commit together, and what was copied twice is there once. So a
//! reconciliation, or a process that looks into a past that came back, may be killed anywhere and copy again.

use std::future::Future;

use chrono::{DateTime, Utc};
use domain::ids::GatewayName;
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::say_opened;
use crate::database::{InTime as _, durable};
use crate::gateway::Gateway;
use crate::gateway::books::{Bounds, JournalRow, Unread};
use crate::gateway::door::Closed;
use crate::operations::breaks::{self, Finding, Opened};

/// How far a gateway's journal has been copied and compared.
pub(crate) struct Cursor {
    pub(crate) read_up_to: i64,
    pub(crate) compared_up_to: i64,
    now: DateTime<Utc>,
}

/// Our place in a gateway's journal.
pub(crate) async fn cursor(pool: &PgPool, gateway: &GatewayName) -> sqlx::Result<Cursor> {
    sqlx::query_as!(
        Cursor,
        "insert into gateway_cursors (gateway) values ($1)
             on conflict (gateway) do update set gateway = excluded.gateway
         returning read_up_to, compared_up_to, clock_timestamp() as \"now!\"",
        gateway.as_str()
    )
    .fetch_one(pool)
    .await
}

/// How far copying came.
pub(crate) enum Copied {
    /// To the end of the journal.
    Whole,
    /// As far as one run goes.
    Partly,
    /// The journal could not be read, or not further.
    Unread(Unread),
    /// Another process goes on with the copying.
    TakenOver,
}

/// The caller of `copy`, which hears of each page.
pub(crate) trait Copies: Send {
    /// A page with `copied` new effects is about to be committed. False if it must not be.
    fn page(
        &mut self,
        connection: &mut PgConnection,
        copied: i64,
        opened: &Opened,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Called between two pages.
    fn rest(&mut self) -> impl Future<Output = ()> + Send;
}

/// Copies page by page, each with the place that it leads to. The first page begins with the last row of the
/// copy, which must still be there.
pub(crate) async fn copy(
    pool: &PgPool,
    gateway: &Gateway,
    copies: &mut impl Copies,
    cursor: &Cursor,
    bounds: Bounds,
) -> sqlx::Result<Copied> {
    let (mut up_to, name) = (cursor.read_up_to, gateway.name());
    match gateway.is_known(pool).await {
        Ok(()) => {}
        Err(Closed::Database(why)) => return Err(why),
        Err(Closed::Gateway(why)) => return Ok(Copied::Unread(Unread::Failed(why.to_string()))),
    }
    let mut reading = gateway.read::<JournalRow>((up_to - 1).max(0), bounds);
    let mut must_begin_with = (up_to > 0).then_some(up_to);
    loop {
        let page = match reading.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(Copied::Partly),
            Err(why) => return Ok(Copied::Unread(why)),
        };
        let shrank =
            must_begin_with.take().is_some_and(|seq| page.data.first().is_none_or(|row| row.seq != seq));
        let effects = match effects(&page.data) {
            Ok(effects) => effects,
            Err(why) => return Ok(Copied::Unread(why)),
        };
        let mut transaction = pool.begin().in_time().await?;
        let mut copied = 0;
        let opened = if shrank {
            let detail = json!({ "copied_up_to": up_to, "shown": page.data.first().map(|row| row.seq) });
            let finding = Finding::about_other(format!("gateway {name}"), "journal_shrank", detail);
            breaks::open(&mut transaction, vec![finding]).await?
        } else {
            up_to = page.data.last().map_or(up_to, |row| row.seq.max(up_to));
            copied = store(&mut transaction, name, &effects).await?;
            let whole_at = (!page.has_more).then_some(cursor.now);
            advance(&mut transaction, name, up_to, whole_at).await?;
            Opened::default()
        };
        if !copies.page(&mut transaction, copied, &opened).await? {
            return Ok(Copied::TakenOver);
        }
        durable("reconcile_journal", transaction.commit()).await?;
        say_opened(&opened);
        if shrank {
            return Ok(Copied::Unread(Unread::Failed("its journal lacks rows that it had".to_owned())));
        }
        if !page.has_more {
            return Ok(Copied::Whole);
        }
        copies.rest().await;
    }
}

/// A row that moved money.
struct Effect<'a> {
    row: &'a JournalRow,
    key: String,
    charge_id: String,
    amount: Decimal,
    currency: String,
}

/// Those rows that moved money. A void under whose key nothing was charged moved none.
fn effects<'a>(rows: &'a [JournalRow]) -> Result<Vec<Effect<'a>>, Unread> {
    let moved = rows.iter().filter(|row| {
        let acts = ["void", "refund", "return", "dispute", "dispute_won", "dispute_lost"];
        let undid = acts.contains(&row.kind.as_str()) && row.charge_id.is_some();
        row.kind == "charge" || undid
    });
    let text = |text: &Option<String>| text.as_deref().map(storable);
    let effect = |row: &'a JournalRow| {
        let amount = row.amount.as_deref().and_then(|amount| Decimal::from_str_exact(amount).ok());
        Some(Effect {
            row,
            key: text(&row.key).or_else(|| text(&row.reference)).unwrap_or_default(),
            charge_id: text(&row.charge_id)?,
            amount: amount?,
            currency: text(&row.currency)?,
        })
    };
    let garbled = |row: &JournalRow| Unread::Failed(format!("row {} of its journal is garbled", row.seq));
    moved.map(|row| effect(row).ok_or_else(|| garbled(row))).collect()
}

/// The text without U+0000, which Postgres does not store.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Stores the effects that are not there yet, and answers how many.
async fn store(
    connection: &mut PgConnection,
    gateway: &GatewayName,
    effects: &[Effect<'_>],
) -> sqlx::Result<i64> {
    let each = |read: fn(&Effect<'_>) -> String| effects.iter().map(read).collect::<Vec<_>>();
    let stored = sqlx::query!(
        "insert into gateway_effects (gateway, seq, kind, key, charge_id, amount, currency, reference, at, act_key, act_id)
         select $1, * from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::text[],
                                  $9::timestamptz[], $10::text[], $11::text[])
             on conflict on constraint gateway_effects_pkey do nothing",
        gateway.as_str(),
        &effects.iter().map(|effect| effect.row.seq).collect::<Vec<_>>(),
        &each(|effect| effect.row.kind.clone()),
        &each(|effect| effect.key.clone()),
        &each(|effect| effect.charge_id.clone()),
        &effects.iter().map(|effect| effect.amount).collect::<Vec<_>>(),
        &each(|effect| effect.currency.clone()),
        &effects.iter().map(|effect| effect.row.reference.as_deref().map(storable)).collect::<Vec<_>>()
            as &[Option<String>],
        &effects.iter().map(|effect| effect.row.at).collect::<Vec<_>>(),
        &effects.iter().map(|effect| effect.row.act_key.as_deref().map(storable)).collect::<Vec<_>>()
            as &[Option<String>],
        &effects.iter().map(|effect| effect.row.act_id.as_deref().map(storable)).collect::<Vec<_>>()
            as &[Option<String>]
    )
    .execute(connection)
    .await?;
    Ok(i64::try_from(stored.rows_affected()).unwrap_or(i64::MAX))
}

async fn advance(
    connection: &mut PgConnection,
    gateway: &GatewayName,
    read_up_to: i64,
    whole_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update gateway_cursors
            set read_up_to = greatest(read_up_to, $2), whole_at = coalesce($3, whole_at)
          where gateway = $1",
        gateway.as_str(),
        read_up_to,
        whole_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

//! The gateway's books beside ours, both ways.
//!
//! Its journal is copied, what moves money at least, and the copy is compared by SQL: the other way round from the walk over
//! our payments. Only payments that had ended before the journal was asked for its end are judged: all that led to their end
//! was in it by then, whatever the clocks say. Its list of charges is asked for what it says now of what it said before.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::run::{Run, Step};
use super::{Counts, GATEWAY, GatewayBooks, PAGE, say_opened};
use crate::breaks::{self, Finding};
use crate::fault;
use crate::gateway::Gateway;
use crate::gateway::books::{Bounds, JournalRow, Unread};
use crate::gateway::door::Closed;
use crate::ids::PaymentId;
use crate::outcome::{Charge, ChargeStatus};

/// How far its journal has been copied and compared.
struct Cursor {
    read_up_to: i64,
    compared_up_to: i64,
    now: DateTime<Utc>,
}

/// Copies what the journal has more, and compares it once it has been read to its end.
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

/// Takes down why the gateway's books could not be read, or not further.
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

async fn cursor(pool: &PgPool) -> sqlx::Result<Cursor> {
    sqlx::query_as!(
        Cursor,
        "insert into gateway_cursors (gateway) values ($1)
             on conflict (gateway) do update set gateway = excluded.gateway
         returning read_up_to, compared_up_to, clock_timestamp() as \"now!\"",
        GATEWAY
    )
    .fetch_one(pool)
    .await
}

/// Until when our copy of the journal is whole; none if it never was.
pub(super) async fn whole_at(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    let whole_at = sqlx::query_scalar!("select whole_at from gateway_cursors where gateway = $1", GATEWAY);
    Ok(whole_at.fetch_optional(pool).await?.flatten())
}

enum Copied {
    /// To its end.
    Whole,
    /// As far as one run goes.
    Partly,
    Unread(Unread),
    TakenOver,
}

/// Copies page by page, each with the place that it leads to. The first page begins with the last row of the copy, which
/// must still be there.
async fn copy(
    pool: &PgPool,
    gateway: &Gateway,
    run: &mut Run,
    cursor: &Cursor,
    bounds: Bounds,
) -> sqlx::Result<Copied> {
    let mut up_to = cursor.read_up_to;
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
        let mut transaction = pool.begin().await?;
        let opened = if shrank {
            let detail = json!({ "copied_up_to": up_to, "shown": page.data.first().map(|row| row.seq) });
            let finding = Finding::about_other(format!("gateway {GATEWAY}"), "journal_shrank", detail);
            breaks::open(&mut transaction, vec![finding]).await?
        } else {
            up_to = page.data.last().map_or(up_to, |row| row.seq.max(up_to));
            let copied = store(&mut transaction, &effects).await?;
            let whole_at = (!page.has_more).then_some(cursor.now);
            advance(&mut transaction, up_to, whole_at).await?;
            run.findings.journal.checked += copied;
            breaks::Opened::default()
        };
        run.findings.journal.add(Counts::of(0, &opened));
        if !run.save(&mut transaction).await? {
            return Ok(Copied::TakenOver);
        }
        fault::durable("reconcile_journal", transaction.commit()).await?;
        say_opened(&opened);
        if shrank {
            return Ok(Copied::Unread(Unread::Failed("its journal lacks rows that it had".to_owned())));
        }
        if !page.has_more {
            return Ok(Copied::Whole);
        }
        run.rest().await;
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

/// Those rows that moved money; a void under whose key nothing was charged did not.
fn effects<'a>(rows: &'a [JournalRow]) -> Result<Vec<Effect<'a>>, Unread> {
    let moved = rows.iter().filter(|row| {
        let undid = matches!(row.kind.as_str(), "void" | "refund") && row.charge_id.is_some();
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

/// Without U+0000, which Postgres does not store.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Stores what is not there yet, and tells how many that were.
async fn store(connection: &mut PgConnection, effects: &[Effect<'_>]) -> sqlx::Result<i64> {
    let each = |read: fn(&Effect<'_>) -> String| effects.iter().map(read).collect::<Vec<_>>();
    let stored = sqlx::query!(
        "insert into gateway_effects (gateway, seq, kind, key, charge_id, amount, currency, reference, at)
         select $1, * from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], $8::text[],
                                  $9::timestamptz[])
             on conflict on constraint gateway_effects_pkey do nothing",
        GATEWAY,
        &effects.iter().map(|effect| effect.row.seq).collect::<Vec<_>>(),
        &each(|effect| effect.row.kind.clone()),
        &each(|effect| effect.key.clone()),
        &each(|effect| effect.charge_id.clone()),
        &effects.iter().map(|effect| effect.amount).collect::<Vec<_>>(),
        &each(|effect| effect.currency.clone()),
        &effects.iter().map(|effect| effect.row.reference.as_deref().map(storable)).collect::<Vec<_>>()
            as &[Option<String>],
        &effects.iter().map(|effect| effect.row.at).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(i64::try_from(stored.rows_affected()).unwrap_or(i64::MAX))
}

async fn advance(
    connection: &mut PgConnection,
    read_up_to: i64,
    whole_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update gateway_cursors
            set read_up_to = greatest(read_up_to, $2), whole_at = coalesce($3, whole_at)
          where gateway = $1",
        GATEWAY,
        read_up_to,
        whole_at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Compares each effect that was not with the payment that it names, page by page.
async fn compare_effects(pool: &PgPool, run: &mut Run, compared_up_to: i64) -> sqlx::Result<bool> {
    let whole_at = whole_at(pool).await?;
    let mut after = compared_up_to;
    loop {
        let page = sqlx::query!(
            "select seq, key from gateway_effects where gateway = $1 and seq > $2 order by seq limit $3",
            GATEWAY,
            after,
            PAGE
        )
        .fetch_all(pool)
        .await?;
        let Some(last) = page.last().map(|row| row.seq) else { return Ok(true) };
        let mut keys: Vec<String> = page.into_iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let ids: Vec<Uuid> =
            keys.iter().filter_map(|key| key.parse::<PaymentId>().ok()).map(PaymentId::uuid).collect();
        let mut findings = beside_the_gateway(pool, &ids, whole_at).await?;
        findings.extend(unknown(pool, &keys).await?);

        let mut transaction = pool.begin().await?;
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
        fault::durable("reconcile_effects", transaction.commit()).await?;
        say_opened(&opened);
        after = last;
        run.rest().await;
    }
}

/// Those of these payments that ended otherwise than the gateway's journal says.
pub(super) async fn beside_the_gateway(
    pool: &PgPool,
    ids: &[Uuid],
    whole_at: Option<DateTime<Utc>>,
) -> sqlx::Result<Vec<Finding>> {
    let Some(whole_at) = whole_at else { return Ok(Vec::new()) };
    let rows =
        sqlx::query_file!("queries/reconcile_charges.sql", GATEWAY, ids, whole_at).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|row| Finding::about(row.payment_id, &row.kind, row.detail)).collect())
}

/// Those of these keys under which a charge stands, and which are no payment's.
async fn unknown(pool: &PgPool, keys: &[String]) -> sqlx::Result<Vec<Finding>> {
    let ids: Vec<Option<Uuid>> = keys.iter().map(|key| key.parse().ok().map(PaymentId::uuid)).collect();
    let rows = sqlx::query!(
        "select k.key as \"key!\", e.effects as \"effects!\"
           from unnest($2::text[], $3::uuid[]) as k (key, id)
          cross join lateral (
             select sum(case kind when 'charge' then amount else -amount end) as taken,
                    jsonb_agg(jsonb_build_object('seq', seq, 'kind', kind, 'charge_id', charge_id, 'amount', amount::text,
                                                 'currency', currency, 'reference', reference, 'at', at)
                              order by seq) as effects
               from gateway_effects where gateway = $1 and key = k.key) e
          where e.taken <> 0 and not exists (select from payments p where p.id = k.id)",
        GATEWAY,
        keys,
        &ids as &[Option<Uuid>]
    )
    .fetch_all(pool)
    .await?;
    let finding = |key: String, effects| {
        Finding::about_other(format!("key {key}"), "charge_unknown", json!({ "gateway": effects }))
    };
    Ok(rows.into_iter().map(|row| finding(row.key, row.effects)).collect())
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
                    // Whatever place it stuck at is not gone back to: the next run begins with the first charge.
                    run.listed_up_to.take_if(|_| matches!(why, Unread::Stuck { .. }));
                    unread(run, &why);
                    break;
                }
            };
            let findings = denied(pool, &page.data, asked_at).await?;
            let mut transaction = pool.begin().await?;
            let opened = breaks::open(&mut transaction, findings).await?;
            run.findings.charges.add(Counts::of(page.data.len(), &opened));
            // After the last one from the first one on: a gateway may change its mind at any time.
            run.listed_up_to = page.data.last().filter(|_| page.has_more).map(|charge| storable(&charge.id));
            if !page.has_more {
                run.step = Step::Done;
            }
            if !run.save(&mut transaction).await? {
                return Ok(false);
            }
            fault::durable("reconcile_charges", transaction.commit()).await?;
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

/// Those of these charges by which a payment had succeeded before the gateway was asked, and which it does not show as
/// such.
async fn denied(pool: &PgPool, listed: &[Charge], asked_at: DateTime<Utc>) -> sqlx::Result<Vec<Finding>> {
    let not_made = listed.iter().filter_map(|charge| {
        let status = match charge.status {
            ChargeStatus::Pending => "pending",
            ChargeStatus::Failed => "failed",
            // Whether something is gone again is for the journal to say.
            ChargeStatus::Succeeded | ChargeStatus::Voided => return None,
        };
        Some((charge.key.parse::<PaymentId>().ok()?.uuid(), storable(&charge.id), status.to_owned()))
    });
    let not_made: Vec<(Uuid, String, String)> = not_made.collect();
    let rows = sqlx::query!(
        "select p.id, l.charge_id as \"charge_id!\", l.status as \"status!\"
           from unnest($1::uuid[], $2::text[], $3::text[]) as l (id, charge_id, status)
           join payments p on p.id = l.id
          where p.status = 'succeeded' and p.gateway_transaction_id = l.charge_id and p.terminal_at <= $4",
        &not_made.iter().map(|(id, _, _)| *id).collect::<Vec<_>>(),
        &not_made.iter().map(|(_, charge_id, _)| charge_id.clone()).collect::<Vec<_>>(),
        &not_made.iter().map(|(_, _, status)| status.clone()).collect::<Vec<_>>(),
        asked_at
    )
    .fetch_all(pool)
    .await?;
    let detail = |charge_id, status| json!({ "payment": { "status": "succeeded" }, "gateway": { "charge_id": charge_id, "status": status } });
    Ok(rows
        .into_iter()
        .map(|row| Finding::about(row.id, "charge_denied", detail(row.charge_id, row.status)))
        .collect())
}

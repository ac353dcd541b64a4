//! Public events: what happened is told once, in order, and each endpoint that wanted it has been sent it,
//! will be, or is known not to have been.
//!
//! Each rule is one statement, so it sees a log and what is told of it at one moment.

use anyhow::Result;
use sqlx::PgPool;

use super::report::Check;

/// What of a payment's log is told, by its word there.
const PAYMENTS: &str = "(values ('succeeded', 'payment.succeeded'), ('failed', 'payment.failed'), ('reversed', 'payment.reversed'),
                                ('held', 'payment.held'), ('review_started', 'payment.in_review')) as t (word, type)";

/// What is told although it did not happen, or happened and was not told. What was written before the events
/// were told is older than its type's begin.
const UNTOLD: &str = "
    select 'pay_' || replace(e.payment_id::text, '-', ''), 'its event ' || e.version || ' (' || e.type || ') was never told'
      from payment_events e
      join {list} on t.word = e.type
      join public_event_types p on p.log = 'payment_events' and p.word = e.type and e.at >= p.since
     where not exists (select from public_events o where o.object = e.payment_id and o.version = e.version and o.type = t.type)
     union all
    select 'pay_' || replace(o.object::text, '-', ''), 'its event ' || o.version || ' is told as ' || o.type || ', and is not that'
      from public_events o
     where o.kind = 'payment'
       and not exists (select from payment_events e join {list} on t.word = e.type
                        where e.payment_id = o.object and e.version = o.version and t.type = o.type and e.at = o.at)
     union all
    select 'pay_' || replace(o.object::text, '-', ''), 'its events are told to another merchant'
      from public_events o join payments p on p.id = o.object
     where o.kind = 'payment' and p.merchant_id <> o.merchant_id";

/// Events of one object whose places are not in the order of its versions, or that name another one as the
/// one before.
const DISORDERED: &str = "
    select case kind when 'payment' then 'pay_' || replace(object::text, '-', '') else kind || ' ' || object end,
           'its event ' || version || ' is told before an earlier one, or names another one as that'
      from (select object, kind, version, previous_version, epoch, tx,
                   lag(version) over own as before, lag(epoch) over own as before_epoch, lag(tx) over own as before_tx
              from public_events
            window own as (partition by object order by version)) as o
     where previous_version is distinct from before
        or (before is not null and (epoch, tx) < (before_epoch, before_tx))";

/// Events up to an endpoint's cursor that it wanted, and of which nobody knows what became.
const UNSENT: &str = "
    select case o.kind when 'payment' then 'pay_' || replace(o.object::text, '-', '') else o.kind || ' ' || o.object end,
           'its event ' || o.version || ' is neither delivered nor due nor given up for the endpoint ' || w.id
      from webhook_endpoints w
      join public_events o on o.merchant_id = w.merchant_id
       and (o.epoch, o.tx) > (w.start_epoch, w.start_tx)
       and (o.epoch, o.tx, o.object, o.version) <= (w.epoch, w.tx, w.object, w.version)
       and case when o.type = 'webhook_endpoint.test' then o.object = w.id
                when o.kind = 'webhook_endpoint' and o.object = w.id then false
                else w.types is null or o.type = any(w.types) end
     where not exists (select from webhook_deliveries d
                        where d.endpoint_id = w.id and d.object = o.object and d.version = o.version)";

/// Judges what was told, and to whom.
///
/// # Errors
/// The database could not be read.
pub(crate) async fn check(pool: &PgPool, check: &mut Check) -> Result<()> {
    let told: i64 = sqlx::query_scalar("select count(*) from public_events").fetch_one(pool).await?;
    check.checked += u64::try_from(told).unwrap_or(0);
    for rule in [UNTOLD, DISORDERED, UNSENT] {
        let rule = rule.replace("{list}", PAYMENTS);
        let found: Vec<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(rule)).fetch_all(pool).await?;
        for (who, what) in found {
            check.blame(&who, what);
        }
    }
    Ok(())
}

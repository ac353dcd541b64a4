//! Outages: whether payments wait for nothing but the gateway, by what the workers wrote down.

use anyhow::Result;
use sqlx::PgPool;

use super::ours::advice;

/// Whether there are live workers, and each of them has found the gateway away.
pub(super) async fn gateway_is_away(pool: &PgPool) -> Result<bool> {
    let away = sqlx::query_scalar!(
        r#"select alive.count > 0 and away.count >= alive.count as "is_away!"
             from (select count(*) from apalis.workers
                    where worker_type = 'payments' and last_seen > clock_timestamp() - interval '30 seconds') alive
            cross join (select count(*) from gateway_outages
                         where ended_at is null and touched_at > clock_timestamp() - interval '60 seconds') away"#
    );
    away.fetch_one(pool).await.map_err(advice)
}

//! Outages: whether payments wait for nothing but their gateway, by what the workers wrote down.

use anyhow::Result;
use sqlx::PgPool;

use super::ours::advice;

/// The gateways that each live worker has found away, if there are live workers.
pub(super) async fn gateways_away(pool: &PgPool) -> Result<Vec<String>> {
    let away = sqlx::query_scalar!(
        r#"select away.gateway
             from (select count(*) from apalis.workers
                    where worker_type = 'payments' and last_seen > clock_timestamp() - interval '30 seconds') alive
            cross join (select gateway, count(*) from gateway_outages
                         where ended_at is null and touched_at > clock_timestamp() - interval '60 seconds'
                         group by gateway) away
            where alive.count > 0 and away.count >= alive.count"#
    );
    away.fetch_all(pool).await.map_err(advice)
}

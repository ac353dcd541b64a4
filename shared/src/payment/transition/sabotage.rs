//! What the transitions would be without their guards. Only in test builds, and only when asked for: each guard's
//! test is seen to fail here.

use sqlx::PgPool;
use uuid::Uuid;

use super::Lease;
use super::claim::ClaimedRow;
use crate::db::{InTime as _, millis};
use crate::ids::ClaimToken;

/// The claim without its compare-and-set: whoever asks gets the right to charge.
pub(super) async fn claim_without_guard(
    pool: &PgPool,
    ids: &[Uuid],
    token: ClaimToken,
    worker: &str,
    lease: Lease,
) -> sqlx::Result<Vec<ClaimedRow>> {
    let sql = include_str!("../../../queries/payment_claim.sql")
        .replace("and status in ('pending', 'processing')", "and terminal_at is null")
        .replace("and due_at <= clock_timestamp()", "")
        .replace("select id, status,", "select id, 'pending'::text as status,")
        .replace("!\"", "\"");
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(ids)
        .bind(token.uuid())
        .bind(millis(lease.lease))
        .bind(millis(lease.send_window))
        .bind(worker)
        .fetch_all(pool)
        .in_time()
        .await
}

/// The fence let down: every write is taken for the current holder's.
pub(super) async fn tokens_of_whoever_holds(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select coalesce(p.claim_token, asked.id) as \"token!\"
           from unnest($1::uuid[]) with ordinality as asked (id, n)
           left join payments p using (id)
          order by n",
        ids
    )
    .fetch_all(pool)
    .in_time()
    .await
}

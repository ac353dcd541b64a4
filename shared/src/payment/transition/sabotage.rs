//! The transitions without their guards. They exist only in test builds, and only when asked for:
//! `tests/it/teeth.rs` shows what follows.

use chrono::Utc;
use domain::ids::ClaimToken;
use domain::request::{Accepted, First};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::claim::ClaimedRow;
use super::{Claimant, NewPayment, Recorded, accept};
use crate::database::{InTime as _, millis};
use crate::payment::shares::Quota;
use crate::platform::fault;
use crate::queue;

/// `acknowledge_before_commit`: answers while the statement still runs, which nobody waits for.
pub(super) fn acknowledge(pool: &PgPool, payments: &[NewPayment]) -> Vec<Option<Recorded>> {
    let (pool, recorded_later) = (pool.clone(), payments.to_vec());
    tokio::spawn(async move { accept(&pool, &recorded_later).await });
    let answer = |NewPayment { id, request, .. }: &NewPayment| Accepted {
        id: id.uuid(),
        customer_id: request.customer_id.clone(),
        amount: request.money.amount(),
        currency: request.money.currency().code().to_owned(),
        payment_method: request.payment_method.clone(),
        description: request.description.clone(),
        metadata: json!(request.metadata),
        created_at: Utc::now(),
        first: First::Pending,
    };
    payments.iter().map(|payment| Some(Recorded::New(answer(payment)))).collect()
}

/// `job_outside`: moves the jobs of payments that are committed already into the workers' queue.
pub(super) async fn enqueue(pool: &PgPool, jobs: &[String]) -> sqlx::Result<()> {
    let enqueued = sqlx::query("update apalis.jobs set job_type = $1 where id = any($2)");
    enqueued.bind(queue::PAYMENTS).bind(jobs).execute(pool).in_time().await.map(drop)
}

const WHOLE_CLAIM: &str = include_str!("../../../queries/payment_claim.sql");

/// The guards in the claim's statement: the name, the part that is the guard, and the part that replaces it.
const CLAIM: &[(&str, &str, &str)] = &[
    ("no_lease_check", "and (due_at <= clock_timestamp()) is true", ""),
    (
        "takeover_charges",
        "select id, merchant_id, version, status,",
        "select id, merchant_id, version, 'pending'::text as status,",
    ),
    ("event_skipped", "  from claimed\n)", "  from claimed where false\n)"),
    ("any_gateway", "and (gateway = $12) is true", "and $12 = $12"),
];

/// The claim's statement without the guards that a test took away; none if it took none of them away.
pub(super) fn claim() -> Option<String> {
    let whole = WHOLE_CLAIM;
    let taken = CLAIM.iter().filter(|(guard, ..)| fault::sabotaged(guard));
    let left = taken.fold(whole.to_owned(), |sql, (_, part, without)| sql.replace(part, without));
    (left != whole).then(|| left.replace("!\"", "\""))
}

/// Claims by that statement.
pub(super) async fn claim_without_guard(
    pool: &PgPool,
    sql: String,
    (ids, token, claimant): (&[Uuid], ClaimToken, &Claimant),
) -> sqlx::Result<Vec<ClaimedRow>> {
    let (quota, Claimant { worker, gateway, lease }) = (Quota::default(), claimant);
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(ids)
        .bind(token.uuid())
        .bind(millis(lease.lease))
        .bind(millis(lease.send_window))
        .bind(&**worker)
        .bind(true)
        .bind(queue::PAYMENTS)
        .bind(None::<i64>)
        .bind(quota.of_each)
        .bind(quota.merchants)
        .bind(quota.of_these)
        .bind(gateway.as_str())
        .fetch_all(pool)
        .in_time()
        .await
}

/// `no_fence`: takes every write for the current holder's.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guard_that_can_be_taken_away_stands_in_the_statement() {
        for (guard, part, _) in CLAIM {
            assert!(WHOLE_CLAIM.contains(part), "{guard}: nothing of the claim reads {part}");
        }
    }
}

//! Hot statements read what they name and nothing else, whatever statistics the planner had of their tables.

mod accounts;
mod growth;
mod reader;

use std::ops::Sub;
use std::time::Duration;

use domain::ids::PaymentId;
use shared::merchant;
use shared::payment::transition::{Lease, claim};
use sqlx::PgPool;
use tests::PrivateServer;
use tests::claimant;
use uuid::Uuid;

const LEASE: Lease = Lease { lease: Duration::from_secs(30), send_window: Duration::from_secs(5) };

const BACKLOG: &str = "
    set session_replication_role = replica;
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                          status, due_at, version, updated_at)
    select gen_random_uuid(), gen_random_uuid(), 'cus_1', 1, 'EUR', 'sim_ok', '{}', 'x', now(), 'pending', now(), 1, now()
      from generate_series(1, 1000);
    reset session_replication_role";

/// What one connection's statements have read: rows, with entries of indexes that lead to a dead row;
/// and pages.
#[derive(Debug, Clone, Copy)]
struct Reads {
    rows: i64,
    blocks: i64,
}

impl Reads {
    /// The reads of a pool's only connection so far, if no other session uses the server.
    async fn so_far(pool: &PgPool) -> Self {
        sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
        sqlx::raw_sql("select pg_stat_clear_snapshot()").execute(pool).await.unwrap();
        let (rows, blocks) = sqlx::query_as(
            "select (select sum(seq_tup_read) from pg_stat_user_tables)::bigint
                    + (select sum(idx_tup_read) from pg_stat_user_indexes)::bigint,
                    (select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))
                       from pg_statio_user_tables)::bigint",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        Self { rows, blocks }
    }
}

impl Sub for Reads {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { rows: self.rows - earlier.rows, blocks: self.blocks - earlier.blocks }
    }
}

#[tokio::test]
async fn a_claim_reads_its_payments_and_not_the_backlog() {
    let server = PrivateServer::quiet().await;
    let database = server.database().await;
    let merchant = merchant::find_or_create(&database.pool, "first").await.unwrap();
    // One connection, whose statistics are up to date when it asks for them.
    let pool = shared::database::connect(&database.url, 1).await.unwrap();
    bench::fill(&mut pool.acquire().await.unwrap(), merchant.id.uuid(), 2_000).await.unwrap();
    // None of them was open when the statistics were taken.
    sqlx::raw_sql("vacuum (analyze) payments").execute(&pool).await.unwrap();
    sqlx::raw_sql(BACKLOG).execute(&pool).await.unwrap();
    let due: Vec<Uuid> = sqlx::query_scalar("select id from payments where due_at is not null")
        .fetch_all(&pool)
        .await
        .unwrap();

    assert_eq!(due.len(), 1_000, "the backlog");
    // Often enough for a plan that is made once and kept.
    for ids in due.chunks(5).take(8) {
        let ids: Vec<PaymentId> = ids.iter().copied().map(PaymentId::from).collect();
        let before = Reads::so_far(&pool).await;
        let claims = claim(&pool, &ids, &claimant("a worker", LEASE)).await.unwrap();
        let read = Reads::so_far(&pool).await - before;
        assert_eq!(claims.len(), 5);
        assert!(read.rows <= 40, "to claim 5 payments it read {read:?}");
    }
    server.remove().await;
}

//! The operator's queries read a bounded number of rows, however many there are, and on tables
//! without statistics.

use domain::status::PaymentStatus;
use shared::operations::breaks;
use shared::operations::dead_letter;
use shared::operations::operator::{self, Filter, State};
use sqlx::PgPool;
use tests::TestDatabase;

/// The number of payments, of three merchants. One in a hundred failed, one in a thousand is held.
const PAYMENTS: i64 = 6_000;

const FILL: &str = "
    alter table payments set (autovacuum_enabled = false);
    alter table idempotency_keys set (autovacuum_enabled = false);
    alter table breaks set (autovacuum_enabled = false);
    alter table dead_letters set (autovacuum_enabled = false);
    set session_replication_role = replica;
    insert into merchants (id, name) select gen_random_uuid(), 'merchant ' || n from generate_series(1, 3) n;
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                          status, due_at, in_doubt, doubt_since, held_reason, gateway_transaction_id, failure_code, version,
                          updated_at, terminal_at)
    select lpad(to_hex(n), 32, '0')::uuid, m.id, 'customer ' || n % 1000, 1, 'EUR', 'sim_ok', '{}', 'x', now(),
           s.status, null, s.is_held, case when s.is_held then now() end, case when s.is_held then 'wrong_answer' end,
           case when s.status = 'succeeded' then 'ch_1' end, case when s.status = 'failed' then 'declined' end, 1, now(),
           case when not s.is_held then now() end
      from generate_series(1, 6000) n
      join (select id, row_number() over (order by name) - 1 as number from merchants) m on m.number = n % 3
     cross join lateral (select n % 1000 = 0 as is_held,
                                case when n % 1000 = 0 then 'processing' when n % 100 = 1 then 'failed'
                                     else 'succeeded' end as status) s;
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
    select merchant_id, 'create_payment', customer_id, id, sha256(''), id, 1, created_at from payments;
    insert into breaks (payment_id, kind, detail, opened_at, closed_at, closed_by, closed_reason)
    select id, 'wrong_answer', '{}', now(), case when held_reason is null then now() end,
           case when held_reason is null then 'ada' end, case when held_reason is null then 'seen' end
      from payments;
    insert into dead_letters (class, queue, job_id, error, parked_at, closed_at, closed_as, closed_by, closed_reason)
    select 'non_retryable', 'payments', id, 'x', now(), case when held_reason is null then now() end,
           case when held_reason is null then 'discarded' end, case when held_reason is null then 'ada' end,
           case when held_reason is null then 'seen' end
      from payments;
    reset session_replication_role";

/// The rows that were read, by index or not, since this was last asked.
async fn rows_read(pool: &PgPool) -> i64 {
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::raw_sql("select pg_stat_clear_snapshot()").execute(pool).await.unwrap();
    sqlx::query_scalar(
        "select sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint from pg_stat_user_tables
          where relname in ('payments', 'idempotency_keys', 'breaks', 'dead_letters')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn no_list_reads_more_than_a_few_pages_of_rows() {
    let database = TestDatabase::fresh().await;
    // One connection, whose statistics are up to date when it asks for them.
    let pool = shared::database::connect(&database.url, 1).await.unwrap();
    sqlx::raw_sql(FILL).execute(&pool).await.unwrap();
    let merchant = operator::find_merchant(&pool, "merchant 2").await.unwrap();
    let limit = 51;
    let states = [None, Some(State::Held), Some(State::Status(PaymentStatus::Failed))];
    let mut wrong = Vec::new();
    for state in states.into_iter().chain([Some(State::Status(PaymentStatus::Succeeded))]) {
        for merchant in [None, merchant] {
            for customer_id in [None, Some("customer 7".to_owned())] {
                for _ in 0..7 {
                    let filter =
                        Filter { state, merchant, customer_id: customer_id.clone(), before: None, limit };
                    let before = rows_read(&pool).await;
                    let found = operator::list(&pool, &filter).await.unwrap().len();
                    let read = rows_read(&pool).await - before;
                    // The limit allows a page of each merchant, and once more to show those that are left.
                    if read > 5 * limit {
                        wrong.push(format!("{filter:?}: read {read} to find {found}"));
                    }
                }
            }
        }
    }
    for are_open in [true, false] {
        let before = rows_read(&pool).await;
        let found =
            breaks::list(&pool, &breaks::Filter { is_open: Some(are_open), limit, ..Default::default() })
                .await
                .unwrap()
                .len();
        let read = rows_read(&pool).await - before;
        if found == 0 || read > 5 * limit {
            wrong.push(format!("breaks {are_open}: read {read} to find {found}"));
        }
        let before = rows_read(&pool).await;
        let filter = dead_letter::Filter { is_open: Some(are_open), limit, ..Default::default() };
        let found = dead_letter::list(&pool, &filter).await.unwrap().len();
        let read = rows_read(&pool).await - before;
        if found == 0 || read > 5 * limit {
            wrong.push(format!("dead letters {are_open}: read {read} to find {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(operator::overview(&pool).await.unwrap().latest.iter().map(|(_, n)| n).sum::<i64>(), PAYMENTS);
}

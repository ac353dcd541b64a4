//! The pages of accounts and transfers: what each shows, how it is found, and how many rows it reads.

use domain::ids::{AccountId, TransferId};
use serde_json::json;
use shared::operations::operator::{self, AccountFilter, TransferFilter};
use sqlx::PgPool;
use tests::TestDatabase;
use uuid::Uuid;

use super::page::{get, text};
use crate::accounts::{Bank, id, key, open, sixty};

#[tokio::test]
async fn accounts_and_transfers_are_found_by_id_owner_and_merchant_and_tell_what_is_reserved() {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann <b>", "100").await, bank.open("bob").await);
    let paid = bank.transfer(&key(), sixty(&ann, &bob)).await;
    let hold = bank.hold(&ann, &bob, "5").await;
    let group = bank.transfer(&key(), json!({ "transfers": [sixty(&bob, &ann), sixty(&ann, &bob)] })).await;
    let other = bank.system.another_merchant("other").await;
    let theirs = open(&other, "bob", "EUR").await;
    let shown = async |path: &str| {
        let answer = get(&bank.system, path).await;
        answer.assert_status(200);
        text(&answer)
    };

    let all = shown("/ops/accounts").await;
    assert!([&ann, &bob, &theirs].iter().all(|id| all.contains(*id)), "{all}");
    assert!(!all.contains("<b>"), "{all}");
    let of_bob = shown("/ops/accounts?owner=bob").await;
    assert!(of_bob.contains(&bob) && of_bob.contains(&theirs) && !of_bob.contains(&ann), "{of_bob}");
    let of_other = shown("/ops/accounts?merchant=other&owner=bob").await;
    assert!(of_other.contains(&theirs) && !of_other.contains(&bob), "{of_other}");
    assert!(shown("/ops/accounts?merchant=nobody").await.contains("There is no merchant"));
    assert!(shown("/ops/accounts?id=pay_1").await.contains("That is no id"));

    let account = shown(&format!("/ops/accounts/{ann}")).await;
    assert!(account.contains("35.00 USD") && account.contains(&hold), "{account}");
    assert!(account.contains("-60.00") && account.contains("+5.00 out"), "{account}");
    let transfer = shown(&format!("/ops/transfers/{}", id(&paid))).await;
    assert!(transfer.contains(&ann) && transfer.contains(&bob) && transfer.contains("posted"), "{transfer}");
    let first = group.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let second = group.json()["data"][1]["id"].as_str().unwrap().to_owned();
    assert!(shown(&format!("/ops/transfers/{first}")).await.contains(&second));
    let holds = shown("/ops/transfers?state=pending").await;
    assert!(holds.contains(&hold) && !holds.contains(&first), "{holds}");

    for (wanted, page) in [(&ann, "accounts"), (&hold, "transfers")] {
        let led = get(&bank.system, &format!("/ops/accounts?id={wanted}")).await;
        assert_eq!((led.status, led.header("location")), (303, &*format!("/ops/{page}/{wanted}")));
    }
    for unknown in [
        format!("/ops/accounts/{}", AccountId::generate()),
        format!("/ops/transfers/{}", TransferId::generate()),
    ] {
        get(&bank.system, &unknown).await.assert_status(404);
    }
    get(&bank.system, "/ops/transfers?state=pending&after=soon").await.assert_status(400);
}

/// Accounts of three merchants, transfers of which one in ten is a hold, and the entries of one account.
const FILL: &str = "
    alter table accounts set (autovacuum_enabled = false);
    alter table transfers set (autovacuum_enabled = false);
    alter table account_entries set (autovacuum_enabled = false);
    set session_replication_role = replica;
    insert into merchants (id, name) select gen_random_uuid(), 'merchant ' || n from generate_series(1, 3) n;
    insert into accounts (id, merchant_id, currency, owner, allow_negative, credits_posted, debits_posted, credits_pending,
                          debits_pending)
    select lpad(to_hex(n), 32, '0')::uuid, m.id, 'USD', 'owner ' || n % 1000, false, 0, 0, 0, 0
      from generate_series(1, 6000) n
      join (select id, row_number() over (order by name) - 1 as number from merchants) m on m.number = n % 3;
    insert into transfers (id, merchant_id, debited, credited, amount, currency, expires_at, group_id, position, created_at, status,
                           posted_amount, ended_at)
    select lpad(to_hex(n), 32, '0')::uuid, (select id from merchants limit 1), lpad(to_hex(n % 50 + 1), 32, '0')::uuid,
           lpad(to_hex(n % 50 + 2), 32, '0')::uuid, 1, 'USD', case when n % 10 = 0 then now() + n * interval '1 second' end,
           case when n % 100 = 1 then lpad(to_hex(n), 32, '0')::uuid end, 0, now(),
           case when n % 10 = 0 then 'pending' else 'posted' end, case when n % 10 > 0 then 1 end, case when n % 10 > 0 then now() end
      from generate_series(1, 6000) n;
    insert into account_entries (account_id, version, transfer_id, code, side, posted, pending, credits_posted, debits_posted,
                                 credits_pending, debits_pending, at)
    select lpad('1', 32, '0')::uuid, n, lpad(to_hex(n), 32, '0')::uuid, 'transfer', 'credit', 1, 0, n, 0, 0, 0, now()
      from generate_series(1, 6000) n;
    reset session_replication_role";

async fn rows_read(pool: &PgPool) -> i64 {
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::raw_sql("select pg_stat_clear_snapshot()").execute(pool).await.unwrap();
    sqlx::query_scalar(
        "select sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint from pg_stat_user_tables
          where relname in ('accounts', 'transfers', 'account_entries')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn no_page_of_accounts_reads_more_than_a_few_pages_of_rows() {
    let database = TestDatabase::fresh().await;
    // One connection, whose statistics are up to date when it asks for them.
    let pool = shared::database::connect(&database.url, 1).await.unwrap();
    sqlx::raw_sql(FILL).execute(&pool).await.unwrap();
    let merchant = operator::find_merchant(&pool, "merchant 2").await.unwrap();
    let (limit, first) = (51, AccountId::from(Uuid::from_u128(1)));
    let mut wrong = Vec::new();
    // A statement is planned anew for its first times, and then once for all.
    for _ in 0..7 {
        for merchant in [None, merchant] {
            for owner in [None, Some("owner 7".to_owned())] {
                let filter = AccountFilter { merchant, owner, before: None, limit };
                let before = rows_read(&pool).await;
                let found = operator::accounts(&pool, &filter).await.unwrap().len();
                let read = rows_read(&pool).await - before;
                if found == 0 || read > 5 * limit {
                    wrong.push(format!("{filter:?}: read {read} to find {found}"));
                }
            }
        }
        for filter in [
            TransferFilter::Before(None),
            TransferFilter::Pending(None),
            TransferFilter::ReservedBy(first),
            TransferFilter::OfGroup(Uuid::from_u128(101)),
            TransferFilter::Of(TransferId::from(Uuid::from_u128(5))),
        ] {
            let before = rows_read(&pool).await;
            let found = operator::transfers(&pool, filter, limit).await.unwrap().len();
            let read = rows_read(&pool).await - before;
            if found == 0 || read > 5 * limit {
                wrong.push(format!("{filter:?}: read {read} to find {found}"));
            }
        }
        let before = rows_read(&pool).await;
        let found = operator::account_entries(&pool, first, Some(5_000), limit).await.unwrap().len();
        let read = rows_read(&pool).await - before;
        if found == 0 || read > 5 * limit {
            wrong.push(format!("entries: read {read} to find {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! The statements of accounts read what they name and nothing else, from many rows as from none, with plans
//! that were made when there were none.

use domain::account::{HoldEnd, NewTransfer};
use domain::idempotency::Key;
use domain::ids::{AccountId, MerchantId, TransferId};
use domain::money::Money;
use shared::account::moving::{Moved, Movement, Patience, Request, TakenKey, move_money};
use shared::account::store::{self, Filter};
use shared::account::{expiry, remembered};
use sqlx::{AssertSqlSafe, PgPool};
use tests::PrivateServer;
use uuid::Uuid;

use super::Reads;

/// How many requests share a statement.
const BATCH: u64 = 10;

/// The most rows and pages for each of them: two accounts, two entries, a transfer, a key, what triggers
/// compare, and the indexes of each, with entries that lead to dead rows. The tables have 100,000 rows.
const FOR_EACH: Reads = Reads { rows: 200, blocks: 300 };

/// A plan is made for good at the sixth time.
const TIMES: u64 = 7;

/// Twenty accounts, between which there were many transfers. One in a hundred is a hold that is open.
const GROW: &str = "
    set session_replication_role = replica;
    insert into transfers (id, merchant_id, debited, credited, amount, currency, expires_at, position, created_at, status,
                           posted_amount, ended_at)
    select gen_random_uuid(), $merchant, $account, $account, 1, 'EUR', case when n % 100 = 0 then now() + interval '1 day' end, 0,
           now(), case when n % 100 = 0 then 'pending' else 'posted' end, case when n % 100 > 0 then 1 end,
           case when n % 100 > 0 then now() end
      from generate_series(1, 100000) n;
    insert into account_entries (account_id, version, transfer_id, code, side, posted, pending, credits_posted, debits_posted,
                                 credits_pending, debits_pending, at)
    select gen_random_uuid(), n, gen_random_uuid(), 'transfer', 'credit', 1, 0, n, 0, 0, 0, now() from generate_series(1, 100000) n;
    insert into accounts (id, merchant_id, currency, owner, allow_negative, credits_posted, debits_posted, credits_pending,
                          debits_pending)
    select gen_random_uuid(), $merchant, 'EUR', 'many', false, 0, 0, 0, 0 from generate_series(1, 100000) n;
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, renderer, created_at, object_id)
    select $merchant, 'create_transfer', '', 'old-' || n, sha256(''), 1, now(), gen_random_uuid() from generate_series(1, 100000) n;
    reset session_replication_role";

struct Book {
    merchant: MerchantId,
    accounts: [AccountId; 2],
    requests: u64,
    wrong: Vec<String>,
}

impl Book {
    fn request(&mut self, movement: Movement) -> Request {
        self.requests += 1;
        let object_id = match &movement {
            Movement::Transfer(transfer) => transfer.id.uuid(),
            Movement::Post(..) | Movement::Void(_) | Movement::Expire(_) => Uuid::now_v7(),
        };
        let key = TakenKey {
            operation: "create_transfer",
            scope: String::new(),
            key: Key::parse(format!("key-{}", self.requests).as_bytes()).unwrap(),
            fingerprint: [0; 32],
        };
        Request {
            merchant: Some(self.merchant),
            key: Some(key),
            object_id,
            movements: vec![movement],
            is_group: false,
        }
    }

    fn transfer(&self, amount: &str, hold: Option<HoldEnd>) -> NewTransfer {
        let money = Money::parse(amount, "EUR".parse().unwrap()).unwrap();
        NewTransfer { id: TransferId::generate(), from: self.accounts[0], to: self.accounts[1], money, hold }
    }

    async fn counted<T>(
        &mut self,
        (when, what): (&str, &str),
        pool: &PgPool,
        statement: impl Future<Output = T>,
    ) -> T {
        let before = Reads::so_far(pool).await;
        let answer = statement.await;
        let read = Reads::so_far(pool).await - before;
        let times = i64::try_from(BATCH).unwrap();
        if read.rows > FOR_EACH.rows * times || read.blocks > FOR_EACH.blocks * times {
            self.wrong.push(format!("{when}: {what} read {read:?}"));
        }
        answer
    }

    async fn moves(&mut self, when: &str, pool: &PgPool) {
        let waits = Patience::WaitsUnlessFor(Vec::new());
        let amounts = [
            ("transfers", "1.00", None),
            ("holds", "1.00", Some(HoldEnd::ByDefault)),
            ("refusals", "999999.00", None),
        ];
        let mut holds = Vec::new();
        for (what, amount, hold) in amounts {
            let requests: Vec<Request> = (0..BATCH)
                .map(|_| {
                    let transfer = self.transfer(amount, hold);
                    if hold.is_some() {
                        holds.push(transfer.id);
                    }
                    self.request(Movement::Transfer(transfer))
                })
                .collect();
            let all: Vec<&Request> = requests.iter().collect();
            let moved = self.counted((when, what), pool, move_money(pool, &all, &waits)).await.unwrap();
            let is_refused = what == "refusals";
            assert!(
                moved.iter().all(|it| matches!(it, Moved::Refused(_)) == is_refused),
                "{when}: {moved:?}"
            );
            let keys: Vec<_> = requests.iter().map(|it| (self.merchant, it.key.clone().unwrap())).collect();
            let found =
                self.counted((when, "keys"), pool, remembered::remembered(pool, &keys)).await.unwrap();
            assert!(found.iter().all(Option::is_some), "{when}");
        }
        let ends: Vec<Request> = holds.into_iter().map(|id| self.request(Movement::Void(id))).collect();
        let all: Vec<&Request> = ends.iter().collect();
        let moved = self.counted((when, "voids"), pool, move_money(pool, &all, &waits)).await.unwrap();
        assert!(moved.iter().all(|it| matches!(it, Moved::Done(_))), "{when}: {moved:?}");
    }

    async fn reads(&mut self, when: &str, pool: &PgPool) {
        let (merchant, [account, _]) = (self.merchant, self.accounts);
        self.counted((when, "due holds"), pool, expiry::expire_due(pool)).await.unwrap();
        for filter in [
            Filter { limit: 20, ..Filter::default() },
            Filter { owner: Some("ann".to_owned()), limit: 20, ..Filter::default() },
        ] {
            self.counted((when, "list"), pool, store::list(pool, merchant, &filter)).await.unwrap();
        }
        self.counted((when, "account"), pool, store::account(pool, merchant, account)).await.unwrap();
        self.counted((when, "entries"), pool, store::entries(pool, account, 3, 20)).await.unwrap();
        let past = chrono::Utc::now() - chrono::TimeDelta::milliseconds(1);
        self.counted((when, "the past"), pool, store::balance_at(pool, merchant, account, past))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn statements_of_accounts_read_no_more_from_many_rows_than_from_none() {
    let server = PrivateServer::quiet().await;
    let database = server.database().await;
    let merchant = shared::merchant::find_or_create(&database.pool, "first").await.unwrap().id;
    // One connection, whose statistics are up to date when it asks for them, and whose plans are kept.
    let pool = shared::database::connect(&database.url, 1).await.unwrap();
    let accounts = [AccountId::generate(), AccountId::generate()];
    for (account, owner) in accounts.iter().zip(["ann", "bob"]) {
        let open = "insert into accounts (id, merchant_id, currency, owner, allow_negative, credits_posted, debits_posted,
                                          credits_pending, debits_pending)
                    values ($1, $2, 'EUR', $3, $3 = 'bob', 0.00, 0.00, 0.00, 0.00)";
        sqlx::query(open)
            .bind(account.uuid())
            .bind(merchant.uuid())
            .bind(owner)
            .execute(&pool)
            .await
            .unwrap();
    }
    let mut book = Book { merchant, accounts, requests: 0, wrong: Vec::new() };
    let mut funding = book.transfer("1000.00", None);
    std::mem::swap(&mut funding.from, &mut funding.to);
    let funding = book.request(Movement::Transfer(funding));
    move_money(&pool, &[&funding], &Patience::WaitsUnlessFor(Vec::new())).await.unwrap();
    sqlx::raw_sql("vacuum (analyze)").execute(&pool).await.unwrap();
    for when in ["empty", "many rows"] {
        if when == "many rows" {
            let grow = GROW
                .replace("$merchant", &format!("'{}'", merchant.uuid()))
                .replace("$account", "gen_random_uuid()");
            sqlx::raw_sql("set statement_timeout = 0").execute(&pool).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(grow)).execute(&pool).await.unwrap();
        }
        // What is read of tables that have next to nothing says nothing.
        book.wrong.clear();
        for _ in 0..TIMES {
            book.moves(when, &pool).await;
            book.reads(when, &pool).await;
        }
    }
    assert!(book.wrong.is_empty(), "{}", book.wrong.join("\n"));
    server.remove().await;
}

//! Hot statements read as much from a million rows as from none, with plans that were made when there were
//! none, with statistics or without.
//!
//! It takes about a minute on two cores, nearly all of it to fill a million rows into each table with their
//! indexes and checks. A plan is judged by what it reads, and not by how it looks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use domain::decide::{Reason, Spends, Step};
use domain::idempotency::{self, Key};
use domain::ids::{ClaimToken, GatewayName, MerchantId, PaymentId};
use domain::money::Money;
use domain::outcome::{Charge, ChargeStatus};
use domain::request::PaymentRequest;
use domain::status::PaymentStatus;
use shared::merchant::auth::{self, Owner, Presented};
use shared::merchant::keys;
use shared::payment::list::{self, Filter};
use shared::payment::store::{self, Asked};
use shared::payment::transition::{self, Claim, NewPayment, Recorded, Settlement};
use shared::queue::{self, rows};
use sqlx::{AssertSqlSafe, PgPool};
use tests::PrivateServer;
use tests::{claimant, peppers, presented};
use uuid::Uuid;

use super::{LEASE, Reads};

/// How many payments share a statement, and how long a page is.
const BATCH: i64 = 20;

/// The reads for each of a batch: versions of its row, its events, key, job, transfer, and the indexes
/// of each, with entries that lead to dead rows, of which there are one or two more or less.
const READ_FOR_EACH: Reads = Reads { rows: 14, blocks: 100 };

/// The most that a page of a list reads which finds nothing: some five thousand payments, each by an index,
/// and what led to them.
const LOOKED_THROUGH: Reads = Reads { rows: 16_000, blocks: 60_000 };

/// A plan is made for good at the sixth time.
const TIMES: usize = 7;

const PAYMENT: &str = "
    create function plans_payment(n integer) returns uuid language sql immutable
    return ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";

/// Makes the database as if statistics had never been taken.
const FORGET_STATISTICS: &str = "
    set allow_system_table_mods = on;
    delete from pg_statistic where starelid >= 16384;
    update pg_class set reltuples = -1, relpages = 0, relallvisible = 0 where oid >= 16384 and relkind in ('r', 'i');
    reset allow_system_table_mods";

/// The database in which the tables grow.
struct Scene {
    server: PrivateServer,
    url: String,
    merchant: MerchantId,
    /// A merchant with one payment.
    newcomer: MerchantId,
    /// The API key of `merchant`.
    api_key: Presented,
    /// Whether lists are read. They are planned by what is known of the merchants, which is nothing before
    /// statistics are taken for the first time.
    lists: bool,
    /// Statements that read more than they may.
    wrong: Vec<String>,
}

impl Scene {
    async fn open() -> Self {
        let server = PrivateServer::quiet().await;
        let url = server.database().await.url.clone();
        let pool = shared::database::connect(&url, 1).await.unwrap();
        let merchant = shared::merchant::find_or_create(&pool, "merchant").await.unwrap().id;
        let newcomer = shared::merchant::find_or_create(&pool, "newcomer").await.unwrap().id;
        let key_of = async |merchant| {
            presented(&keys::create_for(&pool, &peppers(), merchant, "key").await.unwrap().secret)
        };
        let (api_key, newcomers) = (key_of(merchant).await, key_of(newcomer).await);
        transition::accept(&pool, &[a_new_payment(newcomers)]).await.unwrap();
        sqlx::raw_sql(PAYMENT).execute(&pool).await.unwrap();
        Reads::so_far(&pool).await;
        Self { server, url, merchant, newcomer, api_key, lists: false, wrong: Vec::new() }
    }

    fn script(&self, sql: &str, numbers: Range<u32>) -> String {
        sql.replace("$merchant", &format!("'{}'", self.merchant.uuid()))
            .replace("$from", &numbers.start.to_string())
            .replace("$to", &(numbers.end - 1).to_string())
    }

    /// Fills in these payments, in two halves at once.
    async fn grow(&self, numbers: Range<u32>) {
        let middle = u32::midpoint(numbers.start, numbers.end);
        let half = async |numbers| self.unlimited(&self.script(include_str!("grow.sql"), numbers)).await;
        tokio::join!(half(numbers.start..middle), half(middle..numbers.end));
    }

    /// Takes statistics as autovacuum does, while nothing is under way.
    async fn analyze(&self) {
        self.unlimited("vacuum (analyze)").await;
    }

    /// Executes statements on a connection of their own, which has reported all that it read before it ends.
    async fn unlimited(&self, sql: &str) {
        let pool = self.connection().await;
        sqlx::raw_sql("set statement_timeout = 0").execute(&pool).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
        Reads::so_far(&pool).await;
    }

    async fn connection(&self) -> PgPool {
        shared::database::connect(&self.url, 1).await.unwrap()
    }

    /// Runs every hot statement a few times by this connection, while a backlog waits.
    async fn run(&mut self, when: &str, pool: &PgPool) {
        let backlog = self.script(include_str!("backlog.sql"), 0..1);
        sqlx::raw_sql(AssertSqlSafe(backlog)).execute(pool).await.unwrap();
        // The first reader clears away what the last backlog left in the indexes of payments and jobs
        // under way.
        store::overdue(pool, &GatewayName::default(), (0, 1), None).await.unwrap();
        rows::take(pool, queue::PAYMENTS, "a worker", 1, None).await.unwrap();
        for _ in 0..TIMES {
            self.money_path(when, pool).await;
            self.reads(when, pool).await;
            if self.lists {
                self.lists(when, pool).await;
            }
        }
    }

    async fn money_path(&mut self, when: &str, pool: &PgPool) {
        let new: Vec<NewPayment> = (0..BATCH).map(|_| a_new_payment(self.api_key)).collect();
        let ids: Vec<PaymentId> = new.iter().map(|payment| payment.id).collect();
        let accepted = self.counted(when, "accept", pool, transition::accept(pool, &new)).await;
        let again: Vec<NewPayment> =
            new.iter().map(|payment| NewPayment { id: PaymentId::generate(), ..payment.clone() }).collect();
        let before = self.counted(when, "accept again", pool, transition::accept(pool, &again)).await;
        assert!(before.values().all(|recorded| matches!(recorded, Recorded::Before(_))));
        let take = rows::take(pool, queue::PAYMENTS, "a worker", ids.len(), None);
        let jobs = self.counted(when, "take jobs", pool, take).await.found;
        let take = rows::take(pool, queue::PAYMENTS, "a worker", 1, Some(Utc::now()));
        self.counted(when, "take new jobs", pool, take).await;
        let claims = self
            .counted(when, "claim", pool, transition::claim(pool, &ids, &claimant("a worker", LEASE)))
            .await;
        let claimed = claimed(pool, &ids, claims[0].token);
        assert_eq!(self.counted(when, "claimed", pool, claimed).await, ids.len());
        let settlements = settlements(&claims);
        let settled = self
            .counted(
                when,
                "settle",
                pool,
                transition::settle(pool, &GatewayName::default(), settlements.clone()),
            )
            .await;
        let again = self
            .counted(
                when,
                "settle again",
                pool,
                transition::settle(pool, &GatewayName::default(), settlements),
            )
            .await;
        let ended = jobs.iter().map(|job| (job.id.clone(), None)).collect();
        self.counted(when, "end jobs", pool, rows::end(pool, "a worker", ended)).await;
        assert_eq!((accepted.len(), before.len()), (ids.len(), ids.len()));
        assert_eq!((jobs.len(), claims.len()), (ids.len(), ids.len()));
        assert_eq!((settled.moved.len(), settled.late.len(), again.moved.len()), (ids.len(), 0, 0));
    }

    async fn reads(&mut self, when: &str, pool: &PgPool) {
        let overdue = self
            .counted(when, "overdue", pool, store::overdue(pool, &GatewayName::default(), (0, BATCH), None))
            .await
            .found;
        let gateway = GatewayName::default();
        let since = store::overdue(pool, &gateway, (0, BATCH), Some(Utc::now()));
        self.counted(when, "newly overdue", pool, since).await;
        // Many are due, but none for this long.
        let hour_ms = 3_600_000;
        let late = self
            .counted(
                when,
                "late",
                pool,
                store::overdue(pool, &GatewayName::default(), (hour_ms, BATCH), None),
            )
            .await;
        assert_eq!(late.found.len(), 0);
        let id: PaymentId = overdue[0].id.into();
        let asked = vec![Asked { id, api_key: self.api_key }; usize::try_from(BATCH).unwrap()];
        let found = self.counted(when, "find", pool, store::find(pool, &asked)).await;
        assert!(found.iter().all(|payment| payment.as_ref().is_some_and(|it| it.id == id.uuid())));
        self.counted(when, "events", pool, store::events(pool, self.merchant, id)).await;
        self.counted(when, "lag", pool, store::lag(pool)).await;
        let secrets = [self.api_key];
        let callers = self.counted(when, "API key", pool, auth::find_callers(pool, &secrets)).await;
        let merchants: Vec<_> = callers.iter().flatten().map(|it| it.owner.clone()).collect();
        assert_eq!(
            (overdue.len(), merchants),
            (usize::try_from(BATCH).unwrap(), vec![Owner::Merchant(self.merchant)])
        );
    }

    async fn lists(&mut self, when: &str, pool: &PgPool) {
        let rare = Filter { limit: BATCH, ..Filter::default() };
        for filter in [
            rare.clone(),
            Filter { status: Some(PaymentStatus::Succeeded), ..rare.clone() },
            Filter { status: Some(PaymentStatus::Failed), ..rare.clone() },
            Filter { customer_id: Some("customer-1".to_owned()), ..rare.clone() },
            Filter { is_held: Some(true), ..rare.clone() },
            Filter { is_held: Some(false), currency: Some("EUR".to_owned()), ..rare.clone() },
        ] {
            let name = format!("list {filter:?}");
            self.counted(when, &name, pool, list::list(pool, self.merchant, &filter)).await;
        }
        let hour = TimeDelta::hours(1);
        let (after, before) = (Some(Utc::now() - hour), Some(Utc::now() + hour));
        let metadata = BTreeMap::from([("order".to_owned(), "77".to_owned())]);
        let of_a_time = Filter { created_after: after, created_before: before, ..rare.clone() };
        for filter in [
            Filter { currency: Some("USD".to_owned()), ..rare.clone() },
            Filter {
                currency: Some("USD".to_owned()),
                status: Some(PaymentStatus::Succeeded),
                ..rare.clone()
            },
            Filter { customer_id: Some("customer-1".to_owned()), is_held: Some(true), ..rare.clone() },
            Filter { amount_min: Some("99".parse().unwrap()), ..of_a_time.clone() },
            Filter { metadata, ..of_a_time },
        ] {
            let name = format!("list of few {filter:?}");
            let found = list::list(pool, self.merchant, &filter);
            assert_eq!(self.counted_up_to(LOOKED_THROUGH, (when, &name), pool, found).await.payments, []);
        }
        let its_own =
            self.counted(when, "list of a new merchant", pool, list::list(pool, self.newcomer, &rare)).await;
        assert_eq!(its_own.payments.len(), 1);
    }

    async fn counted<T, E: std::fmt::Debug>(
        &mut self,
        when: &str,
        what: &str,
        pool: &PgPool,
        statement: impl Future<Output = Result<T, E>>,
    ) -> T {
        let most = Reads { rows: READ_FOR_EACH.rows * BATCH, blocks: READ_FOR_EACH.blocks * BATCH };
        self.counted_up_to(most, (when, what), pool, statement).await
    }

    async fn counted_up_to<T, E: std::fmt::Debug>(
        &mut self,
        most: Reads,
        (when, what): (&str, &str),
        pool: &PgPool,
        statement: impl Future<Output = Result<T, E>>,
    ) -> T {
        let before = Reads::so_far(pool).await;
        let answer = statement.await.unwrap();
        let read = Reads::so_far(pool).await - before;
        if read.rows > most.rows || read.blocks > most.blocks {
            self.wrong.push(format!("{when}: {what} read {read:?}"));
        }
        answer
    }
}

fn a_new_payment(api_key: Presented) -> NewPayment {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let request = PaymentRequest {
        money: Money::parse("12.30", "EUR".parse().unwrap()).unwrap(),
        customer_id: format!("customer-{}", number % 10),
        payment_method: "sim_ok".to_owned(),
        description: None,
        metadata: BTreeMap::new(),
    };
    NewPayment {
        id: PaymentId::generate(),
        api_key,
        key: Key::parse(format!("new-{number}").as_bytes()).unwrap(),
        fingerprint: idempotency::fingerprint(&request),
        request,
        correlation_id: "growth".to_owned(),
    }
}

fn a_charge() -> Charge {
    Charge {
        id: "ch_1".to_owned(),
        key: String::new(),
        status: ChargeStatus::Succeeded,
        amount: "12.30".parse().unwrap(),
        currency: "EUR".to_owned(),
        reference: None,
        decline: None,
    }
}

/// Settlements: every other payment is charged, and the others are to be tried again.
fn settlements(claims: &[Claim]) -> Vec<Settlement> {
    let step = |n: usize| match n % 2 {
        0 => Step::Succeed(a_charge()),
        _ => Step::Retry {
            wait: Duration::from_hours(24),
            reason: Reason::RateLimited,
            spends: Spends::Nothing,
        },
    };
    let settlement = |(n, claim): (usize, &Claim)| Settlement {
        payment_id: claim.payment_id,
        token: claim.token,
        step: step(n),
        evidence: serde_json::json!({}),
    };
    claims.iter().enumerate().map(settlement).collect()
}

/// The question of a claim whose answer was lost.
async fn claimed(pool: &PgPool, ids: &[PaymentId], token: ClaimToken) -> sqlx::Result<usize> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let claimed = sqlx::query(include_str!("../../../shared/queries/payment_claimed.sql"));
    Ok(claimed.bind(ids).bind(token.uuid()).fetch_all(pool).await?.len())
}

#[tokio::test]
async fn hot_statements_read_no_more_from_a_million_rows_than_from_none() {
    let mut scene = Scene::open().await;
    scene.analyze().await;
    // Its statements are prepared when the tables are nearly empty, and kept.
    let kept = scene.connection().await;
    scene.run("empty", &kept).await;
    scene.grow(0..10_000).await;
    scene.run("10,000, statistics of one", &kept).await;
    scene.analyze().await;
    scene.lists = true;
    scene.run("10,000", &kept).await;
    scene.grow(10_000..1_000_000).await;
    scene.run("1,000,000, statistics of 10,000", &kept).await;
    scene.unlimited(FORGET_STATISTICS).await;
    let new = scene.connection().await;
    scene.run("1,000,000, no statistics", &new).await;
    scene.analyze().await;
    scene.run("1,000,000", &kept).await;
    assert!(scene.wrong.is_empty(), "{}", scene.wrong.join("\n"));
    scene.server.remove().await;
}

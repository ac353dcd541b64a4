//! A whole Payonce: databases of its own, gateway, APIs and workers as real processes, and a client
//! with verbs.
//!
//! APIs and workers connect as `payonce_app`, so that every test shows that this role may do all that
//! they do.

use std::ffi::OsStr;

use domain::ids::PaymentId;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Request};
use crate::{Launch, Process, TestDatabase, books, peppers, wait_for};

/// The size and the settings of a system.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// The number of API processes.
    pub apis: usize,
    /// The number of worker processes.
    pub workers: usize,
    /// Variables for the workers, after the fast ones of every test.
    pub worker_env: Vec<(&'static str, String)>,
    /// Variables for the APIs, after those of every test.
    pub api_env: Vec<(&'static str, String)>,
}

/// Waits as short as the machine allows, so that tests need none of their own. They stand in the order of the
/// defaults: the lease outlasts the send window and the gateway's timeout together.
const FAST: &[(&str, &str)] = &[
    ("GATEWAY_TIMEOUT_MS", "1000"),
    ("SEND_WINDOW_MS", "1000"),
    ("LEASE_MS", "2500"),
    ("VISIBILITY_MS", "200"),
    ("SWEEP_MS", "100"),
    ("BACKOFF_MS", "50"),
    ("BACKOFF_MAX_MS", "200"),
    ("VERIFY_WAITS_MS", "50,100,200,400"),
    ("BREAKER_OPEN_MS", "200"),
    // Reconciliation repairs hints once a minute. That would hide failures of parts that should not need it.
    ("RECONCILE_EVERY_MS", "3600000"),
];

/// Endpoints may stand on this machine, and what failed is tried again soon.
const WEBHOOKS: &[(&str, &str)] = &[
    ("WEBHOOK_SECRET_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
    ("WEBHOOK_ALLOW_HTTP", "true"),
    ("WEBHOOK_ALLOW_NETS", "127.0.0.0/8"),
];

const ADMIN_KEY: &str = "an-admin-key-for-tests";

/// Two people with admin keys of their own.
const ADMIN_KEYS: &str = "ada:an-admin-key-of-ada-s,bob:an-admin-key-of-bob-s";

/// A running system. When it is dropped, its processes are killed and its databases go.
#[derive(Debug)]
pub struct System {
    /// The API processes, in their order.
    pub apis: Vec<Process>,
    /// The worker processes, in their order.
    pub workers: Vec<Process>,
    /// The simulated gateway's process.
    pub gateway: Process,
    /// The database of APIs and workers.
    pub database: TestDatabase,
    /// The gateway's own database.
    pub gateway_database: TestDatabase,
    /// A client of the first merchant.
    pub client: Client,
    program: &'static str,
}

impl System {
    /// Starts one API, one worker and one gateway.
    pub async fn start(program: &'static str) -> Self {
        Self::with(program, Shape { apis: 1, workers: 1, ..Shape::default() }).await
    }

    /// Starts as many processes as `shape` says.
    pub async fn with(program: &'static str, shape: Shape) -> Self {
        Self::on(TestDatabase::fresh().await, program, shape).await
    }

    /// Starts as many processes as `shape` says, on this database.
    pub async fn on(database: TestDatabase, program: &'static str, shape: Shape) -> Self {
        let gateway_database = TestDatabase::fresh_empty().await;
        let gateway = Launch::simgateway(program)
            .env("GATEWAY_DATABASE_URL", &gateway_database.url)
            .env("GATEWAY_ADDR", "127.0.0.1:0")
            .start()
            .await;
        let secret = new_key(&database, "first").await;
        let client = Client::new(Vec::new(), secret);
        let mut system = Self {
            apis: Vec::new(),
            workers: Vec::new(),
            gateway,
            database,
            gateway_database,
            client,
            program,
        };
        for _ in 0..shape.apis {
            let api = system.api().envs(shape.api_env.clone()).start().await;
            system.client.add_base(api.address("api"));
            system.apis.push(api);
        }
        for _ in 0..shape.workers {
            let worker = system.worker().envs(shape.worker_env.clone()).start().await;
            system.workers.push(worker);
        }
        system
    }

    /// One more API, not started yet.
    #[must_use]
    pub fn api(&self) -> Launch {
        Launch::api(self.program)
            .env("DATABASE_URL", self.database.app_url())
            .env("API_ADDR", "127.0.0.1:0")
            .env("OPS_ADDR", "127.0.0.1:0")
            .env("BOARD_ADDR", "127.0.0.1:0")
            .env("METRICS_ADDR", "127.0.0.1:0")
            .env("ADMIN_KEY", ADMIN_KEY)
            .env("ADMIN_KEYS", ADMIN_KEYS)
            .envs(WEBHOOKS.iter().copied())
    }

    /// One more worker, not started yet.
    #[must_use]
    pub fn worker(&self) -> Launch {
        Launch::worker(self.program)
            .env("DATABASE_URL", self.database.app_url())
            .env("GATEWAY_URL", self.gateway.address("gateway"))
            .env("METRICS_ADDR", "127.0.0.1:0")
            .envs(FAST.iter().copied())
            .envs(WEBHOOKS.iter().copied())
    }

    /// Starts one more worker with these variables, and keeps it. Answers its place in the list.
    pub async fn add_worker<V: AsRef<OsStr>>(
        &mut self,
        env: impl IntoIterator<Item = (&'static str, V)>,
    ) -> usize {
        let worker = self.worker().envs(env).start().await;
        self.workers.push(worker);
        self.workers.len() - 1
    }

    /// A client of another merchant.
    pub async fn another_merchant(&self, name: &str) -> Client {
        self.client.with_secret(new_key(&self.database, name).await)
    }

    /// Posts a payment as the first merchant.
    pub async fn pay(&self, request: Request) -> Answer {
        self.client.pay(request).await
    }

    /// Posts a payment that must be accepted.
    pub async fn accepted(&self, request: Request) -> PaymentId {
        self.pay(request).await.payment_id()
    }

    /// Waits until a payment is terminal, and answers it.
    pub async fn ended(&self, id: PaymentId) -> Value {
        wait_for(format!("{id} to end"), async || {
            let payment = self.client.payment(id).await;
            (!payment["terminal_at"].is_null()).then_some(payment)
        })
        .await
    }

    /// Waits until a payment is held, and answers it.
    pub async fn held(&self, id: PaymentId) -> Value {
        wait_for(format!("{id} to be held"), async || {
            let payment = self.client.payment(id).await;
            (!payment["held_reason"].is_null()).then_some(payment)
        })
        .await
    }

    /// Waits until no payment is under way: each is terminal or held.
    pub async fn settled(&self) {
        wait_for("all payments to end", async || {
            let open: i64 = sqlx::query_scalar("select count(*) from payments where due_at is not null")
                .fetch_one(&self.database.pool)
                .await
                .ok()?;
            (open == 0).then_some(())
        })
        .await;
    }

    /// The gateway's whole journal.
    pub async fn journal(&self) -> Vec<Value> {
        books::journal(self.gateway.address("gateway")).await
    }

    /// The rows of the gateway's journal that name this payment, as `kind op http_status`.
    pub async fn journal_of(&self, id: PaymentId) -> Vec<String> {
        let (key, reference) = (self.gateway_key(id).await, id.to_string());
        let rows = self.journal().await;
        let of_key =
            rows.iter().filter(|row| row["key"] == key.as_str() || row["reference"] == reference.as_str());
        of_key.map(books::in_words).collect()
    }

    /// The payment's key at the gateway. For a payment that does not exist, it is the id.
    pub async fn gateway_key(&self, id: PaymentId) -> String {
        let stored: Option<Option<String>> =
            sqlx::query_scalar("select gateway_key from payments where id = $1")
                .bind(id.uuid())
                .fetch_optional(&self.database.pool)
                .await
                .expect("payments can be read");
        stored.flatten().unwrap_or_else(|| id.to_string())
    }

    /// All contradictions between our books and the gateway's, or within ours.
    pub async fn violations(&self) -> Vec<String> {
        books::violations(&self.database.pool, &self.journal().await).await
    }

    /// Asserts that the books agree, and that there is something in them.
    pub async fn assert_books_agree(&self) {
        assert!(self.count("select count(*) from payments").await > 0, "there is no payment to agree about");
        let violations = self.violations().await;
        assert!(violations.is_empty(), "the books disagree:\n{}", violations.join("\n"));
    }

    /// Starts the gateway again where it was, after it ended. It has forgotten its faults.
    pub async fn restart_gateway(&mut self) {
        let address = self.gateway.address("gateway").trim_start_matches("http://").to_owned();
        self.gateway = Launch::simgateway(self.program)
            .env("GATEWAY_DATABASE_URL", &self.gateway_database.url)
            .env("GATEWAY_ADDR", address)
            .start()
            .await;
    }

    /// Changes the gateway's faults.
    pub async fn faults(&self, faults: Value) {
        let url = format!("{}/faults", self.gateway.address("gateway"));
        let answer = reqwest::Client::new().put(url).json(&faults).send().await.expect("the gateway answers");
        assert!(answer.status().is_success(), "{faults}: {}", answer.status());
    }

    /// The types of a payment's events, oldest first; none while the database is away. Where the payment is
    /// not shown the test fails: it would be without whichever event must not be.
    pub async fn story(&self, id: PaymentId) -> Vec<String> {
        let answer = self.client.get(&format!("/v1/payments/{id}/events")).await;
        if answer.status == 503 {
            return Vec::new();
        }
        answer.assert_status(200);
        let list = answer.json();
        let events = list["data"].as_array().cloned().unwrap_or_default();
        events.iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
    }

    /// Makes a payment due now, as if its wait or its lease were over.
    pub async fn make_due(&self, id: PaymentId) {
        // The version trigger guards the application; a test that moves time steps around it.
        let moved = sqlx::query(
            "update payments set due_at = clock_timestamp() - interval '10 seconds', version = version where id = $1",
        );
        let mut connection = self.database.pool.acquire().await.expect("a connection");
        sqlx::query("set session_replication_role = replica")
            .execute(&mut *connection)
            .await
            .expect("superuser");
        moved.bind(id.uuid()).execute(&mut *connection).await.expect("the payment can be moved");
        sqlx::query("reset session_replication_role").execute(&mut *connection).await.expect("superuser");
    }

    /// The numbers of payments, idempotency keys, events and payment jobs, all at one instant.
    pub async fn stored(&self) -> [i64; 4] {
        let counts = "select array[(select count(*) from payments), (select count(*) from idempotency_keys),
                                   (select count(*) from payment_events), (select count(*) from apalis.jobs where job_type = 'payments')]";
        let counts: Vec<i64> =
            sqlx::query_scalar(counts).fetch_one(&self.database.pool).await.expect("counts");
        counts.try_into().expect("four of them")
    }

    /// A number from the database, by this statement.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.database.pool).await.expect("a count")
    }
}

async fn new_key(database: &TestDatabase, merchant: &str) -> String {
    let merchant = shared::merchant::find_or_create(&database.pool, merchant).await.expect("a merchant");
    shared::merchant::keys::create_for(&database.pool, &peppers(), merchant.id, "test")
        .await
        .expect("a key")
        .secret
}

/// Faults that make a share of all charge calls go wrong.
#[must_use]
pub fn stormy(rate: f64, seed: u64) -> Value {
    json!({
        "seed": seed, "timeout_rate": rate / 4.0, "lost_response_rate": rate / 4.0, "network_error_rate": rate / 4.0,
        "error_5xx_rate": rate / 4.0,
    })
}

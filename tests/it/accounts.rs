//! Accounts of a merchant's customers, and transfers between them: each request has one effect and one
//! answer, no account owes, and nothing waits for long.

mod bank;
mod busy;
mod codes;
mod commands;
mod crashes;
mod groups;
mod guards;
mod holds;
mod names;
mod paying;
mod reads;
mod walk;

use domain::ids::MerchantId;
use reqwest::Method;
use serde_json::{Value, json};
use tests::client::{answer, send};
use tests::{Answer, Client, Shape, System};
use uuid::Uuid;

use crate::PROGRAM;
use crate::operator::ADMIN_KEY;
use crate::verify::{offences, report, verify};

/// A system with a merchant's book: accounts in USD, and one by which they are funded.
pub(super) struct Bank {
    pub(super) system: System,
    funding: String,
}

impl Bank {
    /// A book at one API, without a worker.
    pub(super) async fn start() -> Self {
        Self::with(Shape { apis: 1, ..Shape::default() }).await
    }

    async fn with(shape: Shape) -> Self {
        let system = System::with(PROGRAM, shape).await;
        let funding = fund_of(&system, "first", "USD").await;
        Self { system, funding }
    }

    /// Opens an account in USD without anything in it.
    pub(super) async fn open(&self, owner: &str) -> String {
        open(&self.system.client, owner, "USD").await
    }

    /// Opens an account with that much in it.
    pub(super) async fn funded(&self, owner: &str, amount: &str) -> String {
        let account = self.open(owner).await;
        self.fund(&account, amount).await;
        account
    }

    async fn fund(&self, account: &str, amount: &str) {
        self.transfer(
            &key(),
            json!({ "from": self.funding, "to": account, "amount": amount, "currency": "USD" }),
        )
        .await
        .assert_status(201);
    }

    /// Asks for a transfer under this key.
    pub(super) async fn transfer(&self, key: &str, body: Value) -> Answer {
        post(&self.system.client, "/v1/transfers", key, &body).await
    }

    /// Asks for a hold that ends by default, and answers its id.
    pub(super) async fn hold(&self, from: &str, to: &str, amount: &str) -> String {
        let body = json!({ "pending": true, "from": from, "to": to, "amount": amount, "currency": "USD" });
        let answer = self.transfer(&key(), body).await;
        answer.assert_status(201);
        id(&answer)
    }

    /// Posts or voids a hold under this key.
    async fn act(&self, transfer: &str, act: &str, key: &str, body: Value) -> Answer {
        post(&self.system.client, &format!("/v1/transfers/{transfer}/{act}"), key, &body).await
    }

    async fn account(&self, account: &str) -> Value {
        let answer = self.system.client.get(&format!("/v1/accounts/{account}")).await;
        answer.assert_status(200);
        answer.json()
    }

    /// What an account has: posted, pending in, pending out, available.
    async fn balance(&self, account: &str) -> [String; 4] {
        let account = self.account(account).await;
        ["posted", "pending_in", "pending_out", "available"]
            .map(|name| account[name].as_str().unwrap().to_owned())
    }

    async fn status(&self, transfer: &str) -> String {
        let answer = self.system.client.get(&format!("/v1/transfers/{transfer}")).await;
        answer.assert_status(200);
        answer.json()["status"].as_str().unwrap().to_owned()
    }

    /// Asserts that `payonce verify` finds nothing wrong with accounts and their keys.
    async fn assert_adds_up(&self) {
        let (_, report) = report(verify(&self.system, &[])).await;
        let wrong: Vec<_> = offences(&report).into_iter().filter(|(check, ..)| check != "liveness").collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let checked = report["checks"].as_array().unwrap().iter().find(|it| it["name"] == "accounts");
        assert!(checked.unwrap()["checked"].as_u64().unwrap() > 0, "no account was looked at");
    }
}

/// An account of that merchant which may owe, opened by an administrator.
pub(super) async fn fund_of(system: &System, merchant: &str, currency: &str) -> String {
    let id: Uuid = sqlx::query_scalar("select id from merchants where name = $1")
        .bind(merchant)
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    let path = format!("/v1/merchants/{}/accounts", MerchantId::from(id));
    let admin = system.client.with_secret(ADMIN_KEY.to_owned());
    let body = json!({ "currency": currency, "owner": "the till", "allow_negative": true });
    let answer = post(&admin, &path, &key(), &body).await;
    answer.assert_status(201);
    self::id(&answer)
}

pub(super) async fn open(client: &Client, owner: &str, currency: &str) -> String {
    let answer = post(client, "/v1/accounts", &key(), &json!({ "currency": currency, "owner": owner })).await;
    answer.assert_status(201);
    id(&answer)
}

/// Posts a body under an idempotency key.
pub(super) async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    send(client.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// The same where the connection may break.
async fn try_post(client: &Client, path: &str, key: &str, body: &Value) -> reqwest::Result<Answer> {
    answer(client.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// A key that nobody has used.
pub(super) fn key() -> String {
    Uuid::now_v7().to_string()
}

pub(super) fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Sixty dollars from one account to another.
pub(super) fn sixty(from: &str, to: &str) -> Value {
    json!({ "from": from, "to": to, "amount": "60", "currency": "USD" })
}

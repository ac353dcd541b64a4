//! Scenes of accounts in which a guard matters, each without the guards that it is told to leave out.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Client, Process, System};

use super::{Left, Without};
use crate::accounts::{fund_of, id, key, open, post, sixty};

/// The guards of the database, and what takes each away.
pub(super) const OF_THE_DATABASE: &[(&str, &str)] = &[
    ("accounts_funds_suffice", "alter table accounts drop constraint accounts_funds_suffice"),
    ("account_entries_are_whole", "alter table account_entries disable trigger account_entries_are_whole"),
    ("accounts_follow_their_entries", "alter table accounts disable trigger accounts_follow_their_entries"),
];

/// Two customers in a book, of whom the first has 1,000.
struct Book {
    system: System,
    api: Process,
    client: Client,
    accounts: [String; 2],
}

impl Without {
    /// A book at an API without the programs' guards, in a database without its own.
    async fn book(self) -> Book {
        let system = self.system().await;
        let funding = fund_of(&system, "first", "USD").await;
        let accounts = [open(&system.client, "ann", "USD").await, open(&system.client, "bob", "USD").await];
        let body = json!({ "from": funding, "to": accounts[0], "amount": "1000", "currency": "USD" });
        post(&system.client, "/v1/transfers", &key(), &body).await.assert_status(201);
        for (_, sql) in OF_THE_DATABASE.iter().filter(|(guard, _)| self.takes(guard)) {
            sqlx::raw_sql(AssertSqlSafe(*sql)).execute(&system.database.pool).await.unwrap();
        }
        // Only the owner of the tables may exchange the function that moves money.
        let owner = ("DATABASE_URL", system.database.url.clone());
        let api = system.api().env("PAYONCE_FAULTS", self.faults("")).env(owner.0, owner.1).start().await;
        let client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
        Book { system, api, client, accounts }
    }
}

impl Book {
    fn of(&self, from: usize, to: usize, amount: &str) -> Value {
        let [from, to] = [from, to].map(|account| &self.accounts[account]);
        json!({ "from": from, "to": to, "amount": amount, "currency": "USD" })
    }

    async fn asks(&self, path: &str, body: &Value) -> tests::Answer {
        post(&self.client, path, &key(), body).await
    }

    fn left(mut self) -> Left {
        self.api.kill9();
        Left::by(self.system, &[])
    }
}

pub(super) async fn more_is_asked_for_than_there_is(without: Without) -> Left {
    let book = without.book().await;
    book.asks("/v1/transfers", &book.of(0, 1, "5000")).await;
    book.left()
}

pub(super) async fn a_group_whose_second_part_is_too_much(without: Without) -> Left {
    let book = without.book().await;
    book.asks("/v1/transfers", &json!({ "transfers": [book.of(0, 1, "1"), book.of(1, 0, "5000")] })).await;
    book.left()
}

pub(super) async fn a_transfer(without: Without) -> Left {
    let book = without.book().await;
    book.asks("/v1/transfers", &sixty(&book.accounts[0], &book.accounts[1])).await;
    book.left()
}

/// A hold is posted and then voided, beside a larger one.
pub(super) async fn a_hold_that_is_ended_twice(without: Without) -> Left {
    let book = without.book().await;
    let mut holds = Vec::new();
    for amount in ["60", "70"] {
        let mut body = book.of(0, 1, amount);
        body["pending"] = json!(true);
        holds.push(id(&book.asks("/v1/transfers", &body).await));
    }
    for act in ["post", "void"] {
        book.asks(&format!("/v1/transfers/{}/{act}", holds[0]), &json!({})).await;
    }
    book.left()
}

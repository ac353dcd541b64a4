//! Transfers between accounts, spread over many and on one hot pair, beside pgbench running the same movement
//! on the same server.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::bare;
use crate::client::{Client, Target};
use crate::cycle::CONNECTIONS;
use crate::latency;
use crate::report::Moves;
use crate::server::BenchServer;
use crate::site::{ADMIN_KEY, DATABASE, Site};

/// How many transfers fund accounts at a time: as many as a group may have.
const GROUP: usize = 100;
/// What each account begins with.
const FUNDS: &str = "1000000.00";
/// Where what a transfer leaves behind is stored.
const TABLES: &str = "array['accounts', 'transfers', 'account_entries', 'idempotency_keys']";

/// Measures transfers between that many accounts.
pub(crate) async fn measure(site: &Site<'_>, (accounts, transfers, secs): (u64, u64, u64)) -> Result<Moves> {
    let bare_per_s = bare::moves(site.server, accounts, secs).await?;
    let ids = open(site, accounts).await?;
    let before = stored(site.server).await?;
    let began = Instant::now();
    let clients = try_join_all((0..CONNECTIONS).map(|_| Client::connect(&site.target))).await?;
    let senders = clients.into_iter().zip(0..).map(async |(mut client, first): (_, u64)| {
        let mut took = Vec::new();
        for number in (first..transfers).step_by(usize::try_from(CONNECTIONS)?) {
            let [from, to] = pair(number, accounts)?.map(|place| &ids[place]);
            let body = json!({ "from": from, "to": to, "amount": "1.00", "currency": "EUR" });
            let key = format!("moves-{accounts}-{number}");
            took.push(client.create("/v1/transfers", &key, &body).await?.1);
        }
        anyhow::Ok(took)
    });
    let took = try_join_all(senders).await?.concat();
    let moved_per_s = transfers as f64 / began.elapsed().as_secs_f64();
    let bytes_per_transfer = (stored(site.server).await? - before) as f64 / transfers as f64;
    let answer = latency::of(&took);
    Ok(Moves { accounts, transfers, bare_per_s, moved_per_s, answer, bytes_per_transfer })
}

/// The two sides of the transfer of that number. With two accounts each transfer is crossed by the next one.
fn pair(number: u64, accounts: u64) -> Result<[usize; 2]> {
    let from = number.wrapping_mul(7_919) % accounts;
    let to = (from + 1 + number.wrapping_mul(104_729) % (accounts - 1)) % accounts;
    Ok([usize::try_from(from)?, usize::try_from(to)?])
}

/// Opens that many accounts, and funds each. Answers their ids.
async fn open(site: &Site<'_>, accounts: u64) -> Result<Vec<String>> {
    let mut client = Client::connect(&site.target).await?;
    let mut ids = Vec::new();
    for number in 0..accounts {
        let body = json!({ "currency": "EUR", "owner": format!("owner-{number}") });
        let opened = client.create("/v1/accounts", &format!("open-{accounts}-{number}"), &body).await?;
        ids.push(id(&opened.0)?);
    }
    let path = format!("/v1/merchants/{}/accounts", site.merchant);
    let admin = Target { api_key: ADMIN_KEY.to_owned(), ..site.target.clone() };
    let body = json!({ "currency": "EUR", "owner": "funding", "allow_negative": true });
    let opened = Client::connect(&admin).await?.create(&path, &format!("fund-{accounts}"), &body).await?;
    let funding = id(&opened.0)?;
    for (number, some) in ids.chunks(GROUP).enumerate() {
        let one = |to: &String| json!({ "from": funding, "to": to, "amount": FUNDS, "currency": "EUR" });
        let body = json!({ "transfers": some.iter().map(one).collect::<Vec<_>>() });
        client.create("/v1/transfers", &format!("fund-{accounts}-{number}"), &body).await?;
    }
    let mut connection = site.server.connect(DATABASE).await?;
    sqlx::query("vacuum (analyze)").execute(&mut connection).await?;
    connection.close().await?;
    Ok(ids)
}

fn id(opened: &Value) -> Result<String> {
    Ok(opened["id"].as_str().context("an account without an id")?.to_owned())
}

/// The bytes of the tables that transfers write to, with their indexes.
async fn stored(server: &BenchServer) -> Result<i64> {
    let mut connection: PgConnection = server.connect(DATABASE).await?;
    let sum =
        format!("select sum(pg_total_relation_size(name::regclass))::bigint from unnest({TABLES}) name");
    let bytes: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sum)).fetch_one(&mut connection).await?;
    connection.close().await?;
    match bytes {
        Some(bytes) => Ok(bytes),
        None => bail!("the tables of accounts are elsewhere"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_of_a_transfer_differ_and_all_accounts_have_their_turn() {
        for accounts in [2, 3, 10, 1_000] {
            let pairs: Vec<_> = (0..10_000).map(|number| pair(number, accounts).unwrap()).collect();
            assert!(pairs.iter().all(|[from, to]| from != to), "{accounts}");
            let mut debited: Vec<_> = pairs.iter().map(|[from, _]| *from).collect();
            debited.sort_unstable();
            debited.dedup();
            assert_eq!(debited.len(), usize::try_from(accounts).unwrap());
        }
    }
}

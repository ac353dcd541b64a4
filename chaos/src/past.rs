//! The parts that `restore`, `lost-tail` and `versions` need beside the fleet. They are clients who remember
//! the answers of both pasts, backups of the database, and the gateway's own account of what stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::history::{Exchange, History};
use super::load::Load;
use super::shops;
use super::till;
use crate::service;

/// How long a client repeats itself.
const PATIENCE: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_millis(100);
/// How many clients post at a time.
const AT_A_TIME: usize = 24;
const PAGE: usize = 1_000;
const CUSTOMER: &str = "chaos";

/// How a purchase must end once its request was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was known at the backup, and succeeds.
    Succeeds,
    /// It was known at the backup, with a void that had started.
    Reversed,
    /// It was held at the backup.
    Held,
    /// It came after the backup: the repeated request adopts the charge.
    Adopted,
    /// The repeated request is for another amount: a person decides.
    AnotherAmount,
    /// The repeated request comes after the gateway has forgotten its key: a person decides.
    KeyForgotten,
}

impl Fate {
    /// Whether its payment came after the backup.
    pub(super) const fn is_forgotten(self) -> bool {
        matches!(self, Self::Adopted | Self::AnotherAmount | Self::KeyForgotten)
    }

    /// Whether that is the end it must have: a status or the reason why it is held, with that many charges
    /// that stand.
    pub(super) fn is_met_by(self, end: &str, charges: usize) -> bool {
        match self {
            Self::Succeeds | Self::Adopted => (end, charges) == ("succeeded", 1),
            Self::Reversed => (end, charges) == ("reversed", 0),
            Self::Held => (end, charges) == ("wrong_answer", 1),
            Self::AnotherAmount => matches!(end, "contradiction" | "wrong_answer") && charges == 1,
            Self::KeyForgotten => (end, charges) == ("restored", 1),
        }
    }
}

/// One purchase of a customer.
#[derive(Debug)]
pub(super) struct Purchase {
    shop: usize,
    pub(super) key: String,
    payment_method: &'static str,
    euros: usize,
    /// Whether the request was changed since.
    pub(super) is_changed: bool,
    pub(super) fate: Fate,
    /// The payment's ids, one for each past.
    pub(super) ids: Vec<String>,
    /// The last answer: when it came, and its hash. None before the first.
    told: Option<(DateTime<Utc>, String)>,
}

impl Purchase {
    /// Puts the last answer into the history, which is to be compared with the last past.
    fn remember(&self, history: &History) -> Result<()> {
        let (at, body) = self.told.as_ref().context("a purchase of which nothing was heard")?;
        history.add(&Exchange {
            at: *at,
            customer_id: CUSTOMER,
            key: &self.key,
            amount: &self.amount(),
            currency: "EUR",
            payment_method: self.payment_method,
            status: Some(202),
            payment_id: self.ids.last().map(String::as_str),
            body_sha256: Some(body.clone()),
        })
    }

    pub(super) const fn new(
        (shop, payment_method): (usize, &'static str),
        key: String,
        number: usize,
        fate: Fate,
    ) -> Self {
        Self {
            shop,
            key,
            payment_method,
            euros: number + 10,
            is_changed: false,
            fate,
            ids: Vec::new(),
            told: None,
        }
    }

    fn amount(&self) -> String {
        format!("{}.{}", self.euros, if self.is_changed { "01" } else { "00" })
    }

    fn body(&self) -> Value {
        json!({
            "amount": self.amount(),
            "currency": "EUR",
            "customer_id": CUSTOMER,
            "payment_method": self.payment_method,
        })
    }
}

/// The programs of all merchants.
pub(super) struct Client {
    http: reqwest::Client,
    apis: Vec<String>,
    secrets: Vec<String>,
}

impl Client {
    pub(super) fn of(fleet: &Fleet) -> Result<Self> {
        let apis = fleet.apis.iter().map(|api| api.address().to_owned()).collect();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { http, apis, secrets: fleet.secrets.clone() })
    }

    /// Posts all purchases, several at a time.
    pub(super) async fn post_all(&self, purchases: &mut [Purchase]) -> Result<()> {
        let posts = purchases.iter_mut().map(|purchase| self.post(purchase));
        futures::stream::iter(posts).buffer_unordered(AT_A_TIME).try_collect().await
    }

    /// Posts a purchase until it is accepted, and remembers the payment's id.
    pub(super) async fn post(&self, purchase: &mut Purchase) -> Result<()> {
        let secret = self.secrets.get(purchase.shop).context("no such merchant")?;
        let began = Instant::now();
        // A client that gets no answer asks the next API.
        for api in self.apis.iter().cycle().skip(purchase.euros % self.apis.len().max(1)) {
            let request = self
                .http
                .post(format!("{api}/v1/payments"))
                .header("x-api-key", secret)
                .header("idempotency-key", &purchase.key)
                .json(&purchase.body());
            let answer = match request.send().await {
                Ok(answer) => Some((answer.status().as_u16(), answer.bytes().await.unwrap_or_default())),
                Err(_) => None,
            };
            match answer {
                Some((202, body)) => {
                    let payment: Value = serde_json::from_slice(&body).unwrap_or_default();
                    purchase.told = Some((Utc::now(), hex::encode(Sha256::digest(&body))));
                    let id = payment["id"].as_str().context("a payment without an id")?.to_owned();
                    if purchase.ids.last() != Some(&id) {
                        purchase.ids.push(id);
                    }
                    return Ok(());
                }
                Some((status @ 400..=499, why)) => {
                    bail!("{} was refused: {status} {}", purchase.key, String::from_utf8_lossy(&why))
                }
                _ if began.elapsed() > PATIENCE => bail!("{} was never accepted: {answer:?}", purchase.key),
                _ => sleep(PAUSE).await,
            }
        }
        bail!("there is no API")
    }
}

/// Puts all purchases into the history and the counts of the run.
pub(super) fn remember_all(load: &Load, bought: &[Purchase]) -> Result<()> {
    bought.iter().try_for_each(|it| it.remember(load.history()))?;
    ensure!(!bought.is_empty(), "nothing was bought");
    for counter in [&load.counts.attempted, &load.counts.acknowledged, &load.counts.ended] {
        counter.fetch_add(bought.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Waits until no more than `but` payments are under way.
pub(super) async fn all_ended(pool: &PgPool, but: i64) -> Result<()> {
    till::until("all payments to end, or to be held", async || {
        let open: i64 = sqlx::query_scalar("select count(*) from payments where due_at is not null")
            .fetch_one(pool)
            .await?;
        Ok(open <= but)
    })
    .await
}

/// Migrates a database by another payonce.
pub(super) async fn migrate_by(program: &Path, database: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("migrate").env("DATABASE_URL", database);
    run(command).await.map(drop)
}

/// Makes a merchant and a key by another payonce, and answers the JSON that it printed.
pub(super) async fn new_key_by(program: &Path, database: &str, merchant: &str) -> Result<Value> {
    let mut command = Command::new(program);
    command.args(["keys", "create", "--merchant", merchant, "--json"]).env("DATABASE_URL", database);
    Ok(serde_json::from_slice(&run(command).await?)?)
}

/// Takes a backup of the database, while others use it.
pub(super) async fn dump(fleet: &Fleet, round: usize) -> Result<PathBuf> {
    let file = fleet.directory.join(format!("backup-{round}"));
    let mut command = Command::new(fleet.database.program("pg_dump")?);
    command.args(["-Fc", "-d", &fleet.database_url(), "-f"]).arg(&file);
    run(command).await?;
    Ok(file)
}

/// Restores a backup into a database of its own, which all processes use from their next start on.
pub(super) async fn restore(fleet: &mut Fleet, dump: &Path, round: usize) -> Result<()> {
    let name = format!("payonce_restored_{round}");
    fleet.database.create(&name).await?;
    let mut command = Command::new(fleet.database.program("pg_restore")?);
    command.args(["--exit-on-error", "-d", &fleet.database.url(&name)]).arg(dump);
    run(command).await?;
    // No process is connected to it before `payonce restored` has run.
    fleet.moves_to(&name).await
}

/// Runs a command of this program against the fleet's database, and answers the JSON that it printed.
pub(super) async fn payonce(fleet: &mut Fleet, arguments: &[&str]) -> Result<Value> {
    shared::database::close(&fleet.pool).await;
    let mut command = Command::new(service::this_program()?);
    command
        .args(arguments)
        .env("DATABASE_URL", fleet.database_url())
        .env("GATEWAY_URL", fleet.gateway.address());
    command
        .envs([("LEASE_MS", "2500"), ("GATEWAY_TIMEOUT_MS", "1000"), ("API_KEY_PEPPER", shops::PEPPER)])
        .env_remove(shared::platform::fault::VARIABLE);
    let printed = run(command).await?;
    fleet.reconnect().await?;
    let text = String::from_utf8_lossy(&printed);
    serde_json::from_str(text.trim()).with_context(|| format!("no JSON: {text}"))
}

async fn run(mut command: Command) -> Result<Vec<u8>> {
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let done = done.context("cannot start a program")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{:?} failed: {}", command.as_std(), said.trim());
    Ok(done.stdout)
}

/// Makes the gateway, which is stopped meanwhile, forget the keys of these payments, as gateways do with
/// old keys.
pub(super) async fn forget_keys(fleet: &Fleet, references: &[String]) -> Result<()> {
    let mut books = PgConnection::connect(&fleet.gateway_url()).await?;
    let forget = "with old as (select distinct key from gateway_charges where reference = any($1)),
                  kept as (insert into gateway_keys select (jsonb_populate_record(k, jsonb_build_object('key', k.key || '~old'))).*
                             from gateway_keys k join old using (key))
                  select count(*) from old";
    let forgotten: i64 = sqlx::query_scalar(forget).bind(references).fetch_one(&mut books).await?;
    ensure!(forgotten == i64::try_from(references.len())?, "the gateway knows {forgotten} of {references:?}");
    let moved = "update gateway_charges set key = key || '~old' where reference = any($1)";
    sqlx::query(moved).bind(references).execute(&mut books).await?;
    let gone =
        "delete from gateway_keys k where exists (select from gateway_keys o where o.key = k.key || '~old')";
    sqlx::query(gone).execute(&mut books).await?;
    books.close().await?;
    Ok(())
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Row>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Row {
    seq: i64,
    kind: String,
    charge_id: Option<String>,
    key: Option<String>,
    reference: Option<String>,
    amount: Option<Decimal>,
}

/// A charge that stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) key: String,
    /// The payment's id, by which the charge is called.
    pub(super) reference: String,
    net: Decimal,
}

/// The charges that stand in the gateway's journal.
pub(super) async fn standing(gateway: &str) -> Result<Vec<Standing>> {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let mut charges: HashMap<String, Standing> = HashMap::new();
    let mut after = 0;
    loop {
        let url = format!("{gateway}/journal?after={after}&limit={PAGE}");
        let page: Page = http.get(url).send().await?.json().await.context("the journal cannot be read")?;
        after = page.data.last().map_or(after, |row| row.seq);
        for row in page.data {
            let (Some(charge), Some(amount)) = (row.charge_id, row.amount) else { continue };
            let effect = match row.kind.as_str() {
                "charge" => amount,
                "void" | "refund" => -amount,
                _ => continue,
            };
            let standing = charges.entry(charge).or_default();
            standing.net += effect;
            if row.kind == "charge" {
                standing.key = row.key.unwrap_or_default();
                standing.reference = row.reference.unwrap_or_default();
            }
        }
        if !page.has_more {
            break;
        }
    }
    Ok(charges.into_values().filter(|charge| charge.net > Decimal::ZERO).collect())
}

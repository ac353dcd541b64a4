//! The auditors: they look at the book while everything breaks, and read all of it in the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout};

use super::{Bank, Fate, KEPT, amount, cents};

/// The pause of an auditor between two looks.
const PAUSE: Duration = Duration::from_millis(25);
/// How long a look at the whole book may take. Where the database is away, the next one comes.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a read is repeated in the end, and how many are read at a time.
const PATIENCE: Duration = Duration::from_secs(60);
const AT_A_TIME: usize = 16;

/// An account as it was shown once.
#[derive(Debug, Clone)]
pub(super) struct View {
    account: String,
    shown: Value,
}

impl View {
    fn amount(&self, field: &str) -> Option<i64> {
        cents(self.shown[field].as_str()?)
    }

    fn version(&self) -> i64 {
        self.shown["version"].as_i64().unwrap_or_default()
    }

    /// The path by which the same is shown for ever.
    fn path(&self) -> Option<String> {
        Some(format!("/v1/accounts/{}?at={}", self.account, self.shown["updated_at"].as_str()?))
    }

    /// Whether it is no balance that an account can have.
    fn is_impossible(&self) -> bool {
        let read = || {
            let [posted, out, available] =
                ["posted", "pending_out", "available"].map(|field| self.amount(field));
            let owes = self.shown["allow_negative"] == false && available? < 0;
            Some(owes || posted? - out? != available?)
        };
        read().unwrap_or(true)
    }
}

/// Looks at the book until it closes.
pub(super) async fn watch(bank: Arc<Bank>, pool: PgPool, number: u64) {
    let mut dice = StdRng::seed_from_u64(bank.seed.wrapping_mul(37).wrapping_add(number));
    let mut versions: HashMap<String, i64> = HashMap::new();
    while !bank.is_closing.load(Ordering::Relaxed) {
        look_at_all(&bank, &pool).await;
        let account = bank.accounts[dice.random_range(0..bank.accounts.len())].clone();
        look_at(&bank, account, &mut versions).await;
        sleep(PAUSE).await;
    }
}

/// Whether the sums are zero in one snapshot of the whole book, and how many customers owe.
const SNAPSHOT: &str = "
    select coalesce(sum(credits_posted - debits_posted), 0) = 0, coalesce(sum(credits_pending - debits_pending), 0) = 0,
           count(*) filter (where not allow_negative and credits_posted - debits_posted - debits_pending < 0)
      from accounts";

async fn look_at_all(bank: &Bank, pool: &PgPool) {
    let read = timeout(SNAPSHOT_PATIENCE, sqlx::query_as::<_, (bool, bool, i64)>(SNAPSHOT).fetch_one(pool));
    let Ok(Ok((is_whole, is_matched, owing))) = read.await else { return };
    bank.snapshots.fetch_add(1, Ordering::Relaxed);
    if !is_whole || !is_matched || owing > 0 {
        let seen = format!(
            "posted sums to zero: {is_whole}, reserved too: {is_matched}, customers who owe: {owing}"
        );
        bank.wrong(format_args!("a snapshot of the book shows what must not be: {seen}"));
    }
}

/// Reads an account, and how it stood at the time of its last entry, which must be the same.
async fn look_at(bank: &Bank, account: String, versions: &mut HashMap<String, i64>) {
    let Some(shown) = bank.teller.read(&format!("/v1/accounts/{account}")).await else { return };
    let view = View { account, shown };
    if view.is_impossible() {
        bank.wrong(format_args!("an account is shown as {}", view.shown));
    }
    let seen = versions.insert(view.account.clone(), view.version()).unwrap_or_default();
    if view.version() < seen {
        bank.wrong(format_args!("version {seen} was shown before {}", view.shown));
    }
    let Some(path) = view.path() else { return };
    let Some(past) = bank.teller.read(&path).await else { return };
    if past != view.shown {
        bank.wrong(format_args!("{} is shown as {past} by {path}", view.shown));
    }
    let mut known = bank.known();
    if known.views.len() < KEPT {
        known.views.push(view);
    }
}

/// Reads until there is an answer: in the end everything is whole again.
async fn read(bank: &Bank, path: &str) -> Result<Value> {
    let began = Instant::now();
    loop {
        match bank.teller.read(path).await {
            Some(read) => return Ok(read),
            None if began.elapsed() < PATIENCE => sleep(PAUSE).await,
            None => anyhow::bail!("GET {path} has no answer"),
        }
    }
}

/// Does it for each, some at a time.
async fn for_each<T>(all: Vec<T>, one: impl AsyncFn(T) -> Result<()>) -> Result<()> {
    let mut doing = stream::iter(all).map(|it| one(it)).buffer_unordered(AT_A_TIME);
    while let Some(done) = doing.next().await {
        done?;
    }
    Ok(())
}

/// Each account has what its clerks were told, and nothing is reserved any more.
pub(super) async fn balances(bank: &Bank) -> Result<()> {
    let expected = bank.known().balances.clone();
    let mut sum = 0;
    for (account, expected) in expected {
        let shown = read(bank, &format!("/v1/accounts/{account}")).await?;
        let has = ["posted", "pending_in", "pending_out"].map(|field| shown[field].as_str().and_then(cents));
        sum += has[0].unwrap_or_default();
        if has != [Some(expected), Some(0), Some(0)] {
            bank.wrong(format_args!("{shown} must have {} by what clerks were told", amount(expected)));
        }
    }
    if sum != 0 {
        bank.wrong(format_args!("{} were made or lost", amount(sum)));
    }
    Ok(())
}

/// Each hold ended as its clerk was told.
pub(super) async fn holds(bank: &Bank) -> Result<()> {
    let holds: Vec<_> = bank.known().holds.clone().into_iter().collect();
    for_each(holds, async |(hold, (fate, _))| {
        let shown = read(bank, &format!("/v1/transfers/{hold}")).await?;
        let posted = shown["posted_amount"].as_str().and_then(cents);
        let is_so = match fate {
            Fate::Posted(cents) => shown["status"] == "posted" && posted == Some(cents),
            Fate::Voided => shown["status"] == "voided" && posted.is_none(),
            Fate::Expired => shown["status"] == "expired" && posted.is_none(),
        };
        if !is_so {
            bank.wrong(format_args!("{shown} must be {fate:?} by what its clerk was told"));
        }
        Ok(())
    })
    .await
}

/// Each request that was kept is answered as before.
pub(super) async fn answers(bank: &Bank) -> Result<()> {
    let told = bank.known().told.clone();
    for_each(told, async |(asked, before)| {
        let again = bank.teller.insist(&asked).await.context("the bank gave up")?;
        // What made no sense is remembered by nobody, and may be told by another reason.
        if again != before && before.status != 400 {
            bank.wrong(format_args!("{asked} was answered {before}, and later {again}"));
        }
        Ok(())
    })
    .await
}

/// The entries of each account add up, and every view that was told is one of them, now as then.
pub(super) async fn histories(bank: &Bank) -> Result<()> {
    let mut versions: HashMap<String, BTreeMap<i64, Value>> = HashMap::new();
    for account in &bank.accounts {
        let entries = entries(bank, account).await?;
        fold(bank, account, &entries);
        let each = entries.into_iter().filter_map(|entry| Some((entry["version"].as_i64()?, entry)));
        versions.insert(account.clone(), each.collect());
    }
    let (views, versions) = (bank.known().views.clone(), &versions);
    for_each(views, async |view| {
        let entry = versions.get(&view.account).and_then(|all| all.get(&view.version()));
        let fields = ["posted", "pending_in", "pending_out", "available"];
        let is_entry = entry.is_some_and(|entry| {
            fields.iter().all(|field| entry[*field] == view.shown[*field])
                && entry["at"] == view.shown["updated_at"]
        });
        if !is_entry && view.version() > 0 {
            bank.wrong(format_args!("{} was shown, and its entry is {entry:?}", view.shown));
        }
        let Some(path) = view.path() else { return Ok(()) };
        let again = read(bank, &path).await?;
        if again != view.shown {
            bank.wrong(format_args!("{} was shown, and {again} later by {path}", view.shown));
        }
        Ok(())
    })
    .await
}

/// All entries of an account, oldest first.
async fn entries(bank: &Bank, account: &str) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map_or(0, |entry| entry["version"].as_i64().unwrap_or_default());
        let path = format!("/v1/accounts/{account}/entries?limit=100&starting_after={after}");
        let mut page = read(bank, &path).await?;
        let data = page["data"].as_array_mut().context("a page without data")?;
        all.append(data);
        if page["has_more"] != true {
            return Ok(all);
        }
    }
}

/// Follows an account from nothing, entry by entry. The first that does not follow is told.
fn fold(bank: &Bank, account: &str, entries: &[Value]) {
    let mut reserved: HashMap<&str, i64> = HashMap::new();
    let (mut posted, mut pending_in, mut pending_out) = (0, 0, 0);
    for (number, entry) in (1..).zip(entries) {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        let moved = cents(text("amount")).unwrap_or_default();
        let (transfer, is_debit) = (text("transfer"), text("side") == "debit");
        let (sum, held) = match text("type") {
            "transfer" => (moved, 0),
            "pending" => {
                reserved.insert(transfer, moved);
                (0, moved)
            }
            "post" => (moved, -reserved.remove(transfer).unwrap_or_default()),
            _ => (0, -reserved.remove(transfer).unwrap_or_default()),
        };
        posted += if is_debit { -sum } else { sum };
        *(if is_debit { &mut pending_out } else { &mut pending_in }) += held;
        let told = ["posted", "pending_in", "pending_out", "available"].map(|field| cents(text(field)));
        let follows = told == [Some(posted), Some(pending_in), Some(pending_out), Some(posted - pending_out)];
        let is_funding = bank.accounts.last().is_some_and(|funding| funding == account);
        let owes = !is_funding && posted - pending_out < 0;
        if !follows || owes || entry["version"] != number {
            let sums = [posted, pending_in, pending_out].map(amount).join(", ");
            return bank
                .wrong(format_args!("entry {number} of {account} must come to {sums}, and is {entry}"));
        }
    }
}

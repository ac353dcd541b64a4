//! The bank: a merchant's book of accounts, and clerks who move money in it while everything around them
//! breaks. The bank remembers what it was told, and reads the book against that.
//!
//! Must hold: money is neither made nor lost, and no customer owes at any moment that was committed. Each
//! request has one effect and one answer for ever. A hold ends once. What was told of the past stays true.

mod auditor;
mod clerk;
mod teller;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use self::auditor::View;
use self::teller::{Answer, Asked, Teller};
use super::faults::Measured;
use super::fleet::{ADMIN_KEY, Fleet};
use super::plan::{Plan, Trait};
use super::till;

/// How many customers have an account, and how many clerks move money between them. So few that most
/// movements meet others.
const CUSTOMERS: usize = 8;
const CLERKS: u64 = 8;
const AUDITORS: u64 = 2;
/// What each customer begins with, in cents.
const FIRST_FUNDS: i64 = 10_000;
/// How many answers and views are kept, to be asked for once more in the end.
const KEPT: usize = 5_000;
/// How many contradictions are told. More would be the same again.
const WRONGS: usize = 20;
/// After this time without any answer, nothing will be answered.
const STALLED: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What must become of a hold, as its clerk was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// That many cents of it were posted.
    Posted(i64),
    Voided,
    /// Nobody ended it in time.
    Expired,
}

/// What the bank knows.
#[derive(Debug, Default)]
struct Known {
    /// What each account must have, in cents, by what clerks were told.
    balances: HashMap<String, i64>,
    /// The holds, with the cents that each reserves.
    holds: HashMap<String, (Fate, i64)>,
    /// How many transfers clerks were told of.
    transfers: u64,
    /// Requests whose answers must stay as they are.
    told: Vec<(Asked, Answer)>,
    /// Accounts as they were shown.
    views: Vec<View>,
    wrong: Vec<String>,
}

/// A book, its clerks and its auditors.
#[derive(Debug)]
pub(super) struct Bank {
    teller: Teller,
    /// The customers' accounts. The last one is that by which they are funded.
    accounts: Vec<String>,
    seed: u64,
    known: Mutex<Known>,
    /// Requests that got an answer which decides them, and snapshots of the whole book.
    answered: AtomicU64,
    snapshots: AtomicU64,
    is_enough: AtomicBool,
    is_closing: AtomicBool,
    clerks: TaskTracker,
    auditors: TaskTracker,
}

impl Bank {
    /// Opens the book, if the scenario has one, and lets everybody begin.
    ///
    /// # Errors
    /// The accounts could not be opened or funded.
    pub(super) async fn start(plan: &Plan, fleet: &Fleet) -> Result<Option<Arc<Self>>> {
        if !plan.scenario.has(Trait::Banks) {
            return Ok(None);
        }
        let apis = fleet.apis.iter().map(|api| api.address().to_owned()).collect();
        let secret = fleet.secrets.first().context("a bank without a merchant")?;
        let merchant = fleet.merchants.first().context("a bank without a merchant")?;
        let teller = Teller::new(apis, secret.clone())?;
        let mut accounts = Vec::new();
        for number in 0..CUSTOMERS {
            let body = json!({ "currency": "EUR", "owner": format!("customer-{number}") });
            accounts
                .push(opened(&teller, &Asked::new("/v1/accounts", &format!("open-{number}"), body)).await?);
        }
        let body = json!({ "currency": "EUR", "owner": "the bank", "allow_negative": true });
        let admin = Teller::new(vec![fleet.apis[0].address().to_owned()], ADMIN_KEY.to_owned())?;
        let path = format!("/v1/merchants/{merchant}/accounts");
        accounts.push(opened(&admin, &Asked::new(&path, "open-funding", body)).await?);
        let bank = Arc::new(Self {
            teller,
            known: Mutex::new(Known {
                balances: accounts.iter().map(|account| (account.clone(), 0)).collect(),
                ..Known::default()
            }),
            accounts,
            seed: plan.seed,
            answered: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            is_enough: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            clerks: TaskTracker::new(),
            auditors: TaskTracker::new(),
        });
        bank.fund().await?;
        for number in 0..CLERKS {
            bank.clerks.spawn(clerk::work(bank.clone(), number));
        }
        for number in 0..AUDITORS {
            bank.auditors.spawn(auditor::watch(bank.clone(), fleet.pool.clone(), number));
        }
        Ok(Some(bank))
    }

    async fn fund(&self) -> Result<()> {
        let [customers @ .., funding] = self.accounts.as_slice() else { return Ok(()) };
        for (number, account) in customers.iter().enumerate() {
            let movement = Movement { from: funding.clone(), to: account.clone(), cents: FIRST_FUNDS };
            let asked = Asked::new("/v1/transfers", &format!("fund-{number}"), movement.body());
            let answer = self.ask(&asked).await.context("the bank gave up")?;
            ensure!(answer.status == 201, "{asked} was answered {answer}");
            self.happened(&[movement]);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, what: impl Display) {
        let mut known = self.known();
        if known.wrong.len() < WRONGS {
            known.wrong.push(format!("bank: {what}"));
        }
    }

    /// Notes that these movements took place.
    fn happened(&self, movements: &[Movement]) {
        let mut known = self.known();
        for Movement { from, to, cents } in movements {
            known.transfers += 1;
            known.move_cents(from, to, *cents);
        }
    }

    /// Asks until there is an answer that decides the request, and keeps that. None if the bank gave up.
    async fn ask(&self, asked: &Asked) -> Option<Answer> {
        let answer = self.teller.insist(asked).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known();
        if known.told.len() < KEPT {
            known.told.push((asked.clone(), answer.clone()));
        }
        Some(answer)
    }

    /// Ends all clerks, each once its last request is decided. Then the book is read against what they were
    /// told. Answers figures, and what must not be.
    pub(super) async fn close(self: Arc<Self>, pool: &PgPool, goes_on: bool) -> (Measured, Vec<String>) {
        self.is_enough.store(true, Ordering::Relaxed);
        self.clerks.close();
        if !goes_on || !self.clerks_end().await {
            self.teller.give_up();
            self.clerks.wait().await;
        }
        self.is_closing.store(true, Ordering::Relaxed);
        self.auditors.close();
        self.auditors.wait().await;
        if !self.teller.gave_up()
            && let Err(why) = self.audit(pool).await
        {
            self.wrong(format_args!("the book cannot be read: {why:#}"));
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        if read(&self.snapshots) == 0 {
            self.wrong("nobody looked at the book while something was broken, so nothing was shown");
        }
        let known = self.known();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let expired = known.holds.values().filter(|(fate, _)| *fate == Fate::Expired).count();
        let figures = [
            ("requests of the bank decided", read(&self.answered)),
            ("requests of the bank repeated without an answer", self.teller.repeated()),
            ("transfers", known.transfers),
            ("holds", count(known.holds.len())),
            ("holds expired", count(expired)),
            ("views of accounts that stayed true", count(known.views.len())),
            ("snapshots of the whole book", read(&self.snapshots)),
        ];
        let figures = figures.into_iter().map(|(name, figure)| (format!("bank: {name}"), figure)).collect();
        (figures, known.wrong.clone())
    }

    /// Waits until each clerk has its last answer. False, and told of, if no answer comes any more.
    async fn clerks_end(&self) -> bool {
        let (mut answered, mut at) = (0, Instant::now());
        while !self.clerks.is_empty() {
            let now = self.answered.load(Ordering::Relaxed);
            if now != answered {
                (answered, at) = (now, Instant::now());
            } else if at.elapsed() > STALLED {
                self.wrong(format_args!("no request was decided for {} s", STALLED.as_secs()));
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Reads the whole book against what was told of it.
    async fn audit(&self, pool: &PgPool) -> Result<()> {
        till::until("all holds to end", async || {
            Ok(till::count(pool, "select count(*) from transfers where status = 'pending'").await? == 0)
        })
        .await?;
        auditor::balances(self).await?;
        auditor::holds(self).await?;
        auditor::answers(self).await?;
        auditor::histories(self).await?;
        let recorded = till::count(pool, "select count(*) from transfers").await?.unsigned_abs();
        let told = self.known().transfers;
        if recorded != told {
            self.wrong(format_args!("{recorded} transfers are recorded, and clerks were told of {told}"));
        }
        Ok(())
    }
}

impl Known {
    fn move_cents(&mut self, from: &str, to: &str, cents: i64) {
        *self.balances.entry(from.to_owned()).or_default() -= cents;
        *self.balances.entry(to.to_owned()).or_default() += cents;
    }
}

/// An account, opened by that request.
async fn opened(teller: &Teller, asked: &Asked) -> Result<String> {
    let answer = teller.insist(asked).await.context("the bank gave up")?;
    ensure!(answer.status == 201, "{asked} was answered {answer}");
    Ok(answer.text("id"))
}

/// Money from one account to another.
#[derive(Debug, Clone)]
struct Movement {
    from: String,
    to: String,
    cents: i64,
}

impl Movement {
    fn body(&self) -> Value {
        json!({ "from": self.from, "to": self.to, "amount": amount(self.cents), "currency": "EUR" })
    }
}

/// Cents as clients write an amount.
fn amount(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// An amount of an answer in cents.
fn cents(amount: &str) -> Option<i64> {
    let (whole, part) = amount.split_once('.')?;
    let unsigned = format!("{}{part}", whole.trim_start_matches('-')).parse::<i64>().ok()?;
    (part.len() == 2).then_some(if whole.starts_with('-') { -unsigned } else { unsigned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_read_as_they_are_written() {
        for number in [0, 1, -1, 99, 100, -100, 12_345, -60_007] {
            assert_eq!(cents(&amount(number)), Some(number));
        }
        assert_eq!((cents("1"), cents("1.5"), cents("x.00"), cents("")), (None, None, None, None));
    }
}

//! The books in Postgres: loads the states of some keys, and writes what a batch changed.
//!
//! Invariant: a batch is one autocommit statement. So it is there whole or not at all, and it is durable when
//! the statement returns. Only the holder of the books' advisory lock reads or writes here, so nothing
//! changes between the load and the write.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use crate::act::{Act, ActStatus};
use crate::batch::{Batch, Changes};
use crate::book::{Asked, Charge, ChargeStatus, Decline, KeyState};
use crate::refund::{Refund, RefundRefusal, RefundStatus};

/// "payonce gateway books", as a number nobody else uses.
const BOOKS_LOCK: i64 = 0x7061_796f_6e63_6701;

/// How to reach the database at `url`, committing durably whatever the server's default is.
///
/// Scans and hash joins are off, because a fresh table grows by thousands of rows a second before the first
/// analyze. A plan made for ten rows would read all of them for every batch.
pub(crate) fn connect_options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let options =
        PgConnectOptions::from_str(url).context("the gateway's database url is not a Postgres url")?;
    Ok(options.application_name("simgateway").options([
        ("synchronous_commit", "on"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]))
}

/// What the calls of a batch name.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) keys: Vec<String>,
    pub(crate) charge_ids: Vec<String>,
    pub(crate) refund_keys: Vec<String>,
    pub(crate) act_ids: Vec<String>,
    /// Whether it matters what was given back of the charges.
    pub(crate) gives_back: bool,
}

/// The only connection that writes the books. It holds their lock for as long as it lives.
#[derive(Debug)]
pub(crate) struct Books(PgConnection);

impl Books {
    /// Opens the books, waiting up to `patience` for another holder to release them. None if it did not.
    ///
    /// The wait is for a predecessor that was killed: its server process takes a moment to notice.
    pub(crate) async fn open(
        options: &PgConnectOptions,
        patience: Duration,
    ) -> anyhow::Result<Option<Books>> {
        let connected = options.connect().await;
        let mut connection = connected.context("cannot connect to the gateway's database")?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if lock_books(&mut connection).await? {
                return Ok(Some(Books(connection)));
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Brings the tables up to date.
    pub(crate) async fn migrate(&mut self) -> anyhow::Result<()> {
        sqlx::migrate!("./migrations").run(&mut self.0).await.context("cannot migrate the gateway's database")
    }

    /// The name of the account that all charges go to.
    pub(crate) async fn account(&mut self) -> anyhow::Result<String> {
        sqlx::query_scalar!("select name from gateway_account")
            .fetch_one(&mut self.0)
            .await
            .context("cannot read the gateway's account")
    }

    /// A batch with the states of what is wanted, and of all keys with something due.
    pub(crate) async fn load(&mut self, wanted: &Wanted) -> anyhow::Result<Batch> {
        let Wanted { keys, charge_ids, refund_keys, act_ids, gives_back } = wanted;
        let rows = sqlx::query_file_as!(Row, "queries/load_keys.sql", keys, charge_ids, refund_keys, act_ids)
            .fetch_all(&mut self.0)
            .await
            .context("cannot load keys")?;
        let now = rows.first().context("the load gave no row")?.now;
        let mut states = states(rows)?;
        if *gives_back {
            self.load_refunds(&mut states).await?;
        }
        Ok(Batch::new(now, states))
    }

    /// Adds the refunds, returns and disputes of these charges, which few have.
    async fn load_refunds(&mut self, states: &mut [KeyState]) -> anyhow::Result<()> {
        let charges: Vec<String> =
            states.iter().flat_map(|state| &state.charges).map(|charge| charge.id.clone()).collect();
        if charges.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query_file_as!(RefundRow, "queries/load_refunds.sql", &charges)
            .fetch_all(&mut self.0)
            .await
            .context("cannot load refunds")?;
        for row in rows {
            let refund = row.refund().context("a refund in the books is incomplete")?;
            let holds = |state: &&mut KeyState| state.charges.iter().any(|it| it.id == refund.charge_id);
            if let Some(state) = states.iter_mut().find(holds) {
                state.refunds.push(refund);
            }
        }
        let rows = sqlx::query_file_as!(ActRow, "queries/load_acts.sql", &charges)
            .fetch_all(&mut self.0)
            .await
            .context("cannot load returns and disputes")?;
        for row in rows {
            let act = row.act().context("a return or dispute in the books is incomplete")?;
            let holds = |state: &&mut KeyState| state.charges.iter().any(|it| it.id == act.charge_id);
            if let Some(state) = states.iter_mut().find(holds) {
                state.acts.push(act);
            }
        }
        Ok(())
    }

    /// Commits what a batch changed.
    pub(crate) async fn write(&mut self, changes: &Changes<'_>) -> anyhow::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let keys = KeyColumns::from(changes.keys.as_slice());
        let charges = &changes.charges;
        let (refunds, acts) = (&changes.refunds, &changes.acts);
        let journal = changes.journal;
        let money = || journal.iter().map(|entry| entry.money.as_ref());
        sqlx::query_file!(
            "queries/write_batch.sql",
            &keys.key as _,
            &keys.amount as _,
            &keys.currency as _,
            &keys.payment_method as _,
            &keys.charge_calls,
            &keys.lookup_calls,
            &keys.closed,
            &column(charges, |c| c.id.as_str()) as _,
            &column(charges, |c| c.key.as_str()) as _,
            &column(charges, |c| c.status.as_str()) as _,
            &column(charges, |c| c.amount),
            &column(charges, |c| c.currency.as_str()) as _,
            &column(charges, |c| c.reference.as_str()) as _,
            &column(charges, |c| c.decline.map(Decline::as_str)) as _,
            &column(charges, |c| c.decide_at) as _,
            &column(charges, |c| c.created_at),
            changes.at,
            &column(journal, |e| e.kind.as_str()) as _,
            &column(journal, |e| e.op.as_str()) as _,
            &column(journal, |e| e.http_status.map(i32::from)) as _,
            &column(journal, |e| e.key.as_deref()) as _,
            &column(journal, |e| e.charge_id.as_deref()) as _,
            &money().map(|m| m.map(|(amount, _)| *amount)).collect::<Vec<_>>() as _,
            &money().map(|m| m.map(|(_, currency)| currency.as_str())).collect::<Vec<_>>() as _,
            &column(journal, |e| e.reference.as_deref()) as _,
            &column(journal, |e| e.correlation_id.as_deref()) as _,
            &column(refunds, |r| r.id.as_str()) as _,
            &column(refunds, |r| r.key.as_str()) as _,
            &column(refunds, |r| r.charge_id.as_str()) as _,
            &column(refunds, |r| r.status.as_str()) as _,
            &column(refunds, |r| r.amount),
            &column(refunds, |r| r.currency.as_str()) as _,
            &column(refunds, |r| r.reference.as_str()) as _,
            &column(refunds, |r| r.refusal.map(RefundRefusal::as_str)) as _,
            &column(refunds, |r| r.calls),
            &column(refunds, |r| r.created_at),
            &column(journal, |e| e.act_key.as_deref()) as _,
            &column(journal, |e| e.act_id.as_deref()) as _,
            &column(acts, |a| a.id.as_str()) as _,
            &column(acts, |a| a.charge_id.as_str()) as _,
            &column(acts, |a| a.status.as_str()) as _,
            &column(acts, |a| a.amount),
            &column(acts, |a| a.currency.as_str()) as _,
            &column(acts, |a| a.created_at),
        )
        .execute(&mut self.0)
        .await
        .context("cannot write a batch")?;
        Ok(())
    }

    /// Closes the connection, and so releases the books.
    pub(crate) async fn close(self) {
        if let Err(error) = self.0.close().await {
            tracing::debug!("closing the books: {error}");
        }
    }
}

async fn lock_books(connection: &mut PgConnection) -> anyhow::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "is_locked!""#, BOOKS_LOCK)
        .fetch_one(connection)
        .await
        .context("cannot ask for the lock on the books")
}

fn column<'a, T, C>(rows: &'a [T], of: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(of).collect()
}

/// The columns of the keys to write.
#[derive(Default)]
struct KeyColumns<'a> {
    key: Vec<&'a str>,
    amount: Vec<Option<Decimal>>,
    currency: Vec<Option<&'a str>>,
    payment_method: Vec<Option<&'a str>>,
    charge_calls: Vec<i32>,
    lookup_calls: Vec<i32>,
    closed: Vec<bool>,
}

impl<'a> From<&[&'a KeyState]> for KeyColumns<'a> {
    fn from(states: &[&'a KeyState]) -> KeyColumns<'a> {
        let mut columns = KeyColumns::default();
        for state in states {
            let asked = state.asked.as_ref();
            columns.key.push(&state.key);
            columns.amount.push(asked.map(|asked| asked.amount));
            columns.currency.push(asked.map(|asked| asked.currency.as_str()));
            columns.payment_method.push(asked.map(|asked| asked.payment_method.as_str()));
            columns.charge_calls.push(state.charge_calls);
            columns.lookup_calls.push(state.lookup_calls);
            columns.closed.push(state.closed);
        }
        columns
    }
}

/// One charge of one wanted key; a key without charges and a load without keys have one row too.
struct Row {
    now: DateTime<Utc>,
    key: Option<String>,
    asked_amount: Option<Decimal>,
    asked_currency: Option<String>,
    asked_payment_method: Option<String>,
    charge_calls: Option<i32>,
    lookup_calls: Option<i32>,
    closed: Option<bool>,
    charge_id: Option<String>,
    status: Option<String>,
    amount: Option<Decimal>,
    currency: Option<String>,
    reference: Option<String>,
    decline_code: Option<String>,
    decide_at: Option<DateTime<Utc>>,
    created_at: Option<DateTime<Utc>>,
}

/// The states in `rows`, which come sorted by key and age.
fn states(rows: Vec<Row>) -> anyhow::Result<Vec<KeyState>> {
    let mut states: Vec<KeyState> = Vec::new();
    for mut row in rows {
        let Some(key) = row.key.take() else { continue };
        if states.last().is_none_or(|state| state.key != key) {
            states.push(key_state(&mut row, key).context("a key in the books is incomplete")?);
        }
        let Some(state) = states.last_mut() else { continue };
        if let Some(id) = row.charge_id.take() {
            let charge = charge(row, id, state.key.clone());
            state.charges.push(charge.context("a charge in the books is incomplete")?);
        }
    }
    Ok(states)
}

fn key_state(row: &mut Row, key: String) -> Option<KeyState> {
    let asked = match row.asked_amount {
        None => None,
        Some(amount) => Some(Asked {
            amount,
            currency: row.asked_currency.take()?,
            payment_method: row.asked_payment_method.take()?,
        }),
    };
    Some(KeyState {
        key,
        asked,
        charge_calls: row.charge_calls?,
        lookup_calls: row.lookup_calls?,
        closed: row.closed?,
        charges: Vec::new(),
        refunds: Vec::new(),
        acts: Vec::new(),
    })
}

fn charge(row: Row, id: String, key: String) -> Option<Charge> {
    let decline = match row.decline_code {
        None => None,
        Some(word) => Some(Decline::parse(&word)?),
    };
    Some(Charge {
        id,
        key,
        status: ChargeStatus::parse(&row.status?)?,
        amount: row.amount?,
        currency: row.currency?,
        reference: row.reference?,
        decline,
        decide_at: row.decide_at,
        created_at: row.created_at?,
    })
}

struct RefundRow {
    id: String,
    key: String,
    charge_id: String,
    status: String,
    amount: Decimal,
    currency: String,
    reference: String,
    refusal_code: Option<String>,
    calls: i32,
    created_at: DateTime<Utc>,
}

impl RefundRow {
    fn refund(self) -> Option<Refund> {
        let refusal = match self.refusal_code {
            None => None,
            Some(word) => Some(RefundRefusal::parse(&word)?),
        };
        Some(Refund {
            id: self.id,
            key: self.key,
            charge_id: self.charge_id,
            status: RefundStatus::parse(&self.status)?,
            amount: self.amount,
            currency: self.currency,
            reference: self.reference,
            refusal,
            calls: self.calls,
            created_at: self.created_at,
        })
    }
}

struct ActRow {
    id: String,
    charge_id: String,
    status: String,
    amount: Decimal,
    currency: String,
    created_at: DateTime<Utc>,
}

impl ActRow {
    fn act(self) -> Option<Act> {
        Some(Act {
            id: self.id,
            charge_id: self.charge_id,
            status: ActStatus::parse(&self.status)?,
            amount: self.amount,
            currency: self.currency,
            created_at: self.created_at,
        })
    }
}

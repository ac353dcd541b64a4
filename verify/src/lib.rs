//! `payonce verify`: joins our books with the gateway's, and says whether anything was charged twice, lost
//! or forgotten.
//!
//! It is an independent reader, for people who do not trust the rest. It selects from our tables and gets the
//! gateway's journal, and uses none of the code that writes either. A test holds it to that.
//!
//! It reads our books first, then the journal to its end, then every suspect again. A payment that moved in
//! between is no violation, so the check can be run at any time.

mod accounts;
mod acknowledged;
mod amount;
mod by_hand;
mod connect;
mod decided;
mod events;
mod fold;
mod gateways;
mod idempotency;
mod journal;
mod ledger;
mod liveness;
mod ours;
mod outage;
mod past;
mod refunds;
mod register;
mod report;
mod stand;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use sqlx::PgPool;
use terminal::{environment, output, progress};
use uuid::Uuid;

use crate::acknowledged::Clients;
use crate::journal::Journal;
use crate::liveness::{Liveness, Rule};
use crate::refunds::Refunds;
use crate::register::Register;
use crate::report::{Check, Report, Unproven};

/// The exit codes besides 0, which means that nothing was found.
const VIOLATIONS: u8 = 1;
const CALLED_WRONGLY: u8 = 2;
const FOR_A_PERSON: u8 = 3;

/// How many suspects are looked at again by one statement.
const SUSPECTS: usize = 1_000;

/// Check our books against the gateway's: nothing charged twice, lost or forgotten
///
/// Reads the database and the gateway's journal, and writes nothing. Safe to run at any time, also under
/// load. It makes ten checks. `charge`: the gateway took what the payments say. `refunds`: it gave back what
/// was asked for, once, and no more than was taken. `ledger`: each success is
/// posted once. `accounts`: each balance is what its entries add up to, and each book adds up to nothing.
/// `events`: what happened is told once, and to each endpoint. `history`: the events make the payments.
/// `by_hand`: what people decided is borne out. `idempotency`: each payment has one key. `liveness`: no
/// payment is forgotten, or only taken over again and again.
/// `acknowledged`, with --history: what clients were told is there.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  payonce verify --database-url postgres://user:password@localhost/payonce --gateway-url http://127.0.0.1:8090

Exit codes: 0 clean; 1 violations, or it could not be checked (then standard output is empty); 2 called wrongly;
3 no violations, but something waits for a person, also what one ended without proof and the gateway's journal refutes;
or payments have waited for longer than --grace, and only because every worker finds the gateway away.")]
pub struct Args {
    /// Payonce's database; without it, `DATABASE_URL`
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The payment gateway, or NAME=URL for each of several; without it, `GATEWAY_URL` or the file in
    /// `GATEWAYS`
    #[arg(long, value_name = "URL")]
    gateway_url: Vec<String>,
    /// What clients were told, as JSON lines: their complete history
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How long a payment may be due before it counts as forgotten; the default outlasts a lease and a
    /// gateway's pause
    ///
    /// A charge that workers are to have voided may stand for as long after its payment's end.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    grace: u32,
    /// How far in the future a payment may be due, at most; more than the longest wait or lease that is set
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    longest_wait: u32,
    /// Demand that nothing is under way: each payment over or held, no void to come, no job left
    #[arg(long)]
    at_rest: bool,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// Prints the report, and tells its result by the exit code.
///
/// # Errors
/// It could not be checked.
pub async fn run(args: Args) -> Result<ExitCode> {
    let (database, mut journals, clients) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(error) => {
            progress::say(&format!("error: {error:#}"));
            return Ok(ExitCode::from(CALLED_WRONGLY));
        }
    };
    let pool = connect::connect(&database).await?;
    gateways::require_all(&pool, &journals).await?;
    for journal in &journals {
        journal.reach().await?;
    }
    let rule = Rule { grace_s: args.grace, longest_wait_s: args.longest_wait, at_rest: args.at_rest };
    let report = Checks::new(rule, clients).run(&pool, &mut journals).await?;
    pool.close().await;
    if args.json {
        output::json(&report)?;
    } else {
        report.print()?;
    }
    Ok(match (report.violations, report.for_a_person() + report.held_back) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(FOR_A_PERSON),
        _ => ExitCode::from(VIOLATIONS),
    })
}

/// The database, the journal and the history that the arguments ask for, before any of the servers is asked.
fn prepare(args: &Args) -> Result<(String, Vec<Journal>, Option<Clients>)> {
    let database = given(args.database_url.as_ref(), "DATABASE_URL");
    let database =
        database.context("give --database-url, or set DATABASE_URL (payonce dev --json prints it)")?;
    let journals = gateways::journals(&args.gateway_url)?;
    let clients = args.history.as_deref().map(Clients::read).transpose()?;
    Ok((database, journals, clients))
}

fn given(option: Option<&String>, variable: &str) -> Option<String> {
    option.cloned().filter(|value| !value.is_empty()).or_else(|| environment::value(variable))
}

/// Everything that is known so far.
#[derive(Debug)]
struct Checks {
    rule: Rule,
    register: Register,
    charge: Check,
    refunds: Refunds,
    refund: Check,
    clients: Option<Clients>,
    ledger: Check,
    accounts: Check,
    events: Check,
    history: Check,
    by_hand: Check,
    idempotency: Check,
    liveness: Liveness,
    succeeded: u64,
    transfers: usize,
}

impl Checks {
    fn new(rule: Rule, clients: Option<Clients>) -> Self {
        Self {
            rule,
            register: Register::default(),
            charge: Check::new("charge"),
            refunds: Refunds::default(),
            refund: Check::new("refunds"),
            clients,
            ledger: Check::new("ledger"),
            accounts: Check::new("accounts"),
            events: Check::new("events"),
            history: Check::new("history"),
            by_hand: Check::new("by_hand"),
            idempotency: Check::new("idempotency"),
            liveness: Liveness::new(rule),
            succeeded: 0,
            transfers: 0,
        }
    }

    async fn run(mut self, pool: &PgPool, journals: &mut [Journal]) -> Result<Report> {
        progress::during("reading our payments", self.read_ours(pool)).await?;
        let (rule, away) = (self.rule, outage::gateways_away(pool).await?);
        let Self { register, clients, idempotency, accounts, events, refunds, refund, .. } = &mut self;
        register.learn_orphans(past::orphans(pool).await?);
        progress::during("reading our refunds", refunds.read(pool, (rule, &away), refund)).await?;
        let keys = idempotency::check(pool, register, clients, idempotency);
        progress::during("reading our idempotency keys", keys).await?;
        progress::during("reading our accounts", accounts::check(pool, accounts)).await?;
        progress::during("reading what was told", events::check(pool, events)).await?;
        let booked = journal::read_to_their_ends(journals, |gateway, row| {
            if !refunds.book(gateway, row) {
                register.book(gateway, row);
            }
        });
        progress::during("reading the gateway's journal", booked).await?;
        refunds.meet_strangers(pool, |gateway, row| register.book(gateway, row)).await?;
        progress::during("looking at suspects again", self.look_again(pool, journals)).await?;
        decided::check(pool, self.rule, &mut self.accounts, &mut self.liveness.check).await?;
        let unproven = self.register.judge(&mut self.charge);
        self.refunds.judge(&mut self.refund);
        let waiting_for_a_person = ours::waiting_for_a_person(pool).await?;
        Ok(self.conclude(waiting_for_a_person, unproven))
    }

    /// Reads all payments, each with its events and transfers.
    async fn read_ours(&mut self, pool: &PgPool) -> Result<()> {
        let mut pages = ours::Pages::new(pool);
        while let Some(page) = pages.next().await? {
            let (mut events, mut transfers) = (page.events.as_slice(), page.transfers.as_slice());
            let mut corrections = page.corrections.as_slice();
            self.register.learn(&page.corrections, &page.unproven);
            self.transfers += transfers.len();
            for payment in &page.payments {
                let (strays, own_events) = split_off(&mut events, payment.id, |event| event.payment_id);
                fold::check_strays(strays, &mut self.history);
                fold::check(payment, own_events, &mut self.history);
                by_hand::check(payment, own_events, &mut self.by_hand);
                let (strays, own) = split_off(&mut transfers, payment.id, |transfer| transfer.payment_id);
                ledger::check_strays(strays, &mut self.ledger);
                let (_, corrected) = split_off(&mut corrections, payment.id, |it| it.payment_id);
                corrected.iter().for_each(|it| by_hand::check_correction(it, &mut self.by_hand));
                ledger::check(payment, own, corrected, &mut self.ledger);
                self.liveness.see(payment, own_events);
                self.register.add(payment);
                self.succeeded += u64::from(payment.status == "succeeded" && !payment.from_balance);
            }
            fold::check_strays(events, &mut self.history);
            ledger::check_strays(transfers, &mut self.ledger);
        }
        if self.succeeded > 0 && self.transfers == 0 {
            self.ledger.blame("the ledger", format!("is empty, but {} payments succeeded", self.succeeded));
        }
        Ok(())
    }

    /// Reads every suspect as it stands now, and then the rest of the journal: a payment that has ended did
    /// so after all that the gateway did for it. A payment that came even later is left to the next run.
    async fn look_again(&mut self, pool: &PgPool, journals: &mut [Journal]) -> Result<()> {
        self.liveness.ask_workers(pool).await?;
        let mut suspects = self.register.suspects();
        suspects.extend(self.liveness.suspects());
        for ids in suspects.chunks(SUSPECTS) {
            for now in ours::again(pool, ids).await? {
                self.register.update(&now, self.rule);
                self.liveness.see_again(&now);
            }
        }
        self.register.learn_orphans(past::orphans(pool).await?);
        let Self { register, refunds, .. } = self;
        journal::read_to_their_ends(journals, |gateway, row| {
            if !refunds.book(gateway, row) {
                register.book(gateway, row);
            }
        })
        .await?;
        refunds.meet_strangers(pool, |gateway, row| register.book(gateway, row)).await?;
        for ids in self.register.strangers().chunks(SUSPECTS) {
            for newcomer in ours::again(pool, ids).await? {
                self.register.pass_over(newcomer.id);
            }
        }
        if let Some(clients) = &mut self.clients {
            clients.look_up(pool).await?;
        }
        self.liveness.check_jobs(pool).await
    }

    fn conclude(self, waiting_for_a_person: u64, unproven: Unproven) -> Report {
        let (acknowledged, counts) = self.clients.map(Clients::conclude).unzip();
        let mut checks = vec![self.charge];
        checks.extend(acknowledged);
        checks.extend([
            self.refund,
            self.ledger,
            self.accounts,
            self.events,
            self.history,
            self.by_hand,
            self.idempotency,
            self.liveness.check,
        ]);
        Report {
            violations: Report::sum(&checks),
            checks,
            waiting_for_a_person,
            unproven,
            held_back: self.liveness.held_back,
            in_flight: self.register.in_flight() + self.refunds.in_flight(),
            acknowledged: counts,
            payments: self.register.payments(),
            charges: self.register.charges(),
            orphans: self.register.orphans(),
        }
    }
}

/// Takes from the front of `rows`, which come in the order of their payments, those before and those of `id`.
fn split_off<'a, T>(rows: &mut &'a [T], id: Uuid, payment: fn(&T) -> Uuid) -> (&'a [T], &'a [T]) {
    let (before, rest) = rows.split_at(rows.partition_point(|row| payment(row) < id));
    let (own, rest) = rest.split_at(rest.partition_point(|row| payment(row) <= id));
    *rows = rest;
    (before, own)
}

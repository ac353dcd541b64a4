//! `payonce load`: posts many payments at once, and measures how long it takes until every one has ended.
//!
//! A count is only printed once it was seen. After the run each payment is read back, and it is an error
//! where the API does not show what it acknowledged.

mod client;
mod key;
mod report;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use terminal::{output, progress};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::client::{Client, Posted};
pub(crate) use self::key::merchants_key;
use self::report::Report;

/// The pause between two looks: long enough to cost nothing, short against what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Post payments and wait until all of them have ended
#[derive(Clone, clap::Args)]
#[command(after_help = "\
Example:
  PAYONCE_API_KEY=payonce_sk_… payonce load --total 1000 --concurrency 100 --base-url http://127.0.0.1:8080
  payonce load --total 1000 --api-key-file key.txt

The key is PAYONCE_API_KEY, if no argument gives it.

Exit codes: 0 every request was accepted, every key made one payment and every payment ended, 1 not so,
            2 called wrongly.")]
pub(crate) struct Args {
    /// How many requests to send
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    total: u64,
    /// How many requests to send at a time
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Address of the API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    base_url: String,
    /// A merchant's key, as `payonce dev` and `payonce keys create` print it
    ///
    /// The list of processes shows it to everybody on the machine: prefer `PAYONCE_API_KEY` or a file.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A file that holds the key; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
    api_key_file: Option<String>,
    /// Send the same request each time: one payment, and its first answer for every repeat
    #[arg(long)]
    same_key: bool,
    /// What to pay with; the simulated gateway's test tokens make it misbehave
    #[arg(long, value_name = "TOKEN", default_value = "sim_ok")]
    payment_method: String,
    /// How long the payments may take to end, after the last answer
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// End with one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let key = match merchants_key(args.api_key.as_deref(), args.api_key_file.as_deref()) {
        Ok(key) => key,
        Err(why) => {
            progress::say(&format!("error: {why:#}"));
            return Ok(ExitCode::from(output::EXIT_USAGE));
        }
    };
    let client = Client::new(&args, &key)?;
    client.check().await?;

    let started = Instant::now();
    let sent = progress::during(&format!("sending {} requests", args.total), send_all(&args, &client)).await;
    let accepting = started.elapsed();
    let expected = sent.payments.len();
    let waiting = wait_until_all_ended(&client, expected, Duration::from_secs(args.timeout));
    let statuses = progress::during("waiting until the payments ended", waiting).await?;
    let end_to_end = started.elapsed();

    let report = Report::new(args.total, &sent, &statuses, accepting, end_to_end);
    if args.json {
        output::json(&report)?;
    } else {
        report.print(&statuses)?;
    }
    for (error, count) in &sent.errors {
        progress::say(&format!("{count} × {error}"));
    }
    if let Some(why) = contradiction(args.same_key, &sent, &statuses) {
        bail!(why);
    }
    if statuses.ended() < expected {
        bail!(
            "{} of {expected} payments did not end within {} s; payonce verify says why",
            expected - statuses.ended().min(expected),
            args.timeout
        );
    }
    Ok(if sent.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The answers to all requests.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How long each accepted request took.
    latencies: Vec<Duration>,
    /// The payments that were acknowledged; fewer than requests where some were repeats.
    payments: HashSet<String>,
    /// What went wrong, and how often.
    errors: std::collections::BTreeMap<String, u64>,
}

/// What the answers and the list say that no key may lead to: two payments, or one that another key made.
fn contradiction(is_one_key: bool, sent: &Sent, statuses: &Statuses) -> Option<String> {
    let (answers, payments) = (sent.latencies.len(), sent.payments.len());
    if !is_one_key {
        let why = "each key must make a payment of its own";
        return (payments < answers)
            .then(|| format!("{answers} keys were answered with {payments} payments: {why}"));
    }
    let made = payments.max(statuses.0.values().sum());
    let mut told: Vec<&str> = sent.payments.iter().map(String::as_str).collect();
    told.sort_unstable();
    let became: Vec<String> = statuses.0.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let why = "a customer may have paid for each; payonce verify says which were charged";
    (made > 1).then(|| {
        format!("one key made {made} payments (told of {}; {}): {why}", told.join(", "), became.join(", "))
    })
}

async fn send_all(args: &Args, client: &Client) -> Sent {
    let next = std::sync::Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..u64::from(args.concurrency).min(args.total) {
        let (client, next, args) = (client.clone(), next.clone(), args.clone());
        senders.spawn(async move {
            let mut sent = Sent::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= args.total {
                    return sent;
                }
                let began = Instant::now();
                match client.post(if args.same_key { 0 } else { number }).await {
                    Posted::Accepted(id) => {
                        sent.latencies.push(began.elapsed());
                        sent.payments.insert(id);
                    }
                    Posted::Refused(why) => *sent.errors.entry(why).or_default() += 1,
                }
            }
        });
    }
    let mut all = Sent::default();
    while let Some(sent) = senders.join_next().await {
        match sent {
            Ok(sent) => {
                all.latencies.extend(sent.latencies);
                all.payments.extend(sent.payments);
                for (why, count) in sent.errors {
                    *all.errors.entry(why).or_default() += count;
                }
            }
            Err(panic) => *all.errors.entry(format!("a sender ended early: {panic}")).or_default() += 1,
        }
    }
    all
}

/// How many payments have each status.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Statuses(std::collections::BTreeMap<String, usize>);

impl Statuses {
    const UNDER_WAY: [&'static str; 2] = ["pending", "processing"];

    fn ended(&self) -> usize {
        let ended = self.0.iter().filter(|(status, _)| !Self::UNDER_WAY.contains(&status.as_str()));
        ended.map(|(_, count)| count).sum()
    }
}

/// Asks whether any payment is under way, which is cheap, and reads all of them back once none is.
async fn wait_until_all_ended(client: &Client, expected: usize, patience: Duration) -> Result<Statuses> {
    let deadline = Instant::now() + patience;
    loop {
        let mut under_way = false;
        for status in Statuses::UNDER_WAY {
            under_way = under_way || client.has_any(status).await?;
        }
        let late = Instant::now() > deadline;
        if !under_way || late {
            let statuses = client.count_by_status().await?;
            // Between the two questions a payment may have gone back to the status that the first one
            // asked for.
            if statuses.ended() >= expected || late {
                return Ok(statuses);
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all had one key, which ids were answered, what the list shows by status, and what is wrong.
    type Case = (bool, &'static [&'static str], &'static [(&'static str, usize)], Option<&'static str>);

    const CASES: [Case; 8] = [
        (true, &["a", "a"], &[("succeeded", 1)], None),
        (true, &["a", "a"], &[("pending", 1)], None),
        (
            true,
            &["b", "a"],
            &[("failed", 1), ("succeeded", 1)],
            Some("(told of a, b; 1 failed, 1 succeeded)"),
        ),
        (true, &["a", "b"], &[("succeeded", 1)], Some("one key made 2 payments")),
        (true, &["a", "a"], &[("succeeded", 2)], Some("one key made 2 payments")),
        (true, &[], &[], None),
        (false, &["a", "b"], &[("succeeded", 2)], None),
        (false, &["a", "b", "a"], &[("succeeded", 2)], Some("3 keys were answered with 2 payments")),
    ];

    #[test]
    fn a_key_that_made_two_payments_and_a_payment_of_two_keys_are_told() {
        for (is_one_key, ids, became, says) in CASES {
            let sent = Sent {
                latencies: vec![Duration::ZERO; ids.len()],
                payments: ids.iter().map(|id| (*id).to_owned()).collect(),
                ..Sent::default()
            };
            let statuses = Statuses(became.iter().map(|(status, n)| ((*status).to_owned(), *n)).collect());

            let found = contradiction(is_one_key, &sent, &statuses);

            assert_eq!(found.is_some(), says.is_some(), "{ids:?} {became:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(says.unwrap_or_default()), "{ids:?} {became:?}");
        }
    }
}

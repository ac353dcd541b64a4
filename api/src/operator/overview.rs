//! The state of the whole, and whether anything needs a person.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use shared::operations::horizon::Holder;
use shared::operations::operator::{self, LATEST, Overview};
use sqlx::PgPool;

use super::show::{Time, duration};
use super::{Failure, rendered};

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    here: &'static str,
    verdict: String,
    needs_a_person: bool,
    tiles: Vec<Tile>,
    latest: Vec<Counted>,
    counted: i64,
    is_capped: bool,
    at: Time,
    reconciled: Option<String>,
}

struct Tile {
    label: &'static str,
    value: String,
    note: String,
    href: Option<&'static str>,
    is_bad: bool,
}

struct Counted {
    status: String,
    count: i64,
    share: String,
}

/// `GET /ops`: the tiles, and the latest payments by status.
pub(super) async fn page(State(pool): State<PgPool>) -> Result<Html<String>, Failure> {
    let now = operator::overview(&pool).await?;
    let counted: i64 = now.latest.iter().map(|(_, count)| count).sum();
    let verdict = verdict(&now);
    rendered(&Page {
        here: "overview",
        needs_a_person: verdict.is_some(),
        verdict: verdict.unwrap_or_else(|| "All is well: nothing waits for a person.".to_owned()),
        tiles: tiles(&now),
        latest: latest(&now, counted),
        counted,
        is_capped: counted >= LATEST,
        at: now.at.into(),
        reconciled: now.reconciled_at.map(|at| duration(now.at - at)),
    })
}

/// What a person must look at. None where nothing needs a person.
fn verdict(now: &Overview) -> Option<String> {
    let mut wrong = Vec::new();
    match &now.closed {
        Some(why) => wrong.push(format!("nothing is accepted or claimed: {why}")),
        None if !now.may_claim => wrong.push("nothing is claimed, since another server took over".to_owned()),
        None => {}
    }
    if now.workers == 0 && !now.under_way.is_zero() {
        wrong.push("payments are under way and no worker runs".to_owned());
    }
    for away in &now.away {
        let (since, reason) = (duration(now.at - away.since), away.reason.replace('_', " "));
        wrong.push(format!("the gateway {} is away since {since} ({reason})", away.gateway));
    }
    if !now.overdue.is_zero() {
        wrong.push(format!("{} overdue", now.overdue));
    }
    if !now.held.is_zero() {
        wrong.push(format!("{} held", now.held));
    }
    for (open, one, many) in [
        (now.open_reviews, "open review", "open reviews"),
        (now.held_refunds, "held refund", "held refunds"),
        (now.open_breaks, "open break", "open breaks"),
        (now.open_letters, "dead letter", "dead letters"),
    ] {
        if !open.is_zero() {
            wrong.push(format!("{open} {}", if open.is_one() { one } else { many }));
        }
    }
    (!wrong.is_empty()).then(|| format!("Needs a look: {}.", wrong.join(", ")))
}

fn tiles(now: &Overview) -> Vec<Tile> {
    let ago = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(|at| duration(now.at - at));
    let overdue_since = ago(now.first_due_at).filter(|_| !now.overdue.is_zero());
    vec![
        Tile {
            label: "Held",
            value: now.held.to_string(),
            note: "for a person to decide".to_owned(),
            href: Some("/ops/payments?state=held"),
            is_bad: !now.held.is_zero(),
        },
        Tile {
            label: "Reviews",
            value: now.open_reviews.to_string(),
            note: "to be approved before a charge".to_owned(),
            href: Some("/ops/reviews"),
            is_bad: !now.open_reviews.is_zero(),
        },
        Tile {
            label: "Open breaks",
            value: now.open_breaks.to_string(),
            note: "contradictions in the books".to_owned(),
            href: Some("/ops/breaks"),
            is_bad: !now.open_breaks.is_zero(),
        },
        Tile {
            label: "Dead letters",
            value: now.open_letters.to_string(),
            note: "jobs that cannot be done".to_owned(),
            href: Some("/ops/dead-letters"),
            is_bad: !now.open_letters.is_zero(),
        },
        Tile {
            label: "Overdue",
            value: now.overdue.to_string(),
            note: overdue_since
                .map_or_else(|| "due, and nobody took them".to_owned(), |it| format!("the first since {it}")),
            href: None,
            is_bad: !now.overdue.is_zero(),
        },
        Tile {
            label: "Under way",
            value: now.under_way.to_string(),
            note: ago(now.oldest_created_at)
                .map_or_else(|| "nothing waits".to_owned(), |it| format!("the oldest for {it}")),
            href: None,
            is_bad: false,
        },
        Tile {
            label: "Jobs waiting",
            value: now.jobs_waiting.to_string(),
            note: format!("{} of them due now", now.jobs_due),
            href: Some("/"),
            is_bad: false,
        },
        Tile {
            label: "Workers",
            value: now.workers.to_string(),
            note: "heard of lately".to_owned(),
            href: None,
            is_bad: now.workers == 0 && !now.under_way.is_zero(),
        },
        oldest_snapshot(now.holder.as_ref()),
    ]
}

/// How many transactions a standby or a slot may be behind, where its age in seconds is not known.
const TRANSACTIONS_BEHIND: i64 = 1_000_000;

/// Whether a session keeps the database from clearing dead rows. A statement takes seconds; what is older is
/// a forgotten session or a dump.
fn oldest_snapshot(holder: Option<&Holder>) -> Tile {
    let worth_a_word =
        |it: &&Holder| it.age_seconds.map_or(it.age_transactions > TRANSACTIONS_BEHIND, |age| age >= 60.0);
    let Some(holder) = holder.filter(worth_a_word) else {
        return Tile {
            label: "Oldest snapshot",
            value: "none".to_owned(),
            note: "nobody keeps dead rows".to_owned(),
            href: None,
            is_bad: false,
        };
    };
    let age = holder.age_seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
    let age = age.and_then(|it| chrono::Duration::from_std(it).ok());
    let pid = holder.pid.map_or_else(String::new, |pid| format!("pid {pid}, "));
    let name = holder.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("without a name");
    Tile {
        label: "Oldest snapshot",
        value: age.map_or_else(|| format!("{} transactions", holder.age_transactions), duration),
        note: format!("{pid}{} ({name})", holder.held_by.replace('_', " ")),
        href: None,
        is_bad: holder.age_seconds.is_none_or(|age| age > 600.0),
    }
}

/// The latest payments by status, in the order in which a payment passes through them.
fn latest(now: &Overview, counted: i64) -> Vec<Counted> {
    let statuses = domain::status::PaymentStatus::ALL.iter().map(|status| status.as_str()).chain(["held"]);
    statuses
        .filter_map(|status| now.latest.iter().find(|(found, _)| found == status))
        .map(|(status, count)| {
            let tenths = (count * 1000 + counted / 2) / counted.max(1);
            Counted {
                status: status.clone(),
                count: *count,
                share: format!("{}.{} %", tenths / 10, tenths % 10),
            }
        })
        .collect()
}

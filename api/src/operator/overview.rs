//! How the whole stands, and whether anybody must get up.

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use shared::operator::{self, LATEST, Overview};
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

/// `GET /ops`.
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

/// What a person must look at; none where there is nothing.
fn verdict(now: &Overview) -> Option<String> {
    let mut wrong = Vec::new();
    if now.workers == 0 && !now.under_way.is_zero() {
        wrong.push("payments are under way and no worker runs".to_owned());
    }
    if !now.overdue.is_zero() {
        wrong.push(format!("{} overdue", now.overdue));
    }
    if !now.held.is_zero() {
        wrong.push(format!("{} held", now.held));
    }
    for (open, one, many) in
        [(now.open_breaks, "open break", "open breaks"), (now.open_letters, "dead letter", "dead letters")]
    {
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
    ]
}

/// In the order of their story.
fn latest(now: &Overview, counted: i64) -> Vec<Counted> {
    let statuses =
        shared::payment::status::PaymentStatus::ALL.iter().map(|status| status.as_str()).chain(["held"]);
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

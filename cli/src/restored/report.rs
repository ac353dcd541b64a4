//! The findings of `payonce restored`, for people and as JSON.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::operations::installation::inventory::{Found, Inventory};
use shared::operations::installation::orphans::Sum;
use terminal::output;

/// What was found and done.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) epoch: i32,
    pub(super) is_copy: bool,
    /// Why the gateway's books are not whole. None where they are.
    pub(super) books_why: Option<String>,
    pub(super) whole_until: Option<DateTime<Utc>>,
    /// Orphans whose key is a payment's id, which no payment gets any more.
    pub(super) keys_of_ids: usize,
    pub(super) decisions: u64,
    pub(super) corrections: u64,
    pub(super) inventory: Option<Inventory>,
}

impl Report {
    /// What a person must know before this goes on. None where everything is known.
    pub(super) fn doubtful(&self) -> Option<String> {
        let since = self
            .whole_until
            .map_or_else(|| "the beginning".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
        if let Some(why) = &self.books_why {
            return Some(format!(
                "the gateway's books were not read to their end ({why}): a request that was paid after {since} and is forgotten here \
                 is charged once more when its client repeats it, unless the gateway still knows its key"
            ));
        }
        (self.keys_of_ids > 0).then(|| {
            format!(
                "{} of the forgotten payments were charged under their ids, before keys were derived: a client that repeats such a \
                 request is charged once more (payonce orphans list names them)",
                self.keys_of_ids
            )
        })
    }

    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        if as_json {
            return output::json(&self.json());
        }
        let Some(inventory) = &self.inventory else { return Ok(()) };
        let mut rows = Vec::new();
        rows.extend(inventory.orphans.iter().map(|it| row("forgotten, but charged", &sum(it))));
        let doubted = if self.is_copy { "held here" } else { "looked at first" };
        rows.extend(inventory.doubted.iter().map(|it| row(&format!("{}: {doubted}", it.was), &found(it))));
        rows.extend(inventory.over.iter().map(|it| row(&format!("{}: as it was", it.was), &found(it))));
        output::table(&["PAYMENTS", "COUNT", "AMOUNT", ""], &rows)?;
        if self.decisions + self.corrections > 0 {
            output::line(&format!(
                "taken back: {} decisions and {} corrections that nobody had carried out",
                self.decisions, self.corrections
            ))?;
        }
        if !inventory.orphans.is_empty() {
            output::line("payonce orphans list shows what was charged for payments that are forgotten here")?;
        }
        output::line(&format!("epoch {} begins: start the APIs and workers", self.epoch))
    }

    fn json(&self) -> Value {
        let inventory = self.inventory.as_ref();
        let founds = |all: Option<&Vec<Found>>| {
            let json = |it: &Found| json!({ "was": it.was, "currency": it.currency, "count": it.count, "amount": it.amount.to_string() });
            all.into_iter().flatten().map(json).collect::<Vec<_>>()
        };
        let sums = |all: Option<&Vec<Sum>>| {
            let json = |it: &Sum| json!({ "currency": it.currency, "count": it.count, "amount": it.amount.to_string() });
            all.into_iter().flatten().map(json).collect::<Vec<_>>()
        };
        json!({
            "epoch": self.epoch,
            "is_copy": self.is_copy,
            "books_whole": self.books_why.is_none() && !self.is_copy,
            "books_why": self.books_why,
            "whole_until": self.whole_until,
            "orphans": sums(inventory.map(|it| &it.orphans)),
            "orphans_under_ids": self.keys_of_ids,
            "doubted": founds(inventory.map(|it| &it.doubted)),
            "over": founds(inventory.map(|it| &it.over)),
            "withdrawn": { "decisions": self.decisions, "corrections": self.corrections },
        })
    }
}

fn row(what: &str, (count, amount, currency): &(i64, String, String)) -> Vec<String> {
    vec![what.to_owned(), count.to_string(), amount.clone(), currency.clone()]
}

fn found(it: &Found) -> (i64, String, String) {
    (it.count, it.amount.to_string(), it.currency.clone())
}

fn sum(it: &Sum) -> (i64, String, String) {
    (it.count, it.amount.to_string(), it.currency.clone())
}

//! Lists that may have more than is shown: how long one page is, and what is said of the rest.
//!
//! Invariant: a list that ends at its limit says so, and how to see what comes after it.

use anyhow::Result;
use serde_json::{Value, json};
use terminal::{output, progress};

/// The most that one page may have.
const LONGEST: i64 = 10_000;

/// Which part of a list is shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Page {
    /// How many to list, at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=LONGEST))]
    limit: u16,
}

/// Where a list that runs from the newest to the oldest goes on.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Before {
    /// List only what has a lower number, so what is older
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<i64>,
}

impl Page {
    /// How many to ask for: one more than is shown, which tells whether there are more.
    pub(crate) fn asked(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// What is shown of what came.
    pub(crate) fn of<T>(self, mut found: Vec<T>) -> Shown<T> {
        let limit = usize::from(self.limit);
        let has_more = found.len() > limit;
        found.truncate(limit);
        Shown { rows: found, has_more }
    }
}

/// What is said of an empty list of things called `what`: whether it has open ones only, and whether it was
/// narrowed further.
pub(crate) fn nothing(what: &str, is_open_only: bool, is_narrowed: bool) -> String {
    match (is_open_only, is_narrowed) {
        (true, false) => format!("no {what} is open"),
        (true, true) => format!("no such {what} is open"),
        (false, false) => format!("there is no {what}"),
        (false, true) => format!("there is no such {what}"),
    }
}

/// What is shown of a list.
pub(crate) struct Shown<T> {
    pub(crate) rows: Vec<T>,
    has_more: bool,
}

impl<T> Shown<T> {
    /// Prints it as one line of JSON.
    pub(crate) fn json(&self, one: impl Fn(&T) -> Value) -> Result<()> {
        let data: Vec<Value> = self.rows.iter().map(one).collect();
        output::json(&json!({ "data": data, "has_more": self.has_more }))
    }

    /// Prints it as a table, or says that it is empty. `next` are the arguments by which the list goes on
    /// after its last row.
    pub(crate) fn print(
        &self,
        headings: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        (empty, next): (&str, impl Fn(&T) -> String),
    ) -> Result<()> {
        let Some(last) = self.rows.last() else { return output::line(empty) };
        output::table(headings, &self.rows.iter().map(row).collect::<Vec<_>>())?;
        if self.has_more {
            progress::say(&format!(
                "there are more: add {} to see what comes next, or --limit up to {LONGEST}",
                next(last)
            ));
        }
        Ok(())
    }
}

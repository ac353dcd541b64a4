//! Standard output: the answer of a command, and nothing else.

use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

/// The exit code of a command that was called wrongly. The parser of arguments uses the same.
pub const EXIT_USAGE: u8 = 2;

/// Writes one line.
///
/// # Errors
/// Nobody reads standard output.
pub fn line(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("cannot write to standard output")
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// Nobody reads standard output.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Writes rows under their headings, each column as wide as its widest cell.
///
/// # Errors
/// Nobody reads standard output.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let format = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    line(&format(&headings))?;
    rows.iter().try_for_each(|row| line(&format(row)))
}

//! What looks at all payments at once: finds contradictions, mends what may be mended, and shows the rest to
//! operators.
//!
//! Read in this order:
//! - [`breaks`]: contradictions between two books;
//! - [`reconciliation`]: how most of them are found;
//! - [`installation`]: which database is ours, and what a past that came back forgot;
//! - [`recovery`]: what a start found under way;
//! - [`dead_letter`]: what the queue gave up, and its replay;
//! - [`operator`]: what operators read;
//! - [`json`]: how that looks as JSON;
//! - [`gauges`] and [`horizon`]: what is measured.
//!
//! This wing may use every other wing. Nothing else in this crate may use it.

pub mod breaks;
pub mod dead_letter;
pub mod gauges;
pub mod horizon;
pub mod installation;
pub mod json;
pub mod operator;
pub mod reconciliation;
pub mod recovery;

//! What the API and the workers share.
//!
//! Read in this order: [`payment`] (statuses, events, the four statements that move a payment), [`outcome`] and
//! [`retry`] (what a gateway's answer means and what to do next), [`gateway`] (the one place that calls it),
//! [`idempotency`], [`ledger`], [`queue`] (the only door to the queue library), [`operator`] (what operators read),
//! [`breaks`] (contradictions), [`reconciliation`] (how most of them are found) and [`recovery`] (what a start found).
//!
//! `payment::status`, `outcome`, `retry`, `ledger` and `money` are pure: no clock, no database, no network.

pub mod auth;
pub mod batch;
pub mod breaks;
pub mod config;
pub mod correction;
pub mod db;
pub mod dead_letter;
pub mod decision;
pub mod fault;
pub mod gateway;
pub mod horizon;
pub mod idempotency;
pub mod ids;
pub mod installation;
pub mod json;
pub mod ledger;
pub mod merchant;
pub mod metrics;
pub mod money;
pub mod operator;
pub mod outcome;
pub mod payment;
pub mod process;
pub mod queue;
pub mod rate;
pub mod reconciliation;
pub mod recovery;
pub mod retry;
pub mod telemetry;
pub mod watermark;

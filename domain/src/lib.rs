//! What money, payments and a gateway's answers mean, and what follows from them.
//!
//! Everything here is a function of its arguments: no clock, no database, no network, no environment. The manifest
//! keeps it so, for it names no crate that could reach any of them. Whoever moves a payment asks here what may follow.
//!
//! Read in this order: [`status`] (where a payment can stand), [`outcome`] (what an answer of the gateway means),
//! [`decide`] (what to do next), [`posting`] (which money moves), [`held`] and [`correction`] (what a person may do),
//! [`request`] and [`idempotency`] (what a client asks, once), [`money`], [`ids`], [`words`](mod@words).

pub mod correction;
pub mod dead_letter;
pub mod decide;
pub mod held;
pub mod idempotency;
pub mod ids;
pub mod money;
pub mod outcome;
pub mod posting;
pub mod request;
pub mod status;
pub mod words;

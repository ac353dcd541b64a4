//! What money, payments and a gateway's answers mean, and what follows from them.
//!
//! Decisions are pure: a function here depends on its arguments alone. Two things are not pure, and decide
//! nothing: a new id carries the time of this process's clock, and [`decide::Policy::backoff`] varies its
//! wait at random. The manifest names no crate that reaches a database or a network. Every part that moves a
//! payment asks here what may follow.
//!
//! Read in this order:
//! - [`status`]: where a payment can stand;
//! - [`outcome`]: what an answer of the gateway means;
//! - [`decide`]: what to do next;
//! - [`posting`]: which money moves;
//! - [`operation`]: what may be asked of a payment that was charged;
//! - [`account`]: what may be asked of a customer's account, and why it may be refused;
//! - [`review`]: what rules look at before anything is charged;
//! - [`held`] and [`correction`]: what a person may do;
//! - [`public_event`]: what merchants are told of it;
//! - [`request`] and [`idempotency`]: what a client asks, once;
//! - [`money`], [`ids`], [`words`](mod@words), [`dead_letter`].

pub mod account;
pub mod correction;
pub mod dead_letter;
pub mod decide;
pub mod held;
pub mod idempotency;
pub mod ids;
pub mod money;
pub mod operation;
pub mod outcome;
pub mod posting;
pub mod public_event;
pub mod request;
pub mod review;
pub mod status;
pub mod words;

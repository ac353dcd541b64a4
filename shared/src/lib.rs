//! What the API and the workers share, in wings. Each may use those above it, and `domain`; none may use one below.
//!
//! 1. [`platform`]: settings, logs, metrics, faults: knows no payment and no database.
//! 2. [`database`]: connections, to whom, and what becomes of them; statements shared by many tasks.
//! 3. [`queue`]: the only door to the queue library, and the only wing that names its tables.
//! 4. [`gateway`]: the only place that calls a payment gateway.
//! 5. [`merchant`]: who posts payments, and by which key.
//! 6. [`payment`]: the only writer of payments.
//! 7. [`operations`]: what looks at all of them: reconciliation, breaks, recovery, and what operators see.
//!
//! `tests/it/house.rs` keeps it so.

pub mod database;
pub mod gateway;
pub mod merchant;
pub mod operations;
pub mod payment;
pub mod platform;
pub mod queue;

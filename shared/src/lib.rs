//! What the API and the workers share, in wings. Each wing may use those above it, and `domain`; none may use
//! one below.
//!
//! 1. [`platform`]: settings, logs, metrics, an orderly end, and the faults of test builds.
//! 2. [`database`]: connections and what becomes of them; statements that many tasks share.
//! 3. [`queue`]: the only door to the queue library, but for its migrations, which [`database`] runs.
//!    Statements of other wings name its tables too.
//! 4. [`gateway`]: the only wing that calls a payment gateway.
//! 5. [`merchant`]: who posts payments, and by which key.
//! 6. [`account`]: accounts of a merchant's customers, and transfers between them.
//! 7. [`payment`]: the writer of payments. Only the steps of `payonce restored`, in [`operations`], write
//!    them too.
//! 8. [`publish`]: public events, which merchants read and are sent.
//! 9. [`operations`]: reconciliation, breaks, recovery, restore, and what operators see.
//!
//! `tests/it/house.rs` compares this order with the `use` lines.

pub mod account;
pub mod database;
pub mod gateway;
pub mod merchant;
pub mod operations;
pub mod payment;
pub mod platform;
pub mod publish;
pub mod queue;

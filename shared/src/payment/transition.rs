//! The only writer of payments: accept (T1), claim (T7, T8), settle (all that ends a claim), hold (T18, where no
//! claim led to it), resolve (T19: a person), reschedule (T20: a due time that cannot be right).
//!
//! Invariant: each is one autocommit statement, over many payments where a machine acts, so status, event, ledger entry and next job commit
//! together or not at all, and a process that stops in the middle holds no lock. Their SQL is in `shared/queries`.

mod accept;
mod claim;
mod hold;
mod remedy;
mod reschedule;
mod resolve;
#[cfg(debug_assertions)]
mod sabotage;
mod settle;

pub use accept::{Accepting, NewPayment, PaymentRequest, Recorded, accept, key_is_held};
pub use claim::{Claim, Claiming, Lease, Purpose, Taken, claim, claim_alone};
pub(crate) use hold::hold;
pub use remedy::{Remedy, claim_remedy, record_remedy, remedy_is_due};
pub use reschedule::{Rescheduled, Waits, reschedule};
pub use resolve::{Decision, Justification, Resolution, ResolveError, Unusable, close_break, resolve};
pub use settle::{Effect, SettleError, Settled, Settlement, Settling, settle};

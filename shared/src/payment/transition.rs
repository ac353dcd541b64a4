//! The only writer of payments: accept (T1), claim (T7, T8), settle (all that ends a claim), hold (T18, where no
//! claim led to it), decide and resolve (T19: a person), reschedule (T20: a due time that cannot be right).
//! Beside them what concerns a payment that is over, and never changes it: remedy and correct.
//!
//! Invariant: each is one autocommit statement, over many payments where a machine acts, so status, event, ledger entry and next job commit
//! together or not at all, and a process that stops in the middle holds no lock. Their SQL is in `shared/queries`.

mod accept;
mod ask;
mod claim;
mod correct;
mod decide;
mod hold;
mod remedy;
mod reschedule;
mod resolve;
#[cfg(debug_assertions)]
mod sabotage;
mod settle;

pub use accept::{Accepting, NewPayment, Recorded, accept, key_is_held};
pub use ask::{Asked, Asking, ask, withdraw};
pub use claim::{Claim, Claiming, Lease, Taken, claim, claim_alone};
pub use correct::{
    Approving, Corrected, Correcting, Person, Proposal, Proposing, approve, claim_correction,
    correction_is_due, propose, record_correction, withdraw_correction,
};
pub use decide::{DecideError, Decided, Deciding, Verdict, claim_decision, decision_is_due, record_decision};
pub(crate) use hold::hold;
pub use remedy::{Remedy, claim_remedy, record_remedy, remedy_is_due};
pub use reschedule::{Rescheduled, Waits, reschedule};
pub use resolve::{Justification, Unusable, close_break, release};
pub use settle::{Effect, SettleError, Settled, Settlement, Settling, settle};

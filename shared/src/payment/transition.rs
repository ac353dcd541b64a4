//! The writer of payments, one file for each kind of transition:
//! - `accept`: the event `created`;
//! - `claim`: `attempt_started`, `taken_over`, `verifying`;
//! - `settle`: all that ends a claim, and `doubted` for a late result;
//! - `hold`: `held` where no claim led to it;
//! - `ask` and `decide`: what a person decides about a held payment after a look;
//! - `resolve`: `released`, and the end of a break;
//! - `reschedule`: `rescheduled`, for a due time that cannot be right;
//! - `remedy` and `correct`: what concerns a payment that is over, and never changes it;
//! - `refund`, `release_refund` and `adopt`: what gives back a payment that succeeded, in rows of its own.
//!
//! Only `restored`, and `held` for a copy, are written elsewhere, by `operations::installation::restore`.
//!
//! Invariant: status, event, ledger entry and next job are written by one statement, so they commit together
//! or not at all. It is an autocommit statement, so a process that stops in the middle holds no lock. Only
//! `hold` belongs to the transaction that opens its break. Where a machine acts, one statement moves many
//! payments. The statements that move payments are in `shared/queries`.

mod accept;
mod adopt;
mod ask;
mod claim;
mod correct;
mod decide;
mod hold;
mod pay;
mod refund;
mod release_refund;
mod remedy;
mod reschedule;
mod resolve;
mod review;
#[cfg(debug_assertions)]
mod sabotage;
mod settle;

pub use accept::{Accepting, NewPayment, Recorded, accept, key_is_held};
pub use adopt::{Adopted, adopt_acts};
pub use ask::{Asked, Asking, ask, withdraw};
pub use claim::{Claim, Claimant, Claiming, Lease, Taken, claim, claim_alone};
pub use correct::{
    Approving, Corrected, Correcting, Person, Proposal, Proposing, approve, claim_correction,
    correction_is_due, propose, record_correction, withdraw_correction,
};
pub use decide::{DecideError, Decided, Deciding, Verdict, claim_decision, decision_is_due, record_decision};
pub(crate) use hold::hold;
pub use pay::{FromBalance, Paid, Paying, pay, pay_alone};
pub use refund::{
    ClaimedRefund, NewRefund, RefundSettlement, Refunding, SettledRefund, claim_refund, refund,
    refund_is_due, settle_refund,
};
pub use release_refund::{Justified, release_refund};
pub use remedy::{Remedy, claim_remedy, record_remedy, remedy_is_due};
pub use reschedule::{Rescheduled, Waits, reschedule};
pub use resolve::{Justification, Unusable, close_break, release};
pub use review::{Decision, Reviewed, decide};
pub use settle::{Effect, SettleError, Settled, Settlement, Settling, settle};

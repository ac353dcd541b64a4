//! What an adapter does: it words our calls as its gateway wants them, and reads the gateway's answers into
//! the classes of `domain`. It does no exchange itself, so it needs no clock, no network and no care for
//! deadlines.
//!
//! Invariant: whatever an adapter does not know is unknown. It never reads it as "no".

use domain::ids::GatewayKey;
use domain::operation::{ExpectedEffect, OperationOutcome};
use domain::outcome::{Charge, ChargeOutcome, Expected, Failed, Looked, VoidOutcome};

use super::ChargeOrder;
use super::books::{JournalRow, Page, Unread};
use super::door::Identity;
use super::wire::{Call, Exchange};

/// The language of one kind of gateway.
pub trait Adapter: std::fmt::Debug + Send + Sync {
    /// To charge. Sent again it is the same call, byte for byte.
    fn charge(&self, order: &ChargeOrder<'_>) -> Call;

    /// What the answer to a charge means. Amount, currency, key and reference are compared with what was
    /// expected.
    fn charged(&self, exchange: &Exchange, expected: &Expected) -> ChargeOutcome;

    /// To ask which charges were made under a key.
    fn look_up(&self, key: &GatewayKey) -> Call;

    /// What a lookup showed.
    fn looked_up(&self, exchange: &Exchange) -> Looked;

    /// To undo whatever was charged under a key, and to close the key.
    fn void(&self, key: &GatewayKey) -> Call;

    /// What the answer to a void means. Only a void of our own key confirms anything.
    fn voided(&self, exchange: &Exchange, key: &GatewayKey) -> VoidOutcome;

    /// To give back a part or all of a charge. Sent again it is the same call, byte for byte.
    fn refund(&self, order: &ExpectedEffect) -> Call;

    /// What the answer to a refund means. Amount, currency, key and charge are compared with what was asked
    /// for.
    fn refunded(&self, exchange: &Exchange, expected: &ExpectedEffect) -> OperationOutcome;

    /// To ask which refunds were made under a key.
    fn look_up_refund(&self, key: &str) -> Call;

    /// What that look-up showed.
    fn refund_looked_up(&self, exchange: &Exchange, expected: &ExpectedEffect) -> OperationOutcome;

    /// To ask who the gateway is.
    fn account(&self) -> Call;

    /// Who it says that it is; none where it says that it has no such word.
    ///
    /// # Errors
    /// It did not answer as its contract says.
    fn identity(&self, exchange: &Exchange) -> Result<Option<Identity>, Failed>;

    /// Whether an answer to [`Adapter::journal`] is one of the gateway's, whatever it shows.
    ///
    /// # Errors
    /// It did not answer as its contract says.
    fn is_well(&self, exchange: &Exchange) -> Result<(), Failed>;

    /// To ask for the rows of the journal after a place, at most `limit` of them.
    fn journal(&self, after: i64, limit: usize) -> Call;

    /// A page of the journal.
    ///
    /// # Errors
    /// The gateway keeps no journal, or did not show it.
    fn journal_page(&self, exchange: &Exchange) -> Result<Page<JournalRow>, Unread>;

    /// To ask for the list of all charges after a place, at most `limit` of them.
    fn charges(&self, after: &str, limit: usize) -> Call;

    /// A page of that list.
    ///
    /// # Errors
    /// The gateway keeps no list, or did not show it.
    fn charges_page(&self, exchange: &Exchange) -> Result<Page<Charge>, Unread>;
}

//! Public events: what is told to merchants of what happened, and the id by which each is known.
//!
//! Invariant: an id is also the event's place among all events of its merchant. Ids sort as events are told.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

crate::words! {
    /// What a public event tells. The table `public_event_types` says which fact of which log it is.
    PublicEventType {
        /// The gateway charged what is owed.
        PaymentSucceeded = "payment.succeeded",
        /// The payment was surely not charged, and is not tried again.
        PaymentFailed = "payment.failed",
        /// A doubt ended by a void.
        PaymentReversed = "payment.reversed",
        /// The payment waits for a person of ours.
        PaymentHeld = "payment.held",
        /// A rule has the payment wait for a person before it is charged.
        PaymentInReview = "payment.in_review",
        /// Nothing is sent to an endpoint any more.
        EndpointDisabled = "webhook_endpoint.disabled",
        /// An endpoint is sent events again.
        EndpointEnabled = "webhook_endpoint.enabled",
        /// Somebody asked for an event to try an endpoint by.
        EndpointTest = "webhook_endpoint.test",
    }
}

/// What stands before the digits of an id.
const PREFIX: &str = "evt_";

/// The bytes of an id: epoch, transaction, object and version, each with its highest byte first.
const BYTES: usize = 32;

/// The id of a public event, and the place at which a reader goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The epoch: one line of the server's life, numbered by the second in which it began.
    pub epoch: u32,
    /// The transaction within the epoch.
    pub tx: u64,
    /// What the event is about.
    pub object: Uuid,
    /// The version that the event made of it.
    pub version: u32,
}

/// Why a text is no id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of an event is `evt_` and 64 lower-case hex digits")]
pub struct InvalidEventId;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, tx, object, version } = self;
        write!(f, "{PREFIX}{epoch:08x}{tx:016x}{:032x}{version:08x}", object.as_u128())
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidEventId)?;
        let is_canonical = digits.len() == 2 * BYTES
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_canonical {
            return Err(InvalidEventId);
        }
        let part = |from: usize, to: usize| digits.get(from..to).ok_or(InvalidEventId);
        let invalid = |_| InvalidEventId;
        Ok(Self {
            epoch: u32::from_str_radix(part(0, 8)?, 16).map_err(invalid)?,
            tx: u64::from_str_radix(part(8, 24)?, 16).map_err(invalid)?,
            object: Uuid::from_u128(u128::from_str_radix(part(24, 56)?, 16).map_err(invalid)?),
            version: u32::from_str_radix(part(56, 64)?, 16).map_err(invalid)?,
        })
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u32, tx: u64, object: u128, version: u32) -> EventId {
        EventId { epoch, tx, object: Uuid::from_u128(object), version }
    }

    #[test]
    fn an_id_reads_back_as_itself_and_sorts_as_text_as_events_are_told() {
        let in_order = [
            id(0, 0, 0, 0),
            id(1, 2, 3, 4),
            id(1, 2, 3, 5),
            id(1, 2, 4, 1),
            id(1, 10, 1, 1),
            id(2, 1, 1, 1),
            id(u32::MAX, u64::MAX, u128::MAX, u32::MAX),
        ];
        let texts = in_order.map(|id| id.to_string());
        assert!(texts.is_sorted());
        assert!(in_order.is_sorted());
        for (id, text) in in_order.into_iter().zip(texts) {
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn another_spelling_is_no_id() {
        let text = id(1, 2, 3, 4).to_string();
        for wrong in ["", "evt_", &text[..67], &text[4..], &format!("{text}0"), &text.replace('1', "A")] {
            assert_eq!(wrong.parse::<EventId>(), Err(InvalidEventId), "{wrong}");
        }
    }
}

//! Typed ids: a prefix that says what kind of thing it names, and a UUID as 32 lower-case hex digits.
//!
//! A wrong kind of id is refused when it is parsed, and every id can be told apart in a log.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use uuid::{NoContext, Timestamp, Uuid};
/// Why a text is no id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id here is `{prefix}` and 32 lower-case hex digits")]
pub struct InvalidId {
    prefix: &'static str,
}

/// The clock of new ids, in milliseconds since 1970, where it is not this machine's.
static CLOCK: OnceLock<fn() -> u64> = OnceLock::new();

/// Gives new ids another clock, for the whole process. Test builds use it to show that a wrong clock decides
/// nothing.
pub fn set_clock(clock: fn() -> u64) {
    // Only the first call counts.
    let _ = CLOCK.set(clock);
}

/// A new UUID by this process's own clock, which may be wrong. The time puts ids into an order, and decides
/// nothing.
fn new_uuid() -> Uuid {
    let Some(clock) = CLOCK.get() else { return Uuid::now_v7() };
    let ms = clock();
    let nanos = u32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, ms / 1_000, nanos))
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id (version 7 of RFC 9562). By the machine's own clock it is greater than every id that
            /// this process made before.
            #[must_use]
            pub fn generate() -> Self {
                Self(new_uuid())
            }

            /// The bare UUID, for SQL.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { prefix: $prefix };
                let digits = text.strip_prefix($prefix).ok_or(invalid)?;
                let is_canonical = digits.len() == 32
                    && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if !is_canonical {
                    return Err(invalid);
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| invalid)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// The id of a payment. It is also the reference of its charges at the gateway.
    PaymentId,
    "pay_"
);
typed_id!(
    /// The id of a merchant.
    MerchantId,
    "mer_"
);
typed_id!(
    /// The id of an API key, which is not its secret.
    KeyId,
    "key_"
);
typed_id!(
    /// The id of an account of a merchant's customer.
    AccountId,
    "acc_"
);
typed_id!(
    /// The id of a transfer between two accounts.
    TransferId,
    "trf_"
);
typed_id!(
    /// The id of a refund. It is also what the refund is called at the gateway.
    OperationId,
    "re_"
);
typed_id!(
    /// The id of a late return.
    ReturnId,
    "ret_"
);
typed_id!(
    /// The id of a dispute.
    DisputeId,
    "dsp_"
);
typed_id!(
    /// The id of an endpoint to which a merchant has events sent.
    EndpointId,
    "whe_"
);
typed_id!(
    /// The token of a claim. Every write of the claim's outcome must name it.
    ClaimToken,
    "clm_"
);

/// The name of a gateway, in settings, books, breaks and metrics: a letter, then up to 31 letters, digits or
/// underscores, all small. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayName(Arc<str>);

/// The name of the gateway that variables describe, and of each merchant's gateway where none is named.
const DEFAULT_GATEWAY: &str = "default";

/// The longest name of a gateway.
const GATEWAY_NAME_MAX: usize = 32;

/// Why a text is no name of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no name of a gateway: begin with a letter, then use letters, digits and underscores, all small, 32 in all"
)]
pub struct InvalidGatewayName;

impl GatewayName {
    /// The name, as it is written everywhere.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the gateway of every merchant for which none was named.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT_GATEWAY
    }

    /// What a break about a key at this gateway is about. SQL has it as `key_subject`.
    #[must_use]
    pub fn key_subject(&self, key: &str) -> String {
        if self.is_default() { format!("key {key}") } else { format!("gateway {self} key {key}") }
    }
}

impl Default for GatewayName {
    fn default() -> Self {
        Self(DEFAULT_GATEWAY.into())
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GatewayName {
    type Err = InvalidGatewayName;

    fn from_str(text: &str) -> Result<Self, InvalidGatewayName> {
        let is_well_formed = text.len() <= GATEWAY_NAME_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if is_well_formed { Ok(Self(text.into())) } else { Err(InvalidGatewayName) }
    }
}

impl<'de> serde::Deserialize<'de> for GatewayName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for GatewayName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The key under which the gateway charges a payment: one for all attempts, fixed when the payment was
/// accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayKey(String);

impl GatewayKey {
    /// The stored key. Without one the key is the payment's id, for ever.
    #[must_use]
    pub fn of(stored: Option<String>, payment: PaymentId) -> Self {
        Self(stored.unwrap_or_else(|| payment.to_string()))
    }

    /// The key as the gateway gets it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself() {
        let id = PaymentId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn another_kind_or_another_spelling_is_refused() {
        let id = PaymentId::generate();
        let digits = id.uuid().as_simple().to_string();
        for text in [
            digits.clone(),
            format!("mer_{digits}"),
            format!("pay_{}", digits.to_uppercase() + "g"),
            format!("pay_{}", id.uuid()),
            format!("pay_{}", &digits[1..]),
            "pay_".to_owned(),
            String::new(),
        ] {
            assert!(text.parse::<PaymentId>().is_err(), "{text} was taken for a payment id");
        }
    }

    #[test]
    fn a_gateway_has_a_name_that_fits_into_a_metric_a_setting_and_a_break() {
        for name in ["default", "b", "acme_eu", "a1", &"x".repeat(32)] {
            assert_eq!(name.parse::<GatewayName>().map(|it| it.to_string()).as_deref(), Ok(name));
        }
        for name in ["", "Default", "1a", "_a", "a-b", "a b", "ä", "a\n", &"x".repeat(33)] {
            assert_eq!(name.parse::<GatewayName>(), Err(InvalidGatewayName), "{name:?}");
        }
    }

    #[test]
    fn ids_are_ordered_by_time() {
        let ids: Vec<_> = (0..100).map(|_| PaymentId::generate()).collect();
        assert!(ids.is_sorted());
    }
}

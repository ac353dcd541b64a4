//! Where a payment stands, as far as its charge is concerned.

/// Where a payment stands, as far as its charge is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Pending, processing or held: anything may be at the gateway.
    UnderWay,
    /// Succeeded: one charge must stand.
    Charged,
    /// Failed, reversed, in review or paid from a balance: no charge may stand.
    Free,
    /// Failed or reversed, and a worker is having a charge voided that came to light.
    Voiding,
    /// A status that this program does not know: nothing can be said for it.
    Unknown,
}

impl Stand {
    /// Of a payment in this status. What an account paid has nothing at the gateway.
    pub(super) fn of(status: &str, from_balance: bool) -> Self {
        // Nobody has asked a gateway yet.
        if status == "in_review" {
            return Self::Free;
        }
        match status {
            "pending" | "processing" => Self::UnderWay,
            "succeeded" if from_balance => Self::Free,
            "succeeded" => Self::Charged,
            "failed" | "reversed" => Self::Free,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_not_known_is_no_end_without_a_charge() {
        assert_eq!([Stand::of("failed", false), Stand::of("reversed", false)], [Stand::Free; 2]);
        for word in ["", "Failed", "refunded"] {
            assert_eq!(Stand::of(word, false), Stand::Unknown, "{word}");
        }
    }
}

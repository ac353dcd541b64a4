//! Where a payment stands, as far as its charge is concerned.

/// Where a payment stands, as far as its charge is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Pending, processing or held: anything may be at the gateway.
    UnderWay,
    /// Succeeded: one charge must stand.
    Charged,
    /// Failed or reversed: no charge may stand.
    Free,
    /// Failed or reversed, and a worker is having a charge voided that came to light.
    Voiding,
    /// A status that this program does not know: nothing can be said for it.
    Unknown,
}

impl Stand {
    pub(super) fn of(status: &str) -> Self {
        match status {
            "pending" | "processing" => Self::UnderWay,
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
        assert_eq!([Stand::of("failed"), Stand::of("reversed")], [Stand::Free; 2]);
        for word in ["", "Failed", "refunded"] {
            assert_eq!(Stand::of(word), Stand::Unknown, "{word}");
        }
    }
}

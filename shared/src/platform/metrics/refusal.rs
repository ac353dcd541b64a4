//! The words for limits that refuse requests.

/// The limits that refuse requests with an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key's limit of requests that may change something.
    Writes,
    /// The key's limit of requests that only read.
    Reads,
    /// The bound of the key's requests at a time.
    UnderWay,
    /// The bound of all keys' requests at a time.
    All,
    /// The bound of the key's requests that wait.
    Waits,
    /// The process has no share of the key's limit.
    NoShare,
}

impl Refusal {
    pub(super) const ALL: [Self; 6] =
        [Self::Writes, Self::Reads, Self::UnderWay, Self::All, Self::Waits, Self::NoShare];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Reads => "reads",
            Self::UnderWay => "under_way",
            Self::All => "all",
            Self::Waits => "waits",
            Self::NoShare => "no_share",
        }
    }
}

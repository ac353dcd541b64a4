//! What is counted of accounts.

use domain::account::Refusal;
use metrics::counter;

use super::ACCOUNT_REQUESTS;

/// The word for a request that was done.
pub(crate) const DONE: &str = "done";

/// What is asked of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Money is to move at once.
    Transfer,
    /// Money is to be reserved.
    Hold,
    /// Several of these are to happen together or not at all.
    Group,
    /// What is reserved is to move.
    Post,
    /// What is reserved is to go back.
    Void,
}

impl Ask {
    const ALL: [Self; 5] = [Self::Transfer, Self::Hold, Self::Group, Self::Post, Self::Void];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Hold => "hold",
            Self::Group => "group",
            Self::Post => "post",
            Self::Void => "void",
        }
    }
}

/// Shows each result of each request from the start, as zero.
pub(super) fn describe() {
    // What a group is refused for is told by the reason of the part that failed.
    let refusals =
        Refusal::ALL.iter().filter(|it| it.is_remembered() && **it != Refusal::LinkedTransferFailed);
    for result in refusals.map(|refusal| refusal.as_str()).chain([DONE]) {
        for ask in Ask::ALL {
            counter!(ACCOUNT_REQUESTS, "ask" => ask.as_str(), "result" => result).increment(0);
        }
    }
}

/// Counts a request that was decided for good.
pub(crate) fn account_decided(ask: Ask, result: &str) {
    counter!(ACCOUNT_REQUESTS, "ask" => ask.as_str(), "result" => result.to_owned()).increment(1);
}

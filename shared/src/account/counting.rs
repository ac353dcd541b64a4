//! What requests of accounts came to, as the metrics count it.

use super::moving::{Moved, Movement, Request};
use crate::platform::metrics::{self, Ask};

/// Counts what was decided for good. What ends by itself is no request, and is not counted.
pub(super) fn count(requests: &[&Request], moved: &[Moved]) {
    for (request, moved) in requests.iter().zip(moved) {
        let Some(ask) = ask(request) else { continue };
        match moved {
            Moved::Done(_) => metrics::account_decided(ask, metrics::DONE),
            Moved::Refused(reason) => metrics::account_decided(ask, &reason.code),
            Moved::Unfit(_) | Moved::Again | Moved::Held(_) => {}
        }
    }
}

fn ask(request: &Request) -> Option<Ask> {
    if request.is_group {
        return Some(Ask::Group);
    }
    match request.movements.first()? {
        Movement::Transfer(transfer) if transfer.hold.is_some() => Some(Ask::Hold),
        Movement::Transfer(_) => Some(Ask::Transfer),
        Movement::Post(..) => Some(Ask::Post),
        Movement::Void(_) => Some(Ask::Void),
        Movement::Expire(_) => None,
    }
}

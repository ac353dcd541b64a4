//! Whoever claims in a test that does so by itself.

use domain::ids::GatewayName;
use shared::payment::transition::{Claimant, Lease};

/// A claimant of that name, for the default gateway.
#[must_use]
pub fn claimant(worker: &str, lease: Lease) -> Claimant {
    Claimant { worker: worker.into(), gateway: GatewayName::default(), lease }
}

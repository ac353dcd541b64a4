//! The points that no payment of the matrix passes, and where each is killed.

/// The points of a database that came back or stands elsewhere. Tests of their own kill what passes them
/// (`installation.rs`, `restored`), since they close the doors to all other cells.
pub(crate) const RESTORE_POINTS: &[&str] = &[
    "close_doors.before",
    "close_doors.committed",
    "keep_orphans.before",
    "keep_orphans.committed",
    "doubt_all.before",
    "doubt_all.committed",
    "doubt_refunds.before",
    "doubt_refunds.committed",
    "hold_all.before",
    "hold_all.committed",
    "withdraw_all.before",
    "withdraw_all.committed",
    "open_doors.before",
    "open_doors.committed",
    "settle_in.before",
    "settle_in.committed",
    "finish_migration.before",
    "finish_migration.committed",
];
/// The points of a gateway that is named for the first time: a test of their own kills what passes them
/// (`gateways/named.rs`).
pub(crate) const GATEWAY_POINTS: &[&str] = &["take_up_gateway.before", "take_up_gateway.committed"];
/// The points of accounts, which no payment passes. `accounts/crashes.rs` kills and stops what does.
pub(crate) const ACCOUNT_POINTS: &[&str] =
    &["move.before", "move.committed", "open_account.before", "open_account.committed"];
/// The points of refunds, which no payment passes. `refunds/crashes.rs` kills and stops what does.
pub(crate) const REFUND_POINTS: &[&str] = &[
    "refund_accept.before",
    "refund_accept.committed",
    "refund_claim.before",
    "refund_claim.committed",
    "refund.before",
    "refund.sending",
    "refund.answered",
    "refund_lookup.before",
    "refund_lookup.sending",
    "refund_lookup.answered",
    "refund_settle.before",
    "refund_settle.committed",
    "refund_adopt.before",
    "refund_adopt.committed",
    "refund_release.before",
    "refund_release.committed",
];
pub(crate) const INSTALLATION_POINTS: &[&str] = &[
    "identify.before",
    "identify.committed",
    "accept_timeline.before",
    "accept_timeline.committed",
    "must_restore.before",
    "must_restore.committed",
];

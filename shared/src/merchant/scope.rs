//! What a key may be used for.

domain::words! {
    /// One thing that a key opens. A key has those that it was made with, and no other follows from them.
    Scope {
        /// To make payments.
        PaymentsWrite = "payments:write",
        /// To read payments, their lists and their histories.
        PaymentsRead = "payments:read",
        /// To look at what operators see: breaks, dead letters, corrections, reports and pages.
        Ops = "ops",
        /// To decide about it.
        Admin = "admin",
    }
}

impl Scope {
    /// What a merchant's key may have, and has unless something else is said.
    pub const OF_MERCHANTS: &[Self] = &[Self::PaymentsWrite, Self::PaymentsRead];

    /// What an operator's key may have, and has unless something else is said.
    pub const OF_OPERATORS: &[Self] = &[Self::Ops, Self::Admin];
}

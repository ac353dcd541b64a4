//! Rules of risk, and reviews: what may be asked for, as words. The database decides, since it counts.

use crate::words;

words! {
    /// How a review ends.
    Verdict {
        /// A person let the payment pass.
        Approved = "approved",
        /// A person refused it.
        Denied = "denied",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

words! {
    /// Where a review stands.
    ReviewStatus {
        /// It waits for a person.
        Open = "open",
        /// A person let the payment pass.
        Approved = "approved",
        /// A person refused it.
        Denied = "denied",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

words! {
    /// What a rule looks at.
    RuleKind {
        /// The amount alone: it is above the rule's.
        AmountOver = "amount_over",
        /// How many requests of the customer came within the window.
        Velocity = "velocity",
        /// How many payments of the customer failed within the window.
        RecentFailures = "recent_failures",
        /// Whether a payment of the customer ever succeeded.
        NewCustomer = "new_customer",
        /// The customer.
        BlockedCustomer = "blocked_customer",
        /// The payment method.
        BlockedMethod = "blocked_method",
    }
}

words! {
    /// What follows where a rule is the first that hits.
    RuleAction {
        /// The payment passes, whatever later rules say.
        Approve = "approve",
        /// A person looks at it first.
        Review = "review",
        /// It is refused.
        Deny = "deny",
    }
}

//! The orders that the clients of a run make: the same for the same seed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

/// Payment methods that are charged without trouble.
pub(super) const GOOD: &[&str] = &["sim_ok"];

/// Payment methods with each kind of trouble, and mostly good ones, as in life. The gateway's faults strike
/// all of them besides.
pub(super) const MIXED: &[&str] = &[
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_ok",
    "sim_declined",
    "sim_insufficient_funds",
    "sim_503",
    "sim_429",
    "sim_500_charged",
    "sim_500_not_charged",
    "sim_timeout_charged",
    "sim_timeout_not_charged",
    "sim_reset_before",
    "sim_reset_after",
    "sim_lookup_down",
];

/// One payment that a client wants to be made, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The number of the merchant who sells it, from 0.
    pub(super) shop: usize,
    pub(super) customer_id: String,
    pub(super) key: String,
    pub(super) amount: String,
    pub(super) currency: &'static str,
    pub(super) payment_method: &'static str,
}

impl Order {
    /// The order of that number.
    pub(super) fn number(number: u64, seed: u64, methods: &[&'static str]) -> Self {
        // The factor sets the seeds of neighbours far enough apart that they share nothing.
        let mut dice = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let cents: u32 = dice.random_range(1..100_000);
        let (currency, amount) = match dice.random_range(0..10) {
            0 => ("JPY", cents.to_string()),
            1 | 2 => ("USD", format!("{}.{:02}", cents / 100, cents % 100)),
            _ => ("EUR", format!("{}.{:02}", cents / 100, cents % 100)),
        };
        let method = methods.get(dice.random_range(0..methods.len().max(1)));
        Self {
            shop: 0,
            customer_id: format!("chaos-{}", dice.random_range(0..20)),
            key: format!("order-{seed}-{number}"),
            amount,
            currency,
            payment_method: method.copied().unwrap_or("sim_ok"),
        }
    }

    pub(super) fn body(&self) -> Value {
        json!({
            "amount": self.amount,
            "currency": self.currency,
            "customer_id": self.customer_id,
            "payment_method": self.payment_method,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_buys_the_same() {
        let buy = |seed| (0..100).map(|n| Order::number(n, seed, MIXED)).collect::<Vec<_>>();

        assert_eq!(buy(7), buy(7));
        assert_ne!(buy(7), buy(8));
    }
}

//! How often something may happen in a second, as a setting says it.
//!
//! Invariant: rounding makes it rarer, never more often.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::Quota;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

/// 0.001 in a second: once in 1,000 seconds.
const RAREST: Decimal = Decimal::from_parts(1, 0, 0, false, 3);
const MOST_OFTEN: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
const NANOS: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// A number of times in a second. After a pause as many may come at once as fit into one second, and at least
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Quota);

/// Why a text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give a decimal number from {RAREST} to {MOST_OFTEN}, for example 50 or 0.5")]
pub struct NoRate;

impl FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        Self::per_s(text.parse().map_err(|_| NoRate)?)
    }
}

impl Rate {
    /// This many times in a second.
    ///
    /// # Errors
    /// It is too rare, or too often.
    pub fn per_s(per_s: Decimal) -> Result<Self, NoRate> {
        if !(RAREST..=MOST_OFTEN).contains(&per_s) {
            return Err(NoRate);
        }
        let between = (NANOS / per_s).ceil().to_u64().ok_or(NoRate)?;
        let burst = per_s.trunc().to_u32().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(between)).ok_or(NoRate)?;
        Ok(Self(quota.allow_burst(burst)))
    }

    /// The same rate, with this many at once after a pause.
    #[must_use]
    pub const fn with_burst(self, burst: NonZeroU32) -> Self {
        Self(self.0.allow_burst(burst))
    }

    /// The rate as the library that counts takes it.
    #[must_use]
    pub const fn quota(self) -> Quota {
        self.0
    }

    /// The time from one to the next where they come evenly.
    #[must_use]
    pub const fn between(self) -> Duration {
        self.0.replenish_interval()
    }

    /// How many may come at once after a pause.
    #[must_use]
    pub const fn burst(self) -> NonZeroU32 {
        self.0.burst_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_never_more_often_than_it_says_and_its_burst_is_one_seconds_worth() {
        for (text, between, burst) in [
            ("1", Duration::from_secs(1), 1),
            ("50", Duration::from_millis(20), 50),
            ("7", Duration::from_nanos(142_857_143), 7),
            ("2.9", Duration::from_nanos(344_827_587), 2),
            ("0.001", Duration::from_secs(1000), 1),
            ("1000000", Duration::from_micros(1), 1_000_000),
        ] {
            let quota = text.parse::<Rate>().unwrap().quota();

            assert_eq!(quota.replenish_interval(), between, "{text}");
            assert_eq!(quota.burst_size().get(), burst, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "0", "-1", "0.0009", "1000000.1", "fast", "NaN", "inf", "1/2"] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate), "{text}");
        }
    }
}

//! The buckets of everything that is measured in seconds.

use std::str::FromStr;

/// The upper bounds unless something else is said: from a quarter of a millisecond, which a repeated request
/// takes, to 15 minutes, for which a payment may be in doubt.
const DEFAULT: [f64; 20] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 120.0, 300.0, 900.0,
];

/// The longest bound.
const LONGEST: f64 = 900.0;

/// The most bounds. Each is a series for each label.
const MOST: usize = 50;

/// The upper bounds of the buckets, in seconds, each longer than the one before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets(Vec<f64>);

/// Why a text does not say buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "give 1 to {MOST} numbers of seconds up to {LONGEST}, each larger than the one before, as 0.005,0.1,1,60,900"
)]
pub struct NoBuckets;

impl Default for Buckets {
    fn default() -> Self {
        Self(DEFAULT.to_vec())
    }
}

impl Buckets {
    /// The upper bounds.
    #[must_use]
    pub fn bounds(&self) -> &[f64] {
        &self.0
    }
}

impl FromStr for Buckets {
    type Err = NoBuckets;

    fn from_str(text: &str) -> Result<Self, NoBuckets> {
        let bounds = text.split(',').map(|bound| bound.trim().parse().map_err(|_| NoBuckets));
        let bounds = bounds.collect::<Result<Vec<f64>, _>>()?;
        let is_good = (1..=MOST).contains(&bounds.len())
            && bounds.iter().all(|bound| *bound > 0.0 && *bound <= LONGEST)
            && bounds.is_sorted_by(|one, next| one < next);
        if is_good { Ok(Self(bounds)) } else { Err(NoBuckets) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_and_end_within_a_quarter_of_an_hour() {
        assert_eq!("0.5, 1,900".parse(), Ok(Buckets(vec![0.5, 1.0, 900.0])));
        let default: Vec<String> = DEFAULT.iter().map(ToString::to_string).collect();
        assert_eq!(default.join(",").parse(), Ok(Buckets::default()));
        for text in ["", "1,1", "2,1", "0", "-1", "901", "inf", "NaN", "1,,2", "1;2", "a", &"1,".repeat(60)] {
            assert_eq!(text.parse::<Buckets>(), Err(NoBuckets), "{text}");
        }
    }
}

//! How the processes share a key's limit: what each asks for, from what its own requests and those of the
//! others want. Pure.

use std::time::Duration;

/// The part of a limit that all processes of a key have alike, so that none stands still.
const ALIKE: f64 = 0.05;

/// How fast a want fades once requests stay away: to a third in this time.
const FADES_IN: Duration = Duration::from_millis(100);

/// A want below this is none.
const NOTHING: f64 = 0.001;

/// What the other processes say of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Others {
    /// How many have the key in use.
    pub(super) count: u32,
    /// The sum of their wants.
    pub(super) want: f64,
}

/// The share that a process asks for, as a part of the limit. Of all processes together it is 1, if they know
/// each other's wants. What they want beyond the limit is cut in proportion; what they leave is shared alike.
pub(super) fn target(wanted: f64, others: Others) -> f64 {
    if others.count == 0 {
        return 1.0;
    }
    let processes = f64::from(others.count) + 1.0;
    let all = wanted + others.want;
    let by_use = wanted / all.max(1.0) + (1.0 - all).max(0.0) / processes;
    ALIKE / processes + (1.0 - ALIKE) * by_use
}

/// What a key's requests want of a process, as a part of the limit, after a while in which so many came. It
/// rises at once and fades slowly. Who had to refuse one wants all.
pub(super) fn want(before: f64, came: f64, of_limit: f64, has_refused: bool, elapsed: Duration) -> f64 {
    let now = if has_refused { 1.0 } else { (came / of_limit.max(f64::MIN_POSITIVE)).min(1.0) };
    let faded = before * (-elapsed.as_secs_f64() / FADES_IN.as_secs_f64()).exp();
    let wanted = now.max(faded);
    if wanted < NOTHING { 0.0 } else { wanted }
}

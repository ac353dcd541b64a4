//! Named places where a test build can be made to stop, to die or to drop a guard, by the variable `PAYONCE_FAULTS`.
//!
//! `PAYONCE_FAULTS=claim.committed=stop,sabotage=no_fence`: at the first passage of that point the process sends itself
//! SIGSTOP (`stop`) or SIGKILL (`kill`); a sabotage takes one guard away for good; `clock=-3600` sets this process's own
//! clock an hour back, as far as the time in new ids is concerned, which is all that it is asked for; `poison=pm_1` makes the
//! process kill itself whenever it has a payment of that method in hand. A build without debug
//! assertions has none of this, and refuses to start when the variable is set.

#[cfg(debug_assertions)]
use std::sync::{LazyLock, Mutex};

/// The variable that arms faults.
pub const VARIABLE: &str = "PAYONCE_FAULTS";

/// Every point, in the order of a payment's life, and then of a reconciliation's.
pub const POINTS: &[&str] = &[
    "accept.before",
    "accept.committed",
    "claim.before",
    "claim.committed",
    "attempt.claimed",
    "charge.before",
    "charge.sending",
    "charge.answered",
    "lookup.before",
    "lookup.sending",
    "lookup.answered",
    "void.before",
    "void.sending",
    "void.answered",
    "settle.before",
    "settle.committed",
    "remedy.claimed",
    "remedy.recorded",
    "reconcile.repaired",
    "reconcile.read",
    "reconcile.compared",
    "reconcile.before_commit",
    "reconcile.committed",
    "reconcile.balanced",
    "reconcile.listed",
];

/// Every guard that can be taken away.
pub const SABOTAGES: &[&str] = &[
    "no_unique_key",
    "acknowledge_before_commit",
    "job_outside",
    "no_sweep",
    "no_lease_check",
    "takeover_charges",
    "event_skipped",
    "no_gateway_key",
    "new_key_per_attempt",
    "blind_retry",
    "doubt_forgotten",
    "timer_writes_failed",
    "no_fence",
    "ledger_skipped",
];

/// Why the variable is not understood.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}: {0}")]
pub struct InvalidFaults(String);

#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Stop,
    Kill,
}

#[cfg(debug_assertions)]
#[derive(Debug, Default, PartialEq, Eq)]
struct Armed {
    points: Vec<(String, Action)>,
    sabotages: Vec<String>,
    /// The payment method that kills whoever has it.
    poison: Option<String>,
    /// By how much this process's clock is wrong.
    clock_secs: Option<i64>,
}

#[cfg(debug_assertions)]
static ARMED: LazyLock<Armed> =
    LazyLock::new(|| parse(&crate::config::optional(VARIABLE).unwrap_or_default()).unwrap_or_default());

/// Which points have fired: each does so once.
#[cfg(debug_assertions)]
static FIRED: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[cfg(debug_assertions)]
fn parse(text: &str) -> Result<Armed, InvalidFaults> {
    let known = |names: &[&str], name: &str| match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(InvalidFaults(format!("no {name:?}, use one of {}", names.join(", ")))),
    };
    let mut armed = Armed::default();
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        match entry.split_once('=') {
            Some(("sabotage", name)) => armed.sabotages.push(known(SABOTAGES, name)?),
            Some(("poison", method)) => armed.poison = Some(method.to_owned()),
            Some(("clock", secs)) if secs.parse::<i64>().is_ok() => armed.clock_secs = secs.parse().ok(),
            Some((point, "stop")) => armed.points.push((known(POINTS, point)?, Action::Stop)),
            Some((point, "kill")) => armed.points.push((known(POINTS, point)?, Action::Kill)),
            Some(_) | None => {
                let why = format!(
                    "{entry:?} is none of <point>=stop, <point>=kill, sabotage=<guard>, poison=<payment method>, clock=<seconds>"
                );
                return Err(InvalidFaults(why));
            }
        }
    }
    Ok(armed)
}

/// Checks the variable at start-up.
///
/// # Errors
/// It is set in a build that has no faults, or names what does not exist.
pub fn check() -> Result<(), InvalidFaults> {
    match crate::config::optional(VARIABLE) {
        None => Ok(()),
        #[cfg(debug_assertions)]
        Some(text) => parse(&text).map(drop),
        #[cfg(not(debug_assertions))]
        Some(_) => Err(InvalidFaults("only a test build has faults; unset the variable".to_owned())),
    }
}

/// A named place. Does nothing unless a test armed it.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use nix::sys::signal::{Signal, raise};
    debug_assert!(POINTS.contains(&name), "{name} is missing in POINTS");
    let Some((_, action)) = ARMED.points.iter().find(|(point, _)| point == name) else { return };
    if let Ok(mut fired) = FIRED.lock() {
        if fired.iter().any(|point| point == name) {
            return;
        }
        fired.push(name.to_owned());
    }
    tracing::warn!(fault = name, ?action, "armed fault");
    let signal = match action {
        Action::Stop => Signal::SIGSTOP,
        Action::Kill => Signal::SIGKILL,
    };
    if let Err(why) = raise(signal) {
        tracing::error!(%why, fault = name, "armed fault did not fire");
    }
}

/// A named place; nothing in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn point(_name: &str) {}

/// Kills this process where the payment has the method that a test made poisonous; each time.
#[cfg(debug_assertions)]
pub fn swallow(payment_method: &str) {
    use nix::sys::signal::{Signal, raise};
    if ARMED.poison.as_deref() == Some(payment_method) {
        tracing::warn!(payment_method, "armed poison");
        if let Err(why) = raise(Signal::SIGKILL) {
            tracing::error!(%why, payment_method, "armed poison did not kill");
        }
    }
}

/// Harmless in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn swallow(_payment_method: &str) {}

/// Whether a test took this guard away.
#[cfg(debug_assertions)]
#[must_use]
pub fn sabotaged(guard: &str) -> bool {
    debug_assert!(SABOTAGES.contains(&guard), "{guard} is missing in SABOTAGES");
    ARMED.sabotages.iter().any(|name| name == guard)
}

/// Whether a test took this guard away; never in this build.
#[cfg(not(debug_assertions))]
#[inline]
#[must_use]
pub const fn sabotaged(_guard: &str) -> bool {
    false
}

/// Milliseconds since 1970 by this process's clock, where a test set it wrong.
#[cfg(debug_assertions)]
#[must_use]
pub fn wrong_clock_ms() -> Option<u64> {
    let secs = ARMED.clock_secs?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    let now_ms = i64::try_from(now.as_millis()).ok()?;
    u64::try_from(now_ms.saturating_add(secs.saturating_mul(1_000))).ok()
}

/// Never wrong in this build.
#[cfg(not(debug_assertions))]
#[inline]
#[must_use]
pub const fn wrong_clock_ms() -> Option<u64> {
    None
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn points_and_sabotages_are_read() {
        let armed = parse("claim.committed=stop,settle.before=kill,sabotage=no_fence").unwrap();
        assert_eq!(
            armed.points,
            [("claim.committed".to_owned(), Action::Stop), ("settle.before".to_owned(), Action::Kill)]
        );
        assert_eq!(armed.sabotages, ["no_fence"]);
        assert_eq!(parse("clock=-3600").unwrap().clock_secs, Some(-3600));
        assert_eq!(parse("").unwrap(), Armed::default());
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for text in [
            "claim.committed",
            "claim.committed=sleep",
            "nowhere=stop",
            "sabotage=everything",
            "=stop",
            "clock=late",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

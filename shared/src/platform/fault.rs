//! Named places where a test build can be made to stop, die, fail, pause or drop a guard, by the variable
//! `PAYONCE_FAULTS`.
//!
//! The variable is a list with commas between, such as `claim.committed=stop,sabotage=no_fence`:
//! - `<point>=stop` and `<point>=kill` send the process SIGSTOP or SIGKILL at the first passage of the point;
//! - `<point>=error` makes the operation there fail as it could fail by itself;
//! - `<point>=delay:1500` makes the task there pause for 1,500 ms;
//! - `<point>=kill@2` means the second passage;
//! - `sabotage=<guard>` takes one guard away for good;
//! - `clock=-3600` sets this process's clock an hour back, for new ids alone;
//! - `poison=<method>` makes the process kill itself whenever it has a payment of that method in hand.
//!
//! A build without debug assertions has none of this, and refuses to start when the variable is set.
//!
//! [`durable`](crate::database::durable) puts a point before and after each statement that commits,
//! [`point`](crate::point) names any other place.

#[cfg(debug_assertions)]
use std::sync::LazyLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicUsize, Ordering};
#[cfg(debug_assertions)]
use std::time::Duration;

mod points;

pub use points::POINTS;

/// The variable that arms faults.
pub const VARIABLE: &str = "PAYONCE_FAULTS";

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
    "decision_unchecked",
    "adopts_anything",
    "any_gateway",
    "no_transfer_key",
    "no_funds_check",
    "half_group",
    "one_sided",
    "hold_ends_twice",
    "new_key_per_refund",
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
    Error,
    Delay(Duration),
}

#[cfg(debug_assertions)]
impl Action {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "stop" => Some(Self::Stop),
            "kill" => Some(Self::Kill),
            "error" => Some(Self::Error),
            delay => {
                delay.strip_prefix("delay:")?.parse().ok().map(|ms| Self::Delay(Duration::from_millis(ms)))
            }
        }
    }
}

/// A point, what happens there, and at which passage of it.
#[cfg(debug_assertions)]
#[derive(Debug, PartialEq, Eq)]
struct Point {
    name: String,
    action: Action,
    passage: usize,
}

#[cfg(debug_assertions)]
#[derive(Debug, Default, PartialEq, Eq)]
struct Armed {
    points: Vec<Point>,
    sabotages: Vec<String>,
    /// The payment method that kills each process that has it in hand.
    poison: Option<String>,
    /// The seconds by which this process's clock is wrong.
    clock_secs: Option<i64>,
}

#[cfg(debug_assertions)]
static ARMED: LazyLock<Armed> = LazyLock::new(|| {
    parse(&crate::platform::config::optional(VARIABLE).unwrap_or_default()).unwrap_or_default()
});

/// How often each armed point was passed, in their order: each fires once.
#[cfg(debug_assertions)]
static PASSED: LazyLock<Vec<AtomicUsize>> =
    LazyLock::new(|| ARMED.points.iter().map(|_| AtomicUsize::new(0)).collect());

#[cfg(debug_assertions)]
fn parse(text: &str) -> Result<Armed, InvalidFaults> {
    let known = |names: &[&str], name: &str| match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(InvalidFaults(format!("no {name:?}, use one of {}", names.join(", ")))),
    };
    let unknown = |entry: &str| {
        InvalidFaults(format!(
            "{entry:?} is none of <point>=stop|kill|error|delay:<ms>, which may end with @<passage>, sabotage=<guard>, clock=<seconds>"
        ))
    };
    let mut armed = Armed::default();
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        match entry.split_once('=') {
            Some(("sabotage", name)) => armed.sabotages.push(known(SABOTAGES, name)?),
            Some(("poison", method)) => armed.poison = Some(method.to_owned()),
            Some(("clock", secs)) => armed.clock_secs = Some(secs.parse().map_err(|_| unknown(entry))?),
            Some((point, action)) => {
                let (action, passage) = action.split_once('@').unwrap_or((action, "1"));
                let action = Action::parse(action).ok_or_else(|| unknown(entry))?;
                let passage = passage.parse().map_err(|_| unknown(entry))?;
                armed.points.push(Point { name: known(POINTS, point)?, action, passage });
            }
            None => return Err(unknown(entry)),
        }
    }
    Ok(armed)
}

/// Checks the variable at start-up.
///
/// # Errors
/// The variable is set in a build that has no faults, or names what does not exist.
pub fn check() -> Result<(), InvalidFaults> {
    match crate::platform::config::optional(VARIABLE) {
        None => Ok(()),
        #[cfg(debug_assertions)]
        Some(text) => {
            if parse(&text)?.clock_secs.is_some() {
                domain::ids::set_clock(|| wrong_clock_ms().unwrap_or_default());
            }
            Ok(())
        }
        #[cfg(not(debug_assertions))]
        Some(_) => Err(InvalidFaults("only a test build has faults; unset the variable".to_owned())),
    }
}

/// A named place. It does nothing unless a test armed it, and is nothing in a build without debug assertions.
/// Where it is to fail, the function returns that error, or does what is given.
#[macro_export]
macro_rules! point {
    ($name:expr) => {
        #[cfg(debug_assertions)]
        $crate::platform::fault::reach($name).await?;
    };
    ($name:expr, $failing:expr) => {
        #[cfg(debug_assertions)]
        if $crate::platform::fault::reach($name).await.is_err() {
            $failing
        }
    };
}

/// What [`point`](crate::point) stands for in a test build.
///
/// # Errors
/// The point is armed to fail. The error says that no connection was free, or that it broke if the operation
/// is done by then.
#[cfg(debug_assertions)]
pub async fn reach(name: &str) -> sqlx::Result<()> {
    use nix::sys::signal::Signal;
    debug_assert!(POINTS.contains(&name), "{name} is missing in POINTS");
    let armed = ARMED.points.iter().zip(&*PASSED).find(|(point, _)| point.name == name);
    let Some((Point { action, passage, .. }, passed)) = armed else { return Ok(()) };
    if passed.fetch_add(1, Ordering::Relaxed) + 1 != *passage {
        return Ok(());
    }
    tracing::warn!(fault = name, ?action, "armed fault");
    match action {
        Action::Stop => signal(Signal::SIGSTOP, name),
        Action::Kill => signal(Signal::SIGKILL, name),
        Action::Delay(pause) => tokio::time::sleep(*pause).await,
        Action::Error if name.contains(".before") => return Err(sqlx::Error::PoolTimedOut),
        Action::Error => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
    }
    Ok(())
}

#[cfg(debug_assertions)]
fn signal(signal: nix::sys::signal::Signal, name: &str) {
    if let Err(why) = nix::sys::signal::raise(signal) {
        tracing::error!(%why, fault = name, "armed fault did not fire");
    }
}

/// Kills this process if the payment has the method that a test made poisonous, each time.
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

/// Milliseconds since 1970 by this process's clock, if a test set it wrong.
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
        let text = "claim.committed=stop,settle.before=kill@2,void.sending=error,bell.before=delay:1500,sabotage=no_fence";
        let armed = parse(text).unwrap();
        let points = [
            ("claim.committed", Action::Stop, 1),
            ("settle.before", Action::Kill, 2),
            ("void.sending", Action::Error, 1),
            ("bell.before", Action::Delay(Duration::from_millis(1500)), 1),
        ];
        assert_eq!(
            armed.points,
            points.map(|(name, action, passage)| Point { name: name.to_owned(), action, passage })
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
            "claim.committed=delay",
            "claim.committed=kill@twice",
            "nowhere=stop",
            "sabotage=everything",
            "=stop",
            "clock=late",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

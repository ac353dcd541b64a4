//! The only place where tests wait. They name what they wait for, and fail with that name.
//!
//! A wait fails at once where its end cannot come any more, such as the next word of a process that ended.
//! The deadline is for what hangs: no test passes or fails by how fast the machine is.

use std::fmt::Display;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// The longest wait. Only what hangs takes as long, even where the disk is cold and the machine is busy.
pub const DEADLINE: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `check` holds.
///
/// # Panics
/// After [`DEADLINE`], naming `what` and the caller.
#[track_caller]
pub fn wait_until(what: impl Display, mut check: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    wait_for(what, async move || check().await.then_some(()))
}

/// Waits until `look` finds something.
///
/// # Panics
/// After [`DEADLINE`], naming `what` and the caller.
#[track_caller]
pub fn wait_for<T>(what: impl Display, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    wait_for_within(DEADLINE, what, look)
}

/// Waits until `look` finds something, but no longer than `deadline`.
///
/// # Panics
/// After `deadline`, naming `what` and the caller.
#[track_caller]
pub fn wait_for_within<T>(
    deadline: Duration,
    what: impl Display,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    // Taken here, because `track_caller` does nothing for an async function.
    let caller = Location::caller();
    async move {
        let found = timeout(deadline, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                sleep(LOOK_EVERY).await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("waited {deadline:?} in vain for {what} (at {caller})"),
        }
    }
}

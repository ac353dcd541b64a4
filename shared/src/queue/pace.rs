//! How soon one worker's looks for jobs follow each other.
//!
//! The library looks whenever its worker is woken: by a hint, by a job that ended, by the clock. Jobs may
//! come one by one while several workers are awake. Then each look finds a few, and every batch costs a
//! statement that takes it and one that ends it. So a look that left nothing is followed by the next one only
//! after a while, in which jobs gather: the longer, the more it found. A worker that was idle looks at once.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The pause after a look that left nothing. It is small beside a gateway's answer.
const SHORTEST: Duration = Duration::from_millis(20);

/// The pause for each job that the look found. Where jobs come so fast that the next look finds as many,
/// the machine is better used by fewer looks with more jobs each.
const FOR_EACH: Duration = Duration::from_millis(4);

/// The longest pause. Several workers that keep up with a full load look as often as one that does not.
const LONGEST: Duration = Duration::from_millis(80);

/// The time of the next look.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// None means at once.
    next_at: Option<Instant>,
}

impl Pace {
    /// Waits for the time of the next look.
    pub(super) async fn wait(&self) {
        if let Some(at) = self.next_at {
            sleep_until(at).await;
        }
    }

    /// Notes that a look found this many jobs, of those that it might have taken.
    pub(super) fn looked(&mut self, found: usize, limit: usize) {
        self.next_at = (found < limit).then(|| Instant::now() + pause(found));
    }
}

fn pause(found: usize) -> Duration {
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    FOR_EACH.saturating_mul(found).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waited(pace: &Pace) -> Duration {
        let before = Instant::now();
        pace.wait().await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_left_nothing_is_followed_by_a_pause_and_an_idle_worker_looks_at_once() {
        let mut pace = Pace::default();
        assert_eq!(waited(&pace).await, Duration::ZERO);
        pace.looked(256, 256);
        assert_eq!(waited(&pace).await, Duration::ZERO, "more may be left");
        for (found, pause) in [(0, SHORTEST), (5, SHORTEST), (10, 2 * SHORTEST), (255, LONGEST)] {
            pace.looked(found, 256);
            assert_eq!(waited(&pace).await, pause, "{found} found");
        }
        pace.looked(0, 256);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(waited(&pace).await, Duration::ZERO);
    }
}

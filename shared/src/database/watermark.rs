//! Where a look for what is due may begin, so that it need not read again what it has seen.
//!
//! Whoever looks again and again reads an index from its beginning, where what is done with leaves dead entries. Postgres
//! clears them away, but not while a snapshot from before is held, as by a dump: then each look would read all that was done
//! since. So a look begins where the one before had come to. What falls due below that (it committed late, or was given
//! back) must not be forgotten: a look at all there is comes as often as it is cheap.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// At most one part in so many of the time goes into looks at all there is.
const SHARE: u32 = 20;

/// But there is one at least so often.
const LONGEST: Duration = Duration::from_secs(10);

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<T> {
    /// What it found.
    pub found: Vec<T>,
    /// It left nothing that fell due before; none where it cannot tell.
    pub reached: Option<DateTime<Utc>>,
}

/// How far somebody's looks have come.
#[derive(Debug, Default)]
pub struct Watermark {
    /// By the database's clock. Below it nothing is left, as far as is known.
    reached: Option<DateTime<Utc>>,
    /// When to look at all there is; none: now.
    whole_at: Option<Instant>,
}

/// One look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// It reads nothing that fell due before; none: it reads all there is.
    pub since: Option<DateTime<Utc>>,
    began: Instant,
}

impl Watermark {
    /// The next look.
    #[must_use]
    pub fn look(&self) -> Look {
        let began = Instant::now();
        let is_whole = self.whole_at.is_none_or(|at| at <= began);
        Look { since: self.reached.filter(|_| !is_whole), began }
    }

    /// The look was answered, and left nothing that fell due before `reached`.
    pub fn looked(&mut self, look: Look, reached: Option<DateTime<Utc>>) {
        self.reached = reached.or(self.reached);
        if look.since.is_none() {
            let pause = (look.began.elapsed() * SHARE).min(LONGEST);
            self.whole_at = Some(Instant::now() + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dear(watermark: &mut Watermark, reached: DateTime<Utc>) {
        let began = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
        watermark.looked(Look { since: None, began }, Some(reached));
    }

    #[test]
    fn after_a_dear_look_at_all_there_is_the_next_ones_begin_where_it_came_to() {
        let mut watermark = Watermark::default();
        assert_eq!(watermark.look().since, None);
        let (first, later) = (DateTime::UNIX_EPOCH, Utc::now());
        dear(&mut watermark, first);
        assert_eq!(watermark.look().since, Some(first));
        watermark.looked(watermark.look(), None);
        assert_eq!(watermark.look().since, Some(first));
        watermark.looked(watermark.look(), Some(later));
        assert_eq!(watermark.look().since, Some(later));
        assert!(watermark.whole_at.is_some_and(|at| at <= Instant::now() + LONGEST));
    }

    #[test]
    fn when_its_time_has_come_a_look_reads_all_there_is() {
        let mut watermark = Watermark::default();
        dear(&mut watermark, Utc::now());
        watermark.whole_at = Some(Instant::now());
        assert_eq!(watermark.look().since, None);
    }
}

//! Where a search for what is due may begin, so that it need not read again what it has seen.
//!
//! A repeated search reads an index from its beginning, where finished rows leave dead entries. Postgres
//! clears them away, but not while an older snapshot is held, as by a dump. Then each search would read all
//! that was finished since. So a search begins where the one before had come to. Rows that fall due below
//! that, because they committed late or were given back, must not be forgotten. So a search through
//! everything comes as often as it is cheap.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Searches through everything take at most one part in this many of the time.
const SHARE: u32 = 20;

/// A search through everything comes after this time at the latest. It alone finds a row that became visible
/// long after its due time.
const LONGEST: Duration = Duration::from_secs(30);

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<T> {
    /// What the search found.
    pub found: Vec<T>,
    /// The due time before which nothing was left. None where the search cannot tell.
    pub reached: Option<DateTime<Utc>>,
}

/// How far the searches of one caller have come.
#[derive(Debug, Default)]
pub struct Watermark {
    /// The due time, by the database's clock, below which nothing is left as far as is known.
    reached: Option<DateTime<Utc>>,
    /// When to search through everything; none means now.
    whole_at: Option<Instant>,
}

/// One search through what is due.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The search reads nothing that fell due before this time. None means that it reads everything.
    pub since: Option<DateTime<Utc>>,
    began: Instant,
}

impl Watermark {
    /// The next search to make.
    #[must_use]
    pub fn look(&self) -> Look {
        let began = Instant::now();
        let is_whole = self.whole_at.is_none_or(|at| at <= began);
        Look { since: self.reached.filter(|_| !is_whole), began }
    }

    /// Notes that a search was answered, and left nothing that fell due before `reached`.
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

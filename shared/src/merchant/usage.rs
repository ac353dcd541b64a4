//! When keys were last used, by day.
//!
//! Invariant: no request waits for it. A process writes each secret's use once a day, in a task of its own;
//! what a process that dies has not written yet is written with the next use. The same statement has a
//! secret that is stored under the other pepper stored under that of new keys.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{NaiveDate, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;

use super::auth::{Columns, Presented};
use super::pepper::Peppers;
use crate::database::InTime as _;

/// The pause after a statement that failed.
const PAUSE: Duration = Duration::from_secs(5);

/// The secrets that opened something today, and those of them that are to be written.
#[derive(Debug, Default)]
pub struct Usage {
    today: Mutex<Today>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Today {
    day: NaiveDate,
    noted: HashSet<[u8; 32]>,
    waiting: Vec<Presented>,
}

impl Usage {
    /// Notes that a secret opened something. Only one that did may be noted: their number is bounded by that
    /// of the keys.
    pub fn note(&self, presented: &Presented) {
        if self.today().note(Utc::now().date_naive(), presented) {
            self.more.notify_one();
        }
    }

    /// Writes what is noted, without end.
    pub async fn keep_written(&self, pool: &PgPool, peppers: &Peppers) {
        loop {
            self.more.notified().await;
            let waiting = std::mem::take(&mut self.today().waiting);
            if let Err(why) = write(pool, peppers, &waiting).await {
                tracing::debug!(%why, "the use of keys is written later");
                self.today().waiting.extend(waiting);
                tokio::time::sleep(PAUSE).await;
                self.more.notify_one();
            }
        }
    }

    fn today(&self) -> MutexGuard<'_, Today> {
        // Nothing panics while it is held.
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Today {
    /// Answers whether there is something new to write.
    fn note(&mut self, day: NaiveDate, presented: &Presented) -> bool {
        if self.day != day {
            self.day = day;
            self.noted.clear();
        }
        let is_new = self.noted.insert(presented.hash());
        if is_new {
            self.waiting.push(*presented);
        }
        is_new
    }
}

async fn write(pool: &PgPool, peppers: &Peppers, used: &[Presented]) -> sqlx::Result<()> {
    let columns = Columns::of(used);
    sqlx::query!(
        "update api_keys a
            set last_used_on = (now() at time zone 'utc')::date,
                secret_hash = case a.secret_hash when k.other_hash then k.hash else a.secret_hash end,
                pepper = case when a.secret_hash = k.other_hash and a.pepper is not null then $4 else a.pepper end,
                prior_hash = case a.prior_hash when k.other_hash then k.hash else a.prior_hash end
           from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as k (named, hash, other_hash)
          cross join lateral key_of(k.named, k.hash, k.other_hash) as o
          where a.id = o.key_id
            and (a.last_used_on is distinct from (now() at time zone 'utc')::date
                 or k.hash <> k.other_hash and k.other_hash in (a.secret_hash, a.prior_hash))",
        &columns.named as &[Option<uuid::Uuid>],
        &columns.hashes,
        &columns.other_hashes,
        peppers.mark()
    )
    .execute(pool)
    .in_time()
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merchant::scope::Scope;

    #[test]
    fn a_secret_is_written_once_a_day() {
        let peppers = Peppers::read(&"x".repeat(32)).unwrap();
        let read = |text, needs| Presented::read(text, &peppers, needs).unwrap();
        let (one, other) = (read("one", Scope::PaymentsRead), read("other", Scope::PaymentsRead));
        let days = ["2026-01-31", "2026-02-01"].map(|day| day.parse::<NaiveDate>().unwrap());
        let mut today = Today::default();

        assert!(today.note(days[0], &one));
        assert!(today.note(days[0], &other));
        assert!(!today.note(days[0], &read("one", Scope::PaymentsWrite)));
        assert!(today.note(days[1], &one));
        assert_eq!(today.waiting, [one, other, one]);
    }
}

//! How many requests an API key may make, and how the API processes share that.
//!
//! Invariant: what all processes are granted of one key's limit is at most 1.05 of it together. The database
//! grants, one process at a time, and forgets a process of which it has heard nothing for [`ALIVE`].

use std::num::NonZeroU32;
use std::time::Duration;

use domain::ids::KeyId;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{InTime as _, Lend};
use crate::platform::rate::Rate;

/// How long a share is granted for without another heartbeat.
pub const ALIVE: Duration = Duration::from_secs(10);

/// What a request takes from: its key's limit of writes, or that of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Requests that may change something.
    Writes,
    /// Requests that only read.
    Reads,
}

impl Traffic {
    /// Both, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Writes, Self::Reads];

    /// The word for it in the database, in headers and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Reads => "reads",
        }
    }
}

/// The limits that are stored with a key. None is the default of the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Of requests that may change something.
    pub writes: Option<Rate>,
    /// Of requests that only read.
    pub reads: Option<Rate>,
}

impl KeyLimits {
    /// The limit of one traffic.
    #[must_use]
    pub const fn of(self, traffic: Traffic) -> Option<Rate> {
        match traffic {
            Traffic::Writes => self.writes,
            Traffic::Reads => self.reads,
        }
    }
}

/// A limit as it is stored, and as people are shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLimit {
    /// The requests in a second.
    pub per_s: Decimal,
    /// The requests at once after a pause. None: one second's worth.
    pub burst: Option<NonZeroU32>,
}

impl StoredLimit {
    /// A limit by its two columns.
    pub(super) fn of(per_s: Option<Decimal>, burst: Option<i32>) -> Option<Self> {
        let burst = burst.and_then(|burst| u32::try_from(burst).ok()).and_then(NonZeroU32::new);
        per_s.map(|per_s| Self { per_s, burst })
    }

    /// The rate that it means. The database stores none that would be no rate.
    pub(super) fn rate(self) -> Option<Rate> {
        let rate = Rate::per_s(self.per_s).ok()?;
        Some(self.burst.map_or(rate, |burst| rate.with_burst(burst)))
    }

    fn burst_column(self) -> Option<i32> {
        self.burst.map(|burst| i32::try_from(burst.get()).unwrap_or(i32::MAX))
    }
}

/// What becomes of a stored limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stays.
    Keep,
    /// The default of the settings holds again.
    Default,
    /// This one holds.
    To(StoredLimit),
}

impl Change {
    const fn keeps(self) -> bool {
        matches!(self, Self::Keep)
    }

    const fn limit(self) -> Option<StoredLimit> {
        match self {
            Self::Keep | Self::Default => None,
            Self::To(limit) => Some(limit),
        }
    }
}

/// Changes the limits of a key. Answers false if there is no such key.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn change(pool: &PgPool, id: KeyId, writes: Change, reads: Change) -> sqlx::Result<bool> {
    let per_s = |change: Change| change.limit().map(|limit| limit.per_s);
    let burst = |change: Change| change.limit().and_then(StoredLimit::burst_column);
    let changed = sqlx::query!(
        "update api_keys
            set writes_per_s = case when $2 then writes_per_s else $3 end,
                writes_burst = case when $2 then writes_burst else $4 end,
                reads_per_s = case when $5 then reads_per_s else $6 end,
                reads_burst = case when $5 then reads_burst else $7 end
          where id = $1",
        id.uuid(),
        writes.keeps(),
        per_s(writes),
        burst(writes),
        reads.keeps(),
        per_s(reads),
        burst(reads)
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// What a process says of one limit that it enforces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// The key.
    pub key: KeyId,
    /// Which of its limits.
    pub traffic: Traffic,
    /// The part of the limit that its requests ask of this process, 0 to 1.
    pub wanted: f64,
    /// The share that the process would have, 0 to 1.
    pub target: f64,
}

/// What a process may let through from now on, for [`ALIVE`] at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grant {
    /// The key.
    pub key: KeyId,
    /// Which of its limits.
    pub traffic: Traffic,
    /// The part of the limit that is this process's own, 0 to 1.
    pub share: f64,
    /// The number of other processes that have the key in use.
    pub others: u32,
    /// The sum of what they say that they want.
    pub others_want: f64,
}

/// The heartbeat of a process: says what it asks for, and answers what it is granted. What it says nothing of
/// any more it gives back, and without any ask it leaves.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn share(on: &impl Lend, process: Uuid, asks: &[Ask]) -> sqlx::Result<Vec<Grant>> {
    let keys: Vec<Uuid> = asks.iter().map(|ask| ask.key.uuid()).collect();
    let scopes: Vec<String> = asks.iter().map(|ask| ask.traffic.as_str().to_owned()).collect();
    let wants: Vec<f64> = asks.iter().map(|ask| ask.wanted).collect();
    let targets: Vec<f64> = asks.iter().map(|ask| ask.target).collect();
    let mut connection = on.lend().await?;
    let rows = sqlx::query!(
        r#"select key_id as "key_id!", traffic as "traffic!", share as "share!", others as "others!", others_want as "others_want!"
             from share_limits($1, $2, $3, $4, $5, make_interval(secs => $6))"#,
        process,
        &keys,
        &scopes,
        &wants,
        &targets,
        ALIVE.as_secs_f64()
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    let grants = connection.back(rows)?.into_iter().filter_map(|row| {
        let traffic = Traffic::ALL.into_iter().find(|traffic| traffic.as_str() == row.traffic)?;
        let others = u32::try_from(row.others).unwrap_or(u32::MAX);
        Some(Grant {
            key: row.key_id.into(),
            traffic,
            share: row.share,
            others,
            others_want: row.others_want,
        })
    });
    Ok(grants.collect())
}

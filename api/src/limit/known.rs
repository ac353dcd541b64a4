//! The keys that this process has in use: their limits, and what is under way with each.
//!
//! Invariant: only a key that was found valid is kept, and one that has not been used for a while is
//! forgotten. So no client can fill the memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::ids::KeyId;
use shared::merchant::auth::{Caller, Presented};
use shared::merchant::limits::{Ask, Grant, KeyLimits, Traffic};

use super::bucket::{Bucket, Standing, Taken};

/// How long the limits of a key are taken as known.
const KNOWN_FOR: Duration = Duration::from_secs(2);

/// How long a key is kept after its last request.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// What is known of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// It is this key's, and its limits are known.
    Fresh(KeyId),
    /// The same, but the limits may have changed: whoever hears this asks for them.
    Old(KeyId),
    Nothing,
}

#[derive(Debug)]
struct Secret {
    key: KeyId,
    read_at: Instant,
}

#[derive(Debug)]
struct Key {
    writes: Option<Bucket>,
    reads: Option<Bucket>,
    under_way: usize,
    waits: usize,
    used_at: Instant,
}

impl Key {
    const fn bucket(&mut self, traffic: Traffic) -> &mut Option<Bucket> {
        match traffic {
            Traffic::Writes => &mut self.writes,
            Traffic::Reads => &mut self.reads,
        }
    }

    fn may_be_forgotten(&mut self, now: Instant) -> bool {
        let is_idle = self.under_way == 0 && self.waits == 0 && now >= self.used_at + KEPT_FOR;
        let full = |bucket: &mut Option<Bucket>| bucket.as_mut().is_none_or(|bucket| bucket.is_full(now));
        is_idle && full(&mut self.writes) && full(&mut self.reads)
    }
}

/// Counted for one key: its requests, or those of them that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    UnderWay,
    Waits,
}

/// All keys in use.
#[derive(Debug)]
pub(super) struct Known {
    /// The limits of keys that have none of their own.
    default: KeyLimits,
    secrets: HashMap<Presented, Secret>,
    keys: HashMap<KeyId, Key>,
}

impl Known {
    pub(super) fn new(default: KeyLimits) -> Self {
        Self { default, secrets: HashMap::new(), keys: HashMap::new() }
    }

    /// What is known of a secret. One caller in [`KNOWN_FOR`] is told that it is old.
    pub(super) fn of(&mut self, secret: Presented, now: Instant) -> Knowledge {
        let Some(known) = self.secrets.get_mut(&secret) else { return Knowledge::Nothing };
        if now < known.read_at + KNOWN_FOR {
            return Knowledge::Fresh(known.key);
        }
        known.read_at = now;
        Knowledge::Old(known.key)
    }

    /// Notes what was read of a secret. One that opens nothing is not kept.
    pub(super) fn learn(&mut self, secret: Presented, caller: Option<Caller>, now: Instant) {
        let Some(caller) = caller else {
            self.secrets.remove(&secret);
            return;
        };
        self.secrets.insert(secret, Secret { key: caller.key, read_at: now });
        let new = || Key { writes: None, reads: None, under_way: 0, waits: 0, used_at: now };
        let key = self.keys.entry(caller.key).or_insert_with(new);
        for traffic in Traffic::ALL {
            let limit = caller.limits.of(traffic).or(self.default.of(traffic));
            match (limit, key.bucket(traffic)) {
                (None, bucket) => *bucket = None,
                (Some(limit), Some(bucket)) => bucket.limit(limit, now),
                (Some(limit), bucket) => *bucket = Some(Bucket::new(limit, now)),
            }
        }
    }

    /// Takes one request from a limit of a key, and says how that stands. Nothing where there is no limit.
    pub(super) fn take(&mut self, key: KeyId, traffic: Traffic, now: Instant) -> Option<(Taken, Standing)> {
        let key = self.keys.get_mut(&key)?;
        key.used_at = now;
        let bucket = key.bucket(traffic).as_mut()?;
        Some((bucket.take(now), bucket.standing(now)))
    }

    /// How a limit of a key stands, without taking from it.
    pub(super) fn standing(&mut self, key: KeyId, traffic: Traffic, now: Instant) -> Option<Standing> {
        Some(self.keys.get_mut(&key)?.bucket(traffic).as_mut()?.standing(now))
    }

    /// Counts one more, unless there are `most` already.
    pub(super) fn enter(&mut self, key: KeyId, count: Count, most: usize) -> bool {
        let Some(count) = self.count(key, count) else { return true };
        let has_room = *count < most;
        *count += usize::from(has_room);
        has_room
    }

    /// Counts one less.
    pub(super) fn leave(&mut self, key: KeyId, count: Count) {
        if let Some(count) = self.count(key, count) {
            *count = count.saturating_sub(1);
        }
    }

    fn count(&mut self, key: KeyId, count: Count) -> Option<&mut usize> {
        let key = self.keys.get_mut(&key)?;
        Some(match count {
            Count::UnderWay => &mut key.under_way,
            Count::Waits => &mut key.waits,
        })
    }

    /// What this process says at its next heartbeat: all its limits. What is forgotten is not among them.
    pub(super) fn asks(&mut self, now: Instant) -> Vec<Ask> {
        self.keys.retain(|_, key| !key.may_be_forgotten(now));
        self.secrets.retain(|_, secret| self.keys.contains_key(&secret.key));
        let mut asks = Vec::new();
        for (&id, key) in &mut self.keys {
            for traffic in Traffic::ALL {
                if let Some(bucket) = key.bucket(traffic) {
                    let (wanted, target) = bucket.ask(now);
                    asks.push(Ask { key: id, traffic, wanted, target });
                }
            }
        }
        asks
    }

    /// Notes what was granted to what was asked at that moment.
    pub(super) fn granted(&mut self, grants: &[Grant], asked_at: Instant, now: Instant) {
        for grant in grants {
            let key = self.keys.get_mut(&grant.key);
            if let Some(bucket) = key.and_then(|key| key.bucket(grant.traffic).as_mut()) {
                bucket.granted(grant, asked_at, now);
            }
        }
    }

    /// Whether others wait for what this process has of some limit.
    pub(super) fn has_too_much(&self) -> bool {
        let has = |bucket: &Option<Bucket>| bucket.as_ref().is_some_and(Bucket::has_too_much);
        self.keys.values().any(|key| has(&key.writes) || has(&key.reads))
    }

    /// Whether a limit of this key has a share.
    pub(super) fn is_granted(&mut self, key: KeyId, traffic: Traffic, now: Instant) -> bool {
        let key = self.keys.get_mut(&key);
        key.and_then(|key| key.bucket(traffic).as_mut()).is_none_or(|bucket| bucket.is_granted(now))
    }

    /// The share of a key's writes that is in use.
    #[cfg(test)]
    pub(super) fn in_use(&self, key: KeyId, now: Instant) -> f64 {
        self.keys[&key].writes.as_ref().map_or(0.0, |bucket| bucket.in_use(now))
    }

    /// Whether a heartbeat should not wait for the next second.
    pub(super) fn is_urgent(&mut self, now: Instant) -> bool {
        let is_urgent = |bucket: &mut Option<Bucket>| {
            bucket.as_mut().is_some_and(|bucket| {
                bucket.ask(now);
                bucket.is_urgent()
            })
        };
        // Each is asked, since asking counts.
        self.keys
            .values_mut()
            .fold(false, |any, key| is_urgent(&mut key.writes) | is_urgent(&mut key.reads) | any)
    }
}

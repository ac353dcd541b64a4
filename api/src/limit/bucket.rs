//! The bucket of one limit of one key in this process: its share of the limit, and how full it is.
//!
//! Invariant: a share is lowered here before it is told, and raised only after it was granted. A bucket is
//! filled only by time: a share that grows brings no request with it, but where nobody else has the key.

use std::time::{Duration, Instant};

use shared::merchant::limits::{ALIVE, Grant};
use shared::platform::rate::Rate;

use super::law::{self, Others};

/// How long a share is used without another heartbeat. The database may give it to others after [`ALIVE`].
const VALID: Duration = Duration::from_secs(8);
const _: () = assert!(VALID.as_secs() < ALIVE.as_secs());

/// The shortest time over which requests are counted.
const COUNTED_OVER: Duration = Duration::from_millis(200);

/// A difference of shares that does not wait for the next second.
const MUCH: f64 = 0.05;

/// A difference that others wait for.
const LITTLE: f64 = 0.01;

/// The seconds within which a share reaches what it is asked for.
const REACHES_IN_S: f64 = 2.0;

/// What arithmetic may lose of a request.
const LOST: f64 = 1e-6;

/// How a limit stands, as an answer tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The requests of the window.
    pub(super) quota: u32,
    /// In how many seconds as many may be made again, rounded up.
    pub(super) window_s: u64,
    /// The requests that this process would let through now.
    pub(super) left: u64,
    /// The seconds until there is one more, rounded up.
    pub(super) next_s: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Admitted,
    Refused,
    /// The process has no share, or had it for too long.
    Ungranted,
}

#[derive(Debug)]
pub(super) struct Bucket {
    per_s: f64,
    burst: u32,
    share: f64,
    /// The share that the database knows of.
    told: f64,
    valid_until: Option<Instant>,
    level: f64,
    filled_at: Instant,
    came: f64,
    has_refused: bool,
    counted_at: Instant,
    wanted: f64,
    others: Others,
    /// Whether the last heartbeat found that the others want something else than before.
    others_moved: bool,
}

impl Bucket {
    /// A bucket without a share. Its first requests show that it wants one.
    pub(super) fn new(limit: Rate, now: Instant) -> Self {
        Self {
            per_s: per_s(limit),
            burst: limit.burst().get(),
            share: 0.0,
            told: 0.0,
            valid_until: None,
            level: 0.0,
            filled_at: now,
            came: 0.0,
            has_refused: false,
            counted_at: now,
            wanted: 1.0,
            others: Others::default(),
            others_moved: false,
        }
    }

    /// Sets another limit from now on.
    pub(super) fn limit(&mut self, limit: Rate, now: Instant) {
        self.fill(now);
        (self.per_s, self.burst) = (per_s(limit), limit.burst().get());
        self.level = self.level.min(self.room());
    }

    /// Takes one request.
    pub(super) fn take(&mut self, now: Instant) -> Taken {
        if !self.is_granted(now) {
            return Taken::Ungranted;
        }
        self.fill(now);
        self.came += 1.0;
        if self.level + LOST < 1.0 {
            self.has_refused = true;
            return Taken::Refused;
        }
        self.level = (self.level - 1.0).max(0.0);
        Taken::Admitted
    }

    pub(super) fn is_granted(&self, now: Instant) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }

    /// Counts what came, and answers what the process wants of the limit, and the share that it asks for. If
    /// that is less than it has, it has no more from now on.
    pub(super) fn ask(&mut self, now: Instant) -> (f64, f64) {
        let elapsed = now.saturating_duration_since(self.counted_at);
        if elapsed >= COUNTED_OVER {
            let of_limit = self.per_s * elapsed.as_secs_f64();
            self.wanted = law::want(self.wanted, self.came, of_limit, self.has_refused, elapsed);
            (self.came, self.has_refused, self.counted_at) = (0.0, false, now);
        }
        let target = law::target(self.wanted, self.others);
        if target < self.share {
            self.has(target, now);
        }
        (self.wanted, target)
    }

    /// Whether others wait for what this process gives back, or its own requests for what it asks for.
    pub(super) fn is_urgent(&self) -> bool {
        let may_rise = law::target(self.wanted, self.others) > self.told + MUCH;
        // What others gave up once, they may be about to give up further.
        let may_rise = may_rise || self.others_moved && self.wanted > self.told;
        self.has_too_much() || self.is_short() && may_rise
    }

    /// Whether others wait for what this process has.
    pub(super) fn has_too_much(&self) -> bool {
        self.is_short() && law::target(self.wanted, self.others) + LITTLE < self.told
    }

    /// Whether all together want more than the limit. If not, no difference of shares is felt.
    fn is_short(&self) -> bool {
        self.wanted + self.others.want > 1.0 - MUCH
    }

    /// The share that was granted to what was asked at that moment.
    pub(super) fn granted(&mut self, grant: &Grant, asked_at: Instant, now: Instant) {
        let (is_first, is_back) = (self.valid_until.is_none(), !self.is_granted(now));
        self.has(grant.share, now);
        self.told = grant.share;
        self.others_moved = (grant.others_want - self.others.want).abs() > MUCH;
        self.others = Others { count: grant.others, want: grant.others_want };
        self.valid_until = Some(asked_at + VALID);
        // Others may have let through all that was left of the limit.
        match (is_first, grant.others) {
            (true, 0) => self.level = self.room(),
            (true, _) => self.level = 1.0,
            (false, 0) => {}
            (false, _) if is_back => self.level = self.level.min(1.0),
            (false, _) => {}
        }
    }

    /// How the limit stands.
    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        self.fill(now);
        let missing = 1.0 - (self.level + LOST).fract();
        let (alone, mut next) =
            (missing / self.per_s, missing / (self.per_s * self.share).max(f64::MIN_POSITIVE));
        if self.share < self.hoped() {
            next = next.min(alone.max(REACHES_IN_S));
        }
        Standing {
            quota: self.burst,
            window_s: whole(f64::from(self.burst) / self.per_s),
            left: floor(self.level + LOST),
            next_s: whole(next),
        }
    }

    /// Whether nothing would be forgotten with it.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level + LOST >= self.room()
    }

    /// The share by which requests are let through.
    #[cfg(test)]
    pub(super) fn in_use(&self, now: Instant) -> f64 {
        if self.is_granted(now) { self.share } else { 0.0 }
    }

    /// The share that the next heartbeats may bring.
    fn hoped(&self) -> f64 {
        law::target(if self.has_refused { 1.0 } else { self.wanted }, self.others)
    }

    fn has(&mut self, share: f64, now: Instant) {
        self.fill(now);
        self.share = share;
        self.level = self.level.min(self.room());
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now.max(self.filled_at);
        self.level = (self.level + elapsed.as_secs_f64() * self.per_s * self.share).min(self.room());
    }

    /// The requests that fit in. At least one does, since a part of a request is none.
    fn room(&self) -> f64 {
        (f64::from(self.burst) * self.share).max(1.0)
    }
}

fn per_s(limit: Rate) -> f64 {
    limit.between().as_secs_f64().recip()
}

/// Seconds, rounded up, and at least one.
fn whole(seconds: f64) -> u64 {
    Duration::try_from_secs_f64((seconds - LOST).max(0.0).ceil())
        .map_or(u64::MAX, |whole| whole.as_secs())
        .max(1)
}

fn floor(number: f64) -> u64 {
    Duration::try_from_secs_f64(number.max(0.0)).map_or(u64::MAX, |whole| whole.as_secs())
}

//! How a worker's gateway calls are shared out, so that one merchant's slow payments cost no other merchant.
//!
//! Invariants: looks and voids, which most often follow a silence, have at most a quarter of the calls. If
//! payments of several merchants have come lately, one merchant has at most half of the calls. It takes no
//! more than an equal part if that would leave less than an eighth for the others. Each share is at least one
//! call, so that nothing starves. A single merchant with nothing in doubt has all calls. What finds no room
//! stays due.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::transition::Claim;
use domain::decide::Purpose;

/// A merchant whose payments have not come for this time has nothing to wait for.
const LATELY: Duration = Duration::from_secs(10);

/// How many of the due payments a claim may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The room for looks and voids.
    pub looks: i64,
    /// The room for payments of each merchant that is not named below.
    pub of_each: i64,
    /// The merchants with a room of their own.
    pub merchants: Vec<Uuid>,
    /// The room of each of these, in the same order.
    pub of_these: Vec<i64>,
}

impl Quota {
    /// The merchants that have all that they may have.
    #[must_use]
    pub fn full(&self) -> Vec<Uuid> {
        let merchants = self.merchants.iter().zip(&self.of_these);
        merchants.filter(|(_, room)| **room == 0).map(|(id, _)| *id).collect()
    }

    /// Whether this number of payments may find no room.
    pub(crate) fn may_bind(&self, payments: usize) -> bool {
        let least = self.of_these.iter().chain([&self.looks, &self.of_each]).min().copied().unwrap_or(0);
        usize::try_from(least).is_ok_and(|least| least < payments)
    }
}

impl Default for Quota {
    /// Room for all that there are.
    fn default() -> Self {
        Self { looks: i64::MAX, of_each: i64::MAX, merchants: Vec::new(), of_these: Vec::new() }
    }
}

/// The calls that are under way, and whose they are.
#[derive(Debug)]
pub struct Shares {
    calls: usize,
    /// How many of them there may be now.
    allowed: AtomicUsize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    looks: usize,
    of: HashMap<Uuid, Merchant>,
}

#[derive(Debug)]
struct Merchant {
    under_way: usize,
    seen_at: Instant,
}

/// The part of one call. It is free again when it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    merchant: Option<Uuid>,
    is_look: bool,
}

impl Shares {
    /// The shares of this number of calls at a time.
    #[must_use]
    pub fn new(calls: usize) -> Self {
        let calls = calls.max(1);
        Self { calls, allowed: AtomicUsize::new(calls), taken: Mutex::default() }
    }

    /// Sets how many calls are shared from now on, never more than there were at first.
    pub fn allow(&self, calls: usize) {
        self.allowed.store(calls.clamp(1, self.calls), Ordering::Relaxed);
    }

    /// Notes that a payment of this merchant is due, and found no room yet.
    pub fn see(&self, merchant: Uuid) {
        let now = Instant::now();
        self.taken().of.entry(merchant).or_insert(Merchant { under_way: 0, seen_at: now }).seen_at = now;
    }

    /// The merchants whose payments have come lately.
    #[must_use]
    pub fn seen(&self) -> Vec<Uuid> {
        self.taken().of.keys().copied().collect()
    }

    /// The room for what may be claimed now.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota_at(Instant::now())
    }

    fn quota_at(&self, now: Instant) -> Quota {
        let mut taken = self.taken();
        taken
            .of
            .retain(|_, merchant| merchant.under_way > 0 || now.duration_since(merchant.seen_at) < LATELY);
        let Taken { looks, of } = &*taken;
        let calls = self.allowed.load(Ordering::Relaxed);
        let under_way: usize = of.values().map(|merchant| merchant.under_way).sum();
        let room = |share: usize, under_way: usize| {
            i64::try_from(share.saturating_sub(under_way)).unwrap_or(i64::MAX)
        };
        let are_many = of.len() > 1;
        let equal = (calls / of.len().max(1)).max(1);
        // The calls that may still be taken before less than an eighth is left for the others.
        let spare = calls.saturating_sub(calls / 8).saturating_sub(under_way);
        let room_of = |under_way: usize| match are_many {
            true => room((calls / 2).max(1), under_way).min(room(equal, under_way).max(room(spare, 0))),
            false => room(calls, under_way),
        };
        // A merchant that is alone is named even with nothing under way: it has more room than a new one.
        let named = of.iter().filter(|(_, merchant)| !are_many || merchant.under_way > 0);
        let (merchants, of_these) = named.map(|(id, merchant)| (*id, room_of(merchant.under_way))).unzip();
        // A new merchant does not take all at once: another one that comes meanwhile must find room.
        let of_each = if of.is_empty() { room(calls, 0) } else { room((calls / 2).max(1), 0) };
        Quota { looks: room(self.looks(), *looks), of_each, merchants, of_these }
    }

    /// Whether some of the calls have waited, so that not everything due can be taken in its order.
    #[must_use]
    pub fn are_scarce(&self) -> bool {
        let taken = self.taken();
        taken.looks > 0 || taken.of.len() > 1 || self.allowed.load(Ordering::Relaxed) < self.calls
    }

    /// Counts a claim's call in, for as long as the share lives.
    #[must_use]
    pub fn take(self: &Arc<Self>, claim: &Claim) -> Arc<Share> {
        Arc::new(self.take_for(claim.merchant_id.uuid(), claim.purpose != Purpose::Charge))
    }

    /// Counts in a look or a void that no payment's claim is for, if there is room for one.
    #[must_use]
    pub fn take_look(self: &Arc<Self>) -> Option<Share> {
        let mut taken = self.taken();
        if taken.looks >= self.looks() {
            return None;
        }
        taken.looks += 1;
        Some(Share { shares: self.clone(), merchant: None, is_look: true })
    }

    fn take_for(self: &Arc<Self>, merchant: Uuid, is_look: bool) -> Share {
        let now = Instant::now();
        let mut taken = self.taken();
        taken.looks += usize::from(is_look);
        let of = taken.of.entry(merchant).or_insert(Merchant { under_way: 0, seen_at: now });
        of.under_way += 1;
        of.seen_at = now;
        Share { shares: self.clone(), merchant: Some(merchant), is_look }
    }

    fn looks(&self) -> usize {
        (self.allowed.load(Ordering::Relaxed) / 4).max(1)
    }

    /// No code that holds the lock can leave it half changed, so a poisoned lock is as good as any.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        taken.looks -= usize::from(self.is_look);
        if let Some(merchant) = self.merchant.and_then(|id| taken.of.get_mut(&id)) {
            merchant.under_way -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn charges(shares: &Arc<Shares>, merchant: Uuid, count: usize) -> Vec<Share> {
        (0..count).map(|_| shares.take_for(merchant, false)).collect()
    }

    fn room_of(quota: &Quota, merchant: Uuid) -> i64 {
        let at = quota.merchants.iter().position(|id| *id == merchant);
        at.map_or(quota.of_each, |at| quota.of_these[at])
    }

    #[test]
    fn one_merchant_with_nothing_in_doubt_has_all_calls() {
        let shares = Arc::new(Shares::new(8));
        assert_eq!(shares.quota().of_each, 8);
        let six = charges(&shares, A, 6);
        assert_eq!(room_of(&shares.quota(), A), 2);
        drop(six);
        assert_eq!(room_of(&shares.quota(), A), 8);
    }

    #[test]
    fn of_several_merchants_each_has_at_most_half() {
        let shares = Arc::new(Shares::new(8));
        let _of_a = charges(&shares, A, 3);
        assert_eq!(room_of(&shares.quota(), B), 4);
        let of_b = charges(&shares, B, 1);
        assert_eq!((room_of(&shares.quota(), A), room_of(&shares.quota(), B)), (1, 3));
        let _last_of_a = charges(&shares, A, 1);
        assert_eq!(shares.quota().full(), [A]);
        drop(of_b);
        assert_eq!(room_of(&shares.quota(), A), 0, "the other one came a moment ago");
    }

    #[test]
    fn two_who_take_half_each_leave_room_for_a_third() {
        let shares = Arc::new(Shares::new(64));
        let _of_a = charges(&shares, A, 32);
        shares.see(B);
        let room = usize::try_from(room_of(&shares.quota(), B)).unwrap();
        let _of_b = charges(&shares, B, room.min(24));
        shares.see(Uuid::from_u128(3));
        assert_eq!((room_of(&shares.quota(), A), room_of(&shares.quota(), B)), (0, 0));
        assert!(room_of(&shares.quota(), Uuid::from_u128(3)) > 0);
    }

    #[test]
    fn while_few_calls_are_allowed_these_are_what_is_shared() {
        let shares = Arc::new(Shares::new(64));
        shares.allow(4);
        shares.see(B);
        let _of_a = charges(&shares, A, 2);
        assert_eq!(room_of(&shares.quota(), A), 0);
        assert_eq!(shares.quota().looks, 1);
        shares.allow(1_000);
        assert_eq!(room_of(&shares.quota(), A), 30);
    }

    #[test]
    fn who_has_not_come_for_a_while_needs_no_room() {
        let shares = Arc::new(Shares::new(8));
        let _of_a = charges(&shares, A, 4);
        drop(charges(&shares, B, 1));
        assert_eq!(room_of(&shares.quota(), A), 0);
        assert_eq!(room_of(&shares.quota_at(Instant::now() + LATELY), A), 4);
    }

    #[test]
    fn looks_have_a_quarter_and_at_least_one() {
        for (calls, looks) in [(256, 64), (8, 2), (4, 1), (3, 1), (1, 1)] {
            let shares = Arc::new(Shares::new(calls));
            assert_eq!(shares.quota().looks, looks, "{calls}");
            let _look = shares.take_for(A, true);
            assert_eq!(shares.quota().looks, looks - 1, "{calls}");
            assert_eq!(shares.take_look().is_some(), looks > 1);
        }
    }

    #[test]
    fn a_share_that_is_gone_is_free() {
        let shares = Arc::new(Shares::new(1));
        for is_look in [true, false] {
            drop(shares.take_for(A, is_look));
            assert_eq!(room_of(&shares.quota(), A), 1);
            assert!(shares.take_look().is_some());
        }
    }
}

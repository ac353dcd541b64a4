//! How often one client may come with a key that opens nothing where operators are let in.
//!
//! Each address has a bucket. Where it is empty, the next key is not even looked at until there is room for
//! one more, so that it is not told whether that was a right one. A right key takes nothing out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use shared::platform::listener::ClientAddress;

use crate::problem::Problem;

/// The number of buckets beyond which full ones are forgotten.
const CLIENTS: usize = 1_000;

/// The buckets of all clients.
pub(crate) struct Tries {
    buckets: DefaultKeyedRateLimiter<IpAddr>,
    /// Until when no key of a client is looked at.
    shut: Mutex<HashMap<IpAddr, Instant>>,
}

impl Tries {
    /// So many wrong keys in a minute, and as many at once.
    pub(crate) fn new(per_min: NonZeroU32) -> Self {
        Self { buckets: RateLimiter::keyed(Quota::per_minute(per_min)), shut: Mutex::default() }
    }

    /// Refuses a client whose keys are not looked at for now.
    pub(super) fn admit(&self, client: IpAddr) -> Result<(), Problem> {
        let now = Instant::now();
        match self.shut().get(&client) {
            Some(until) if *until > now => Err(too_many(*until - now)),
            _ => Ok(()),
        }
    }

    /// Counts a wrong key. Answers the problem of one too many.
    pub(super) fn count(&self, client: IpAddr) -> Result<(), Problem> {
        if self.buckets.len() > CLIENTS {
            self.buckets.retain_recent();
        }
        self.buckets.check_key(&client).map_err(|not_until| {
            let (wait, now) = (not_until.wait_time_from(self.buckets.clock().now()), Instant::now());
            let mut shut = self.shut();
            shut.retain(|_, until| *until > now);
            shut.insert(client, now + wait);
            too_many(wait)
        })
    }

    fn shut(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        // Nothing panics while it is held.
        self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(wait: Duration) -> Problem {
    // In whole seconds, rounded up so that no key comes too early.
    Problem::TooManyTries { retry_after_s: wait.as_secs() + 1 }
}

/// Whose tries these are: the address without the port, and of IPv6 the network, as a host has all of it.
pub(super) fn client(extensions: &Extensions) -> IpAddr {
    let address = extensions.get::<ClientAddress>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |it| it.0.ip());
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn after_so_many_wrong_keys_a_client_is_refused_and_another_is_not() {
        let tries = Tries::new(NonZeroU32::new(3).unwrap());
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..3 {
            assert_eq!(tries.admit(one), Ok(()));
            assert_eq!(tries.count(one), Ok(()));
        }
        assert_eq!(tries.admit(one), Ok(()), "the bucket is empty, and nobody has come for more");

        assert!(matches!(tries.count(one), Err(Problem::TooManyTries { retry_after_s: 1..=20 })));
        assert!(matches!(tries.admit(one), Err(Problem::TooManyTries { retry_after_s: 1..=20 })));
        assert_eq!(tries.admit(other), Ok(()));
    }

    #[test]
    fn a_client_is_its_address_without_the_port_and_of_ipv6_its_network() {
        let of = |address: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(ClientAddress(address.parse::<SocketAddr>().unwrap()));
            client(&extensions).to_string()
        };
        assert_eq!(of("10.0.0.1:4711"), "10.0.0.1");
        assert_eq!(of("[::ffff:10.0.0.1]:4711"), "10.0.0.1");
        assert_eq!(of("[2001:db8:1:2:3:4:5:6]:4711"), "2001:db8:1:2::");
    }
}

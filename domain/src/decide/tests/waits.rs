//! The length of each wait: the number in the sequence, tied to its time.

use super::*;

#[test]
fn waits_double_up_to_the_longest_and_vary_by_a_tenth() {
    for (n, secs) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (6, 10.0), (40, 10.0)] {
        for _ in 0..50 {
            let wait = policy().backoff(n).as_secs_f64();
            assert!((secs * 0.899..=secs * 1.101).contains(&wait), "retry {n} waits {wait} s, not {secs} s");
        }
    }
}

#[test]
fn the_retries_of_a_payment_wait_one_two_and_four_seconds() {
    for (spent, secs) in [(0, 1.0), (1, 2.0), (2, 4.0)] {
        let now = Situation { retries_spent: spent, ..first() };
        about(wait_after(&now, &policy(), ChargeOutcome::NotExecuted), secs);
    }
}

#[test]
fn waits_grow_with_what_used_up_no_try_too() {
    for (delays, secs) in [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 10.0), (4_000_000_000, 10.0)] {
        let now = Situation { delay_count: delays, ..first() };
        for outcome in [
            ChargeOutcome::Unreachable(String::new()),
            ChargeOutcome::RateLimited(None),
            ChargeOutcome::RateLimited(Some(Duration::ZERO)),
            ChargeOutcome::Unauthorized,
            ChargeOutcome::NotSent("too_late_to_send"),
        ] {
            about(wait_after(&now, &policy(), outcome), secs);
        }
    }
    let both = Situation { retries_spent: 1, delay_count: 1, ..first() };
    about(wait_after(&both, &policy(), ChargeOutcome::Unreachable(String::new())), 4.0);
}

#[test]
fn the_multiplier_is_a_setting() {
    for (multiplier, secs) in [(1.0, 1.0), (3.0, 9.0)] {
        let policy = Policy { backoff_multiplier: multiplier, ..policy() };
        about(policy.backoff(3), secs);
    }
}

#[test]
fn looks_come_ever_later() {
    let waits: Vec<_> = (0..9).map(|n| policy().verify_wait(n).as_millis()).collect();
    assert_eq!(waits, [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 60_000, 60_000]);
}

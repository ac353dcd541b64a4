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
            ChargeOutcome::NotSent(crate::outcome::NotSent::TooLateToSend),
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
fn the_first_and_the_longest_wait_are_settings() {
    let policy = Policy {
        backoff_initial: Duration::from_millis(500),
        backoff_max: Duration::from_secs(3),
        max_retries: 10,
        ..policy()
    };
    for (spent, secs) in [(0, 0.5), (1, 1.0), (2, 2.0), (3, 3.0), (9, 3.0)] {
        let now = Situation { retries_spent: spent, ..first() };
        about(wait_after(&now, &policy, ChargeOutcome::NotExecuted), secs);
    }
}

#[test]
fn a_charge_that_is_absent_is_sent_again_after_the_wait_of_the_tries_before_it() {
    for (spent, secs) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0)] {
        let now = Situation { retries_spent: spent, not_found_count: 1, ..in_doubt() };
        let step = after_lookup(&now, &policy(), LookupOutcome::NotFound);
        let Step::Retry { wait, reason: Reason::Absent, .. } = step else {
            panic!("{spent} spent: {step:?}")
        };
        about(wait, secs);
    }
}

#[test]
fn looks_come_ever_later() {
    let waits: Vec<_> = (0..9).map(|n| policy().verify_wait(n).as_millis()).collect();
    assert_eq!(waits, [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 60_000, 60_000]);
}

/// The waits before the looks, in milliseconds, by how many looks there were.
const LOOKS: [(u32, u128); 8] = [
    (0, 500),
    (1, 1_000),
    (2, 2_000),
    (3, 5_000),
    (4, 10_000),
    (5, 30_000),
    (6, 60_000),
    (4_000_000_000, 60_000),
];

#[track_caller]
fn check_doubt_waits(step: Step, millis: u128) {
    let Step::Doubt { wait, .. } = step else { panic!("{step:?}") };
    assert_eq!(wait.as_millis(), millis, "{step:?}");
}

#[test]
fn a_doubt_waits_for_its_next_look_by_the_looks_before_it_whatever_the_last_one_heard() {
    for (looks, millis) in LOOKS {
        let now = Situation { verify_count: looks, ..in_doubt() };
        let early = Situation { send_by_age: Duration::ZERO, ..now };
        for outcome in [
            LookupOutcome::Pending { is_ours: true },
            LookupOutcome::NoAnswer(silent()),
            LookupOutcome::NotFound,
        ] {
            check_doubt_waits(after_lookup(&now, &policy(), outcome), millis);
        }
        check_doubt_waits(after_lookup(&early, &policy(), LookupOutcome::NotFound), millis);
        for outcome in [
            ChargeOutcome::Unknown(silent()),
            ChargeOutcome::StillWorking,
            ChargeOutcome::KeyBusy,
            ChargeOutcome::NotTheGateway(String::new()),
            ChargeOutcome::WrongAnswer(charge()),
        ] {
            check_doubt_waits(after_charge(&now, &policy(), outcome), millis);
        }
    }
}

#[test]
fn a_void_without_an_answer_is_asked_for_again_by_the_requests_before_it() {
    for (requests, millis) in LOOKS {
        let now = Situation { verify_count: requests, ..in_doubt() };
        check_doubt_waits(after_void(&now, &policy(), &VoidOutcome::NoAnswer(silent())), millis);
    }
}

//! The tables of what to do next, and what must hold of every step.

use proptest::prelude::*;

use super::*;
use crate::ids::PaymentId;
use crate::outcome::{ChargeStatus, Failed, FailureKind, NotSent, Refusal};

mod declines;
mod past;
mod profile;
mod waits;

fn policy() -> Policy {
    Policy::default()
}

/// A gateway that may charge twice for one key.
fn forgetful() -> Policy {
    with(|profile| profile.honours_keys = false)
}

/// The usual gateway, but for this difference.
fn with(difference: impl FnOnce(&mut Profile)) -> Policy {
    let mut policy = policy();
    difference(&mut policy.profile);
    policy
}

/// A first attempt that was just claimed.
fn first() -> Situation {
    Situation::default()
}

/// A payment in doubt whose charge must be visible by now.
fn in_doubt() -> Situation {
    Situation {
        in_doubt: true,
        retries_spent: 1,
        verify_count: 3,
        send_by_age: Duration::from_secs(16),
        first_sent_age: Duration::from_secs(20),
        doubt_age: Duration::from_secs(15),
        age: Duration::from_secs(20),
        ..first()
    }
}

fn silent() -> Failed {
    Failed::new(FailureKind::Timeout, "nothing")
}

fn refusal(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: String::new() }
}

fn charge() -> Charge {
    Charge {
        id: "ch_1".to_owned(),
        key: "k".to_owned(),
        status: ChargeStatus::Succeeded,
        amount: rust_decimal::Decimal::ONE,
        currency: "EUR".to_owned(),
        reference: Some("k".to_owned()),
        decline: None,
    }
}

/// The wait before the next attempt, after this outcome.
#[track_caller]
fn wait_after(now: &Situation, policy: &Policy, outcome: ChargeOutcome) -> Duration {
    let step = after_charge(now, policy, outcome);
    let Step::Retry { wait, .. } = step else { panic!("{step:?}") };
    wait
}

#[track_caller]
fn about(wait: Duration, secs: f64) {
    let wait = wait.as_secs_f64();
    assert!((secs * 0.899..=secs * 1.101).contains(&wait), "waits {wait} s, not {secs} s");
}

#[test]
fn no_outage_however_long_ends_a_payment_before_its_time() {
    for delays in [0, 10, 100_000] {
        let now =
            Situation { delay_count: delays, retries_spent: 3, age: Duration::from_hours(23), ..first() };
        for outcome in [ChargeOutcome::Unreachable(String::new()), ChargeOutcome::RateLimited(None)] {
            assert!(matches!(
                after_charge(&now, &policy(), outcome),
                Step::Retry { spends: Spends::Nothing, .. }
            ));
        }
        let stranger = after_charge(&now, &policy(), ChargeOutcome::NotTheGateway(String::new()));
        assert!(matches!(stranger, Step::Doubt { spends: Spends::Nothing, .. }), "{stranger:?}");
    }
}

#[test]
fn a_probe_uses_up_no_try_whatever_it_hears() {
    let probe = Situation { retries_spent: 3, is_probe: true, ..first() };
    let step = after_charge(&probe, &policy(), ChargeOutcome::NotExecuted);
    assert!(matches!(step, Step::Retry { spends: Spends::Nothing, .. }), "{step:?}");
    let step = after_charge(&probe, &policy(), ChargeOutcome::Unknown(silent()));
    assert!(matches!(step, Step::Doubt { spends: Spends::Nothing, .. }), "{step:?}");
}

#[test]
fn what_was_ever_sent_is_looked_up_before_its_time_ends_it() {
    let old = Situation { age: Duration::from_hours(25), ..first() };
    let failed = before_charge(&old, &policy());
    assert!(
        matches!(&failed, Some(Step::Fail(failure)) if failure.code == Reason::Expired.as_str()),
        "{failed:?}"
    );
    let sent = Situation { was_sent: true, ..old };
    let looked_up = before_charge(&sent, &policy());
    assert!(
        matches!(
            looked_up,
            Some(Step::Doubt { wait: Duration::ZERO, reason: Reason::Expired, spends: Spends::Nothing, .. })
        ),
        "{looked_up:?}"
    );
    let absent = Situation { age: old.age, not_found_count: 1, ..in_doubt() };
    let voided = after_lookup(&absent, &policy(), LookupOutcome::NotFound);
    assert_eq!(voided, Step::StartVoid { reason: Reason::Expired, spends: Spends::Nothing });
}

#[track_caller]
fn check_retried(outcome: ChargeOutcome, reason: Reason, spends: Spends) {
    let step = after_charge(&first(), &policy(), outcome);
    let Step::Retry { reason: given, spends: spent, .. } = step else { panic!("{reason}: {step:?}") };
    assert_eq!((given, spent), (reason, spends));
}

#[track_caller]
fn check_doubted(outcome: ChargeOutcome, reason: Reason, spends: Spends) {
    let step = after_charge(&first(), &policy(), outcome);
    let Step::Doubt { reason: given, spends: spent, .. } = step else { panic!("{reason}: {step:?}") };
    assert_eq!((given, spent), (reason, spends));
}

#[test]
fn each_outcome_of_a_first_charge_has_its_step() {
    use ChargeOutcome as O;
    assert_eq!(after_charge(&first(), &policy(), O::Charged(charge())), Step::Succeed(charge()));
    assert!(
        matches!(after_charge(&first(), &policy(), O::Declined(refusal("no"))), Step::Fail(f) if f.code == "no")
    );
    let invalid = after_charge(&first(), &policy(), O::Invalid(refusal("bad")));
    assert!(matches!(invalid, Step::Fail(f) if f.code == "non_retryable" && !f.retryable));
    let unknown = after_charge(&first(), &policy(), O::Invalid(refusal(PAYMENT_METHOD_UNKNOWN)));
    assert!(matches!(unknown, Step::Fail(f) if f.code == "payment_method_unknown" && !f.retryable));
    check_doubted(O::StillWorking, Reason::StillWorking, Spends::Try);
    check_doubted(O::KeyBusy, Reason::KeyInUse, Spends::Nothing);
    check_doubted(O::Unknown(silent()), Reason::Timeout, Spends::Try);
    check_doubted(O::Unknown(Failed::new(FailureKind::Reset, "")), Reason::Reset, Spends::Try);
    check_doubted(O::Unknown(Failed::new(FailureKind::ServerError, "")), Reason::ServerError, Spends::Try);
    check_doubted(O::NotTheGateway(String::new()), Reason::NotTheGateway, Spends::Nothing);
    let reused = after_charge(&first(), &policy(), O::KeyReused(refusal("key_reused")));
    assert_eq!(reused, Step::Hold(HeldReason::Contradiction));
    check_doubted(O::WrongAnswer(charge()), Reason::WrongAnswer, Spends::Try);
    check_retried(O::NotExecuted, Reason::NotExecuted, Spends::Try);
    check_retried(O::Unreachable(String::new()), Reason::Unreachable, Spends::Nothing);
    check_retried(O::RateLimited(None), Reason::RateLimited, Spends::Nothing);
    check_retried(O::Unauthorized, Reason::Unauthorized, Spends::Nothing);
    check_retried(O::NotSent(NotSent::TooLateToSend), Reason::TooLateToSend, Spends::Nothing);
}

#[test]
fn a_rate_limit_is_obeyed_up_to_a_minute() {
    for (asked, waits) in [(7, 7), (60, 60), (3_600, 60)] {
        let outcome = ChargeOutcome::RateLimited(Some(Duration::from_secs(asked)));
        assert_eq!(wait_after(&first(), &policy(), outcome).as_secs(), waits, "{asked:?}");
    }
}

#[test]
fn one_try_and_three_retries_then_failed_or_void() {
    let after = |retries_spent, in_doubt| {
        after_charge(&Situation { retries_spent, in_doubt, ..first() }, &policy(), ChargeOutcome::NotExecuted)
    };
    for spent in 0..3 {
        assert!(matches!(after(spent, false), Step::Retry { .. }), "{spent} spent");
    }
    assert!(matches!(after(3, false), Step::Fail(failure) if failure.code == "retries_exhausted"));
    assert_eq!(after(3, true), Step::StartVoid { reason: Reason::RetriesExhausted, spends: Spends::Try });
}

#[test]
fn a_payment_never_in_doubt_waits_for_a_gateway_that_is_away_but_not_for_ever() {
    let limited =
        |age| after_charge(&Situation { age, ..first() }, &policy(), ChargeOutcome::RateLimited(None));
    assert!(matches!(limited(Duration::from_hours(23)), Step::Retry { .. }));
    assert!(matches!(limited(Duration::from_hours(25)), Step::Fail(failure) if failure.code == "expired"));
}

#[test]
fn an_invalid_request_proves_nothing_about_earlier_attempts() {
    let step = after_charge(&in_doubt(), &policy(), ChargeOutcome::Invalid(refusal("bad")));
    assert!(matches!(step, Step::Doubt { .. }), "{step:?}");
}

#[test]
fn not_found_counts_only_once_a_charge_must_be_visible_and_twice_means_absent() {
    let early = Situation { send_by_age: Duration::from_millis(14_999), not_found_count: 1, ..in_doubt() };
    let found_nothing = |now: Situation| after_lookup(&now, &policy(), LookupOutcome::NotFound);
    assert!(matches!(found_nothing(early), Step::Doubt { reason: Reason::NotVisibleYet, .. }));
    assert!(matches!(
        found_nothing(in_doubt()),
        Step::Doubt { reason: Reason::NotFound, spends: Spends::Nothing, .. }
    ));
    let twice = Situation { not_found_count: 1, ..in_doubt() };
    assert!(matches!(
        found_nothing(twice),
        Step::Retry { reason: Reason::Absent, spends: Spends::Nothing, .. }
    ));
}

#[test]
fn an_absent_charge_is_sent_again_only_while_the_gateway_keeps_our_key() {
    let absent = |now: Situation, policy: &Policy| {
        after_lookup(&Situation { not_found_count: 1, ..now }, policy, LookupOutcome::NotFound)
    };
    assert!(matches!(absent(in_doubt(), &forgetful()), Step::StartVoid { .. }));
    let old = Situation { first_sent_age: Duration::from_hours(23), ..in_doubt() };
    assert!(matches!(absent(old, &policy()), Step::StartVoid { .. }));
    let spent = Situation { retries_spent: 4, ..in_doubt() };
    assert!(matches!(absent(spent, &policy()), Step::StartVoid { .. }));
}

#[test]
fn a_payment_that_waited_too_long_is_not_charged_when_its_turn_comes() {
    let before = |now: Situation, policy: &Policy| before_charge(&now, policy);
    assert_eq!(before(first(), &policy()), None);
    assert_eq!(before(in_doubt(), &policy()), None);

    let not_trusted = Some(Step::StartVoid { reason: Reason::KeyNotTrusted, spends: Spends::Nothing });
    let forgotten = Situation { first_sent_age: Duration::from_hours(23), ..in_doubt() };
    assert_eq!(before(forgotten, &policy()), not_trusted);
    assert_eq!(before(in_doubt(), &forgetful()), not_trusted);
    assert_eq!(before(first(), &forgetful()), None);

    let old = Situation { age: Duration::from_hours(25), ..first() };
    assert!(matches!(before(old, &policy()), Some(Step::Fail(failure)) if failure.code == "expired"));
    let long_in_doubt = Situation { doubt_age: Duration::from_mins(16), ..in_doubt() };
    assert!(matches!(
        before(long_in_doubt, &policy()),
        Some(Step::StartVoid { reason: Reason::DoubtDeadline, .. })
    ));
}

#[test]
fn nothing_is_tried_again_at_once() {
    let impatient = ChargeOutcome::RateLimited(Some(Duration::from_millis(1)));
    assert_eq!(wait_after(&first(), &policy(), impatient), policy().backoff_initial);
}

#[test]
fn doubt_has_an_end() {
    let long = Situation { doubt_age: Duration::from_mins(16), ..in_doubt() };
    let step = after_lookup(&long, &policy(), LookupOutcome::NoAnswer(silent()));
    assert_eq!(step, Step::StartVoid { reason: Reason::DoubtDeadline, spends: Spends::Nothing });
}

#[test]
fn books_that_contradict_ours_are_for_a_person() {
    let wrong = after_lookup(&in_doubt(), &policy(), LookupOutcome::WrongAnswer(charge()));
    assert_eq!(wrong, Step::Hold(HeldReason::WrongAnswer));
    let contradiction = after_lookup(&in_doubt(), &policy(), LookupOutcome::Contradiction("two"));
    assert_eq!(contradiction, Step::Hold(HeldReason::Contradiction));
}

#[test]
fn a_void_is_asked_for_until_it_is_confirmed_and_a_person_is_told_when_that_takes_long() {
    let no_answer = VoidOutcome::NoAnswer(silent());
    let since = |void_age, verify_count| Situation { void_age, verify_count, ..in_doubt() };
    assert_eq!(
        after_void(&in_doubt(), &policy(), &VoidOutcome::Confirmed),
        Step::Reverse { reason: Reason::VoidConfirmed }
    );
    let soon = after_void(&since(Duration::from_mins(1), 3), &policy(), &no_answer);
    assert!(matches!(soon, Step::Doubt { tells: false, .. }), "{soon:?}");
    for age in [Duration::from_mins(16), Duration::from_hours(10_000)] {
        let late = after_void(&since(age, 1_000), &policy(), &no_answer);
        assert!(
            matches!(late, Step::Doubt { tells: true, spends: Spends::Nothing, wait, .. } if wait == Duration::from_mins(1)),
            "{late:?}"
        );
    }
    let patient = Policy { verify_waits: vec![Duration::from_hours(5)], ..policy() };
    let capped = after_void(&in_doubt(), &patient, &no_answer);
    assert!(matches!(capped, Step::Doubt { wait, .. } if wait == Duration::from_mins(1)), "{capped:?}");
    let held = Step::Hold(HeldReason::Unverifiable);
    assert_eq!(after_void(&in_doubt(), &policy(), &VoidOutcome::Unsupported), held);
}

prop_compose! {
    fn any_situation()(
        (in_doubt, was_sent, is_probe) in any::<(bool, bool, bool)>(),
        (retries_spent, delay_count) in (0_u32..6, 0_u32..60),
        verify_count in 0_u32..100,
        not_found_count in 0_u32..3,
        secs in prop::array::uniform5(0_u64..200_000),
    ) -> Situation {
        let [age, doubt_age, first_sent_age, send_by_age, void_age] = secs.map(Duration::from_secs);
        Situation {
            in_doubt, retries_spent, delay_count, verify_count, not_found_count, age, was_sent, is_probe,
            doubt_age: if in_doubt { doubt_age } else { Duration::ZERO },
            first_sent_age, send_by_age, void_age, is_voiding: false, from_a_return: None,
        }
    }
}

fn any_charge_outcome() -> impl Strategy<Value = ChargeOutcome> {
    use ChargeOutcome as O;
    prop_oneof![
        Just(O::Charged(charge())),
        Just(O::StillWorking),
        Just(O::Declined(refusal("no"))),
        Just(O::Invalid(refusal("bad"))),
        Just(O::Unauthorized),
        Just(O::KeyBusy),
        (0_u64..10_000).prop_map(|secs| O::RateLimited(Some(Duration::from_secs(secs)))),
        Just(O::NotExecuted),
        Just(O::Unreachable(String::new())),
        Just(O::NotTheGateway(String::new())),
        Just(O::NotSent(NotSent::TooLateToSend)),
        Just(O::Unknown(silent())),
        Just(O::WrongAnswer(charge())),
        Just(O::KeyClosed),
        Just(O::ChargedAs(charge(), PaymentId::generate())),
    ]
}

fn any_lookup_outcome() -> impl Strategy<Value = LookupOutcome> {
    use LookupOutcome as O;
    prop_oneof![
        Just(O::Charged(charge())),
        Just(O::Declined(charge())),
        Just(O::Pending { is_ours: true }),
        Just(O::KeyClosed),
        Just(O::NotFound),
        Just(O::WrongAnswer(charge())),
        Just(O::Contradiction("two")),
        Just(O::Unsupported),
        Just(O::NoAnswer(silent())),
    ]
}

proptest! {
    #[test]
    fn a_payment_in_doubt_fails_only_by_a_decline(now in any_situation(), outcome in any_charge_outcome()) {
        let declined = matches!(outcome, ChargeOutcome::Declined(_));
        let failed = matches!(after_charge(&now, &policy(), outcome), Step::Fail(_));
        prop_assert!(!(now.in_doubt && failed) || declined);
    }

    #[test]
    fn an_unknown_outcome_is_never_retried_and_never_fails(now in any_situation()) {
        for outcome in [ChargeOutcome::Unknown(silent()), ChargeOutcome::StillWorking, ChargeOutcome::KeyBusy] {
            let step = after_charge(&now, &policy(), outcome);
            prop_assert!(matches!(step, Step::Doubt { .. } | Step::StartVoid { .. }), "{:?}", step);
        }
    }

    #[test]
    fn no_lookup_spends_a_try_and_only_absence_leads_to_a_charge(now in any_situation(), outcome in any_lookup_outcome()) {
        let found_nothing = outcome == LookupOutcome::NotFound;
        match after_lookup(&Situation { in_doubt: true, ..now }, &policy(), outcome) {
            Step::Retry { spends, reason, .. } => prop_assert!(found_nothing && spends == Spends::Nothing && reason == Reason::Absent),
            Step::Doubt { spends, .. } | Step::StartVoid { spends, .. } => prop_assert_eq!(spends, Spends::Nothing),
            Step::Succeed(_) | Step::Fail(_) | Step::Reverse { .. } | Step::Hold(_) => prop_assert!(!found_nothing),
        }
    }

    #[test]
    fn no_wait_is_longer_than_a_minute_and_a_bit(now in any_situation(), outcome in any_charge_outcome()) {
        if let Step::Retry { wait, .. } | Step::Doubt { wait, .. } = after_charge(&now, &policy(), outcome) {
            prop_assert!(wait <= Duration::from_secs(66), "{:?}", wait);
        }
    }
}

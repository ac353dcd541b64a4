//! The look that comes first: before the gateway has answered nothing is charged, voided or given up.

use super::*;
use crate::outcome::Standing;

const HOUR: Duration = Duration::from_hours(1);

fn restored() -> Situation {
    Situation { send_by_age: HOUR, ..in_doubt() }
}

#[test]
fn a_first_look_ends_what_the_gateway_knows_and_leaves_to_a_person_what_it_does_not() {
    let look = |now: Situation, outcome| first_look(&now, &policy(), outcome);
    let seen_once = Situation { not_found_count: 1, ..restored() };
    let early = Situation { send_by_age: Duration::ZERO, ..seen_once };
    let other = PaymentId::generate();

    assert!(matches!(look(restored(), LookupOutcome::Charged(charge())), Step::Succeed(_)));
    assert!(matches!(look(restored(), LookupOutcome::Declined(charge())), Step::Fail(_)));
    assert_eq!(look(restored(), LookupOutcome::KeyClosed), Step::Reverse { reason: Reason::KeyClosed });
    assert!(matches!(
        look(restored(), LookupOutcome::NotFound),
        Step::Doubt { reason: Reason::NotFound, .. }
    ));
    assert!(matches!(
        look(early, LookupOutcome::NotFound),
        Step::Doubt { reason: Reason::NotVisibleYet, .. }
    ));
    for (outcome, held) in [
        (LookupOutcome::NotFound, HeldReason::Restored),
        (LookupOutcome::Unsupported, HeldReason::Restored),
        (LookupOutcome::WrongAnswer(charge()), HeldReason::WrongAnswer),
        (LookupOutcome::Contradiction("two"), HeldReason::Contradiction),
        (LookupOutcome::ChargedAs(charge(), other), HeldReason::Contradiction),
    ] {
        assert_eq!(look(seen_once, outcome.clone()), Step::Hold(held), "{outcome:?}");
    }
}

#[test]
fn a_void_that_had_started_goes_on_once_only_its_own_is_shown() {
    let voiding = Situation { is_voiding: true, ..restored() };
    for outcome in [
        LookupOutcome::NotFound,
        LookupOutcome::Charged(charge()),
        LookupOutcome::Declined(charge()),
        LookupOutcome::Pending { is_ours: true },
    ] {
        let step = first_look(&voiding, &policy(), outcome.clone());
        assert!(
            matches!(step, Step::Doubt { reason: Reason::RestoredSeen, wait: Duration::ZERO, .. }),
            "{outcome:?} {step:?}"
        );
    }
    for outcome in [
        LookupOutcome::ChargedAs(charge(), PaymentId::generate()),
        LookupOutcome::Contradiction("two"),
        LookupOutcome::WrongAnswer(charge()),
        LookupOutcome::Unsupported,
    ] {
        let step = first_look(&voiding, &policy(), outcome.clone());
        assert!(matches!(step, Step::Hold(_)), "{outcome:?} {step:?}");
    }
}

proptest! {
    #[test]
    fn no_first_look_leads_to_a_charge_or_to_a_new_void(
        now in any_situation(),
        is_voiding in any::<bool>(),
        outcome in any_lookup_outcome(),
    ) {
        let is_open = matches!(outcome, LookupOutcome::NoAnswer(_) | LookupOutcome::Pending { .. });
        let step = first_look(&Situation { is_voiding, ..now }, &policy(), outcome);
        match step {
            Step::Retry { .. } | Step::StartVoid { .. } => prop_assert!(false, "{:?}", step),
            Step::Doubt { .. } => {}
            Step::Succeed(_) | Step::Fail(_) => prop_assert!(!is_voiding && !is_open, "{:?}", step),
            // Only an answer ends it, at any age.
            Step::Reverse { .. } | Step::Hold(_) => prop_assert!(!is_open, "{:?}", step),
        }
    }
}

#[test]
fn near_a_return_nothing_is_voided_that_may_be_a_forgotten_payments() {
    let void = || Step::StartVoid { reason: Reason::Expired, spends: Spends::Nothing };
    let near = Situation { from_a_return: Some(HOUR), ..in_doubt() };
    let far = Situation { from_a_return: Some(Duration::from_hours(100)), ..in_doubt() };
    let blind = Policy { profile: Profile { looks_up: false, ..policy().profile }, ..policy() };
    let anothers = LookupOutcome::Pending { is_ours: false };
    let silence = LookupOutcome::NoAnswer(silent());

    for now in [in_doubt(), far] {
        assert_eq!(look_before_void(&now, &policy(), void(), Some(&silence)), void());
    }
    for seen in [&LookupOutcome::NotFound, &LookupOutcome::Pending { is_ours: true }] {
        assert_eq!(look_before_void(&near, &policy(), void(), Some(seen)), void());
    }
    for seen in [&anothers, &silence] {
        let step = look_before_void(&near, &policy(), void(), Some(seen));
        assert_eq!(step, Step::Hold(HeldReason::Unverifiable), "{seen:?}");
    }
    let unasked = look_before_void(&near, &policy(), void(), None);
    assert!(
        matches!(unasked, Step::Doubt { wait: Duration::ZERO, reason: Reason::LookBeforeVoid, .. }),
        "{unasked:?}"
    );
    assert_eq!(look_before_void(&near, &blind, void(), None), Step::Hold(HeldReason::Unverifiable));
}

#[test]
fn a_late_charge_is_voided_only_where_it_is_surely_the_payments_own() {
    let before = |seen: &Standing, age, own| before_remedy(&policy(), (age, 1), own, seen);
    let (own, ordinary, doubtful) = ((true, false), (true, true), (false, false));

    assert_eq!(before(&Standing::OnlyIts, Duration::ZERO, own), None);
    assert_eq!(before(&Standing::Nothing, HOUR, own), None);
    assert_eq!(before(&Standing::Unsupported, HOUR, ordinary), None);
    for (seen, facts) in [
        (Standing::AnothersToo, ordinary),
        (Standing::OnlyIts, doubtful),
        (Standing::Nothing, doubtful),
        (Standing::Unsupported, own),
    ] {
        assert_eq!(before(&seen, HOUR, facts), Some(Voiding::OfAnother), "{seen:?} {facts:?}");
    }
    for seen in [Standing::NoAnswer(silent()), Standing::Nothing] {
        let again = before(&seen, Duration::ZERO, own);
        assert!(matches!(again, Some(Voiding::Again { .. })), "{seen:?} {again:?}");
    }
}

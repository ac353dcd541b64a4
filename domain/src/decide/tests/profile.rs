//! Gateways that can do less: every profile, with every situation and every outcome.

use super::*;

const UNSUPPORTED: Reason = Reason::LookupUnsupported;

fn without_lookups() -> Policy {
    with(|profile| profile.looks_up = false)
}

fn without_voids() -> Policy {
    with(|profile| profile.voids = false)
}

fn with_neither() -> Policy {
    with(|profile| (profile.looks_up, profile.voids) = (false, false))
}

#[test]
fn a_doubt_that_cannot_be_looked_up_goes_to_the_void_and_never_to_a_charge() {
    let voids = Step::StartVoid { reason: UNSUPPORTED, spends: Spends::Nothing };
    assert_eq!(before_lookup(&without_lookups()), Some(voids.clone()));
    assert_eq!(after_lookup(&in_doubt(), &policy(), LookupOutcome::Unsupported), voids);
    assert_eq!(before_lookup(&policy()), None);
}

#[test]
fn an_unknown_outcome_is_on_record_before_anything_is_voided() {
    let unknown = after_charge(&first(), &with_neither(), ChargeOutcome::Unknown(silent()));
    assert!(matches!(unknown, Step::Doubt { reason: Reason::Timeout, .. }), "{unknown:?}");
}

#[test]
fn a_doubt_that_can_neither_be_looked_up_nor_voided_is_for_a_person() {
    let held = Step::Hold(HeldReason::Unverifiable);
    assert_eq!(before_lookup(&with_neither()), Some(held.clone()));
    assert_eq!(after_lookup(&in_doubt(), &without_voids(), LookupOutcome::Unsupported), held);
    assert_eq!(before_void(&with_neither()), Some(held));
    assert_eq!(before_void(&policy()), None);
}

#[test]
fn where_nothing_can_be_voided_the_end_of_a_doubt_is_for_a_person() {
    let held = Step::Hold(HeldReason::Unverifiable);
    let long = Situation { doubt_age: Duration::from_mins(16), ..in_doubt() };
    assert_eq!(after_lookup(&long, &without_voids(), LookupOutcome::NoAnswer(silent())), held);
    let spent = Situation { retries_spent: 3, ..in_doubt() };
    assert_eq!(after_charge(&spent, &without_voids(), ChargeOutcome::NotExecuted), held);
    let absent = Situation { retries_spent: 4, not_found_count: 1, ..in_doubt() };
    assert_eq!(after_lookup(&absent, &without_voids(), LookupOutcome::NotFound), held);
}

/// Every combination of promises.
fn any_profile() -> impl Strategy<Value = Policy> {
    any::<(bool, bool, bool)>().prop_map(|(honours_keys, looks_up, voids)| {
        with(|profile| *profile = Profile { honours_keys, looks_up, voids, ..*profile })
    })
}

fn any_void_outcome() -> impl Strategy<Value = VoidOutcome> {
    prop_oneof![
        Just(VoidOutcome::Confirmed),
        Just(VoidOutcome::Unsupported),
        Just(VoidOutcome::NoAnswer(silent())),
    ]
}

/// Whether the gateway promised to charge once for the key, and still does.
fn is_trusted(now: &Situation, policy: &Policy) -> bool {
    policy.profile.honours_keys && now.first_sent_age < Duration::from_hours(23)
}

proptest! {
    #[test]
    fn no_profile_leads_to_a_guess(
        now in any_situation(),
        policy in any_profile(),
        charge in any_charge_outcome(),
        lookup in any_lookup_outcome(),
        void in any_void_outcome(),
    ) {
        let in_doubt = Situation { in_doubt: true, ..now };
        let declined = matches!(charge, ChargeOutcome::Declined(_)) || matches!(lookup, LookupOutcome::Declined(_));
        let not_found = lookup == LookupOutcome::NotFound;
        let confirmed = void == VoidOutcome::Confirmed
            || charge == ChargeOutcome::KeyClosed
            || lookup == LookupOutcome::KeyClosed;
        let steps = [
            before_charge(&in_doubt, &policy),
            before_lookup(&policy),
            before_void(&policy),
            Some(after_charge(&in_doubt, &policy, charge)),
            Some(after_lookup(&in_doubt, &policy, lookup)),
            Some(after_void(&in_doubt, &policy, &void)),
        ];
        for step in steps.into_iter().flatten() {
            match &step {
                Step::Fail(_) => prop_assert!(declined, "{:?}", step),
                Step::StartVoid { .. } => prop_assert!(policy.profile.voids, "{:?}", step),
                Step::Reverse { .. } => prop_assert!(confirmed, "{:?}", step),
                Step::Retry { reason: Reason::Absent, .. } => {
                    prop_assert!(not_found && is_trusted(&now, &policy), "{:?}", step);
                }
                Step::Retry { .. } | Step::Doubt { .. } | Step::Succeed(_) | Step::Hold(_) => {}
            }
        }
    }

    #[test]
    fn in_doubt_a_charge_leaves_only_under_a_key_that_is_trusted(now in any_situation(), policy in any_profile()) {
        let in_doubt = Situation { in_doubt: true, ..now };
        let may_leave = before_charge(&in_doubt, &policy).is_none();
        prop_assert!(!may_leave || is_trusted(&now, &policy));
    }
}

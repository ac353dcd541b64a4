//! Every interleaving of the claim, look-up and void protocol for one payment and two workers, exhaustively.
//!
//! The decisions are the product's own (`status`, `outcome`, `decide`). The model adds what surrounds them:
//! messages that are delayed without bound, lost or delivered at any moment, and workers that die or freeze
//! anywhere. Leases may be judged over at once, and decisions see every age that they can see.
//!
//! What must hold, whatever the gateway can do and is declared to do: a payment that has ended agrees with
//! the gateway, now and for ever. With any one guard taken away the model finds the way to a double or a
//! lost charge.

use std::collections::{HashSet, VecDeque};

use domain::decide::{Policy, Profile};
use domain::status::PaymentStatus;

use self::protocol::{Gateway, Model, State};

mod outcomes;
mod past;
mod protocol;

/// The guard that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Doubt,
    Fence,
    Tombstone,
    VoidsPrecedence,
    LookingFirst,
}

/// What is wrong with a state, for ever: a payment that ended at odds with the gateway.
fn violation(state: &State) -> Option<String> {
    let charged = state.gateway == Gateway::Charged;
    let odds = match state.status {
        PaymentStatus::Succeeded => !charged,
        PaymentStatus::Failed | PaymentStatus::Reversed => charged,
        PaymentStatus::Pending | PaymentStatus::Processing | PaymentStatus::InReview => false,
    };
    (odds || state.charges > 1)
        .then(|| format!("{} and {:?}, charged {} times", state.status, state.gateway, state.charges))
}

/// Walks all states. Answers how many there are, or what is wrong with the first bad one.
fn explore(without: Without, declared: Profile, truth: Profile) -> Result<usize, String> {
    let model = Model::new(without, declared, truth);
    let mut seen = HashSet::from([State::START]);
    let mut todo = VecDeque::from([State::START]);
    while let Some(state) = todo.pop_front() {
        if let Some(wrong) = violation(&state) {
            return Err(wrong);
        }
        for mut next in model.next(&state) {
            // The two workers are alike.
            next.workers.sort_unstable();
            if !seen.contains(&next) {
                seen.insert(next.clone());
                todo.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

/// A gateway that can do everything.
fn able() -> Profile {
    Policy::default().profile
}

#[test]
fn no_interleaving_ends_a_payment_at_odds_with_the_gateway() {
    let states = explore(Without::Nothing, able(), able()).unwrap();
    assert!(states > 100_000, "only {states} states: the model lost its moves");
}

/// Every gateway that can do less, as it is declared and as it is. What is not declared is never asked for,
/// so only the truth of what is declared makes a difference.
fn lesser_gateways() -> Vec<(Profile, Profile)> {
    const FACTS: [(bool, bool); 3] = [(true, true), (true, false), (false, false)];
    let mut gateways = Vec::new();
    for honours_keys in [true, false] {
        for (looks_up, voids) in FACTS.into_iter().flat_map(|l| FACTS.map(|v| (l, v))) {
            let declared = Profile { honours_keys, looks_up: looks_up.0, voids: voids.0, ..able() };
            gateways.push((declared, Profile { looks_up: looks_up.1, voids: voids.1, ..declared }));
        }
    }
    gateways.retain(|gateway| *gateway != (able(), able()));
    gateways
}

#[test]
fn nor_does_any_with_a_gateway_that_can_do_less_whether_it_was_declared_or_comes_as_a_surprise() {
    let gateways = lesser_gateways();
    assert_eq!(
        gateways.len(),
        17,
        "two of keys, nine of lookups and voids, and not the one that can do everything"
    );
    for (declared, truth) in gateways {
        let explored = explore(Without::Nothing, declared, truth);
        assert!(explored.is_ok(), "declared {declared:?}, but in truth {truth:?}: {explored:?}");
    }
}

#[test]
fn keys_that_are_not_honoured_as_declared_can_charge_twice() {
    let found = explore(Without::Nothing, able(), Profile { honours_keys: false, ..able() });
    assert!(found.is_err(), "nothing goes wrong in {found:?} states");
}

#[test]
fn without_any_one_guard_an_interleaving_does() {
    for without in
        [Without::Doubt, Without::Fence, Without::Tombstone, Without::VoidsPrecedence, Without::LookingFirst]
    {
        let found = explore(without, able(), able());
        assert!(found.is_err(), "without {without:?} nothing goes wrong in {found:?} states");
    }
}

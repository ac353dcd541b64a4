//! Every interleaving of the claim, look-up and void protocol for one payment and two workers, exhaustively.
//!
//! The decisions are the product's own (`status`, `outcome`, `retry`); the model adds what surrounds them: messages that
//! are delayed without bound, lost or delivered at any moment, workers that die or freeze anywhere, leases that may be
//! judged over at once, and every age that a decision can see. What must hold: a payment that has ended agrees with the
//! gateway, now and for ever. With any one guard taken away the model finds the way to a double or a lost charge.

use std::collections::{HashSet, VecDeque};

use shared::payment::status::PaymentStatus;

use self::protocol::{Gateway, Model, State};

mod protocol;

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    GatewayKey,
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
        PaymentStatus::Pending | PaymentStatus::Processing => false,
    };
    (odds || state.charges > 1)
        .then(|| format!("{} and {:?}, charged {} times", state.status, state.gateway, state.charges))
}

/// Walks all states, and tells how many there are, or what is wrong with the first that is.
fn explore(without: Without) -> Result<usize, String> {
    let model = Model::new(without);
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

#[test]
fn no_interleaving_ends_a_payment_at_odds_with_the_gateway() {
    let states = explore(Without::Nothing).unwrap();
    assert!(states > 100_000, "only {states} states: the model lost its moves");
}

#[test]
fn without_any_one_guard_an_interleaving_does() {
    for without in [
        Without::GatewayKey,
        Without::Doubt,
        Without::Fence,
        Without::Tombstone,
        Without::VoidsPrecedence,
        Without::LookingFirst,
    ] {
        let found = explore(without);
        assert!(found.is_err(), "without {without:?} nothing goes wrong in {found:?} states");
    }
}

//! What follows from each answer, in doubt and not.

use super::*;
use crate::ids::OperationId;
use crate::money::Money;
use crate::outcome::{Failed, Outcome as _};

const HELD: OperationStep = OperationStep::Hold(HeldReason::Unverifiable);

fn policy() -> Policy {
    Policy::default()
}

fn expected() -> ExpectedEffect {
    ExpectedEffect {
        key: "op1_a".to_owned(),
        id: OperationId::generate(),
        charge_id: "ch_1".to_owned(),
        money: Money::parse("12.30", "EUR".parse().unwrap()).unwrap(),
    }
}

fn effect(status: EffectStatus) -> Effect {
    Effect {
        id: "rf_1".to_owned(),
        key: "op1_a".to_owned(),
        charge_id: "ch_1".to_owned(),
        amount: Decimal::new(1230, 2),
        currency: "EUR".to_owned(),
        status,
        refusal: None,
    }
}

fn no_answer(kind: FailureKind) -> OperationOutcome {
    OperationOutcome::NoAnswer(Failed::new(kind, "test"))
}

fn refusal(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: String::new() }
}

#[test]
fn only_an_effect_that_is_exactly_what_was_asked_for_is_done() {
    let other = |change: fn(&mut Effect)| {
        let mut effect = effect(EffectStatus::Succeeded);
        change(&mut effect);
        OperationOutcome::of_one(effect, &expected())
    };
    assert!(matches!(other(|_| {}), OperationOutcome::Done(_)));
    let wrong: [fn(&mut Effect); 5] = [
        |it| it.amount = Decimal::new(1231, 2),
        |it| it.currency = "USD".to_owned(),
        |it| it.key = "op1_b".to_owned(),
        |it| it.charge_id = "ch_2".to_owned(),
        |it| it.id = String::new(),
    ];
    for change in wrong {
        assert!(matches!(other(change), OperationOutcome::WrongEffect(_)));
    }
    assert_eq!(other(|it| it.status = EffectStatus::Pending), OperationOutcome::StillWorking);
    assert!(matches!(other(|it| it.status = EffectStatus::Failed), OperationOutcome::Refused(_)));
    assert_eq!(
        other(|it| it.status = EffectStatus::Other).failure(),
        Some(FailureKind::NotTheGateway),
        "an unknown word is no answer"
    );
    let two = vec![effect(EffectStatus::Succeeded); 2];
    assert!(matches!(OperationOutcome::of_all(two, false, &expected()), OperationOutcome::Contradiction(_)));
}

/// Every outcome there is, with any failure.
fn outcomes() -> Vec<OperationOutcome> {
    let mut all: Vec<_> = FailureKind::ALL.iter().map(|&kind| no_answer(kind)).collect();
    all.extend([
        OperationOutcome::Done(effect(EffectStatus::Succeeded)),
        OperationOutcome::Refused(refusal("charge_not_refundable")),
        OperationOutcome::Invalid(refusal("invalid_request")),
        OperationOutcome::KeyReused(refusal("key_reused")),
        OperationOutcome::StillWorking,
        OperationOutcome::NotFound,
        OperationOutcome::WrongEffect(effect(EffectStatus::Succeeded)),
        OperationOutcome::Contradiction("two"),
        OperationOutcome::Unsupported,
        OperationOutcome::RateLimited(None),
    ]);
    all
}

#[test]
fn an_operation_in_doubt_ends_only_by_its_effect_or_a_stored_refusal_whatever_is_answered_however_late() {
    let ages = [Duration::ZERO, Duration::from_hours(1), Duration::from_hours(48)];
    let counts = [0, 1, 100];
    for outcome in outcomes() {
        for age in ages {
            for count in counts {
                let now = Situation {
                    in_doubt: true,
                    doubt_age: age,
                    first_sent_age: age,
                    send_by_age: age,
                    retries_spent: count,
                    verify_count: count,
                    not_found_count: count,
                    ..Situation::default()
                };
                for step in [
                    after_send(&now, &policy(), outcome.clone()),
                    after_look(&now, &policy(), outcome.clone()),
                ] {
                    let is_proof =
                        matches!(outcome, OperationOutcome::Done(_) | OperationOutcome::Refused(_));
                    let is_over = step.status() != OperationStatus::Pending;
                    assert_eq!(is_over, is_proof, "{outcome:?} led to {step:?}");
                }
            }
        }
    }
}

#[test]
fn an_unknown_outcome_is_looked_up_and_absent_is_believed_only_the_second_time_past_the_window() {
    let sent = Situation::default();
    for kind in
        [FailureKind::Timeout, FailureKind::Reset, FailureKind::ServerError, FailureKind::NotTheGateway]
    {
        assert!(
            matches!(after_send(&sent, &policy(), no_answer(kind)), OperationStep::Doubt { .. }),
            "{kind}"
        );
    }
    let late = Situation { in_doubt: true, send_by_age: Duration::from_mins(5), ..Situation::default() };
    let look = |now: &Situation| after_look(now, &policy(), OperationOutcome::NotFound);
    let early = Situation { send_by_age: Duration::from_secs(14), ..late };
    assert!(matches!(look(&early), OperationStep::Doubt { counts_not_found: false, .. }));
    assert!(matches!(look(&late), OperationStep::Doubt { counts_not_found: true, .. }));
    let again = Situation { not_found_count: 1, ..late };
    assert!(matches!(look(&again), OperationStep::Retry { reason: Reason::Absent, .. }));
    // A key that the gateway may have forgotten is not sent again.
    let forgotten = Situation { first_sent_age: Duration::from_hours(24), ..again };
    assert_eq!(look(&forgotten), HELD);
    assert_eq!(before_send(&forgotten, &policy()), Some(HELD));
    assert_eq!(before_send(&again, &policy()), None);
}

#[test]
fn what_surely_was_not_done_is_sent_again_and_fails_once_the_tries_are_used_up() {
    let now = Situation::default();
    let send = |now: &Situation, kind| after_send(now, &policy(), no_answer(kind));
    let spent = Situation { retries_spent: policy().max_retries, ..now };
    assert!(matches!(send(&now, FailureKind::NotExecuted), OperationStep::Retry { spends: Spends::Try, .. }));
    assert!(matches!(send(&spent, FailureKind::NotExecuted), OperationStep::Fail(_)));
    for kind in [FailureKind::Unreachable, FailureKind::Unauthorized, FailureKind::NotSent] {
        assert!(matches!(send(&spent, kind), OperationStep::Retry { spends: Spends::Nothing, .. }), "{kind}");
    }
    let blind =
        Policy { profile: crate::decide::Profile { looks_up: false, ..policy().profile }, ..policy() };
    assert_eq!(before_look(&blind), Some(HELD));
    assert_eq!(before_look(&policy()), None);
}

#[test]
fn the_gateway_cannot_speak_with_our_words() {
    let step =
        after_send(&Situation::default(), &policy(), OperationOutcome::Refused(refusal("retries_exhausted")));
    assert_eq!(step, OperationStep::Fail(refusal("refund_refused")));
}

//! A decline has one code, whichever way it is heard of, and never one of our own.

use super::*;

#[test]
fn a_decline_in_words_of_ours_is_told_as_a_decline() {
    for word in ["retries_exhausted", "expired", "non_retryable", "payment_method_unknown", "by_hand"] {
        let step = after_charge(&first(), &policy(), ChargeOutcome::Declined(refusal(word)));
        assert!(matches!(&step, Step::Fail(failure) if failure.code == "card_declined"), "{step:?}");
    }
}

#[test]
fn a_look_that_shows_a_decline_ends_the_payment_as_the_answer_would_have() {
    for decline in [None, Some(refusal("insufficient_funds")), Some(refusal("by_hand"))] {
        let shown = LookupOutcome::Declined(Charge { decline: decline.clone(), ..charge() });
        let step = after_lookup(&first(), &policy(), shown);
        let code = decline.clone().map(|it| it.code).filter(|it| it != "by_hand");
        let code = code.unwrap_or_else(|| "card_declined".to_owned());
        assert!(matches!(&step, Step::Fail(failure) if failure.code == code), "{step:?}");
        if let Some(refusal) = decline {
            assert_eq!(step, after_charge(&first(), &policy(), ChargeOutcome::Declined(refusal)));
        }
    }
}

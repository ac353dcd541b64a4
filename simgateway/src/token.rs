//! The test tokens: what each payment method does, as data.
//!
//! A token is a script: one step per charge call of a key, the last step for all further calls, and a way of
//! answering lookups. The point that a key has reached in its script is stored, so a restart does not begin
//! it anew. Whatever the script says, a key that has been charged is not charged again: a step that charges
//! then only repeats the stored answer.

use crate::book::Decline;
use crate::reply::{Failure, Refusal};

/// A test token: its name, its script, and how lookups answer.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) name: &'static str,
    /// Never empty. The first step is for the first charge call of a key, the last for all that follow.
    steps: &'static [Step],
    pub(crate) lookups: Lookups,
}

/// What one charge call does, and what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing happens, and the call gets this.
    Spoil(Spoil),
    /// This happens, and the call is told this.
    Take(Act, Tell),
}

/// The reply that a call gets in place of its true answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// An error, by this refusal.
    Refuse(Refusal),
    /// No answer at all.
    Fail(Failure),
}

/// What happens in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The amount is charged.
    Charge,
    /// One unit more than the amount is charged.
    ChargeWrongAmount,
    /// The charge is declined, for this reason.
    Decline(Decline),
    /// Pending for `async_delay_ms`; then charged, or declined for this reason.
    Wait(Option<Decline>),
    /// Charged after `late_arrival_ms`, and not to be seen before.
    ArriveLate,
}

/// What the call is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// The charge as it is.
    Truth,
    /// The truth, after `slow_token_ms`.
    TruthLate,
    /// Something else than the truth.
    Spoil(Spoil),
}

/// How lookups of a key answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookups {
    /// With the charges as they are.
    Truth,
    /// With 500 for the first lookups, as many as this, then with the truth.
    FailFirst(i32),
    /// With no answer, always.
    Silence,
    /// As if what succeeded had failed.
    SayFailed,
}

impl Token {
    /// The step for the charge call that comes after `calls` others.
    pub(crate) fn step(&self, calls: i32) -> Step {
        let last = self.steps.len() - 1;
        self.steps[usize::try_from(calls).unwrap_or(last).min(last)]
    }

    /// The count of calls after one more. It stops at the script's last step, so that replays need no write.
    pub(crate) fn count_call(&self, calls: i32) -> i32 {
        let last = i32::try_from(self.steps.len() - 1).unwrap_or(i32::MAX);
        calls.saturating_add(1).min(last)
    }
}

/// The token that `payment_method` is. A stored method (`pm_…`, `tok_…`) behaves as `sim_ok`.
pub(crate) fn find(payment_method: &str) -> Option<&'static Token> {
    let is_stored_method = payment_method.starts_with("pm_") || payment_method.starts_with("tok_");
    let name = if is_stored_method { "sim_ok" } else { payment_method };
    TOKENS.iter().find(|token| token.name == name)
}

const CHARGE: Step = Step::Take(Act::Charge, Tell::Truth);
const NOT_EXECUTED: Step = Step::Spoil(Spoil::Refuse(Refusal::NotExecuted));
const RATE_LIMITED: Step = Step::Spoil(Spoil::Refuse(Refusal::RateLimited));
const SERVER_ERROR: Spoil = Spoil::Refuse(Refusal::Internal);
const SILENCE: Spoil = Spoil::Fail(Failure::Silence);
const RESET: Spoil = Spoil::Fail(Failure::Reset);

/// All test tokens. The comment on each says how a payment with it must end.
pub(crate) const TOKENS: &[Token] = &[
    // Charges at once. Ends succeeded.
    Token { name: "sim_ok", steps: &[CHARGE], lookups: Lookups::Truth },
    // Charges at once and says so after `slow_token_ms`. Ends succeeded.
    Token {
        name: "sim_slow",
        steps: &[Step::Take(Act::Charge, Tell::TruthLate), CHARGE],
        lookups: Lookups::Truth,
    },
    // 402 `card_declined`. Ends failed.
    Token {
        name: "sim_declined",
        steps: &[Step::Take(Act::Decline(Decline::CardDeclined), Tell::Truth)],
        lookups: Lookups::Truth,
    },
    // 402 `insufficient_funds`. Ends failed.
    Token {
        name: "sim_insufficient_funds",
        steps: &[Step::Take(Act::Decline(Decline::InsufficientFunds), Tell::Truth)],
        lookups: Lookups::Truth,
    },
    // 400 `invalid_payment_method`. Ends failed, without a retry.
    Token {
        name: "sim_invalid",
        steps: &[Step::Spoil(Spoil::Refuse(Refusal::InvalidPaymentMethod))],
        lookups: Lookups::Truth,
    },
    // 503 `not_executed` twice, then charges. Ends succeeded, after three attempts.
    Token { name: "sim_503", steps: &[NOT_EXECUTED, NOT_EXECUTED, CHARGE], lookups: Lookups::Truth },
    // 503 `not_executed`, always. Ends failed, retries exhausted, without a charge.
    Token { name: "sim_503_always", steps: &[NOT_EXECUTED], lookups: Lookups::Truth },
    // 429 with `Retry-After: 1` twice, then charges. Ends succeeded, with no retry spent.
    Token { name: "sim_429", steps: &[RATE_LIMITED, RATE_LIMITED, CHARGE], lookups: Lookups::Truth },
    // 500 once, having charged. Ends succeeded, one charge.
    Token {
        name: "sim_500_charged",
        steps: &[Step::Take(Act::Charge, Tell::Spoil(SERVER_ERROR)), CHARGE],
        lookups: Lookups::Truth,
    },
    // 500 once, not having charged. Ends succeeded, one charge.
    Token {
        name: "sim_500_not_charged",
        steps: &[Step::Spoil(SERVER_ERROR), CHARGE],
        lookups: Lookups::Truth,
    },
    // No answer once, having charged. Ends succeeded, one charge.
    Token {
        name: "sim_timeout_charged",
        steps: &[Step::Take(Act::Charge, Tell::Spoil(SILENCE)), CHARGE],
        lookups: Lookups::Truth,
    },
    // No answer once, not having charged. Ends succeeded, one charge.
    Token {
        name: "sim_timeout_not_charged",
        steps: &[Step::Spoil(SILENCE), CHARGE],
        lookups: Lookups::Truth,
    },
    // Connection reset once, before charging. Ends succeeded, one charge.
    Token { name: "sim_reset_before", steps: &[Step::Spoil(RESET), CHARGE], lookups: Lookups::Truth },
    // Connection reset once, after charging. Ends succeeded, one charge.
    Token {
        name: "sim_reset_after",
        steps: &[Step::Take(Act::Charge, Tell::Spoil(RESET)), CHARGE],
        lookups: Lookups::Truth,
    },
    // No answer, and lookups find nothing until the charge appears after `late_arrival_ms`; a second call
    // before that charges at once. Ends succeeded, one charge.
    Token {
        name: "sim_late_arrival",
        steps: &[Step::Take(Act::ArriveLate, Tell::Spoil(SILENCE)), CHARGE],
        lookups: Lookups::Truth,
    },
    // 202, charged after `async_delay_ms`. Ends succeeded.
    Token {
        name: "sim_async_ok",
        steps: &[Step::Take(Act::Wait(None), Tell::Truth)],
        lookups: Lookups::Truth,
    },
    // 202, declined after `async_delay_ms`. Ends failed.
    Token {
        name: "sim_async_fail",
        steps: &[Step::Take(Act::Wait(Some(Decline::CardDeclined)), Tell::Truth)],
        lookups: Lookups::Truth,
    },
    // No answer once, having charged; the first three lookups answer 500. Ends succeeded.
    Token {
        name: "sim_lookup_down",
        steps: &[Step::Take(Act::Charge, Tell::Spoil(SILENCE)), CHARGE],
        lookups: Lookups::FailFirst(3),
    },
    // Charges and never says so, neither to the call nor to a lookup. Ends reversed by a void, net zero.
    Token {
        name: "sim_doubt",
        steps: &[Step::Take(Act::Charge, Tell::Spoil(SILENCE))],
        lookups: Lookups::Silence,
    },
    // Charges one unit more than asked, and says so. Ends held, with a break open.
    Token {
        name: "sim_wrong_amount",
        steps: &[Step::Take(Act::ChargeWrongAmount, Tell::Truth)],
        lookups: Lookups::Truth,
    },
    // Charge at once. Ends succeeded; what their refunds do, `refund.rs` says.
    Token { name: "sim_refund_timeout_done", steps: &[CHARGE], lookups: Lookups::Truth },
    Token { name: "sim_refund_timeout_not_done", steps: &[CHARGE], lookups: Lookups::Truth },
    Token { name: "sim_refund_503", steps: &[CHARGE], lookups: Lookups::Truth },
    Token { name: "sim_refund_declined", steps: &[CHARGE], lookups: Lookups::Truth },
    Token { name: "sim_refund_doubt", steps: &[CHARGE], lookups: Lookups::Truth },
    // Charges and says so; lookups say that it failed. Ends succeeded, with a break open once reconciled.
    Token { name: "sim_flip_flop", steps: &[CHARGE], lookups: Lookups::SayFailed },
];

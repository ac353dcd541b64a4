//! The gateway's possible answers, each read by the product from what comes over the wire.

use domain::ids::{GatewayKey, PaymentId};
use domain::money::Money;
use domain::outcome::{ChargeOutcome, Expected, Failed, FailureKind, LookupOutcome};
use serde_json::json;
use shared::gateway::simulated;
use shared::gateway::wire::{Answer, Exchange, Silence};

use super::protocol;

/// Every answer, by its meaning.
pub(super) struct Outcomes {
    charged: ChargeOutcome,
    declined: ChargeOutcome,
    not_executed: ChargeOutcome,
    closed: ChargeOutcome,
    pub(super) unreachable: ChargeOutcome,
    pub(super) unanswered: ChargeOutcome,
    /// A page of something that stands in the gateway's place. The request may have passed it or not.
    pub(super) from_a_stranger: ChargeOutcome,
    pub(super) found: LookupOutcome,
    pub(super) found_declined: LookupOutcome,
    pub(super) found_voided: LookupOutcome,
}

impl Outcomes {
    pub(super) fn read() -> Self {
        let id = PaymentId::generate();
        let money = Money::parse("12.30", "EUR".parse().unwrap()).unwrap();
        let expected = Expected { key: GatewayKey::of(None, id), payment_id: id, money };
        let charge = |status: &str| json!({"id": "ch_1", "key": id, "reference": id, "status": status, "amount": "12.30", "currency": "EUR"});
        let page = Answer { status: 404, is_json: false, body: Vec::new(), retry_after: None };
        let of = |exchange: Exchange| simulated::charged(&exchange, &expected);
        let of_charge = |status, body| of(Exchange::answered(status, &body));
        let of_lookup = |status| {
            let listing = Exchange::answered(200, &json!({"data": [charge(status)]}));
            LookupOutcome::of(&simulated::looked_up(&listing), &expected)
        };
        Self {
            charged: of_charge(201, charge("succeeded")),
            declined: of_charge(402, json!({"code": "card_declined"})),
            not_executed: of_charge(503, json!({"code": "not_executed"})),
            closed: of_charge(409, json!({"code": "voided"})),
            unreachable: of(Exchange::Unreachable("refused".to_owned())),
            unanswered: of(Exchange::Unanswered(Silence::Timeout, "timeout".to_owned())),
            from_a_stranger: of(Exchange::Answered(page)),
            found: of_lookup("succeeded"),
            found_declined: of_lookup("failed"),
            found_voided: of_lookup("voided"),
        }
    }

    pub(super) const fn of(&self, answer: protocol::Answer) -> &ChargeOutcome {
        match answer {
            protocol::Answer::Charged => &self.charged,
            protocol::Answer::Declined => &self.declined,
            protocol::Answer::NotExecuted => &self.not_executed,
            protocol::Answer::Closed => &self.closed,
        }
    }
}

/// The failure of an exchange in which nothing came back.
pub(super) fn silence() -> Failed {
    Failed::new(FailureKind::Timeout, "nothing")
}

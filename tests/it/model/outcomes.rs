//! The gateway's possible answers, each read by the product from what comes over the wire.

use domain::ids::{GatewayKey, PaymentId};
use domain::money::Money;
use domain::outcome::{ChargeOutcome, Exchange, Expected, Failed, FailureKind, LookupOutcome, Silence};
use serde_json::json;

use super::protocol::Answer;

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
        let answered = |status, body: serde_json::Value| Exchange::Answered {
            status,
            is_json: true,
            body: body.to_string().into_bytes(),
            retry_after: None,
        };
        let page = Exchange::Answered { status: 404, is_json: false, body: Vec::new(), retry_after: None };
        let of_charge = |status, body| ChargeOutcome::of(&answered(status, body), &expected);
        let of_lookup =
            |status| LookupOutcome::of(&answered(200, json!({"data": [charge(status)]})), &expected);
        Self {
            charged: of_charge(201, charge("succeeded")),
            declined: of_charge(402, json!({"code": "card_declined"})),
            not_executed: of_charge(503, json!({"code": "not_executed"})),
            closed: of_charge(409, json!({"code": "voided"})),
            unreachable: ChargeOutcome::of(&Exchange::Unreachable("refused".to_owned()), &expected),
            unanswered: ChargeOutcome::of(
                &Exchange::Unanswered(Silence::Timeout, "timeout".to_owned()),
                &expected,
            ),
            from_a_stranger: ChargeOutcome::of(&page, &expected),
            found: of_lookup("succeeded"),
            found_declined: of_lookup("failed"),
            found_voided: of_lookup("voided"),
        }
    }

    pub(super) const fn of(&self, answer: Answer) -> &ChargeOutcome {
        match answer {
            Answer::Charged => &self.charged,
            Answer::Declined => &self.declined,
            Answer::NotExecuted => &self.not_executed,
            Answer::Closed => &self.closed,
        }
    }
}

/// The failure of an exchange in which nothing came back.
pub(super) fn silence() -> Failed {
    Failed::new(FailureKind::Timeout, "nothing")
}

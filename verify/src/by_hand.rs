//! By hand: a person's decision is borne out by the look that was taken for it, and a correction was approved
//! by another person.
//!
//! The check reads the gateway's raw answer as the event kept it, by an understanding of its own. An end
//! without proof is treated separately, where the gateway's journal is compared.

use domain::ids::PaymentId;
use serde_json::Value;

use super::amount::Amount;
use super::ours::{CorrectionRow, EventRow, PaymentRow};
use super::report::Check;

/// Compares a payment's end by hand, if that is how it ended, with the look that was taken for it. An end
/// from before looks were kept has none, and is judged by its charges.
pub(super) fn check(payment: &PaymentRow, events: &[EventRow], by_hand: &mut Check) {
    by_hand.checked += 1;
    for event in events.iter().filter(|event| event.reason.as_deref() == Some("by_hand")) {
        let is_end = matches!(event.event.as_str(), "succeeded" | "failed" | "reversed");
        if !is_end || event.evidence["look"].is_null() {
            continue;
        }
        if let Err(why) = judge(payment, events, event) {
            let id = PaymentId::from(payment.id);
            by_hand
                .blame(id, format!("was {} by hand, but the look that was taken for it {why}", event.event));
        }
    }
}

/// Blames a correction that no second person approved.
pub(super) fn check_correction(correction: &CorrectionRow, by_hand: &mut Check) {
    let id = PaymentId::from(correction.payment_id);
    if !correction.was_approved {
        by_hand.blame(id, format!("has correction {}, which nobody else approved", correction.id));
    }
}

fn judge(payment: &PaymentRow, events: &[EventRow], event: &EventRow) -> Result<(), &'static str> {
    let is_unproven = event.evidence["unproven"] == true;
    let look = &event.evidence["look"];
    let charges = look["answer"]["data"].as_array().filter(|_| look["http_status"] == 200);
    let Some(charges) = charges else {
        return if is_unproven { Ok(()) } else { Err("showed nothing") };
    };
    let of = |status: &str| charges.iter().filter(|charge| charge["status"] == status).count();
    let (standing, declined) = (of("succeeded"), of("failed"));
    let given_back = of("voided") + of("refunded");
    let is_clear = standing + declined + given_back == charges.len();
    match event.event.as_str() {
        "succeeded" if standing != 1 || !is_clear => Err("showed no single charge that stands"),
        "succeeded" => charges
            .iter()
            .any(|charge| charge["status"] == "succeeded" && is_owed(payment, event, charge))
            .then_some(())
            .ok_or("showed another charge"),
        // The one charge that stands is another payment's.
        "failed"
            if standing == 1 && charges.len() == 1 && charges.iter().all(|it| is_anothers(payment, it)) =>
        {
            Ok(())
        }
        _ if standing > 0 || !is_clear => Err("showed a charge that stands"),
        "failed" if given_back == 0 && declined > 0 => Ok(()),
        "failed" if charges.is_empty() && (is_unproven || !was_in_doubt(events)) => Ok(()),
        "failed" => Err("proved nothing"),
        _ if given_back > 0 || is_unproven => Ok(()),
        _ => Err("did not show that anything was given back"),
    }
}

fn is_owed(payment: &PaymentRow, event: &EventRow, charge: &Value) -> bool {
    let key = payment.gateway_key.clone().unwrap_or_else(|| PaymentId::from(payment.id).to_string());
    let amount = charge["amount"].as_str().and_then(Amount::parse);
    charge["id"] == event.evidence["charge_id"]
        && charge["key"] == key.as_str()
        && amount.is_some()
        && amount == Amount::parse(&payment.amount)
        && charge["currency"] == payment.currency.as_str()
}

fn is_anothers(payment: &PaymentRow, charge: &Value) -> bool {
    let named = charge["reference"].as_str().and_then(|reference| reference.parse::<PaymentId>().ok());
    named.is_some_and(|named| named.uuid() != payment.id)
}

/// The events after which a charge may have happened.
const DOUBTING: [&str; 6] =
    ["taken_over", "verifying", "outcome_unknown", "void_started", "restored", "doubted"];

fn was_in_doubt(events: &[EventRow]) -> bool {
    events.iter().any(|event| DOUBTING.contains(&event.event.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fold::LEGAL;

    #[test]
    fn each_event_either_makes_a_charge_possible_or_is_known_not_to() {
        // These rest on a claim that came before, or on no charge at all.
        let others = [
            "created",
            "attempt_started",
            "retry_scheduled",
            "succeeded",
            "failed",
            "reversed",
            "held",
            "released",
            "rescheduled",
            "review_started",
            "approved",
        ];
        let told: BTreeSet<&str> = DOUBTING.into_iter().chain(others).collect();
        let events: BTreeSet<&str> = LEGAL.iter().map(|(event, ..)| *event).collect();
        assert_eq!(told, events);
        assert_eq!(told.len(), DOUBTING.len() + others.len(), "an event stands on both lists");
    }
}

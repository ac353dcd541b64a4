//! What a look permits, case by case.

use super::*;
use crate::ids::{GatewayKey, PaymentId};
use crate::money::Money;

const IN_DOUBT: Facts =
    Facts { never_in_doubt: false, voiding: false, can_void: true, honours_keys: true, was_dark: false };

fn look(expected: &Expected, charges: &[(ChargeStatus, &str)]) -> Seen {
    let charge = |(n, &(status, amount)): (usize, &(ChargeStatus, &str))| Charge {
        id: format!("ch_{n}"),
        key: expected.key.to_string(),
        status,
        amount: amount.parse().unwrap(),
        currency: "EUR".to_owned(),
        reference: Some(expected.payment_id.to_string()),
        decline: None,
    };
    let charges = charges.iter().enumerate().map(charge).collect();
    Seen::of(&Looked::Shown(Listing { charges, has_more: false }), expected)
}

#[test]
fn only_what_a_look_bears_out_is_permitted() {
    let payment_id = PaymentId::generate();
    let money = Money::new("49.00".parse().unwrap(), "EUR".parse().unwrap()).unwrap();
    let expected = Expected { key: GatewayKey::of(Some("pk1_1".to_owned()), payment_id), payment_id, money };
    let voiding = Facts { voiding: true, ..IN_DOUBT };
    let stuck = Facts { can_void: false, ..IN_DOUBT };
    let sure = Facts { never_in_doubt: true, can_void: false, ..IN_DOUBT };
    let dark = Facts { was_dark: true, ..IN_DOUBT };
    let lax = Facts { honours_keys: false, ..IN_DOUBT };
    let silent = || Seen::Silent(Failed::new(FailureKind::Timeout, "no answer"));
    let one = [(ChargeStatus::Succeeded, "49.00")];
    for (seen, facts, permitted) in [
        (look(&expected, &one), IN_DOUBT, "succeed, void"),
        (look(&expected, &one), voiding, "void"),
        (look(&expected, &one), stuck, "succeed"),
        (look(&expected, &[(ChargeStatus::Succeeded, "48.00")]), IN_DOUBT, "void"),
        (look(&expected, &[(ChargeStatus::Succeeded, "48.00")]), stuck, ""),
        (look(&expected, &[one[0], one[0]]), IN_DOUBT, "void"),
        (look(&expected, &[one[0], (ChargeStatus::Pending, "49.00")]), IN_DOUBT, "void"),
        (look(&expected, &[(ChargeStatus::Other, "49.00")]), IN_DOUBT, "void"),
        (look(&expected, &[(ChargeStatus::Failed, "49.00")]), IN_DOUBT, "fail"),
        (look(&expected, &[(ChargeStatus::Failed, "49.00")]), lax, "void"),
        (look(&expected, &[(ChargeStatus::Voided, "49.00")]), voiding, "reverse"),
        (look(&expected, &[(ChargeStatus::Refunded, "49.00")]), IN_DOUBT, "reverse"),
        (look(&expected, &[]), sure, "fail"),
        (look(&expected, &[]), IN_DOUBT, "void"),
        (look(&expected, &[]), stuck, "fail unproven, reverse unproven"),
        (silent(), IN_DOUBT, "void"),
        (silent(), sure, ""),
        (silent(), dark, "void, succeed unproven, reverse unproven"),
        (silent(), Facts { voiding: true, can_void: false, ..dark }, "reverse unproven"),
        (Seen::Unable, stuck, "succeed unproven, fail unproven, reverse unproven"),
        (Seen::Refused(Failed::new(FailureKind::Unauthorized, "401")), dark, ""),
    ] {
        let words: Vec<&str> =
            permits(&seen, &expected, facts).iter().map(|permit| permit.as_str()).collect();
        assert_eq!(words.join(", "), permitted, "{seen:?} {facts:?}");
    }
}

#[test]
fn what_another_payment_was_charged_is_adopted_where_that_is_forgotten_and_else_left_alone() {
    let payment_id = PaymentId::generate();
    let money = Money::new("49.00".parse().unwrap(), "EUR".parse().unwrap()).unwrap();
    let expected = Expected { key: GatewayKey::of(Some("pk1_1".to_owned()), payment_id), payment_id, money };
    let other = PaymentId::generate();
    let shown = |amount: &str, is_forgotten| {
        let Seen::One(shown) = look(&expected, &[(ChargeStatus::Succeeded, amount)]) else {
            panic!("one stands")
        };
        Seen::One(Shown {
            charge: Charge { reference: Some(other.to_string()), ..shown.charge },
            is_forgotten,
        })
    };
    let lax = Facts { honours_keys: false, ..IN_DOUBT };
    for (seen, facts, permitted) in [
        (shown("49.00", true), IN_DOUBT, "succeed, void"),
        (shown("49.00", false), IN_DOUBT, "fail"),
        (shown("48.00", true), IN_DOUBT, "fail"),
        (shown("48.00", false), lax, ""),
    ] {
        let words: Vec<&str> =
            permits(&seen, &expected, facts).iter().map(|permit| permit.as_str()).collect();
        assert_eq!(words.join(", "), permitted, "{seen:?} {facts:?}");
    }
}

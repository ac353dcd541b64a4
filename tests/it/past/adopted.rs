//! A repeat of a forgotten request adopts the charge that stands, if it is of what is owed and no
//! other payment's.

use domain::ids::PaymentId;
use serde_json::json;
use tests::{System, a_payment};

use super::{
    at_home, charged_at_the_gateway, charges, closed_at_the_gateway, evidence, forget, last_event,
    with_worker, without_worker,
};
use crate::PROGRAM;
use crate::operator::{decides, version};
use crate::reconcile::{first_tick_over, open_breaks, reconcile};
use crate::verify;

/// A payment that succeeded and is forgotten here, and the request that made it.
async fn forgotten(system: &System) -> (PaymentId, tests::client::Request) {
    first_tick_over(system).await;
    let request = a_payment();
    let id = system.accepted(request.clone()).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    forget(system, id).await;
    (id, request)
}

#[tokio::test]
async fn a_repeat_of_a_forgotten_payment_charges_once_and_adopts_what_stands() {
    let system = System::start(PROGRAM).await;
    let (forgotten, request) = forgotten(&system).await;

    let id = system.accepted(request).await;
    let payment = system.ended(id).await;

    assert_ne!(id, forgotten);
    assert_eq!((&payment["status"], charges(&system).await), (&json!("succeeded"), 1), "{payment}");
    let evidence = evidence(&system, id).await;
    assert_eq!(evidence["adopted"], forgotten.to_string());
    assert_eq!(payment["gateway"]["transaction_id"], evidence["charge_id"]);
    system.assert_books_agree().await;
    let (code, report) = reconcile(&system).await;
    assert_eq!((code, open_breaks(&system).await), (0, vec![]), "{report}");
    let (code, report) = verify::report(verify::verify(&system, &[])).await;
    assert_eq!((code, verify::offences(&report)), (0, vec![]), "{report}");
}

#[tokio::test]
async fn under_a_key_of_its_own_the_same_repeat_is_charged_twice_and_verify_names_the_key() {
    let system = System::start(PROGRAM).await;
    at_home(
        &system,
        "create or replace function length_prefixed(part text) returns bytea language sql volatile
             return uuid_send(gen_random_uuid())",
    )
    .await;
    let (_, request) = forgotten(&system).await;

    let id = system.accepted(request).await;
    system.ended(id).await;

    assert_eq!(charges(&system).await, 2);
    let (code, report) = verify::report(verify::verify(&system, &[])).await;
    let said = verify::offences(&report);
    let names =
        |check: &str, words: &str| said.iter().any(|(by, _, says)| by == check && says.contains(words));
    assert_eq!(code, 1, "{report}");
    assert!(names("idempotency", "which follows from its request"), "{report}");
    assert!(names("charge", "is no payment of ours"), "{report}");
}

#[tokio::test]
async fn a_repeat_of_another_amount_is_held_and_neither_charged_nor_voided() {
    let system = System::start(PROGRAM).await;
    let (_, request) = forgotten(&system).await;

    let id = system.accepted(request.amount("99.00")).await;
    let payment = system.held(id).await;

    assert_eq!(payment["held_reason"], "contradiction", "{payment}");
    assert_eq!(charges(&system).await, 1);
    assert!(!system.journal_of(id).await.contains(&"void void".to_owned()));
    // What stands is another payment's. A person may fail this one, but not void what the customer paid.
    decides(&system, id, version(&payment), "void").await;
    assert_eq!(system.client.payment(id).await["held_reason"], "contradiction");
    decides(&system, id, version(&payment), "fail").await;
    assert_eq!(system.client.payment(id).await["status"], "failed");
    let (code, report) = reconcile(&system).await;
    let key = system.gateway_key(id).await;
    assert_eq!(
        (code, open_breaks(&system).await),
        (3, vec![format!("charge_unknown of key {key}")]),
        "{report}"
    );
    // Where a past is known to have come back, a forgotten payment is no violation.
    assert_eq!(verify::report(verify::verify(&system, &[])).await.0, 1);
    at_home(&system, "update installation set returned_at = clock_timestamp()").await;
    let (code, report) = verify::report(verify::verify(&system, &[])).await;
    assert_eq!((code, verify::offences(&report), &report["orphans"]), (3, vec![], &json!(1)), "{report}");
}

#[tokio::test]
async fn a_charge_by_the_name_of_a_payment_that_is_known_is_not_adopted() {
    let system = without_worker().await;
    let (id, known) = (system.accepted(a_payment()).await, system.accepted(a_payment()).await);
    charged_at_the_gateway(&system, &system.gateway_key(id).await, known, "12.30").await;

    let system = with_worker(system).await;
    let payment = system.held(id).await;

    assert_eq!(payment["held_reason"], "contradiction", "{payment}");
    assert_eq!(evidence(&system, id).await["names"], known.to_string());
}

#[tokio::test]
async fn a_key_that_had_been_closed_reverses_the_repeat_without_a_person() {
    let system = System::start(PROGRAM).await;
    let (_, request) = forgotten(&system).await;
    let unpaid = a_payment();
    let taken_back = system.accepted(unpaid.clone()).await;
    let (paid_key, other_key) = {
        let id = system.accepted(request.clone()).await;
        let key = system.gateway_key(id).await;
        system.ended(id).await;
        forget(&system, id).await;
        system.ended(taken_back).await;
        (key, system.gateway_key(taken_back).await)
    };
    forget(&system, taken_back).await;
    closed_at_the_gateway(&system, &paid_key).await;
    closed_at_the_gateway(&system, &other_key).await;

    for request in [request, unpaid] {
        let id = system.accepted(request).await;
        let payment = system.ended(id).await;
        let last = last_event(&system, id).await;
        assert_eq!(
            (&payment["status"], &last["reason"]),
            (&json!("reversed"), &json!("key_closed")),
            "{payment}"
        );
    }
    assert!(open_breaks(&system).await.is_empty());
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_key_that_was_closed_before_anything_was_charged_reverses_too() {
    let system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    closed_at_the_gateway(&system, &system.gateway_key(id).await).await;

    let system = with_worker(system).await;

    assert_eq!(system.ended(id).await["status"], "reversed");
    assert_eq!(
        (charges(&system).await, last_event(&system, id).await["reason"].clone()),
        (0, json!("key_closed"))
    );
    system.assert_books_agree().await;
}

//! A payment that may be a forgotten one's is looked at before anything else, and the machine never charges,
//! voids or gives it up.

use domain::ids::PaymentId;
use serde_json::json;
use shared::payment::transition::{Justification, release};
use tests::{Exit, System, a_payment, wait_until};

use super::{
    at_home, charged_at_the_gateway, charges, evidence, forget, looks_first, with_worker, without_worker,
};
use crate::operator::version;
use crate::reconcile::{behind_the_guards, open_breaks};

/// A payment under whose key a forgotten one's charge is known, which the gateway does not show.
async fn one_of_an_orphan(system: &System) -> (PaymentId, PaymentId) {
    let request = a_payment();
    let forgotten = system.accepted(request.clone()).await;
    let key = system.gateway_key(forgotten).await;
    forget(system, forgotten).await;
    sqlx::query(
        "insert into orphans (gateway, key, reference, charge_id, amount, currency)
                 values ('default', $1, $2, 'ch_gone', 12.30, 'EUR')",
    )
    .bind(key)
    .bind(forgotten.to_string())
    .execute(&system.database.pool)
    .await
    .unwrap();
    (system.accepted(request).await, forgotten)
}

async fn released(system: &System, id: PaymentId) {
    let held = system.held(id).await;
    let justification = Justification::new("ada", "asked the customer").unwrap();
    let moved = release(&system.database.pool, id, version(&held), &justification).await.unwrap();
    assert!(moved.is_some(), "{held}");
}

/// Makes a payment as `payonce restored` leaves it.
async fn restored(system: &System, id: PaymentId) {
    let restored = "with moved as (
             update payments set status = 'processing', version = version + 1, claim_token = null, look_first = true,
                                 in_doubt = true, doubt_since = now(), first_sent_at = least(first_sent_at, created_at),
                                 send_by = now(), due_at = case when held_reason is null then now() end,
                                 takeover_count = 0, verify_count = 0, not_found_count = 0, left_nothing_at = null,
                                 updated_at = now()
              where id = $id
             returning id, version, correlation_id, first_sent_at, send_by, due_at)
         insert into payment_events (payment_id, version, type, from_status, to_status, evidence, due_at, correlation_id, at)
         select id, version, 'restored',
                (select to_status from payment_events e where e.payment_id = moved.id order by version desc limit 1),
                'processing', jsonb_build_object('epoch', 2, 'first_sent_at', first_sent_at, 'send_by', send_by), due_at,
                correlation_id, now()
           from moved";
    behind_the_guards(system, restored, id).await;
}

#[tokio::test]
async fn a_payment_of_an_orphan_is_never_charged_and_adopts_once_the_charge_is_shown() {
    let system = without_worker().await;
    let (id, forgotten) = one_of_an_orphan(&system).await;
    assert!(looks_first(&system, id).await);

    let system = with_worker(system).await;
    assert_eq!(system.held(id).await["held_reason"], "restored");
    // Once released, it looks again, and does no more than that.
    released(&system, id).await;
    wait_until("it to be held again", async || {
        system.story(id).await.iter().filter(|it| *it == "held").count() == 2
    })
    .await;
    assert!(looks_first(&system, id).await);
    assert_eq!(
        (charges(&system).await, system.journal_of(id).await.contains(&"request charge".to_owned())),
        (0, false)
    );

    charged_at_the_gateway(&system, &system.gateway_key(id).await, forgotten, "12.30").await;
    released(&system, id).await;

    let payment = system.ended(id).await;
    assert_eq!(
        (&payment["status"], &payment["attempt_count"]),
        (&json!("succeeded"), &json!(0)),
        "{payment}"
    );
    assert_eq!(evidence(&system, id).await["adopted"], forgotten.to_string());
    assert!(open_breaks(&system).await.is_empty());
    system.assert_books_agree().await;
}

#[tokio::test]
async fn what_came_back_and_the_gateway_shows_nothing_of_is_charged_only_once_a_person_released_it() {
    let system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    restored(&system, id).await;

    let system = with_worker(system).await;
    assert_eq!(system.held(id).await["held_reason"], "restored");
    assert_eq!(charges(&system).await, 0);
    released(&system, id).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    assert_eq!((charges(&system).await, looks_first(&system, id).await), (1, false));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn what_came_back_and_was_charged_or_declined_ends_so() {
    for (method, ends) in [("sim_ok", "succeeded"), ("sim_declined", "failed")] {
        let mut system = without_worker().await;
        // It is charged, and the answer is lost with the worker.
        let dying = system.add_worker([("PAYONCE_FAULTS", "charge.answered=kill")]).await;
        let id = system.accepted(a_payment().method(method)).await;
        assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9), "{method}");
        restored(&system, id).await;

        let system = with_worker(system).await;

        assert_eq!(system.ended(id).await["status"], ends);
        assert_eq!(system.journal_of(id).await.iter().filter(|row| *row == "request charge").count(), 1);
        system.assert_books_agree().await;
    }
}

#[tokio::test]
async fn neither_age_nor_a_deadline_ends_what_the_gateway_was_not_heard_about() {
    let mut system = without_worker().await;
    let id = system.accepted(a_payment().method("sim_doubt")).await;
    charged_at_the_gateway_silently(&system, id).await;
    restored(&system, id).await;
    let hasty = [
        ("DOUBT_DEADLINE_MS", "1"),
        ("PAYMENT_MAX_AGE_MS", "1"),
        ("GATEWAY_TIMEOUT_MS", "100"),
        ("SEND_WINDOW_MS", "100"),
        ("LEASE_MS", "900"),
    ];

    system.add_worker(hasty).await;

    wait_until("three looks", async || {
        system.story(id).await.iter().filter(|it| *it == "outcome_unknown").count() >= 3
    })
    .await;
    let payment = system.client.payment(id).await;
    assert_eq!(
        (&payment["status"], &payment["held_reason"]),
        (&json!("processing"), &json!(null)),
        "{payment}"
    );
    assert!(!system.story(id).await.contains(&"void_started".to_owned()));
}

/// Makes a charge by a method whose look-ups are never answered.
async fn charged_at_the_gateway_silently(system: &System, id: PaymentId) {
    system.faults(json!({ "timeout_delay_ms": 50 })).await;
    let url = format!("{}/charges", system.gateway.address("gateway"));
    let body =
        json!({ "amount": "12.30", "currency": "EUR", "payment_method": "sim_doubt", "reference": id });
    let sent = reqwest::Client::new()
        .post(url)
        .header("idempotency-key", system.gateway_key(id).await)
        .json(&body)
        .send();
    assert!(sent.await.is_err());
    system.faults(json!({ "timeout_delay_ms": 60_000 })).await;
}

#[tokio::test]
async fn the_database_refuses_to_charge_or_to_void_what_was_not_looked_at() {
    let system = without_worker().await;
    let id = system.accepted(a_payment()).await;
    restored(&system, id).await;
    at_home(&system, "alter table payments disable trigger payments_version_counts_up").await;

    for change in ["attempt_count = attempt_count + 1", "status = 'pending'", "void_started_at = now()"] {
        let sql = format!("update payments set {change} where look_first");
        let refused = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&system.database.pool).await.unwrap_err();
        assert!(
            refused.to_string().contains("is looked at before it is charged or voided"),
            "{change}: {refused}"
        );
    }
}

//! Near the return of a past the machine voids only what is surely the payment's own.

use domain::ids::PaymentId;
use serde_json::json;
use tests::{System, a_payment, wait_for};

use super::{at_home, charged_at_the_gateway, with_worker, without_worker};
use crate::reconcile::behind_the_guards;

const HASTY: [(&str, &str); 1] = [("DOUBT_DEADLINE_MS", "300")];

#[tokio::test]
async fn what_may_share_its_key_is_voided_only_once_the_gateway_has_shown_that_it_does_not() {
    for (returned, ends) in [(false, true), (true, false)] {
        let mut system = without_worker().await;
        if returned {
            at_home(&system, "update installation set returned_at = clock_timestamp()").await;
        }
        system.add_worker(HASTY).await;

        // This method charges, and never says so.
        let id = system.accepted(a_payment().method("sim_doubt")).await;

        if ends {
            assert_eq!(system.ended(id).await["status"], "reversed");
        } else {
            assert_eq!(system.held(id).await["held_reason"], "unverifiable");
            assert!(!system.journal_of(id).await.contains(&"request void".to_owned()));
        }
    }
}

/// A payment that failed, and under whose key a charge by that name stands.
async fn failed_though_charged(system: &System, name: Option<PaymentId>) -> PaymentId {
    let id = system.accepted(a_payment()).await;
    let ended = "update payments set status = 'failed', due_at = null, failure_code = 'expired', failure_message = '',
                                     failure_retryable = true, terminal_at = clock_timestamp(),
                                     first_sent_at = created_at where id = $id;
                 insert into breaks (payment_id, kind, detail, opened_at)
                 values ($id, 'charged_after_end', '{}', clock_timestamp())";
    behind_the_guards(system, ended, id).await;
    charged_at_the_gateway(system, &system.gateway_key(id).await, name.unwrap_or(id), "12.30").await;
    id
}

/// The kind of its only break, and how the void ended, once no worker asks about it any more.
async fn remedied(system: &System) -> (String, serde_json::Value) {
    wait_for("the remedy to be over", async || {
        sqlx::query_as(
            "select kind, detail -> 'void' -> 'outcome' from breaks where void_ended_at is not null",
        )
        .fetch_optional(&system.database.pool)
        .await
        .unwrap()
    })
    .await
}

#[tokio::test]
async fn a_late_charge_is_voided_where_it_is_the_payments_own() {
    let system = without_worker().await;
    let id = failed_though_charged(&system, None).await;

    let system = with_worker(system).await;

    assert_eq!(remedied(&system).await, ("charged_after_end".to_owned(), json!("confirmed")));
    assert_eq!(system.journal_of(id).await.iter().filter(|row| *row == "void void").count(), 1);
}

#[tokio::test]
async fn a_late_charge_is_left_to_a_person_where_it_may_be_another_payments() {
    let another = Some(PaymentId::generate());
    for (name, past) in [
        (another, "select"),
        // The charge is its own, but was sent before the past came back: it may have been repeated since.
        (
            None,
            "update installation set epoch = 2, epoch_began_at = clock_timestamp(), returned_at = clock_timestamp()",
        ),
    ] {
        let system = without_worker().await;
        let id = failed_though_charged(&system, name).await;
        at_home(&system, past).await;

        let system = with_worker(system).await;

        assert_eq!(remedied(&system).await.0, "charge_of_another", "{past}");
        assert!(!system.journal_of(id).await.contains(&"request void".to_owned()), "{past}");
    }
}

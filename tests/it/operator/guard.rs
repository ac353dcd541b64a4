//! Changes that the database refuses even to a person, and those that only a person may make.

use domain::ids::PaymentId;
use tests::System;

use super::{a_doubt_that_cannot_end, a_wrong_amount, decides, void_at_the_gateway};
use crate::PROGRAM;

/// Puts the payment back into the machine's hands, with a void under way, only in the transaction that asks.
const UNHOLD: &str = "set local session_replication_role = replica;
                      update payments set held_reason = null, due_at = now();
                      set local session_replication_role = origin;";

const END_AS: &str =
    "update payments set status = '$status', held_reason = null, due_at = null, terminal_at = now(),
                             gateway_transaction_id = case when '$status' = 'succeeded' then 'ch_1' end,
                             failure_code = case when '$status' = 'failed' then 'by_hand' end,
                             version = version + 1 where id = $id";

/// The message with which the database refuses. None where it does not refuse. It changes nothing either way.
async fn refusal(system: &System, before: &'static str, sql: &str, id: PaymentId) -> Option<String> {
    let sql = sql.replace("$id", &format!("'{}'", id.uuid()));
    let mut transaction = system.database.pool.begin().await.unwrap();
    sqlx::raw_sql(before).execute(&mut *transaction).await.unwrap();
    let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await;
    done.err()
        .map(|why| why.as_database_error().map_or_else(|| why.to_string(), |why| why.message().to_owned()))
}

#[tokio::test]
async fn after_a_void_has_started_a_person_ends_a_held_payment_and_the_machine_does_not() {
    let (system, id, _) = a_doubt_that_cannot_end().await;
    for status in ["succeeded", "failed"] {
        let end = END_AS.replace("$status", status);

        assert_eq!(refusal(&system, "", &end, id).await, None, "{status} by hand");
        let by_machine = refusal(&system, UNHOLD, &end, id).await.unwrap_or_default();
        assert!(by_machine.contains("nothing but the void ends the payment"), "{status}: {by_machine:?}");
    }
    let charge_again = "update payments set status = 'pending', held_reason = null, due_at = now(),
                               version = version + 1 where id = $id";
    let refused = refusal(&system, "", charge_again, id).await.unwrap_or_default();
    assert!(refused.contains("nothing but the void ends the payment"), "{refused:?}");
}

#[tokio::test]
async fn only_a_person_reverses_what_was_not_voided() {
    let system = System::start(PROGRAM).await;
    let (id, _) = a_wrong_amount(&system).await;
    let end = END_AS.replace("$status", "reversed");

    assert_eq!(refusal(&system, "", &end, id).await, None);
    let by_machine = refusal(&system, UNHOLD, &end, id).await.unwrap_or_default();
    assert!(by_machine.contains("reversed by a void, or by a person"), "{by_machine:?}");
    let born = "insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata,
                                      correlation_id, created_at, status, version, updated_at, terminal_at)
                select gen_random_uuid(), merchant_id, customer_id, amount, currency, payment_method, metadata,
                       correlation_id, created_at, 'reversed', 1, now(), now() from payments where id = $id";
    let born = refusal(&system, "", born, id).await.unwrap_or_default();
    assert!(born.contains("reversed by a void, or by a person"), "{born:?}");
}

#[tokio::test]
async fn no_decision_is_recorded_without_a_name_and_nothing_about_it_changes_later() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    void_at_the_gateway(&system, id).await;
    assert_eq!(decides(&system, id, held, "reverse").await.status, 303);

    let nameless =
        "insert into payment_events (payment_id, version, type, to_status, reason, correlation_id, at)
                    values ($id, 99, 'failed', 'failed', 'by_hand', 'x', now())";
    let released =
        "insert into payment_events (payment_id, version, type, to_status, evidence, correlation_id, at)
                    values ($id, 99, 'released', 'processing', '{\"by\": \"ada\"}', 'x', now())";
    let blind =
        "insert into payment_events (payment_id, version, type, to_status, reason, evidence, correlation_id, at)
                    values ($id, 99, 'failed', 'failed', 'by_hand', '{\"by\": \"ada\", \"reason\": \"so\"}', 'x', now())";
    for (sql, why) in [
        (blind, "payment_events_ended_by_hand_after_a_look"),
        ("update decisions set outcome = 'refused' where payment_id = $id", "a decision stays as it ended"),
        ("delete from decisions where payment_id = $id", "decisions are never deleted"),
        (nameless, "payment_events_by_hand_names_a_person"),
        (released, "payment_events_by_hand_names_a_person"),
        (
            "update breaks set closed_by = 'eve' where payment_id = $id",
            "a closed break stays as it was closed",
        ),
        (
            "update breaks set closed_at = null, closed_by = null, closed_reason = null where payment_id = $id",
            "a closed break stays as it was closed",
        ),
        ("delete from breaks where payment_id = $id", "never deleted"),
        (
            "insert into breaks (payment_id, kind, detail, opened_at, closed_at) values ($id, 'x', '{}', now(), now())",
            "breaks_closed_with_a_reason",
        ),
    ] {
        let refused = refusal(&system, "", sql, id).await.unwrap_or_default();
        assert!(refused.contains(why), "{sql}: {refused:?}");
    }
}

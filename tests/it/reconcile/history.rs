//! Events beside rows: a payment whose history cannot be right is halted, and all others go on.

use tests::a_payment;

use super::{behind_the_guards, one_that_succeeded, one_that_waits, open_breaks, reconcile};

#[tokio::test]
async fn a_gap_in_the_events_halts_that_payment_and_the_others_go_on() {
    let (mut system, broken) = one_that_waits().await;
    let other = system.accepted(a_payment()).await;
    behind_the_guards(&system, "update payments set version = 3 where id = $id", broken).await;

    let (code, report) = reconcile(&system).await;

    assert_eq!(
        (code, &report["history"]["checked"], &report["history"]["breaks"]),
        (3, &2.into(), &1.into())
    );
    let held = system.client.payment(broken).await;
    assert_eq!((&held["held_reason"], &held["version"]), (&"contradiction".into(), &4.into()), "{held}");
    assert_eq!(system.story(broken).await, ["created", "held"]);
    assert_eq!(open_breaks(&system).await, [format!("history of {broken}")]);
    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(other).await["status"], "succeeded");
    assert_eq!(system.client.payment(broken).await, held);
    assert!(system.journal_of(broken).await.is_empty(), "it was charged");
}

/// Changes of a payment that ended, and what is said of it.
const DEFECTS: &[(&str, &str)] = &[
    ("delete from payment_events where payment_id = $id and version = 2", "event 3 where 2 was to come"),
    ("delete from payment_events where payment_id = $id and version = 3", "its events lead to another "),
    ("delete from payment_events where payment_id = $id", "no events"),
    (
        "update payment_events set type = 'retry_scheduled' where payment_id = $id and version = 2",
        "cannot happen",
    ),
    ("update payments set retries_spent = 7 where id = $id", "its events lead to another retries_spent"),
];

#[tokio::test]
async fn a_payment_that_is_over_stays_as_it_is_and_its_broken_history_is_a_break() {
    for (defect, said) in DEFECTS {
        let (system, id) = one_that_succeeded().await;
        behind_the_guards(&system, defect, id).await;
        let before = system.client.payment(id).await;

        let (code, first) = reconcile(&system).await;
        let (_, second) = reconcile(&system).await;

        assert_eq!(
            (code, &first["history"]["breaks"], &second["history"]["breaks"]),
            (3, &1.into(), &0.into()),
            "{defect}"
        );
        assert_eq!(open_breaks(&system).await, [format!("history of {id}")], "{defect}");
        let why: String = sqlx::query_scalar("select detail ->> 'why' from breaks")
            .fetch_one(&system.database.pool)
            .await
            .unwrap();
        assert!(why.contains(said), "{defect}: {why}");
        assert_eq!(system.client.payment(id).await, before, "{defect}");
    }
}

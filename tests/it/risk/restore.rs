//! A past that came back may have forgotten an approval, and the charge that followed: the gateway is asked
//! before anything else happens to such a payment.

use serde_json::json;
use tests::{Shape, System};

use super::{act, heard_of, large, review_large};
use crate::PROGRAM;
use crate::past::at_home;

#[tokio::test]
async fn a_review_of_before_a_restore_is_neither_expired_nor_denied_and_approved_only_with_a_look() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    review_large(&system).await;
    let id = system.accepted(large()).await;
    at_home(&system, "update installation set returned_at = clock_timestamp()").await;
    crate::verify::behind_the_guards(&system.database.pool, "update reviews set expires_at = now()").await;

    let ended = shared::payment::reviews::expire_due(&system.database.pool).await.unwrap();

    assert_eq!(ended, 0, "nobody ends it by the clock");
    act(&system, id, "deny").await.assert_problem(409, "decision_refused");
    act(&system, id, "approve").await.assert_status(200);
    assert_eq!(system.story(id).await, ["created", "review_started", "approved", "restored"]);
    system.add_worker([("RUST_LOG", "info")]).await;
    let held = system.held(id).await;
    assert_eq!(held["held_reason"], json!("restored"), "the gateway knows nothing of it: a person decides");
    let calls = system.journal_of(id).await;
    assert!(calls.iter().all(|call| !call.contains("charge")), "{calls:?}");
    let _ = heard_of(&system, id).await;
}

//! From a request to its charge, on real parts: every way a payment can end, and what the gateway's books
//! say then.

use tests::{System, a_payment};

use crate::PROGRAM;

#[tokio::test]
async fn a_payment_goes_from_pending_over_processing_to_succeeded() {
    let system = System::start(PROGRAM).await;

    let posted = system.pay(a_payment()).await;
    let id = posted.payment_id();
    let payment = system.ended(id).await;

    assert_eq!(posted.json()["status"], "pending");
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(payment["attempt_count"], 1);
    assert_eq!(payment["version"], 3);
    assert_eq!(system.story(id).await, ["created", "attempt_started", "succeeded"]);
    assert_eq!(system.journal_of(id).await, ["request charge", "charge charge", "answer charge 201"]);
    system.assert_books_agree().await;
}

//! A payment that the gateway never accepts waits for it, but not for ever. One that was never sent fails
//! then, surely not charged, even while the gateway is away. One that was ever sent is looked up first, and
//! then voided.

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Exit, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// More tries than there is time for.
const TRIES: (&str, &str) = ("RETRIES", "1000000");

/// How the gateway accepts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hopeless {
    /// It always answers that this is too much.
    RateLimited,
    /// It refuses our credentials, even at the door.
    LockedOut,
    /// It is not there.
    Away,
}

/// A worker with the default patience finds the gateway like this, and the payment waits. A worker for which
/// its time is over ends it.
async fn waits_and_then_ends(hopeless: Hopeless) {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    match hopeless {
        Hopeless::RateLimited => system.faults(json!({ "rate_429": 1.0 })).await,
        Hopeless::LockedOut => system.faults(json!({ "unauthorized": true })).await,
        Hopeless::Away => system.gateway.kill9(),
    }
    let id = system.accepted(a_payment()).await;
    let patient = system.add_worker([TRIES]).await;
    wait_until(format!("the payment to wait: {hopeless:?}"), async || match hopeless {
        Hopeless::RateLimited => system.story(id).await.contains(&"retry_scheduled".to_owned()),
        Hopeless::LockedOut | Hopeless::Away => {
            system.workers[patient].stderr().contains("\"event\":\"breaker_opened\"")
        }
    })
    .await;
    system.workers[patient].terminate();
    assert_eq!(system.workers[patient].wait_exit().await, Exit::Code(0));
    let waiting = system.client.payment(id).await;
    assert_eq!(
        (&waiting["status"], &waiting["terminal_at"]),
        (&"pending".into(), &Value::Null),
        "{hopeless:?}"
    );

    system.add_worker([TRIES, ("PAYMENT_MAX_AGE_MS", "1")]).await;
    let payment = system.ended(id).await;

    if hopeless != Hopeless::RateLimited {
        assert_eq!(payment["status"], "failed", "{hopeless:?}: {payment}");
        let failure = &payment["failure"];
        assert_eq!((&failure["code"], &failure["retryable"]), (&"expired".into(), &true.into()));
        assert_eq!(system.count("select count(*) from payments where in_doubt").await, 0);
        return;
    }
    assert_eq!(payment["status"], "reversed", "{hopeless:?}: {payment}");
    let journal = system.journal_of(id).await;
    assert!(!journal.iter().any(|row| row.starts_with("charge ")), "{journal:?}");
    let position = |row: &str| journal.iter().position(|it| it == row);
    let (looked_up, voided) = (position("request lookup"), position("request void"));
    assert!(looked_up.is_some() && looked_up < voided, "{journal:?}");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_payment_that_the_gateway_never_takes_waits_and_ends_when_its_time_is_over() {
    join_all([Hopeless::RateLimited, Hopeless::LockedOut, Hopeless::Away].map(waits_and_then_ends)).await;
}

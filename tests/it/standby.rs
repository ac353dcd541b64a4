//! Commits that wait for a synchronous standby. A commit that no standby confirmed is known as such, whatever
//! is logged.

use tests::{PrivateServer, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

const SILENT: (&str, &str) = ("RUST_LOG", "off");

/// A primary and its standby, for which its commits do not wait yet.
async fn a_pair() -> (PrivateServer, PrivateServer) {
    let primary = PrivateServer::start().await;
    let standby = primary.standby().await;
    (primary, standby)
}

async fn wait_for_standby(primary: &PrivateServer) {
    primary.set("synchronous_standby_names", Some("*")).await;
}

#[tokio::test]
async fn a_commit_that_no_standby_confirmed_is_told_to_nobody_until_one_has() {
    let (primary, standby) = a_pair().await;
    let database = primary.database().await;
    wait_for_standby(&primary).await;
    let shape = Shape { apis: 1, api_env: vec![(SILENT.0, SILENT.1.to_owned())], ..Shape::default() };
    let system = System::on(database, PROGRAM, shape).await;
    let known = system.accepted(a_payment().key("known")).await;

    standby.freeze();
    let cutting = primary.cut_waits_short();
    let first = system.pay(a_payment().key("unknown")).await;

    first.assert_problem(503, "database_unavailable");
    assert_eq!(
        system.count("select count(*) from payments").await,
        2,
        "it is written, and may be gone tomorrow"
    );
    let (again, read, replayed) = tokio::join!(
        system.pay(a_payment().key("unknown")),
        system.client.get("/v1/payments"),
        system.pay(a_payment().key("known")),
    );
    for untold in [&again, &read, &replayed] {
        untold.assert_problem(503, "database_unavailable");
    }
    standby.thaw();
    drop(cutting);
    wait_until("the standby to confirm", async || system.pay(a_payment().key("unknown")).await.status == 202)
        .await;
    assert_eq!(system.pay(a_payment().key("known")).await.payment_id(), known);
    assert_eq!(system.count("select count(*) from payments").await, 2);
}

#[tokio::test]
async fn for_a_claim_that_no_standby_confirmed_nothing_is_sent() {
    let (primary, standby) = a_pair().await;
    let mut system =
        System::on(primary.database().await, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    wait_for_standby(&primary).await;
    standby.freeze();
    let cutting = primary.cut_waits_short();

    system.add_worker([SILENT]).await;

    wait_until("the payment to be claimed", async || {
        system.count("select count(*) from payments where claim_token is not null").await == 1
    })
    .await;
    // The claim was lost and taken over, again without an answer from the standby.
    wait_until("another claim", async || system.count("select count(*) from payment_events").await > 2).await;
    assert!(system.journal_of(id).await.is_empty(), "{:?}", system.journal_of(id).await);
    standby.thaw();
    drop(cutting);
    system.ended(id).await;
    system.assert_books_agree().await;
}

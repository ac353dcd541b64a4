//! Who may claim, and under which key the gateway is asked: schemes mixed, old processes, closed doors,
//! another's payments.

use serde_json::json;
use sqlx::Connection as _;
use tests::{Scrape, System, a_payment, wait_until};

use super::{at_home, charges, with_worker, without_worker};
use crate::PROGRAM;
use crate::verify;

#[tokio::test]
async fn payments_of_before_keep_their_id_for_a_key_and_both_kinds_go_on_together() {
    let system = without_worker().await;
    at_home(&system, "update installation set key_scheme = 1").await;
    let old = system.accepted(a_payment()).await;
    at_home(&system, "update installation set key_scheme = 2").await;
    let new = system.accepted(a_payment()).await;

    let system = with_worker(system).await;
    for id in [old, new] {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }

    let journal = system.journal().await;
    let key = |name: domain::ids::PaymentId| {
        let charge = journal
            .iter()
            .find(|row| row["kind"] == "charge" && row["reference"] == name.to_string().as_str());
        charge.unwrap()["key"].as_str().unwrap().to_owned()
    };
    assert_eq!(key(old), old.to_string());
    assert!(key(new).starts_with("pk1_") && key(new).len() == 44, "{}", key(new));
    system.assert_books_agree().await;
    let (code, report) = verify::report(verify::verify(&system, &[])).await;
    assert_eq!((code, verify::offences(&report)), (0, vec![]), "{report}");
}

#[tokio::test]
async fn a_process_that_does_not_read_keys_is_refused_every_claim_that_it_would_get_wrong() {
    let system = without_worker().await;
    system.accepted(a_payment()).await;
    at_home(&system, "update installation set key_scheme = 1").await;
    let plain = system.accepted(a_payment()).await;
    let claim =
        "update payments set status = 'processing', claim_token = gen_random_uuid(), version = version + 1
                  where gateway_key is not null = $1 returning id";
    let mut old = sqlx::PgConnection::connect(&system.database.url).await.unwrap();

    let refused = sqlx::query(claim).bind(true).execute(&mut old).await.unwrap_err();
    assert!(refused.to_string().contains("start the current version"), "{refused}");
    let code = refused.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert!(
        code.is_some_and(|code| code.starts_with("23")),
        "old batches fall apart one by one by that class"
    );
    let taken: uuid::Uuid = sqlx::query_scalar(claim).bind(false).fetch_one(&mut old).await.unwrap();
    assert_eq!(taken, plain.uuid());
}

#[tokio::test]
async fn while_a_past_that_came_back_is_not_looked_into_nothing_is_accepted_or_claimed() {
    let system = System::start(PROGRAM).await;
    let before = system.accepted(a_payment()).await;
    system.ended(before).await;
    at_home(&system, "update installation set must_restore = 'it came back'").await;

    let answer = system.pay(a_payment()).await;
    assert_eq!(answer.status, 503, "{:?}", answer.json());
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    // Known payments are shown, and waiting ones are left alone.
    assert_eq!(system.client.payment(before).await["status"], "succeeded");
    assert_eq!(system.stored().await[0], 1);
    at_home(&system, "update installation set must_restore = null").await;
    let waiting = system.accepted(a_payment()).await;
    assert_eq!(system.ended(waiting).await["status"], "succeeded");
}

#[tokio::test]
async fn nothing_is_claimed_behind_closed_doors_nor_what_is_another_installations() {
    for closed in [
        "update installation set must_restore = 'it came back'",
        "update installation set own_since = clock_timestamp()",
    ] {
        let mut system = without_worker().await;
        let id = system.accepted(a_payment()).await;
        at_home(&system, closed).await;
        let worker = system.add_worker([("RUST_LOG", "debug")]).await;
        // Each sweep after the first looked at what is due.
        wait_until("some sweeps", async || {
            Scrape::of(&system.workers[worker]).await.sum("payonce_sweeps_total", &[("result", "ok")]) >= 3.0
        })
        .await;

        assert_eq!(system.story(id).await, ["created"], "{closed}");
        assert_eq!(charges(&system).await, 0, "{closed}");
        at_home(&system, "update installation set must_restore = null, own_since = '-infinity'").await;
        assert_eq!(system.ended(id).await["status"], json!("succeeded"), "{closed}");
    }
}

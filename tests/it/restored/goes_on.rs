//! After `payonce restored` clients repeat their requests, and nobody is charged twice.

use serde_json::json;
use tests::a_payment;

use super::{Past, code, one, payonce, said};

/// Charges that were made and not given back, by key.
const STANDING: &str = "select coalesce(max(charges), 0) as most, count(*) as keys from (
    select key, count(*) as charges from (
        select key, charge_id, sum(case kind when 'charge' then amount else -amount end) as net
          from gateway_effects group by key, charge_id) c where net > 0 group by key) by_key";

#[tokio::test]
async fn what_was_charged_in_a_past_that_is_forgotten_is_found_and_adopted_and_nobody_pays_twice() {
    let mut past = Past::new().await;
    past.comes_back().await;
    past.leaves().await;
    said(payonce(&past.system, &["restored", "--by", "ada", "--json"])).await;
    past.system.database.pool = shared::database::connect(&past.system.database.url, 4).await.unwrap();
    let api = past.system.api().start().await;
    past.system.client =
        tests::Client::new(vec![api.address("api").to_owned()], past.system.client.secret().to_owned());
    past.system.add_worker([("RUST_LOG", "info")]).await;

    let again = past.system.accepted(a_payment().key("again").amount("5.00")).await;

    let waiting = past.system.ended(past.waiting).await;
    assert_eq!(waiting["status"], "succeeded", "the charge of before is shown by a look");
    assert!(!past.system.story(past.waiting).await.contains(&"attempt_started".to_owned()));
    assert_ne!(again, past.forgotten, "the same request is another payment now");
    assert_eq!(past.system.ended(again).await["status"], "succeeded");
    let adopted = one(&past.system, "select adopted_by, reference from orphans").await;
    assert_eq!(adopted, json!({ "adopted_by": again.uuid(), "reference": past.forgotten.to_string() }));
    let breaks = "select count(*) as open from breaks where closed_at is null and kind in ('orphan', 'charge_unknown')";
    assert_eq!(one(&past.system, breaks).await["open"], 0);
    let (_, process) = code(payonce(&past.system, &["reconcile", "--json"])).await;
    let report: serde_json::Value = serde_json::from_str(&process.stdout()).unwrap();
    // The payment that is held had a break before, and has it now.
    assert_eq!(report["breaks_open"], 1, "{report}");
    assert_eq!(one(&past.system, STANDING).await["most"], 1);
    let (verified, process) = code(payonce(&past.system, &["verify", "--json"])).await;
    assert_eq!(verified, 3, "only the one that is held waits for a person: {}", process.stdout());
}

#[tokio::test]
async fn what_the_gateway_does_not_show_is_held_and_charged_once_a_person_has_released_it() {
    let mut system =
        tests::System::with(crate::PROGRAM, tests::Shape { apis: 1, ..tests::Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let dump = system.database.dump().await;
    system.apis.iter_mut().for_each(tests::Process::kill9);
    system.database = tests::TestDatabase::from_dump(&dump).await;
    system.database.pool.close().await;
    said(payonce(&system, &["restored", "--by", "ada", "--json"])).await;
    system.database.pool = shared::database::connect(&system.database.url, 4).await.unwrap();
    let api = system.api().start().await;
    system.client =
        tests::Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(system.held(id).await["held_reason"], "restored");

    assert_eq!(system.journal_of(id).await.iter().filter(|row| row.contains("charge")).count(), 0);
    let release =
        ["restored", "release", "--all", "--by", "ada", "--reason", "asked them", "--yes", "--json"];
    assert_eq!(said(payonce(&system, &release)).await["released"], 1);
    assert_eq!(system.ended(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

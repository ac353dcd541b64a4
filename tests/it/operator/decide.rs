//! A held payment ends, or goes on, as a person decides: under a name, with a reason, and only as far as the
//! gateway bears it out.

use std::collections::BTreeSet;

use domain::ids::PaymentId;
use serde_json::json;
use shared::operations::operator;
use shared::payment::transition::close_break;
use tests::{Shape, System, a_payment, wait_until};

use super::page::{get, text};
use super::{
    a_doubt_that_cannot_end, a_wrong_amount, ada, breaks, came, charge_id, decides, held_in_doubt, version,
    void_at_the_gateway,
};
use crate::PROGRAM;
use crate::reconcile::{behind_the_guards, one_that_waits, reconcile};
use crate::verify;

const CLOSED_BY_ADA: &str = "ada: seen in the gateway's own books";

/// Asserts that none of these is done, for that reason, and that the payment is as it was.
pub(super) async fn assert_refused(
    system: &System,
    (id, held): (PaymentId, i32),
    decisions: &[&str],
    why: &str,
) {
    for decision in decisions {
        let (status, said) = came(&decides(system, id, held, decision).await);
        assert_eq!(status, 409, "{decision}: {said}");
        assert!(said.contains(why), "{decision}: {said}");
    }
    assert_eq!(version(&system.client.payment(id).await), held);
    assert_eq!(system.count("select count(*) from ledger_transfers").await, 0);
}

pub(super) async fn verified(system: &System) -> (i32, serde_json::Value) {
    verify::report(verify::verify(system, &[])).await
}

#[tokio::test]
async fn a_held_payment_that_was_charged_succeeds_by_the_charge_that_the_gateway_shows_and_by_no_other() {
    let (system, id, held) = held_in_doubt("sim_reset_after").await;
    let charge = charge_id(&system, id).await;

    assert_refused(&system, (id, held), &["succeed&charge_id=ch_made_up"], "none by the id ch_made_up").await;
    assert_refused(&system, (id, held), &["fail", "reverse", "fail+unproven"], "succeed, void, or release")
        .await;
    let done = decides(&system, id, held, &format!("succeed&charge_id={charge}")).await;

    assert_eq!((done.status, done.header("location")), (303, &*format!("/ops/payments/{id}#v{}", held + 1)));
    let payment = system.client.payment(id).await;
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(payment["gateway"]["transaction_id"], charge.as_str());
    assert_eq!(payment["held_reason"], json!(null));
    assert_eq!(system.count("select count(*) from ledger_transfers").await, 1);
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
    assert_eq!(verified(&system).await.0, 0);
}

#[tokio::test]
async fn a_charge_of_another_amount_can_only_be_voided() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    let charge = charge_id(&system, id).await;

    let succeed = format!("succeed&charge_id={charge}");
    assert_refused(&system, (id, held), &[&succeed, "fail", "reverse"], "decided instead: void, or release")
        .await;
    assert_eq!(decides(&system, id, held, "void").await.status, 303);

    assert_eq!(system.ended(id).await["status"], "reversed");
    let story = system.story(id).await;
    assert_eq!(story[story.len() - 4..], ["held", "void_started", "verifying", "reversed"]);
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
    assert_eq!(verified(&system).await.0, 0);
}

#[tokio::test]
async fn a_payment_in_doubt_of_which_the_gateway_shows_nothing_is_voided_and_does_not_fail() {
    let (system, id, held) = held_in_doubt("sim_reset_before").await;

    let others = ["succeed&charge_id=ch_1", "fail", "reverse", "fail+unproven", "reverse+unproven"];
    assert_refused(
        &system,
        (id, held),
        &others,
        "shows no charge; what may be decided instead: void, or release",
    )
    .await;
    assert_eq!(decides(&system, id, held, "void").await.status, 303);

    assert_eq!(system.ended(id).await["status"], "reversed");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_payment_that_was_never_in_doubt_fails() {
    let (mut system, id) = one_that_waits().await;
    behind_the_guards(&system, "update payments set version = 3 where id = $id", id).await;
    reconcile(&system).await;
    let held = version(&system.held(id).await);
    system.add_worker([("RUST_LOG", "info")]).await;

    let refused = "decided instead: fail, or release";
    assert_refused(&system, (id, held), &["succeed&charge_id=ch_1", "reverse", "void"], refused).await;
    assert_eq!(decides(&system, id, held, "fail").await.status, 303);

    let payment = system.client.payment(id).await;
    assert_eq!((&payment["status"], &payment["failure"]["code"]), (&json!("failed"), &json!("by_hand")));
    assert_eq!(payment["failure"]["retryable"], false, "a person has ended it");
}

#[tokio::test]
async fn a_payment_taken_out_of_a_live_claim_may_be_charged_and_does_not_fail() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let frozen = system.add_worker([("PAYONCE_FAULTS", "charge.before=stop")]).await;
    system.workers[frozen].wait_until_stopped().await;
    behind_the_guards(&system, "update payments set retries_spent = 3 where id = $id", id).await;
    reconcile(&system).await;
    let payment = system.held(id).await;
    assert_eq!(system.count("select count(*) from payments where in_doubt").await, 0);
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_refused(&system, (id, version(&payment)), &["fail", "reverse", "void"], "shows no charge").await;
}

#[tokio::test]
async fn what_was_given_back_ends_as_reversed_though_the_machine_started_no_void() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    void_at_the_gateway(&system, id).await;

    assert_refused(&system, (id, held), &["fail", "void", "succeed&charge_id=ch_1"], "reverse, or release")
        .await;
    assert_eq!(decides(&system, id, held, "reverse").await.status, 303);

    assert_eq!(system.client.payment(id).await["status"], "reversed");
    assert_eq!(system.count("select count(*) from payments where void_started_at is not null").await, 0);
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn after_a_void_has_started_what_stands_must_be_given_back() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.faults(json!({ "void_unsupported": true })).await;
    let id = system.accepted(a_payment().method("sim_reset_after")).await;
    let blind = system.add_worker([("GATEWAY_LOOKUP_SUPPORTED", "false")]).await;
    let held = version(&system.held(id).await);
    system.workers[blind].kill9();
    system.workers.clear();
    system.add_worker([("RUST_LOG", "info")]).await;
    let charge = charge_id(&system, id).await;

    let succeed = format!("succeed&charge_id={charge}");
    let others = [&*succeed, "reverse", "fail", "reverse+unproven"];
    assert_refused(&system, (id, held), &others, "have that given back there").await;
    system.faults(json!({ "void_unsupported": false })).await;
    void_at_the_gateway(&system, id).await;
    assert_eq!(decides(&system, id, held, "reverse").await.status, 303);

    assert_eq!(system.client.payment(id).await["status"], "reversed");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn the_page_offers_what_the_last_look_permits_and_shows_what_it_saw() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    let path = format!("/ops/payments/{id}");
    let before = text(&get(&system, &path).await);

    let looked = decides(&system, id, held, "look").await;
    let page = text(&get(&system, &path).await);

    assert_eq!(looked.status, 303);
    let offers = |page: &str| {
        let values = page.split("name=\"decision\" value=\"").skip(1);
        values.filter_map(|it| it.split('"').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(offers(&before), ["look", "release"]);
    assert_eq!(offers(&page), ["look", "void", "release"]);
    assert!(page.contains(&charge_id(&system, id).await) && page.contains("One charge stands"), "{page}");
    assert_eq!(version(&system.client.payment(id).await), held);
}

#[tokio::test]
async fn a_released_payment_is_looked_at_again_and_held_again_if_nothing_changed() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;

    assert_eq!(decides(&system, id, held, "release").await.status, 303);

    wait_until("the payment to be held again", async || {
        version(&system.client.payment(id).await) > held + 1 && system.held(id).await["due_at"].is_null()
    })
    .await;
    let story = system.story(id).await;
    assert_eq!(story[story.len() - 4..], ["held", "released", "verifying", "held"]);
    assert_eq!(breaks(&system, id).await, (1, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_payment_released_after_a_void_started_is_voided() {
    let (system, id, held) = a_doubt_that_cannot_end().await;
    system.faults(json!({ "void_unsupported": false })).await;

    assert_eq!(decides(&system, id, held, "release").await.status, 303);

    let payment = system.ended(id).await;
    assert_eq!(payment["status"], "reversed");
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn nothing_is_decided_about_another_version_or_a_payment_that_is_not_held() {
    let mut system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    decides(&system, id, held, "release").await;
    wait_until("the payment to be held again", async || {
        version(&system.client.payment(id).await) == held + 3
    })
    .await;
    let ended = system.accepted(a_payment()).await;
    let ended_version = version(&system.ended(ended).await);
    system.workers[0].kill9();
    let waiting = system.accepted(a_payment()).await;

    for (id, version) in [(id, held), (ended, ended_version), (waiting, 1)] {
        for decision in
            ["release", "look", "succeed&charge_id=ch_1", "fail", "reverse", "void", "fail+unproven"]
        {
            let (status, said) = came(&decides(&system, id, version, decision).await);
            assert_eq!(status, 409, "{decision}: {said}");
            assert!(said.contains("somebody was faster"), "{decision}: {said}");
        }
    }
    assert_eq!(system.client.payment(waiting).await["status"], "pending");
    assert_eq!(system.client.payment(id).await["held_reason"], "wrong_answer");
}

#[tokio::test]
async fn what_a_person_noted_is_kept_and_not_told_to_the_merchant() {
    let (mut system, id) = one_that_waits().await;
    behind_the_guards(&system, "update payments set version = 3 where id = $id", id).await;
    reconcile(&system).await;
    let held = version(&system.held(id).await);
    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(decides(&system, id, held, "fail").await.status, 303);

    let list = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
    let dossier = operator::dossier(&system.database.pool, id, None).await.unwrap().unwrap();

    let (told, kept) = (list["data"].as_array().unwrap().last().unwrap(), dossier.events.last().unwrap());
    assert_eq!((&told["type"], &told["reason"]), (&json!("failed"), &json!("by_hand")));
    let fields: BTreeSet<&String> = told["evidence"].as_object().unwrap().keys().collect();
    assert_eq!(fields, BTreeSet::from([&"failure".to_owned()]));
    assert_eq!(kept.evidence["by"], "ada");
    assert_eq!(kept.evidence["reason"], "seen in the gateway's own books");
    assert_eq!(
        (&kept.evidence["seen"], &kept.evidence["look"]["http_status"]),
        (&json!("nothing"), &json!(200))
    );
}

#[tokio::test]
async fn a_break_is_closed_once_and_never_under_a_payment_that_is_held() {
    let system = System::start(PROGRAM).await;
    let (held, _) = a_wrong_amount(&system).await;
    let ended = system.accepted(a_payment()).await;
    system.ended(ended).await;
    let open = "insert into breaks (payment_id, kind, detail, opened_at) values ($1, 'charged_after_end', '{}', now())
                returning id";
    let of_ended: i64 =
        sqlx::query_scalar(open).bind(ended.uuid()).fetch_one(&system.database.pool).await.unwrap();
    let of_held = system.count("select id from breaks where kind = 'wrong_answer'").await;

    let closed = close_break(&system.database.pool, of_ended, &ada()).await.unwrap();
    let again = close_break(&system.database.pool, of_ended, &ada()).await.unwrap();
    let under_held = close_break(&system.database.pool, of_held, &ada()).await.unwrap();
    let unknown = close_break(&system.database.pool, i64::MAX, &ada()).await.unwrap();

    assert_eq!([closed, again, under_held, unknown], [true, false, false, false]);
    assert_eq!(breaks(&system, ended).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    assert_eq!(breaks(&system, held).await, (1, vec![]));
}

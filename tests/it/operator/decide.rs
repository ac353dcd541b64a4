//! A held payment ends, or goes on, as a person decides: with a reason, a name, and books that agree.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use shared::operator;
use shared::payment::transition::{Decision, close_break};
use tests::{System, a_payment, wait_until};

use super::{
    a_doubt_that_cannot_end, a_wrong_amount, ada, breaks, charge_id, decides, version, void_at_the_gateway,
};
use crate::PROGRAM;

const CLOSED_BY_ADA: &str = "ada: seen in the gateway's own books";

fn succeed(charge_id: &str) -> Decision {
    Decision::Succeed { charge_id: charge_id.to_owned() }
}

#[tokio::test]
async fn a_held_payment_that_was_charged_ends_as_succeeded_and_is_posted_even_after_a_void_started() {
    let (system, id, held) = a_doubt_that_cannot_end().await;
    let charge = charge_id(&system, id).await;

    let decided = decides(&system, id, held, succeed(&charge)).await;

    assert_eq!(decided, Some(held + 1));
    let payment = system.client.payment(id).await;
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(payment["gateway"]["transaction_id"], charge.as_str());
    assert_eq!(payment["held_reason"], json!(null));
    assert_eq!(system.count("select count(*) from ledger_transfers").await, 1);
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_held_payment_that_was_not_charged_ends_as_failed() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    void_at_the_gateway(&system, id).await;

    decides(&system, id, held, Decision::Fail).await;

    let payment = system.client.payment(id).await;
    assert_eq!(payment["status"], "failed");
    assert_eq!(payment["failure"]["code"], "by_hand");
    assert_eq!(system.count("select count(*) from ledger_transfers").await, 0);
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_held_payment_that_was_given_back_ends_as_reversed_though_the_machine_started_no_void() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    void_at_the_gateway(&system, id).await;

    decides(&system, id, held, Decision::Reverse).await;

    assert_eq!(system.client.payment(id).await["status"], "reversed");
    assert_eq!(system.count("select count(*) from payments where void_started_at is not null").await, 0);
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_released_payment_is_looked_at_again_and_held_again_if_nothing_changed() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;

    let released = decides(&system, id, held, Decision::Release).await.unwrap();

    wait_until("the payment to be held again", async || {
        version(&system.client.payment(id).await) > released && system.held(id).await["due_at"].is_null()
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

    decides(&system, id, held, Decision::Release).await;

    let payment = system.ended(id).await;
    assert_eq!(payment["status"], "reversed");
    assert_eq!(breaks(&system, id).await, (0, vec![CLOSED_BY_ADA.to_owned()]));
    system.assert_books_agree().await;
}

#[tokio::test]
async fn of_many_who_decide_at_once_one_wins() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    void_at_the_gateway(&system, id).await;

    let decisions = (0..16).map(|n| if n % 2 == 0 { Decision::Fail } else { Decision::Reverse });
    let decided = join_all(decisions.map(|decision| decides(&system, id, held, decision))).await;

    assert_eq!(decided.iter().flatten().collect::<Vec<_>>(), [&(held + 1)]);
    assert_eq!(version(&system.client.payment(id).await), held + 1);
    assert_eq!(decides(&system, id, held + 1, Decision::Fail).await, None);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_decision_about_an_older_version_decides_nothing() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    decides(&system, id, held, Decision::Release).await;
    wait_until("the payment to be held again", async || {
        version(&system.client.payment(id).await) == held + 3
    })
    .await;

    assert_eq!(decides(&system, id, held, Decision::Fail).await, None);

    assert_eq!(system.client.payment(id).await["held_reason"], "wrong_answer");
}

#[tokio::test]
async fn nobody_decides_about_a_payment_that_is_not_held() {
    let mut system = System::start(PROGRAM).await;
    let ended = system.accepted(a_payment()).await;
    let ended_version = version(&system.ended(ended).await);
    system.workers[0].kill9();
    let waiting = system.accepted(a_payment()).await;

    for (id, version) in [(ended, ended_version), (waiting, 1)] {
        for decision in [Decision::Release, succeed("ch_1"), Decision::Fail, Decision::Reverse] {
            assert_eq!(decides(&system, id, version, decision).await, None);
        }
    }
    assert_eq!(system.client.payment(waiting).await["status"], "pending");
}

#[tokio::test]
async fn what_a_person_noted_is_kept_and_not_told_to_the_merchant() {
    let system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    void_at_the_gateway(&system, id).await;
    decides(&system, id, held, Decision::Fail).await;

    let list = system.client.get(&format!("/v1/payments/{id}/events")).await.json();
    let dossier = operator::dossier(&system.database.pool, id, None).await.unwrap().unwrap();

    let (told, kept) = (list["data"].as_array().unwrap().last().unwrap(), dossier.events.last().unwrap());
    assert_eq!((&told["type"], &told["reason"]), (&json!("failed"), &json!("by_hand")));
    let fields: BTreeSet<&String> = told["evidence"].as_object().unwrap().keys().collect();
    assert_eq!(fields, BTreeSet::from([&"failure".to_owned()]));
    assert_eq!(kept.evidence["by"], "ada");
    assert_eq!(kept.evidence["reason"], "seen in the gateway's own books");
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

//! People who decide at the same moment, and workers that die over it: of all decisions one is made, or none.

use domain::held::Wish;
use futures::future::join_all;
use shared::payment::transition::{Asked, Asking, ask, release};
use tests::client::send;
use tests::{Exit, System, wait_until};

use super::page::{form, get, text};
use super::{a_wrong_amount, ada, came, charge_id, decides, held_in_doubt, version};
use crate::PROGRAM;

#[tokio::test]
async fn a_decision_waits_for_a_worker_keeps_others_out_and_can_be_taken_back() {
    let mut system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    system.workers[0].kill9();
    let path = format!("/ops/payments/{id}");

    let asked = decides(&system, id, held, "void").await;
    let page = get(&system, &path).await;
    let others =
        [came(&decides(&system, id, held, "release").await), came(&decides(&system, id, held, "look").await)];

    assert_eq!(asked.status, 303);
    assert_eq!(page.header("refresh"), "3");
    assert!(text(&page).contains("Being checked: <b>void</b>, asked for by ada"), "{}", text(&page));
    for (status, said) in others {
        assert_eq!(status, 409);
        assert!(said.contains("being checked"), "{said}");
    }
    let open = system.count("select id from decisions where ended_at is null").await;
    let back =
        send(form(&system, &path, &format!("version={held}&decision=withdraw&id={open}&reason=no"))).await;
    assert_eq!(back.status, 303);
    assert_eq!(decides(&system, id, held, "release").await.status, 303);
    assert_eq!(system.count("select count(*) from decisions where outcome = 'withdrawn'").await, 1);
}

#[tokio::test]
async fn a_worker_killed_between_look_and_record_leaves_the_decision_to_another() {
    let mut system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    system.workers[0].kill9();
    let dying = system.add_worker([("PAYONCE_FAULTS", "decision_record.before=kill")]).await;

    let asked = decides(&system, id, held, "void").await;
    assert_eq!(system.workers[dying].wait_exit().await, Exit::Signal(9));
    assert_eq!(version(&system.client.payment(id).await), held);
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(asked.status, 303);
    assert_eq!(system.ended(id).await["status"], "reversed");
    assert_eq!(system.count("select looks::bigint from decisions").await, 2);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn of_many_who_decide_at_once_one_wins() {
    let (system, id, held) = held_in_doubt("sim_reset_after").await;
    let succeed = format!("succeed&charge_id={}", charge_id(&system, id).await);

    let decisions = (0..12).map(|n| if n % 2 == 0 { &*succeed } else { "void" });
    let decided = join_all(decisions.map(|decision| decides(&system, id, held, decision))).await;

    let payment = system.ended(id).await;
    let (done, others): (Vec<_>, Vec<_>) =
        decided.iter().map(|answer| answer.status).partition(|it| *it == 303);
    // A person who asked for the same decision is told that it is done.
    assert!((1..=6).contains(&done.len()) && others.iter().all(|it| *it == 409), "{done:?} {others:?}");
    assert_eq!(system.count("select count(*) from decisions where outcome = 'done'").await, 1);
    let first: String = sqlx::query_scalar("select wish from decisions where outcome = 'done'")
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    assert_eq!(payment["status"], if first == "void" { "reversed" } else { "succeeded" });
    system.assert_books_agree().await;
}

/// Waits until that number of sessions wait for a lock.
async fn waiting_for_a_lock(system: &System, sessions: i64) {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    wait_until("the sessions to wait", async || system.count(waiting).await == sessions).await;
}

#[tokio::test]
async fn a_release_that_gets_past_a_decision_leaves_it_overtaken_without_a_look() {
    let mut system = System::start(PROGRAM).await;
    let (id, held) = a_wrong_amount(&system).await;
    system.workers[0].kill9();
    let pool = system.database.pool.clone();
    let asking = Asking::new((id, held), Wish::Void, false, ada(), "ada").unwrap();
    let mut lock = pool.begin().await.unwrap();
    let locked = "select from payments where id = $1 for no key update";
    sqlx::query(locked).bind(id.uuid()).execute(&mut *lock).await.unwrap();
    // Both have begun before either sees what the other does.
    let asked = tokio::spawn({
        let pool = pool.clone();
        async move { ask(&pool, &asking).await.unwrap() }
    });
    waiting_for_a_lock(&system, 1).await;
    let released = tokio::spawn(async move { release(&pool, id, held, &ada()).await.unwrap() });
    waiting_for_a_lock(&system, 2).await;
    lock.rollback().await.unwrap();

    let (asked, released) = (asked.await.unwrap(), released.await.unwrap());
    system.add_worker([("RUST_LOG", "info")]).await;

    assert!(matches!(asked, Asked::Open(_)), "{asked:?}");
    assert_eq!(released, Some(held + 1), "without this the test says nothing");
    wait_until("the decision to end", async || {
        system
            .count("select count(*) from decisions where outcome = 'overtaken' and seen = 'not_looked'")
            .await
            == 1
    })
    .await;
    wait_until("the payment to be held again", async || {
        version(&system.client.payment(id).await) == held + 3
    })
    .await;
    assert_eq!(system.count("select count(*) from payments where void_started_at is not null").await, 0);
}

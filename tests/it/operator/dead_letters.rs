//! Dead letters on the operator's page: listed, replayed and discarded, with a reason and under a name.

use serde_json::json;
use shared::queue::repair::stray_jobs;
use tests::client::send;
use tests::{System, a_payment};

use super::page::{an_api, form, form_of, get, text};
use super::{a_wrong_amount, breaks};
use crate::PROGRAM;

/// The dead letter of a payment's job, with which each worker was lost.
async fn a_letter(system: &System) -> i64 {
    system.accepted(a_payment()).await;
    let lost_twice = "update apalis.jobs set attempts = 2, run_at = now() - interval '1 hour'";
    sqlx::query(lost_twice).execute(&system.database.pool).await.unwrap();
    stray_jobs(&system.database.pool, 10).await.unwrap();
    system.count("select id from dead_letters where closed_at is null").await
}

/// How each letter was closed, by whom and why.
async fn closed(system: &System) -> Vec<String> {
    let how = "select closed_as || ' by ' || closed_by || ': ' || closed_reason from dead_letters
                where closed_at is not null order by id";
    sqlx::query_scalar(how).fetch_all(&system.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_dead_letter_is_replayed_once_on_its_page_with_a_reason() {
    let system = an_api().await;
    let letter = a_letter(&system).await;
    let path = format!("/ops/dead-letters/{letter}");
    let listed = text(&get(&system, "/ops/dead-letters").await);
    assert!(listed.contains(&path) && listed.contains("each worker that had it was lost"), "{listed}");

    let mut statuses = Vec::new();
    for fields in [
        "closing=replay&reason=",
        "closing=resend&reason=fixed",
        "closing=replay&reason=fixed",
        "closing=replay&reason=fixed",
        "closing=discard&reason=too+late",
    ] {
        statuses.push(send(form(&system, &path, fields)).await.status);
    }

    assert_eq!(statuses, [400, 400, 303, 303, 409]);
    assert_eq!(closed(&system).await, ["replayed by ada: fixed"]);
    assert_eq!(system.count("select count(*) from apalis.jobs where status = 'Pending'").await, 1);
    assert!(text(&get(&system, "/ops/dead-letters?closed=1").await).contains("fixed"));
    assert!(text(&get(&system, "/ops/dead-letters").await).contains("None is open"));
    assert_eq!(send(form(&system, "/ops/dead-letters/4711", "closing=replay&reason=x")).await.status, 404);
}

#[tokio::test]
async fn a_dead_letter_is_put_away_on_its_page_and_from_nowhere_else() {
    let system = an_api().await;
    let letter = a_letter(&system).await;
    let path = format!("/ops/dead-letters/{letter}");
    let fields = "closing=discard&reason=pushed+by+hand";
    assert!(text(&get(&system, "/ops").await).contains("1 dead letter."));

    for (user, site) in [("ada", "cross-site"), ("", "same-origin")] {
        send(form_of(user, site, &system, &path).body(fields)).await.assert_status(403);
    }
    assert_eq!(closed(&system).await, Vec::<String>::new());
    let done = send(form(&system, &path, fields)).await;

    done.assert_status(303);
    assert_eq!(closed(&system).await, ["discarded by ada: pushed by hand"]);
    assert_eq!(system.count("select count(*) from apalis.jobs where status = 'Pending'").await, 0);
    assert!(!text(&get(&system, "/ops").await).contains("1 dead letter."));
}

#[tokio::test]
async fn the_letter_of_a_held_payment_is_replayed_and_not_put_away() {
    let system = System::start(PROGRAM).await;
    let (id, _) = a_wrong_amount(&system).await;
    let poison = "insert into dead_letters (class, queue, payment_id, error, detail, parked_at)
                  values ('poison', 'payments', $1, 'lost', $2, now()) returning id";
    let letter: i64 = sqlx::query_scalar(poison)
        .bind(id.uuid())
        .bind(json!({ "lost_workers": 3 }))
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    let path = format!("/ops/dead-letters/{letter}");
    let listed = text(&get(&system, "/ops/dead-letters").await);
    assert!(listed.contains(&format!("/ops/payments/{id}")) && listed.contains("lost_workers"), "{listed}");
    assert!(!listed.contains("Discard it"), "{listed}");

    let discarded = send(form(&system, &path, "closing=discard&reason=no")).await;
    let replayed = send(form(&system, &path, "closing=replay&reason=fixed")).await;

    assert_eq!([discarded.status, replayed.status], [409, 303]);
    assert!(text(&discarded).contains("its payment is held"), "{}", text(&discarded));
    assert_eq!(closed(&system).await, ["replayed by ada: fixed"]);
    assert_eq!(breaks(&system, id).await.1, ["ada: fixed"]);
}

//! Reviews: what a person may do about them, what the client is told meanwhile, and what becomes of a balance
//! that is reserved.

use domain::ids::PaymentId;
use serde_json::{Value, json};
use tests::{Shape, System, a_payment, wait_until};

use super::{act, ask, get, heard_of, large, payonce, review_large};
use crate::PROGRAM;
use crate::verify::{offences, report, verify};

async fn assert_nothing_is_wrong(system: &System) {
    let (_, report) = report(verify(system, &[])).await;
    let wrong: Vec<_> = offences(&report);
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn what_waits_for_a_person_is_charged_once_it_is_approved_and_never_if_it_is_denied() {
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    review_large(&system).await;
    let (yes, no) = (large().key("yes"), large().key("no"));
    let first = system.pay(yes.clone()).await;
    let (approved, denied) = (first.payment_id(), system.accepted(no).await);
    let body = first.json();
    assert_eq!(
        (&body["status"], &body["due_at"], &body["version"]),
        (&json!("in_review"), &Value::Null, &json!(2))
    );
    assert_eq!(system.story(approved).await, ["created", "review_started"]);
    assert_eq!(system.count("select count(*) from apalis.jobs where job_type = 'payments'").await, 0);
    // Who prefers to wait is not kept waiting for a person.
    let waited = system.pay(yes.clone().header("prefer", "wait=20")).await;
    assert_eq!((waited.status, &waited.json()["status"]), (200, &json!("in_review")));
    assert_eq!(waited.header("preference-applied"), "wait=20");
    let shown = get(&system, &format!("/v1/reviews/{approved}")).await.json();
    assert_eq!((&shown["status"], &shown["score"]), (&json!("open"), &json!(50)));

    let answer = act(&system, approved, "approve").await;

    answer.assert_status(200);
    assert_eq!(answer.json()["decided_by"], "ada");
    let refused = act(&system, denied, "deny").await;
    assert_eq!(refused.json()["payment_status"], "failed");
    let ended = system.ended(approved).await;
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(
        system.story(approved).await,
        ["created", "review_started", "approved", "attempt_started", "succeeded"]
    );
    let failed = system.client.payment(denied).await;
    assert_eq!((&failed["status"], &failed["failure"]["code"]), (&json!("failed"), &json!("risk_denied")));
    assert_eq!(heard_of(&system, denied).await, 0);
    // The first answer stays what it was.
    assert_eq!(system.pay(yes).await.body, first.body);
    // Whoever repeats the act that won has its answer; any other act hears who did.
    assert_eq!(act(&system, approved, "approve").await.json()["decided_at"], answer.json()["decided_at"]);
    let other = act(&system, approved, "deny").await.assert_problem(409, "review_decided");
    assert_eq!(other["review"], json!({ "status": "approved", "decided_by": "ada" }));
    act(&system, denied, "approve").await.assert_problem(409, "review_decided");
    let stranger = PaymentId::generate();
    act(&system, stranger, "approve").await.assert_problem(404, "not_found");
    act(&system, stranger, "deny").await.assert_problem(404, "not_found");
    get(&system, &format!("/v1/reviews/{stranger}")).await.assert_problem(404, "not_found");
    let unseen = json!({ "note": "\u{200b}" });
    ask(&system, &format!("/v1/reviews/{denied}/deny"), unseen.clone())
        .await
        .assert_problem(400, "invalid_request");
    ask(&system, &format!("/v1/reviews/{denied}/approve"), unseen)
        .await
        .assert_problem(400, "invalid_request");
    system.assert_books_agree().await;
    assert_nothing_is_wrong(&system).await;
}

#[tokio::test]
async fn several_are_shown_first_and_decided_by_their_ids_and_by_the_command_line() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    review_large(&system).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(system.accepted(large().customer(&format!("c{n}"))).await);
    }
    let open = get(&system, "/v1/reviews?status=open&limit=2").await.json();
    assert_eq!((open["data"].as_array().unwrap().len(), &open["has_more"]), (2, &json!(true)));
    assert_eq!(open["data"][0]["payment_id"], ids[4].to_string());
    let next = get(
        &system,
        &format!("/v1/reviews?status=open&limit=2&cursor={}", open["next_cursor"].as_str().unwrap()),
    )
    .await;
    assert_eq!(next.json()["data"][0]["payment_id"], ids[2].to_string());
    let one = get(&system, "/v1/reviews?customer_id=c3").await.json();
    assert_eq!(one["data"].as_array().unwrap().len(), 1);
    get(&system, "/v1/reviews?status=new").await.assert_problem(400, "invalid_request");
    let stranger = PaymentId::generate();
    let asked = |preview: bool, ids: &[PaymentId]| json!({ "decision": "deny", "payments": ids, "preview": preview, "by": "ada", "note": "all of them" });

    let shown = ask(&system, "/v1/reviews/decide", asked(true, &[ids[0], ids[1], stranger])).await;

    let outcomes = |answer: &Value| -> Vec<String> {
        let data = answer["data"].as_array().unwrap();
        data.iter().map(|it| it["outcome"].as_str().unwrap().to_owned()).collect()
    };
    shown.assert_status(200);
    assert_eq!(outcomes(&shown.json()), ["open", "open", "not_found"]);
    assert_eq!(system.count("select count(*) from reviews where status = 'open'").await, 5);
    act(&system, ids[1], "approve").await.assert_status(200);
    let done = ask(&system, "/v1/reviews/decide", asked(false, &[ids[0], ids[1], stranger])).await;
    assert_eq!(outcomes(&done.json()), ["done", "decided_otherwise", "not_found"]);
    let shown = ask(&system, "/v1/reviews/decide", asked(true, &[ids[0]])).await;
    assert_eq!(outcomes(&shown.json()), ["decided_before"]);
    for wrong in [json!([]), json!([ids[0], ids[0]]), json!(["x"]), json!("x")] {
        let body = json!({ "decision": "deny", "payments": wrong });
        ask(&system, "/v1/reviews/decide", body).await.assert_problem(400, "invalid_request");
    }

    let (two, three) = (ids[2].to_string(), ids[3].to_string());
    let (code, list) = payonce(&system, &["reviews", "list", "--json"]).await;
    let list: Value = serde_json::from_str(&list.stdout()).unwrap();
    assert_eq!((code, list["data"].as_array().unwrap().len()), (0, 3));
    let (code, preview) = payonce(&system, &["reviews", "approve", &two, &three, "--preview"]).await;
    assert!(code == 0 && preview.stdout().contains("open"), "{}", preview.stdout());
    let (code, _) =
        payonce(&system, &["reviews", "approve", &two, &three, "--by", "bob", "--note", "called"]).await;
    assert_eq!(code, 0);
    let (code, _) = payonce(&system, &["reviews", "deny", &two, "--by", "ada"]).await;
    assert_eq!(code, 1);
    let decided = get(&system, &format!("/v1/reviews/{two}")).await.json();
    assert_eq!((&decided["decided_by"], &decided["note"]), (&json!("bob"), &json!("called")));
    assert_nothing_is_wrong(&system).await;
}

#[tokio::test]
async fn what_nobody_decides_in_time_fails_and_its_age_counts_from_the_approval() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    review_large(&system).await;
    let (late, old) = (system.accepted(large()).await, system.accepted(large()).await);
    let age = "update payments set created_at = created_at - interval '3 days' where id = $1";
    let mut planted = system.database.pool.acquire().await.unwrap();
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *planted).await.unwrap();
    sqlx::query(age).bind(old.uuid()).execute(&mut *planted).await.unwrap();
    sqlx::query("update payment_events set at = at - interval '3 days' where payment_id = $1")
        .bind(old.uuid())
        .execute(&mut *planted)
        .await
        .unwrap();
    sqlx::query("update public_events set at = at - interval '3 days' where object = $1")
        .bind(old.uuid())
        .execute(&mut *planted)
        .await
        .unwrap();
    sqlx::query("update payments set updated_at = created_at where id = $1")
        .bind(old.uuid())
        .execute(&mut *planted)
        .await
        .unwrap();
    sqlx::query("update reviews set expires_at = now() where payment_id = $1")
        .bind(late.uuid())
        .execute(&mut *planted)
        .await
        .unwrap();
    sqlx::raw_sql("reset session_replication_role").execute(&mut *planted).await.unwrap();
    drop(planted);

    // Its time is over, though no worker has ended it yet.
    let refused = act(&system, late, "approve").await.assert_problem(409, "review_decided");
    assert_eq!(refused["review"], json!({ "status": "expired", "decided_by": "payonce" }));
    act(&system, old, "approve").await.assert_status(200);
    system.add_worker([("RUST_LOG", "info")]).await;

    assert_eq!(system.ended(old).await["status"], "succeeded");
    let failed = system.client.payment(late).await;
    assert_eq!((&failed["status"], &failed["failure"]["code"]), (&json!("failed"), &json!("review_expired")));
    let another = system.accepted(large()).await;
    sqlx::raw_sql("set session_replication_role = replica; update reviews set expires_at = now() where status = 'open'; reset session_replication_role")
        .execute(&system.database.pool)
        .await
        .unwrap();
    assert_eq!(system.ended(another).await["failure"]["code"], "review_expired");
    assert_eq!(heard_of(&system, another).await + heard_of(&system, late).await, 0);
    assert_nothing_is_wrong(&system).await;
}

#[tokio::test]
async fn no_statement_takes_a_payment_out_of_review_that_nobody_decided() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    review_large(&system).await;
    let id = system.accepted(large()).await;
    system.accepted(a_payment()).await;
    for (statement, why) in [
        (
            "update payments set status = 'pending', due_at = now(), version = version + 1 where status = 'in_review'",
            "its review does not say that it is pending",
        ),
        (
            "update payments set status = 'processing', due_at = now(), version = version + 1 where status = 'in_review'",
            "its review does not say that it is processing",
        ),
        (
            "update payments set status = 'in_review', due_at = null, version = version + 1 where status = 'pending'",
            "",
        ),
        (
            "update payments set accepted_as = null where status = 'in_review'",
            "was fixed when the payment was accepted",
        ),
        ("update reviews set expires_at = now()", "a review ends once"),
        ("delete from reviews", "reviews are never deleted"),
        ("update risk_rules set amount = 5", "a rule is removed, and another one added"),
        ("delete from risk_rules", "what the rules were is kept"),
    ] {
        let refused = sqlx::raw_sql(statement).execute(&system.database.pool).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{statement}: {refused}");
    }
    assert_eq!(system.client.payment(id).await["status"], "in_review");
    // `payonce verify` tells of a review that ended without its payment.
    crate::verify::behind_the_guards(
        &system.database.pool,
        "update reviews set status = 'denied', decided_at = now(), decided_by = 'eve'",
    )
    .await;
    let (_, report) = report(verify(&system, &[])).await;
    assert!(offences(&report).iter().any(|(check, ..)| check == "liveness"), "{report}");
    wait_until("the API to answer still", async || system.client.payment(id).await["status"] == "in_review")
        .await;
}

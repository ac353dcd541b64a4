//! What each rule hits, in which order rules are asked, and that a counter lets exactly as many through as it
//! says.

use futures::future::join_all;
use serde_json::{Value, json};
use tests::client::Request;
use tests::{Exit, Launch, Shape, System, a_payment};

use super::{add_rule, payonce, review_large};
use crate::PROGRAM;

async fn status(system: &System, request: Request) -> String {
    let answer = system.pay(request).await;
    answer.assert_status(202);
    answer.json()["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_rule_hits_what_it_is_about_and_the_first_that_hits_decides() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let dollars = |amount: &str, customer: &str| {
        a_payment().amount(amount).customer(customer).with("currency", json!("USD"))
    };
    assert_eq!(status(&system, dollars("5000", "c1")).await, "pending", "there are no rules");

    review_large(&system).await;
    assert_eq!(status(&system, dollars("1000.00", "c1")).await, "pending", "not above");
    assert_eq!(status(&system, dollars("1000.01", "c1")).await, "in_review");
    assert_eq!(status(&system, a_payment().amount("5000")).await, "pending", "another currency");

    let blocked =
        add_rule(&system, &["blocked_customer", "--value", "bad", "--action", "deny", "--position", "1"])
            .await;
    let denied = system.pay(dollars("2000", "bad").key("denied")).await;
    denied.assert_status(202);
    let body = denied.json();
    assert_eq!(
        (&body["status"], &body["failure"]["code"], &body["version"]),
        (&json!("failed"), &json!("risk_denied"), &json!(2))
    );
    assert!(body["terminal_at"].is_string() && body["due_at"].is_null(), "{body}");
    assert_eq!(system.pay(dollars("2000", "bad").key("denied")).await.body, denied.body);
    let stands = system.client.get(denied.header("location")).await.json();
    assert_eq!((&stands["status"], &stands["failure"]), (&body["status"], &body["failure"]));
    let events = system.client.get(&format!("{}/events", denied.header("location"))).await.json();
    let created = &events["data"][0]["evidence"]["accepted_as"]["risk"];
    assert_eq!((&created["decision"], &created["score"]), (&json!("deny"), &json!(50)));
    assert_eq!(created["rules"][0]["rule"], blocked);
    assert_eq!(created["rules"][1]["kind"], "amount_over");

    add_rule(&system, &["blocked_method", "--value", "sim_stolen", "--action", "deny"]).await;
    assert_eq!(status(&system, a_payment().method("sim_stolen")).await, "failed");
    add_rule(&system, &["blocked_customer", "--value", "vip", "--action", "approve", "--position", "0"])
        .await;
    assert_eq!(status(&system, dollars("9000", "vip")).await, "pending", "let pass by an earlier rule");
    let failures =
        ["recent_failures", "--count", "2", "--window-s", "3600", "--action", "deny", "--currency", "JPY"];
    add_rule(&system, &failures).await;
    assert_eq!(
        status(&system, a_payment().customer("bad").amount("7").with("currency", json!("JPY"))).await,
        "failed"
    );
    let once = a_payment().customer("once").amount("7").with("currency", json!("JPY"));
    assert_eq!(status(&system, once).await, "pending");
    let new = ["new_customer", "--action", "review", "--currency", "GBP"];
    add_rule(&system, &new).await;
    assert_eq!(
        status(&system, a_payment().customer("new").with("currency", json!("GBP"))).await,
        "in_review"
    );

    let (code, list) = payonce(&system, &["rules", "list", "--json"]).await;
    let list: Value = serde_json::from_str(&list.stdout()).unwrap();
    assert_eq!((code, list["data"].as_array().unwrap().len()), (0, 6), "{list}");
    assert_eq!(list["data"][1]["id"], blocked);
    let (code, _) = payonce(&system, &["rules", "remove", &blocked.to_string(), "--by", "bob"]).await;
    assert_eq!(code, 0);
    assert_eq!(status(&system, dollars("10", "bad")).await, "pending", "it was removed");
    let (code, _) = payonce(&system, &["rules", "remove", &blocked.to_string()]).await;
    assert_eq!(code, 1, "it is not in force");
    let (_, all) = payonce(&system, &["rules", "list", "--all"]).await;
    assert!(all.stdout().contains("bob"), "{}", all.stdout());
}

#[tokio::test]
async fn a_rule_is_tried_on_the_last_payments_and_one_that_lacks_something_is_refused() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    for n in 0..6 {
        let customer = if n < 4 { "often" } else { "seldom" };
        system.accepted(a_payment().customer(customer).amount(&format!("{}", 10 * (n + 1)))).await;
    }
    for (rule, hits) in [
        (&["amount_over", "--currency", "EUR", "--amount", "30", "--action", "deny"][..], 3),
        (&["velocity", "--count", "2", "--window-s", "3600", "--action", "deny"], 2),
        (&["blocked_customer", "--value", "seldom", "--action", "deny"], 2),
        (&["new_customer", "--action", "review"], 6),
    ] {
        let given = [&["rules", "try"], rule, &["--reason", "x", "--json"]].concat();
        let (code, process) = payonce(&system, &given).await;
        let tried: Value = serde_json::from_str(&process.stdout()).unwrap();
        assert_eq!((code, &tried["payments"], &tried["hits"]), (0, &json!(6), &json!(hits)), "{rule:?}");
    }
    assert_eq!(system.count("select count(*) from risk_rules").await, 0);
    assert_eq!(system.count("select count(*) from risk_counters").await, 0);
    for (rule, why) in [
        (&["velocity", "--action", "deny"][..], "--count and --window-s"),
        (&["amount_over", "--action", "deny"], "--amount"),
        (&["amount_over", "--amount", "1", "--action", "deny"], "--currency"),
        (&["blocked_method", "--action", "deny"], "--value"),
    ] {
        let given = [&["rules", "add"], rule, &["--reason", "x"]].concat();
        let (code, process) = payonce(&system, &given).await;
        assert!(code == 1 && process.stderr().contains(why), "{rule:?}: {code} {}", process.stderr());
    }
    let (exit, _) =
        Launch::payonce(PROGRAM).args(["rules", "add", "weather", "--action", "deny"]).run().await;
    assert_eq!(exit, Exit::Code(2));
}

/// How many requests come at once.
const CROWD: usize = 100;

#[tokio::test]
async fn a_counter_lets_exactly_as_many_through_as_its_rule_says_over_two_apis() {
    let system = System::with(PROGRAM, Shape { apis: 2, ..Shape::default() }).await;
    add_rule(&system, &["velocity", "--count", "5", "--window-s", "86400", "--action", "deny"]).await;
    let requests: Vec<Request> =
        (0..CROWD).map(|n| a_payment().customer("one").key(&format!("k{n}"))).collect();

    // Each twice: what is repeated is not counted.
    let both = requests.iter().chain(&requests).map(|request| system.pay(request.clone()));
    let answers = join_all(both).await;

    let denied = answers.iter().filter(|answer| answer.json()["status"] == "failed").count();
    assert_eq!(denied, 2 * (CROWD - 5));
    assert_eq!(system.count("select count(*) from payments where status = 'pending'").await, 5);
    assert_eq!(system.count("select count::bigint from risk_counters").await, 100);
    let other = system.pay(a_payment().customer("another")).await;
    assert_eq!(other.json()["status"], "pending");
    // The window is over: the next request begins another one.
    sqlx::query("update risk_counters set ends_at = now() - interval '2 hours'")
        .execute(&system.database.pool)
        .await
        .unwrap();
    let next = system.pay(a_payment().customer("one")).await;
    assert_eq!(next.json()["status"], "pending");
    assert_eq!(shared::payment::risk::forget(&system.database.pool).await.unwrap(), 1);
}

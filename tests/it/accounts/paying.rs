//! Payments from a balance: each is decided when it is answered, once, and its key tells it for ever. No
//! gateway hears of it, and no account pays what it does not have.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::client::{Request, send};
use tests::{Answer, Shape, a_payment};
use uuid::Uuid;

use super::{Bank, key, open};
use crate::verify::{behind_the_guards, offences, report, verify};

/// A payment from that account, whose owner is ann.
fn from(account: &str, amount: &str) -> Request {
    a_payment().customer("ann").method(account).amount(amount).with("currency", json!("USD"))
}

/// What the merchant sold from balances: posted, pending in.
async fn sold(bank: &Bank) -> (String, String) {
    sqlx::query_as(
        "select (credits_posted - debits_posted)::text, credits_pending::text from accounts where is_sales",
    )
    .fetch_one(&bank.system.database.pool)
    .await
    .unwrap()
}

fn assert_same(first: &Answer, again: &Answer) {
    assert_eq!((again.status, again.problem()), (first.status, first.problem()));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
}

#[tokio::test]
async fn a_payment_from_a_balance_is_decided_at_once_and_for_ever() {
    let bank = Bank::with(Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let system = &bank.system;
    let ann = bank.funded("ann", "100").await;
    let request = from(&ann, "60");

    let paid = system.pay(request.clone()).await;

    paid.assert_status(201);
    assert_eq!(paid.header("idempotent-replayed"), "false");
    let body = paid.json();
    assert_eq!(
        (&body["status"], &body["amount"], &body["gateway"]),
        (&json!("succeeded"), &json!("60.00"), &Value::Null)
    );
    assert_eq!(bank.balance(&ann).await, ["40.00", "0.00", "0.00", "40.00"]);
    assert_eq!(sold(&bank).await, ("60.00".to_owned(), "0.00".to_owned()));
    assert_same(&paid, &system.pay(request.clone()).await);
    let id = body["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(system.story(id).await, ["created", "succeeded"]);
    let stands = system.client.payment(id).await;
    assert_eq!((&stands["status"], &stands["version"]), (&json!("succeeded"), &json!(2)));

    let short = system.pay(from(&ann, "41").key("short")).await;
    let problem = short.assert_problem(422, "insufficient_funds");
    assert_eq!(problem["available"], "40.00");
    bank.fund(&ann, "500").await;
    let again = system.pay(from(&ann, "41").key("short")).await;
    assert_same(&short, &again);
    let failed = short.header("location").rsplit('/').next().unwrap().parse().unwrap();
    let failed = system.client.payment(failed).await;
    assert_eq!(
        (&failed["status"], &failed["failure"]["code"]),
        (&json!("failed"), &json!("insufficient_funds"))
    );
    let known = "/v1/idempotency-keys?key=short&customer_id=ann";
    let known = system.client.get(known).await.json();
    assert_eq!(
        (&known["outcome"]["status"], &known["outcome"]["body"]["status"]),
        (&json!(422), &json!("failed"))
    );

    let other = system.pay(from(&ann, "42").key("short")).await;
    let other = other.assert_problem(422, "idempotency_key_reused");
    assert_eq!(other["differing_fields"], json!(["amount"]));
    let by_card = system.pay(from("sim_ok", "41").key("short")).await;
    let by_card = by_card.assert_problem(422, "idempotency_key_reused");
    assert_eq!(by_card["differing_fields"], json!(["payment_method"]));
    system.pay(from("sim_ok", "41").key("by-card")).await.assert_status(202);
    let from_account = system.pay(from(&ann, "41").key("by-card")).await;
    from_account.assert_problem(422, "idempotency_key_reused");
    system.settled().await;
    bank.assert_adds_up().await;
    system.assert_books_agree().await;
}

#[tokio::test]
async fn who_does_not_own_the_account_pays_nothing_from_it_and_may_use_the_key_again() {
    let bank = Bank::start().await;
    let system = &bank.system;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.funded("bob", "100").await);
    let euros = open(&system.client, "ann", "EUR").await;
    system.pay(from(&ann, "1")).await.assert_status(201);
    let sales: Uuid = sqlx::query_scalar("select id from accounts where is_sales")
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    let sales = format!("acc_{}", sales.simple());
    let nobodys = format!("acc_{}", Uuid::now_v7().simple());
    let till = from(&bank.funding, "1").customer("the till");
    let stranger = system.another_merchant("second").await;
    for (request, status, code) in [
        (from(&bob, "1"), 404, "account_not_found"),
        (from(&nobodys, "1"), 404, "account_not_found"),
        (from(&sales, "1").customer("sales"), 404, "account_not_found"),
        (till, 404, "account_not_found"),
        (from(&euros, "1"), 422, "currency_mismatch"),
        (from("acc_7", "1"), 400, "invalid_request"),
        (from("acc_", "1"), 400, "invalid_request"),
    ] {
        system.pay(request.clone().key("tried")).await.assert_problem(status, code);
    }
    stranger.pay(from(&ann, "1")).await.assert_problem(404, "account_not_found");

    system.pay(from(&ann, "1").key("tried")).await.assert_status(201);

    assert_eq!(bank.balance(&ann).await[0], "98.00");
    assert_eq!(system.count("select count(*) from payments").await, 2);
    bank.assert_adds_up().await;
}

/// Approves or denies a payment in review, as an administrator.
async fn act(bank: &Bank, id: &str, act: &str) -> Answer {
    let admin = bank.system.client.with_secret(crate::operator::ADMIN_KEY.to_owned());
    let path = format!("/v1/reviews/{id}/{act}");
    send(admin.request(reqwest::Method::POST, &path).json(&json!({ "by": "ada" }))).await
}

#[tokio::test]
async fn what_is_reserved_in_review_is_paid_or_goes_back_with_the_review_alone() {
    let bank = Bank::start().await;
    let system = &bank.system;
    let ann = bank.funded("ann", "100").await;
    let rule = ["rules", "add", "amount_over", "--currency", "USD", "--amount", "20", "--action", "review"];
    let rule = [&rule[..], &["--reason", "x", "--by", "ada"]].concat();
    assert_eq!(crate::dead_letters::payonce(system, &rule).await.0, 0);
    let asked = |key: &str| from(&ann, "30").key(key);
    let first = system.pay(asked("approve")).await;
    first.assert_status(202);
    assert_eq!(first.json()["status"], "in_review");
    let ids = [first, system.pay(asked("deny")).await, system.pay(asked("expire")).await];
    let ids = ids.map(|answer| answer.json()["id"].as_str().unwrap().to_owned());
    assert_eq!(bank.balance(&ann).await, ["100.00", "0.00", "90.00", "10.00"]);
    // Too little is told before a person is asked, and nobody is.
    system.pay(asked("short")).await.assert_problem(422, "insufficient_funds");
    assert_eq!(system.count("select count(*) from reviews").await, 3);

    for id in &ids {
        let hold = id.replace("pay_", "trf_");
        for what in ["post", "void"] {
            bank.act(&hold, what, &key(), json!({})).await.assert_problem(409, "transfer_of_payment");
        }
    }
    act(&bank, &ids[0], "approve").await.assert_status(200);
    act(&bank, &ids[1], "deny").await.assert_status(200);
    assert_eq!(bank.balance(&ann).await, ["70.00", "0.00", "30.00", "40.00"]);
    // Its time is over, and a transfer that needs what it reserved has it given back.
    let past = "update reviews set expires_at = now(); update transfers set expires_at = now() where status = 'pending'";
    behind_the_guards(&system.database.pool, past).await;
    system.pay(from(&ann, "20")).await.assert_status(201);
    system.pay(from(&ann, "20")).await.assert_status(201);
    system.pay(from(&ann, "20")).await.assert_status(201);
    assert_eq!(bank.balance(&ann).await, ["10.00", "0.00", "0.00", "10.00"]);
    act(&bank, &ids[2], "approve").await.assert_problem(409, "review_decided");

    let mut ends = Vec::new();
    for id in &ids {
        ends.push(system.client.payment(id.parse().unwrap()).await["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(ends, ["succeeded", "failed", "failed"]);
    let again = system.pay(asked("approve")).await;
    assert_eq!((again.status, &again.json()["status"]), (202, &json!("in_review")));
    assert_eq!(sold(&bank).await, ("90.00".to_owned(), "0.00".to_owned()));
    bank.assert_adds_up().await;
}

const ROUNDS: usize = 300;
const LANES: usize = 20;

#[tokio::test]
async fn of_two_payments_of_60_from_100_one_is_paid_and_of_one_key_sent_at_once_there_is_one() {
    let bank = Bank::with(Shape { apis: 2, ..Shape::default() }).await;
    let system = &bank.system;
    let next = AtomicUsize::new(0);
    let lane = async || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= ROUNDS {
                return;
            }
            let ann = bank.funded("ann", "100").await;
            let request = from(&ann, "60");
            // Two requests; under one key every other time.
            let is_one = n.is_multiple_of(2);
            let other = if is_one { request.clone() } else { from(&ann, "60") };

            let answers = join_all([request, other].map(|request| system.pay(request))).await;

            let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, if is_one { [201, 201] } else { [201, 422] });
            if is_one {
                assert_eq!(answers[0].body, answers[1].body);
            }
            assert_eq!(bank.balance(&ann).await, ["40.00", "0.00", "0.00", "40.00"]);
        }
    };
    join_all((0..LANES).map(|_| lane())).await;
    assert_eq!(sold(&bank).await.0, format!("{}.00", 60 * ROUNDS));
    bank.assert_adds_up().await;
}

#[tokio::test]
async fn an_account_that_another_session_keeps_costs_its_own_payments_alone() {
    let bank = Bank::start().await;
    let system = &bank.system;
    let (ann, bob) = (bank.funded("ann", "100").await, bank.funded("bob", "100").await);
    // Opens the account for sales.
    system.pay(from(&ann, "1")).await.assert_status(201);
    let mut session = system.database.pool.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0").execute(&mut *session).await.unwrap();
    sqlx::query("select 1 from accounts where owner = 'bob' for update")
        .execute(&mut *session)
        .await
        .unwrap();

    let (busy, others) = tokio::join!(
        system.pay(from(&bob, "1").customer("bob")),
        join_all(
            (0..20).map(|n| { system.pay(if n % 2 == 0 { from(&ann, "1") } else { from("sim_ok", "1") }) })
        )
    );

    let problem = busy.assert_problem(503, "account_busy");
    assert_eq!(problem["account"], bob.as_str());
    for (n, other) in others.iter().enumerate() {
        other.assert_status(if n % 2 == 0 { 201 } else { 202 });
    }
    session.rollback().await.unwrap();
    system.pay(from(&bob, "1").customer("bob")).await.assert_status(201);
    bank.assert_adds_up().await;
}

/// Statements that no program may run, and what refuses them.
const REFUSED: &[(&str, &str)] = &[
    (
        "insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                               gateway_key, from_balance, status, version, updated_at, terminal_at)
         select gen_random_uuid(), merchant_id, customer_id, amount, currency, payment_method, metadata, 'x', now(), 'x', true,
                'succeeded', 2, now(), now() from payments where status = 'succeeded' limit 1",
        "no transfer says that it is succeeded",
    ),
    (
        "insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                               gateway_key, from_balance, status, version, updated_at, due_at)
         select gen_random_uuid(), merchant_id, customer_id, amount, currency, payment_method, metadata, 'x', now(), 'x', true,
                'pending', 1, now(), now() from payments limit 1",
        "payments_from_balances_ask_no_gateway",
    ),
    ("update accounts set is_sales = false where is_sales", "was fixed when it was opened"),
];

#[tokio::test]
async fn the_database_and_verify_know_a_payment_that_no_transfer_bears_out() {
    let bank = Bank::start().await;
    let system = &bank.system;
    let ann = bank.funded("ann", "100").await;
    system.pay(from(&ann, "60")).await.assert_status(201);
    for (statement, why) in REFUSED {
        let refused = sqlx::raw_sql(AssertSqlSafe(*statement)).execute(&system.database.pool).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{statement}: {refused}");
    }
    // Behind the guards: the payment says more than its transfer.
    behind_the_guards(&system.database.pool, "update payments set amount = 61").await;
    let (_, report) = report(verify(system, &[])).await;
    let offences = offences(&report);
    assert!(offences.iter().any(|(check, ..)| check == "accounts"), "{offences:?}");
}

//! Rules are for new payments. A payment from before they were tightened is answered for ever as it was
//! at first.

use reqwest::Method;
use serde_json::{Value, json};
use tests::client::{Request, send};
use tests::{Answer, System, a_payment};

use super::{apis, assert_replay, the_request};

/// Requests that were valid once. Each has the field in which it is not any more, and the value that is
/// recorded in it.
fn once_fine() -> Vec<(&'static str, Value)> {
    let many: Value = (0..51).map(|n| (format!("name-{n:02}"), json!("v"))).collect();
    vec![
        // A currency that was withdrawn in 2025.
        ("currency", json!("ANG")),
        // A currency without minor digits since 2007.
        ("currency", json!("ISK")),
        // Withdrawn money and a fund, which earlier programs took.
        ("currency", json!("HRK")),
        ("currency", json!("CHE")),
        ("amount", json!("2000000000000.00")),
        ("amount", json!("12.305")),
        ("description", json!("paid with 4242 4242 4242 4242")),
        ("description", json!("x".repeat(1001))),
        ("payment_method", json!("4242424242424242")),
        ("payment_method", json!("x".repeat(256))),
        ("payment_method", json!(" sim_ok")),
        ("payment_method", json!("sim_\u{7}ok")),
        ("customer_id", json!("customer\u{200b}")),
        ("customer_id", json!("Zoe\u{308}")),
        ("metadata", json!({"card": "4242424242424242"})),
        ("metadata", json!({"n".repeat(41): "v".repeat(501)})),
        ("metadata", many),
    ]
}

/// A request of that time, each under a key of its own.
fn request(field: &str, value: &Value) -> Request {
    the_request().key(&uuid::Uuid::now_v7().to_string()).with(field, value.clone())
}

/// Records a payment as it was recorded under the rules of that time. Answers its request and its
/// first answer.
async fn recorded_then(system: &System, field: &str, value: &Value) -> (Request, Answer) {
    let then = request(field, value);
    let today = then.clone().with(field, a_valid(field));
    let mut first = system.pay(today).await;
    rewrite(system, &then, &first).await;
    let body = String::from_utf8_lossy(&first.body).into_owned();
    let (shown, recorded) = (format!("\"{field}\":{}", a_valid(field)), format!("\"{field}\":{value}"));
    assert!(body.contains(&shown), "{shown} is not in {body}");
    first.body = body.replace(&shown, &recorded).into_bytes();
    (then, first)
}

fn a_valid(field: &str) -> Value {
    match field {
        "amount" => json!("12.30"),
        "currency" => json!("EUR"),
        "description" => json!("valid"),
        "payment_method" => json!("sim_ok"),
        "customer_id" => json!("customer-1"),
        _ => json!({"is": "valid"}),
    }
}

/// Turns a payment, behind the guards, into what that request made when it was valid.
async fn rewrite(system: &System, then: &Request, first: &Answer) {
    let body = &then.body;
    let normalised = json!([
        body["amount"],
        body["currency"],
        body["customer_id"],
        body["payment_method"],
        body["description"],
        body["metadata"],
    ]);
    let mut connection = system.database.pool.acquire().await.unwrap();
    let unguarded = "set session_replication_role = replica;
                     alter table payments drop constraint if exists payments_amount_range,
                                          drop constraint if exists payments_description_length,
                                          drop constraint if exists payments_payment_method_length";
    sqlx::raw_sql(unguarded).execute(&mut *connection).await.unwrap();
    let payment = "update payments set amount = ($2->>'amount')::numeric, currency = $2->>'currency',
                          payment_method = $2->>'payment_method', description = $2->>'description',
                          metadata = $2->'metadata', customer_id = $2->>'customer_id'
                    where id = $1";
    let id = first.payment_id().uuid();
    sqlx::query(payment).bind(id).bind(body).execute(&mut *connection).await.unwrap();
    let event = "update payment_events set evidence = evidence || $2 where payment_id = $1 and version = 1";
    sqlx::query(event).bind(id).bind(body).execute(&mut *connection).await.unwrap();
    let key = "update idempotency_keys set fingerprint = sha256(convert_to($2, 'UTF8')), customer_id = $3
                where payment_id = $1";
    let rewritten = sqlx::query(key).bind(id).bind(normalised.to_string()).bind(body["customer_id"].as_str());
    rewritten.execute(&mut *connection).await.unwrap();
    sqlx::raw_sql("reset session_replication_role").execute(&mut *connection).await.unwrap();
}

#[tokio::test]
async fn a_recorded_request_gets_its_first_answer_although_the_rules_were_tightened_since() {
    let system = apis(1).await;
    for (field, value) in once_fine() {
        let (then, first) = recorded_then(&system, field, &value).await;
        let stored = system.stored().await;

        let replay = system.pay(then.clone()).await;

        assert_replay(&replay, &first);
        // The same request under a new key is refused, by today's rules.
        let anew = system.pay(request(field, &value)).await;
        assert_eq!(anew.assert_problem(400, "invalid_request")["param"], invalid_field(field, &value));
        assert_eq!(system.stored().await, stored);
    }
}

/// The field that is wrong. It is the amount where the currency has fewer digits today.
fn invalid_field<'a>(field: &'a str, value: &Value) -> &'a str {
    if value == "ISK" { "amount" } else { field }
}

#[tokio::test]
async fn another_request_under_its_key_is_refused_as_another_one_whatever_today_s_rules_say_of_it() {
    let system = apis(1).await;
    for (field, value) in once_fine() {
        let (then, first) = recorded_then(&system, field, &value).await;
        let other = if field == "description" { "payment_method" } else { "description" };

        let changed = system.pay(then.with(other, json!("another"))).await;

        let problem = changed.assert_problem(422, "idempotency_key_reused");
        assert_eq!(problem["differing_fields"], json!([other]), "{field}: {problem}");
        assert_eq!(problem["payment_id"], first.json()["id"]);
        assert_eq!(changed.header("idempotent-replayed"), "false");
    }
    // A request that is valid today is judged in the same way as one that is not.
    let first = system.pay(the_request()).await;
    for amount in ["0", "12.345", "1000000000000.01"] {
        let problem =
            system.pay(the_request().amount(amount)).await.assert_problem(422, "idempotency_key_reused");
        assert_eq!(problem["differing_fields"], json!(["amount"]));
    }
    assert_replay(&system.pay(the_request()).await, &first);
}

#[tokio::test]
async fn a_currency_that_lost_its_digits_changes_no_first_answer() {
    let system = apis(1).await;
    // Valid today too, as 12 ISK, and yet recorded with two digits.
    let then = the_request().amount("12.00").with("currency", json!("ISK"));
    let mut first = system.pay(then.clone().with("currency", json!("EUR"))).await;
    rewrite(&system, &then, &first).await;
    first.body = String::from_utf8_lossy(&first.body).replace("EUR", "ISK").into_bytes();

    for amount in ["12.00", "12"] {
        assert_replay(&system.pay(then.clone().amount(amount)).await, &first);
    }
    let other = system.pay(then.amount("13")).await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(other["differing_fields"], json!(["amount"]));
}

#[tokio::test]
async fn a_payment_in_money_that_was_withdrawn_since_is_read_settles_and_is_repeated() {
    let mut system = apis(1).await;
    let (then, first) = recorded_then(&system, "currency", &json!("HRK")).await;
    let id = first.payment_id();
    // Accepting made them then.
    let accounts = "insert into ledger_accounts (merchant_id, kind, currency, gateway)
                    select merchant_id, kind, 'HRK', gateway from ledger_accounts where currency = 'EUR'";
    sqlx::query(accounts).execute(&system.database.pool).await.unwrap();
    assert_eq!(system.client.payment(id).await["currency"], "HRK");

    system.add_worker([("RUST_LOG", "info")]).await;
    let ended = system.ended(id).await;

    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(ended["amount"], "12.30");
    assert_replay(&system.pay(then).await, &first);
}

#[tokio::test]
async fn a_parameter_that_once_passed_unread_changes_no_first_answer() {
    let system = apis(1).await;
    let first = system.pay(the_request()).await;
    let post = |key: &'static str| {
        let post = system.client.request(Method::POST, "/v1/payments?colour=red");
        send(post.header("idempotency-key", key).json(&the_request().body))
    };

    assert_replay(&post("order-77").await, &first);
    post("free").await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn only_the_merchant_s_own_key_for_that_customer_says_what_was_recorded() {
    let system = apis(1).await;
    let other_merchant = system.another_merchant("other").await;
    let stranger = system.client.with_secret("payonce_sk_unknown".to_owned());
    // Of another customer, what is wrong with the first one's id is wrong no more.
    for (field, value) in once_fine().into_iter().filter(|(field, _)| *field != "customer_id") {
        let (then, _) = recorded_then(&system, field, &value).await;
        let anew = system.pay(request(field, &value)).await;
        let stored = system.stored().await;
        let without_key = system.client.request(Method::POST, "/v1/payments").json(&then.body);

        let others = [
            system.pay(then.clone().key("free")).await,
            system.pay(then.clone().customer("another-customer")).await,
            other_merchant.pay(then.clone()).await,
        ];

        for answer in others {
            answer.assert_problem(400, "invalid_request");
            assert_eq!(answer.problem(), anew.problem(), "{field}");
        }
        stranger.pay(then).await.assert_problem(401, "unauthorized");
        send(without_key).await.assert_problem(400, "idempotency_key_missing");
        assert_eq!(system.stored().await, stored);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_compared_with_nothing() {
    let system = apis(1).await;
    system.accepted(a_payment().key("order-77")).await;
    for (field, value) in
        [("amount", json!("abc")), ("amount", Value::Null), ("customer_id", json!("customer-1\0"))]
    {
        let answer = system.pay(a_payment().key("order-77").with(field, value)).await;

        assert_eq!(answer.assert_problem(400, "invalid_request")["param"], field);
    }
}

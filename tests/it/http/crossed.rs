//! Keys that open nothing, and merchants who meet: nobody hears anything of anybody else's.

use std::collections::{BTreeMap, BTreeSet};

use domain::ids::{KeyId, PaymentId};
use futures::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use shared::merchant::auth::Owner;
use shared::merchant::keys::{self, Wanted};
use shared::merchant::pepper::Peppers;
use shared::merchant::scope::Scope;
use tests::client::send;
use tests::{Shape, System, a_payment, peppers};

use super::an_api;
use super::keys::{asks, is_open, is_page, routes_of_the_api};
use crate::PROGRAM;

/// Credentials that open nothing, each a header.
async fn bad_credentials(system: &System) -> Vec<(String, Option<(&'static str, String)>)> {
    let good = system.client.secret();
    let mut bad: Vec<(String, Option<(&'static str, String)>)> = vec![("none".to_owned(), None)];
    for (what, secret) in bad_secrets(system).await {
        bad.push((format!("{what}, as a header"), Some(("x-api-key", secret.clone()))));
        bad.push((format!("{what}, as a bearer"), Some(("authorization", format!("Bearer {secret}")))));
    }
    for (what, value) in [
        ("another scheme", format!("Digest {good}")),
        ("no scheme", good.to_owned()),
        ("a scheme alone", "Bearer".to_owned()),
        ("an empty bearer", "Bearer ".to_owned()),
        ("two words", format!("Bearer {good} {good}")),
        ("a basic without a colon", "Basic YWJj".to_owned()),
        ("a basic that is no base64", "Basic %%%".to_owned()),
    ] {
        bad.push((what.to_owned(), Some(("authorization", value))));
    }
    bad
}

async fn bad_secrets(system: &System) -> Vec<(&'static str, String)> {
    let pool = &system.database.pool;
    let merchant = shared::merchant::find_or_create(pool, "first").await.unwrap().id;
    let good = system.client.secret().to_owned();
    let revoked = keys::create_for(pool, &peppers(), merchant, "revoked").await.unwrap();
    keys::revoke(pool, revoked.id).await.unwrap();
    let expired = keys::create_for(pool, &peppers(), merchant, "expired").await.unwrap();
    let sql = "update api_keys set expires_at = now() - interval '1 second' where id = $1";
    sqlx::query(sql).bind(expired.id.uuid()).execute(pool).await.unwrap();
    let rotated = keys::create_for(pool, &peppers(), merchant, "rotated").await.unwrap();
    keys::rotate(pool, &peppers(), rotated.id, std::time::Duration::ZERO).await.unwrap();
    let other_pepper = Peppers::read("another-pepper-0123456789abcdef-012").unwrap();
    let elsewhere = keys::create_for(pool, &other_pepper, merchant, "elsewhere").await.unwrap();
    let owner = Owner::Operator("ada".to_owned());
    let wanted = Wanted { owner, name: "ada", scopes: Scope::OF_OPERATORS, expires_in: None };
    let ended = keys::create(pool, &peppers(), &wanted).await.unwrap();
    keys::revoke(pool, ended.id).await.unwrap();
    let hash: String = sqlx::query_scalar("select encode(secret_hash, 'hex') from api_keys limit 1")
        .fetch_one(pool)
        .await
        .unwrap();
    vec![
        ("an empty one", String::new()),
        ("a key that was revoked", revoked.secret),
        ("a key that has expired", expired.secret),
        ("a secret that was replaced", rotated.secret),
        ("a key of another pepper", elsewhere.secret),
        ("an operator's that was revoked", ended.secret),
        ("one character too many", format!("{good}0")),
        ("one too few", good[..good.len() - 1].to_owned()),
        ("in capitals", good.to_uppercase()),
        ("the id alone", good[..43].to_owned()),
        ("the key's id", good[11..43].to_owned()),
        ("the stored hash", hash),
        ("of the old shape", format!("payonce_sk_{}", "0123456789abcdef".repeat(4))),
        ("a word", "payonce_sk_unknown".to_owned()),
        ("the prefix", "payonce_sk_".to_owned()),
        ("some text", "hunter2hunter2hunter2".to_owned()),
        ("very long", "x".repeat(5_000)),
        ("another id", good.replace(&good[11..43], &KeyId::generate().uuid().as_simple().to_string())),
    ]
}

fn with(request: RequestBuilder, credential: Option<&(&'static str, String)>) -> RequestBuilder {
    match credential {
        Some((name, value)) => request.header(*name, value),
        None => request,
    }
}

#[tokio::test]
async fn every_path_answers_every_bad_credential_with_one_and_the_same_401() {
    let system = an_api().await;
    let bad = bad_credentials(&system).await;
    assert!(bad.len() >= 40, "only {}", bad.len());
    // Of a listener each: pages ask for a password in their own way.
    let mut told: BTreeMap<bool, Vec<u8>> = BTreeMap::new();
    for (method, path) in routes_of_the_api().into_iter().filter(|(_, path)| !is_open(path)) {
        for (what, credential) in &bad {
            let answer = send(with(asks(&system, &method, &path), credential.as_ref())).await;

            assert_eq!(answer.status, 401, "{method} {path} with {what}");
            let is_page = is_page(&path);
            let body = if is_page { answer.body.clone() } else { answer.problem().to_string().into_bytes() };
            let first = told.entry(is_page).or_insert_with(|| body.clone());
            assert_eq!(&body, first, "{method} {path} with {what}");
        }
    }
    assert_eq!(told.len(), 2);
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
}

/// Two merchants' ids, crossed on every path that has one, by every method.
#[tokio::test]
async fn another_merchants_id_is_a_404_on_every_path_that_takes_one() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    let theirs = system.accepted(a_payment()).await;
    let stored = system.stored().await;
    let paths = routes_of_the_api().into_iter().filter(|(_, path)| path.starts_with("/v1/payments/"));
    let mut tried = 0;
    for (method, path) in paths {
        let path = |id: PaymentId| path.replacen("/1", &format!("/{id}"), 1);
        let asks = |id| {
            let asked = other.request(method.clone(), &path(id));
            let makes = method == Method::POST;
            send(if makes { asked.header("idempotency-key", "k").json(&json!({})) } else { asked })
        };
        let (hidden, missing) = (asks(theirs).await, asks(PaymentId::generate()).await);

        hidden.assert_problem(404, "not_found");
        assert_eq!(hidden.problem(), missing.problem(), "{method} {}", path(theirs));
        tried += 1;
    }
    assert!(tried >= 2, "{tried}");
    assert_eq!(system.stored().await, stored);
    assert_eq!(other.get("/v1/payments").await.json()["data"], serde_json::json!([]));
}

/// How many merchants there are, how many clients each has, and with how many keys these ask.
const MERCHANTS: usize = 10;
const CLIENTS: usize = 4;
const KEYS: usize = 250;

#[tokio::test]
async fn keys_that_ten_merchants_share_by_chance_never_lead_from_one_to_another() {
    let _alone = crate::idempotency::CROWD.lock().await;
    let system = System::with(PROGRAM, Shape { apis: 2, ..Shape::default() }).await;
    let mut secrets = Vec::new();
    for number in 0..MERCHANTS {
        secrets.push(system.another_merchant(&format!("merchant {number}")).await.secret().to_owned());
    }
    // Each has several clients that go through all keys, so that many use one key at the same moment.
    let clients = (0..MERCHANTS * CLIENTS).map(async |number| {
        let merchant = number % MERCHANTS;
        let client = system.client.with_secret(secrets[merchant].clone());
        let mut answers = Vec::new();
        for key in 0..KEYS {
            // The same request by all of them, but for what tells whose it is.
            let request = a_payment().key(&format!("order-{key}"));
            let request = request.with("description", merchant.to_string().into());
            answers.push((merchant, key, client.pay(request).await));
        }
        answers
    });
    let answers: Vec<_> = join_all(clients).await.into_iter().flatten().collect();
    assert_eq!(answers.len(), 10_000);

    let mut made: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
    for (merchant, key, answer) in &answers {
        let id = answer.payment_id();
        assert_eq!(answer.json()["description"], Value::from(merchant.to_string()), "a payment leaked");
        made.entry((*merchant, *key)).or_default().insert(id.to_string());
    }
    assert_eq!(made.len(), MERCHANTS * KEYS);
    assert!(made.values().all(|ids| ids.len() == 1), "a key made two payments");
    let all: BTreeSet<&String> = made.values().flatten().collect();
    assert_eq!(all.len(), MERCHANTS * KEYS, "two merchants have one payment");
    assert_eq!(system.stored().await, [i64::try_from(MERCHANTS * KEYS).unwrap(); 4]);
}

//! JWTs as credentials, beside keys: what they open, how they are refused, and what becomes of the issuer's
//! keys. The table of algorithms and claims stands with the code, in `shared/src/merchant/jwt/tests.rs`.

use domain::ids::KeyId;
use serde_json::{Value, json};
use shared::merchant::keys;
use tests::client::send;
use tests::issuer::{Issuer, SigningKey, claims};
use tests::{Answer, Client, Exit, Launch, Shape, System, a_payment};

use crate::PROGRAM;

const BOTH: &str = "payments:read payments:write";

/// One API that takes the tokens of this issuer.
async fn an_api(issuer: &Issuer) -> System {
    System::with(PROGRAM, Shape { apis: 1, api_env: issuer.env().to_vec(), ..Shape::default() }).await
}

/// Reads and writes with this token, and answers both statuses.
async fn statuses(client: &Client, token: String) -> [u16; 2] {
    let client = client.with_secret(token);
    [client.get("/v1/payments").await.status, client.pay(a_payment()).await.status]
}

/// The key that tokens of the merchant `first` open.
async fn key_of_tokens(system: &System) -> Option<KeyId> {
    let id: Option<uuid::Uuid> = sqlx::query_scalar("select id from api_keys where is_of_jwts")
        .fetch_optional(&system.database.pool)
        .await
        .unwrap();
    id.map(KeyId::from)
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("first", BOTH);
    claims[name] = value;
    claims
}

#[tokio::test]
async fn a_token_opens_what_is_its_merchants_as_a_key_does() {
    let (one, key) = (SigningKey::new("one"), SigningKey::new("two"));
    let issuer = Issuer::start(&[&one, &key]).await;
    let system = an_api(&issuer).await;
    let by_key = system.accepted(a_payment().key("order-77")).await;

    let token = key.sign(&claims("first", BOTH));
    let by_token = system.client.with_secret(token.clone());
    assert_eq!(by_token.payment(by_key).await["id"], by_key.to_string(), "the merchant is the same");
    assert_eq!(by_token.pay(a_payment().key("order-77")).await.payment_id(), by_key, "and so are its keys");
    let bearer = reqwest::Client::new().get(by_token.url("/v1/payments")).bearer_auth(&token);
    send(bearer).await.assert_status(200);
    let other = system.another_merchant("second").await;
    let of_other = other.pay(a_payment()).await.payment_id();
    by_token.get(&format!("/v1/payments/{of_other}")).await.assert_problem(404, "not_found");

    let read = key.sign(&claims("first", "payments:read"));
    assert_eq!(statuses(&system.client, read).await, [200, 403]);
    let write = key.sign(&claims("first", "payments:write"));
    assert_eq!(statuses(&system.client, write).await, [403, 202]);
    let none = key.sign(&claims("first", "ops admin openid"));
    assert_eq!(statuses(&system.client, none.clone()).await, [403, 403]);
    // It is known, and lets in no operator.
    let by_none = system.client.with_secret(none);
    by_none.get("/v1/breaks").await.assert_problem(403, "insufficient_scope");
    by_none.get("/v1/nothing").await.assert_problem(404, "not_found");
    let logs = system.apis[0].stderr();
    assert!(!logs.contains(&token) && logs.contains(&key_of_tokens(&system).await.unwrap().to_string()));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_answer_is_that_of_an_unknown_key() {
    let (key, withdrawn) = (SigningKey::new("one"), SigningKey::new("two"));
    let issuer = Issuer::start(&[&key]).await;
    let system = an_api(&issuer).await;
    let told = async |token: String| -> [Answer; 2] {
        let client = system.client.with_secret(token);
        [client.get("/v1/payments").await, client.pay(a_payment()).await]
    };
    let unknown = told("payonce_sk_unknown".to_owned()).await;
    let now = claims("first", BOTH)["nbf"].as_u64().unwrap() + 10;
    let good = key.sign(&claims("first", BOTH));
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    for (case, token) in [
        ("expired", key.sign(&with("exp", json!(now - 31)))),
        ("not yet", key.sign(&with("nbf", json!(now + 120)))),
        ("too long", key.sign(&with("exp", json!(now + 3_600)))),
        ("another audience", key.sign(&with("aud", json!("other")))),
        ("another issuer", key.sign(&with("iss", json!("https://other.example")))),
        ("no merchant", key.sign(&with("merchant", json!(null)))),
        ("no such merchant", key.sign(&claims("nobody", BOTH))),
        ("an unknown kid", withdrawn.sign(&claims("first", BOTH))),
        ("another signature", SigningKey::new("one").sign(&claims("first", BOTH))),
        ("no signature", unsigned),
        ("no token", "e30.e30.e30".to_owned()),
    ] {
        for (answer, unknown) in told(token).await.iter().zip(&unknown) {
            answer.assert_problem(401, "unauthorized");
            assert_eq!(answer.problem(), unknown.problem(), "{case}");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{case}");
        }
    }
    assert_eq!(system.stored().await, [0, 0, 0, 0]);
    assert_eq!(key_of_tokens(&system).await, None, "only a valid token makes the key");
    let logs = system.apis[0].stderr();
    for why in
        ["expired (exp)", "not hold yet (nbf)", "somebody else (aud)", "no such key (kid)", "no merchant of"]
    {
        assert!(logs.contains(why), "{why} is not in the log");
    }

    let without = system.api().start().await;
    let client = Client::new(vec![without.address("api").to_owned()], good.clone());
    client.get("/v1/payments").await.assert_problem(401, "unauthorized");
    assert_eq!(statuses(&system.client, good).await, [200, 202]);
}

#[tokio::test]
async fn the_key_of_a_merchants_tokens_is_listed_limited_and_revoked_like_any_other() {
    let key = SigningKey::new("one");
    let issuer = Issuer::start(&[&key]).await;
    let system = an_api(&issuer).await;
    let token = key.sign(&claims("first", BOTH));
    assert_eq!(statuses(&system.client, token.clone()).await, [200, 202]);
    let id = key_of_tokens(&system).await.unwrap();
    let keys = |args: &[&str]| {
        let args: Vec<String> = ["keys"].iter().chain(args).map(|it| (*it).to_owned()).collect();
        Launch::payonce(PROGRAM).args(args).env("DATABASE_URL", &system.database.url).run()
    };

    let (exit, listed) = keys(&["list", "--json"]).await;
    assert_eq!(exit, Exit::Code(0));
    let listed: Value = serde_json::from_str(&listed.stdout()).unwrap();
    let all = listed.as_array().unwrap();
    let listed = all.iter().find(|it| it["id"] == id.to_string()).unwrap();
    assert_eq!((&listed["name"], &listed["merchant"]), (&json!("JWT"), &json!("first")), "{listed}");
    let (exit, refused) = keys(&["rotate", &id.to_string()]).await;
    assert_eq!(exit, Exit::Code(1));
    assert!(refused.stderr().contains("has no secret"), "{}", refused.stderr());
    // Its hash opens nothing as a secret, in no spelling.
    let hash: String = sqlx::query_scalar("select encode(secret_hash, 'hex') from api_keys where is_of_jwts")
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    let spelt = format!("payonce_sk_{}_{hash}00000000", id.uuid().as_simple());
    for secret in [hash.clone(), format!("payonce_sk_{hash}"), spelt] {
        assert_eq!(statuses(&system.client, secret).await, [401, 401]);
    }

    assert!(keys::revoke(&system.database.pool, id).await.unwrap());
    assert_eq!(statuses(&system.client, token).await, [401, 401], "from the next request on");
    let another = key.sign(&claims("first", "payments:read"));
    assert_eq!(statuses(&system.client, another).await, [401, 401], "and no token makes another key");
    assert_eq!(system.client.get("/v1/payments").await.status, 200, "the merchant's other keys stay");
}

#[tokio::test]
async fn a_new_key_of_the_issuer_opens_with_its_first_token_and_strangers_have_the_keys_read_once() {
    let (old, new, never) = (SigningKey::new("old"), SigningKey::new("new"), SigningKey::new("never"));
    let issuer = Issuer::start(&[&old]).await;
    let system = an_api(&issuer).await;
    assert_eq!(statuses(&system.client, old.sign(&claims("first", BOTH))).await, [200, 202]);
    let reads = issuer.reads();

    issuer.publish(&[&old, &new]);
    assert_eq!(statuses(&system.client, new.sign(&claims("first", BOTH))).await, [200, 202]);
    assert_eq!(issuer.reads(), reads + 1);
    for _ in 0..20 {
        assert_eq!(statuses(&system.client, never.sign(&claims("first", BOTH))).await, [401, 401]);
    }
    assert_eq!(issuer.reads(), reads + 1, "once a minute at most");
    assert_eq!(statuses(&system.client, old.sign(&claims("first", BOTH))).await, [200, 202]);
}

#[tokio::test]
async fn while_the_issuers_host_is_away_known_keys_open_and_others_are_not_refused_as_wrong() {
    let (known, unknown) = (SigningKey::new("known"), SigningKey::new("unknown"));
    let issuer = Issuer::start(&[&known]).await;
    let system = an_api(&issuer).await;
    assert_eq!(statuses(&system.client, known.sign(&claims("first", BOTH))).await, [200, 202]);
    let env = issuer.env();
    drop(issuer);

    assert_eq!(statuses(&system.client, known.sign(&claims("first", BOTH))).await, [200, 202]);
    let client = system.client.with_secret(unknown.sign(&claims("first", BOTH)));
    let answer = client.get("/v1/payments").await;
    answer.assert_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");

    // One that starts now has no keys yet, and serves whoever has one of ours.
    let api = system.api().envs(env).start().await;
    let with = |secret: String| Client::new(vec![api.address("api").to_owned()], secret);
    with(known.sign(&claims("first", BOTH))).pay(a_payment()).await.assert_problem(503, "unavailable");
    with(system.client.secret().to_owned()).pay(a_payment()).await.assert_status(202);
    assert!(api.stderr().contains("jwks_unread"), "{}", api.stderr());
}

#[tokio::test]
async fn settings_of_tokens_that_cannot_be_meant_refuse_to_start() {
    let system = System::with(PROGRAM, Shape::default()).await;
    let url = "https://id.example/jwks";
    for (env, why) in [
        (vec![("JWT_ISSUER", "https://id.example")], "JWT_ISSUER: needs JWKS_URL"),
        (vec![("JWKS_URL", url)], "JWKS_URL: needs JWT_ISSUER"),
        (vec![("JWT_ISSUER", "x"), ("JWKS_URL", "http://id.example/jwks")], "must be https"),
        (vec![("JWT_ISSUER", "x"), ("JWKS_URL", "id.example")], "JWKS_URL: "),
        (
            vec![("JWT_ISSUER", "x"), ("JWKS_URL", url), ("JWT_CLOCK_SKEW_S", "301")],
            "JWT_CLOCK_SKEW_S: must be 300",
        ),
    ] {
        let (exit, api) = system.api().envs(env).env("LOG_FORMAT", "text").run().await;
        assert_eq!(exit, Exit::Code(1), "{why}");
        assert!(api.stderr().contains(why), "{why}: {}", api.stderr());
    }
}

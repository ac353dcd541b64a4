//! Operators with keys of their own, and how often somebody may guess.

use reqwest::{Method, StatusCode};
use serde_json::json;
use shared::merchant::auth::Owner;
use shared::merchant::keys::{self, NewKey, Wanted};
use shared::merchant::scope::Scope;
use tests::client::send;
use tests::{Answer, Exit, Launch, Process, Shape, System, a_payment, peppers};

use super::an_api;
use crate::PROGRAM;
use crate::operator::{ADAS_KEY, ADMIN_KEY};

async fn key_of(system: &System, name: &str) -> NewKey {
    let wanted = Wanted {
        owner: Owner::Operator(name.to_owned()),
        name: "own",
        scopes: Scope::OF_OPERATORS,
        expires_in: None,
    };
    keys::create(&system.database.pool, &peppers(), &wanted).await.unwrap()
}

async fn asks(api: &Process, method: Method, path: &str, key: &str) -> Answer {
    let url = format!("{}{path}", api.address("api"));
    send(reqwest::Client::new().request(method, url).header("x-api-key", key)).await
}

async fn signs_in(api: &Process, path: &str, key: &str) -> Answer {
    send(reqwest::Client::new().get(format!("{}{path}", api.address("board"))).basic_auth("eve", Some(key)))
        .await
}

async fn proposes(system: &System, body: &serde_json::Value, key: &str) -> Answer {
    let url = format!("{}/v1/corrections", system.apis[0].address("api"));
    send(reqwest::Client::new().post(url).header("x-api-key", key).json(body)).await
}

#[tokio::test]
async fn an_operators_key_acts_under_its_own_name_and_two_of_them_are_two_people() {
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    let (grace, also_grace, edsger) =
        (key_of(&system, "grace").await, key_of(&system, "grace").await, key_of(&system, "edsger").await);
    let body = json!({ "payment_id": id, "kind": "charge_refunded", "amount": "0", "reason": "ticket 4711" });

    let proposed = proposes(&system, &body, &grace.secret).await;
    proposed.assert_status(201);
    assert_eq!(proposed.json()["proposed_by"], "grace");
    let approve = format!("/v1/corrections/{}/approve", proposed.json()["id"]);
    let api = &system.apis[0];
    for same in [&grace, &also_grace] {
        asks(api, Method::POST, &approve, &same.secret).await.assert_problem(403, "same_person");
    }
    let approved = asks(api, Method::POST, &approve, &edsger.secret).await;
    approved.assert_status(200);
    assert_eq!(approved.json()["approved_by"], "edsger");

    // The page shows the key's name, whatever user name was typed.
    signs_in(api, "/ops", &grace.secret).await.assert_status(200);
    let log = api.stderr();
    let acts = |by: &str, key: &NewKey| {
        let line = log
            .lines()
            .find(|line| line.contains("operator_acts") && line.contains(&format!("\"by\":\"{by}\"")));
        line.is_some_and(|line| line.contains(&key.id.to_string()) && line.contains("127.0.0.1:"))
    };
    assert!(acts("grace", &grace) && acts("edsger", &edsger), "{log}");
    for key in [&grace, &edsger] {
        assert!(!log.contains(&key.secret[44..]), "the log tells a secret");
    }
}

#[tokio::test]
async fn an_operators_key_that_ends_opens_nothing_from_the_next_request_on_at_both_listeners() {
    let system = System::with(PROGRAM, Shape { apis: 2, ..Shape::default() }).await;
    let key = key_of(&system, "grace").await;
    for api in &system.apis {
        asks(api, Method::GET, "/v1/breaks", &key.secret).await.assert_status(200);
        signs_in(api, "/ops/breaks", &key.secret).await.assert_status(200);
        signs_in(api, "/", &key.secret).await.assert_status(200);
    }

    keys::revoke(&system.database.pool, key.id).await.unwrap();

    for api in &system.apis {
        asks(api, Method::GET, "/v1/breaks", &key.secret).await.assert_problem(401, "unauthorized");
        signs_in(api, "/ops/breaks", &key.secret).await.assert_status(401);
        signs_in(api, "/", &key.secret).await.assert_status(401);
    }
}

#[tokio::test]
async fn who_guesses_is_not_even_told_of_a_right_key_and_who_knows_one_is_never_slowed_down() {
    let system = an_api().await;
    let api = system.api().env("ADMIN_TRIES_PER_MIN", "1").start().await;
    for _ in 0..20 {
        asks(&api, Method::GET, "/v1/breaks", ADMIN_KEY).await.assert_status(200);
    }
    asks(&api, Method::GET, "/v1/breaks", "a-guess-0123456789").await.assert_problem(401, "unauthorized");
    let refused = asks(&api, Method::GET, "/v1/breaks", "another-guess-0123").await;

    refused.assert_problem(429, "too_many_tries");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    for key in [ADMIN_KEY, ADAS_KEY, "a-third-guess-0123"] {
        asks(&api, Method::GET, "/v1/breaks", key).await.assert_problem(429, "too_many_tries");
        asks(&api, Method::GET, "/v1/nothing", key).await.assert_problem(429, "too_many_tries");
        let page = signs_in(&api, "/ops", key).await;
        page.assert_status(StatusCode::TOO_MANY_REQUESTS.as_u16());
        assert!(!page.header("retry-after").is_empty());
    }
    // Merchants are not concerned, nor are other processes.
    let client = tests::Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    client.pay(a_payment()).await.assert_status(202);
    asks(&system.apis[0], Method::GET, "/v1/breaks", ADMIN_KEY).await.assert_status(200);
    let told = api.stderr().lines().filter(|line| line.contains("admin_key_refused")).count();
    assert_eq!(told, 2, "each wrong key that was looked at");
}

#[tokio::test]
async fn the_command_line_makes_keys_of_operators_with_the_scopes_of_operators_alone() {
    let system = an_api().await;
    let create = |more: &[&str]| {
        let args = ["keys", "create"].iter().chain(more).map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        Launch::payonce(PROGRAM).env("DATABASE_URL", &system.database.url).args(args)
    };
    let (exit, made) =
        create(&["--operator", "grace", "--scopes", "ops", "--expires-in", "90d", "--json"]).run().await;
    assert_eq!(exit, Exit::Code(0), "{}", made.stderr());
    let made: serde_json::Value = serde_json::from_str(&made.stdout()).unwrap();
    assert_eq!((&made["operator"], &made["scopes"]), (&json!("grace"), &json!(["ops"])));
    assert!(made["expires_at"].is_string());
    let secret = made["secret"].as_str().unwrap();
    asks(&system.apis[0], Method::GET, "/v1/breaks", secret).await.assert_status(200);
    asks(&system.apis[0], Method::POST, "/v1/breaks/1/resolve", secret)
        .await
        .assert_problem(403, "insufficient_scope");

    for (more, code, says) in [
        (&["--operator", "Grace"][..], 1, "a name has 1 to 64"),
        (
            &["--operator", "grace", "--scopes", "payments:read"],
            1,
            "the scope payments:read is none of such a key",
        ),
        (
            &["--merchant", "acme", "--scopes", "payments:read,admin"],
            1,
            "the scope admin is none of such a key",
        ),
        (&["--merchant", "acme", "--scopes", "all"], 2, "use one of payments:write"),
        (&["--merchant", "acme", "--operator", "grace"], 2, "cannot be used with"),
        (&["--merchant", "acme", "--expires-in", "0s"], 2, "at least 1s"),
        (&[], 2, "--merchant"),
    ] {
        let (exit, refused) = create(more).run().await;
        assert_eq!(exit, Exit::Code(code), "{more:?}: {}", refused.stderr());
        assert!(refused.stderr().contains(says), "{more:?}: {}", refused.stderr());
    }
    let merchants = system.count("select count(*) from merchants where name = 'acme'").await;
    assert_eq!(merchants, 0, "nothing is half made");
}

#[tokio::test]
async fn the_command_line_rotates_and_lists_and_shows_no_secret_twice() {
    let system = an_api().await;
    let payonce =
        |args: Vec<String>| Launch::payonce(PROGRAM).env("DATABASE_URL", &system.database.url).args(args);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (_, made) = payonce(words(&["keys", "create", "--merchant", "acme", "--json"])).run().await;
    let made: serde_json::Value = serde_json::from_str(&made.stdout()).unwrap();
    let id = made["id"].as_str().unwrap();

    let (exit, rotated) = payonce(words(&["keys", "rotate", id, "--overlap", "1h", "--json"])).run().await;

    assert_eq!(exit, Exit::Code(0), "{}", rotated.stderr());
    let rotated: serde_json::Value = serde_json::from_str(&rotated.stdout()).unwrap();
    assert!(rotated["prior_until"].is_string() && rotated["id"] == id, "{rotated}");
    let (exit, again) = payonce(words(&["keys", "rotate", id])).run().await;
    assert_eq!(exit, Exit::Code(1));
    assert!(
        again.stderr().contains("has two secrets until") && again.stderr().contains("--overlap 0s"),
        "{}",
        again.stderr()
    );
    for list in [&["keys", "list"][..], &["keys", "list", "--json"]] {
        let (exit, listed) = payonce(words(list)).run().await;
        assert_eq!(exit, Exit::Code(0));
        assert!(
            listed.stdout().contains(id) && listed.stdout().contains("payments:write"),
            "{}",
            listed.stdout()
        );
        for secret in [&made["secret"], &rotated["secret"]] {
            assert!(!listed.stdout().contains(&secret.as_str().unwrap()[44..]), "the list tells a secret");
        }
    }
}

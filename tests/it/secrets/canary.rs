//! Secrets that this test made up, so that it knows each when it sees it: in a log, among the metrics, in an
//! answer or in the database.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;
use tests::client::send;
use tests::{Launch, Process, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

const PEPPER: &str = "canary-pepper-5e1bb0a6c47f4d0b94f2";
const ADMIN_KEY: &str = "canary-admin-key-8d3f";
const ADAS_KEY: &str = "canary-key-of-ada-17c2";
const GATEWAY_KEY: &str = "canary-gateway-key-90be";
const PASSWORD: &str = "canary-password-3ab6";
const CARD: &str = "4242424242424242";

/// Where one could look for a secret.
#[derive(Default)]
struct Places(Vec<(String, String)>);

impl Places {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    fn of(&mut self, process: &Process) {
        self.add(format!("what {:?} said", process.ready()), process.stdout() + &process.stderr());
    }

    async fn answer(&mut self, request: RequestBuilder) {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let place = format!("the answer to {} {}", request.method(), request.url().path());
        let answer = client.execute(request).await.unwrap();
        let head = format!("{:?} {:?}", answer.status(), answer.headers());
        self.add(place, head + &answer.text().await.unwrap());
    }

    /// Each secret that stands somewhere, in whatever spelling, with its place.
    fn found(&self, secrets: &[(&'static str, String)]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in secrets {
            let spellings = spellings(secret);
            for (place, text) in &self.0 {
                if spellings.iter().any(|spelling| text.contains(spelling.as_str())) {
                    found.push(format!("{name} in {place}"));
                }
            }
        }
        found
    }
}

/// How a secret may be written, also by who does not mean to: as it is, in groups, as a password of HTTP
/// Basic, as bytes, as a hash without a pepper.
fn spellings(secret: &str) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    vec![
        secret.to_owned(),
        secret.as_bytes().chunks(4).map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(" "),
        BASE64_STANDARD.encode(format!("ada:{secret}")).trim_end_matches('=').to_owned(),
        hex(secret.as_bytes()),
        hex(&Sha256::digest(secret)),
    ]
}

/// A system in which all secrets are canaries, as loud as can be, and a key of its first merchant.
async fn a_system() -> (System, String) {
    let loud = ("RUST_LOG", "trace".to_owned());
    let mut system = System::with(PROGRAM, Shape::default()).await;
    let role = format!("canary_{:016x}", rand::random::<u64>());
    let made = format!("create role {role} login password '{PASSWORD}' in role payonce_app");
    sqlx::query(AssertSqlSafe(made)).execute(&system.database.pool).await.unwrap();
    let url = system.database.url_as(&role, PASSWORD);
    system.gateway.kill9();
    system.gateway = Launch::simgateway(PROGRAM)
        .env("GATEWAY_DATABASE_URL", &system.gateway_database.url)
        .env("GATEWAY_ADDR", system.gateway.address("gateway").trim_start_matches("http://"))
        .envs([("GATEWAY_API_KEY", GATEWAY_KEY.to_owned()), loud.clone()])
        .start()
        .await;
    let launch = system.api().env("DATABASE_URL", &url).envs([
        ("API_KEY_PEPPER", PEPPER.to_owned()),
        ("ADMIN_KEY", ADMIN_KEY.to_owned()),
        ("ADMIN_KEYS", format!("ada:{ADAS_KEY}")),
        loud.clone(),
    ]);
    let api = launch.start().await;
    system.client.add_base(api.address("api"));
    system.apis.push(api);
    let worker =
        system.worker().env("DATABASE_URL", &url).envs([("GATEWAY_API_KEY", GATEWAY_KEY.to_owned()), loud]);
    system.workers.push(worker.start().await);
    let (_, made) = Launch::payonce(PROGRAM)
        .args(["keys", "create", "--merchant", "first", "--json"])
        .env("DATABASE_URL", &system.database.url)
        .env("API_KEY_PEPPER", PEPPER)
        .run()
        .await;
    let made: serde_json::Value = serde_json::from_str(&made.stdout()).unwrap();
    let secret = made["secret"].as_str().unwrap().to_owned();
    system.client = system.client.with_secret(secret.clone());
    (system, secret)
}

/// The usual exchanges of merchants, and the mistakes that are usual, too.
async fn merchants(system: &System, secret: &str, places: &mut Places) {
    let client = &system.client;
    let post = |body: serde_json::Value| {
        client.request(Method::POST, "/v1/payments").header("idempotency-key", "order-77").json(&body)
    };
    let get = |path: &str| reqwest::Client::new().get(client.url(path));
    let payment = a_payment().body;
    let with = |field: &str, value: serde_json::Value| {
        let mut body = payment.clone();
        body[field] = value;
        body
    };
    for request in [
        post(with("payment_method", json!(CARD))),
        post(with("description", json!(format!("card {CARD}")))),
        post(with("metadata", json!({ "card": "4242 4242 4242 4242" }))),
        post(with("amount", json!(CARD))),
        post(with("nonsense", json!(secret))),
        post(json!([secret])),
        post(payment.clone()),
        post(payment.clone()),
        post(with("amount", json!("99.00"))),
        client.request(Method::POST, "/v1/payments").body(format!("{{\"payment_method\": \"{CARD}")),
        client.request(Method::GET, "/v1/payments?limit=100"),
        client.request(Method::GET, "/v1/idempotency-keys?key=order-77"),
        client.request(Method::GET, "/v1/breaks"),
        client.request(Method::DELETE, "/v1/payments"),
        get("/v1/payments").bearer_auth(&secret[..secret.len() - 1]),
        get("/v1/payments").bearer_auth(ADMIN_KEY),
        get("/v1/payments").basic_auth("ada", Some(secret)),
        get("/v1/payments").header("x-api-key", secret).bearer_auth(ADMIN_KEY),
        get(&format!("/v1/payments?api_key={secret}")).bearer_auth(secret),
        get(&format!("/v1/payments?customer_id=a&card={CARD}")).bearer_auth(secret),
        get("/health/ready"),
        get("/openapi.json"),
    ] {
        places.answer(request).await;
    }
    for method in ["sim_declined", "sim_503", "sim_timeout_charged", "sim_wrong_amount", "sim_ok"] {
        let id = client.pay(a_payment().method(method)).await.payment_id();
        places.answer(client.request(Method::GET, &format!("/v1/payments/{id}?wait=20"))).await;
        places.answer(client.request(Method::GET, &format!("/v1/payments/{id}/events"))).await;
    }
}

/// What operators ask, with the right keys and the wrong ones.
async fn operators(system: &System, secret: &str, places: &mut Places) {
    let at = |listener: &str, path: &str| {
        reqwest::Client::new().get(format!("{}{path}", system.apis[0].address(listener)))
    };
    for key in [ADMIN_KEY, ADAS_KEY, secret, "wrong"] {
        for path in ["/ops", "/ops/payments", "/ops/breaks", "/ops/nothing"] {
            places.answer(at("ops", path).basic_auth("ada", Some(key))).await;
        }
        places.answer(at("board", "/").basic_auth("ada", Some(key))).await;
        for path in
            ["/v1/breaks", "/v1/corrections", "/v1/dead-letters", "/v1/recovery-reports", "/v1/nothing"]
        {
            places.answer(at("api", path).bearer_auth(key)).await;
        }
    }
    let breaks = send(at("api", "/v1/breaks").bearer_auth(ADAS_KEY)).await.json();
    let number = &breaks["data"][0]["id"];
    let resolve = format!("{}/v1/breaks/{number}/resolve", system.apis[0].address("api"));
    for key in [ADMIN_KEY, ADAS_KEY, secret] {
        let body = json!({ "reason": "looked", "decision": "look" });
        places.answer(reqwest::Client::new().post(&resolve).bearer_auth(key).json(&body)).await;
    }
    for listener in ["metrics", "api"] {
        places.answer(at(listener, "/metrics")).await;
    }
    let of_worker = system.workers[0].address("metrics");
    places.answer(reqwest::Client::new().get(format!("{of_worker}/metrics"))).await;
    let of_gateway = format!("{}/journal?after=0", system.gateway.address("gateway"));
    places.answer(reqwest::Client::new().get(of_gateway).bearer_auth(GATEWAY_KEY)).await;
}

/// Programs that are called, also those that cannot start.
async fn programs(system: &System, secret: &str, places: &mut Places) {
    let url = &system.database.url;
    let nowhere = format!("postgres://ada:{PASSWORD}@127.0.0.1:1/none");
    let gateway = system.gateway.address("gateway");
    let payonce = |args: &[&str]| Launch::payonce(PROGRAM).args(args.iter().map(|it| (*it).to_owned()));
    let env = [
        ("DATABASE_URL", nowhere.as_str()),
        ("GATEWAY_URL", gateway),
        ("GATEWAY_API_KEY", GATEWAY_KEY),
        ("ADMIN_KEY", ADMIN_KEY),
        ("API_KEY_PEPPER", PEPPER),
        ("PAYONCE_API_KEY", secret),
        ("RUST_LOG", "trace"),
    ];
    for launch in [
        payonce(&["keys", "list"]).envs(env).env("DATABASE_URL", url),
        payonce(&["keys", "list", "--json"]).envs(env).env("DATABASE_URL", url),
        payonce(&["verify", "--database-url", url, "--gateway-url", gateway]).envs(env),
        payonce(&["load", "--total", "1", "--base-url", "http://127.0.0.1:1"]).envs(env),
        payonce(&["migrate"]).envs(env),
        Launch::api(PROGRAM).envs(env),
        Launch::api(PROGRAM).envs(env).env("ADMIN_KEYS", ADAS_KEY),
        Launch::api(PROGRAM).envs(env).env("API_KEY", ADMIN_KEY),
        Launch::api(PROGRAM).envs(env).env("API_KEY_PEPPER", format!("{PEPPER},{PEPPER}")),
        Launch::api(PROGRAM).envs(env).env("DATABASE_URL", format!("postgres://ada:{PASSWORD}@[/none")),
        Launch::worker(PROGRAM).envs(env),
        Launch::worker(PROGRAM).envs(env).env("GATEWAY_URL", "nonsense"),
        Launch::settings(PROGRAM).args(["api"]).envs(env),
        Launch::settings(PROGRAM).args(["worker"]).envs(env),
    ] {
        let (_, process) = launch.run().await;
        places.of(&process);
    }
}

#[tokio::test]
async fn no_secret_is_told_shown_or_kept_and_the_search_finds_one_that_is() {
    let (system, secret) = a_system().await;
    let mut places = Places::default();
    merchants(&system, &secret, &mut places).await;
    operators(&system, &secret, &mut places).await;
    programs(&system, &secret, &mut places).await;
    // The use of the key is written apart from requests.
    let used = "select count(*) from api_keys where last_used_on is not null";
    wait_until("the use of the key to be written", async || system.count(used).await == 1).await;
    for process in system.apis.iter().chain(&system.workers).chain([&system.gateway]) {
        places.of(process);
    }
    places.add("a dump of the database", system.database.dump_text().await);
    places.add("a dump of the gateway's database", system.gateway_database.dump_text().await);

    let (_, random) = secret.rsplit_once('_').unwrap();
    let secrets = [
        ("the pepper", PEPPER.to_owned()),
        ("ADMIN_KEY", ADMIN_KEY.to_owned()),
        ("a key of ADMIN_KEYS", ADAS_KEY.to_owned()),
        ("the gateway's key", GATEWAY_KEY.to_owned()),
        ("the database's password", PASSWORD.to_owned()),
        ("the card number", CARD.to_owned()),
        ("the secret of a key", random.to_owned()),
        ("the whole secret of a key", secret.clone()),
    ];
    assert_eq!(places.found(&secrets), Vec::<String>::new());
    assert!(
        places.0.iter().all(|(place, text)| !text.is_empty() || place.contains("settings")),
        "all was looked at"
    );

    // The search has teeth: a merchant who writes secrets into a description is found to have done so.
    for (name, planted) in &secrets {
        let payment = a_payment().with("description", json!(format!("see {planted}")));
        if *name == "the card number" {
            system.pay(payment).await.assert_status(400);
            continue;
        }
        let id = system.accepted(payment).await;
        let mut places = Places::default();
        places.answer(system.client.request(Method::GET, &format!("/v1/payments/{id}"))).await;
        assert!(!places.found(&secrets).is_empty(), "{name} in an answer");
        let mut places = Places::default();
        places.add("a hash", spellings(planted)[4].clone());
        assert_eq!(places.found(&secrets).len(), 1, "the hash of {name}");
    }
    let mut dumped = Places::default();
    dumped.add("a dump of the database", system.database.dump_text().await);
    assert_eq!(dumped.found(&secrets).len(), secrets.len() - 1, "all but the card number, which is refused");
}

//! The command line and the settings, as a newcomer and an operator meet them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Client;
use serde_json::{Value, json};
use tests::client::send;
use tests::{Exit, Impostor, Launch, Process, System, TestDatabase, guardian, wait_for, wait_until};

use crate::PROGRAM;

/// A directory of this test's own.
fn a_directory(name: &str) -> PathBuf {
    guardian::scratch().join(format!("{name}-{:016x}", rand::random::<u64>()))
}

fn dev(data_dir: &std::path::Path) -> Launch {
    Launch::payonce(PROGRAM)
        .args(["dev", "--json", "--data-dir"])
        .args([data_dir.as_os_str().to_owned()])
        .args(tests::process::FREE_PORTS)
}

fn text<'a>(dev: &'a Process, name: &str) -> &'a str {
    dev.ready()[name].as_str().unwrap()
}

async fn pay(dev: &Process, key: &str) -> Value {
    let body =
        json!({"amount": "12.50", "currency": "EUR", "customer_id": "cus_1", "payment_method": "sim_ok"});
    let post = Client::new()
        .post(format!("{}/v1/payments", text(dev, "api")))
        .header("x-api-key", text(dev, "api_key"))
        .header("idempotency-key", key);
    post.json(&body).send().await.unwrap().json().await.unwrap()
}

async fn ended(dev: &Process, payment: &Value) -> Value {
    let url = format!("{}/v1/payments/{}?wait=30", text(dev, "api"), payment["id"].as_str().unwrap());
    wait_for("the payment to end", async || {
        let payment = send(Client::new().get(&url).header("x-api-key", text(dev, "api_key"))).await.json();
        (!payment["terminal_at"].is_null()).then_some(payment)
    })
    .await
}

#[tokio::test]
async fn dev_runs_everything_and_stops_in_order() {
    let data_dir = a_directory("dev");
    let mut dev = dev(&data_dir).start().await;

    let payment = ended(&dev, &pay(&dev, "order-1").await).await;
    dev.terminate();
    let exit = dev.wait_exit().await;

    assert_eq!(payment["status"], "succeeded");
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(dev.stdout().lines().count(), 1, "{}", dev.stdout());
    let mut names: Vec<&str> = dev.ready().as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let contract = [
        "admin_key",
        "api",
        "api_key",
        "api_key_pepper",
        "board",
        "data_dir",
        "database_url",
        "event",
        "gateway",
        "gateway_database_url",
        "metrics",
        "ops",
        "owner_database_url",
        "postgres_pid",
        "reader_database_url",
        "webhook_secret_key",
    ];
    assert_eq!(names, contract);
}

#[tokio::test]
async fn dev_reads_the_settings_of_its_api() {
    let (exit, dev) = dev(&a_directory("dev")).env("API_RATE_BURST", "5").run().await;

    assert_eq!(exit, Exit::Code(1));
    assert!(dev.stderr().contains("needs API_RATE_PER_S"), "{}", dev.stderr());
}

#[tokio::test]
async fn the_gateway_inside_dev_refuses_to_crash_and_takes_every_other_fault() {
    let mut dev = dev(&a_directory("dev")).start().await;
    let faults = format!("{}/faults", text(&dev, "gateway"));

    for crash in [json!({ "crash": "before" }), json!({ "crash_rate": 0.01, "slow_ms": 1 })] {
        let refused = send(Client::new().put(&faults).json(&crash)).await;
        refused.assert_status(501);
        assert_eq!(refused.json()["code"], "crash_unsupported");
        let says = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(says.contains("start the program simgateway by itself"), "{says}");
    }
    assert_eq!(send(Client::new().get(&faults)).await.json()["slow_ms"], 0, "half of what was refused is on");
    send(Client::new().put(&faults).json(&json!({ "crash_rate": 0.0, "slow_ms": 1 })))
        .await
        .assert_status(200);

    assert_eq!(ended(&dev, &pay(&dev, "order-1").await).await["status"], "succeeded");
    dev.terminate();
    assert_eq!(dev.wait_exit().await, Exit::Code(0));
}

#[tokio::test]
async fn a_killed_dev_is_followed_by_one_that_finds_its_database_and_its_payments() {
    let data_dir = a_directory("dev");
    let mut first = dev(&data_dir).start().await;
    let before = ended(&first, &pay(&first, "order-1").await).await;
    first.kill9();

    let mut second = dev(&data_dir).start().await;
    let after = ended(&second, &pay(&second, "order-1").await).await;

    assert_eq!(text(&first, "api_key"), text(&second, "api_key"));
    assert_eq!(first.ready()["postgres_pid"], second.ready()["postgres_pid"]);
    assert_eq!(before, after);
    second.terminate();
    assert_eq!(second.wait_exit().await, Exit::Code(0));
}

#[tokio::test]
async fn workers_beside_dev_take_its_payments() {
    let data_dir = a_directory("dev");
    let mut dev = dev(&data_dir).args(["--workers", "0"]).start().await;
    let payment = pay(&dev, "order-1").await;

    let worker = Launch::worker(PROGRAM)
        .env("DATABASE_URL", text(&dev, "database_url"))
        .env("GATEWAY_URL", text(&dev, "gateway"))
        .env("METRICS_ADDR", "127.0.0.1:0")
        .start()
        .await;

    assert_eq!(ended(&dev, &payment).await["status"], "succeeded");
    drop(worker);
    dev.terminate();
    dev.wait_exit().await;
}

#[tokio::test]
async fn a_second_dev_in_one_directory_is_refused() {
    let data_dir = a_directory("dev");
    let mut first = dev(&data_dir).start().await;

    let (exit, second) = dev(&data_dir).run().await;

    assert_eq!(exit, Exit::Code(1));
    assert!(second.stderr().contains("is in use by another payonce"), "{}", second.stderr());
    first.terminate();
    first.wait_exit().await;
}

#[tokio::test]
async fn load_ends_with_one_line_of_figures() {
    let system = System::start(PROGRAM).await;
    let load = Launch::payonce(PROGRAM).args([
        "load",
        "--total",
        "60",
        "--concurrency",
        "8",
        "--json",
        "--base-url",
    ]);

    let (exit, load) = load.args([&system.client.url(""), "--api-key", system.client.secret()]).run().await;

    assert_eq!(exit, Exit::Code(0), "{}", load.stderr());
    let line: Value = serde_json::from_str(load.stdout().lines().last().unwrap()).unwrap();
    for (name, value) in
        [("total", 60.0), ("accepted", 60.0), ("errors", 0.0), ("error_rate", 0.0), ("finished", 60.0)]
    {
        assert_eq!(line[name].as_f64(), Some(value), "{name} in {line}");
    }
    for name in ["accepted_per_s", "finished_per_s", "end_to_end_s", "p50_ms", "p95_ms", "p99_ms", "avg_ms"] {
        assert!(line[name].as_f64().is_some_and(|figure| figure > 0.0), "{name} in {line}");
    }
    system.assert_books_agree().await;
}

#[tokio::test]
async fn load_with_one_key_makes_one_payment() {
    let system = System::start(PROGRAM).await;
    let load = Launch::payonce(PROGRAM).args(["load", "--total", "60", "--same-key", "--json", "--base-url"]);

    let (exit, load) = load.args([&system.client.url(""), "--api-key", system.client.secret()]).run().await;

    assert_eq!(exit, Exit::Code(0), "{}", load.stderr());
    assert_eq!(system.count("select count(*) from payments").await, 1);
}

/// An API that makes so many payments, whatever keys it is given, and answers with each of them in turn.
async fn an_api_with(payments: usize) -> Impostor {
    fn payment(n: usize) -> Value {
        json!({ "id": format!("pay_{n}"), "status": "succeeded" })
    }
    let posted = AtomicUsize::new(0);
    let answer = move |path: &str| match path.split_once('?') {
        None => payment(posted.fetch_add(1, Ordering::Relaxed) % payments),
        Some((_, query)) => {
            let is_of_this_run = query.contains("customer_id=") && !query.contains("status=");
            let data: Vec<Value> = (0..payments).filter(|_| is_of_this_run).map(payment).collect();
            json!({ "data": data, "has_more": false })
        }
    };
    Impostor::start(answer).await
}

#[tokio::test]
async fn load_fails_where_one_key_made_two_payments_or_many_keys_made_one() {
    for (payments, more, says) in [
        (2, &["--same-key"][..], "one key made 2 payments (told of pay_0, pay_1; 2 succeeded)"),
        (1, &[], "8 keys were answered with 1 payments"),
        (1, &["--same-key"], ""),
    ] {
        let api = an_api_with(payments).await;
        let load = Launch::payonce(PROGRAM).args(["load", "--total", "8", "--base-url", api.url.as_str()]);

        let (exit, load) = load.args(["--api-key", "payonce_sk_any"]).args(more.iter().copied()).run().await;

        assert_eq!(exit, Exit::Code(i32::from(!says.is_empty())), "{says}: {}", load.stderr());
        assert!(load.stderr().contains(says), "{}", load.stderr());
    }
}

#[tokio::test]
async fn migrate_says_what_is_missing_and_applies_it() {
    let database = TestDatabase::fresh_empty().await;
    let migrate = |more: &[&str]| {
        let arguments = ["migrate"].iter().chain(more).map(ToString::to_string).collect::<Vec<_>>();
        Launch::payonce(PROGRAM).args(arguments).env("DATABASE_URL", &database.url)
    };

    let (before, _) = migrate(&["--check"]).run().await;
    let (applied, _) = migrate(&[]).run().await;
    let (after, _) = migrate(&["--check"]).run().await;

    assert_eq!((before, applied, after), (Exit::Code(1), Exit::Code(0), Exit::Code(0)));
}

#[tokio::test]
async fn a_key_opens_until_it_is_revoked() {
    let system = System::start(PROGRAM).await;
    let keys = |arguments: &[&str]| {
        let arguments = ["keys"].iter().chain(arguments).map(ToString::to_string).collect::<Vec<_>>();
        Launch::payonce(PROGRAM).args(arguments).env("DATABASE_URL", system.database.app_url())
    };
    let (_, created) = keys(&["create", "--merchant", "acme", "--name", "till", "--json"]).run().await;
    let created: Value = serde_json::from_str(&created.stdout()).unwrap();
    let client = system.client.with_secret(created["secret"].as_str().unwrap().to_owned());
    client.get("/v1/payments").await.assert_status(200);

    let (exit, _) = keys(&["revoke", created["id"].as_str().unwrap()]).run().await;

    assert_eq!(exit, Exit::Code(0));
    client.get("/v1/payments").await.assert_problem(401, "unauthorized");
    let (_, listed) = keys(&["list", "--json"]).run().await;
    assert!(!listed.stdout().contains(created["secret"].as_str().unwrap()), "the list shows a secret");
}

type Variables = &'static [(&'static str, &'static str)];

/// Programs, their variables, and what they must say before they give up.
const REFUSED: &[(&str, Variables, &str)] = &[
    ("api", &[], "DATABASE_URL: is not set"),
    (
        "api",
        &[("DATABASE_URL", "postgres://127.0.0.1:1/none"), ("ADMIN_KEY", "short")],
        "ADMIN_KEY: must have at least 16",
    ),
    (
        "api",
        &[("DATABASE_URL", "nonsense"), ("ADMIN_KEY", "0123456789abcdef")],
        "cannot connect to the database",
    ),
    (
        "api",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("ADMIN_KEY", "0123456789abcdef"),
            ("API_ADDR", "here"),
        ],
        "API_ADDR: \"here\" cannot be used",
    ),
    (
        "api",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("ADMIN_KEY", "0123456789abcdef"),
            ("API_RATE_PER_S", "0"),
        ],
        "API_RATE_PER_S: \"0\" cannot be used: give a decimal number from 0.001 to 1000000",
    ),
    (
        "api",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("ADMIN_KEY", "0123456789abcdef"),
            ("API_RATE_BURST", "5"),
        ],
        "API_RATE_BURST: needs API_RATE_PER_S",
    ),
    (
        "api",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("ADMIN_KEY", "0123456789abcdef"),
            ("ADMIN_TRIES_PER_MIN", "0"),
        ],
        "ADMIN_TRIES_PER_MIN: \"0\" cannot be used",
    ),
    ("worker", &[("DATABASE_URL", "postgres://127.0.0.1:1/none")], "GATEWAY_URL: is not set"),
    (
        "worker",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("GATEWAY_URL", "http://127.0.0.1:1"),
            ("LEASE_MS", "9000"),
        ],
        "LEASE_MS: a claim of 9s must outlast",
    ),
    (
        "worker",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("GATEWAY_URL", "http://127.0.0.1:1"),
            ("RETRIES", "many"),
        ],
        "RETRIES: \"many\" cannot be used",
    ),
    (
        "worker",
        &[
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("GATEWAY_URL", "http://127.0.0.1:1"),
            ("GATEWAY_RATE_PER_S", "fast"),
        ],
        "GATEWAY_RATE_PER_S: \"fast\" cannot be used",
    ),
    ("worker", &[("LOG_FORMAT", "xml")], "cannot be used: use json or text"),
    ("simgateway", &[("LOG_FORMAT", "xml")], "LOG_FORMAT is `xml`: set it to json or text"),
    ("worker", &[("PAYONCE_FAULTS", "nowhere=stop")], "PAYONCE_FAULTS: no \"nowhere\""),
    ("simgateway", &[], "GATEWAY_DATABASE_URL is not set"),
];

#[tokio::test]
async fn an_invalid_setting_refuses_to_start_and_says_why() {
    for (role, env, message) in REFUSED {
        let launch = match *role {
            "api" => Launch::api(PROGRAM),
            "worker" => Launch::worker(PROGRAM),
            _ => Launch::simgateway(PROGRAM),
        };

        let (exit, process) = launch.env("LOG_FORMAT", "text").envs(env.iter().copied()).run().await;

        assert_eq!(exit, Exit::Code(1), "{role} {env:?}");
        assert!(process.stderr().contains(message), "{role} {env:?} said:\n{}", process.stderr());
    }
}

#[tokio::test]
async fn a_misspelt_name_in_the_env_file_refuses_to_start() {
    let directory = a_directory("dotenv");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(".env"), "DATABASE_URL=postgres://127.0.0.1:1/none\nWORKER_CONCURENCY=8\n")
        .unwrap();

    let (exit, worker) = Launch::worker(PROGRAM).current_dir(&directory).run().await;

    assert_eq!(exit, Exit::Code(1));
    assert!(worker.stderr().contains("WORKER_CONCURENCY is no setting"), "{}", worker.stderr());
}

#[tokio::test]
async fn the_env_file_sets_what_the_environment_does_not() {
    let database = TestDatabase::fresh_empty().await;
    let directory = a_directory("dotenv");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(".env"), format!("DATABASE_URL={}\n", database.url)).unwrap();

    let (exit, _) = Launch::payonce(PROGRAM).args(["migrate"]).current_dir(&directory).run().await;

    assert_eq!(exit, Exit::Code(0));
    wait_until("the tables to be there", async || {
        shared::database::pending_migrations(&database.pool).await.unwrap().is_empty()
    })
    .await;
}

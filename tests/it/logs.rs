//! The logs of processes without a terminal: JSON that can be searched, and never a secret.

use std::collections::BTreeSet;

use chrono::DateTime;
use domain::ids::PaymentId;
use serde_json::Value;
use tests::client::send;
use tests::{Exit, Launch, Process, Shape, System, a_payment, wait_for, wait_until};

use crate::PROGRAM;
use crate::tidy::{quoted, sources, text};

/// The lines of a process. Each must be a whole object with the fields that every line has.
fn lines(process: &Process, service: &str) -> Vec<Value> {
    let said = process.stderr();
    // The last line may be half written at this moment.
    let whole = said.rfind('\n').map_or("", |end| &said[..end]);
    let parse = |line: &str| {
        let parsed = serde_json::from_str::<Value>(line);
        assert!(parsed.is_ok(), "not a line of JSON: {line}");
        let parsed = parsed.unwrap();
        assert_eq!(parsed["service"], service, "{line}");
        let timestamp = parsed["timestamp"].as_str().unwrap_or_default();
        assert!(DateTime::parse_from_rfc3339(timestamp).is_ok() && timestamp.ends_with('Z'), "{line}");
        let level = parsed["level"].as_str().unwrap_or_default();
        assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
        assert!(parsed["message"].is_string() && parsed["target"].is_string(), "{line}");
        parsed
    };
    whole.lines().map(parse).collect()
}

/// The first line about that payment in which this field has this value.
async fn line(process: &Process, service: &str, id: PaymentId, (field, word): (&str, &str)) -> Value {
    let id = id.to_string();
    wait_for(format!("{service} to log {field} {word} of {id}"), async || {
        lines(process, service)
            .into_iter()
            .find(|line| line["payment_id"] == id.as_str() && line[field] == word)
    })
    .await
}

fn loud(level: &str) -> Vec<(&'static str, String)> {
    vec![("RUST_LOG", level.to_owned())]
}

#[tokio::test]
async fn one_correlation_id_leads_through_the_logs_of_api_worker_and_gateway() {
    let shape = Shape { apis: 1, workers: 1, api_env: loud("debug"), worker_env: loud("debug") };
    let system = System::with(PROGRAM, shape).await;

    let id = system.accepted(a_payment().method("sim_503").header("x-correlation-id", "trace-001")).await;
    system.ended(id).await;

    let (api, worker, gateway) = (&system.apis[0], &system.workers[0], &system.gateway);
    let created = line(api, "api", id, ("event", "created")).await;
    let started = line(worker, "worker", id, ("event", "attempt_started")).await;
    let retried = line(worker, "worker", id, ("event", "retry_scheduled")).await;
    let succeeded = line(worker, "worker", id, ("event", "succeeded")).await;
    let asked = line(gateway, "simgateway", id, ("op", "charge")).await;
    for line in [&created, &started, &retried, &succeeded, &asked] {
        assert_eq!(line["correlation_id"], "trace-001", "{line}");
    }
    let secret = system.client.secret();
    assert_eq!(created["key"], format!("key_{}", &secret[11..43]), "whose key it was");
    assert_eq!(started["claim"], retried["claim"]);
    assert_ne!(started["claim"], succeeded["claim"]);
    assert_eq!((&succeeded["status"], &succeeded["level"]), (&"succeeded".into(), &"INFO".into()));
    assert_eq!(retried["reason"], "not_executed");
}

#[tokio::test]
async fn without_being_asked_for_more_a_log_has_two_lines_of_a_payment_that_is_as_usual() {
    // As patient as outside of tests, so that nothing unusual happens on a slow machine.
    let patient = [("GATEWAY_TIMEOUT_MS", "5000"), ("SEND_WINDOW_MS", "5000"), ("LEASE_MS", "30000")];
    let worker_env = patient.map(|(name, value)| (name, value.to_owned())).to_vec();
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await;

    let id = system.accepted(a_payment()).await;
    system.ended(id).await;

    line(&system.workers[0], "worker", id, ("event", "succeeded")).await;
    let all = lines(&system.apis[0], "api").into_iter().chain(lines(&system.workers[0], "worker"));
    let told: Vec<Value> = all.filter(|line| line["payment_id"] == id.to_string().as_str()).collect();
    let events: Vec<&Value> = told.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["created", "succeeded"], "{told:?}");
}

#[tokio::test]
async fn what_a_person_must_see_is_an_error_that_says_what_it_is_about() {
    let system = System::start(PROGRAM).await;

    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(id).await;

    let held = line(&system.workers[0], "worker", id, ("event", "held")).await;
    assert_eq!((&held["level"], &held["reason"]), (&"ERROR".into(), &"wrong_answer".into()), "{held}");
}

#[tokio::test]
async fn a_filter_for_warnings_does_not_take_the_ids_from_them() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().header("x-correlation-id", "trace-002")).await;
    let frozen = system.add_worker([("PAYONCE_FAULTS", "settle.before=stop"), ("RUST_LOG", "warn")]).await;
    system.workers[frozen].wait_until_stopped().await;
    system.add_worker([("RUST_LOG", "warn")]).await;
    system.ended(id).await;

    system.workers[frozen].cont();

    let late = line(&system.workers[frozen], "worker", id, ("event", "late_evidence")).await;
    assert_eq!((&late["correlation_id"], &late["level"]), (&"trace-002".into(), &"WARN".into()), "{late}");
    assert!(late["claim"].is_string(), "{late}");
}

const ADMIN_KEY: &str = "an-admin-key-that-is-in-no-log";

/// The password in a database's address.
fn password(url: &str) -> &str {
    let (_, login) = url.split_once("://").unwrap();
    login.split(['@', ':']).nth(1).unwrap()
}

#[tokio::test]
async fn no_log_tells_a_secret_however_loud() {
    let mut api_env = loud("trace");
    api_env.push(("ADMIN_KEY", ADMIN_KEY.to_owned()));
    let shape = Shape { apis: 1, workers: 1, api_env, worker_env: loud("trace") };
    let system = System::with(PROGRAM, shape).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    let unknown = format!("payonce_sk_{}", "0123456789abcdef".repeat(4));
    let payments = system.client.url("/v1/payments");
    let http = reqwest::Client::new();
    send(http.get(&payments).header("x-api-key", &unknown)).await.assert_status(401);
    send(http.get(&payments).bearer_auth(&unknown)).await.assert_status(401);
    let board = system.apis[0].address("ops");
    send(http.get(board).basic_auth("any", Some(ADMIN_KEY))).await.assert_status(200);
    send(http.get(board).basic_auth("any", Some(&unknown))).await.assert_status(401);

    let client = |line: &Value| line["client"].as_str().is_some_and(|at| at.starts_with("127.0.0.1:"));
    wait_until("the refused keys to be logged", async || {
        let refused = lines(&system.apis[0], "api").into_iter().filter(|line| line["event"] == "key_refused");
        refused.filter(|line| line["key"] == "payonce_sk_012345" && client(line)).count() == 2
    })
    .await;
    let refused_admin = |line: &Value| line["event"] == "admin_key_refused" && client(line);
    assert!(lines(&system.apis[0], "api").iter().any(refused_admin), "a wrong admin key leaves no trace");
    line(&system.workers[0], "worker", id, ("event", "succeeded")).await;
    let basic = {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(format!("any:{ADMIN_KEY}"))
    };
    for process in system.apis.iter().chain(&system.workers).chain([&system.gateway]) {
        let passwords = [&system.database.url, &system.gateway_database.url].map(|url| password(url));
        for secret in [system.client.secret(), &unknown, ADMIN_KEY, &basic].into_iter().chain(passwords) {
            assert!(secret.len() > 16, "{secret} is no secret");
            assert!(!process.stderr().contains(secret), "{secret} is in the log of {:?}", process.ready());
        }
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    const PASSWORD: &str = "correct-horse-battery-staple";
    for url in
        [format!("postgres://ada:{PASSWORD}@127.0.0.1:1/none"), format!("postgres://ada:{PASSWORD}@[/none")]
    {
        for launch in [Launch::worker(PROGRAM), Launch::api(PROGRAM), Launch::simgateway(PROGRAM)] {
            let (exit, process) = launch
                .env("DATABASE_URL", &url)
                .env("GATEWAY_DATABASE_URL", &url)
                .env("GATEWAY_URL", "http://127.0.0.1:1")
                .env("ADMIN_KEY", ADMIN_KEY)
                .run()
                .await;

            assert_eq!(exit, Exit::Code(1));
            assert!(!process.stderr().contains(PASSWORD), "{}", process.stderr());
            assert!(!process.stderr().is_empty());
        }
    }
}

/// The words of all lines that the programs write at this level, by which a person finds them.
fn events_at(level: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources(&["api/src", "shared/src", "worker/src"]) {
        for (at, it) in text.match_indices("event = \"") {
            let call = text[..at].rfind("tracing::").map(|call| &text[call + "tracing::".len()..at]);
            if call.is_some_and(|call| call.starts_with(&format!("{level}!("))) {
                found.insert(text[at + it.len()..].split('"').next().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn the_runbook_tells_of_every_event_that_is_an_error_or_a_warning() {
    let runbook = text("docs/RUNBOOK.md");
    let (_, levels) = runbook.split_once("\n| level | what it means |\n").unwrap();
    let levels = levels.split("```").next().unwrap();
    for (level, least) in [("error", 10), ("warn", 10)] {
        let items = levels.split("\n- ").filter(|item| item.starts_with(level));
        let told: BTreeSet<&str> = items.flat_map(quoted).collect();
        let events = events_at(level);
        assert!(events.len() >= least, "only {events:?} are seen at {level}");
        let untold: Vec<&String> = events.iter().filter(|event| !told.contains(event.as_str())).collect();
        assert!(untold.is_empty(), "docs/RUNBOOK.md does not tell of {untold:?} at {level}");
    }
}

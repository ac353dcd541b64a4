//! `/metrics` and the worker's health: the counters count what happened, and the gauges show what stands in
//! the database.

mod moved;

use std::collections::BTreeSet;
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use shared::platform::metrics::{ALL, Kind};
use tests::client::send;
use tests::contract::operations;
use tests::{Answer, Exit, Launch, Scrape, Shape, System, a_payment, guardian, wait_for, wait_until};

use crate::PROGRAM;

/// The metrics of all processes of the system.
async fn scraped(system: &System) -> Vec<Scrape> {
    let mut all = Vec::new();
    for process in system.apis.iter().chain(&system.workers) {
        all.push(Scrape::of(process).await);
    }
    all
}

async fn sum(system: &System, name: &str, labels: &[(&str, &str)]) -> f64 {
    scraped(system).await.iter().map(|scrape| scrape.sum(name, labels)).sum()
}

/// How often each thing happened, as the database tells it.
async fn counts(system: &System, sql: &'static str) -> Vec<(String, i64)> {
    sqlx::query_as(sql).fetch_all(&system.database.pool).await.unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a handful of payments")]
async fn assert_counted(system: &System, name: &str, label: &str, expected: Vec<(String, i64)>) {
    assert!(!expected.is_empty(), "nothing happened");
    for (value, count) in expected {
        // A counter moves a moment after the commit that it counts.
        wait_until(format!("{name} of {value} to be {count}"), async || {
            sum(system, name, &[(label, &value)]).await == count as f64
        })
        .await;
    }
}

#[tokio::test]
async fn counters_and_histograms_say_what_the_histories_say() {
    let system = System::start(PROGRAM).await;
    let first = a_payment();
    let mut payments = vec![system.accepted(first.clone()).await];
    for token in ["sim_declined", "sim_503", "sim_timeout_charged"] {
        payments.push(system.accepted(a_payment().method(token)).await);
    }
    system.pay(first.clone()).await.assert_status(202);
    system.pay(first.amount("99.00")).await.assert_status(422);
    for payment in payments {
        system.ended(payment).await;
    }

    let events = "select type, count(*) from payment_events group by type";
    assert_counted(&system, "payonce_payment_events_total", "event", counts(&system, events).await).await;
    let ends = "select status, count(*) from payments group by status";
    assert_counted(&system, "payonce_payment_e2e_seconds_count", "status", counts(&system, ends).await).await;
    let claims = "select case type when 'attempt_started' then 'charge' else 'verify' end, count(*)
                    from payment_events where type in ('attempt_started', 'taken_over', 'verifying') group by 1";
    let claims = counts(&system, claims).await;
    assert_counted(&system, "payonce_claims_total", "purpose", claims.clone()).await;
    assert_counted(&system, "payonce_event_queue_delay_seconds_count", "purpose", claims).await;

    let worker = Scrape::of(&system.workers[0]).await;
    let settlements =
        ["retry_scheduled", "outcome_unknown", "succeeded", "failed", "void_started", "reversed", "held"];
    let settled = settlements.map(|event| worker.sum("payonce_payment_events_total", &[("event", event)]));
    assert_eq!(worker.sum("payonce_settle_duration_seconds_count", &[]), settled.iter().sum::<f64>());
    for (op, outcome) in
        [("charge", "charged"), ("charge", "declined"), ("charge", "not_executed"), ("charge", "timeout")]
    {
        assert!(
            worker.sum("payonce_gateway_calls_total", &[("op", op), ("outcome", outcome)]) > 0.0,
            "{outcome}"
        );
    }
    assert_eq!(
        worker.sum("payonce_gateway_calls_total", &[("op", "lookup")]),
        worker.sum("payonce_gateway_call_duration_seconds_count", &[("op", "lookup")])
    );
    let api = Scrape::of(&system.apis[0]).await;
    for (result, count) in [("created", 4.0), ("replayed", 1.0), ("refused", 1.0)] {
        assert_eq!(api.sum("payonce_payment_accepts_total", &[("result", result)]), count, "{result}");
    }
    let posts = |status| [("method", "POST"), ("route", "/v1/payments"), ("status", status)];
    assert_eq!(api.sum("payonce_http_requests_total", &posts("202")), 5.0);
    assert_eq!(api.sum("payonce_http_requests_total", &posts("422")), 1.0);
    assert_eq!(api.sum("payonce_http_request_duration_seconds_count", &posts("202")[..2]), 6.0);
}

#[tokio::test]
async fn the_gauges_say_what_stands_in_the_database() {
    let mut system = System::start(PROGRAM).await;
    let held = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(held).await;
    system.workers[0].terminate();
    assert_eq!(system.workers[0].wait_exit().await, Exit::Code(0));
    system.workers.clear();

    let overdue = system.accepted(a_payment()).await;
    system.accepted(a_payment()).await;
    system.accepted(a_payment()).await;
    system.make_due(overdue).await;

    let expected = [
        ("payonce_payments_open", "pending", 3.0),
        ("payonce_payments_open", "processing", 0.0),
        ("payonce_payments_overdue", "", 1.0),
        ("payonce_payments_held", "", 1.0),
        ("payonce_breaks_open", "", 1.0),
        ("payonce_queue_jobs_waiting", "", 3.0),
    ];
    for (name, status, count) in expected {
        let labels = [("status", status)];
        let labels = if status.is_empty() { &labels[..0] } else { &labels[..] };
        // Gauges are read anew at most once in a second.
        wait_until(format!("{name} {status} to be {count}"), async || {
            sum(&system, name, labels).await == count
        })
        .await;
    }
    assert!(sum(&system, "payonce_queue_oldest_job_age_seconds", &[]).await > 0.0);
}

#[tokio::test]
async fn every_metric_there_is_is_shown_and_explained() {
    let system = System::start(PROGRAM).await;
    system.ended(system.accepted(a_payment()).await).await;

    // Waits until the last of them has been counted.
    let shown = wait_for("all metrics to be shown", async || {
        let scrapes = scraped(&system).await;
        let shown: BTreeSet<String> =
            scrapes.iter().flat_map(|scrape| scrape.kinds.keys().cloned()).collect();
        (shown.len() == ALL.len()).then_some(scrapes)
    })
    .await;

    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let by: Vec<&Scrape> = shown.iter().filter(|scrape| scrape.kinds.contains_key(metric.name)).collect();
        assert!(!by.is_empty(), "nobody shows {}", metric.name);
        for scrape in by {
            assert_eq!(scrape.kinds[metric.name], kind, "{}", metric.name);
            assert!(scrape.explained.contains(metric.name), "{} has no help", metric.name);
        }
    }
}

#[tokio::test]
async fn what_is_known_to_be_counted_stands_at_zero_from_the_start_and_every_name_has_our_prefix() {
    let system = System::start(PROGRAM).await;
    let series = async || {
        let scrapes = scraped(&system).await;
        let all = scrapes.into_iter().flat_map(|scrape| scrape.samples);
        all.map(|sample| format!("{} {:?}", sample.name, sample.labels)).collect::<BTreeSet<_>>()
    };
    let before = series().await;
    for token in ["sim_ok", "sim_declined", "sim_503", "sim_timeout_charged", "sim_wrong_amount"] {
        let id = system.accepted(a_payment().method(token)).await;
        if token == "sim_wrong_amount" {
            system.held(id).await
        } else {
            system.ended(id).await
        };
    }

    let after = series().await;

    assert!(after.iter().all(|name| name.starts_with("payonce_")), "{after:?}");
    let born: Vec<&String> = after.difference(&before).collect();
    assert!(born.is_empty(), "an increase from nothing is none: {born:?}");
    assert!(before.iter().any(|it| it.contains("payonce_build_info") && it.contains("version")));
}

#[tokio::test]
async fn nothing_that_a_client_makes_up_becomes_a_label() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    for path in [format!("/v1/payments/{id}"), format!("/v1/payments/{id}/events"), format!("/made/up/{id}")]
    {
        system.client.get(&path).await;
        let made_up = Method::from_bytes(b"MADEUP").unwrap();
        send(system.client.request(made_up, &path)).await;
    }

    let api = Scrape::of(&system.apis[0]).await;

    let mut routes: BTreeSet<String> = operations().into_iter().map(|operation| operation.path).collect();
    routes.extend(["/metrics", "none"].map(str::to_owned));
    let shown = api.values_of("route");
    assert!(shown.is_subset(&routes), "{shown:?}");
    assert!(shown.contains("none") && shown.contains("/v1/payments/{id}"), "{shown:?}");
    assert_eq!(api.values_of("method"), ["GET", "POST", "other"].map(str::to_owned).into());
}

#[tokio::test]
async fn a_request_that_is_asked_to_wait_does_not_count_as_slow() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;

    system.client.get(&format!("/v1/payments/{id}?wait=1")).await.assert_status(200);

    let api = Scrape::of(&system.apis[0]).await;
    let reads = [("route", "/v1/payments/{id}")];
    assert_eq!(api.sum("payonce_http_requests_total", &reads), 1.0);
    assert_eq!(api.sum("payonce_http_request_duration_seconds_count", &reads), 0.0);
}

#[tokio::test]
async fn a_result_that_comes_too_late_is_counted() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let frozen = system.add_worker([("PAYONCE_FAULTS", "settle.before=stop")]).await;
    system.workers[frozen].wait_until_stopped().await;
    let other = system.add_worker([("RUST_LOG", "info")]).await;
    system.ended(id).await;

    system.workers[frozen].cont();

    wait_until("the late result to be counted", async || {
        Scrape::of(&system.workers[frozen]).await.sum("payonce_late_evidence_total", &[]) == 1.0
    })
    .await;
    let taken_over = [("event", "taken_over")];
    assert_eq!(
        Scrape::of(&system.workers[other]).await.sum("payonce_payment_events_total", &taken_over),
        1.0
    );
}

#[tokio::test]
async fn all_that_runs_in_dev_is_counted_together() {
    let data_dir: PathBuf = guardian::scratch().join(format!("metrics-{:016x}", rand::random::<u64>()));
    let dev = Launch::payonce(PROGRAM)
        .args(["dev", "--json", "--workers", "2", "--data-dir"])
        .args([data_dir])
        .args(tests::process::FREE_PORTS)
        .start()
        .await;
    let body =
        json!({"amount": "1.00", "currency": "EUR", "customer_id": "cus_1", "payment_method": "sim_ok"});
    let post = reqwest::Client::new()
        .post(format!("{}/v1/payments", dev.address("api")))
        .header("x-api-key", dev.ready()["api_key"].as_str().unwrap())
        .header("idempotency-key", "order-1")
        .json(&body);
    send(post).await.assert_status(202);

    wait_until("the payment to be counted by whoever did what", async || {
        let scrape = Scrape::of(&dev).await;
        let event = |event| scrape.sum("payonce_payment_events_total", &[("event", event)]);
        [event("created"), event("attempt_started"), event("succeeded")] == [1.0, 1.0, 1.0]
    })
    .await;
}

async fn health(system: &System, path: &str) -> Answer {
    send(reqwest::Client::new().get(format!("{}{path}", system.workers[0].address("metrics")))).await
}

/// Waits until the worker says that it does not work, and why.
async fn not_ready(system: &System) -> Value {
    let told = wait_for("the worker not to be ready", async || {
        let answer = health(system, "/health/ready").await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert_eq!(told["status"], "not_ready", "{told}");
    assert_eq!(told.as_object().unwrap().len(), 2, "{told}");
    told["detail"].clone()
}

/// Asserts that the worker says of itself this, and nothing else.
async fn assert_says(system: &System, path: &str, status: &str) {
    let answer = health(system, path).await;
    answer.assert_status(200);
    assert_eq!(answer.json(), json!({ "status": status }), "{path}");
}

#[tokio::test]
async fn a_worker_that_works_is_ready_and_one_whose_database_lacks_a_migration_is_not() {
    let system = System::with(PROGRAM, Shape { workers: 1, ..Shape::default() }).await;
    assert_says(&system, "/health/live", "healthy").await;
    assert_says(&system, "/health/ready", "ready").await;

    sqlx::query("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .execute(&system.database.pool)
        .await
        .unwrap();

    assert_eq!(not_ready(&system).await, "the database lacks migrations");
    assert_says(&system, "/health/live", "healthy").await;
}

#[tokio::test]
async fn a_worker_that_cannot_sweep_is_not_ready_although_the_database_answers() {
    let system = System::with(PROGRAM, Shape { workers: 1, ..Shape::default() }).await;

    sqlx::query("alter table payments rename to payments_gone").execute(&system.database.pool).await.unwrap();

    assert_eq!(not_ready(&system).await, "it has not swept for a while");
    assert!(sum(&system, "payonce_sweeps_total", &[("result", "failed")]).await > 0.0);
}

#[tokio::test]
async fn a_taken_metrics_address_refuses_to_start_and_says_what_to_do() {
    let system = System::with(PROGRAM, Shape { workers: 1, ..Shape::default() }).await;
    let taken = system.workers[0].address("metrics").trim_start_matches("http://");

    let (exit, second) = system.worker().env("METRICS_ADDR", taken).run().await;

    assert_eq!(exit, Exit::Code(1));
    assert!(second.stderr().contains("METRICS_ADDR: cannot listen on"), "{}", second.stderr());
}

//! By how much a payment moves each counter: exactly so much, and no other one.

use std::collections::BTreeMap;

use tests::{Shape, System, a_payment, wait_until};

use super::scraped;
use crate::PROGRAM;

/// The counters of what becomes of payments.
const COUNTERS: [&str; 11] = [
    "payonce_claims_total",
    "payonce_dead_letters_total",
    "payonce_event_queue_delay_seconds_count",
    "payonce_gateway_call_duration_seconds_count",
    "payonce_gateway_calls_total",
    "payonce_gateway_failures_total",
    "payonce_late_evidence_total",
    "payonce_payment_accepts_total",
    "payonce_payment_e2e_seconds_count",
    "payonce_payment_events_total",
    "payonce_settle_duration_seconds_count",
];

/// What one payment of each token moves.
const MOVES: &[(&str, &str)] = &[
    (
        "sim_ok",
        "payonce_claims_total charge taken 1
         payonce_event_queue_delay_seconds_count charge 1
         payonce_gateway_call_duration_seconds_count default charge 1
         payonce_gateway_calls_total default charge charged 1
         payonce_payment_accepts_total created 1
         payonce_payment_e2e_seconds_count succeeded 1
         payonce_payment_events_total attempt_started 1
         payonce_payment_events_total created 1
         payonce_payment_events_total succeeded 1
         payonce_settle_duration_seconds_count 1",
    ),
    (
        "sim_declined",
        "payonce_claims_total charge taken 1
         payonce_event_queue_delay_seconds_count charge 1
         payonce_gateway_call_duration_seconds_count default charge 1
         payonce_gateway_calls_total default charge declined 1
         payonce_payment_accepts_total created 1
         payonce_payment_e2e_seconds_count failed 1
         payonce_payment_events_total attempt_started 1
         payonce_payment_events_total created 1
         payonce_payment_events_total failed 1
         payonce_settle_duration_seconds_count 1",
    ),
    (
        "sim_503",
        "payonce_claims_total charge taken 3
         payonce_event_queue_delay_seconds_count charge 3
         payonce_gateway_call_duration_seconds_count default charge 3
         payonce_gateway_calls_total default charge charged 1
         payonce_gateway_calls_total default charge not_executed 2
         payonce_gateway_failures_total default not_executed 2
         payonce_payment_accepts_total created 1
         payonce_payment_e2e_seconds_count succeeded 1
         payonce_payment_events_total attempt_started 3
         payonce_payment_events_total created 1
         payonce_payment_events_total retry_scheduled 2
         payonce_payment_events_total succeeded 1
         payonce_settle_duration_seconds_count 3",
    ),
    (
        "sim_500_charged",
        "payonce_claims_total charge taken 1
         payonce_claims_total verify taken 1
         payonce_event_queue_delay_seconds_count charge 1
         payonce_event_queue_delay_seconds_count verify 1
         payonce_gateway_call_duration_seconds_count default charge 1
         payonce_gateway_call_duration_seconds_count default lookup 1
         payonce_gateway_calls_total default charge server_error 1
         payonce_gateway_calls_total default lookup charged 1
         payonce_gateway_failures_total default server_error 1
         payonce_payment_accepts_total created 1
         payonce_payment_e2e_seconds_count succeeded 1
         payonce_payment_events_total attempt_started 1
         payonce_payment_events_total created 1
         payonce_payment_events_total outcome_unknown 1
         payonce_payment_events_total succeeded 1
         payonce_payment_events_total verifying 1
         payonce_settle_duration_seconds_count 2",
    ),
];

/// How far each counter has come, all processes together, by its name and the values of its labels.
async fn so_far(system: &System) -> BTreeMap<String, f64> {
    let mut so_far: BTreeMap<String, f64> = BTreeMap::new();
    for sample in scraped(system).await.into_iter().flat_map(|scrape| scrape.samples) {
        let labels: Vec<&str> = sample.labels.values().map(String::as_str).collect();
        // Who else looks at a payment and finds it taken is chance.
        if COUNTERS.contains(&sample.name.as_str()) && !labels.contains(&"nothing") {
            let counter = [&[sample.name.as_str()][..], &labels].concat().join(" ");
            *so_far.entry(counter).or_default() += sample.value;
        }
    }
    so_far
}

fn ends(counted: &BTreeMap<String, f64>) -> f64 {
    counted.iter().filter(|(name, _)| name.starts_with("payonce_payment_e2e_")).map(|(_, count)| count).sum()
}

#[tokio::test]
async fn each_payment_moves_exactly_the_counters_of_what_became_of_it() {
    // As patient as outside of tests, so that nothing unusual happens on a slow machine.
    let patient = [("GATEWAY_TIMEOUT_MS", "5000"), ("SEND_WINDOW_MS", "5000"), ("LEASE_MS", "30000")];
    let worker_env = patient.map(|(name, value)| (name, value.to_owned())).to_vec();
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env, ..Shape::default() }).await;
    for (token, moves) in MOVES {
        let before = so_far(&system).await;
        system.ended(system.accepted(a_payment().method(token)).await).await;
        // Of all that a payment moves its end is counted last.
        wait_until(format!("the end of {token} to be counted"), async || {
            ends(&so_far(&system).await) > ends(&before)
        })
        .await;

        let after = so_far(&system).await;

        let was = |name: &str| before.get(name).copied().unwrap_or_default();
        let moved: BTreeMap<&str, f64> = after
            .iter()
            .map(|(name, count)| (name.as_str(), count - was(name)))
            .filter(|(_, by)| *by != 0.0)
            .collect();
        let counters = moves.lines().map(|line| line.trim().rsplit_once(' ').unwrap());
        let expected: BTreeMap<&str, f64> = counters.map(|(name, by)| (name, by.parse().unwrap())).collect();
        assert_eq!(moved, expected, "{token}");
    }
}

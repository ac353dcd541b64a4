//! The waits of a run. They are short, so that much happens in little time, in the same proportions as
//! the defaults.

use std::time::Duration;

use super::plan::{Plan, Scenario, Trait};

/// How long a claim lasts.
pub(super) const LEASE: Duration = Duration::from_millis(2_500);

/// Gateway calls at a time in one worker: the most payments that a killed worker can leave behind.
pub(super) const CONCURRENCY: u32 = 32;

const ALWAYS: [(&str, &str); 9] = [
    ("WORKER_CONCURRENCY", "32"),
    ("LEASE_MS", "2500"),
    ("SEND_WINDOW_MS", "1000"),
    ("VISIBILITY_MS", "200"),
    ("SWEEP_MS", "200"),
    ("BACKOFF_MS", "50"),
    ("BACKOFF_MAX_MS", "400"),
    ("VERIFY_WAITS_MS", "50,100,200,400"),
    ("BREAKER_OPEN_MS", "200"),
];

/// The settings of the workers in that run.
pub(super) fn of(plan: &Plan) -> Vec<(&'static str, &'static str)> {
    let scenario = plan.scenario;
    // An outage of half an hour tests the waits that are the defaults.
    if scenario == Scenario::QuietOutage && !plan.is_short {
        return vec![("WORKER_CONCURRENCY", "32"), ("DOUBT_DEADLINE_MS", "60000")];
    }
    // Nothing fails there, and the defaults are measured.
    if scenario == Scenario::HeldSnapshot && !plan.is_short {
        return Vec::new();
    }
    // A gateway that does answer gets time to do so on a busy machine, since only workers shall fail there.
    let gateway_timeout = if scenario.has(Trait::LosesAnswers) { "300" } else { "1000" };
    // A gateway that never answers a charge would hardly be asked for another one.
    let breaker_failures = if scenario == Scenario::LostAnswers { "1000" } else { "5" };
    let more = [("GATEWAY_TIMEOUT_MS", gateway_timeout), ("BREAKER_FAILURES", breaker_failures)];
    let mut all: Vec<_> = ALWAYS.into_iter().chain(more).collect();
    for (name, value) in of_script(plan) {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    all
}

/// The settings that only scripts need.
fn of_script(plan: &Plan) -> Vec<(&'static str, &'static str)> {
    match (plan.scenario, plan.is_short) {
        // A breaker that opened by silence would stay open for longer than anything waits here.
        (Scenario::SilentFew, true) => {
            vec![("GATEWAY_TIMEOUT_MS", "500"), ("BREAKER_OPEN_MS", "600000"), ("DOUBT_DEADLINE_MS", "3000")]
        }
        (Scenario::SilentFew, false) => {
            vec![("WORKER_CONCURRENCY", "256"), ("BREAKER_OPEN_MS", "600000"), ("DOUBT_DEADLINE_MS", "15000")]
        }
        // Several payments fail before one has used up its tries, even on a busy machine.
        (Scenario::QuietOutage, _) => vec![("BACKOFF_MS", "1000"), ("BACKOFF_MAX_MS", "2000")],
        (Scenario::WrongDoor, true) => {
            vec![("GATEWAY_TIMEOUT_MS", "500"), ("SEND_WINDOW_MS", "500"), ("DOUBT_DEADLINE_MS", "6000")]
        }
        (Scenario::WrongDoor, false) => vec![("DOUBT_DEADLINE_MS", "20000")],
        // A void starts within seconds.
        (Scenario::Restore, _) => vec![("DOUBT_DEADLINE_MS", "5000")],
        (
            Scenario::Workers
            | Scenario::Api
            | Scenario::GatewayKill
            | Scenario::Postgres
            | Scenario::Zombies
            | Scenario::Gateway
            | Scenario::LostAnswers
            | Scenario::Deliveries
            | Scenario::ClockSkew
            | Scenario::Connections
            | Scenario::DiskFull
            | Scenario::RestartStorm
            | Scenario::Failover
            | Scenario::LostTail
            | Scenario::SlowDatabase
            | Scenario::Partition
            | Scenario::TwoGateways
            | Scenario::HeldSnapshot
            | Scenario::Versions
            | Scenario::Bank
            | Scenario::All,
            _,
        ) => Vec::new(),
    }
}

/// How long a doubt may last in that run.
pub(super) fn doubt_deadline(plan: &Plan) -> Duration {
    let set = of(plan).into_iter().find(|(name, _)| *name == "DOUBT_DEADLINE_MS");
    let ms = set.and_then(|(_, value)| value.parse().ok());
    ms.map_or(Duration::from_mins(15), Duration::from_millis)
}

/// The settings as words, for printing.
pub(super) fn in_words(plan: &Plan) -> String {
    of(plan).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

//! The waits of a run: short, so that much happens in little time, in the same proportions as the defaults.

use super::plan::Scenario;

/// How long a claim lasts.
pub(super) const LEASE: std::time::Duration = std::time::Duration::from_millis(2_500);

/// Gateway calls at a time, in one worker: as many payments as a killed worker can leave behind.
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

/// What workers are told in that scenario.
pub(super) fn of(scenario: Scenario) -> Vec<(&'static str, &'static str)> {
    // A gateway that does answer gets time to, on a machine that is busy: only workers shall fail there.
    let gateway_timeout = match scenario {
        Scenario::Gateway | Scenario::LostAnswers | Scenario::All => "300",
        Scenario::Workers
        | Scenario::Api
        | Scenario::GatewayKill
        | Scenario::Postgres
        | Scenario::Zombies
        | Scenario::Deliveries
        | Scenario::ClockSkew
        | Scenario::Connections
        | Scenario::DiskFull
        | Scenario::RestartStorm
        | Scenario::SlowDatabase
        | Scenario::Partition => "1000",
    };
    // A gateway that never answers a charge would hardly be asked for another one.
    let breaker_failures = if scenario == Scenario::LostAnswers { "1000" } else { "5" };
    let more = [("GATEWAY_TIMEOUT_MS", gateway_timeout), ("BREAKER_FAILURES", breaker_failures)];
    ALWAYS.into_iter().chain(more).collect()
}

/// The same, to be printed.
pub(super) fn in_words(scenario: Scenario) -> String {
    of(scenario).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

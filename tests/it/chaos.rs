//! `payonce chaos` in short: each scenario on processes of its own, through the real program, with a fixed
//! seed. And that it finds out where a guard was taken away.
//!
//! Most take more than ten seconds on a busy machine. A private database and some ten processes start, and a
//! claim whose worker died runs out after two and a half seconds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::{Exit, Launch, Process, guardian, wait_until};

use crate::PROGRAM;

/// The longest that one may take. Each takes ten seconds, but all of them run at once, beside other tests, on
/// one machine.
const DEADLINE: Duration = Duration::from_mins(15);

fn chaos(arguments: &[&str]) -> Launch {
    Launch::payonce(PROGRAM)
        .args(["chaos"].iter().chain(arguments).copied())
        .env("TMPDIR", guardian::scratch())
}

fn report(process: &Process) -> Value {
    let line = process.stdout();
    let report = serde_json::from_str(line.trim());
    report.map_err(|why| format!("{why}: {line}\n{}", process.stderr())).unwrap()
}

/// A figure of the report. What is missing is none, and no more than zero either.
#[track_caller]
fn figure(report: &Value, path: &[&str]) -> f64 {
    let found = path.iter().fold(report, |value, name| &value[*name]).as_f64();
    assert!(found.is_some(), "no figure {path:?} in {report:#}");
    found.unwrap()
}

/// Runs the short form of a scenario, which must hold, and gives its report.
async fn held(scenario: &str) -> Value {
    let (exit, process) = chaos(&[scenario, "--short", "--seed", "7", "--json"]).run_within(DEADLINE).await;
    let report = report(&process);
    assert_eq!(report["outcome"], "held", "{report:#}");
    assert_eq!(exit, Exit::Code(0), "{report:#}");
    assert!(figure(&report, &["faults_fired"]) > 0.0, "{report:#}");
    assert!(figure(&report, &["payments"]) > 0.0, "nothing was paid: {report:#}");
    assert_eq!(report["violations"], 0, "{report:#}");
    assert_eq!(report["not_ended"], 0, "{report:#}");
    assert_eq!(report["unknown"], 0, "every client insists: {report:#}");
    report
}

#[tokio::test]
async fn workers_killed_at_random_lose_nothing_and_spend_no_retry() {
    let report = held("workers").await;

    assert_eq!(report["retries_spent"], 0);
    let (mean, bound) = (figure(&report, &["attempts_mean"]), figure(&report, &["attempts_bound"]));
    assert!(mean > 0.0 && mean <= bound, "{report:#}");
}

#[tokio::test]
async fn apis_killed_while_they_answer_record_each_order_once() {
    let report = held("api").await;

    assert_eq!(report["payments"], report["attempted"]);
}

#[tokio::test]
async fn a_gateway_that_is_killed_charges_each_payment_once() {
    held("gateway-kill").await;
}

#[tokio::test]
async fn a_database_that_is_killed_keeps_what_was_acknowledged() {
    held("postgres").await;
}

#[tokio::test]
async fn workers_frozen_past_their_lease_change_nothing_when_they_go_on() {
    let report = held("zombies").await;

    assert!(figure(&report, &["takeovers"]) > 0.0, "{report:#}");
}

#[tokio::test]
async fn a_gateway_that_errs_in_three_of_ten_calls_charges_once_and_wrong_amounts_are_held() {
    let report = held("gateway").await;

    let wrong = report["faults"].get("payments charged a wrong amount");
    assert_eq!(wrong.unwrap_or(&Value::from(0)), &report["held"], "{report:#}");
}

#[tokio::test]
async fn answers_that_are_all_lost_are_looked_up() {
    held("lost-answers").await;
}

#[tokio::test]
async fn jobs_delivered_two_to_five_times_charge_once() {
    let report = held("deliveries").await;

    let copies = figure(&report, &["faults", "further deliveries"]);
    assert!(copies >= figure(&report, &["payments"]), "{report:#}");
    assert_eq!(report["attempts_max"], 1, "{report:#}");
}

#[tokio::test]
async fn processes_that_disagree_about_the_time_agree_about_the_payments() {
    let report = held("clock-skew").await;

    assert_eq!(report["faults"]["ids of another day"], report["payments"], "{report:#}");
}

#[tokio::test]
async fn a_database_without_a_connection_left_keeps_what_was_acknowledged() {
    held("connections").await;
}

#[tokio::test]
async fn a_database_without_room_left_keeps_what_was_acknowledged_or_the_run_says_that_it_needs_root() {
    if nix::unistd::geteuid().is_root() {
        held("disk-full").await;
        return;
    }
    let (exit, process) = chaos(&["disk-full", "--short", "--json"]).run_within(DEADLINE).await;
    assert_eq!((exit, &report(&process)["why"][0]), (Exit::Code(0), &Value::from("needs root")));
}

#[tokio::test]
async fn a_storm_of_restarts_loses_nothing() {
    held("restart-storm").await;
}

#[tokio::test]
async fn a_slow_database_makes_nobody_charge_twice() {
    held("slow-database").await;
}

#[tokio::test]
async fn a_network_that_carries_nothing_for_a_while_loses_nothing() {
    let report = held("partition").await;

    let times = |what: &str| report["faults"][what].as_u64().unwrap_or(0);
    assert!(times("seconds during which the gateway was cut off") >= 3, "{report:#}");
    for cut in [
        "connections to the gateway cut",
        "connections to the gateway refused",
        "bytes to or from the gateway swallowed",
    ] {
        assert_ne!(times(cut), 0, "{cut}: {report:#}");
    }
    // Beside the cut, other wires were silent.
    assert_ne!(times("partitions"), 0, "{report:#}");
}

#[tokio::test]
async fn connections_that_are_dead_without_a_word_are_given_up() {
    let seed_with_dead_ones =
        ["--seed", "1", "--payments", "100", "--kills", "6", "--workers", "1", "--duration", "1"];

    let (exit, process) = chaos(&["partition"]).args(seed_with_dead_ones).run_within(DEADLINE).await;

    assert_eq!(exit, Exit::Code(0), "{}", process.stdout());
}

#[tokio::test]
async fn what_the_gateway_says_nothing_about_costs_no_other_merchant_anything() {
    let report = held("silent-few").await;

    assert_eq!(report["statuses"]["reversed"], report["faults_fired"], "{report:#}");
}

#[tokio::test]
async fn a_gateway_that_is_away_in_a_quiet_hour_fails_nothing_and_all_goes_on_once_it_is_back() {
    let report = held("quiet-outage").await;

    assert_eq!(report["statuses"]["succeeded"], report["payments"], "{report:#}");
}

#[tokio::test]
async fn one_of_two_gateways_that_is_away_costs_the_other_ones_payments_nothing() {
    let report = held("two-gateways").await;

    assert_eq!(report["statuses"]["succeeded"], report["payments"], "{report:#}");
    assert_eq!(report["faults"]["gateways of two killed or frozen"], 4, "{report:#}");
}

#[tokio::test]
async fn whatever_else_answers_in_the_gateways_place_ends_nothing_and_is_asked_for_no_charge() {
    let report = held("wrong-door").await;

    assert_eq!(report["statuses"]["succeeded"], report["payments"], "{report:#}");
    assert_eq!(report["faults_fired"], 9, "eight answers and a gateway: {report:#}");
}

#[tokio::test]
async fn a_snapshot_that_is_held_loses_nothing_and_what_it_costs_is_reported() {
    let short = ["held-snapshot", "--short", "--duration", "10", "--rate", "30", "--seed", "7", "--json"];

    let (exit, process) = chaos(&short).run_within(DEADLINE).await;

    let report = report(&process);
    assert_eq!((exit, &report["outcome"]), (Exit::Code(0), &Value::from("held")), "{report:#}");
    assert_eq!((&report["violations"], &report["not_ended"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(report["faults"]["snapshots held"], 1, "{report:#}");
    assert!(report["payments"].as_u64() >= Some(300), "{report:#}");
    for tenth in ["first tenth", "last tenth"] {
        for figure in ["p95 in µs from accepted to ended", "settled a second"] {
            let figure = format!("{tenth}: {figure}");
            assert!(report["measured"][&figure].is_u64(), "{figure} is missing: {report:#}");
        }
    }
    assert!(report["measured"]["transactions begun since"].as_u64() > Some(100), "{report:#}");
    assert!(process.stderr().contains(" MB of disk in "), "{}", process.stderr());
}

#[tokio::test]
async fn a_held_snapshot_that_would_fill_the_disk_is_not_begun() {
    let much = ["held-snapshot", "--rate", "10000", "--duration", "86400"];

    let (exit, process) = chaos(&much).run_within(DEADLINE).await;

    assert_eq!((exit, process.stdout().as_str()), (Exit::Code(1), ""));
    assert!(
        process.stderr().contains("ask for a lower --rate, a shorter --duration, or set TMPDIR"),
        "{}",
        process.stderr()
    );
}

#[tokio::test]
async fn a_past_that_comes_back_charges_nobody_twice_and_names_what_it_forgot() {
    let report = held("restore").await;

    assert_eq!(report["measured"]["purchases charged twice"], 0, "{report:#}");
    assert_eq!(report["measured"]["orphans that nobody repeats as they were"], 4, "{report:#}");
}

#[tokio::test]
async fn a_standby_that_takes_over_loses_nothing_that_waited_for_it() {
    let report = held("failover").await;

    let faults = report["faults"].as_object().unwrap();
    assert_eq!(faults.len(), 3, "each kind of old primary: {report:#}");
    let worst = ["measured", "from a promotion's beginning to the first 2xx, ms: worst"];
    assert!(figure(&report, &worst) > 0.0, "{report:#}");
}

#[tokio::test]
async fn what_a_standby_had_not_received_is_counted_and_nobody_is_charged_twice() {
    let report = held("lost-tail").await;

    assert_eq!(report["measured"]["purchases charged twice"], 0, "{report:#}");
    for some in ["acknowledged payments that were lost, and repeated", "of these charged, and adopted"] {
        assert!(figure(&report, &["measured", some]) > 0.0, "{some}: {report:#}");
    }
}

/// This version plays the old one, too; `make versions` has one that is older.
#[tokio::test]
async fn programs_that_are_exchanged_while_clients_pay_charge_each_purchase_once() {
    let report = held("versions").await;

    assert_eq!(report["measured"]["purchases charged twice"], 0, "{report:#}");
    let exchanged = ["faults", "programs exchanged for those of a version"];
    assert!(figure(&report, &exchanged) > 0.0, "{report:#}");
    assert_eq!(report["faults"]["pasts that came back"], 1, "{report:#}");
}

#[tokio::test]
async fn a_bank_neither_makes_nor_loses_money_whatever_breaks() {
    let report = held("bank").await;

    for figure_of in
        ["transfers", "holds", "views of accounts that stayed true", "snapshots of the whole book"]
    {
        let path = ["measured", &format!("bank: {figure_of}")];
        assert!(figure(&report, &path) > 0.0, "{figure_of}: {report:#}");
    }
    let fired = report["faults"].as_object().unwrap();
    assert!(
        ["APIs killed", "APIs frozen", "database servers killed"].iter().all(|it| fired.contains_key(*it))
    );
}

#[tokio::test]
async fn a_bank_without_keys_is_found_to_move_money_twice() {
    let bank = chaos(&["bank", "--short", "--kills", "3", "--seed", "7", "--json"])
        .env("PAYONCE_FAULTS", "sabotage=no_transfer_key");
    let (exit, process) = bank.run_within(DEADLINE).await;

    let report = report(&process);
    assert_eq!((exit, &report["outcome"]), (Exit::Code(1), &Value::from("violated")), "{report:#}");
    let why = report["why"].to_string();
    assert!(why.contains("bank: ") && why.contains("was answered"), "{report:#}");
}

#[tokio::test]
async fn all_of_it_at_random_loses_nothing() {
    let report = held("all").await;

    assert!(report["faults"].as_object().is_some_and(|faults| faults.len() > 3), "{report:#}");
}

#[tokio::test]
async fn without_unique_keys_a_killed_api_is_found_to_record_an_order_twice() {
    let chaos =
        chaos(&["api", "--short", "--seed", "7", "--json"]).env("PAYONCE_FAULTS", "sabotage=no_unique_key");
    let (exit, process) = chaos.run_within(DEADLINE).await;

    let report = report(&process);
    assert_eq!((exit, &report["outcome"]), (Exit::Code(1), &Value::from("violated")), "{report:#}");
    assert!(figure(&report, &["violations"]) > 0.0, "{report:#}");
}

/// The processes that work in this directory or below.
#[cfg(target_os = "linux")]
fn processes_in(directory: &Path) -> usize {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok());
    processes.filter(|works_in| works_in.starts_with(directory)).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_chaos_that_is_killed_leaves_no_process_and_no_file_behind() {
    let directory = guardian::scratch().join("killed-chaos");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
    let mut process = chaos(&["zombies", "--seed", "7"]).env("TMPDIR", &directory).spawn();
    // These are the database and its helpers, a gateway, an API and eight workers.
    wait_until("everything to run", async || processes_in(&directory) > 10).await;

    process.kill9();

    wait_until("everything to be gone", async || processes_in(&directory) == 0).await;
    wait_until("the files to be gone", async || fs::read_dir(&directory).unwrap().next().is_none()).await;
}

#[tokio::test]
async fn what_contradicts_the_scenario_is_wrong_usage() {
    for arguments in [
        &["gateway", "--kills", "3"][..],
        &["workers", "--duration", "3"],
        &["zombies", "--workers", "1"],
        &["wrong-door", "--payments", "3"],
        &["restore", "--kills", "3"],
        &["earthquake"],
        &[],
    ] {
        let (exit, process) = chaos(arguments).run().await;
        assert_eq!(exit, Exit::Code(2), "{arguments:?}: {}", process.stderr());
    }
}

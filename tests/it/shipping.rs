//! The shipped files name the same processes, programs and settings everywhere: Procfile, containers,
//! units, example.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::process::PEPPER;
use tests::{Exit, Launch};

use crate::PROGRAM;
use crate::tidy::text;

/// The processes of the Procfile, each with its program.
fn procfile() -> BTreeMap<String, String> {
    text("Procfile")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(process, command)| {
            let program = command.split("--bin ").nth(1).and_then(|rest| rest.split(' ').next());
            (process.to_owned(), program.unwrap().to_owned())
        })
        .collect()
}

/// The services of the compose file that run our image.
fn services() -> BTreeMap<String, Value> {
    let compose: Value = serde_saphyr::from_str(&text("docker-compose.yml")).unwrap();
    let services = compose["services"].as_object().unwrap().clone();
    services.into_iter().filter(|(_, service)| service.get("build").is_some()).collect()
}

/// The settings of the example, each with its value, commented out or not.
fn example() -> BTreeMap<String, String> {
    text(".env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn settings() -> BTreeSet<String> {
    example().into_keys().collect()
}

/// How a program understands these variables.
async fn understood(program: &str, variables: &BTreeMap<String, String>) -> String {
    let mut launch = Launch::settings(PROGRAM).args([program]);
    for (name, value) in variables {
        launch = launch.env(name, value);
    }
    let (exit, process) = launch.run().await;
    assert_eq!(exit, Exit::Code(0), "{program}: {}", process.stderr());
    process.stdout().trim_end().to_owned()
}

#[tokio::test]
async fn what_the_example_says_are_the_defaults_is_what_the_programs_do_without_it() {
    let mut example = example();
    // What must be made up, and has no default.
    example.insert("ADMIN_KEY".to_owned(), "made up for this test".to_owned());
    example.insert("API_KEY_PEPPER".to_owned(), PEPPER.to_owned());
    for (program, needs) in [
        ("api", &["DATABASE_URL", "ADMIN_KEY", "API_KEY_PEPPER"][..]),
        ("worker", &["DATABASE_URL", "GATEWAY_URL"]),
        ("simgateway", &["GATEWAY_DATABASE_URL"]),
    ] {
        let mut said = example.clone();
        if program == "worker" {
            let example = text(".env.example");
            let mut of_a_worker = example.split(" for a worker").map(|text| text.rsplit(' ').next().unwrap());
            for name in ["DATABASE_CONNECTIONS", "METRICS_ADDR"] {
                said.insert(name.to_owned(), of_a_worker.next().unwrap().to_owned());
            }
        }
        let needed = said.iter().filter(|(name, _)| needs.contains(&name.as_str()));
        let needed: BTreeMap<String, String> =
            needed.map(|(name, value)| (name.clone(), value.clone())).collect();

        let by_default = understood(program, &needed).await;

        assert_eq!(understood(program, &said).await, by_default, "left: .env.example, right: {program}");
        let of = |name: &str| needed[name].clone();
        let coded = match program {
            "api" => {
                format!("{:#?}", api::Settings::new(of("DATABASE_URL"), of("ADMIN_KEY"), tests::peppers()))
            }
            "worker" => format!("{:#?}", worker::Settings::new(of("DATABASE_URL"), of("GATEWAY_URL"))),
            _ => continue,
        };
        assert_eq!(by_default, coded, "left: from the environment, right: Settings::new of {program}");
    }
}

fn variables(service: &Value) -> BTreeSet<String> {
    service["environment"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn containers_run_the_processes_of_the_procfile_and_migrate_first() {
    let mut commands: BTreeMap<String, String> = BTreeMap::new();
    for (name, service) in services() {
        let words: Vec<&str> =
            service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        commands.insert(name, words.join(" "));
    }
    assert_eq!(commands.remove("migrate").as_deref(), Some("payonce migrate"));
    assert_eq!(commands, procfile());
    for name in ["api", "worker"] {
        let waits_for = &services()[name]["depends_on"]["migrate"]["condition"];
        assert_eq!(
            waits_for, "service_completed_successfully",
            "{name} may start before the schema is there"
        );
    }
}

#[test]
fn containers_set_what_their_programs_need_and_nothing_that_does_not_exist() {
    let settings = settings();
    for (name, service) in services() {
        let unknown: Vec<String> = variables(&service).difference(&settings).cloned().collect();
        assert!(unknown.is_empty(), "{name} sets {unknown:?}, which is no setting");
    }
    for (name, needs) in [
        ("api", &["DATABASE_URL", "ADMIN_KEY", "API_KEY_PEPPER", "API_ADDR", "OPS_ADDR", "METRICS_ADDR"][..]),
        ("worker", &["DATABASE_URL", "GATEWAY_URL"]),
        ("simgateway", &["GATEWAY_DATABASE_URL", "GATEWAY_ADDR"]),
        ("migrate", &["DATABASE_URL"]),
    ] {
        let set = variables(&services()[name]);
        assert!(needs.iter().all(|need| set.contains(*need)), "{name} needs {needs:?}, it has {set:?}");
    }
}

#[test]
fn the_gateway_shares_no_database_with_us() {
    let services = services();
    let ours = services["api"]["environment"]["DATABASE_URL"].as_str().unwrap();
    let gateways = services["simgateway"]["environment"]["GATEWAY_DATABASE_URL"].as_str().unwrap();
    assert_ne!(ours, gateways);
    assert_eq!(services["worker"]["environment"]["DATABASE_URL"], ours);
    assert_eq!(services["migrate"]["environment"]["DATABASE_URL"], ours);
}

#[test]
fn the_image_holds_every_program_and_runs_as_nobody() {
    let dockerfile = text("Dockerfile");
    for program in procfile().values().map(String::as_str).chain(["payonce"]) {
        assert!(dockerfile.contains(&format!("--bin {program}")), "{program} is not built");
        assert!(dockerfile.contains(&format!("target/release/{program} ")), "{program} is not copied");
    }
    let (_, last_stage) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let user = last_stage.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(!user.starts_with('0') && !user.starts_with("root"), "the image runs as {user}");
    assert!(!last_stage.contains("cargo"), "the last stage still builds");
}

#[test]
fn units_run_the_programs_that_serve() {
    for (unit, program) in [("payonce-api.service", "api"), ("payonce-worker@.service", "worker")] {
        let unit = text(&format!("ops/systemd/{unit}"));
        assert!(unit.contains(&format!("ExecStart=/usr/local/bin/{program}\n")), "{program}");
        assert!(
            unit.contains("EnvironmentFile=")
                && unit.contains("DynamicUser=yes")
                && unit.contains("Restart=always")
        );
    }
}

//! Clients that others generate from the API's document drive the real API, and a program that makes requests
//! up from the document finds no answer outside of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tests::{Shape, System, guardian};
use tokio::process::Command;

use crate::PROGRAM;
use crate::operator::ADAS_KEY;
use crate::tidy::{root, text};

/// What `scripts/setup-clients` installs.
fn tools() -> PathBuf {
    Path::new(PROGRAM).ancestors().nth(2).unwrap().join("tools/clients")
}

/// A directory of this test's own, with the document in it.
fn workshop() -> PathBuf {
    let place = guardian::scratch().join(format!("clients-{:08x}", rand::random::<u32>()));
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("openapi.json"), api::openapi()).unwrap();
    place
}

/// A file of `tests/clients`.
fn ours(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// Runs a program that `scripts/setup-clients` has installed, and answers what it said if it succeeded.
async fn run(place: &Path, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(place).stdin(Stdio::null()).kill_on_drop(true);
    let done = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
    said.into_owned()
}

#[tokio::test]
async fn a_python_client_that_was_generated_pays_repeats_waits_lists_and_reads_events() {
    let system = System::start(PROGRAM).await;
    let (place, bin) = (workshop(), tools().join("venv/bin"));
    fs::write(place.join("config.yml"), "post_hooks: []\n").unwrap();
    let generate = [
        "generate",
        "--path",
        "openapi.json",
        "--meta",
        "none",
        "--output-path",
        "payonce_client",
        "--config",
        "config.yml",
        "--fail-on-warning",
    ];
    run(&place, bin.join("openapi-python-client"), &generate).await;
    fs::copy(ours("try.py"), place.join("try.py")).unwrap();

    let address = system.apis[0].address("api");
    let said = run(&place, bin.join("python"), &["try.py", address, system.client.secret()]).await;

    assert_eq!(said, "ok\n");
}

/// How TypeScript is checked and compiled, as strictly as it can be.
const STRICT: [&str; 8] =
    ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "--types", "node"];

#[tokio::test]
async fn a_typescript_client_that_was_generated_pays_repeats_waits_lists_and_reads_events() {
    let system = System::start(PROGRAM).await;
    let (place, bin) = (workshop(), tools().join("node_modules/.bin"));
    std::os::unix::fs::symlink(tools().join("node_modules"), place.join("node_modules")).unwrap();
    run(&place, bin.join("openapi-typescript"), &["openapi.json", "-o", "api.d.ts"]).await;
    fs::copy(ours("try.ts"), place.join("try.ts")).unwrap();
    let compile = [&STRICT[..], &["try.ts"]].concat();
    run(&place, bin.join("tsc"), &compile).await;

    let address = system.apis[0].address("api");
    let said = run(&place, "node", &["try.js", address, system.client.secret()]).await;

    assert_eq!(said, "ok\n");
}

/// The first program in this language in the reference.
fn quick_start(language: &str) -> String {
    let page = text("docs/API.md");
    let (_, program) = page.split_once(&format!("```{language}\n")).unwrap();
    program.split("```").next().unwrap().to_owned()
}

#[tokio::test]
async fn the_quick_starts_of_the_reference_run_and_are_one_payment() {
    let system = System::start(PROGRAM).await;
    let (place, tools) = (workshop(), tools());
    fs::write(place.join("start.py"), quick_start("python")).unwrap();
    fs::write(place.join("start.ts"), quick_start("ts")).unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), place.join("node_modules")).unwrap();
    let compile = [&STRICT[..], &["start.ts"]].concat();
    run(&place, tools.join("node_modules/.bin/tsc"), &compile).await;

    for (program, file) in [(tools.join("venv/bin/python"), "start.py"), ("node".into(), "start.js")] {
        let mut command = Command::new(program);
        command.env("PAYONCE_URL", system.apis[0].address("api")).env("PAYONCE_KEY", system.client.secret());
        let done = command.arg(file).current_dir(&place).output().await.unwrap();
        let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        assert_eq!(said, "succeeded\n", "{file}");
    }
    assert_eq!(system.count("select count(*) from payments").await, 1);
}

#[tokio::test]
async fn the_document_is_valid() {
    let python = tools().join("venv/bin/python");
    run(&workshop(), python, &["-m", "openapi_spec_validator", "openapi.json"]).await;
}

/// How many requests are made up for each operation in each phase, and from which seed. `make requests` asks
/// for more, and for others each time.
fn made_up() -> (String, String) {
    match std::env::var("PAYONCE_REQUESTS") {
        Ok(examples) => (examples, rand::random::<u32>().to_string()),
        Err(_) => ("12".to_owned(), "1".to_owned()),
    }
}

#[tokio::test]
async fn requests_that_are_made_up_from_the_document_have_only_answers_of_the_document() {
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let place = workshop();
    let document = format!("{}/openapi.json", system.apis[0].address("api"));
    let hooks = fs::read_to_string(ours("hooks.py")).unwrap();
    fs::write(place.join("hooks.py"), hooks).unwrap();
    fs::write(place.join("schemathesis.toml"), "hooks = \"hooks\"\n").unwrap();
    for (tags, key) in [(vec!["payments"], system.client.secret()), (vec!["operators", "service"], ADAS_KEY)]
    {
        let header = format!("X-API-Key: {key}");
        let (examples, seed) = made_up();
        let mut arguments = vec![
            "run",
            &document,
            "--checks",
            "all",
            "--header",
            &header,
            "--seed",
            &seed,
            "--max-examples",
            &examples,
            "--suppress-health-check",
            "all",
            "--no-color",
            "--continue-on-failure",
            // It has no end.
            "--exclude-operation-id",
            "stream_events",
        ];
        arguments.extend(tags.iter().flat_map(|tag| ["--include-tag", tag]));
        let said = run(&place, tools().join("venv/bin/schemathesis"), &arguments).await;
        println!("{}", said.lines().filter(|line| line.contains("generated")).collect::<String>());
    }
}

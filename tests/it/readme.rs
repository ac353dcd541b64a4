//! The README's session, played as it stands there: it shows what a reader gets.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::{Launch, guardian};

use crate::PROGRAM;

/// A command of the session, and what it is said to print. `…` stands for anything.
struct Step {
    command: String,
    prints: Vec<String>,
}

/// The steps of the first block of the README that is a console session.
fn session() -> Vec<Step> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let block = readme.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut continues = false;
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), prints: Vec::new() });
        } else if continues {
            let step = steps.last_mut().unwrap();
            step.command = format!("{}\n{line}", step.command);
        } else if !line.is_empty() {
            steps.last_mut().unwrap().prints.push(line.to_owned());
        }
        continues = line.ends_with('\\');
    }
    steps
}

/// Whether `said` is what `pattern` says, its pieces between `…` in order.
fn matches(pattern: &str, said: &str) -> bool {
    let mut rest = said;
    for (n, piece) in pattern.split('…').enumerate() {
        match rest.find(piece) {
            Some(at) if n > 0 || at == 0 => rest = &rest[at + piece.len()..],
            Some(_) | None => return false,
        }
    }
    pattern.ends_with('…') || rest.is_empty()
}

#[test]
fn a_pattern_matches_what_it_stands_for() {
    assert!(matches("a…c", "abc") && matches("a…", "a") && matches("abc", "abc"));
    assert!(!matches("a…c", "abd") && !matches("b…", "abc") && !matches("abc", "abcd"));
}

#[tokio::test]
async fn the_session_of_the_readme_goes_as_it_says() {
    let data_dir = guardian::scratch().join(format!("readme-{:016x}", rand::random::<u64>()));
    let mut dev = Launch::payonce(PROGRAM)
        .args(["dev", "--json", "--data-dir"])
        .args([data_dir.into_os_string()])
        .args(tests::process::FREE_PORTS)
        .start()
        .await;
    let named = |name: &str| dev.ready()[name].as_str().unwrap().to_owned();
    let (api, gateway, key) = (named("api"), named("gateway"), named("api_key"));
    let mut payment = String::new();
    let mut played = String::new();

    let session = session();
    let printing = session.iter().filter(|step| !step.prints.is_empty()).count();
    assert!(printing >= 4, "the session says of {printing} commands what they print");
    for step in session {
        // What a reader would put in for `…`.
        let command = step
            .command
            .replace("http://127.0.0.1:8080", &api)
            .replace("http://127.0.0.1:8090", &gateway)
            .replace("payonce_sk_…", &key)
            .replace("pay_…", &payment);
        let script = format!("KEY={key}\n{command}");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        for (pattern, line) in step.prints.iter().zip(said.lines().chain(std::iter::repeat(""))) {
            assert!(matches(pattern, line.trim_end()), "{command}\nprinted {line}\nand not  {pattern}");
        }
        if let Some(id) =
            serde_json::from_str::<Value>(&said).ok().and_then(|it| it["id"].as_str().map(str::to_owned))
        {
            payment = id;
        }
        played.push_str(&command);
    }

    assert!(played.contains("/v1/payments") && played.contains("/journal"), "the session lost its steps");
    dev.terminate();
    dev.wait_exit().await;
}

//! What is sent is taken by the published libraries of Standard Webhooks, during a rotation too.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tests::{a_payment, wait_until};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::receiver::Receiver;
use super::{a_system, made};
use crate::PROGRAM;
use crate::tidy::root;

/// Runs a verifier over these lines, and answers what it said.
async fn judged_by(program: &str, script: &str, lines: &str) -> String {
    let tools = Path::new(PROGRAM).ancestors().nth(2).unwrap().join("tools/clients");
    let place = tests::guardian::scratch().join(format!("verify-{:08x}", rand::random::<u32>()));
    std::fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(tools.join("node_modules"), place.join("node_modules")).unwrap();
    std::fs::copy(root().join("tests/clients").join(script), place.join(script)).unwrap();
    // What is not installed with the tools is on the path.
    let program = if program.contains('/') { tools.join(program) } else { program.into() };
    let mut command = Command::new(program);
    command
        .arg(script)
        .current_dir(&place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut verifier = command.kill_on_drop(true).spawn().unwrap();
    let mut input = verifier.stdin.take().unwrap();
    input.write_all(lines.as_bytes()).await.unwrap();
    drop(input);
    let said = verifier.wait_with_output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

#[tokio::test]
async fn the_published_libraries_take_every_delivery_during_a_rotation_too_and_refuse_what_was_changed() {
    let (_server, system) = a_system().await;
    let receiver = Receiver::start().await;
    let (path, first) = made(&system.client, &receiver.url).await;
    let pay = async |total: usize| {
        let id = system.accepted(a_payment()).await;
        system.ended(id).await;
        wait_until("it to be taken", async || receiver.taken().len() == total).await;
    };
    pay(1).await;
    let rotate = system.client.request(reqwest::Method::POST, &format!("{path}/rotate_secret"));
    let rotated = tests::client::send(rotate.header("idempotency-key", "r")).await;
    let second = rotated.json()["secret"].as_str().unwrap().to_owned();
    pay(2).await;

    let mut lines = String::new();
    for (got, secrets) in receiver.got().iter().zip([vec![&first], vec![&first, &second]]) {
        assert_eq!(got.headers["webhook-id"], got.event()["id"]);
        assert_eq!(got.headers["content-type"], "application/json");
        let line = json!({"secrets": secrets, "headers": got.headers, "body": got.body});
        writeln!(lines, "{line}").unwrap();
    }
    assert_eq!(judged_by("venv/bin/python", "verify_webhooks.py", &lines).await, "ok\n");
    assert_eq!(judged_by("node", "verify_webhooks.mjs", &lines).await, "ok\n");
}

//! The suite in short on the newest server that is supported. All other tests run on the installed one, which
//! on Debian 12 is the oldest.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Exit, Launch, PrivateServer, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// The directory where scripts/setup-tests puts the newest server's programs, or why it could not.
fn programs() -> Result<PathBuf, String> {
    let tools = Path::new(PROGRAM).ancestors().nth(2).unwrap().join("tools");
    let programs = tools.join("postgres-newest/bin");
    if programs.join("postgres").exists() {
        return Ok(programs);
    }
    let why = std::fs::read_to_string(tools.join("postgres-newest.missing"));
    assert!(why.is_ok(), "there is no {}: run scripts/setup-tests", programs.display());
    Err(why.unwrap())
}

async fn payonce(system: &System, url: &str, arguments: &[&str]) -> String {
    let launch = Launch::payonce(PROGRAM).args(arguments.iter().copied()).env("DATABASE_URL", url);
    let (exit, process) = launch.env("GATEWAY_URL", system.gateway.address("gateway")).run().await;
    assert_eq!(exit, Exit::Code(0), "{arguments:?}: {}{}", process.stdout(), process.stderr());
    process.stdout()
}

#[tokio::test]
async fn on_the_newest_server_every_end_a_crash_and_the_checks_are_as_everywhere() {
    let programs = match programs() {
        Ok(programs) => programs,
        Err(why) => return eprintln!("not tried on the newest PostgreSQL: {why}"),
    };
    let server = PrivateServer::of(&programs).await;
    let database = server.database().await;
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int / 10000")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(version, shared::database::NEWEST_SERVER, "scripts/setup-tests installs another one");
    let (owner, reader) = (database.url.clone(), database.reader_url());
    let mut system = System::on(database, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut doomed = system.worker().env("PAYONCE_FAULTS", "charge.answered=kill@3").spawn();

    let mut paid = Vec::new();
    for method in
        ["sim_ok", "sim_insufficient_funds", "sim_timeout_charged", "sim_timeout_not_charged", "sim_ok"]
    {
        paid.push((system.accepted(a_payment().method(method)).await, method));
    }
    assert_eq!(doomed.wait_exit().await, Exit::Signal(9), "{}", doomed.stderr());
    system.add_worker([("RUST_LOG", "info")]).await;
    for (id, method) in paid {
        let status = if method == "sim_insufficient_funds" { "failed" } else { "succeeded" };
        assert_eq!(system.ended(id).await["status"], status, "{method}");
    }
    wait_until("all jobs to be done", async || {
        system.count("select count(*) from apalis.jobs where status not in ('Done', 'Killed')").await == 0
    })
    .await;

    let verified = payonce(&system, &reader, &["verify", "--json"]).await;
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!((&verified["violations"], &verified["payments"]), (&0.into(), &5.into()), "{verified}");
    payonce(&system, &reader, &["verify", "--json"]).await;
    for arguments in [&["migrate", "--check"][..], &["rebuild", "--check"], &["reconcile"], &["migrate"]] {
        payonce(&system, &owner, arguments).await;
    }
    system.assert_books_agree().await;
    drop(system);
    server.remove().await;
}

//! How `payonce verify` is called, and what it says where it cannot check anything.

use std::fs;

use tests::{Exit, Launch, Shape, System, TestDatabase, guardian};

use super::{after_payments_by, verify};
use crate::PROGRAM;

/// Runs a call that cannot check anything. Answers its exit, and what it says instead of a report.
async fn refused(launch: Launch) -> (Exit, String) {
    let (exit, process) = launch.run().await;
    assert_eq!(process.stdout(), "");
    (exit, process.stderr())
}

#[tokio::test]
async fn a_wrong_call_exits_with_2_and_says_what_to_give() {
    let bare = || Launch::payonce(PROGRAM).args(["verify"]);
    let database = ("DATABASE_URL", "postgres://127.0.0.1:1/none");
    let file = guardian::scratch().join("no-history");
    fs::write(&file, "{}\n").unwrap();
    let file = file.to_str().unwrap().to_owned();
    for (launch, says) in [
        (bare(), "give --database-url, or set DATABASE_URL"),
        (bare().envs([database]), "give --gateway-url, or set GATEWAY_URL"),
        (bare().args(["--grace", "soon"]), "--grace"),
        (
            bare().envs([database, ("GATEWAY_URL", "http://127.0.0.1:1")]).args(["--history", &file]),
            "is no history of clients: line 1",
        ),
    ] {
        let (exit, said) = refused(launch).await;

        assert_eq!(exit, Exit::Code(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn without_one_of_the_books_it_exits_with_1_and_says_which() {
    let system = System::with(PROGRAM, Shape::default()).await;
    let empty = TestDatabase::fresh_empty().await;
    let gateway = system.gateway.address("gateway").to_owned();
    for (more, says) in [
        (
            ["--gateway-url", "http://127.0.0.1:1"],
            "cannot read the gateway's journal at http://127.0.0.1:1/journal",
        ),
        (["--gateway-url", &format!("{gateway}/health?")], "is no journal"),
        (["--database-url", "postgres://127.0.0.1:1/none"], "cannot connect to the database"),
        (["--database-url", &empty.url], "run `payonce migrate`"),
    ] {
        let (exit, said) = refused(verify(&system, &more)).await;

        assert_eq!(exit, Exit::Code(1), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn for_people_it_prints_a_table_and_a_sentence() {
    let (system, _) = after_payments_by(&["sim_ok"]).await;
    let command = Launch::payonce(PROGRAM).args(["verify", "--database-url", &system.database.url]);

    let (exit, process) = command.args(["--gateway-url", system.gateway.address("gateway")]).run().await;

    let said = process.stdout();
    assert_eq!(exit, Exit::Code(0), "{said}");
    for line in [
        "CHECK        CHECKED  VIOLATIONS",
        "charge       1        0",
        "nothing charged twice, lost or forgotten",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
}

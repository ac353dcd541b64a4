//! `payonce check idempotency`: it finds the promises kept, and says which one is not.

use serde_json::Value;
use tests::{Exit, Launch, Shape, System};

use crate::PROGRAM;

/// Checks that API, and answers the exit code, and what was found.
async fn checked(system: &System, address: &str) -> (Exit, Value) {
    let check = Launch::payonce(PROGRAM)
        .args(["check", "idempotency", "--json", "--concurrency", "40", "--base-url", address])
        .env("PAYONCE_API_KEY", system.client.secret());
    let (exit, process) = check.run().await;
    let told = serde_json::from_str(process.stdout().trim());
    (exit, told.unwrap_or_else(|why| unreachable!("{why}: {}", process.stderr())))
}

/// The promises that are not kept.
fn broken(told: &Value) -> Vec<&str> {
    let checks = told["checks"].as_array().unwrap();
    checks.iter().filter(|it| it["holds"] == false).map(|it| it["promise"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn one_key_is_one_payment_and_a_system_without_unique_keys_is_found_out() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;

    let (exit, told) = checked(&system, system.apis[0].address("api")).await;

    assert_eq!((exit, broken(&told)), (Exit::Code(0), vec![]), "{told:#}");
    assert_eq!(told["holds"], true);

    let faulty = system.api().env("PAYONCE_FAULTS", "sabotage=no_unique_key").start().await;
    let (exit, told) = checked(&system, faulty.address("api")).await;

    assert_eq!(exit, Exit::Code(1), "{told:#}");
    let broken = broken(&told);
    for promise in ["many at once with one key make one payment", "another request with the key is refused"] {
        assert!(broken.contains(&promise), "{promise}: {told:#}");
    }
}

#[tokio::test]
async fn what_cannot_be_checked_is_said() {
    for (arguments, key, exit, says) in [
        (&["--base-url", "http://127.0.0.1:1"][..], "payonce_sk_x", 1, "the API cannot be reached"),
        (&["--concurrency", "1"], "payonce_sk_x", 2, "--concurrency"),
        (&[], "", 2, "PAYONCE_API_KEY"),
    ] {
        let check = Launch::payonce(PROGRAM).args(["check", "idempotency"].iter().chain(arguments).copied());
        let (found, process) = check.env("PAYONCE_API_KEY", key).run().await;
        assert_eq!(found, Exit::Code(exit), "{arguments:?}: {}", process.stderr());
        assert!(process.stderr().contains(says), "{arguments:?}: {}", process.stderr());
    }
}

//! Our key at the gateway: every call carries it, nobody ever reads it in a log, and where it is wrong or
//! missing nothing is lost.

use std::fs;

use tests::{Exit, Launch, Scrape, Shape, System, a_payment, guardian, wait_until};

use crate::PROGRAM;

const KEY: &str = "a-key-that-nobody-else-has";

/// A system without workers, whose gateway lets nobody in without the key.
async fn behind_a_key() -> System {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.gateway.kill9();
    system.gateway = Launch::simgateway(PROGRAM)
        .env("GATEWAY_DATABASE_URL", &system.gateway_database.url)
        .env("GATEWAY_ADDR", system.gateway.address("gateway").trim_start_matches("http://"))
        .env("GATEWAY_API_KEY", KEY)
        .start()
        .await;
    system
}

async fn status(url: String) -> u16 {
    reqwest::get(url).await.unwrap().status().as_u16()
}

fn verify(system: &System) -> Launch {
    Launch::payonce(PROGRAM)
        .args(["verify", "--database-url", &system.database.url])
        .args(["--gateway-url", system.gateway.address("gateway")])
}

#[tokio::test]
async fn a_gateway_that_wants_a_key_gets_it_with_every_call_and_without_it_payments_wait() {
    let mut system = behind_a_key().await;
    let gateway = system.gateway.address("gateway").to_owned();
    for path in ["account", "journal?after=0", "charges?key=k", "charges?after=", "faults"] {
        assert_eq!(status(format!("{gateway}/{path}")).await, 401, "{path}");
    }
    assert_eq!(status(format!("{gateway}/health")).await, 200);
    let id = system.accepted(a_payment()).await;
    for wrong in [None, Some("another-key")] {
        let key = wrong.map(|key| ("GATEWAY_API_KEY", key));
        system.add_worker(key).await;
        wait_until("the worker to find itself locked out", async || {
            Scrape::of(&system.workers[0]).await.sum("payonce_gateway_breaker_state", &[]) == 2.0
        })
        .await;
        system.workers.remove(0).kill9();
        assert_eq!(system.story(id).await, ["created"], "{wrong:?}");
    }
    let file = guardian::scratch().join(format!("key-{:016x}", rand::random::<u64>()));
    fs::write(&file, format!("{KEY}\n")).unwrap();

    system.add_worker([("GATEWAY_API_KEY_FILE", file.to_str().unwrap()), ("RUST_LOG", "trace")]).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
    let (exit, keyless) = verify(&system).run().await;
    assert_eq!(exit, Exit::Code(1));
    assert!(keyless.stderr().contains("401"), "{}", keyless.stderr());
    let (exit, verified) = verify(&system).env("GATEWAY_API_KEY", KEY).run().await;
    assert_eq!(exit, Exit::Code(0), "{}", verified.stderr());
    for process in [&system.workers[0], &system.gateway, &verified] {
        assert!(!process.stderr().contains(KEY), "the key stands in a log");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_meant_is_refused_before_anything_starts() {
    let system = System::with(PROGRAM, Shape::default()).await;
    let file = guardian::scratch().join(format!("key-{:016x}", rand::random::<u64>()));
    fs::write(&file, " \n").unwrap();
    let empty = file.to_str().unwrap();
    for (settings, why) in [
        (vec![("GATEWAY_API_KEY", KEY), ("GATEWAY_API_KEY_FILE", empty)], "unset one of them"),
        (vec![("GATEWAY_API_KEY_FILE", empty)], "is empty"),
        (vec![("GATEWAY_API_KEY_FILE", "/nowhere/key")], "cannot read"),
        (vec![("GATEWAY_API_KEY", "a\nb")], "no header may have"),
    ] {
        let (exit, worker) = system.worker().envs(settings.clone()).run().await;
        assert_eq!(exit, Exit::Code(1), "{settings:?}");
        assert!(worker.stderr().contains(why), "{settings:?}: {}", worker.stderr());
    }
}

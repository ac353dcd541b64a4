//! Clients that are slow, silent or too many, against a real API: each is told what is wrong or let go, and
//! the others are served.

use serde_json::json;
use tests::raw::{self, exchange};
use tests::{Shape, System, a_payment, wait_until};
use tokio::net::TcpStream;

use crate::PROGRAM;

mod drills;

async fn an_api(api_env: Vec<(&'static str, String)>) -> System {
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

/// The beginnings of requests that never come whole: nothing, half a head, and half a body, be it of a known
/// or an unknown key.
fn halves(secret: &str) -> [String; 4] {
    let whole = |secret| raw::post(secret, "half", &json!({"amount": "1.00"}));
    let half_body = |secret| {
        let whole: String = whole(secret);
        whole[..whole.len() - 5].to_owned()
    };
    [
        String::new(),
        "POST /v1/payments HTTP/1.1\r\nhost: a".to_owned(),
        half_body(secret),
        half_body("nobody's"),
    ]
}

#[tokio::test]
async fn who_sends_no_whole_request_keeps_nobody_out() {
    let system = an_api(vec![("API_CONNECTIONS", "12".to_owned())]).await;
    let base = system.client.url("");
    let mut slow: Vec<TcpStream> = Vec::new();
    for half in halves(system.client.secret()) {
        for _ in 0..10 {
            slow.push(raw::sent(&base, &half).await);
        }
    }

    let payment =
        json!({"amount": "1.00", "currency": "EUR", "customer_id": "c", "payment_method": "sim_ok"});
    // Every request comes over a connection of its own.
    for _ in 0..20 {
        wait_until("a payment to be accepted", async || {
            let request = raw::post(system.client.secret(), "good", &payment);
            exchange(&base, &request).await.starts_with("HTTP/1.1 202")
        })
        .await;
    }
    assert_eq!(system.count("select count(*) from payments").await, 1, "halves are no payments");
    drop(slow);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told_and_stores_nothing() {
    let system = an_api(vec![]).await;
    let base = system.client.url("");
    let [_, _, half, strangers] = halves(system.client.secret());

    let (told, stranger) = tokio::join!(exchange(&base, &half), exchange(&base, &strangers));

    assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    assert!(told.contains("request_timeout") && told.contains("application/problem+json"), "{told}");
    assert!(stranger.starts_with("HTTP/1.1 408") || stranger.starts_with("HTTP/1.1 401"), "{stranger}");
    assert_eq!(system.stored().await, [0; 4]);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_told_so_and_a_worker_holds_out_too() {
    let system = System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let long = "a".repeat(40_000);
    let long = format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-long: {long}\r\n\r\n");
    let of_api = ["api", "ops", "board", "metrics"].map(|listener| system.apis[0].address(listener));
    for base in of_api.into_iter().chain([system.workers[0].address("metrics")]) {
        let told = exchange(base, &long).await;
        assert!(told.starts_with("HTTP/1.1 431"), "{base}: {told}");
    }
    let paid = system.accepted(a_payment()).await;
    assert_eq!(system.ended(paid).await["status"], "succeeded");
}

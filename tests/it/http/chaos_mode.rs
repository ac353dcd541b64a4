//! Chaos mode: a client asks for a failure after its payment was recorded, to see that it can recover
//! from one.

use tests::{Shape, System, a_payment};

use crate::PROGRAM;

async fn api(mode: Option<&str>) -> System {
    let api_env = mode.map(|mode| ("CHAOS_MODE", mode.to_owned())).into_iter().collect();
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

#[tokio::test]
async fn in_chaos_mode_the_payment_is_recorded_then_the_answer_fails_and_a_repetition_gets_it() {
    let system = api(Some("true")).await;
    let request = a_payment().key("order-1").header("x-simulate-chaos", "true");

    let failed = system.pay(request.clone()).await;
    let stored = system.stored().await;
    let repeated = system.pay(request).await;

    failed.assert_problem(500, "internal");
    let _ = repeated.payment_id();
    assert_eq!(repeated.header("idempotent-replayed"), "true");
    assert_eq!(stored, [1, 1, 1, 1], "the failed request recorded something else than one payment");
    assert_eq!(system.stored().await, stored, "the repetition recorded something");
}

#[tokio::test]
async fn in_chaos_mode_only_those_fail_that_ask_for_it() {
    let system = api(Some("true")).await;

    let _ = system.pay(a_payment()).await.payment_id();
    let _ = system.pay(a_payment().header("x-simulate-chaos", "false")).await.payment_id();
}

#[tokio::test]
async fn without_chaos_mode_the_header_has_no_effect() {
    for mode in [None, Some("false")] {
        let system = api(mode).await;

        let _ = system.pay(a_payment().header("x-simulate-chaos", "true")).await.payment_id();
    }
}

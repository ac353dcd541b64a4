//! Every token's answers, and its rows in the journal.

use serde_json::Value;
use tests::books;

use super::caller::{Gateway, a_charge, effects};

/// Token by token: the call, its outcome, and its effect on money. `later` is when the time of everything
/// undecided has come.
const SCRIPTS: &str = "
sim_ok
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
  look up  200 [succeeded 12.30]
pm_card_visa
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
tok_1
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
sim_slow
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
  look up  200 [succeeded 12.30]
sim_declined
  charge   402 card_declined failed 12.30
  charge   402 card_declined failed 12.30
  look up  200 [failed 12.30]
sim_insufficient_funds
  charge   402 insufficient_funds failed 12.30
  charge   402 insufficient_funds failed 12.30
  look up  200 [failed 12.30]
sim_invalid
  charge   400 invalid_payment_method
  charge   400 invalid_payment_method
  look up  200 []
sim_unheard_of
  charge   400 invalid_payment_method
  look up  200 []
sim_503
  charge   503 not_executed
  look up  200 []
  charge   503 not_executed
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
  look up  200 [succeeded 12.30]
sim_503_always
  charge   503 not_executed
  charge   503 not_executed
  charge   503 not_executed
  charge   503 not_executed
  look up  200 []
sim_429
  charge   429 rate_limited
  charge   429 rate_limited
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
  look up  200 [succeeded 12.30]
sim_500_charged
  charge   500 internal, charged 12.30
  look up  200 [succeeded 12.30]
  charge   201 succeeded 12.30
sim_500_not_charged
  charge   500 internal
  look up  200 []
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
sim_timeout_charged
  charge   closed, charged 12.30
  look up  200 [succeeded 12.30]
  charge   201 succeeded 12.30
sim_timeout_not_charged
  charge   closed
  look up  200 []
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
sim_reset_before
  charge   reset
  look up  200 []
  charge   201 succeeded 12.30, charged 12.30
  charge   201 succeeded 12.30
sim_reset_after
  charge   reset, charged 12.30
  look up  200 [succeeded 12.30]
  charge   201 succeeded 12.30
sim_late_arrival
  charge   closed
  look up  200 []
  later    nobody calls, charged 12.30
  look up  200 [succeeded 12.30]
  charge   201 succeeded 12.30
sim_async_ok
  charge   202 pending 12.30
  charge   202 pending 12.30
  look up  200 [pending 12.30]
  later    nobody calls, charged 12.30
  look up  200 [succeeded 12.30]
  charge   201 succeeded 12.30
sim_async_fail
  charge   202 pending 12.30
  charge   202 pending 12.30
  look up  200 [pending 12.30]
  later    nobody calls
  look up  200 [failed 12.30]
  charge   402 card_declined failed 12.30
sim_lookup_down
  charge   closed, charged 12.30
  look up  500 internal
  look up  500 internal
  look up  500 internal
  look up  200 [succeeded 12.30]
  charge   201 succeeded 12.30
sim_doubt
  charge   closed, charged 12.30
  look up  closed
  charge   closed
  look up  closed
  void     201 voided its charge, voided 12.30
  charge   409 voided
sim_wrong_amount
  charge   201 succeeded 13.30, charged 13.30
  look up  200 [succeeded 13.30]
  charge   201 succeeded 13.30
sim_flip_flop
  charge   201 succeeded 12.30, charged 12.30
  look up  200 [failed 12.30]
  charge   201 succeeded 12.30
";

#[tokio::test]
async fn every_token_answers_and_does_what_its_script_says() {
    let gateway = Gateway::start().await;
    gateway.faults(serde_json::json!({ "slow_token_ms": 50 })).await;

    let mut played = String::from("\n");
    let mut token = "";
    for line in SCRIPTS.trim().lines() {
        match line.strip_prefix("  ") {
            None => {
                token = line;
                played += &format!("{token}\n");
            }
            Some(step) => {
                let verb = step.split("  ").next().unwrap().trim();
                played += &format!("  {verb:<8} {}\n", play(&gateway, token, verb).await);
            }
        }
    }

    assert!(played == SCRIPTS, "the gateway did:{played}");
}

/// Does one step, and answers how it went, by the answer and by the journal.
async fn play(gateway: &Gateway, token: &str, verb: &str) -> String {
    let before = gateway.journal().await.len();
    let words = match verb {
        "charge" => gateway.charge(a_charge(token).method(token)).await.words().to_owned(),
        "look up" => gateway.look_up(token).await.words().to_owned(),
        "void" => gateway.void(token).await.words().to_owned(),
        _ => {
            gateway.pass_time().await;
            "nobody calls".to_owned()
        }
    };
    let rows = gateway.journal().await.split_off(before);
    if verb != "later" {
        assert_framed(&rows, token, &verb.replace("look up", "lookup"), &words);
    }
    let parts: Vec<String> = std::iter::once(words).chain(effects(&rows)).collect();
    parts.join(", ")
}

/// Asserts that a call leaves its request first and its answer last, without a status where no answer left.
#[track_caller]
fn assert_framed(rows: &[Value], key: &str, op: &str, told: &str) {
    let status = told.split(' ').next().filter(|word| word.parse::<u16>().is_ok());
    let answer = status.map_or(format!("answer {op}"), |status| format!("answer {op} {status}"));
    let (first, last) = (rows.first().map(books::in_words), rows.last().map(books::in_words));
    assert_eq!(first, Some(format!("request {op}")), "{key}, which got {told}");
    assert_eq!(last, Some(answer), "{key}, which got {told}");
    assert!(rows.iter().all(|row| row["key"] == key), "{key}: {rows:?}");
    assert_eq!(rows.len(), 2 + effects(rows).len(), "{key}: {rows:?}");
}

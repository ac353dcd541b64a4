//! Refunds of which the gateway tells nothing: no timer ends them, and a person gives them back.

use serde_json::json;
use tests::{Exit, Shape, System, wait_until};

use super::{at_rest, command, given_back, key, paid, refund, refund_id, shown, verified};
use crate::PROGRAM;

#[tokio::test]
async fn a_refund_in_doubt_is_held_for_a_person_and_released_it_is_looked_up_before_anything_is_sent() {
    let soon = vec![("DOUBT_DEADLINE_MS", "500".to_owned())];
    let system =
        System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env: soon, ..Shape::default() }).await;
    let id = paid(&system, "sim_refund_doubt").await;
    let one = refund_id(&refund(&system.client, id, &key(), json!({ "amount": "2.00" })).await);
    let two = refund_id(&refund(&system.client, id, &key(), json!({ "amount": "3.00" })).await);

    for refund in [&one, &two] {
        let held = at_rest(&system, refund).await;
        assert_eq!(
            (held["status"].as_str(), held["held_reason"].as_str()),
            (Some("pending"), Some("unverifiable"))
        );
    }

    // It may have been made, so it stays reserved, and each has a break of its own.
    let problem = refund(&system.client, id, &key(), json!({ "amount": "7.31" })).await;
    assert_eq!(problem.assert_problem(422, "amount_exceeds_refundable")["refundable"], "7.30");
    let open = "select count(*) from breaks where kind = 'refund_held' and closed_at is null";
    assert_eq!(system.count(open).await, 2);
    assert_eq!(verified(&system).await, 3, "something waits for a person");

    let sent = "select sum(attempt_count) from operations";
    let before = system.count(sent).await;
    let release = ["refunds", "release", &one, "--by", "ada", "--reason", "seen"];
    assert_eq!(command(&system, &release).await, Exit::Code(0));
    wait_until("the refund to be looked up again", async || {
        let looked = "select count(*) from operation_events r join operation_events v using (operation_id)
                       where r.type = 'released' and v.type = 'verifying' and v.version > r.version";
        system.count(looked).await > 0
    })
    .await;
    at_rest(&system, &one).await;
    assert_eq!(system.count(sent).await, before, "nothing is sent before a look has told something");
    assert_eq!(shown(&system, &one).await["status"], "pending");
    // It was made once each, whatever nobody was told.
    assert_eq!(given_back(&system, id).await, ["2.00", "3.00"]);
    assert_eq!(command(&system, &["refunds", "list", "--json"]).await, Exit::Code(0));
    let unknown = format!("re_{}", "0".repeat(32));
    let nothing = ["refunds", "release", &unknown, "--by", "ada", "--reason", "seen"];
    assert_eq!(command(&system, &nothing).await, Exit::Code(1));
}

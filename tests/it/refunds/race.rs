//! Many requests at once: what is given back never exceeds what was taken, and the exact rest always can be.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::json;
use tests::{Shape, System, a_payment};

use super::{key, refund, verified};
use crate::PROGRAM;

/// How many payments are raced for, and how many at a time.
const ROUNDS: usize = 500;
const LANES: usize = 20;

#[tokio::test]
async fn of_three_refunds_of_five_from_twelve_exactly_two_are_taken_up_and_the_exact_rest_after_them() {
    let system = System::with(PROGRAM, Shape { apis: 2, workers: 1, ..Shape::default() }).await;
    let paid = join_all((0..ROUNDS).map(|_| system.accepted(a_payment()))).await;
    system.settled().await;
    let next = AtomicUsize::new(0);
    let lane = async || {
        while let Some(&id) = paid.get(next.fetch_add(1, Ordering::Relaxed)) {
            let keys = [key(), key(), key()];
            let asked = |key| refund(&system.client, id, key, json!({ "amount": "5.00" }));

            // Each key twice: the repetition of one that is under way is the same request.
            let answers = join_all(keys.iter().chain(&keys).map(|key| asked(key))).await;

            for (first, second) in answers.iter().zip(&answers[3..]) {
                assert_eq!(
                    (first.status, first.json()["id"].clone()),
                    (second.status, second.json()["id"].clone())
                );
            }
            let mut statuses: Vec<u16> = answers[..3].iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [202, 202, 422]);
            let refused = answers[..3].iter().find(|answer| answer.status == 422).unwrap();
            assert_eq!(refused.assert_problem(422, "amount_exceeds_refundable")["refundable"], "2.30");

            refund(&system.client, id, &key(), json!({ "amount": "2.31" })).await.assert_status(422);
            refund(&system.client, id, &key(), json!({ "amount": "2.30" })).await.assert_status(202);
        }
    };
    join_all((0..LANES).map(|_| lane())).await;
    let of_rounds = |count: usize| i64::try_from(count * ROUNDS).unwrap();
    assert_eq!(system.count("select count(*) from operations").await, of_rounds(3));
    let given = "select count(*) from refund_totals where reserved + refunded = captured";
    assert_eq!(system.count(given).await, of_rounds(1));
    verified(&system).await;
}

//! Approve, deny and expire at the same moment: one of them wins, and the others hear who did.

use futures::future::join_all;
use serde_json::json;
use tests::{Shape, System};

use super::{act, add_rule, ask, heard_of, large};
use crate::PROGRAM;
use crate::verify::{offences, report, verify};

const ROUNDS: usize = 500;
const LANES: usize = 25;

#[tokio::test]
async fn of_approve_deny_and_expire_exactly_one_wins() {
    let system = System::with(PROGRAM, Shape { apis: 2, ..Shape::default() }).await;
    add_rule(&system, &["amount_over", "--currency", "USD", "--amount", "1000", "--action", "review"]).await;
    let pool = &system.database.pool;
    let lane = async |lane: usize| {
        let mut won = [0; 3];
        for n in 0..ROUNDS / LANES {
            let id = system.accepted(large()).await;
            // In every third round its time is over by then, or nearly.
            if n % 3 == 0 {
                let mut planted = pool.acquire().await.unwrap();
                sqlx::raw_sql("set session_replication_role = replica").execute(&mut *planted).await.unwrap();
                sqlx::query("update reviews set expires_at = clock_timestamp() + interval '2 milliseconds' where payment_id = $1")
                    .bind(id.uuid())
                    .execute(&mut *planted)
                    .await
                    .unwrap();
                sqlx::raw_sql("reset session_replication_role").execute(&mut *planted).await.unwrap();
            }

            let (approve, deny, expired) = tokio::join!(
                act(&system, id, "approve"),
                act(&system, id, "deny"),
                shared::payment::reviews::expire_due(pool)
            );

            expired.unwrap();
            let payment = system.client.payment(id).await;
            let statuses = (approve.status, deny.status, payment["status"].as_str().unwrap());
            let winner = match statuses {
                (200, 409, "pending") => 0,
                (409, 200, "failed") => 1,
                (409, 409, "failed") => 2,
                other => panic!("lane {lane}, round {n}: {other:?}"),
            };
            let name = ["approved", "denied", "expired"][winner];
            for loser in [&approve, &deny].iter().filter(|answer| answer.status == 409) {
                assert_eq!(loser.json()["review"]["status"], name);
            }
            let ends = if winner == 0 { "approved" } else { "failed" };
            assert_eq!(system.story(id).await, ["created", "review_started", ends]);
            won[winner] += 1;
        }
        won
    };

    let won = join_all((0..LANES).map(lane)).await;

    let total: usize = won.iter().flatten().sum();
    assert_eq!(total, ROUNDS);
    assert!(won.iter().any(|won| won[0] > 0) && won.iter().any(|won| won[1] > 0), "{won:?}");
    assert_eq!(system.count("select count(*) from reviews where status = 'open'").await, 0);
    let jobs = "select count(*) - (select count(*) from reviews where status = 'approved') from apalis.jobs";
    assert_eq!(system.count(jobs).await, 0, "a job for each that was approved, and for no other");
    let (_, report) = report(verify(&system, &[])).await;
    let wrong: Vec<_> = offences(&report).into_iter().filter(|(check, ..)| check != "liveness").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let denied = "select count(*) from payments where status = 'failed' and attempt_count > 0";
    assert_eq!(system.count(denied).await, 0);
    let other = system.accepted(large()).await;
    ask(&system, &format!("/v1/reviews/{other}/deny"), json!({})).await.assert_status(200);
    assert_eq!(heard_of(&system, other).await, 0);
}

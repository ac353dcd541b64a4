//! Each guard is seen to hold, and its test is seen to fail with the guard taken away: a test build drops a guard when
//! `PAYONCE_FAULTS` says so.

use serde_json::json;
use shared::ids::PaymentId;
use tests::{Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// The sabotage that a worker runs under; none is the product as it is.
type Sabotage = Option<&'static str>;

fn faults(sabotage: Sabotage, more: &str) -> String {
    let sabotage = sabotage.map(|guard| format!("sabotage={guard}"));
    [sabotage.as_deref(), Some(more)]
        .into_iter()
        .flatten()
        .filter(|it| !it.is_empty())
        .collect::<Vec<_>>()
        .join(",")
}

/// Every job delivered eight times to four workers. Tells how many payments were claimed for charging more than once.
async fn claimed_more_than_once(sabotage: Sabotage) -> i64 {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.faults(json!({ "slow_token_ms": 300 })).await;
    for _ in 0..10 {
        let _ = system.accepted(a_payment().method("sim_slow")).await;
    }
    deliver_again(&system, 7).await;
    for _ in 0..4 {
        system.add_worker([("PAYONCE_FAULTS", faults(sabotage, ""))]).await;
    }
    wait_until("every job to be done", async || {
        system.count("select count(*) from apalis.jobs where status not in ('Done', 'Failed')").await == 0
    })
    .await;
    system
        .count(
            "select count(*) from (select from payment_events where type = 'attempt_started'
                                    group by payment_id having count(*) > 1) as again",
        )
        .await
}

/// Inserts each job so many times more.
async fn deliver_again(system: &System, times: i32) {
    sqlx::query(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
         select apalis.generate_ulid(), job_type, job, 'Pending', 0, 1, run_at, 0, ''
           from apalis.jobs cross join generate_series(1, $1)",
    )
    .bind(times)
    .execute(&system.database.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_job_delivered_many_times_is_one_claim() {
    assert_eq!(claimed_more_than_once(None).await, 0);
}

#[tokio::test]
async fn without_the_claims_guard_a_job_delivered_many_times_is_many_claims() {
    assert_ne!(claimed_more_than_once(Some("no_claim_guard")).await, 0);
}

#[tokio::test]
async fn fifty_workers_race_for_one_payment_and_one_wins() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let pool = shared::db::connect(&system.database.url, 50).await.unwrap();
    let lease = shared::payment::transition::Lease {
        lease: std::time::Duration::from_mins(1),
        send_window: std::time::Duration::from_secs(1),
    };

    let race = (0..50).map(|n| {
        let pool = pool.clone();
        async move {
            shared::payment::transition::claim(&pool, &[id], &format!("racer-{n}"), lease)
                .await
                .unwrap()
                .len()
        }
    });
    let won: usize = futures::future::join_all(race).await.into_iter().sum();

    assert_eq!(won, 1);
    assert_eq!(system.story(id).await, ["created", "attempt_started"]);
}

/// A worker freezes between its answer (503, so: try again) and settling it; a second one takes the payment over and
/// freezes too; then the first goes on. Tells whether its stale write took effect.
async fn stale_write_takes_effect(sabotage: Sabotage) -> bool {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_503_always")).await;
    let first = system.add_worker([("PAYONCE_FAULTS", faults(sabotage, "settle.before=stop"))]).await;
    system.workers[first].wait_until_stopped().await;
    let second = system.add_worker([("PAYONCE_FAULTS", "lookup.before=stop")]).await;
    system.workers[second].wait_until_stopped().await;

    system.workers[first].cont();

    let decided = "select (exists (select from payment_events where type = 'retry_scheduled'))::int::bigint
                        - (exists (select from late_evidence))::int::bigint";
    wait_until("the first worker to write", async || system.count(decided).await != 0).await;
    system.count(decided).await > 0
        && system.story(id).await.ends_with(&["taken_over".into(), "retry_scheduled".into()])
}

#[tokio::test]
async fn a_stale_worker_cannot_overwrite_what_its_successor_holds() {
    assert!(!stale_write_takes_effect(None).await);
}

#[tokio::test]
async fn without_the_fence_a_stale_worker_would_overwrite() {
    assert!(stale_write_takes_effect(Some("no_fence")).await);
}

/// What is at odds after charges whose answers were lost.
async fn after_lost_answers(sabotage: Sabotage) -> Vec<String> {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut ids = Vec::new();
    for token in ["sim_reset_after", "sim_reset_before", "sim_timeout_charged"] {
        ids.push(system.accepted(a_payment().method(token)).await);
    }
    system.add_worker([("PAYONCE_FAULTS", faults(sabotage, ""))]).await;
    for id in ids {
        system.ended(id).await;
    }
    system.violations().await
}

#[tokio::test]
async fn after_a_lost_answer_comes_a_lookup_before_any_other_charge() {
    assert_eq!(after_lost_answers(None).await, Vec::<String>::new());
}

#[tokio::test]
async fn without_looking_first_a_charge_would_be_sent_again_blindly() {
    let odds = after_lost_answers(Some("blind_retry")).await;
    assert!(odds.iter().any(|odd| odd.contains("without a lookup after an unknown answer")), "{odds:?}");
}

/// A charge that arrives late, after lookups found nothing and the tries that followed were all refused.
struct LateCharge {
    system: System,
    id: PaymentId,
}

async fn late_charge(sabotage: Sabotage, trigger: &str) -> LateCharge {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "alter table payments {trigger} trigger payments_failed_needs_proof"
    )))
    .execute(&system.database.pool)
    .await
    .unwrap();
    system.faults(json!({ "late_arrival_ms": 3_600_000 })).await;
    let id = system.accepted(a_payment().method("sim_late_arrival")).await;
    system.add_worker([("PAYONCE_FAULTS", faults(sabotage, ""))]).await;
    wait_until("the first charge to be sent", async || {
        system.journal_of(id).await.contains(&"request charge".to_owned())
    })
    .await;
    system.faults(json!({ "late_arrival_ms": 3_600_000, "not_executed_rate": 1.0 })).await;
    LateCharge { system, id }
}

/// Lets the charge arrive now.
async fn arrives(LateCharge { system, id }: &LateCharge) {
    sqlx::query("update gateway_charges set decide_at = clock_timestamp() where status = 'arriving'")
        .execute(&system.gateway_database.pool)
        .await
        .unwrap();
    wait_until("the late charge", async || {
        system.journal_of(*id).await.contains(&"charge charge".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_payment_in_doubt_is_voided_and_never_failed_when_its_tries_are_used_up() {
    let late = late_charge(None, "enable").await;

    let payment = late.system.ended(late.id).await;

    assert_eq!(payment["status"], "reversed");
    late.system.assert_books_agree().await;
}

#[tokio::test]
async fn a_forgotten_doubt_is_refused_by_the_database() {
    let late = late_charge(Some("doubt_forgotten"), "enable").await;

    let refused = "a payment in doubt ends by a charge found, a stored decline or a void";
    wait_until("the failure to be refused", async || late.system.workers[0].stderr().contains(refused)).await;

    assert_eq!(late.system.count("select count(*) from payments where status = 'failed'").await, 0);
}

#[tokio::test]
async fn with_doubt_forgotten_and_no_trigger_a_charged_payment_would_be_failed() {
    let late = late_charge(Some("doubt_forgotten"), "disable").await;

    let payment = late.system.ended(late.id).await;
    arrives(&late).await;

    assert_eq!(payment["status"], "failed");
    let odds = late.system.violations().await;
    assert!(odds.iter().any(|odd| odd.contains("is failed: 0 owed, the gateway took 12.30")), "{odds:?}");
}

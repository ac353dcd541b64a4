//! A payment that kills each worker that has it is found out, held and parked. No other payment suffers
//! for long.

use domain::ids::PaymentId;
use serde_json::json;
use tests::claimant;
use tests::{Shape, System, a_payment, wait_until};

use crate::PROGRAM;
use crate::dead_letters::{asks, get, payonce};

const POISON: &str = "tok_poison";

/// A short lease, so that three of them are over soon, and one worker that dies of the poison.
async fn with_a_victim(fault: String) -> System {
    let shape = Shape {
        apis: 1,
        workers: 1,
        worker_env: vec![("PAYONCE_FAULTS", fault), ("RUST_LOG", "info".to_owned())],
        ..Shape::default()
    };
    let system = System::with(PROGRAM, shape).await;
    wait_until("the queue to know the worker", async || {
        system.count("select count(*) from apalis.workers where worker_type = 'payments'").await == 1
    })
    .await;
    system
}

/// Starts a worker in place of each that died, until nothing is under way. Answers how many died.
async fn supervised(system: &mut System) -> usize {
    const UNDER_WAY: &str = "select count(*) from payments where due_at is not null";
    for deaths in 0.. {
        let mut victim = system.workers.pop().unwrap();
        wait_until("all payments to end, or the worker", async || {
            victim.has_ended() || system.count(UNDER_WAY).await == 0
        })
        .await;
        let has_ended = victim.has_ended();
        system.workers.push(victim);
        if !has_ended {
            return deaths;
        }
        let fault = format!("poison={POISON}");
        system.add_worker([("PAYONCE_FAULTS", fault.as_str()), ("RUST_LOG", "info")]).await;
    }
    unreachable!("it is counted without end")
}

async fn takeovers(system: &System, id: PaymentId) -> usize {
    system.story(id).await.iter().filter(|event| *event == "taken_over").count()
}

#[tokio::test]
async fn a_payment_that_kills_its_workers_is_parked_at_its_third_takeover_and_all_others_succeed() {
    let mut system = with_a_victim(format!("poison={POISON}")).await;
    // All of them are to be asked about when the worker dies.
    system.faults(json!({ "slow_ms": 100 })).await;
    // Frozen, so that all of them are in its hands at once.
    system.workers[0].stop().await;
    let mut innocents = Vec::new();
    for n in 0..20 {
        if n == 10 {
            innocents.push(system.accepted(a_payment().method(POISON)).await);
        }
        innocents.push(system.accepted(a_payment()).await);
    }
    let poison = innocents.remove(10);
    system.workers[0].cont();

    let deaths = supervised(&mut system).await;

    assert_eq!(deaths, 3);
    let mut lost_once = 0;
    for id in innocents {
        assert_eq!(system.client.payment(id).await["status"], "succeeded");
        let lost = takeovers(&system, id).await;
        assert!(lost <= 2, "an innocent was taken over {lost} times");
        lost_once += usize::from(lost > 0);
    }
    assert!(lost_once > 0, "nobody was in the same worker when it died");
    let held = system.client.payment(poison).await;
    assert_eq!((&held["status"], &held["held_reason"]), (&"processing".into(), &"poison".into()));
    assert_eq!(
        system.story(poison).await,
        ["created", "attempt_started", "taken_over", "taken_over", "taken_over", "held"]
    );
    assert_eq!(system.count("select sum(retries_spent)::bigint from payments").await, 0);
    assert_eq!(system.journal_of(poison).await, Vec::<String>::new());
    let letters = get(&system, "/v1/dead-letters?class=poison").await;
    assert_eq!(letters["data"].as_array().unwrap().len(), 1);
    assert_eq!(letters["data"][0]["payment_id"], poison.to_string());
    assert_eq!(letters["data"][0]["detail"]["takeovers"], 3);
    // The payment waits for a person, and `verify` says so: nothing is violated.
    let url = system.gateway.address("gateway").to_owned();
    let (code, verified) = payonce(&system, &["verify", "--gateway-url", &url]).await;
    assert_eq!(code, 3, "{}{}", verified.stdout(), verified.stderr());
}

#[tokio::test]
async fn a_replay_releases_the_payment_once_and_its_takeovers_are_counted_anew() {
    let mut system = with_a_victim(format!("poison={POISON}")).await;
    let poison = system.accepted(a_payment().method(POISON)).await;
    supervised(&mut system).await;
    let last = system.workers.len() - 1;
    system.workers[last].kill9();
    system.add_worker([("RUST_LOG", "info")]).await;
    let letter = get(&system, "/v1/dead-letters?open=true").await["data"][0].clone();
    let path = format!("/v1/dead-letters/{}", letter["id"]);
    let discard = asks(&system, &format!("{path}/discard"), json!({ "reason": "no" })).await;
    discard.assert_problem(409, "dead_letter_held");

    let said = json!({ "by": "ada", "reason": "fixed" });
    let first = asks(&system, &format!("{path}/replay"), said.clone()).await;
    let again = asks(&system, &format!("{path}/replay"), said).await;

    first.assert_status(200);
    assert_eq!((&first.json()["closed_as"], &again.body), (&"replayed".into(), &first.body));
    assert_eq!(system.ended(poison).await["status"], "succeeded");
    let charges = system.journal_of(poison).await;
    assert_eq!(charges.iter().filter(|row| row.starts_with("charge ")).count(), 1, "{charges:?}");
    assert_eq!(system.story(poison).await.iter().filter(|event| *event == "released").count(), 1);
    assert_eq!(system.count("select count(*) from payments where takeover_count > 0").await, 0);
    assert_eq!(system.count("select count(*) from breaks where closed_at is null").await, 0);
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_payment_whose_worker_was_lost_three_times_while_others_die_too_is_not_blamed_yet() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let (bystander, frozen) =
        (system.accepted(a_payment()).await, system.accepted(a_payment().customer("another")).await);
    for (id, starts, blamed) in [(bystander, 9, false), (frozen, 0, false)] {
        let pool = &system.database.pool;
        lost_times(&system, id, 3, starts).await;
        let claim = alone(pool, id).await;
        assert_eq!((claim.takeovers, claim.held_for.is_some()), (3, blamed), "{starts} started");
        sqlx::query("delete from apalis.workers").execute(pool).await.unwrap();
    }
    // In the end it is held, since it is not to be tried for ever.
    for takeovers in 4..=6 {
        system.make_due(frozen).await;
        let claim = alone(&system.database.pool, frozen).await;
        assert_eq!((claim.takeovers, claim.held_for.is_some()), (takeovers, takeovers == 6));
    }
}

#[tokio::test]
async fn a_payment_lost_three_times_with_one_worker_started_for_each_is_blamed() {
    for (starts, blamed) in [(1, false), (2, true), (3, true), (4, false)] {
        let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
        let id = system.accepted(a_payment()).await;
        lost_times(&system, id, 3, starts).await;

        assert_eq!(alone(&system.database.pool, id).await.held_for.is_some(), blamed, "{starts} started");
    }
}

#[tokio::test]
async fn a_payment_lost_twice_is_given_only_to_a_worker_with_nothing_else_in_hand() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    lost_times(&system, id, 2, 0).await;

    assert!(in_company(&system.database.pool, id).await.is_none());
    assert_eq!(alone(&system.database.pool, id).await.takeovers, 2);
}

/// Claims it and loses the claim, `times` times. Meanwhile `starts` workers start.
async fn lost_times(system: &System, id: PaymentId, times: usize, starts: i32) {
    for n in 0..times {
        match n {
            0 | 1 => in_company(&system.database.pool, id).await.unwrap(),
            _ => alone(&system.database.pool, id).await,
        };
        system.make_due(id).await;
    }
    sqlx::query(
        "insert into apalis.workers (id, worker_type, storage_name) select 'w' || n, 'payments', '' from generate_series(1, $1) n",
    )
    .bind(starts)
    .execute(&system.database.pool)
    .await
    .unwrap();
}

const LEASE: shared::payment::transition::Lease = shared::payment::transition::Lease {
    lease: std::time::Duration::from_secs(30),
    send_window: std::time::Duration::from_secs(1),
};

async fn in_company(pool: &sqlx::PgPool, id: PaymentId) -> Option<shared::payment::transition::Claim> {
    shared::payment::transition::claim(pool, &[id], &claimant("a worker", LEASE)).await.unwrap().pop()
}

async fn alone(pool: &sqlx::PgPool, id: PaymentId) -> shared::payment::transition::Claim {
    shared::payment::transition::claim_alone(pool, id, &claimant("a worker", LEASE)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_queues_worker_that_was_started_again_in_a_process_that_goes_on_excuses_no_poison() {
    let mut system = with_a_victim(format!("poison={POISON}")).await;
    // As if each process had met another primary. With more workers than died, the payment would not
    // be blamed.
    for statement in [
        "create function again() returns trigger language plpgsql as $$ begin
             insert into apalis.workers (id, worker_type, storage_name, layers, last_seen)
             values (new.id || '-again', new.worker_type, 'payonce, started again', new.layers, now());
             return null;
         end $$",
        "create trigger again after insert on apalis.workers
             for each row when (new.storage_name = 'payonce') execute function again()",
    ] {
        sqlx::query(statement).execute(&system.database.pool).await.unwrap();
    }
    let poison = system.accepted(a_payment().method(POISON)).await;

    let deaths = supervised(&mut system).await;

    assert_eq!(deaths, 3);
    assert_eq!(system.client.payment(poison).await["held_reason"], "poison");
}

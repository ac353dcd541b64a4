//! A key's limit holds over all API processes: real ones, each asked by itself.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tests::{Client, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

const PER_S: f64 = 20.0;
const BURST: f64 = 20.0;
const PROCESSES: usize = 3;

async fn fleet() -> System {
    let api_env = vec![("API_RATE_PER_S", "20".to_owned()), ("API_RATE_BURST", "20".to_owned())];
    System::with(PROGRAM, Shape { apis: PROCESSES, api_env, ..Shape::default() }).await
}

/// The same key at one process alone.
fn at(system: &System, process: usize) -> Client {
    Client::new(vec![system.apis[process].address("api").to_owned()], system.client.secret().to_owned())
}

async fn now(pool: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap()
}

/// Posts to these processes, as fast as they answer, until `is_enough`.
async fn flood(system: &System, processes: &[usize], mut is_enough: impl AsyncFnMut() -> bool) {
    const AT_A_TIME: usize = 4;
    let clients: Vec<Client> = processes.iter().map(|&process| at(system, process)).collect();
    wait_until("enough of a flood", async || {
        let posts = clients.iter().flat_map(|client| (0..AT_A_TIME).map(|_| client.pay(a_payment())));
        for answer in futures::future::join_all(posts).await {
            assert!([202, 429].contains(&answer.status), "{}", String::from_utf8_lossy(&answer.body));
        }
        is_enough().await
    })
    .await;
}

async fn accepted(system: &System) -> i64 {
    system.count("select count(*) from payments").await
}

/// The largest share of writes that a process has.
async fn largest_share(system: &System) -> f64 {
    let share = "select coalesce(max(share), 0) from limit_shares where traffic = 'writes'";
    sqlx::query_scalar(share).fetch_one(&system.database.pool).await.unwrap()
}

async fn shares(system: &System) -> i64 {
    system.count("select count(*) from limit_shares where traffic = 'writes'").await
}

#[tokio::test]
async fn three_processes_together_admit_no_more_than_the_limit() {
    let system = fleet().await;
    let start = now(&system.database.pool).await;

    flood(&system, &[0, 1, 2], async || accepted(&system).await >= 150).await;

    // A payment is admitted before it is recorded, so slowness only makes the bound larger. One request more
    // for each process: no bucket is smaller than a request.
    let end: DateTime<Utc> = sqlx::query_scalar("select max(created_at) from payments")
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    let admitted = f64::from(i32::try_from(accepted(&system).await).unwrap());
    let bound = 1.1 * (BURST + PER_S * (end - start).as_seconds_f64()) + 3.0;
    assert!(admitted <= bound, "{admitted} admitted, and {bound:.1} allowed");
    let together: f64 = sqlx::query_scalar("select sum(share) from limit_shares where traffic = 'writes'")
        .fetch_one(&system.database.pool)
        .await
        .unwrap();
    assert!(together <= 1.05 + 1e-9, "{together}");
    assert_eq!(shares(&system).await, 3);
}

#[tokio::test]
async fn the_share_follows_the_traffic_from_process_to_process() {
    let system = fleet().await;
    flood(&system, &[0, 1, 2], async || shares(&system).await == 3).await;

    for process in [1, 0] {
        flood(&system, &[process], async || largest_share(&system).await >= 0.9).await;
        // The others have next to nothing, and so it is this one.
        let before = accepted(&system).await;
        flood(&system, &[process], async || accepted(&system).await >= before + 10).await;
    }
}

#[tokio::test]
async fn a_process_that_is_gone_leaves_no_row_and_the_others_have_its_share() {
    let mut system = fleet().await;
    flood(&system, &[0, 1, 2], async || shares(&system).await == 3).await;

    system.apis[2].terminate();
    system.apis[2].wait_exit().await;
    assert_eq!(shares(&system).await, 2, "who ends gives its share back");
    system.apis[1].kill9();

    flood(&system, &[0], async || shares(&system).await == 1).await;
    flood(&system, &[0], async || largest_share(&system).await >= 0.999).await;
}

/// What many processes ask at the same moment, each with a view of its own, is granted one by one.
#[tokio::test]
async fn however_heartbeats_cross_no_more_than_the_limit_is_granted() {
    use domain::ids::KeyId;
    use shared::merchant::limits::{self, Ask, Traffic};

    let database = tests::TestDatabase::fresh().await;
    let pool = shared::database::connect(&database.url, 10).await.unwrap();
    let key = KeyId::generate();
    for round in 0..20 {
        let beats = (0..8).map(|_| {
            let ask = Ask { key, traffic: Traffic::Reads, wanted: 1.0, target: 1.0 };
            let pool = pool.clone();
            async move { limits::share(&pool, uuid::Uuid::now_v7(), &[ask]).await.unwrap()[0].share }
        });
        let granted: Vec<f64> = futures::future::join_all(beats).await;

        assert!(granted.iter().all(|share| *share > 0.0), "{granted:?}");
        let all: f64 =
            sqlx::query_scalar("select sum(share) from limit_shares").fetch_one(&pool).await.unwrap();
        assert!(all <= 1.05 + 1e-9, "round {round}: {all}");
    }
    sqlx::query("update limit_shares set seen_at = seen_at - interval '11 seconds'")
        .execute(&pool)
        .await
        .unwrap();

    let ask = Ask { key, traffic: Traffic::Reads, wanted: 1.0, target: 1.0 };
    let alone = limits::share(&pool, uuid::Uuid::now_v7(), &[ask]).await.unwrap();

    assert_eq!((alone[0].share, alone[0].others), (1.0, 0), "the dead are forgotten");
    let left: i64 = sqlx::query_scalar("select count(*) from limit_shares").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 1);
}

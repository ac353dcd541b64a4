//! A reader that holds an old snapshot, as a dump does, does not make a search for due work read all that was
//! done meanwhile.

use domain::ids::GatewayName;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::payment::store;
use shared::queue::{self, rows};
use sqlx::PgPool;
use tests::PrivateServer;

use super::Reads;

/// How many jobs and payments are done while the reader reads.
const DONE: i64 = 2_000;

/// How many rows a search may read that finds nothing.
const NEXT_TO_NOTHING: i64 = 10;

/// Makes jobs from an hour ago, one each millisecond.
const JOBS: &str =
    "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata)
     select apalis.generate_ulid(), 'payments', 'x', 'Pending', 0, 1,
            now() - interval '1 hour' + n * interval '1 millisecond', 0, ''
       from generate_series(1, 2000) n";

const PAYMENTS: &str = "
    set session_replication_role = replica;
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                          status, due_at, version, updated_at)
    select gen_random_uuid(), gen_random_uuid(), 'cus_1', 1, 'EUR', 'sim_ok', '{}', 'x', now(), 'pending',
           now() - interval '1 hour' + n * interval '1 millisecond', 1, now()
      from generate_series(1, 2000) n";

/// A database whose tables nobody cleans up, a connection that counts, and a reader.
struct Scene {
    pool: PgPool,
    reader: PgPool,
    server: PrivateServer,
}

impl Scene {
    async fn open() -> Self {
        let server = PrivateServer::quiet().await;
        let database = server.database().await;
        let pool = shared::database::connect(&database.url, 1).await.unwrap();
        let reader = shared::database::connect(&database.url, 1).await.unwrap();
        for statement in [
            "set idle_in_transaction_session_timeout = 0",
            "begin isolation level repeatable read",
            "select count(*) from payments",
        ] {
            sqlx::raw_sql(statement).execute(&reader).await.unwrap();
        }
        Self { pool, reader, server }
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
    }

    /// Takes jobs. Answers which, how far that came, and what it read.
    async fn take(&self, since: Option<DateTime<Utc>>) -> (Vec<String>, Option<DateTime<Utc>>, i64) {
        let before = Reads::so_far(&self.pool).await;
        let taken = rows::take(&self.pool, queue::PAYMENTS, "a worker", 100, since).await.unwrap();
        let read = Reads::so_far(&self.pool).await - before;
        (taken.found.into_iter().map(|job| job.id).collect(), taken.reached, read.rows)
    }

    /// Looks for overdue payments. Answers how many, how far that came, and what it read.
    async fn sweep(&self, since: Option<DateTime<Utc>>) -> (usize, Option<DateTime<Utc>>, i64) {
        let before = Reads::so_far(&self.pool).await;
        let overdue = store::overdue(&self.pool, &GatewayName::default(), (500, 100), since).await.unwrap();
        let read = Reads::so_far(&self.pool).await - before;
        (overdue.found.len(), overdue.reached, read.rows)
    }
}

#[tokio::test]
async fn while_a_reader_holds_a_snapshot_jobs_are_found_without_reading_those_that_are_done() {
    let scene = Scene::open().await;
    scene.execute(JOBS).await;
    let mut reached = None;
    for _ in 0..DONE / 100 {
        let (ids, came_to, read) = scene.take(reached).await;
        assert_eq!(ids.len(), 100);
        // Each is read by the index of what waits, and by its key. So are those of the quarter of a
        // second before.
        assert!(read <= 100 * 2 + 250 + NEXT_TO_NOTHING, "read {read} to find 100 jobs");
        rows::end(&scene.pool, "a worker", ids.into_iter().map(|id| (id, None)).collect()).await.unwrap();
        reached = came_to;
    }
    let (_, came_to, read) = scene.take(reached).await;
    assert!(read <= 250 + NEXT_TO_NOTHING, "read {read} to find no job");
    let (_, _, read) = scene.take(came_to).await;
    assert!(read <= NEXT_TO_NOTHING, "read {read} to find no job");
    let (_, _, read) = scene.take(None).await;
    assert!(read >= DONE, "a look at all there is reads what is dead: {read}");

    // A job that was given back, and one of a priority that we give to none.
    scene
        .execute("update apalis.jobs set status = 'Pending' where id in (select min(id) from apalis.jobs)")
        .await;
    scene.execute(JOBS).await;
    scene.execute("update apalis.jobs set priority = 5, run_at = now() where id = (select max(id) from apalis.jobs)").await;
    let (ids, came_to, _) = scene.take(came_to).await;
    assert_eq!((ids.len(), came_to.is_some()), (0, true));
    let (ids, _, _) = scene.take(None).await;
    let first: i32 = sqlx::query_scalar("select max(priority) from apalis.jobs where id = any($1)")
        .bind(&ids)
        .fetch_one(&scene.pool)
        .await
        .unwrap();
    assert_eq!((ids.len(), first), (100, 5));
    drop(scene.reader);
    scene.server.remove().await;
}

#[tokio::test]
async fn while_a_reader_holds_a_snapshot_a_heartbeat_does_not_read_what_was_in_flight() {
    let scene = Scene::open().await;
    scene.execute(JOBS).await;
    for _ in 0..DONE / 100 {
        let (ids, ..) = scene.take(None).await;
        rows::end(&scene.pool, "a worker", ids.into_iter().map(|id| (id, None)).collect()).await.unwrap();
    }
    let mut relieved = BTreeSet::new();
    let mut relieve = async |scene: &Scene| {
        let before = Reads::so_far(&scene.pool).await;
        let mut connection = scene.pool.acquire().await.unwrap();
        let silent_for = Duration::from_secs(30);
        let given_back =
            rows::relieve(&mut connection, queue::PAYMENTS, silent_for, &mut relieved).await.unwrap();
        drop(connection);
        (given_back, (Reads::so_far(&scene.pool).await - before).rows)
    };
    let (given_back, read) = relieve(&scene).await;
    assert_eq!(given_back, 0);
    assert!(read <= NEXT_TO_NOTHING, "read {read} although no worker was lost");

    // A worker is lost with a job in hand. Its job is given back, once, and then nothing is read for it.
    scene
        .execute(
            "insert into apalis.workers (id, worker_type, storage_name, last_seen)
             values ('lost', 'payments', 'x', now() - interval '1 minute');
             update apalis.jobs set status = 'Queued', lock_by = 'lost', lock_at = now()
              where id = (select min(id) from apalis.jobs)",
        )
        .await;
    let (given_back, read) = relieve(&scene).await;
    assert_eq!(given_back, 1);
    assert!(read >= DONE, "the library's statement reads what is dead: {read}");
    assert_eq!(relieve(&scene).await.0, 0);
    let (given_back, read) = relieve(&scene).await;
    assert_eq!(given_back, 0);
    assert!(read <= NEXT_TO_NOTHING, "read {read} for a worker whose jobs were given back");

    // It is heard of again, and lost again.
    scene
        .execute(
            "update apalis.workers set last_seen = now() - interval '40 seconds' where id = 'lost';
             update apalis.jobs set status = 'Queued', lock_by = 'lost', lock_at = now()
              where id = (select min(id) from apalis.jobs)",
        )
        .await;
    assert_eq!(relieve(&scene).await.0, 1);
}

#[tokio::test]
async fn while_a_reader_holds_a_snapshot_the_sweep_does_not_read_what_was_due() {
    let scene = Scene::open().await;
    scene.execute(PAYMENTS).await;
    let (found, reached, _) = scene.sweep(None).await;
    let again = scene.sweep(reached).await;
    assert_eq!((found, again.0, again.1), (100, 100, reached), "what nobody takes is found again");
    scene
        .execute("update payments set status = 'failed', due_at = null, failure_code = 'declined', terminal_at = now()")
        .await;

    let (found, reached, read) = scene.sweep(None).await;
    assert_eq!(found, 0);
    assert!(read >= DONE, "a look at all there is reads what is dead: {read}");
    let (_, reached, read) = scene.sweep(reached).await;
    assert!(read <= NEXT_TO_NOTHING, "read {read} to find no payment");

    scene
        .execute("update payments set status = 'pending', due_at = now() - interval '1 second', failure_code = null, terminal_at = null where id = (select min(id::text)::uuid from payments)")
        .await;
    assert_eq!(scene.sweep(reached).await.0, 1, "one that fell due since");
    drop(scene.reader);
    scene.server.remove().await;
}

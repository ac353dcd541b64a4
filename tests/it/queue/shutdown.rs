//! The end of a worker in order, with many jobs in flight.

use std::sync::Arc;

use futures::FutureExt as _;
use tests::{TestDatabase, wait_until};

use super::library::{Gate, Naive, Running, Started, count, ours, push, push_looks};

const IN_FLIGHT: usize = 20;

/// Tells the worker to end while all jobs are in flight; only then may they end.
async fn told_to_end(worker: &Running, started: &Started, gate: &Gate) {
    wait_until("all jobs to be in flight", async || started.total() == IN_FLIGHT).await;
    worker.stop().await;
    gate.open();
}

async fn naive_told_to_end(batch: usize) -> (TestDatabase, Started, Running) {
    let (database, started, gate, ended) =
        (TestDatabase::fresh().await, Started::default(), Gate::closed(), Started::default());
    push(&database, 1, 20, 1).await;
    let (wait, done) = (started.and_wait(&gate), ended.clone());
    let handler = Arc::new(move |job| {
        let (work, done) = (wait(job), done.clone());
        async move {
            let result = work.await;
            done.note(job);
            result
        }
        .boxed()
    });
    let worker = Naive { name: "draining", batch, concurrency: IN_FLIGHT }.start(&database, handler);
    told_to_end(&worker, &started, &gate).await;
    (database, ended, worker)
}

/// A worker of ours with as much to do, from its start to its end.
async fn one_of_ours_begins_and_ends() {
    let (database, started, gate) = (TestDatabase::fresh().await, Started::default(), Gate::closed());
    push_looks(&database, IN_FLIGHT).await;
    let (noted, shut) = (started.clone(), gate.clone());
    let worker = ours(&database, IN_FLIGHT, move |_| {
        noted.note(1);
        let shut = shut.clone();
        async move {
            shut.passed().await;
            Ok(())
        }
        .boxed()
    });
    told_to_end(&worker, &started, &gate).await;
    wait_until("our worker to end", async || worker.has_ended()).await;
    assert_eq!(count(&database, "select count(*) from apalis.jobs where status = 'Done'").await, 20);
}

#[tokio::test]
async fn with_more_in_flight_than_four_batches_shutting_down_never_ends_while_ours_does() {
    let (database, ended, worker) = naive_told_to_end(2).await;
    wait_until("all handlers to have ended", async || ended.total() == IN_FLIGHT).await;

    one_of_ours_begins_and_ends().await;

    assert!(!worker.has_ended(), "the library has learnt to shut down");
    assert_eq!(count(&database, "select count(*) from apalis.jobs where status = 'Done'").await, 0);
}

#[tokio::test]
async fn with_no_more_in_flight_than_four_batches_shutting_down_ends() {
    let (database, _, worker) = naive_told_to_end(IN_FLIGHT).await;

    wait_until("the worker to end", async || worker.has_ended()).await;

    assert_eq!(count(&database, "select count(*) from apalis.jobs where status = 'Done'").await, 20);
}

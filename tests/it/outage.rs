//! The database dies under load. No answer is a lie, and after it is back every request ends as one payment.

use std::collections::HashMap;

use domain::ids::PaymentId;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use nix::sys::signal::Signal;
use tests::client::answer;
use tests::{PrivateServer, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

const REQUESTS: usize = 300;
const CLIENTS: usize = 32;

/// Posts under a key. Answers the payment if it was accepted. None where the client was told to come back, or
/// heard nothing.
async fn posted(system: &System, key: usize) -> (usize, Option<PaymentId>) {
    let Ok(answer) = system.client.try_pay(a_payment().key(&format!("order-{key}"))).await else {
        return (key, None);
    };
    if answer.status == 202 {
        return (key, Some(answer.payment_id()));
    }
    answer.assert_problem(503, "database_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    (key, None)
}

/// Posts all keys once. In the midst of it the database ends, and comes back only after it has turned away as
/// many requests as there are clients. Answers what was acknowledged.
async fn posted_during_an_outage(
    system: &System,
    server: &mut PrivateServer,
    signal: Signal,
) -> HashMap<usize, PaymentId> {
    let mut posts = stream::iter(0..REQUESTS).map(|key| posted(system, key)).buffer_unordered(CLIENTS);
    let mut acknowledged = HashMap::new();
    while acknowledged.len() < REQUESTS / 3 {
        let (key, id) = posts.next().await.unwrap();
        acknowledged.extend(id.map(|id| (key, id)));
    }
    let turned_away = async {
        let mut turned_away = 0;
        while turned_away < CLIENTS {
            let next = posts.next().await;
            assert!(next.is_some(), "all requests were through before the database was gone");
            let (key, id) = next.unwrap();
            turned_away += usize::from(id.is_none());
            acknowledged.extend(id.map(|id| (key, id)));
        }
    };
    tokio::join!(turned_away, server.end_by(signal));
    let (rest, ()) = tokio::join!(posts.collect::<Vec<_>>(), server.restart());
    acknowledged.extend(rest.into_iter().filter_map(|(key, id)| Some((key, id?))));
    acknowledged
}

async fn all_apis_are_ready(system: &System) {
    for api in &system.apis {
        let url = format!("{}/health/ready", api.address("api"));
        wait_until("the API to be ready again", async || {
            answer(reqwest::Client::new().get(&url)).await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }
}

/// Asserts that each key that is there has its payment, its event and its job.
async fn assert_nothing_is_half_written(system: &System) {
    let keys = system.count("select count(*) from idempotency_keys").await;
    let first_of_each = "select count(distinct p.id) from payments p
                           join idempotency_keys k on k.payment_id = p.id
                           join payment_events e on e.payment_id = p.id and e.version = 1
                           join apalis.jobs j on j.idempotency_key = p.id || ':1'";
    assert_eq!(system.count("select count(*) from payments").await, keys);
    assert_eq!(system.count(first_of_each).await, keys);
}

async fn check_that_nothing_is_lost_when_the_database_ends_by(signal: Signal) {
    let mut server = PrivateServer::start().await;
    let shape = Shape { apis: 2, workers: 2, ..Shape::default() };
    let system = System::on(server.database().await, PROGRAM, shape).await;

    let acknowledged = posted_during_an_outage(&system, &mut server, signal).await;
    all_apis_are_ready(&system).await;
    assert_nothing_is_half_written(&system).await;
    let retries = stream::iter(0..REQUESTS).map(|key| posted(&system, key)).buffer_unordered(CLIENTS);
    let retried: HashMap<_, _> = retries.collect().await;

    for (key, id) in &acknowledged {
        assert_eq!(retried[key], Some(*id), "what was acknowledged for order-{key} is another payment now");
    }
    assert!(retried.values().all(Option::is_some), "{retried:?}");
    assert_eq!(system.count("select count(*) from payments").await, i64::try_from(REQUESTS).unwrap());
    system.settled().await;
    system.assert_books_agree().await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_database_drops_all_connections() {
    check_that_nothing_is_lost_when_the_database_ends_by(Signal::SIGQUIT).await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_database_is_killed() {
    check_that_nothing_is_lost_when_the_database_ends_by(Signal::SIGKILL).await;
}

#[tokio::test]
async fn without_a_database_every_path_says_so_and_the_api_lives() {
    let mut server = PrivateServer::start().await;
    let system = System::on(server.database().await, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let paths =
        ["/v1/payments".to_owned(), format!("/v1/payments/{id}"), format!("/v1/payments/{id}/events")];

    server.end_by(Signal::SIGQUIT).await;

    // All at once, because each of them waits a little for the database to come back.
    let reads = join_all(paths.iter().map(|path| system.client.get(path)));
    let others = async { tokio::join!(system.pay(a_payment()), system.client.get("/health/ready")) };
    let (reads, (post, ready)) = tokio::join!(reads, others);
    for refused in reads.iter().chain([&post]) {
        refused.assert_problem(503, "database_unavailable");
        assert_eq!(refused.header("retry-after"), "1");
    }
    ready.assert_problem(503, "not_ready");
    system.client.get("/health/live").await.assert_status(200);
    server.restart().await;
    all_apis_are_ready(&system).await;
    for path in &paths {
        system.client.get(path).await.assert_status(200);
    }
}

//! Public events: what is told, to whom, in which order, and what a reader is told when its past is gone.

mod order;
mod stream;

use serde_json::Value;
use tests::{Client, PrivateServer, Shape, System, a_payment, wait_for};

use crate::PROGRAM;
use crate::risk::{large, review_large};

/// A page of events.
pub(crate) async fn page(client: &Client, query: &str) -> (Vec<Value>, Option<String>) {
    let answer = client.get(&format!("/v1/events{query}")).await;
    answer.assert_status(200);
    let list = answer.json();
    assert_eq!(list["has_more"] == true, list["next_cursor"].is_string(), "{list}");
    let next = list["next_cursor"].as_str().map(str::to_owned);
    (list["data"].as_array().cloned().unwrap_or_default(), next)
}

/// All events from the beginning, page by page.
pub(crate) async fn all(client: &Client, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let (events, next) = page(client, &format!("?limit={limit}{after}")).await;
        all.extend(events);
        match next {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// All events, once there are so many.
pub(crate) async fn told(client: &Client, count: usize) -> Vec<Value> {
    wait_for(format!("{count} events to be told"), async || {
        let told = all(client, 7).await;
        (told.len() >= count).then_some(told)
    })
    .await
}

/// A system on a server of its own: on one that tests share, each may hold back the events of the others.
pub(crate) async fn alone(shape: Shape) -> (PrivateServer, System) {
    let server = PrivateServer::start().await;
    let system = System::on(server.database().await, PROGRAM, shape).await;
    (server, system)
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["id"].as_str()).collect()
}

#[tokio::test]
async fn what_ended_or_is_held_is_told_once_as_it_stood_and_in_the_same_bytes_everywhere() {
    let shape = Shape {
        apis: 1,
        workers: 1,
        worker_env: vec![("DOUBT_DEADLINE_MS", "1".to_owned())],
        ..Shape::default()
    };
    let (_server, system) = alone(shape).await;
    let stranger = system.another_merchant("stranger").await;
    let mut expected = Vec::new();
    for (method, told) in [
        ("sim_ok", "payment.succeeded"),
        ("sim_declined", "payment.failed"),
        ("sim_wrong_amount", "payment.held"),
        ("sim_doubt", "payment.reversed"),
    ] {
        let id = system.accepted(a_payment().method(method)).await;
        let stands = if told == "payment.held" { system.held(id).await } else { system.ended(id).await };
        expected.push((told, stands));
    }
    review_large(&system).await;
    let id = system.accepted(large()).await;
    expected.push(("payment.in_review", system.client.payment(id).await));
    // What was given back later is no part of what happened then.
    for (_, stands) in &mut expected {
        stands.as_object_mut().unwrap().remove("amount_refunded");
    }

    told(&system.client, expected.len()).await;
    let events = all(&system.client, 3).await;

    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (event, (told, stands)) in events.iter().zip(&expected) {
        assert_eq!((event["type"].as_str(), &event["data"]), (Some(*told), stands));
        assert_eq!(event["payment"], stands["id"]);
        assert_eq!(event["version"], stands["version"]);
        assert_eq!(event["created_at"], stands["updated_at"]);
        assert_eq!(event["previous_version"], Value::Null);
        let id = event["id"].as_str().unwrap();
        let alone = system.client.get(&format!("/v1/events/{id}")).await;
        alone.assert_status(200);
        let listed = system.client.get("/v1/events?limit=100").await;
        let listed = String::from_utf8(listed.body).unwrap();
        assert!(listed.contains(std::str::from_utf8(&alone.body).unwrap()), "other bytes: {listed}");
        stranger.get(&format!("/v1/events/{id}")).await.assert_problem(404, "not_found");
        // A place of another merchant is none of the stranger's.
        let lost = stranger.get(&format!("/v1/events?after={id}")).await;
        assert_eq!(lost.assert_problem(410, "cursor_lost")["resume_after"], Value::Null);
    }
    assert!(ids(&events).is_sorted(), "{events:?}");
    assert_eq!(all(&stranger, 10).await, Vec::<Value>::new());
    system.client.get("/v1/events/evt_1").await.assert_problem(404, "not_found");

    let (failed, next) = page(&system.client, "?types=payment.failed,payment.reversed").await;
    assert_eq!(ids(&failed), [ids(&events)[1], ids(&events)[3]]);
    assert_eq!(next, None);
    let (rest, _) = page(&system.client, &format!("?after={}", ids(&events)[2])).await;
    assert_eq!(rest, events[3..]);
    for wrong in ["limit=0", "limit=101", "after=pay_1", "types=payment.created", "types=", "cursor=x"] {
        let refused = system.client.get(&format!("/v1/events?{wrong}")).await;
        refused.assert_problem(400, "invalid_request");
    }
    system.assert_books_agree().await;
}

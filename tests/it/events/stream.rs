//! `GET /v1/events/stream`, read by a client of server-sent events.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::{Client, Shape, a_payment, wait_until};

use super::{all, alone, ids, told};

/// A client of server-sent events that goes on by the last id.
pub(crate) struct Listener {
    pub(crate) last: Option<String>,
    pub(crate) events: Vec<Value>,
    buffer: String,
}

impl Listener {
    pub(crate) const fn new() -> Self {
        Self { last: None, events: Vec::new(), buffer: String::new() }
    }

    /// Opens the stream after the last event, and reads it until `is_done` or its end.
    pub(crate) async fn listen(
        &mut self,
        client: &Client,
        query: &str,
        is_done: impl Fn(&[Value]) -> bool,
    ) -> reqwest::Result<()> {
        self.buffer.clear();
        let request = client.request(reqwest::Method::GET, &format!("/v1/events/stream{query}"));
        let request = match &self.last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let mut response = request.send().await?.error_for_status()?;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        while !is_done(&self.events) {
            let Some(bytes) = response.chunk().await? else { break };
            self.buffer.push_str(std::str::from_utf8(&bytes).unwrap());
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                self.take(&block);
            }
        }
        Ok(())
    }

    fn take(&mut self, block: &str) {
        let fields: BTreeMap<&str, &str> = block.lines().filter_map(|line| line.split_once(": ")).collect();
        if let Some(id) = fields.get("id") {
            self.last = Some((*id).to_owned());
        }
        if let Some(data) = fields.get("data").filter(|_| fields.get("event") != Some(&"error")) {
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(fields["id"], event["id"]);
            assert_eq!(fields["event"], event["type"]);
            self.events.push(event);
        }
    }
}

#[tokio::test]
async fn a_stream_tells_what_the_list_tells_and_goes_on_after_the_last_event() {
    let (_server, system) = alone(Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let first = system.accepted(a_payment()).await;
    system.ended(first).await;
    let (mut listener, mut failures) = (Listener::new(), Listener::new());
    listener.listen(&system.client, "", |told| told.len() == 1).await.unwrap();

    // Open while it happens, and told without asking again.
    let declined = system.accepted(a_payment().method("sim_declined"));
    let (told, id) = tokio::join!(listener.listen(&system.client, "", |told| told.len() == 2), declined);
    told.unwrap();
    system.ended(id).await;

    assert_eq!(listener.events, all(&system.client, 10).await);
    failures.listen(&system.client, "?types=payment.failed", |told| told.len() == 1).await.unwrap();
    assert_eq!(ids(&failures.events), [ids(&listener.events)[1]]);
    let wrong = system.client.request(reqwest::Method::GET, "/v1/events/stream").header("last-event-id", "7");
    tests::client::send(wrong).await.assert_problem(400, "invalid_request");

    // Of a merchant, as many as this.
    let mut open = Vec::new();
    for _ in 0..16 {
        let stream = system.client.request(reqwest::Method::GET, "/v1/events/stream").send().await.unwrap();
        assert_eq!(stream.status(), 200);
        open.push(stream);
    }
    system.client.get("/v1/events/stream").await.assert_problem(429, "too_many_streams");
    drop(open);
    wait_until("a place to be free again", async || {
        let request = system.client.request(reqwest::Method::GET, "/v1/events/stream");
        request.send().await.is_ok_and(|stream| stream.status() == 200)
    })
    .await;
}

/// What is told of many payments while APIs and workers are killed, and a transaction holds the horizon.
#[tokio::test]
async fn who_reads_from_the_beginning_misses_nothing_though_processes_are_killed() {
    let (_server, mut system) = alone(Shape { apis: 2, workers: 2, ..Shape::default() }).await;
    system.faults(tests::system::stormy(0.2, 7)).await;
    let mut open = system.database.pool.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0").execute(&mut *open).await.unwrap();
    for round in 0..3 {
        for n in 0..40 {
            let method = ["sim_ok", "sim_declined", "sim_503", "sim_reset_after"][n % 4];
            system.accepted(a_payment().method(method)).await;
        }
        if round == 1 {
            // From here on it has an id, and so holds back what is told.
            sqlx::query("select pg_current_xact_id()").execute(&mut *open).await.unwrap();
        }
        system.workers[round % 2].kill9();
        system.add_worker([("RUST_LOG", "warn")]).await;
    }
    system.settled().await;
    open.rollback().await.unwrap();

    let public = system.count(
        "select count(*) from payment_events where type in ('succeeded', 'failed', 'reversed', 'held')",
    );
    let public = usize::try_from(public.await).unwrap();
    let pulled = told(&system.client, public).await;
    assert_eq!(pulled.len(), public);
    let places = ids(&pulled);
    assert!(places.windows(2).all(|two| two[0] < two[1]), "{places:?}");
    // The stream breaks off in the middle, as its API is killed. It goes on at the other one, or later.
    let mut listener = Listener::new();
    listener.listen(&system.client, "", |told| told.len() >= public / 3).await.unwrap();
    system.apis[0].kill9();
    let api = system.api().start().await;
    system.client.add_base(api.address("api"));
    while listener.events.len() < public {
        // Whoever reaches the dead one tries again.
        drop(listener.listen(&system.client, "", |told| told.len() >= public).await);
    }
    assert_eq!(listener.events, pulled);
    system.assert_books_agree().await;
}

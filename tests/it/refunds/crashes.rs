//! Processes that die or fail at every boundary of a refund. The client repeats its request under its key, a
//! worker goes on, and the refund was made once.

use std::collections::VecDeque;
use std::sync::Mutex;

use domain::ids::PaymentId;
use serde_json::json;
use tests::{Client, Exit, Shape, System, wait_until};

use super::{at_rest, command, given_back, key, paid, refund, refund_id, shown, try_refund, verified};
use crate::PROGRAM;
use crate::matrix::REFUND_POINTS;

/// How many systems are at work at the same time.
const LANES: usize = 5;

/// A refund that was never answered, and so leads to a look.
const SILENT: &str = "sim_refund_timeout_done";

fn points(of: &[&str]) -> impl Iterator<Item = &'static str> {
    REFUND_POINTS.iter().copied().filter(|point| of.iter().any(|it| point.starts_with(it)))
}

async fn without_workers() -> System {
    System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await
}

#[tokio::test]
async fn whatever_happens_while_a_refund_is_taken_up_there_is_one() {
    let system = without_workers().await;
    let id = paid(&system, "sim_ok").await;
    let mut taken = 0;
    for point in points(&["refund_accept"]) {
        for action in ["kill", "error", "delay:300"] {
            let api = system.api().env("PAYONCE_FAULTS", format!("{point}={action}")).start().await;
            let client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
            let (key, body) = (key(), json!({ "amount": "0.50" }));
            let _ = try_refund(&client, id, &key, &body).await;

            let again = refund(&system.client, id, &key, body.clone()).await;
            let once_more = refund(&system.client, id, &key, body).await;

            taken += 1;
            assert_eq!(once_more.body, again.body, "{point}={action}");
            at_rest(&system, &refund_id(&again)).await;
            assert_eq!(system.count("select count(*) from operations").await, taken, "{point}={action}");
        }
    }
    assert_eq!(given_back(&system, id).await.len(), usize::try_from(taken).unwrap());
    assert_eq!(verified(&system).await, 0);
}

/// One system, and a payment of each method that succeeded there.
struct Lane {
    system: System,
    straight: PaymentId,
    silent: PaymentId,
}

impl Lane {
    async fn new() -> Self {
        let mut system = without_workers().await;
        let straight = paid(&system, "sim_ok").await;
        let silent = paid(&system, SILENT).await;
        system.workers.iter_mut().for_each(tests::Process::kill9);
        Self { system, straight, silent }
    }

    /// A refund whose worker fails at this point, and that another one goes on with.
    async fn run(&mut self, point: &str, action: &str) {
        let case = format!("{point}={action}");
        let id = if point.starts_with("refund_lookup") { self.silent } else { self.straight };
        let answer = refund(&self.system.client, id, &key(), json!({ "amount": "0.10" })).await;
        let refund = refund_id(&answer);
        let before = given_back(&self.system, id).await.len();
        let armed = self.system.add_worker([("PAYONCE_FAULTS", case.as_str())]).await;
        if action == "kill" {
            assert_eq!(self.system.workers[armed].wait_exit().await, Exit::Signal(9), "{case}");
            let next = self.system.add_worker::<&str>([]).await;
            at_rest(&self.system, &refund).await;
            self.system.workers[next].kill9();
        } else {
            at_rest(&self.system, &refund).await;
            self.system.workers[armed].kill9();
        }
        let ended = shown(&self.system, &refund).await;
        assert_eq!(ended["status"], "succeeded", "{case}: {ended}");
        assert_eq!(given_back(&self.system, id).await.len(), before + 1, "{case}");
    }
}

#[tokio::test]
async fn whichever_worker_fails_over_a_refund_wherever_it_is_made_once() {
    let cells: Vec<(&str, &str)> = points(&["refund_claim", "refund.", "refund_lookup", "refund_settle"])
        .flat_map(|point| ["kill", "error"].map(|action| (point, action)))
        .collect();
    let waiting = Mutex::new(VecDeque::from(cells));
    let lane = async || {
        let mut lane = Lane::new().await;
        loop {
            let Some((point, action)) = waiting.lock().unwrap().pop_front() else { break };
            lane.run(point, action).await;
        }
        assert_eq!(verified(&lane.system).await, 0);
    };
    futures::future::join_all((0..LANES).map(|_| lane())).await;
}

#[tokio::test]
async fn whatever_happens_while_a_person_releases_a_refund_it_is_released_once() {
    let soon = vec![("DOUBT_DEADLINE_MS", "200".to_owned())];
    let system =
        System::with(PROGRAM, Shape { apis: 1, workers: 1, worker_env: soon, ..Shape::default() }).await;
    let id = paid(&system, "sim_refund_doubt").await;
    let held = refund_id(&refund(&system.client, id, &key(), json!({ "amount": "1.00" })).await);
    at_rest(&system, &held).await;
    let release = ["refunds", "release", &held, "--by", "ada", "--reason", "seen"];
    for point in points(&["refund_release"]) {
        let released = "select count(*) from operation_events where type = 'released'";
        let before = system.count(released).await;
        let launch = tests::Launch::payonce(PROGRAM).args(release);
        let launch = launch.env("DATABASE_URL", system.database.app_url());
        let (exit, _) = launch.env("PAYONCE_FAULTS", format!("{point}=kill")).run().await;
        assert_eq!(exit, Exit::Signal(9), "{point}");
        // What was committed is done; the repetition does the rest, or is told that it is done.
        let was_done = i64::from(point.ends_with("committed"));
        assert_eq!(system.count(released).await, before + was_done, "{point}");
        wait_until("it to be held again, or still", async || {
            system.count("select count(*) from operations where held_reason is not null").await == 1
        })
        .await;
        assert_eq!(command(&system, &release).await, Exit::Code(0), "{point}");
        wait_until("it to be held again", async || {
            system.count("select count(*) from operations where held_reason is not null").await == 1
        })
        .await;
    }
    assert_eq!(given_back(&system, id).await, ["1.00"]);
}

//! One cell of the matrix: a point, what happens there, and the outcome at the gateway that leads there.

use std::fmt;

use domain::ids::PaymentId;
use serde_json::{Value, json};
use tests::{Exit, Process, Shape, System, wait_for, wait_until};

use super::road;
use crate::PROGRAM;

/// What happens at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The process is killed there.
    Kill,
    /// The operation fails as it could by itself.
    Error,
    /// Its task pauses for longer than the lease.
    Delay,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Kill, Self::Error, Self::Delay];

    const fn armed(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Error => "error",
            Self::Delay => "delay:2000",
        }
    }
}

/// What a payment with this token meets at the gateway, and how it must end under these settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) token: &'static str,
    pub(super) env: &'static [(&'static str, &'static str)],
    pub(super) status: &'static str,
}

/// How the point is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    /// A client posts, at an API that is armed.
    Accept,
    /// A worker that is armed works on a payment.
    Work,
    /// A charge comes to light after the payment's end.
    Remedy,
    /// A person decides about a held payment, at an API that is armed.
    Decide,
    /// A worker that is armed checks what a person decided.
    Check,
    /// A person gives a held payment back to the machine.
    Release,
    /// A person takes a decision back.
    Withdraw,
    /// Two people correct a payment, at an API that is armed.
    Correct,
    /// A worker that is armed carries a correction out.
    CarryOut,
    /// A person closes a break.
    CloseBreak,
    /// A worker that is armed gets a job that can never be done.
    Park,
    /// A person replays a dead letter.
    Replay,
    /// A worker that is armed gets a tick of the schedule.
    Reconcile,
    /// A worker that is armed gets a tick, and there is something old to delete.
    Prune,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) road: Road,
    pub(super) point: &'static str,
    pub(super) passage: usize,
    pub(super) action: Action,
    pub(super) outcome: &'static Outcome,
    pub(super) sabotage: Option<&'static str>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.faults(), self.outcome.token)
    }
}

impl Cell {
    /// The faults that arm a process for this cell.
    pub(super) fn faults(&self) -> String {
        let sabotage = self.sabotage.map(|guard| format!(",sabotage={guard}")).unwrap_or_default();
        format!("{}={}@{}{sabotage}", self.point, self.action.armed(), self.passage)
    }

    /// Waits until the point has fired in this process. A process that was to die is gone then.
    pub(super) async fn fires(&self, process: &mut Process) {
        if self.action == Action::Kill {
            assert_eq!(process.wait_exit().await, Exit::Signal(9), "{self}");
        }
        wait_until(format!("{self} to fire"), async || {
            process.stderr().lines().any(|line| line.contains("armed fault") && line.contains(self.point))
        })
        .await;
    }
}

/// The settings of workers: the lease is shorter than the pause, and no spurious timeout of a busy machine
/// uses up the retries.
const WORKER: [(&str, &str); 5] = [
    ("GATEWAY_TIMEOUT_MS", "500"),
    ("SEND_WINDOW_MS", "500"),
    ("LEASE_MS", "1300"),
    ("RETRIES", "10"),
    // Twenty workers that look ten times a second are most of what a small machine can do.
    ("SWEEP_MS", "250"),
];

/// An API, a gateway and their databases, on which one cell runs after the other.
pub(super) struct Lane {
    pub(super) system: System,
    /// Contradictions that earlier cells left in the journal for good, and may leave.
    forgiven: Vec<String>,
}

impl Lane {
    pub(super) async fn new() -> Self {
        let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
        system.faults(json!({ "async_delay_ms": 300, "late_arrival_ms": 800 })).await;
        Self { system, forgiven: Vec::new() }
    }

    /// Runs the cell, and answers what is wrong after it.
    pub(super) async fn run(&mut self, cell: &Cell) -> Vec<String> {
        // Jobs that earlier cells left in the queue would pass this one's point.
        sqlx::query("delete from apalis.jobs").execute(&self.system.database.pool).await.unwrap();
        self.age_runs().await;
        let before = self.system.count("select count(*) from payments").await;
        let id = match cell.road {
            Road::Accept => road::accept(self, cell).await,
            Road::Work => road::work(self, cell).await,
            Road::Remedy => road::remedy(self, cell).await,
            Road::Decide => road::decide(self, cell).await,
            Road::Check => road::check(self, cell).await,
            Road::Release => road::release(self, cell).await,
            Road::Withdraw => road::withdraw(self, cell).await,
            Road::Correct => road::correct(self, cell).await,
            Road::CarryOut => road::carry_out(self, cell).await,
            Road::CloseBreak => road::close_break(self, cell).await,
            Road::Park => road::park(self, cell).await,
            Road::Replay => road::replay(self, cell).await,
            Road::Reconcile => road::reconcile(self, cell).await,
            Road::Prune => road::prune(self, cell).await,
        };
        let payment = self.ended(id).await;
        self.rest().await;

        let mut wrong = self.system.violations().await;
        if cell.action == Action::Delay && cell.point == "charge.sending" {
            // A worker that was taken over sends its charge all the same, and the gateway's key makes it
            // a replay.
            let blind = wrong.iter().filter(|odd| odd.contains("charged again without a lookup")).cloned();
            self.forgiven.extend(blind);
        }
        wrong.retain(|odd| !self.forgiven.contains(odd));
        if payment["status"] != cell.outcome.status {
            wrong.push(format!("it is {}", payment["status"]));
        }
        let made = self.system.count("select count(*) from payments").await - before;
        if made != 1 {
            wrong.push(format!("one key made {made} payments"));
        }
        if !wrong.is_empty() {
            wrong.push(self.story(id).await);
        }
        wrong
    }

    /// Makes it as if the time had passed after which a reconciliation counts as broken off.
    pub(super) async fn age_runs(&self) {
        let aged = "update reconciliation_runs set touched_at = touched_at - interval '1 hour' where finished_at is null";
        sqlx::query(aged).execute(&self.system.database.pool).await.unwrap();
    }

    /// Waits as a client does that has many payments under way. Asking again and again costs more than all
    /// that is asked about.
    async fn ended(&self, id: PaymentId) -> Value {
        wait_for(format!("{id} to end"), async || {
            let answer = self.system.client.get(&format!("/v1/payments/{id}?wait=30")).await;
            Some(answer.json()).filter(|payment| !payment["terminal_at"].is_null())
        })
        .await
    }

    /// Starts one more worker, armed by these faults.
    pub(super) async fn worker(&mut self, cell: &Cell, faults: &str) -> usize {
        self.worker_with(cell, (!faults.is_empty()).then_some(("PAYONCE_FAULTS", faults))).await
    }

    /// Starts a worker that is frozen before it settles, and hardly ever sweeps, so that other workers find
    /// what follows from that.
    pub(super) async fn frozen_before_settling(&mut self, cell: &Cell) -> usize {
        let frozen = [("SWEEP_MS", "10000"), ("PAYONCE_FAULTS", "settle.before=stop")];
        let worker = self.worker_with(cell, frozen).await;
        self.system.workers[worker].wait_until_stopped().await;
        worker
    }

    async fn worker_with<'a>(
        &mut self,
        cell: &Cell,
        more: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> usize {
        let env = WORKER.into_iter().chain(cell.outcome.env.iter().copied());
        let ticks = matches!(cell.road, Road::Park | Road::Reconcile | Road::Prune);
        let env = env.chain(ticks.then_some(("RECONCILE_EVERY_MS", "1000")));
        self.system.add_worker(env.chain(more)).await
    }

    /// Lets the point fire in this worker. A dead worker is started again, and a pausing one is taken over
    /// by another.
    pub(super) async fn survives(&mut self, cell: &Cell, armed: usize) {
        cell.fires(&mut self.system.workers[armed]).await;
        if cell.action != Action::Error {
            self.worker(cell, "").await;
        }
    }

    /// Ends the workers in order, so that a pausing one has written what it still had to say.
    async fn rest(&mut self) {
        for mut worker in self.system.workers.drain(..) {
            if worker.has_ended() {
                continue;
            }
            worker.terminate();
            assert_eq!(worker.wait_exit().await, Exit::Code(0));
        }
    }

    async fn story(&self, id: PaymentId) -> String {
        format!("{} | {:?}", self.system.story(id).await.join(" "), self.system.journal_of(id).await)
    }
}

//! The writer: one task that takes all waiting calls, decides them as a batch, commits, and only
//! then answers.
//!
//! Invariant: nothing else decides or writes, so a decision never races with another, and the journal's
//! numbers appear in order. The next batch starts as soon as the last one is committed, with all calls that
//! came in meanwhile. There is no timer: the more calls, the larger the batches. A fault that ends the
//! process does so before or after the commit and never later, so an answer that left is in the journal.

use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::act::ActRequest;
use crate::batch::Call;
use crate::faults::Crash;
use crate::reply::{Refusal, Reply};
use crate::request::Request;
use crate::store::{Books, Wanted};

/// The most calls in a batch, which bounds its statement.
const BATCH_MAX: usize = 1_000;
/// The most calls that wait in line. Further callers wait to hand theirs in, so they slow down and the memory
/// stays bounded.
const QUEUE_MAX: usize = 10_000;
/// How often time-dependent charges are decided. A read of a key does not wait for it.
const TICK: Duration = Duration::from_millis(200);
/// A database that takes longer than this counts as gone.
const BATCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The place where calls are handed in.
#[derive(Debug, Clone)]
pub(crate) struct Desk(mpsc::Sender<Waiting>);

#[derive(Debug)]
struct Waiting {
    call: Call,
    caller: oneshot::Sender<Reply>,
}

impl Desk {
    /// Hands a call in and waits until it is decided and committed. A caller that stops waiting changes
    /// nothing: the call is decided all the same.
    pub(crate) async fn take(&self, call: Call) -> Reply {
        let (caller, reply) = oneshot::channel();
        if self.0.send(Waiting { call, caller }).await.is_err() {
            return Reply::refuse(Refusal::Internal);
        }
        reply.await.unwrap_or_else(|_| Reply::refuse(Refusal::Internal))
    }
}

/// The state of the writer's task.
pub(crate) struct Writer {
    calls: mpsc::Receiver<Waiting>,
    options: PgConnectOptions,
    /// The open books. None after a failure, until a batch could reconnect.
    books: Option<Books>,
    is_healthy: bool,
}

/// The options hold a password.
impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("is_healthy", &self.is_healthy).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer for books that are open, and the desk in front of it.
    pub(crate) fn new(options: PgConnectOptions, books: Books) -> (Desk, Writer) {
        let (desk, calls) = mpsc::channel(QUEUE_MAX);
        (Desk(desk), Writer { calls, options, books: Some(books), is_healthy: true })
    }

    /// Works until `stop`, then finishes what was handed in before.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                taken = self.calls.recv_many(&mut waiting, BATCH_MAX) => {
                    if taken == 0 {
                        break;
                    }
                }
                _ = ticks.tick() => {}
                () = stop.cancelled(), if !self.calls.is_closed() => self.calls.close(),
            }
            self.flush(&mut waiting).await;
        }
        if let Some(books) = self.books {
            books.close().await;
        }
    }

    /// Decides and commits all of `waiting`, then answers. If that fails, nobody knows whether it was
    /// committed, so every caller gets the 500 that says so.
    async fn flush(&mut self, waiting: &mut Vec<Waiting>) {
        let work = tokio::time::timeout(BATCH_TIMEOUT, self.commit(waiting));
        let replies = match work.await.context("the database took too long").flatten() {
            Ok(replies) => replies,
            Err(error) => {
                // Logged once per outage, and again whenever a caller is turned away.
                if self.is_healthy || !waiting.is_empty() {
                    tracing::error!(calls = waiting.len(), "the books are out of reach: {error:#}");
                }
                self.is_healthy = false;
                self.books = None;
                vec![Reply::refuse(Refusal::Internal); waiting.len()]
            }
        };
        for (waiting, reply) in waiting.drain(..).zip(replies) {
            // A caller that hung up needs no answer.
            waiting.caller.send(reply).ok();
        }
    }

    async fn commit(&mut self, waiting: &[Waiting]) -> anyhow::Result<Vec<Reply>> {
        let books = match &mut self.books {
            Some(books) => books,
            None => {
                let books = Books::open(&self.options, Duration::ZERO).await?;
                self.books.insert(books.context("another process holds the books")?)
            }
        };
        let wanted = wanted(waiting);
        let mut batch = books.load(&wanted).await?;
        let replies = waiting.iter().map(|waiting| batch.decide(&waiting.call)).collect();
        crash_if_struck(waiting, Crash::Before);
        books.write(&batch.changes()).await?;
        crash_if_struck(waiting, Crash::After);
        if !self.is_healthy {
            tracing::info!("the books are back");
            self.is_healthy = true;
        }
        Ok(replies)
    }
}

/// Ends the process, and with it all calls of the batch, where one of them is to end it at this moment.
fn crash_if_struck(waiting: &[Waiting], moment: Crash) {
    if waiting.iter().any(|waiting| waiting.call.fate.crash == Some(moment)) {
        tracing::warn!(?moment, calls = waiting.len(), "crashing, as the faults say");
        // Nothing is flushed, nothing is closed, nobody is told.
        let _ = kill(Pid::this(), Signal::SIGKILL);
        std::process::abort();
    }
}

/// What the calls name.
fn wanted(waiting: &[Waiting]) -> Wanted {
    let mut wanted = Wanted::default();
    for waiting in waiting {
        match &waiting.call.request {
            Request::Charge(request) => wanted.keys.push(request.key.clone()),
            Request::LookUpKey(key) => wanted.keys.push(key.clone()),
            Request::Void(key) => {
                wanted.keys.push(key.clone());
                wanted.gives_back = true;
            }
            Request::LookUpCharge(id) => wanted.charge_ids.push(id.clone()),
            Request::LookUpRefunds(key) => {
                wanted.refund_keys.push(key.clone());
                wanted.gives_back = true;
            }
            Request::Act(act) => {
                wanted.gives_back = true;
                wanted.charge_ids.extend(act.charge_id().map(str::to_owned));
                if let ActRequest::End { id, .. } = act {
                    wanted.act_ids.push(id.clone());
                }
            }
            Request::Refund(request) => {
                wanted.gives_back = true;
                wanted.charge_ids.push(request.charge_id.clone());
                wanted.refund_keys.push(request.key.clone());
            }
        }
    }
    wanted
}

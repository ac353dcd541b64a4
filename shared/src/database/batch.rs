//! Group commit: what many tasks want done at the same time is done by one statement.
//!
//! The cost is not the row, but the round trip, the statement's start and the commit. So tasks hand their
//! items in and wait. One batch is under way at a time, and the items that have come meanwhile leave as the
//! next one. There is no timer: a lone item leaves at once and pays nothing, a crowd pays once.
//!
//! Where more wait than one batch takes, their owners take turns. So one merchant's flood does not stand
//! before another one's request.
//!
//! Invariants: an item that was taken in is worked on, even if its task has stopped waiting. Of one owner's
//! items the first to come is the first to leave. An owner's first item leaves with the next batch, unless a
//! whole batch of other owners' first items came before it. No item waits while no batch is under way. At
//! most `CAPACITY` items wait, and any more are refused. The last quarter of these places is kept for owners
//! that have less than a quarter of them.

mod line;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use tokio::sync::oneshot;

pub use self::line::Owner;
use self::line::{Full, Line};
use crate::database::failure::Failure;

/// Items in one batch, if each weighs 1. Beyond some hundred rows a statement gains nothing more by being
/// larger.
const BATCH: usize = 256;

/// The items of a failed batch that are tried by themselves at a time, so that one which is held up holds up
/// few.
const APART: usize = 4;

/// Items that may wait.
const CAPACITY: usize = 4_096;

/// The work that is done with a batch.
pub trait Work: Send + Sync + 'static {
    /// What a task hands in.
    type Item: Send + Sync + 'static;
    /// What the task is answered.
    type Answer: Send + 'static;
    /// Why a whole batch failed.
    type Error: HasRemedy + Send + Sync + 'static;

    /// The most that a batch may weigh.
    const BATCH: usize = BATCH;

    /// What an item weighs. One that weighs more than a batch may is a batch by itself.
    fn weight(_: &Self::Item) -> usize {
        1
    }

    /// Whose item it is: owners take turns where more wait than a batch takes. Two that have one number are
    /// taken for one.
    fn owner(item: &Self::Item) -> Owner {
        let _ = item;
        0
    }

    /// Works on all of `items` together, or on none of them. There is one answer for each, in the order of
    /// the items.
    fn work(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Self::Error>> + Send;

    /// What to do with a batch that failed so.
    fn remedy(failure: &Self::Error) -> Remedy {
        failure.remedy()
    }

    /// Returns once a batch is worth doing again. If its database was away, that is once it is known who is
    /// there.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// An error that knows what helps.
pub trait HasRemedy: std::fmt::Display {
    /// What to do with the batch that failed so.
    fn remedy(&self) -> Remedy;
}

/// What to do with a batch that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try it once more, as it is.
    Again,
    /// Try each item by itself, so that one does not fail the others.
    OneByOne,
    /// Tell each task that it failed.
    None,
}

impl HasRemedy for sqlx::Error {
    fn remedy(&self) -> Remedy {
        Failure::of(self).remedy()
    }
}

/// Why an item has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused<E> {
    /// Too many items wait already. It was not taken in.
    #[error("too much is waiting to be written")]
    Full,
    /// Its batch failed, and so did the remedy that was tried.
    #[error("{0}")]
    Failed(Arc<E>),
    /// Its batch ended in a panic, so it is not known whether the item was worked on.
    #[error("a batch ended in a panic")]
    Lost,
}

/// Takes items from many tasks and works on them in batches. Cheap to clone.
pub struct Batcher<W: Work> {
    work: Arc<W>,
    line: Arc<Mutex<Line<Waiting<W>>>>,
}

type Answered<W> = Result<<W as Work>::Answer, Refused<<W as Work>::Error>>;

struct Waiting<W: Work> {
    item: W::Item,
    tell: oneshot::Sender<Answered<W>>,
}

impl<W: Work> Clone for Batcher<W> {
    fn clone(&self) -> Self {
        Self { work: self.work.clone(), line: self.line.clone() }
    }
}

impl<W: Work> Batcher<W> {
    /// A batcher for this work, with nothing in its line.
    pub fn new(work: W) -> Self {
        Self { work: Arc::new(work), line: Arc::new(Mutex::new(Line::new(W::BATCH, CAPACITY))) }
    }

    /// Hands an item in and waits for its answer. The work goes on if the caller stops waiting.
    ///
    /// # Errors
    /// The item was not taken in, or its batch failed.
    pub async fn submit(&self, item: W::Item) -> Result<W::Answer, Refused<W::Error>> {
        let (tell, told) = oneshot::channel();
        let (owner, weight) = (W::owner(&item), W::weight(&item));
        let is_idle =
            self.line().push(owner, weight, Waiting { item, tell }).map_err(|Full| Refused::Full)?;
        if is_idle {
            tokio::spawn(self.clone().run());
        }
        told.await.unwrap_or(Err(Refused::Lost))
    }

    /// Works on batches until no item waits.
    async fn run(self) {
        self.gathered().await;
        loop {
            let batch = self.line().take();
            if batch.is_empty() {
                return;
            }
            let (items, tell): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.item, w.tell)).unzip();
            let work = self.work.clone();
            // A task of its own, so that a panic in it costs this batch and not those that follow.
            let answers =
                tokio::spawn(async move { answers(&*work, &items).await }).await.unwrap_or_default();
            for (tell, answer) in tell.into_iter().zip(answers) {
                // The caller may have stopped waiting.
                let _ = tell.send(answer);
            }
        }
    }

    /// Returns once the tasks that are ready to run hand in nothing more. Otherwise the first of many that
    /// became ready together, as after a batch of the step before, would leave alone. It waits for no task
    /// that is not ready. Between two batches nothing is waited for: the database would have nothing to do
    /// while the tasks that were just answered run on.
    async fn gathered(&self) {
        let mut before = 0;
        loop {
            tokio::task::yield_now().await;
            let line = self.line();
            let waiting = line.waiting();
            if waiting <= before || waiting >= line.batch() {
                return;
            }
            before = waiting;
        }
    }

    fn line(&self) -> MutexGuard<'_, Line<Waiting<W>>> {
        // Nothing panics while it is held.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answers to a batch, after the remedy that its failure called for.
async fn answers<W: Work>(work: &W, items: &[W::Item]) -> Vec<Answered<W>> {
    let failure = match worked_on(work, items).await {
        Ok(answers) => return answers.into_iter().map(Ok).collect(),
        Err(failure) => failure,
    };
    if W::remedy(&failure) == Remedy::OneByOne && items.len() > 1 {
        let alone = (0..items.len()).map(|at| async move {
            let answers = worked_on(work, &items[at..=at]).await;
            answers.map_err(|failure| Refused::Failed(Arc::new(failure)))?.pop().ok_or(Refused::Lost)
        });
        return futures::stream::iter(alone).buffered(APART).collect().await;
    }
    let failure = Arc::new(failure);
    items.iter().map(|_| Err(Refused::Failed(failure.clone()))).collect()
}

/// Works on a batch, twice if that may help.
async fn worked_on<W: Work>(work: &W, items: &[W::Item]) -> Result<Vec<W::Answer>, W::Error> {
    match work.work(items).await {
        Err(failure) if W::remedy(&failure) == Remedy::Again => {
            tracing::debug!(%failure, items = items.len(), "a batch is tried again");
            work.settled().await;
            work.work(items).await
        }
        done => done,
    }
}

#[cfg(test)]
mod tests;

//! Group commit: what many tasks want done at the same time is done by one statement.
//!
//! What costs is not the row, it is the round trip, the statement's start and the commit. So tasks hand their items in and
//! wait; one batch is under way at a time, and whatever has come together meanwhile leaves as the next one. There is no
//! timer: a lone item leaves at once and pays nothing, a crowd pays once.
//!
//! Invariants: an item that was taken in is worked on whether or not anybody still waits for its answer; first come,
//! first served; no item waits while no batch is under way; at most `CAPACITY` wait, and what comes on top is refused.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use tokio::sync::oneshot;

use crate::database::failure::Failure;

/// Items in one batch. Beyond some hundred rows a statement gains nothing more by being larger.
const BATCH: usize = 256;

/// So many items of a batch that failed are tried by themselves at a time, so that one which is held up holds up few.
const APART: usize = 4;

/// Items that may wait.
const CAPACITY: usize = 4_096;

/// What is done with a batch.
pub trait Work: Send + Sync + 'static {
    /// What comes in.
    type Item: Send + Sync + 'static;
    /// What each item is answered.
    type Answer: Send + 'static;
    /// Why a whole batch came to nothing.
    type Error: HasRemedy + Send + Sync + 'static;

    /// Works on all of `items` together, or on none of them. One answer for each, in the order of the items.
    fn work(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Self::Error>> + Send;

    /// What to do with a batch that this befell.
    fn remedy(failure: &Self::Error) -> Remedy {
        failure.remedy()
    }

    /// Returns once it is worth while to do a batch again: where its database was away, once it is known who is there.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// An error that knows what helps.
pub trait HasRemedy: std::fmt::Display {
    /// What to do with the batch that it befell.
    fn remedy(&self) -> Remedy;
}

/// What to do with a batch that came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Once more, as it is.
    Again,
    /// Each item by itself, so that one does not fail the others.
    OneByOne,
    /// Nothing.
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
    /// Too many wait already. It was not taken in.
    #[error("too much is waiting to be written")]
    Full,
    /// Its batch failed, and so did what was tried for it.
    #[error("{0}")]
    Failed(Arc<E>),
    /// Its batch ended in a panic. What became of it is not known.
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
    /// Batches of this work.
    pub fn new(work: W) -> Self {
        Self { work: Arc::new(work), line: Arc::new(Mutex::new(Line::new(BATCH, CAPACITY))) }
    }

    /// Hands an item in and waits for its answer. Who stops waiting does not stop the work.
    ///
    /// # Errors
    /// It was not taken in, or its batch failed.
    pub async fn submit(&self, item: W::Item) -> Result<W::Answer, Refused<W::Error>> {
        let (tell, told) = oneshot::channel();
        let is_idle = self.line().push(Waiting { item, tell }).map_err(|Full| Refused::Full)?;
        if is_idle {
            tokio::spawn(self.clone().run());
        }
        told.await.unwrap_or(Err(Refused::Lost))
    }

    /// Works on batches until nobody waits.
    async fn run(self) {
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
                // Nobody may wait any more.
                let _ = tell.send(answer);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line<Waiting<W>>> {
        // Nothing panics while it is held.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answers to a batch, after what its failure called for.
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

/// Tried twice where that may help.
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

/// Who waits, and whether somebody works: all that decides, as a plain value. Whoever shares it locks it.
#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<T>,
    is_worked_on: bool,
    batch: usize,
    capacity: usize,
}

/// No room in the line.
#[derive(Debug, PartialEq, Eq)]
struct Full;

impl<T> Line<T> {
    const fn new(batch: usize, capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), is_worked_on: false, batch, capacity }
    }

    /// Takes an item in. With `true` nobody works on the line, and the caller does now: it must call [`Self::take`] until
    /// nothing comes.
    fn push(&mut self, item: T) -> Result<bool, Full> {
        if self.waiting.len() >= self.capacity {
            return Err(Full);
        }
        self.waiting.push_back(item);
        let was_worked_on = std::mem::replace(&mut self.is_worked_on, true);
        Ok(!was_worked_on)
    }

    /// The next batch. With none the line is the caller's no more.
    fn take(&mut self) -> Vec<T> {
        let batch: Vec<T> = self.waiting.drain(..self.waiting.len().min(self.batch)).collect();
        self.is_worked_on = !batch.is_empty();
        batch
    }
}

#[cfg(test)]
mod tests;

//! The line of waiting items, and whether a task works on it. It is a plain value that decides everything;
//! tasks that share it lock it.

use std::collections::{HashMap, VecDeque};

/// Whose item it is, by a number.
pub type Owner = u64;

#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
    /// What all that waits weighs.
    weight: usize,
    is_worked_on: bool,
    batch: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    owner: Owner,
    weight: usize,
    item: T,
}

/// The line has no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T> Line<T> {
    pub(super) const fn new(batch: usize, capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), weight: 0, is_worked_on: false, batch, capacity }
    }

    /// The number of waiting items.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The most that a batch may weigh.
    pub(super) const fn batch(&self) -> usize {
        self.batch
    }

    #[cfg(test)]
    pub(super) const fn is_worked_on(&self) -> bool {
        self.is_worked_on
    }

    /// Takes an item in. It answers `true` if no task works on the line. Then the caller does, and must call
    /// [`Self::take`] until nothing comes.
    pub(super) fn push(&mut self, owner: Owner, weight: usize, item: T) -> Result<bool, Full> {
        if !self.has_room_for(owner) {
            return Err(Full);
        }
        self.waiting.push_back(Waiting { owner, weight, item });
        self.weight += weight;
        let was_worked_on = std::mem::replace(&mut self.is_worked_on, true);
        Ok(!was_worked_on)
    }

    /// The next batch. Once it is empty, the line is not the caller's any more.
    pub(super) fn take(&mut self) -> Vec<T> {
        let batch: Vec<T> = if self.weight <= self.batch {
            self.weight = 0;
            self.waiting.drain(..).map(|it| it.item).collect()
        } else {
            self.take_in_turns()
        };
        self.is_worked_on = !batch.is_empty();
        batch
    }

    /// Items are counted only where the line is nearly full.
    fn has_room_for(&self, owner: Owner) -> bool {
        let quarter = self.capacity / 4;
        let waiting = self.waiting.len();
        if waiting < self.capacity - quarter {
            return true;
        }
        waiting < self.capacity && self.waiting.iter().filter(|it| it.owner == owner).count() < quarter
    }

    /// The first item of each owner, then the second of each, and so on, until the next one does not fit into
    /// the batch. The batch keeps the order in which they came.
    fn take_in_turns(&mut self) -> Vec<T> {
        let mut of_owner: HashMap<Owner, usize> = HashMap::new();
        let mut turns: Vec<(usize, usize)> = Vec::with_capacity(self.waiting.len());
        for (at, it) in self.waiting.iter().enumerate() {
            let turn = of_owner.entry(it.owner).or_default();
            *turn += 1;
            turns.push((*turn, at));
        }
        turns.sort_unstable();
        let mut is_taken = vec![false; turns.len()];
        let mut weight = 0;
        for (taken, (_, at)) in turns.into_iter().enumerate() {
            let heavier = weight + self.waiting[at].weight;
            // What weighs more than a batch may is a batch by itself.
            if heavier > self.batch && taken > 0 {
                break;
            }
            weight = heavier;
            is_taken[at] = true;
        }
        self.weight -= weight;
        let (mut batch, mut left) = (Vec::new(), VecDeque::with_capacity(self.waiting.len()));
        for (it, is_taken) in self.waiting.drain(..).zip(is_taken) {
            if is_taken {
                batch.push(it.item);
            } else {
                left.push_back(it);
            }
        }
        self.waiting = left;
        batch
    }
}

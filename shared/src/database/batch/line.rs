//! The line of waiting items, and whether a task works on it. It is a plain value that decides everything;
//! tasks that share it lock it.

use std::collections::{HashMap, VecDeque};

/// Whose item it is, by a number.
pub type Owner = u64;

#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: VecDeque<(Owner, T)>,
    is_worked_on: bool,
    batch: usize,
    capacity: usize,
}

/// The line has no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T> Line<T> {
    pub(super) const fn new(batch: usize, capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), is_worked_on: false, batch, capacity }
    }

    /// The number of waiting items.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The most items of a batch.
    pub(super) const fn batch(&self) -> usize {
        self.batch
    }

    #[cfg(test)]
    pub(super) const fn is_worked_on(&self) -> bool {
        self.is_worked_on
    }

    /// Takes an item in. It answers `true` if no task works on the line. Then the caller does, and must call
    /// [`Self::take`] until nothing comes.
    pub(super) fn push(&mut self, owner: Owner, item: T) -> Result<bool, Full> {
        if !self.has_room_for(owner) {
            return Err(Full);
        }
        self.waiting.push_back((owner, item));
        let was_worked_on = std::mem::replace(&mut self.is_worked_on, true);
        Ok(!was_worked_on)
    }

    /// The next batch. Once it is empty, the line is not the caller's any more.
    pub(super) fn take(&mut self) -> Vec<T> {
        let batch: Vec<T> = if self.waiting.len() <= self.batch {
            self.waiting.drain(..).map(|(_, item)| item).collect()
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
        waiting < self.capacity && self.waiting.iter().filter(|(other, _)| *other == owner).count() < quarter
    }

    /// The first item of each owner, then the second of each, and so on, until the batch is full.
    fn take_in_turns(&mut self) -> Vec<T> {
        let mut of_owner: HashMap<Owner, usize> = HashMap::new();
        let turns: Vec<usize> = self
            .waiting
            .iter()
            .map(|(owner, _)| {
                let turn = of_owner.entry(*owner).or_default();
                *turn += 1;
                *turn
            })
            .collect();
        if of_owner.len() == 1 {
            return self.waiting.drain(..self.batch).map(|(_, item)| item).collect();
        }
        let (last, mut of_last) = last_turn(&turns, self.batch);
        let (mut batch, mut left) = (Vec::with_capacity(self.batch), VecDeque::new());
        for ((owner, item), turn) in self.waiting.drain(..).zip(turns) {
            let is_of_last = turn == last && of_last > 0;
            of_last -= usize::from(is_of_last);
            if turn < last || is_of_last {
                batch.push(item);
            } else {
                left.push_back((owner, item));
            }
        }
        self.waiting = left;
        batch
    }
}

/// The turn at which a batch is full, and how many items of that turn it takes.
fn last_turn(turns: &[usize], batch: usize) -> (usize, usize) {
    let mut items = vec![0; turns.iter().max().map_or(1, |most| most + 1)];
    turns.iter().for_each(|&turn| items[turn] += 1);
    let mut room = batch;
    for (turn, &items) in items.iter().enumerate() {
        if items > room {
            return (turn, room);
        }
        room -= items;
    }
    (items.len(), 0)
}

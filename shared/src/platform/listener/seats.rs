//! Which connections there are, and which of them makes room where no more may be open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Limits;

/// The places of a listener.
#[derive(Debug)]
pub(super) struct Seats {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// By the order in which they came.
    clients: BTreeMap<u64, Arc<Client>>,
    next: u64,
}

/// One connection's place, which is free again once the last handle is gone.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    seats: Arc<Seats>,
    client: Arc<Client>,
}

/// The client who has a place.
#[derive(Debug)]
struct Client {
    state: Mutex<State>,
    wanted: CancellationToken,
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has sent no whole head yet.
    New(Instant),
    /// It has sent a head, and not the whole body yet.
    Sending(Instant),
    /// A request of it is being answered.
    Busy,
    /// It waits between two requests.
    Idle(Instant),
    /// It was told to make room.
    Leaving,
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: Mutex::default() }
    }

    /// Takes a place, if need be that of a connection that asks for nothing. None where all are busy.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let mut taken = self.taken();
        if taken.clients.len() >= self.limits.connections {
            let leaving = self.first_to_leave(&taken)?;
            taken.clients.remove(&leaving);
        }
        let number = taken.next;
        taken.next += 1;
        let state = Mutex::new(State::New(Instant::now()));
        let client = Arc::new(Client { state, wanted: CancellationToken::new() });
        taken.clients.insert(number, client.clone());
        drop(taken);
        Some(Arc::new(Seat { number, seats: self.clone(), client }))
    }

    /// Tells one connection to make room: that which has gone without a whole request for longest, or else
    /// that which has been idle for longest.
    fn first_to_leave(&self, taken: &Taken) -> Option<u64> {
        let now = Instant::now();
        loop {
            let waiting = taken.clients.iter().filter_map(|(number, client)| {
                let place = match *client.state() {
                    State::New(since) | State::Sending(since)
                        if now.duration_since(since) >= self.limits.grace =>
                    {
                        (0, since)
                    }
                    State::Idle(since) => (1, since),
                    State::New(_) | State::Sending(_) | State::Busy | State::Leaving => return None,
                };
                Some((place, number, client))
            });
            let (_, number, client) = waiting.min_by_key(|(place, ..)| *place)?;
            // Its request may have come meanwhile.
            if client.leave() {
                return Some(*number);
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Notes that a head has come.
    pub(super) fn begin(&self) {
        let mut state = self.client.state();
        if *state != State::Leaving {
            *state = State::Sending(Instant::now());
        }
    }

    /// Notes that the body has come, or that nobody waits for it.
    pub(super) fn received(&self) {
        let mut state = self.client.state();
        if matches!(*state, State::Sending(_)) {
            *state = State::Busy;
        }
    }

    /// Notes that the answer has gone.
    pub(super) fn answered(&self) {
        let mut state = self.client.state();
        if *state != State::Leaving {
            *state = State::Idle(Instant::now());
        }
    }

    /// Returns once the place is needed for another connection.
    pub(super) async fn wanted(&self) {
        self.client.wanted.cancelled().await;
    }
}

impl Client {
    /// Tells it to leave, unless its request has come meanwhile.
    fn leave(&self) -> bool {
        let mut state = self.state();
        let may_leave = matches!(*state, State::New(_) | State::Sending(_) | State::Idle(_));
        if may_leave {
            *state = State::Leaving;
            self.wanted.cancel();
        }
        may_leave
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().clients.remove(&self.number);
    }
}

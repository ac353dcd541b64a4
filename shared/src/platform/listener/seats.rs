//! Which connections there are, and which of them makes room where no more may be open, or where too many
//! bytes of answers wait for clients that do not read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::turn::{Doing, Turn};

/// The places of a listener.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) limits: Limits,
    taken: Mutex<Taken>,
    /// The requests of HTTP/2 that are under way, on all connections.
    pub(super) streams: AtomicUsize,
    /// The bytes of large answers that no client has taken yet.
    pub(super) unread: AtomicU64,
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
    pub(super) seats: Arc<Seats>,
    client: Arc<Client>,
}

/// The client who has a place.
#[derive(Debug)]
struct Client {
    doing: Mutex<Doing>,
    wanted: CancellationToken,
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        let (streams, unread) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { limits, taken: Mutex::default(), streams, unread }
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
        let doing = Mutex::new(Doing::new());
        let client = Arc::new(Client { doing, wanted: CancellationToken::new() });
        taken.clients.insert(number, client.clone());
        drop(taken);
        Some(Arc::new(Seat { number, seats: self.clone(), client }))
    }

    /// Tells one connection to make room: that which has gone without a whole request for longest, or else
    /// that which has been idle for longest.
    fn first_to_leave(&self, taken: &Taken) -> Option<u64> {
        let latest = Instant::now().checked_sub(self.limits.grace);
        loop {
            let waiting = taken.clients.iter().filter_map(|(number, client)| {
                let place = client.doing().place(latest)?;
                Some((place, number, client))
            });
            let (_, number, client) = waiting.min_by_key(|(place, ..)| *place)?;
            // Its request may have come meanwhile.
            if client.leave_if(Doing::asks_nothing) {
                return Some(*number);
            }
        }
    }

    /// Ends connections whose clients do not take their answers, those that stand still for longest first,
    /// until the rest is within the limit.
    pub(super) fn end_unread(&self) {
        let mut over = self.unread.load(Ordering::Relaxed).saturating_sub(self.limits.unread);
        if over == 0 {
            return;
        }
        let latest = Instant::now().checked_sub(self.limits.grace);
        let taken = self.taken();
        let mut still: Vec<_> =
            taken.clients.values().filter_map(|it| Some((it.doing().stands_still(latest)?, it))).collect();
        still.sort_by_key(|((since, _), _)| *since);
        for ((_, left), client) in still {
            if over == 0 {
                return;
            }
            if client.leave_if(|doing| doing.stands_still(latest).is_some()) {
                tracing::debug!(left, "a client does not read its answer, and others need the memory");
                over = over.saturating_sub(left);
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Notes that a head of so many bytes has come.
    pub(super) fn begin(self: &Arc<Self>, head_bytes: usize) -> Arc<Turn> {
        let number = self.doing().begin(head_bytes);
        Arc::new(Turn::new(number, self.clone()))
    }

    pub(super) fn doing(&self) -> MutexGuard<'_, Doing> {
        self.client.doing()
    }

    /// Whether no request of it is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.doing().is_quiet()
    }

    /// Has the connection end at once.
    pub(super) fn end(&self) {
        self.client.leave_if(|_| true);
    }

    /// Returns once the connection has to end: its place is needed for another one, or its time is over.
    pub(super) async fn has_to_end(&self) {
        let limits = self.seats.limits;
        let time_is_over = async {
            loop {
                let now = Instant::now();
                let deadline = self.doing().deadline(&limits);
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return;
                }
                // What begins to be waited for meanwhile has at least as much time.
                let again = now + limits.head.min(limits.write);
                tokio::time::sleep_until(deadline.map_or(again, |deadline| deadline.min(again))).await;
            }
        };
        tokio::select! {
            () = self.client.wanted.cancelled() => {}
            () = time_is_over => {}
        }
    }
}

impl Client {
    /// Tells it to leave, where this holds of what it does.
    fn leave_if(&self, may_leave: impl FnOnce(&Doing) -> bool) -> bool {
        let mut doing = self.doing();
        let leaves = !doing.is_leaving && may_leave(&doing);
        if leaves {
            doing.is_leaving = true;
            self.wanted.cancel();
        }
        leaves
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Nothing panics while it is held.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().clients.remove(&self.number);
    }
}

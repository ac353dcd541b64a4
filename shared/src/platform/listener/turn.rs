//! What one connection is doing: the requests that are under way on it, and how far each has come. HTTP/1.1
//! has one at a time, HTTP/2 several.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Limits;
use super::seats::Seat;

/// The most requests that a client may break off beyond those that it lets end. Breaking off costs a client
/// nothing, and us the work that was begun.
const BROKEN_OFF_MAX: u32 = 100;

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Doing {
    /// It was told to end.
    pub(super) is_leaving: bool,
    /// Whether it has sent no whole head yet.
    is_new: bool,
    /// Since when nothing is under way.
    quiet_since: Instant,
    requests: Vec<Request>,
    next: u64,
    broken_off: u32,
}

/// A request that is under way.
#[derive(Debug)]
struct Request {
    number: u64,
    head_bytes: usize,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The head has come, and the body not yet.
    Sending(Instant),
    /// The service is answering.
    Answering,
    /// The answer is on its way: since when the client is to take the next piece of it, and the bytes that
    /// are left. None where the service has not made the next piece yet.
    Sent(Option<Instant>, u64),
}

impl Doing {
    pub(super) fn new() -> Self {
        let quiet_since = Instant::now();
        Self { is_leaving: false, is_new: true, quiet_since, requests: Vec::new(), next: 0, broken_off: 0 }
    }

    pub(super) fn begin(&mut self, head_bytes: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        self.is_new = false;
        self.requests.push(Request { number, head_bytes, step: Step::Sending(Instant::now()) });
        number
    }

    pub(super) const fn is_quiet(&self) -> bool {
        self.requests.is_empty()
    }

    /// The bytes of the heads of all requests under way.
    pub(super) fn head_bytes(&self) -> usize {
        self.requests.iter().map(|request| request.head_bytes).sum()
    }

    /// Whether no request of it is under way that came whole.
    pub(super) fn asks_nothing(&self) -> bool {
        self.requests.iter().all(|request| matches!(request.step, Step::Sending(_)))
    }

    /// Its place among those who make room: before others, those that sent no whole request, and of them the
    /// oldest. None where it need not make room, as it does not yet if it began after `latest`.
    pub(super) fn place(&self, latest: Option<Instant>) -> Option<(u8, Instant)> {
        if self.is_leaving || !self.asks_nothing() {
            return None;
        }
        let sending = self.requests.iter().filter_map(|request| match request.step {
            Step::Sending(since) => Some(since),
            Step::Answering | Step::Sent(..) => None,
        });
        match sending.min() {
            None if !self.is_new => Some((1, self.quiet_since)),
            since => {
                let since = since.unwrap_or(self.quiet_since);
                (Some(since) <= latest).then_some((0, since))
            }
        }
    }

    /// Since when the answer has stood still that stands still for longest, and the bytes that are left of
    /// all. None where none has stood still since `latest`.
    pub(super) fn stands_still(&self, latest: Option<Instant>) -> Option<(Instant, u64)> {
        let sent = self.requests.iter().filter_map(|request| match request.step {
            Step::Sent(moved, left) => Some((moved?, left)),
            Step::Sending(_) | Step::Answering => None,
        });
        let (since, left) = sent.reduce(|(since, all), (moved, left)| (since.min(moved), all + left))?;
        (left > 0 && Some(since) <= latest).then_some((since, left))
    }

    /// When the connection ends unless its client does something.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        if self.is_quiet() {
            return Some(self.quiet_since + limits.head);
        }
        let sent = self.requests.iter().filter_map(|request| match request.step {
            Step::Sent(moved, _) => Some(moved? + limits.write),
            Step::Sending(_) | Step::Answering => None,
        });
        sent.min()
    }

    fn of(&mut self, number: u64) -> Option<&mut Step> {
        self.requests.iter_mut().find(|request| request.number == number).map(|request| &mut request.step)
    }
}

/// One request, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct Turn {
    number: u64,
    seat: Arc<Seat>,
}

impl Turn {
    pub(super) const fn new(number: u64, seat: Arc<Seat>) -> Self {
        Self { number, seat }
    }

    /// Notes that the body has come, or that nobody waits for it.
    pub(super) fn received(&self) {
        if let Some(step) = self.seat.doing().of(self.number)
            && matches!(step, Step::Sending(_))
        {
            *step = Step::Answering;
        }
    }

    /// Notes that an answer begins of which so many bytes have to wait for the client.
    pub(super) fn answered(&self, bytes: u64) {
        if let Some(step) = self.seat.doing().of(self.number) {
            *step = Step::Sent(Some(Instant::now()), bytes);
        }
        if bytes > 0 {
            self.seat.seats.unread.fetch_add(bytes, Ordering::Relaxed);
            self.seat.seats.end_unread();
        }
    }

    /// Notes that the client takes so many bytes more.
    pub(super) fn moved(&self, bytes: u64) {
        let mut doing = self.seat.doing();
        if let Some(Step::Sent(moved, left)) = doing.of(self.number) {
            *moved = Some(Instant::now());
            let taken = bytes.min(*left);
            *left -= taken;
            self.seat.seats.unread.fetch_sub(taken, Ordering::Relaxed);
        }
    }

    /// Notes that the service has not made the next piece yet.
    pub(super) fn waits(&self) {
        if let Some(Step::Sent(moved, _)) = self.seat.doing().of(self.number) {
            *moved = None;
        }
    }

    /// Notes that the request is over, and whether its answer went whole. A client that breaks off too many
    /// is let go.
    pub(super) fn over(&self, is_whole: bool) {
        let mut doing = self.seat.doing();
        if let Some(at) = doing.requests.iter().position(|request| request.number == self.number)
            && let Step::Sent(_, left) = doing.requests.swap_remove(at).step
        {
            self.seat.seats.unread.fetch_sub(left, Ordering::Relaxed);
        }
        if doing.is_quiet() {
            doing.quiet_since = Instant::now();
        }
        doing.broken_off =
            if is_whole { doing.broken_off.saturating_sub(1) } else { doing.broken_off.saturating_add(1) };
        let too_many = doing.broken_off > BROKEN_OFF_MAX;
        drop(doing);
        if too_many {
            self.seat.end();
        }
    }
}

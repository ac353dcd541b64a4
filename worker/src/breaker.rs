//! The circuit breaker: whether this worker may ask the gateway now.
//!
//! Invariant: a claim is taken only with a pass in hand. While the breaker is open there are none: nothing is claimed, so
//! no try is spent and nothing fails, and what is due stays due until the sweep comes for it. When the time is over one
//! claim is let through, and all others wait for what it hears.
//!
//! It opens when so many payments in a row got no answer, or 5xx: payments, not calls, so that one about which the gateway
//! never speaks does not stop all others. Refused credentials open it at once. Any answer closes it, also one that was
//! under way when it opened.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::ids::PaymentId;
use shared::metrics;
use shared::outcome::Health;

/// Whether claims are let through.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// All of them. These payments were the last ones, and their calls failed.
    Closed(Vec<PaymentId>),
    /// None before that moment.
    Open(Instant),
    /// One, the probe of that number, whose call is under way.
    HalfOpen(u32),
}

/// Which probe a claim is, if it is one.
type Ticket = Option<u32>;

/// What decides. Pure.
#[derive(Debug)]
struct Circuit {
    failures: usize,
    open_for: Duration,
    state: State,
    probes: u32,
}

impl Circuit {
    const fn new(failures: usize, open_for: Duration) -> Self {
        Self { failures, open_for, state: State::Closed(Vec::new()), probes: 0 }
    }

    /// Whether nothing would be let through.
    fn is_open(&self, now: Instant) -> bool {
        match self.state {
            State::Closed(_) => false,
            State::Open(until) => now < until,
            State::HalfOpen(_) => true,
        }
    }

    /// Lets one claim through, and tells which probe it is, or that it is none; nothing while open.
    fn admit(&mut self, now: Instant) -> Option<Ticket> {
        if self.is_open(now) {
            return None;
        }
        if matches!(self.state, State::Closed(_)) {
            return Some(None);
        }
        self.probes = self.probes.wrapping_add(1);
        self.state = State::HalfOpen(self.probes);
        Some(Some(self.probes))
    }

    /// What a call about `payment` said of the gateway.
    fn hear(&mut self, payment: PaymentId, health: Health, ticket: Ticket, now: Instant) {
        let is_down = match health {
            Health::Up => {
                self.state = State::Closed(Vec::new());
                return;
            }
            Health::Unknown => return self.give_back(ticket, now),
            Health::LockedOut => false,
            Health::Down => true,
        };
        match &mut self.state {
            State::Closed(failing) => {
                if !failing.contains(&payment) {
                    failing.push(payment);
                }
                if is_down && failing.len() < self.failures {
                    return;
                }
            }
            State::HalfOpen(probe) if ticket == Some(*probe) => {}
            // Left before it opened, and says nothing new.
            State::HalfOpen(_) | State::Open(_) => return,
        }
        self.state = State::Open(now + self.open_for);
    }

    /// A claim that heard nothing of the gateway; if it was the probe, the next one is.
    fn give_back(&mut self, ticket: Ticket, now: Instant) {
        if ticket.is_some_and(|probe| self.state == State::HalfOpen(probe)) {
            self.state = State::Open(now);
        }
    }
}

/// The breaker of one worker.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<Circuit>);

impl Breaker {
    /// Closed. `failures` payments in a row open it, for `open_for`.
    pub(crate) fn new(failures: usize, open_for: Duration) -> Self {
        metrics::breaker(metrics::Breaker::Closed);
        Self(Mutex::new(Circuit::new(failures, open_for)))
    }

    /// Whether a look for due payments would be in vain.
    pub(crate) fn is_open(&self) -> bool {
        self.circuit().is_open(Instant::now())
    }

    /// The right to claim one payment and to ask the gateway once about it; none while the breaker is open.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Pass> {
        let ticket = self.change(|circuit| circuit.admit(Instant::now()))?;
        Some(Pass { breaker: self.clone(), ticket })
    }

    /// Changes the circuit, and tells whom it concerns when its state became another.
    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.circuit();
        let before = kind(&circuit.state);
        let changed = change(&mut circuit);
        let now = kind(&circuit.state);
        if now != before {
            metrics::breaker(now);
            say(now, circuit.open_for);
        }
        changed
    }

    /// No code that holds it can leave it half changed, so a poisoned lock is as good as any.
    fn circuit(&self) -> std::sync::MutexGuard<'_, Circuit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn kind(state: &State) -> metrics::Breaker {
    match state {
        State::Closed(_) => metrics::Breaker::Closed,
        State::Open(_) => metrics::Breaker::Open,
        State::HalfOpen(_) => metrics::Breaker::HalfOpen,
    }
}

fn say(state: metrics::Breaker, open_for: Duration) {
    match state {
        metrics::Breaker::Open => {
            tracing::error!(
                event = "breaker_opened",
                ?open_for,
                "the gateway does not answer: claiming nothing"
            );
        }
        metrics::Breaker::HalfOpen => {
            tracing::info!(event = "breaker_half_open", "asking the gateway once whether it is back");
        }
        metrics::Breaker::Closed => {
            tracing::info!(event = "breaker_closed", "the gateway answers: claiming again");
        }
    }
}

/// The right to claim once. Dropped without a word, it is as if it had not been taken.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    ticket: Ticket,
}

impl Pass {
    /// What the call about `payment` said of the gateway.
    pub(crate) fn hear(self, payment: PaymentId, health: Health) {
        self.breaker.change(|circuit| circuit.hear(payment, health, self.ticket, Instant::now()));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // After its word was heard this changes nothing.
        self.breaker.change(|circuit| circuit.give_back(self.ticket, Instant::now()));
    }
}

#[cfg(test)]
mod tests;

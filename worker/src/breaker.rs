//! The circuit breaker says whether this worker may ask the gateway now.
//!
//! Invariant: a claim that will be used for a call is taken only with a pass in hand. While the breaker is
//! open, only the probe gets a pass. Then nothing else is claimed, no try is spent and nothing fails, and
//! what is due stays due until the sweep comes for it. [`circuit`] decides; [`crate::probe`] reads the door
//! and sends the probes.

mod circuit;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use domain::ids::GatewayName;
use domain::outcome::FailureKind;
use shared::gateway::settings::GatewaySettings;
use shared::payment::shares::Shares;
use shared::platform::metrics;
use tokio::sync::Notify;

use circuit::{Call, Circuit, Rules, Ticket};

pub(crate) use circuit::{About, Task};

/// The breaker of one worker for one gateway.
#[derive(Debug)]
pub(crate) struct Breaker {
    gateway: GatewayName,
    circuit: Mutex<Circuit>,
    /// Is told how many calls there are to share.
    shares: Arc<Shares>,
    /// Wakes the prober when its task may have changed.
    changed: Notify,
}

impl Breaker {
    /// A breaker that lets nothing through before the door was read. Its gateway's terms say when it opens,
    /// for how long, and how many calls may be under way at a time.
    pub(crate) fn new(terms: &GatewaySettings, shares: Arc<Shares>) -> Self {
        let gateway = terms.name.clone();
        metrics::breaker(&gateway, metrics::Breaker::Closed);
        let rules = Rules {
            failures: terms.breaker_failures,
            open_for: terms.breaker_open,
            timeout: terms.policy.gateway_timeout,
            calls: terms.concurrency,
        };
        let circuit = Mutex::new(Circuit::new(rules, Instant::now()));
        Self { gateway, circuit, shares, changed: Notify::new() }
    }

    /// Whether a look for due payments would be in vain.
    pub(crate) fn is_open(&self) -> bool {
        !self.circuit().is_closed()
    }

    /// Whether it is open or half-open because the gateway was found to be away; within, what opened it,
    /// where that is known.
    pub(crate) fn away(&self) -> Option<Option<FailureKind>> {
        let circuit = self.circuit();
        circuit.is_away().then(|| circuit.reason())
    }

    /// How many more claims would be let through.
    pub(crate) fn room(&self) -> usize {
        self.circuit().room()
    }

    /// The right to claim one payment and to ask the gateway once about it. None while the breaker is open,
    /// or while as many calls are under way as are allowed.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Pass> {
        self.circuit().admit().then(|| self.pass(None))
    }

    /// The right to claim the one payment that tells whether the gateway is back. None unless the door
    /// answers and no probe is under way.
    pub(crate) fn admit_probe(self: &Arc<Self>) -> Option<Pass> {
        let probe = self.change(Circuit::admit_probe)?;
        Some(self.pass(Some(probe)))
    }

    /// What the prober has to do now.
    pub(crate) fn task(&self) -> Task {
        self.circuit().task(Instant::now())
    }

    /// Returns once what the prober has to do may have changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes what the door said: how it failed, or none where it answers.
    pub(crate) fn knocked(&self, failure: Option<FailureKind>) {
        self.change(|circuit| circuit.knocked(failure, Instant::now()));
    }

    /// Takes that the door could not be read, for a reason that is not the gateway's.
    pub(crate) fn knocked_in_vain(&self) {
        self.change(|circuit| circuit.knocked_in_vain(Instant::now()));
    }

    /// Takes that there is no payment to ask about.
    pub(crate) fn nothing_to_probe(&self) {
        self.change(Circuit::nothing_to_probe);
    }

    /// Takes that another worker found the gateway away.
    pub(crate) fn warned(&self) {
        self.change(Circuit::warned);
    }

    /// Takes that another worker found the gateway back.
    pub(crate) fn encouraged(&self) {
        self.change(|circuit| circuit.encouraged(Instant::now()));
    }

    fn pass(self: &Arc<Self>, ticket: Ticket) -> Pass {
        Pass { breaker: self.clone(), ticket, began: Instant::now() }
    }

    /// Changes the circuit. Where that matters to others, wakes the prober, shares out the calls anew, and
    /// counts and logs the new state.
    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.circuit();
        let (was_away, before) = (circuit.is_away(), circuit.state);
        let changed = change(&mut circuit);
        if circuit.state != before || !circuit.is_closed() || circuit.task(Instant::now()) == Task::Knock {
            self.changed.notify_one();
        }
        if circuit.state.kind() != metrics::Breaker::Open || circuit.is_away() {
            metrics::breaker(&self.gateway, circuit.state.kind());
        }
        self.shares.allow(circuit.allowed());
        say(&self.gateway, &circuit, was_away, before.kind());
        changed
    }

    /// A poisoned lock is as good as any: no code that holds it can leave the circuit half changed.
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one line where the breaker opens, where a probe begins, and where it closes.
fn say(gateway: &GatewayName, circuit: &Circuit, was_away: bool, before: metrics::Breaker) {
    match circuit.state.kind() {
        metrics::Breaker::Open if circuit.is_away() && !was_away => {
            let reason = circuit.reason().map(FailureKind::as_str);
            tracing::error!(event = "breaker_opened", %gateway, reason, "the gateway is away: claiming nothing");
        }
        metrics::Breaker::HalfOpen if before != metrics::Breaker::HalfOpen => {
            tracing::info!(event = "breaker_half_open", %gateway, "the door answers: asking about one payment");
        }
        metrics::Breaker::Closed if was_away => {
            tracing::info!(event = "breaker_closed", %gateway, "the gateway answers: claiming again, slowly at first");
        }
        metrics::Breaker::Open | metrics::Breaker::HalfOpen | metrics::Breaker::Closed => {}
    }
}

/// The right to claim once. A pass that is dropped unused counts as if it had not been taken.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    ticket: Ticket,
    began: Instant,
}

impl Pass {
    /// Whether the call tells if the gateway is back. Such a call uses up no try.
    pub(crate) const fn is_probe(&self) -> bool {
        self.ticket.is_some()
    }

    /// Whether the gateway fails other payments too, and has answered no charge since. Then no payment is
    /// given up because of it.
    pub(crate) fn is_failing(&self) -> bool {
        self.breaker.circuit().is_failing()
    }

    /// Takes what the call heard: how it failed, or none where the gateway answered.
    pub(crate) fn hear(self, about: About, failure: Option<FailureKind>) {
        let call = Call { about, began: self.began };
        self.breaker.change(|circuit| circuit.hear(call, failure, self.ticket, Instant::now()));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // After the pass was heard, this only makes room for another call.
        self.breaker.change(|circuit| circuit.give_back(self.ticket));
    }
}

#[cfg(test)]
mod tests;

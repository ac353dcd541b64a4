//! What decides whether the gateway is asked, as a plain value: the states, what each answer does to them,
//! and what the prober has to do next. It is pure: the caller locks it, and says what time it is.
//!
//! Invariants: while it is open, nothing is claimed but probes, and one probe at a time. Silence alone never
//! opens it, nor do credentials that are refused for one payment: a read that is about no payment must fare
//! no better. A gateway that fails charges is not well because it answers looks. Whatever happens, the prober
//! comes to ask again by itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use domain::ids::{MerchantId, PaymentId};
use domain::outcome::{FailureKind, Health, health};
use shared::platform::metrics;

/// Failures of two payments, even of one merchant, open it where no charge was answered for this long.
const ALONE: Duration = Duration::from_secs(10);

/// The number of exchanges in a row, of any merchants, that must find the way closed to open it.
const SHUT: u32 = 2;

/// The first pause between two reads of a door that is silent or shut. It doubles from one read to the next.
const KNOCK_AFTER: Duration = Duration::from_secs(1);

/// The number of silent probes in a row that are about the payments, while the door answers: the breaker
/// closes, and starts slowly.
const SILENT_PROBES: u32 = 3;

/// The figures that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// The number of payments in a row, of several merchants, that the gateway must fail to open it.
    pub(super) failures: usize,
    /// How long it stays open before the door is read, where the gateway answers that it cannot charge or
    /// refuses our credentials.
    pub(super) open_for: Duration,
    /// How long one exchange may take.
    pub(super) timeout: Duration,
    /// The most calls under way at a time while it is closed.
    pub(super) calls: usize,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// A charge of this payment of this merchant.
    Charge { payment: PaymentId, merchant: MerchantId },
    /// A look-up or a void.
    Look,
}

/// A call: what it asks for, and when it began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) about: About,
    pub(super) began: Instant,
}

/// Whether claims are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As many as there is room for.
    Closed,
    /// None. The door is read at `knock_at`.
    Open { knock_at: Instant, knocks: u32, why: FailureKind },
    /// One. It holds the number of the probe under way, or none while the next one is awaited.
    HalfOpen(Option<u32>),
}

impl State {
    pub(super) const fn kind(&self) -> metrics::Breaker {
        match self {
            Self::Closed => metrics::Breaker::Closed,
            Self::Open { .. } => metrics::Breaker::Open,
            Self::HalfOpen(_) => metrics::Breaker::HalfOpen,
        }
    }
}

/// The number of the probe that a call is, if it is one.
pub(super) type Ticket = Option<u32>;

/// What the prober has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Read the gateway's door.
    Knock,
    /// Ask about one payment.
    Probe,
    /// Nothing: until that moment, or, without one, until something happens.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) rules: Rules,
    pub(super) state: State,
    /// Whether the door has never been read.
    is_new: bool,
    /// The number of exchanges in a row that found the way closed.
    shut: u32,
    /// The payments that the gateway failed since it last answered a charge; below, their merchants.
    failed: HashSet<PaymentId>,
    failed_merchants: HashSet<MerchantId>,
    /// When the gateway last answered a charge; at first, when the circuit was made.
    well_at: Instant,
    /// When the first call began after which nothing was answered.
    silent_since: Option<Instant>,
    /// Whether the door is to be read at once, because another worker says that the gateway is away, or
    /// because it refused our credentials.
    is_warned: bool,
    under_way: usize,
    /// The most calls that may be under way now, while it is closed.
    room: usize,
    probes: u32,
    silent_probes: u32,
}

impl Circuit {
    /// A new circuit is open: nothing is claimed before the door has been read.
    pub(super) fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            state: State::Open { knock_at: now, knocks: 0, why: FailureKind::NotSent },
            is_new: true,
            shut: 0,
            failed: HashSet::new(),
            failed_merchants: HashSet::new(),
            well_at: now,
            silent_since: None,
            is_warned: false,
            under_way: 0,
            room: rules.calls,
            probes: 0,
            silent_probes: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether it is open or half-open because the gateway was found to be away, and not only because the
    /// door was never read.
    pub(super) fn is_away(&self) -> bool {
        !self.is_closed() && !self.is_new
    }

    /// What opened it, while it is open.
    pub(super) fn reason(&self) -> Option<FailureKind> {
        match self.state {
            State::Open { why, .. } => Some(why),
            State::Closed | State::HalfOpen(_) => None,
        }
    }

    /// How many calls may be under way.
    pub(super) fn allowed(&self) -> usize {
        if self.is_closed() { self.room } else { 0 }
    }

    /// How many more claims would be let through.
    pub(super) fn room(&self) -> usize {
        if self.is_closed() { self.room.saturating_sub(self.under_way) } else { 0 }
    }

    /// Lets one claim through, if there is room.
    pub(super) fn admit(&mut self) -> bool {
        let is_admitted = self.room() > 0;
        self.under_way += usize::from(is_admitted);
        is_admitted
    }

    /// Lets the probe through, if it is time for one, and answers its number.
    pub(super) fn admit_probe(&mut self) -> Option<u32> {
        if self.state != State::HalfOpen(None) {
            return None;
        }
        self.probes = self.probes.wrapping_add(1);
        self.state = State::HalfOpen(Some(self.probes));
        self.under_way += 1;
        Some(self.probes)
    }

    /// What the prober has to do now.
    pub(super) fn task(&self, now: Instant) -> Task {
        match self.state {
            State::Closed if self.is_warned => Task::Knock,
            State::Closed => match self.silent_since.map(|since| since + self.rules.timeout * 2) {
                Some(at) if at <= now => Task::Knock,
                at => Task::Wait(at),
            },
            State::Open { knock_at, .. } if knock_at <= now => Task::Knock,
            State::Open { knock_at, .. } => Task::Wait(Some(knock_at)),
            State::HalfOpen(None) => Task::Probe,
            State::HalfOpen(Some(_)) => Task::Wait(None),
        }
    }

    /// Takes what the door said: how it failed, or none where it answers. An open breaker needs a door
    /// that answers well and says who it is. A closed one stays closed where the door answers that it is
    /// unable now.
    pub(super) fn knocked(&mut self, failure: Option<FailureKind>, now: Instant) {
        let is_new = std::mem::replace(&mut self.is_new, false);
        self.is_warned = false;
        self.silent_since = None;
        let is_shut = failure.is_some_and(|kind| match kind.health() {
            Health::Silent | Health::Shut | Health::LockedOut => true,
            Health::Answers | Health::Failing | Health::Unknown => false,
        });
        match (failure, self.state) {
            (None, State::Open { .. }) if is_new => self.state = State::Closed,
            (None, State::Open { .. }) => self.state = State::HalfOpen(None),
            (Some(why), State::Open { knocks, .. }) => {
                self.silent_probes = 0;
                self.open(why, knocks + 1, now);
            }
            (Some(why), State::Closed) if is_shut => self.open(why, 1, now),
            (_, State::Closed | State::HalfOpen(_)) => {}
        }
    }

    /// Takes that our own database did not answer, so that nothing was learnt.
    pub(super) fn knocked_in_vain(&mut self, now: Instant) {
        self.is_warned = false;
        if let State::Open { knock_at, .. } = &mut self.state {
            *knock_at = now + KNOCK_AFTER.min(self.rules.open_for);
        } else if self.silent_since.is_some() {
            self.silent_since = Some(now);
        }
    }

    /// Takes that there is no payment to ask about: the door alone decides, and it has answered.
    pub(super) fn nothing_to_probe(&mut self) {
        if matches!(self.state, State::HalfOpen(_)) {
            self.close();
        }
    }

    /// Takes another worker's word that the gateway is away. The door tells whether that is so here.
    pub(super) fn warned(&mut self) {
        self.is_warned = self.is_closed();
    }

    /// Takes another worker's word that the gateway is back. The door tells whether that is so here.
    pub(super) fn encouraged(&mut self, now: Instant) {
        if let State::Open { knock_at, .. } = &mut self.state {
            *knock_at = now;
        }
    }

    /// Takes what a call heard: how it failed, or none where the gateway answered.
    pub(super) fn hear(&mut self, call: Call, failure: Option<FailureKind>, ticket: Ticket, now: Instant) {
        let is_probe = ticket.is_some_and(|probe| self.state == State::HalfOpen(Some(probe)));
        match (health(failure), failure) {
            (Health::Unknown, _) => {}
            (Health::Answers, _) => self.answered(call, is_probe, now),
            (how, Some(why)) if is_probe => self.probe_failed(how, why, now),
            (how, Some(why)) if self.is_closed() => self.failed(how, why, call, now),
            // Such a call left before the breaker opened, and says nothing new.
            (Health::LockedOut | Health::Failing | Health::Silent | Health::Shut, _) => {}
        }
    }

    /// Takes that a call is over, whatever it heard. A probe that heard nothing is followed by another.
    pub(super) fn give_back(&mut self, ticket: Ticket) {
        self.under_way = self.under_way.saturating_sub(1);
        if ticket.is_some_and(|probe| self.state == State::HalfOpen(Some(probe))) {
            self.state = State::HalfOpen(None);
        }
    }

    fn answered(&mut self, call: Call, is_probe: bool, now: Instant) {
        let is_charge = call.about != About::Look;
        if is_charge {
            self.well_at = now;
        }
        match &mut self.state {
            State::Closed => {
                self.room = self.room.saturating_mul(2).min(self.rules.calls);
                (self.shut, self.silent_since) = (0, None);
                if is_charge {
                    self.forget();
                }
            }
            // A look says nothing of charges.
            State::Open { why, .. } if why.health() == Health::Failing && !is_charge => {}
            // This call left before the breaker opened, and anybody may have answered it. The door says
            // whether it is time.
            State::Open { knock_at, .. } => *knock_at = now,
            State::HalfOpen(_) if is_probe => self.close(),
            State::HalfOpen(_) => {}
        }
    }

    /// Whether the gateway fails more than one payment, and has answered no charge since the first of them.
    pub(super) fn is_failing(&self) -> bool {
        self.failed.len() > 1
    }

    fn failed(&mut self, how: Health, why: FailureKind, call: Call, now: Instant) {
        match how {
            Health::LockedOut => self.is_warned = true,
            Health::Shut => {
                self.shut += 1;
                if self.shut >= SHUT {
                    self.open(why, 0, now);
                }
            }
            Health::Silent => {
                self.silent_since.get_or_insert(call.began);
            }
            Health::Failing => {
                // The gateway says something, so it is neither silent nor shut.
                (self.shut, self.silent_since) = (0, None);
                let About::Charge { payment, merchant } = call.about else { return };
                self.failed.insert(payment);
                self.failed_merchants.insert(merchant);
                let are_several = self.failed_merchants.len() > 1 && self.failed.len() >= self.rules.failures;
                let are_all = self.is_failing() && now.duration_since(self.well_at) >= ALONE;
                if are_several || are_all {
                    self.open(why, 0, now);
                }
            }
            Health::Answers | Health::Unknown => {}
        }
    }

    fn probe_failed(&mut self, how: Health, why: FailureKind, now: Instant) {
        if how != Health::Silent {
            self.silent_probes = 0;
            return self.open(why, 0, now);
        }
        self.silent_probes += 1;
        if self.silent_probes >= SILENT_PROBES {
            self.close();
        } else {
            // The door is read again before another is asked about.
            self.state = State::Open { knock_at: now, knocks: 0, why };
        }
    }

    fn open(&mut self, why: FailureKind, knocks: u32, now: Instant) {
        let wait = match why.health() {
            // Reading the door costs the gateway next to nothing, and tells soon that it is back.
            Health::Silent | Health::Shut | Health::Unknown => match knocks {
                0 => Duration::ZERO,
                n => KNOCK_AFTER.saturating_mul(2_u32.saturating_pow(n - 1)).min(self.rules.open_for / 4),
            },
            Health::LockedOut | Health::Failing | Health::Answers => self.rules.open_for,
        };
        self.state = State::Open { knock_at: now + wait, knocks, why };
        self.forget();
    }

    /// Closes it. It starts with one call at a time, and each answer makes room for twice as many.
    fn close(&mut self) {
        self.state = State::Closed;
        self.room = 1;
        self.silent_probes = 0;
        self.forget();
    }

    fn forget(&mut self) {
        self.shut = 0;
        self.silent_since = None;
        self.failed.clear();
        self.failed_merchants.clear();
    }
}

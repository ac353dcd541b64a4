//! What decides whether the gateway is asked, as a plain value: states, what each answer does to them, and what the prober
//! has to do next. Pure: whoever shares it locks it, and says what time it is.
//!
//! Invariants: while it is open nothing is claimed but probes, and one probe at a time. Silence alone never opens it, nor do
//! credentials that are refused for one payment: a read that is about no payment must fare no better. A gateway that fails
//! charges is not well because it answers looks. Whatever happens, it comes to ask again by itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use domain::ids::{MerchantId, PaymentId};
use domain::outcome::{FailureKind, Health, health};
use shared::platform::metrics;

/// A single merchant's failures open it where no charge was answered for so long.
const ALONE: Duration = Duration::from_secs(10);

/// So many exchanges in a row that found the way closed open it, whosever they were.
const SHUT: u32 = 2;

/// The first pause between two reads of a door that is closed; doubled from one to the next.
const KNOCK_AFTER: Duration = Duration::from_secs(1);

/// So many silent probes in a row, while the door answers, are about the payments: it closes, and starts slowly.
const SILENT_PROBES: u32 = 3;

/// What it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// So many payments in a row that the gateway failed open it.
    pub(super) failures: usize,
    /// For so long, where the gateway answers that it cannot.
    pub(super) open_for: Duration,
    /// How long one exchange may take.
    pub(super) timeout: Duration,
    /// Calls at a time, while it is closed.
    pub(super) calls: usize,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// To charge this payment of this merchant.
    Charge { payment: PaymentId, merchant: MerchantId },
    /// To look something up, or to void it.
    Look,
}

/// A call, and when it began.
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
    /// None. The door is read at that moment.
    Open { knock_at: Instant, knocks: u32, why: FailureKind },
    /// One: the probe of that number, whose call is under way, or the next one.
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

/// Which probe a call is, if it is one.
pub(super) type Ticket = Option<u32>;

/// What the prober has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Read the door.
    Knock,
    /// Ask about one payment.
    Probe,
    /// Nothing, before that moment, if there is one.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) rules: Rules,
    pub(super) state: State,
    /// Whether the door has never been read.
    is_new: bool,
    /// Exchanges in a row that found the way closed.
    shut: u32,
    /// Payments in a row that the gateway failed, and their merchants.
    failed: HashSet<PaymentId>,
    failed_merchants: HashSet<MerchantId>,
    /// When it last answered a charge.
    well_at: Instant,
    /// When the first of the calls began that nothing was answered since.
    silent_since: Option<Instant>,
    /// Whether the door is to be read at once: another worker says that the gateway is away, or it refused our credentials.
    is_warned: bool,
    under_way: usize,
    /// Calls that may be under way.
    room: usize,
    probes: u32,
    silent_probes: u32,
}

impl Circuit {
    /// Nothing is claimed before the door has been read.
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

    /// Whether it is open because the gateway was found to be away, and not only because nobody has looked yet.
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

    /// Lets the probe through, if it is time for one, and tells its number.
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

    /// What the door said: how it failed, or none where it answers. A door that answers that it cannot just now is not
    /// closed; but one that is to be opened must answer well, and say who it is.
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

    /// Our own database did not answer, so that nothing was learnt.
    pub(super) fn knocked_in_vain(&mut self, now: Instant) {
        self.is_warned = false;
        if let State::Open { knock_at, .. } = &mut self.state {
            *knock_at = now + KNOCK_AFTER.min(self.rules.open_for);
        } else if self.silent_since.is_some() {
            self.silent_since = Some(now);
        }
    }

    /// There is no payment to ask about: the door alone decides.
    pub(super) fn nothing_to_probe(&mut self) {
        if matches!(self.state, State::HalfOpen(_)) {
            self.close();
        }
    }

    /// Another worker says that the gateway is away: whether that is so here, the door tells.
    pub(super) fn warned(&mut self) {
        self.is_warned = self.is_closed();
    }

    /// Another worker says that the gateway is back: whether that is so here, the door tells.
    pub(super) fn encouraged(&mut self, now: Instant) {
        if let State::Open { knock_at, .. } = &mut self.state {
            *knock_at = now;
        }
    }

    /// What a call heard: how it failed, or none where the gateway answered.
    pub(super) fn hear(&mut self, call: Call, failure: Option<FailureKind>, ticket: Ticket, now: Instant) {
        let is_probe = ticket.is_some_and(|probe| self.state == State::HalfOpen(Some(probe)));
        match (health(failure), failure) {
            (Health::Unknown, _) => {}
            (Health::Answers, _) => self.answered(call, is_probe, now),
            (how, Some(why)) if is_probe => self.probe_failed(how, why, now),
            (how, Some(why)) if self.is_closed() => self.failed(how, why, call, now),
            // Left before it opened, and says nothing new.
            (Health::LockedOut | Health::Failing | Health::Silent | Health::Shut, _) => {}
        }
    }

    /// A call is over, whatever it heard. A probe that heard nothing is followed by another.
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
            // Left before it opened, and may have been answered by anybody: the door says whether it is time.
            State::Open { knock_at, .. } => *knock_at = now,
            State::HalfOpen(_) if is_probe => self.close(),
            State::HalfOpen(_) => {}
        }
    }

    /// Whether the gateway fails more than one payment, and has answered no charge since it began.
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
                // It says something, so it is neither silent nor closed.
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
            // Reading costs the gateway next to nothing, and tells soon that it is back.
            Health::Silent | Health::Shut | Health::Unknown => match knocks {
                0 => Duration::ZERO,
                n => KNOCK_AFTER.saturating_mul(2_u32.saturating_pow(n - 1)).min(self.rules.open_for / 4),
            },
            Health::LockedOut | Health::Failing | Health::Answers => self.rules.open_for,
        };
        self.state = State::Open { knock_at: now + wait, knocks, why };
        self.forget();
    }

    /// It starts with one call at a time; each answer makes room for twice as many.
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

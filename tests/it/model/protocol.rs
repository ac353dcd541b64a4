//! The moves: workers that claim, ask and settle as the product decides, messages, and a gateway that keeps
//! those of its promises that the model leaves it.

use std::collections::HashSet;
use std::time::Duration;

use domain::decide::{self, Policy, Profile, Reason, Situation, Spends, Step};
use domain::outcome::{ChargeOutcome, LookupOutcome, VoidOutcome};
use domain::status::{EventType, PaymentStatus};

use super::Without;
use super::outcomes::{Outcomes, silence};

/// The number of claims that the model follows; with more of them nothing new happens.
const CLAIMS_MAX: u8 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Worker {
    Idle,
    /// It holds a claim to charge, and has not sent the charge.
    Charging(u8),
    /// It has sent the charge.
    AwaitingCharge(u8),
    LookingUp(u8),
    Voiding(u8),
    AwaitingVoid(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Answer {
    Charged,
    Declined,
    NotExecuted,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Message {
    Charge(u8),
    Answer(u8, Answer),
    Void(u8),
    Voided(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Gateway {
    Untouched,
    Charged,
    Declined,
    Voided,
}

/// One payment, two workers, the messages on their way, and the gateway's truth.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) status: PaymentStatus,
    held: bool,
    /// The token of the current claim; 0 without one.
    token: u8,
    in_doubt: bool,
    voiding: bool,
    /// Something of a request has left, whatever was answered.
    was_sent: bool,
    retries_spent: u8,
    not_found_count: u8,
    claims: u8,
    pub(super) workers: [Worker; 2],
    net: Vec<Message>,
    pub(super) gateway: Gateway,
    pub(super) charges: u8,
}

impl State {
    /// A payment that was just accepted.
    pub(super) const START: Self = Self {
        status: PaymentStatus::Pending,
        held: false,
        token: 0,
        in_doubt: false,
        voiding: false,
        was_sent: false,
        retries_spent: 0,
        not_found_count: 0,
        claims: 0,
        workers: [Worker::Idle; 2],
        net: Vec::new(),
        gateway: Gateway::Untouched,
        charges: 0,
    };
}

/// The guard that is missing, the policy, and the gateway.
pub(super) struct Model {
    without: Without,
    policy: Policy,
    /// The gateway as it is, beside what is declared.
    truth: Profile,
    outcomes: Outcomes,
}

/// What stands in the place of a step that ends a doubt, where the door does not answer: the doubt goes on.
fn gateway_is_away() -> Step {
    Step::Doubt { wait: Duration::ZERO, reason: Reason::GatewayAway, spends: Spends::Nothing, tells: false }
}

impl Model {
    pub(super) fn new(without: Without, declared: Profile, truth: Profile) -> Self {
        let policy = Policy { max_retries: 2, profile: declared, ..Policy::default() };
        Self { without, policy, truth, outcomes: Outcomes::read() }
    }

    /// The situations that a decision may see: young and old, in every mixture that matters.
    fn situations(&self, state: &State) -> Vec<Situation> {
        let in_doubt = state.in_doubt && self.without != Without::Doubt;
        let ages = [Duration::ZERO, Duration::from_hours(20), Duration::from_hours(25)];
        let mut seen = Vec::new();
        let ages = ages.into_iter().flat_map(|age| ages.map(|doubt_age| (age, doubt_age)));
        for ((age, doubt_age), is_probe) in ages.flat_map(|ages| [(ages, false), (ages, true)]) {
            seen.push(Situation {
                in_doubt,
                was_sent: state.was_sent,
                is_probe,
                retries_spent: state.retries_spent.into(),
                delay_count: 0,
                verify_count: 0,
                not_found_count: state.not_found_count.into(),
                age,
                doubt_age: if in_doubt { doubt_age } else { Duration::ZERO },
                first_sent_age: age,
                send_by_age: age,
                void_age: doubt_age,
                is_voiding: state.voiding,
                from_a_return: None,
            });
        }
        seen
    }

    /// Every state that may follow.
    pub(super) fn next(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        for n in 0..state.workers.len() {
            self.work(state, n, &mut next);
        }
        for (at, &message) in state.net.iter().enumerate() {
            let mut arrived = state.clone();
            arrived.net.remove(at);
            next.push(arrived.clone());
            self.arrive(arrived, message, &mut next);
        }
        next
    }

    fn work(&self, state: &State, n: usize, next: &mut Vec<State>) {
        let mut idle = state.clone();
        idle.workers[n] = Worker::Idle;
        let killed = idle.clone();
        let send = |message, then| {
            let mut sent = state.clone();
            sent.net.push(message);
            sent.net.sort_unstable();
            sent.workers[n] = then;
            sent
        };
        if let Some((token, steps)) = self.without_an_answer(state, state.workers[n]) {
            self.settle(&idle, token, steps.into_iter(), next);
            next.push(idle);
            return;
        }
        match state.workers[n] {
            Worker::Idle => return self.claim(state, n, next),
            Worker::Charging(token) => {
                next.push(send(Message::Charge(token), Worker::AwaitingCharge(token)));
                self.settle_charge(&idle, token, &self.outcomes.unreachable, next);
                let stands_against = |now: &Situation| decide::before_charge(now, &self.policy);
                self.settle(&idle, token, self.situations(state).iter().filter_map(stands_against), next);
            }
            Worker::AwaitingCharge(token) => {
                // A worker that lost its claim writes nothing down, but has left a doubt.
                idle.was_sent |= idle.token == token;
                self.settle_charge(&idle, token, &self.outcomes.unanswered, next);
                self.settle_charge(&idle, token, &self.outcomes.from_a_stranger, next);
                for (at, answer) in state.net.iter().enumerate().filter_map(|(at, message)| match message {
                    Message::Answer(to, answer) if *to == token => Some((at, *answer)),
                    Message::Answer(..) | Message::Charge(_) | Message::Void(_) | Message::Voided(_) => None,
                }) {
                    let mut read = idle.clone();
                    read.net.remove(at);
                    self.settle_charge(&read, token, self.outcomes.of(answer), next);
                }
            }
            Worker::LookingUp(token) => self.look_up(state, &idle, token, next),
            Worker::Voiding(token) => next.push(send(Message::Void(token), Worker::AwaitingVoid(token))),
            Worker::AwaitingVoid(token) => {
                let confirmed = state.net.iter().position(|message| *message == Message::Voided(token));
                let no_answer = VoidOutcome::NoAnswer(silence());
                for (at, outcome) in [(None, no_answer), (confirmed, VoidOutcome::Confirmed)] {
                    if at.is_none() && outcome == VoidOutcome::Confirmed {
                        continue;
                    }
                    let mut read = idle.clone();
                    at.map(|at| read.net.remove(at));
                    let steps = self.situations(state).into_iter();
                    self.settle(
                        &read,
                        token,
                        steps.map(|now| decide::after_void(&now, &self.policy, &outcome)),
                        next,
                    );
                }
            }
        }
        // Killed: what it held is gone, and what it sent is not.
        next.push(killed);
    }

    /// The gateway answers from the truth of now, or not at all.
    fn look_up(&self, state: &State, idle: &State, token: u8, next: &mut Vec<State>) {
        let found = match state.gateway {
            Gateway::Untouched => LookupOutcome::NotFound,
            Gateway::Charged => self.outcomes.found.clone(),
            Gateway::Declined => self.outcomes.found_declined.clone(),
            Gateway::Voided if state.charges > 0 => self.outcomes.found_voided.clone(),
            Gateway::Voided => LookupOutcome::NotFound,
        };
        for outcome in [found, LookupOutcome::NoAnswer(silence())] {
            let steps = self.situations(state).into_iter();
            let steps = steps.map(|now| decide::after_lookup(&now, &self.policy, outcome.clone()));
            self.settle(idle, token, steps, next);
        }
    }

    /// What follows where the gateway is known not to look up or to void, or says so itself when it is asked.
    fn without_an_answer(&self, state: &State, worker: Worker) -> Option<(u8, Vec<Step>)> {
        let policy = &self.policy;
        let no_lookup = |now: &Situation| decide::after_lookup(now, policy, LookupOutcome::Unsupported);
        let no_void = |now: &Situation| decide::after_void(now, policy, &VoidOutcome::Unsupported);
        let (token, before, is_kept, after): (_, _, _, &dyn Fn(&Situation) -> Step) = match worker {
            Worker::LookingUp(token) => {
                (token, decide::before_lookup(policy), self.truth.looks_up, &no_lookup)
            }
            Worker::Voiding(token) => (token, decide::before_void(policy), self.truth.voids, &no_void),
            Worker::Idle | Worker::Charging(_) | Worker::AwaitingCharge(_) | Worker::AwaitingVoid(_) => {
                return None;
            }
        };
        let refused = || self.situations(state).iter().map(after).collect();
        let steps = before.map(|step| vec![step]).or_else(|| (!is_kept).then(refused))?;
        Some((token, steps))
    }

    /// A claim (`attempt_started` or `taken_over`), at any moment: nothing is assumed about leases.
    fn claim(&self, state: &State, n: usize, next: &mut Vec<State>) {
        if state.status.is_terminal() || state.held || state.claims == CLAIMS_MAX {
            return;
        }
        let mut claimed = state.clone();
        claimed.claims += 1;
        claimed.token = claimed.claims;
        let may_charge = state.status == PaymentStatus::Pending;
        let event = if may_charge { EventType::AttemptStarted } else { EventType::TakenOver };
        claimed.status = PaymentStatus::after(Some(state.status), event).unwrap();
        if may_charge {
            claimed.not_found_count = 0;
        } else {
            claimed.in_doubt = self.without != Without::Doubt;
        }
        let looks_up = !state.voiding || self.without == Without::VoidsPrecedence;
        claimed.workers[n] = match (may_charge, looks_up) {
            (true, _) => Worker::Charging(claimed.token),
            (false, true) => Worker::LookingUp(claimed.token),
            (false, false) => Worker::Voiding(claimed.token),
        };
        next.push(claimed);
        if self.without == Without::VoidsPrecedence && state.voiding {
            let mut voiding = state.clone();
            voiding.claims += 1;
            voiding.token = voiding.claims;
            voiding.workers[n] = Worker::Voiding(voiding.token);
            next.push(voiding);
        }
    }

    fn settle_charge(&self, then: &State, token: u8, outcome: &ChargeOutcome, next: &mut Vec<State>) {
        let blindly = self.without == Without::LookingFirst;
        let steps = self.situations(then).into_iter().map(|now| {
            match (decide::after_charge(&now, &self.policy, outcome.clone()), blindly) {
                (Step::Doubt { wait, reason, spends, .. }, true) => Step::Retry { wait, reason, spends },
                (step, _) => step,
            }
        });
        self.settle(then, token, steps, next);
    }

    /// Writes each step that differs, fenced by the token. Where the fence refuses, the worker is done all
    /// the same.
    fn settle(&self, then: &State, token: u8, steps: impl Iterator<Item = Step>, next: &mut Vec<State>) {
        let is_fenced_off = then.token != token && self.without != Without::Fence;
        if then.status != PaymentStatus::Processing || then.held || is_fenced_off {
            next.push(then.clone());
            return;
        }
        let mut written = HashSet::new();
        let or_away = |step: Step| {
            let may_be_away = matches!(step, Step::StartVoid { .. }).then(gateway_is_away);
            may_be_away.into_iter().chain([step])
        };
        for step in steps.flat_map(or_away) {
            let settled = Self::write(then, &step);
            if written.insert(settled.clone()) {
                next.push(settled);
            }
        }
    }

    fn write(then: &State, step: &Step) -> State {
        let mut row = then.clone();
        row.token = 0;
        let (event, spends) = match step {
            Step::Succeed(_) => (EventType::Succeeded, Spends::Nothing),
            Step::Fail(_) => (EventType::Failed, Spends::Nothing),
            Step::Retry { spends, .. } => (EventType::RetryScheduled, *spends),
            Step::Doubt { spends, reason, .. } => {
                row.in_doubt = true;
                row.not_found_count = (row.not_found_count + u8::from(*reason == Reason::NotFound)).min(1);
                (EventType::OutcomeUnknown, *spends)
            }
            Step::StartVoid { spends, .. } => {
                row.voiding = true;
                (EventType::VoidStarted, *spends)
            }
            Step::Reverse { .. } => (EventType::Reversed, Spends::Nothing),
            Step::Hold(_) => {
                row.held = true;
                (EventType::Held, Spends::Nothing)
            }
        };
        row.status = PaymentStatus::after(Some(row.status), event).unwrap();
        row.retries_spent = (row.retries_spent + u8::from(spends == Spends::Try)).min(4);
        row
    }

    /// A message reaches the gateway, which keeps its promises except for the one taken away.
    fn arrive(&self, arrived: State, message: Message, next: &mut Vec<State>) {
        let answer = |mut state: State, gateway: Gateway, message: Message| {
            state.gateway = gateway;
            state.net.push(message);
            state.net.sort_unstable();
            state
        };
        match message {
            Message::Charge(token) => {
                let is_new = arrived.gateway == Gateway::Untouched;
                // A key that is not honoured is as good as a new one, until a void closes it.
                if is_new || (!self.truth.honours_keys && arrived.gateway != Gateway::Voided) {
                    if arrived.charges < 2 {
                        let mut charged = arrived.clone();
                        charged.charges += 1;
                        next.push(answer(charged, Gateway::Charged, Message::Answer(token, Answer::Charged)));
                    }
                    let gateway = if is_new { Gateway::Declined } else { arrived.gateway };
                    next.push(answer(arrived.clone(), gateway, Message::Answer(token, Answer::Declined)));
                    let gateway = arrived.gateway;
                    next.push(answer(arrived, gateway, Message::Answer(token, Answer::NotExecuted)));
                    return;
                }
                let stored = match arrived.gateway {
                    Gateway::Charged => Answer::Charged,
                    Gateway::Declined => Answer::Declined,
                    Gateway::Voided | Gateway::Untouched => Answer::Closed,
                };
                let gateway = arrived.gateway;
                next.push(answer(arrived, gateway, Message::Answer(token, stored)));
            }
            Message::Void(token) => {
                let forgets = self.without == Without::Tombstone && arrived.gateway == Gateway::Untouched;
                let gateway = if forgets { Gateway::Untouched } else { Gateway::Voided };
                next.push(answer(arrived, gateway, Message::Voided(token)));
            }
            Message::Answer(..) | Message::Voided(_) => {}
        }
    }
}

//! The workers' moves: claim, ask and settle, as the product decides.

use domain::decide::{self, Situation, Step};
use domain::ids::PaymentId;
use domain::outcome::{Charge, ChargeOutcome, Failed, FailureKind, LookupOutcome, VoidOutcome};
use domain::status::{EventType, HeldReason, PaymentStatus};
use serde_json::json;
use shared::gateway::simulated;
use shared::gateway::wire::{Exchange, Silence};

use super::{Answer, CLAIMS_MAX, Does, ID_AS_KEY, Message, Mode, Model, Past, Row, State, Without, Worker};

impl Model {
    /// The database whose payment that worker works at. Programs of two kinds beside each other share one.
    fn database(&self, d: usize) -> usize {
        if self.mode == Mode::Mixed { 0 } else { d }
    }

    /// Whether that worker is of the kind that takes a payment's id for its key, even if another key
    /// is stored.
    fn reads_no_keys(&self, d: usize) -> bool {
        self.mode == Mode::Mixed && d == 1
    }

    pub(super) fn work(&self, state: &State, d: usize, next: &mut Vec<State>) {
        let worker = &state.workers[d];
        let mut idle = state.clone();
        idle.workers[d] = Worker { does: Does::Nothing, row: None };
        let Some(row) = worker.row.clone() else { return self.claim(state, d, next) };
        // The worker is killed, at any moment.
        next.push(idle.clone());
        let send = |message, does| {
            let mut sent = state.clone();
            sent.net.push(message);
            sent.net.sort_unstable();
            sent.workers[d].does = does;
            sent
        };
        let situations = self.situations(state, &row);
        match worker.does {
            Does::Nothing => {}
            Does::Charging => {
                let (token, key, id, is_other_amount) = (row.token, row.key, row.id, row.is_other_amount);
                let charge = Message::Charge { token, key, id, is_other_amount };
                if situations.iter().any(|now| decide::before_charge(now, &self.policy).is_none()) {
                    next.push(send(charge, Does::AwaitingCharge));
                }
                for now in &situations {
                    let step = decide::before_charge(now, &self.policy);
                    next.extend(step.map(|step| self.settled(&idle, d, &row, self.guarded(now, step, None))));
                }
            }
            Does::AwaitingCharge => self.hear_charge(state, d, &row, next),
            Does::LookingUp => {
                let silent = LookupOutcome::NoAnswer(Failed::new(FailureKind::Timeout, "nothing"));
                for outcome in [self.look(state, &row), silent] {
                    for now in &situations {
                        let known = state.rows[self.database(d)].as_ref();
                        let step = self.after_look(known, &row, now, outcome.clone());
                        next.push(self.settled(&idle, d, &row, step));
                    }
                }
            }
            Does::Voiding => {
                let void = Message::Void { token: row.token, key: row.key, id: row.id };
                next.push(send(void, Does::AwaitingVoid));
            }
            Does::AwaitingVoid => {
                let voided = Message::Voided { token: row.token };
                if let Some(at) = state.net.iter().position(|message| *message == voided) {
                    let mut read = idle.clone();
                    read.net.remove(at);
                    let step = decide::after_void(&situations[0], &self.policy, &VoidOutcome::Confirmed);
                    next.push(self.settled(&read, d, &row, step));
                }
            }
        }
    }

    fn hear_charge(&self, state: &State, d: usize, row: &Row, next: &mut Vec<State>) {
        let answered = |status, body: serde_json::Value| Exchange::answered(status, &body);
        let mut heard = vec![(None, Exchange::Unanswered(Silence::Timeout, "timeout".to_owned()))];
        for (at, message) in state.net.iter().enumerate() {
            let Message::Answer { token, answer } = *message else { continue };
            if token == row.token {
                heard.push((
                    Some(at),
                    match answer {
                        Answer::Charged { id } => {
                            answered(201, self.charge(row.key, (id, row.is_other_amount), "succeeded"))
                        }
                        Answer::Reused => answered(422, json!({ "code": "key_reused" })),
                        Answer::Closed => answered(409, json!({ "code": "voided" })),
                    },
                ));
            }
        }
        for (at, exchange) in heard {
            let mut read = state.clone();
            read.workers[d] = Worker { does: Does::Nothing, row: None };
            at.map(|at| read.net.remove(at));
            let outcome = simulated::charged(&exchange, &self.expected(row));
            for now in self.situations(state, row) {
                if self.without == Without::Contradiction && matches!(outcome, ChargeOutcome::KeyReused(_)) {
                    next.push(self.with_another_key(&read, d, row));
                    continue;
                }
                let step = if let ChargeOutcome::ChargedAs(charge, named) = &outcome {
                    self.adopted(read.rows[self.database(d)].as_ref(), charge, *named)
                } else {
                    decide::after_charge(&now, &self.policy, outcome.clone())
                };
                next.push(self.settled(&read, d, row, self.guarded(&now, step, None)));
            }
        }
    }

    /// The move of a naive program that was told that its key is used.
    fn with_another_key(&self, then: &State, d: usize, row: &Row) -> State {
        let mut state = then.clone();
        if let Some(own) = state.rows[self.database(d)].as_mut().filter(|own| own.token == row.token) {
            own.key = 1;
            own.token = 0;
            own.status = PaymentStatus::Pending;
        }
        state
    }

    fn guarded(&self, now: &Situation, step: Step, seen: Option<&LookupOutcome>) -> Step {
        if self.without == Without::LookingBeforeVoids {
            return step;
        }
        decide::look_before_void(now, &self.policy, step, seen)
    }

    /// What follows a charge that names another payment: it is this one's, if this database does not know
    /// that payment.
    fn adopted(&self, known: Option<&Row>, charge: &Charge, named: PaymentId) -> Step {
        let is_known = known.is_some_and(|row| self.ids[usize::from(row.id)] == named);
        if is_known { Step::Hold(HeldReason::Contradiction) } else { Step::Succeed(charge.clone()) }
    }

    fn after_look(&self, known: Option<&Row>, row: &Row, now: &Situation, outcome: LookupOutcome) -> Step {
        if let (LookupOutcome::ChargedAs(charge, named), false) = (&outcome, row.voiding) {
            return self.adopted(known, charge, *named);
        }
        if row.looks_first {
            return decide::first_look(now, &self.policy, outcome);
        }
        let step = decide::after_lookup(now, &self.policy, outcome.clone());
        self.guarded(now, step, Some(&outcome))
    }

    fn look(&self, state: &State, row: &Row) -> LookupOutcome {
        let key = &state.keys[usize::from(row.key)];
        let standing = key.standing.iter().map(|&named| self.charge(row.key, named, "succeeded"));
        let undone = key.was_voided.then(|| self.charge(row.key, (row.id, row.is_other_amount), "voided"));
        let data: Vec<_> = standing.chain(undone).collect();
        let listing = Exchange::answered(200, &json!({ "data": data }));
        LookupOutcome::of(&simulated::looked_up(&listing), &self.expected(row))
    }

    fn claim(&self, state: &State, d: usize, next: &mut Vec<State>) {
        let Some(row) = &state.rows[self.database(d)] else { return };
        let is_closed = state.past == Past::Replaced;
        if is_closed || row.status.is_terminal() || row.held.is_some() || state.claims == CLAIMS_MAX {
            return;
        }
        if self.reads_no_keys(d) && row.key != ID_AS_KEY && self.without != Without::ReadingKeys {
            return;
        }
        let mut claimed = state.clone();
        claimed.claims += 1;
        let mut own = row.clone();
        own.token = claimed.claims;
        let may_charge = row.status == PaymentStatus::Pending && !row.looks_first;
        let event = if may_charge { EventType::AttemptStarted } else { EventType::Verifying };
        own.status = PaymentStatus::after(Some(row.status), event).unwrap();
        if may_charge {
            own.not_found_count = 0;
        } else {
            own.in_doubt = true;
        }
        let does = match (may_charge, own.voiding && !own.looks_first) {
            (true, _) => Does::Charging,
            (false, false) => Does::LookingUp,
            (false, true) => Does::Voiding,
        };
        let stored = Row { was_sent: own.was_sent || may_charge, ..own.clone() };
        // What this claim itself sends is told to those that come after it.
        claimed.rows[self.database(d)] = Some(stored);
        if self.reads_no_keys(d) {
            own.key = ID_AS_KEY;
        }
        claimed.workers[d] = Worker { does, row: Some(own) };
        next.push(claimed);
    }

    /// The state after settling: written, if the claim is still there. A result that came too late puts a
    /// payment in doubt that knows nothing of it. Without such a payment it is kept as an orphan.
    fn settled(&self, then: &State, d: usize, claim: &Row, step: Step) -> State {
        let mut state = then.clone();
        let orphans = &mut state.orphans;
        let Some(row) = &mut state.rows[self.database(d)] else {
            orphans[usize::from(claim.key)] |= matches!(step, Step::Succeed(_)) && state.past != Past::Split;
            return state;
        };
        if row.token != claim.token || row.id != claim.id || row.status.is_terminal() || row.held.is_some() {
            let is_unaware =
                row.id == claim.id && !row.status.is_terminal() && row.held.is_none() && !row.in_doubt;
            if is_unaware {
                row.status = PaymentStatus::Processing;
                (row.token, row.in_doubt, row.was_sent) = (0, true, true);
            }
            return state;
        }
        row.token = 0;
        let event = step.event();
        match step {
            Step::Succeed(_) => orphans[usize::from(claim.key)] = false,
            Step::Fail(_) | Step::Retry { .. } => {}
            Step::Doubt { reason, .. } => {
                row.in_doubt = true;
                row.not_found_count =
                    (row.not_found_count + u8::from(reason == decide::Reason::NotFound)).min(1);
                row.looks_first &= reason != decide::Reason::RestoredSeen;
            }
            Step::StartVoid { .. } => row.voiding = true,
            Step::Reverse { .. } => {}
            Step::Hold(reason) => row.held = Some(reason.as_str()),
        }
        row.status = PaymentStatus::after(Some(row.status), event).unwrap();
        state
    }
}

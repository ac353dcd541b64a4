//! A batch: calls that are decided together on top of the states of their keys, and all that must be written
//! before their answers may leave. Pure.
//!
//! Invariant: calls are decided one after the other, each seeing what those before it did. Every call leaves
//! one `request` and one `answer` row in the journal, with its effects between them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::act::{Act, ActRequest, ActStatus};
use crate::book::{Charge, KeyState};
use crate::decide::{self, Case, Decision, Effect};
use crate::faults::{Fate, Faults};
use crate::refund::Refund;
use crate::reply::{Refusal, Reply};
use crate::request::Request;

#[cfg(test)]
mod tests;

/// One call, as it was taken up.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) correlation_id: Option<String>,
    /// The faults as they were when the call came in.
    pub(crate) faults: Arc<Faults>,
    pub(crate) fate: Fate,
}

/// A row of the journal before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) op: Op,
    pub(crate) http_status: Option<u16>,
    pub(crate) key: Option<String>,
    pub(crate) charge_id: Option<String>,
    pub(crate) money: Option<(Decimal, String)>,
    pub(crate) reference: Option<String>,
    pub(crate) correlation_id: Option<String>,
    /// Of what is done to a charge: its own key, and its own id.
    pub(crate) act_key: Option<String>,
    pub(crate) act_id: Option<String>,
}

/// What a journal row records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call was taken up.
    Request,
    /// A call was answered, or ended without an answer.
    Answer,
    /// A charge took effect.
    Charge,
    /// A charge was undone.
    Void,
    /// A part or all of a charge was given back.
    Refund,
    /// A part or all of a charge was returned.
    Return,
    /// A dispute was opened, won or lost.
    Dispute,
    DisputeWon,
    DisputeLost,
}

/// The kind of call that a journal row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// `POST /charges`, or time passing over a charge.
    Charge,
    /// `GET /charges…`: what a key or a charge came to.
    Lookup,
    /// `POST /voids`: the end of a key.
    Void,
    /// `POST /refunds`: money back.
    Refund,
    /// `GET /refunds…`: what the key of a refund came to.
    RefundLookup,
    /// `POST /dashboard/…`.
    Dashboard,
}

/// The states of some keys, as loaded and as they are now, and the journal rows of the difference.
#[derive(Debug)]
pub(crate) struct Batch {
    now: DateTime<Utc>,
    pages: HashMap<String, Page>,
    journal: Vec<Entry>,
}

#[derive(Debug)]
struct Page {
    stored: Option<KeyState>,
    current: KeyState,
}

/// All that a batch changed, and when.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) at: DateTime<Utc>,
    pub(crate) keys: Vec<&'a KeyState>,
    pub(crate) charges: Vec<&'a Charge>,
    pub(crate) refunds: Vec<&'a Refund>,
    pub(crate) acts: Vec<&'a Act>,
    pub(crate) journal: &'a [Entry],
}

impl Batch {
    /// A batch on top of the stored `states`, in which everything due at `now` has been decided.
    pub(crate) fn new(now: DateTime<Utc>, states: Vec<KeyState>) -> Batch {
        let mut batch = Batch { now, pages: HashMap::new(), journal: Vec::new() };
        for state in states {
            let mut page = Page { stored: Some(state.clone()), current: state };
            for effect in decide::settle_due(&mut page.current, now) {
                batch.journal.push(effect_entry(effect, Op::Charge, None));
            }
            batch.pages.insert(page.current.key.clone(), page);
        }
        batch
    }

    /// Decides one call, and answers its reply.
    pub(crate) fn decide(&mut self, call: &Call) -> Reply {
        let op = op_of(&call.request);
        let key = self.key_of(&call.request);
        self.journal.push(request_entry(call, key.clone()));

        let Decision { reply, effects } = match &key {
            Some(key) => self.decide_for_key(key, call),
            None if matches!(call.request, Request::Refund(_) | Request::Act(_)) => {
                decide::refuse(Refusal::ChargeUnknown)
            }
            // A lookup of what is unknown is decided against a state that is thrown away, unchanged.
            None => decide::decide(&mut KeyState::unused(String::new()), &call.request, &self.case(call)),
        };

        for effect in effects {
            self.journal.push(effect_entry(effect, op, call.correlation_id.clone()));
        }
        let mut entry = Entry { kind: Kind::Answer, ..request_entry(call, key) };
        if let Some(answer) = reply.answer() {
            entry.http_status = Some(answer.http_status());
            entry.charge_id = answer.charge_id().map(str::to_owned).or(entry.charge_id);
        }
        self.journal.push(entry);
        reply
    }

    fn decide_for_key(&mut self, key: &str, call: &Call) -> Decision {
        let case = self.case(call);
        let page = self.pages.entry(key.to_owned()).or_insert_with(|| Page::blank(key));
        let mut decision = decide::decide(&mut page.current, &call.request, &case);
        if call.fate.is_duplicated {
            let again = Case { charge_id: new_charge_id(), ..case };
            let second = decide::decide(&mut page.current, &call.request, &again);
            decision.effects.extend(second.effects);
            // The later answer is the one that knows both.
            decision.reply = second.reply;
        }
        decision
    }

    fn case<'a>(&self, call: &'a Call) -> Case<'a> {
        Case { now: self.now, charge_id: new_charge_id(), faults: &call.faults, fate: call.fate }
    }

    fn key_of(&self, request: &Request) -> Option<String> {
        match request {
            Request::Charge(request) => Some(request.key.clone()),
            Request::LookUpKey(key) | Request::Void(key) => Some(key.clone()),
            Request::LookUpCharge(id) => self.key_of_charge(id),
            Request::LookUpRefunds(key) => self.key_of_refund(key),
            Request::Refund(request) => {
                self.key_of_refund(&request.key).or_else(|| self.key_of_charge(&request.charge_id))
            }
            Request::Act(ActRequest::End { id, .. }) => {
                self.key_where(|state| state.acts.iter().any(|act| act.id == *id))
            }
            Request::Act(act) => act.charge_id().and_then(|id| self.key_of_charge(id)),
        }
    }

    fn key_of_charge(&self, id: &str) -> Option<String> {
        self.key_where(|state| state.charges.iter().any(|charge| charge.id == id))
    }

    /// The key of the charge that a refund with this key is of.
    fn key_of_refund(&self, key: &str) -> Option<String> {
        self.key_where(|state| state.refunds.iter().any(|refund| refund.key == key))
    }

    fn key_where(&self, holds: impl Fn(&KeyState) -> bool) -> Option<String> {
        self.pages.values().find(|page| holds(&page.current)).map(|page| page.current.key.clone())
    }

    /// What must be committed before any of the replies may leave.
    pub(crate) fn changes(&self) -> Changes<'_> {
        let (keys, charges, refunds, acts) = Default::default();
        let mut changes = Changes { at: self.now, keys, charges, refunds, acts, journal: &self.journal };
        for page in self.pages.values() {
            let stored_charges = page.stored.as_ref().map_or(&[][..], |stored| &stored.charges);
            let is_changed = |charge: &&Charge| !stored_charges.contains(charge);
            changes.charges.extend(page.current.charges.iter().filter(is_changed));
            let stored_refunds = page.stored.as_ref().map_or(&[][..], |stored| &stored.refunds);
            let is_changed = |refund: &&Refund| !stored_refunds.contains(refund);
            changes.refunds.extend(page.current.refunds.iter().filter(is_changed));
            let stored_acts = page.stored.as_ref().map_or(&[][..], |stored| &stored.acts);
            changes.acts.extend(page.current.acts.iter().filter(|act| !stored_acts.contains(act)));
            if page.is_key_changed() {
                changes.keys.push(&page.current);
            }
        }
        changes
    }
}

impl Page {
    fn blank(key: &str) -> Page {
        Page { stored: None, current: KeyState::unused(key.to_owned()) }
    }

    /// Whether the key itself must be written, apart from its charges. A key that was only looked up, never
    /// charged or voided, leaves no row.
    fn is_key_changed(&self) -> bool {
        let facts =
            |state: &KeyState| (state.asked.clone(), state.charge_calls, state.lookup_calls, state.closed);
        let unused = || KeyState::unused(String::new());
        facts(&self.current) != self.stored.as_ref().map_or_else(|| facts(&unused()), facts)
    }
}

impl Changes<'_> {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.charges.is_empty()
            && self.refunds.is_empty()
            && self.acts.is_empty()
            && self.journal.is_empty()
    }
}

fn new_charge_id() -> String {
    format!("ch_{}", uuid::Uuid::now_v7().simple())
}

fn op_of(request: &Request) -> Op {
    match request {
        Request::Charge(_) => Op::Charge,
        Request::LookUpKey(_) | Request::LookUpCharge(_) => Op::Lookup,
        Request::Void(_) => Op::Void,
        Request::Refund(_) => Op::Refund,
        Request::LookUpRefunds(_) => Op::RefundLookup,
        Request::Act(_) => Op::Dashboard,
    }
}

fn request_entry(call: &Call, key: Option<String>) -> Entry {
    let (charge_id, money, reference) = match &call.request {
        Request::Charge(r) => (None, Some((r.amount, r.currency.clone())), Some(r.reference.clone())),
        Request::LookUpCharge(id) => (Some(id.clone()), None, None),
        Request::Refund(r) => {
            (Some(r.charge_id.clone()), Some((r.amount, r.currency.clone())), Some(r.reference.clone()))
        }
        Request::Act(act) => (act.charge_id().map(str::to_owned), None, None),
        Request::LookUpKey(_) | Request::Void(_) | Request::LookUpRefunds(_) => (None, None, None),
    };
    let act_key = match &call.request {
        Request::Refund(request) => Some(request.key.clone()),
        Request::LookUpRefunds(key) => Some(key.clone()),
        Request::Charge(_)
        | Request::LookUpKey(_)
        | Request::LookUpCharge(_)
        | Request::Void(_)
        | Request::Act(_) => None,
    };
    Entry {
        kind: Kind::Request,
        op: op_of(&call.request),
        http_status: None,
        key,
        charge_id,
        money,
        reference,
        correlation_id: call.correlation_id.clone(),
        act_key,
        act_id: None,
    }
}

fn effect_entry(effect: Effect, op: Op, correlation_id: Option<String>) -> Entry {
    let (kind, charge, act_key, act_id) = match effect {
        Effect::Charged(charge) => (Kind::Charge, charge, None, None),
        Effect::Voided(charge) => (Kind::Void, charge, None, None),
        Effect::Refunded(charge, refund) => {
            (Kind::Refund, Charge { amount: refund.amount, ..charge }, Some(refund.key), Some(refund.id))
        }
        Effect::Acted(charge, act) => {
            let kind = match act.status {
                ActStatus::Returned => Kind::Return,
                ActStatus::Open => Kind::Dispute,
                ActStatus::Won => Kind::DisputeWon,
                ActStatus::Lost => Kind::DisputeLost,
            };
            (kind, Charge { amount: act.amount, ..charge }, None, Some(act.id))
        }
    };
    Entry {
        kind,
        op,
        http_status: None,
        key: Some(charge.key),
        charge_id: Some(charge.id),
        money: Some((charge.amount, charge.currency)),
        reference: Some(charge.reference),
        correlation_id,
        act_key,
        act_id,
    }
}

impl Kind {
    /// The word for it in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Answer => "answer",
            Kind::Charge => "charge",
            Kind::Void => "void",
            Kind::Refund => "refund",
            Kind::Return => "return",
            Kind::Dispute => "dispute",
            Kind::DisputeWon => "dispute_won",
            Kind::DisputeLost => "dispute_lost",
        }
    }
}

impl Op {
    /// The word for it in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Op::Charge => "charge",
            Op::Lookup => "lookup",
            Op::Void => "void",
            Op::Refund => "refund",
            Op::RefundLookup => "refund_lookup",
            Op::Dashboard => "dashboard",
        }
    }
}

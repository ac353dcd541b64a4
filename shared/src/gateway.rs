//! The one wing that calls a payment gateway.
//!
//! It may use `platform` and `database`. It knows nothing of how a payment is claimed or settled: it gets an
//! order, and tells what came back.
//!
//! [`adapter`] words calls and reads answers, [`simulated`] is the adapter there is; [`wire`] carries one
//! exchange. Here stands what is the same for every adapter: deadline, fault points, metrics, and what is
//! kept as evidence. [`door`] asks who the gateway is, [`books`] reads its journal, [`outage`] tells other
//! workers that it is away. [`settings`] say how each is reached, and [`names`] which of them there are.
//!
//! Invariant: every attempt for a payment carries the same key, which was fixed with the payment. What an
//! answer means is for the adapter to read and for [`domain::outcome`] to judge.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ids::{GatewayKey, GatewayName, OperationId, PaymentId};
use domain::money::Money;
use domain::operation::{ExpectedEffect, OperationOutcome};
use domain::outcome::{ChargeOutcome, Expected, FailureKind, LEFT, Looked, NotSent, Outcome, VoidOutcome};
use serde_json::{Value, json};

use crate::database::Standing;
use crate::platform::config::InvalidSetting;
use crate::platform::{fault, metrics};
use crate::point;
use adapter::Adapter;
use simulated::Simulated;
#[cfg(debug_assertions)]
use wire::Silence;
use wire::{Call, Exchange, Limits, Wire};

pub mod adapter;
pub mod books;
pub mod door;
pub mod names;
pub mod outage;
mod retry_after;
pub mod settings;
pub mod simulated;
pub mod wire;

pub use wire::ApiKey;

/// No answer of a gateway about one payment is longer; a longer one is garbage.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A gateway, and how to reach it. Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Gateway {
    name: GatewayName,
    adapter: Arc<dyn Adapter>,
    wire: Wire,
    timeout: Duration,
    /// Whether it stays outside until it has said who it is, because it could be taken for another one.
    must_say_who_it_is: bool,
}

/// A charge, as it is ordered.
#[derive(Debug, Clone, Copy)]
pub struct ChargeOrder<'a> {
    /// The key of the payment: the same for every attempt.
    pub key: &'a GatewayKey,
    /// The amount to charge, and its currency.
    pub money: Money,
    /// The token of the payment method to charge.
    pub payment_method: &'a str,
    /// The payment's id, which the gateway's own books show beside the charge.
    pub reference: PaymentId,
    /// The id that follows the payment through the logs of both sides.
    pub correlation_id: &'a str,
}

/// What an exchange came to, and what of it is kept.
#[derive(Debug, Clone)]
pub struct Told<O> {
    /// What the answer means.
    pub outcome: O,
    /// How the exchange failed; none where the gateway answered the question.
    pub failure: Option<FailureKind>,
    /// For the payment's history.
    pub evidence: Value,
    /// How long the call took.
    pub duration: Duration,
}

/// Until when a request may be sent: up to a moment, and while the server that has its claim still takes
/// writes.
#[derive(Debug, Clone)]
pub struct SendBy {
    at: Instant,
    standing: Standing,
}

impl SendBy {
    /// The limit for a request whose claim was made at that standing.
    #[must_use]
    pub const fn new(at: Instant, standing: Standing) -> Self {
        Self { at, standing }
    }

    /// Why it may not be sent any more; none if it may.
    fn stands_against(&self) -> Option<NotSent> {
        if Instant::now() >= self.at {
            Some(NotSent::TooLateToSend)
        } else if self.standing.holds() {
            None
        } else {
            Some(NotSent::AnotherDatabase)
        }
    }
}

impl From<Instant> for SendBy {
    /// The limit for a request that needs no claim.
    fn from(at: Instant) -> Self {
        Self::new(at, Standing::of_nothing())
    }
}

impl Gateway {
    /// The gateway of that name at `url` (`http` or `https`), each exchange with which may take `timeout` in
    /// all. It gets `key` with every call, where there is one.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(
        name: GatewayName,
        url: &str,
        key: Option<ApiKey>,
        timeout: Duration,
    ) -> Result<Self, InvalidSetting> {
        let wire = Wire::new(url, key, timeout / 2)?;
        Ok(Self { name, adapter: Arc::new(Simulated), wire, timeout, must_say_who_it_is: false })
    }

    /// The same gateway, which stays outside until it has said who it is: beside others, one that says
    /// nothing could be any of them.
    #[must_use]
    pub fn that_must_say_who_it_is(self) -> Self {
        Self { must_say_who_it_is: true, ..self }
    }

    /// The name under which our books and breaks have it.
    #[must_use]
    pub const fn name(&self) -> &GatewayName {
        &self.name
    }

    /// Charges, once under the order's key.
    pub async fn charge(
        &self,
        order: &ChargeOrder<'_>,
        expected: &Expected,
        send_by: impl Into<SendBy>,
    ) -> Told<ChargeOutcome> {
        let key = charge_key(order.key);
        let call = self.adapter.charge(&ChargeOrder { key: &key, ..*order });
        let (exchange, started) = self.call(&CHARGE, call, order.correlation_id, send_by.into()).await;
        tell((&self.name, &CHARGE), &exchange, self.adapter.charged(&exchange, expected), started)
    }

    /// Asks which charges were made under the payment's key, and has `judge` say what that means for the
    /// question at hand.
    pub async fn look_up<O: Outcome>(
        &self,
        (key, correlation_id): (&GatewayKey, &str),
        send_by: impl Into<SendBy>,
        judge: impl FnOnce(&Looked) -> O,
    ) -> Told<O> {
        let call = self.adapter.look_up(key);
        let (exchange, started) = self.call(&LOOKUP, call, correlation_id, send_by.into()).await;
        let looked = self.adapter.looked_up(&exchange);
        tell((&self.name, &LOOKUP), &exchange, judge(&looked), started)
    }

    /// Undoes whatever was charged under the payment's key, and closes the key.
    pub async fn void(
        &self,
        (key, correlation_id): (&GatewayKey, &str),
        send_by: impl Into<SendBy>,
    ) -> Told<VoidOutcome> {
        let (exchange, started) =
            self.call(&VOID, self.adapter.void(key), correlation_id, send_by.into()).await;
        tell((&self.name, &VOID), &exchange, self.adapter.voided(&exchange, key), started)
    }

    /// Gives back a part or all of a charge, once under the order's key.
    pub async fn refund(
        &self,
        order: &ExpectedEffect,
        correlation_id: &str,
        send_by: impl Into<SendBy>,
    ) -> Told<OperationOutcome> {
        let order = &ExpectedEffect { key: refund_key(&order.key), ..order.clone() };
        let call = self.adapter.refund(order);
        let (exchange, started) = self.call(&REFUND, call, correlation_id, send_by.into()).await;
        tell((&self.name, &REFUND), &exchange, self.adapter.refunded(&exchange, order), started)
    }

    /// Asks what became of a refund.
    pub async fn look_up_refund(
        &self,
        order: &ExpectedEffect,
        correlation_id: &str,
        send_by: impl Into<SendBy>,
    ) -> Told<OperationOutcome> {
        let call = self.adapter.look_up_refund(&order.key);
        let (exchange, started) = self.call(&REFUND_LOOKUP, call, correlation_id, send_by.into()).await;
        let outcome = self.adapter.refund_looked_up(&exchange, order);
        tell((&self.name, &REFUND_LOOKUP), &exchange, outcome, started)
    }

    /// One exchange, unless `send_by` has passed: by then the claim may be somebody else's, or gone with its
    /// server.
    #[cfg_attr(
        not(debug_assertions),
        expect(unused_variables, reason = "only points need to know what it is")
    )]
    async fn call(
        &self,
        op: &Op,
        mut call: Call,
        correlation_id: &str,
        send_by: SendBy,
    ) -> (Exchange, Instant) {
        if fault::sabotaged("no_gateway_key") {
            call.key = None;
        }
        point!(op.before, return (Exchange::Unreachable(ARMED.to_owned()), Instant::now()));
        let started = Instant::now();
        if let Some(why) = send_by.stands_against() {
            return (Exchange::NotSent(why), started);
        }
        point!(op.sending, return (Exchange::Unanswered(Silence::Reset, ARMED.to_owned()), started));
        let limits = Limits { time: self.timeout, answer_bytes: ANSWER_BYTES_MAX };
        let exchange = self.wire.exchange(call, correlation_id, limits).await;
        point!(op.answered, return (Exchange::Unanswered(Silence::Reset, ARMED.to_owned()), started));
        (exchange, started)
    }
}

/// The cause of a call that a test armed to fail.
#[cfg(debug_assertions)]
const ARMED: &str = "armed fault";

/// What is asked of the gateway, how it is counted, and its fault points.
#[cfg_attr(not(debug_assertions), expect(dead_code, reason = "only a test build has fault points"))]
struct Op {
    name: &'static str,
    before: &'static str,
    sending: &'static str,
    answered: &'static str,
}

const CHARGE: Op =
    Op { name: "charge", before: "charge.before", sending: "charge.sending", answered: "charge.answered" };
const LOOKUP: Op =
    Op { name: "lookup", before: "lookup.before", sending: "lookup.sending", answered: "lookup.answered" };
const VOID: Op =
    Op { name: "void", before: "void.before", sending: "void.sending", answered: "void.answered" };

const REFUND: Op =
    Op { name: "refund", before: "refund.before", sending: "refund.sending", answered: "refund.answered" };
const REFUND_LOOKUP: Op = Op {
    name: "refund_lookup",
    before: "refund_lookup.before",
    sending: "refund_lookup.sending",
    answered: "refund_lookup.answered",
};

/// Counts what an exchange came to, and gathers what of it is kept.
fn tell<O: Outcome>(
    (gateway, op): (&GatewayName, &Op),
    exchange: &Exchange,
    outcome: O,
    started: Instant,
) -> Told<O> {
    let (failure, duration) = (outcome.failure(), started.elapsed());
    let latency_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut evidence = json!({ "op": op.name, "latency_ms": latency_ms });
    match exchange {
        Exchange::Answered(answer) => {
            evidence["http_status"] = json!(answer.status);
            evidence["answer"] = serde_json::from_slice(&answer.body).map_or(Value::Null, without_nul);
        }
        Exchange::Unreachable(why) => evidence["unreachable"] = json!(why),
        Exchange::Unanswered(_, why) => evidence["unanswered"] = json!(why),
        Exchange::NotSent(why) => evidence["not_sent"] = json!(why),
    }
    if exchange.left_nothing() {
        evidence[LEFT] = json!(false);
    }
    metrics::gateway_called((gateway, op.name), outcome.as_str(), failure, duration);
    tracing::debug!(%gateway, op = op.name, outcome = outcome.as_str(), ?duration, "asked the gateway");
    Told { outcome, failure, evidence, duration }
}

/// The key of all charges for a payment. Sabotage `new_key_per_attempt` makes one up for each.
fn charge_key(key: &GatewayKey) -> GatewayKey {
    match fault::sabotaged("new_key_per_attempt") {
        true => GatewayKey::of(None, PaymentId::generate()),
        false => key.clone(),
    }
}

/// The key of all requests for a refund. Sabotage `new_key_per_refund` makes one up for each.
fn refund_key(key: &str) -> String {
    match fault::sabotaged("new_key_per_refund") {
        true => OperationId::generate().to_string(),
        false => key.to_owned(),
    }
}

/// The answer with U+0000 replaced, which Postgres does not store.
fn without_nul(answer: Value) -> Value {
    match answer {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name.replace('\0', "\u{fffd}"), without_nul(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => answer,
    }
}

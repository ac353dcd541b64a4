//! The bytes of a public event. They are made from what is recorded once and never changes, by the renderer
//! that is stored with the event.
//!
//! Invariant: a renderer stays as it is for ever. A changed form is another renderer.

use std::collections::HashMap;

use domain::ids::{EndpointId, MerchantId, PaymentId};
use domain::money::Money;
use domain::public_event::EventId;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

use super::reader::Stored;
use crate::database::InTime as _;
use crate::payment::Event;
use crate::payment::history::{self, Row};
use crate::platform::time::rfc3339;

/// The version of the form of events, which each says of itself.
pub const API_VERSION: &str = "2026-11-30";

/// An event that may be told, with its bytes.
#[derive(Debug, Clone)]
pub struct Told {
    /// What is stored of it.
    pub event: Stored,
    /// The event as JSON.
    pub body: Box<RawValue>,
}

/// Why an event has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum NotRendered {
    /// This program does not know the renderer, or a word of the object's history.
    #[error("no renderer {renderer} for this event of a {kind}: this program is older than it")]
    Unknown {
        /// The kind of object.
        kind: String,
        /// The number of the renderer.
        renderer: i16,
    },
    /// The event cannot be written as JSON, which cannot be.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The database's error.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

#[derive(Serialize)]
struct EventView<'a> {
    id: EventId,
    object: &'static str,
    #[serde(rename = "type")]
    event_type: &'a str,
    api_version: &'static str,
    created_at: String,
    merchant: MerchantId,
    payment: Option<PaymentId>,
    version: u32,
    previous_version: Option<i32>,
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Payment(Box<PaymentData<'a>>),
    Endpoint(EndpointData<'a>),
}

/// An endpoint as it stood at the event. This is its renderer 1.
#[derive(Serialize)]
struct EndpointData<'a> {
    id: EndpointId,
    object: &'static str,
    url: &'a str,
    status: &'static str,
    disabled_reason: Option<&'a str>,
}

/// One event of an endpoint.
struct EndpointEvent {
    endpoint_id: Uuid,
    url: String,
    version: i32,
    event_type: String,
    reason: Option<String>,
}

/// A payment as it stood at the event. This is renderer 1.
#[derive(Serialize)]
struct PaymentData<'a> {
    id: PaymentId,
    object: &'static str,
    status: &'a str,
    amount: String,
    currency: &'a str,
    customer_id: &'a str,
    payment_method: &'a str,
    description: Option<&'a str>,
    metadata: &'a Value,
    attempt_count: i32,
    due_at: Option<String>,
    held_reason: Option<&'a str>,
    failure: Option<FailureData<'a>>,
    gateway: Option<GatewayData<'a>>,
    created_at: String,
    updated_at: String,
    terminal_at: Option<String>,
    version: i32,
}

#[derive(Serialize)]
struct FailureData<'a> {
    code: &'a str,
    message: Option<&'a str>,
    retryable: Option<bool>,
}

#[derive(Serialize)]
struct GatewayData<'a> {
    transaction_id: &'a str,
}

/// Makes the bytes of these events of a merchant, up to the first one that this program is too old for. That
/// one is for a newer program to tell.
///
/// # Errors
/// The database's error; or this program is older than the first of the events.
pub async fn render(
    pool: &PgPool,
    merchant: MerchantId,
    events: Vec<Stored>,
) -> Result<Vec<Told>, NotRendered> {
    let payments: Vec<Uuid> =
        events.iter().filter(|it| it.kind == "payment").map(|it| it.id.object).collect();
    let histories = histories(pool, &payments).await?;
    let endpoints: Vec<Uuid> =
        events.iter().filter(|it| it.kind == "webhook_endpoint").map(|it| it.id.object).collect();
    let logs = if endpoints.is_empty() { Vec::new() } else { logs(pool, &endpoints).await? };
    let mut told = Vec::with_capacity(events.len());
    for event in events {
        let body = match (event.kind.as_str(), event.renderer) {
            ("payment", 1) => payment(merchant, &event, histories.get(&event.id.object)),
            ("webhook_endpoint", 1) => endpoint(merchant, &event, &logs),
            _ => Err(too_old(&event)),
        };
        match body {
            Ok(body) => told.push(Told { event, body }),
            Err(why) if told.is_empty() => return Err(why),
            Err(why) => {
                tracing::error!(%why, "a page of events ends here");
                break;
            }
        }
    }
    Ok(told)
}

fn too_old(event: &Stored) -> NotRendered {
    NotRendered::Unknown { kind: event.kind.clone(), renderer: event.renderer }
}

/// The events of each of these payments, oldest first.
async fn histories(pool: &PgPool, payments: &[Uuid]) -> sqlx::Result<HashMap<Uuid, Vec<Event>>> {
    let mut histories: HashMap<Uuid, Vec<Event>> = HashMap::with_capacity(payments.len());
    if payments.is_empty() {
        return Ok(histories);
    }
    let rows = sqlx::query!(
        "select payment_id, version, type as event_type, from_status, to_status, reason, evidence, claim_token, due_at,
                spends, correlation_id, at
           from payment_events where payment_id = any($1) order by payment_id, version",
        payments
    )
    .fetch_all(pool)
    .in_time()
    .await?;
    for row in rows {
        let event = Event {
            version: row.version,
            event_type: row.event_type,
            from_status: row.from_status,
            to_status: row.to_status,
            reason: row.reason,
            evidence: row.evidence,
            claim_token: row.claim_token,
            due_at: row.due_at,
            spends: row.spends,
            correlation_id: row.correlation_id,
            at: row.at,
        };
        histories.entry(row.payment_id).or_default().push(event);
    }
    Ok(histories)
}

/// An event of a payment, by renderer 1. Where events are missing from the payment's history, nobody can say
/// how it stood. The event is told all the same, without `data`: every program finds the same ones missing.
fn payment(
    merchant: MerchantId,
    event: &Stored,
    history: Option<&Vec<Event>>,
) -> Result<Box<RawValue>, NotRendered> {
    let up_to_it =
        history.into_iter().flatten().filter(|it| i64::from(it.version) <= i64::from(event.id.version));
    let events: Vec<Event> = up_to_it.cloned().collect();
    let is_whole = u32::try_from(events.len()) == Ok(event.id.version);
    let row = is_whole.then(|| history::fold(&events).map_err(|_| too_old(event))).transpose()?;
    let id = PaymentId::from(event.id.object);
    let data = row.as_ref().map(|row| Data::Payment(Box::new(data(id, row))));
    written(merchant, event, Some(id), data)
}

fn written(
    merchant: MerchantId,
    event: &Stored,
    payment: Option<PaymentId>,
    data: Option<Data<'_>>,
) -> Result<Box<RawValue>, NotRendered> {
    let view = EventView {
        id: event.id,
        object: "event",
        event_type: &event.event_type,
        api_version: API_VERSION,
        created_at: rfc3339(event.at),
        merchant,
        payment,
        version: event.id.version,
        previous_version: event.previous_version,
        data,
    };
    Ok(serde_json::value::to_raw_value(&view)?)
}

/// The events of these endpoints, each with what never changes of its endpoint.
async fn logs(pool: &PgPool, endpoints: &[Uuid]) -> sqlx::Result<Vec<EndpointEvent>> {
    sqlx::query_as!(
        EndpointEvent,
        "select e.endpoint_id, w.url, e.version, e.type as event_type, e.reason
           from webhook_endpoint_events e join webhook_endpoints w on w.id = e.endpoint_id
          where e.endpoint_id = any($1) order by e.endpoint_id, e.version",
        endpoints
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// An event of an endpoint, by its renderer 1: the last event before it that says whether it is enabled
/// counts.
fn endpoint(
    merchant: MerchantId,
    event: &Stored,
    logs: &[EndpointEvent],
) -> Result<Box<RawValue>, NotRendered> {
    let of_it = logs.iter().filter(|it| it.endpoint_id == event.id.object);
    let up_to_it = of_it.filter(|it| i64::from(it.version) <= i64::from(event.id.version));
    let (mut url, mut disabled_for) = (None, None);
    for it in up_to_it {
        url = Some(&it.url);
        match it.event_type.as_str() {
            "disabled" => disabled_for = Some(it.reason.as_deref()),
            "enabled" => disabled_for = None,
            "test" => {}
            _ => return Err(too_old(event)),
        }
    }
    let data = url.map(|url| {
        Data::Endpoint(EndpointData {
            id: event.id.object.into(),
            object: "webhook_endpoint",
            url,
            status: if disabled_for.is_some() { "disabled" } else { "enabled" },
            disabled_reason: disabled_for.flatten(),
        })
    });
    written(merchant, event, None, data)
}

fn data(id: PaymentId, row: &Row) -> PaymentData<'_> {
    PaymentData {
        id,
        object: "payment",
        status: &row.status,
        amount: amount(&row.amount, &row.currency),
        currency: &row.currency,
        customer_id: &row.customer_id,
        payment_method: &row.payment_method,
        description: row.description.as_deref(),
        metadata: &row.metadata,
        attempt_count: row.attempt_count,
        due_at: row.due_at.map(rfc3339),
        held_reason: row.held_reason.as_deref(),
        failure: row.failure_code.as_deref().map(|code| FailureData {
            code,
            message: row.failure_message.as_deref(),
            retryable: row.failure_retryable,
        }),
        gateway: row.gateway_transaction_id.as_deref().map(|transaction_id| GatewayData { transaction_id }),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        terminal_at: row.terminal_at.map(rfc3339),
        version: row.version,
    }
}

/// The amount with exactly the currency's digits, as every answer has it.
fn amount(amount: &str, currency: &str) -> String {
    let money = currency.parse().ok().and_then(|currency| Money::new(amount.parse().ok()?, currency).ok());
    money.map_or_else(|| amount.to_owned(), |money| money.to_string())
}

#[cfg(test)]
mod tests;

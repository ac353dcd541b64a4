//! The event `created`: a request becomes a payment, once per key.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::idempotency::{CREATE_PAYMENT, Key, RENDERER};
use domain::ids::PaymentId;
use domain::request::{Accepted, First, PaymentRequest, Remembered};
use domain::status::EventType;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use crate::database::batch::{HasRemedy as _, Owner, Remedy, Work};
use crate::database::{self, InTime as _, Lend, Seat, durable};
use crate::merchant::auth::{Columns, Presented};
use crate::platform::{fault, metrics};
use crate::queue;
use crate::queue::bell::Bell;

/// A request for a payment, checked.
#[derive(Debug, Clone)]
pub struct NewPayment {
    /// The id that the payment will have if its key is free.
    pub id: PaymentId,
    /// The API key that came with the request, which says whose payment it is. A key that opens nothing
    /// records nothing.
    pub api_key: Presented,
    /// The client's idempotency key.
    pub key: Key,
    /// The SHA-256 of the normalised request.
    pub fingerprint: [u8; 32],
    /// The request itself, checked.
    pub request: PaymentRequest,
    /// The id that follows the payment through job, worker, gateway and logs.
    pub correlation_id: String,
}

/// The result of a request for a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// The key was free, and the payment is recorded.
    New(Accepted),
    /// The key had been taken before.
    Before(Remembered),
}

/// A row of the statement's answer.
struct Row {
    asked_id: Uuid,
    fingerprint: Option<Vec<u8>>,
    renderer: Option<i16>,
    id: Uuid,
    customer_id: String,
    amount: Decimal,
    currency: String,
    payment_method: String,
    description: Option<String>,
    metadata: Value,
    created_at: DateTime<Utc>,
    accepted_as: Option<Value>,
}

impl Row {
    /// What was recorded, by the id that the payment was to have.
    fn recorded(self) -> (PaymentId, Recorded) {
        let accepted = Accepted {
            id: self.id,
            customer_id: self.customer_id,
            amount: self.amount,
            currency: self.currency,
            payment_method: self.payment_method,
            description: self.description,
            metadata: self.metadata,
            created_at: self.created_at,
            first: First::of(self.accepted_as),
        };
        let recorded = match (self.fingerprint, self.renderer) {
            // A payment that this very request recorded is new, also if a connection broke after the commit
            // and it asks again.
            (Some(fingerprint), Some(renderer)) if self.id != self.asked_id => {
                Recorded::Before(Remembered { fingerprint, renderer, accepted })
            }
            _ => Recorded::New(accepted),
        };
        (self.asked_id.into(), recorded)
    }
}

/// Records the payments whose keys are free, each with its key, event and job. Each result stands under the
/// id that the payment was to have. A missing one lost to a concurrent request with the same key, or came
/// with an API key that may make no payments.
///
/// # Errors
/// The database's error; then nothing was recorded. If the connection broke, all may be: ask again with the
/// same keys.
pub async fn accept(on: &impl Lend, payments: &[NewPayment]) -> sqlx::Result<HashMap<PaymentId, Recorded>> {
    let each =
        |read: fn(&NewPayment) -> &str| payments.iter().map(|p| read(p).to_owned()).collect::<Vec<_>>();
    let ids: Vec<Uuid> = payments.iter().map(|p| p.id.uuid()).collect();
    let (api_keys, callers) = callers(payments);
    let fingerprints: Vec<Vec<u8>> = payments.iter().map(|p| p.fingerprint.to_vec()).collect();
    let amounts: Vec<Decimal> = payments.iter().map(|p| p.request.money.amount()).collect();
    let descriptions: Vec<Option<String>> = payments.iter().map(|p| p.request.description.clone()).collect();
    let metadata: Vec<Value> = payments.iter().map(|p| serde_json::json!(p.request.metadata)).collect();
    let jobs = queue::jobs_for(payments.iter().map(|p| p.id));
    let statement = async {
        let mut connection = on.lend().await?;
        let rows = sqlx::query_file_as!(
            Row,
            "queries/payment_accept.sql",
            &ids,
            &callers,
            &each(|p| &p.request.customer_id),
            &keys_to_take(payments),
            &fingerprints,
            &amounts,
            &each(|p| p.request.money.currency().code()),
            &each(|p| &p.request.payment_method),
            &descriptions as &[Option<String>],
            &metadata,
            &each(|p| &p.correlation_id),
            &jobs.ids,
            &jobs.bodies,
            CREATE_PAYMENT,
            RENDERER,
            queue_of_jobs(),
            &api_keys.named as &[Option<Uuid>],
            &api_keys.hashes,
            &api_keys.other_hashes
        )
        .fetch_all(&mut *connection)
        .in_time()
        .await;
        connection.back(rows)
    };
    let rows = durable("accept", statement).await?;
    #[cfg(debug_assertions)]
    if fault::sabotaged("job_outside") {
        super::sabotage::enqueue(on.pool(), &jobs.ids).await?;
    }
    let recorded: HashMap<_, _> = rows.into_iter().map(Row::recorded).collect();
    for recorded in recorded.values() {
        if let Recorded::New(accepted) = recorded {
            count(&accepted.first);
        }
    }
    Ok(recorded)
}

/// Counts the events of an acceptance.
pub(super) fn count(first: &First) {
    metrics::event_written(EventType::Created.as_str());
    let second = match first {
        First::Pending => return,
        First::InReview => EventType::ReviewStarted,
        First::Denied | First::Short(_) => EventType::Failed,
        First::Paid => EventType::Succeeded,
    };
    metrics::event_written(second.as_str());
}

/// Whether a request could not be recorded because another one, which has not ended, holds its key.
#[must_use]
pub fn key_is_held(error: &sqlx::Error) -> bool {
    database::row_waited_for(error).is_some_and(|row| row.contains("idempotency_keys"))
}

/// Records the requests of many tasks at once.
pub struct Accepting {
    /// The connection by which they are recorded.
    pub seat: Seat,
    /// The bell that rings once they are.
    pub bell: Bell,
}

impl Work for Accepting {
    type Item = NewPayment;
    /// None if a concurrent request took the key, or the API key opens nothing.
    type Answer = Option<Recorded>;
    type Error = sqlx::Error;

    fn owner(payment: &NewPayment) -> Owner {
        payment.api_key.number()
    }

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, payments: &[NewPayment]) -> sqlx::Result<Vec<Option<Recorded>>> {
        #[cfg(debug_assertions)]
        if fault::sabotaged("acknowledge_before_commit") {
            return Ok(super::sabotage::acknowledge(self.seat.pool(), payments));
        }
        let mut recorded = accept(&self.seat, payments).await?;
        if recorded.values().any(|recorded| matches!(recorded, Recorded::New(_))) {
            self.bell.ring();
        }
        Ok(payments.iter().map(|payment| recorded.remove(&payment.id)).collect())
    }

    /// If a whole table is locked, each of the batch would wait for it by itself, and so would all later
    /// batches.
    fn remedy(error: &sqlx::Error) -> Remedy {
        if database::is_table_locked(error) { Remedy::None } else { error.remedy() }
    }
}

/// The API keys that came with the requests, each once, and which of them is each request's, counted from 1.
fn callers(payments: &[NewPayment]) -> (Columns, Vec<i32>) {
    let (mut keys, mut numbers) = (Columns::default(), HashMap::new());
    let callers = payments.iter().map(|payment| {
        *numbers.entry(payment.api_key).or_insert_with(|| {
            keys.push(&payment.api_key);
            i32::try_from(keys.hashes.len()).unwrap_or(i32::MAX)
        })
    });
    let callers = callers.collect();
    (keys, callers)
}

/// The keys as they are recorded. Sabotage `no_unique_key` makes each of them unique.
fn keys_to_take(payments: &[NewPayment]) -> Vec<String> {
    let own = |p: &NewPayment| p.key.as_str().to_owned();
    if fault::sabotaged("no_unique_key") {
        return payments.iter().map(|p| own(p) + &p.id.to_string()).collect();
    }
    payments.iter().map(own).collect()
}

/// The queue of the new jobs. Sabotage `job_outside` keeps them from the workers until a second statement.
fn queue_of_jobs() -> &'static str {
    if fault::sabotaged("job_outside") { "outside" } else { queue::PAYMENTS }
}

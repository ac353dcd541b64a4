//! T1: a request becomes a payment, once per key.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use crate::batch::Work;
use crate::db::{InTime as _, Lend, Seat};
use crate::idempotency::{CREATE_PAYMENT, Key, RENDERER};
use crate::ids::{MerchantId, PaymentId};
use crate::money::Money;
use crate::payment::Accepted;
use crate::payment::status::EventType;
use crate::queue::bell::Bell;
use crate::{fault, metrics, queue};

/// A request for a payment, checked.
#[derive(Debug, Clone)]
pub struct NewPayment {
    /// The id it will have if its key is free.
    pub id: PaymentId,
    /// Who asks.
    pub merchant_id: MerchantId,
    /// The client's key.
    pub key: Key,
    /// SHA-256 of the normalised request.
    pub fingerprint: [u8; 32],
    /// What is asked.
    pub request: PaymentRequest,
    /// Follows the payment through job, worker, gateway and logs.
    pub correlation_id: String,
}

/// What a client asks for, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRequest {
    /// How much, of what.
    pub money: Money,
    /// The merchant's own id of who pays.
    pub customer_id: String,
    /// The token to charge.
    pub payment_method: String,
    /// Free text.
    pub description: Option<String>,
    /// Names and values of the merchant's own.
    pub metadata: BTreeMap<String, String>,
}

/// T1: records those payments whose keys are free, each with its key, event and job. What is missing from the answer
/// lost to a concurrent or an earlier request with the same key.
///
/// # Errors
/// The database's; then nothing was recorded (or, where the connection broke, all: ask again with the same keys).
pub async fn accept(on: &impl Lend, payments: &[NewPayment]) -> sqlx::Result<Vec<Accepted>> {
    let each =
        |read: fn(&NewPayment) -> &str| payments.iter().map(|p| read(p).to_owned()).collect::<Vec<_>>();
    let ids: Vec<Uuid> = payments.iter().map(|p| p.id.uuid()).collect();
    let merchants: Vec<Uuid> = payments.iter().map(|p| p.merchant_id.uuid()).collect();
    let fingerprints: Vec<Vec<u8>> = payments.iter().map(|p| p.fingerprint.to_vec()).collect();
    let amounts: Vec<Decimal> = payments.iter().map(|p| p.request.money.amount()).collect();
    let descriptions: Vec<Option<String>> = payments.iter().map(|p| p.request.description.clone()).collect();
    let metadata: Vec<Value> = payments.iter().map(|p| serde_json::json!(p.request.metadata)).collect();
    let jobs = queue::jobs_for(payments.iter().map(|p| p.id));
    let statement = async {
        let mut connection = on.lend().await?;
        let accepted = sqlx::query_file_as!(
            Accepted,
            "queries/payment_accept.sql",
            &ids,
            &merchants,
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
            queue_of_jobs()
        )
        .fetch_all(&mut *connection)
        .in_time()
        .await;
        connection.back(accepted)
    };
    let accepted = fault::durable("accept", statement).await?;
    #[cfg(debug_assertions)]
    if fault::sabotaged("job_outside") {
        super::sabotage::enqueue(on.pool(), &jobs.ids).await?;
    }
    accepted.iter().for_each(|_| metrics::event_written(EventType::Created.as_str()));
    Ok(accepted)
}

/// T1 for many requests at once.
pub struct Accepting {
    /// Where they are recorded.
    pub seat: Seat,
    /// Rung once they are.
    pub bell: Bell,
}

impl Work for Accepting {
    type Item = NewPayment;
    /// None where another request holds the key.
    type Answer = Option<Accepted>;
    type Error = sqlx::Error;

    async fn work(&self, payments: &[NewPayment]) -> sqlx::Result<Vec<Option<Accepted>>> {
        #[cfg(debug_assertions)]
        if fault::sabotaged("acknowledge_before_commit") {
            return Ok(super::sabotage::acknowledge(self.seat.pool(), payments));
        }
        let accepted = accept(&self.seat, payments).await?;
        self.bell.ring();
        let mut by_id: HashMap<_, _> = accepted.into_iter().map(|accepted| (accepted.id, accepted)).collect();
        Ok(payments.iter().map(|payment| by_id.remove(&payment.id.uuid())).collect())
    }
}

/// The keys as they are recorded. Sabotage `no_unique_key` makes each of them one of a kind.
fn keys_to_take(payments: &[NewPayment]) -> Vec<String> {
    let own = |p: &NewPayment| p.key.as_str().to_owned();
    if fault::sabotaged("no_unique_key") {
        return payments.iter().map(|p| own(p) + &p.id.to_string()).collect();
    }
    payments.iter().map(own).collect()
}

/// Where the jobs go. Sabotage `job_outside` keeps them from the workers until a second statement.
fn queue_of_jobs() -> &'static str {
    if fault::sabotaged("job_outside") { "outside" } else { queue::PAYMENTS }
}

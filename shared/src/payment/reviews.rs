//! Payments that wait for a person before they are charged: their list, and the end of those that nobody
//! decided in time.

use chrono::{DateTime, Utc};
use domain::ids::{MerchantId, PaymentId};
use domain::review::Verdict;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::transition::{Decision, Reviewed, decide};
use crate::database::InTime as _;

/// A review, with what its payment is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table of the same name, which explains them")]
pub struct Review {
    pub payment_id: Uuid,
    pub merchant_id: Uuid,
    pub customer_id: String,
    pub amount: String,
    pub currency: String,
    pub payment_method: String,
    /// How the payment stands.
    pub payment_status: String,
    pub risk: Value,
    pub status: String,
    pub opened_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    pub decided_by: Option<String>,
    pub note: Option<String>,
}

/// The reviews to list; all fields narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only reviews with this status.
    pub status: Option<String>,
    /// Only this merchant's.
    pub merchant: Option<MerchantId>,
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Only reviews that come after this one in the list, so older ones.
    pub after: Option<PaymentId>,
    /// The largest number of reviews.
    pub limit: i64,
}

/// The reviews, newest first.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, filter: &Filter) -> sqlx::Result<Vec<Review>> {
    let rows = sqlx::query_as!(
        Review,
        r#"select r.payment_id, r.merchant_id, p.customer_id, p.amount::text as "amount!", p.currency, p.payment_method,
                  p.status as payment_status, r.risk, r.status, r.opened_at, r.expires_at, r.decided_at, r.decided_by, r.note
             from reviews r
             join payments p on p.id = r.payment_id
            where ($1::text is null or r.status = $1) and ($2::uuid is null or r.merchant_id = $2)
              and ($3::text is null or p.customer_id = $3) and r.payment_id < $4
            order by r.payment_id desc
            limit $5"#,
        filter.status,
        filter.merchant.map(MerchantId::uuid),
        filter.customer_id,
        filter.after.map_or(Uuid::max(), PaymentId::uuid),
        filter.limit
    );
    rows.fetch_all(pool).in_time().await
}

/// The review of a payment; none if it never was in review.
///
/// # Errors
/// Returns the database's error.
pub async fn find(pool: &PgPool, id: PaymentId) -> sqlx::Result<Option<Review>> {
    let row = sqlx::query_as!(
        Review,
        r#"select r.payment_id, r.merchant_id, p.customer_id, p.amount::text as "amount!", p.currency, p.payment_method,
                  p.status as payment_status, r.risk, r.status, r.opened_at, r.expires_at, r.decided_at, r.decided_by, r.note
             from reviews r
             join payments p on p.id = r.payment_id
            where r.payment_id = $1"#,
        id.uuid()
    );
    row.fetch_optional(pool).in_time().await
}

/// How many reviews are ended in one round.
const PAGE: i64 = 100;

/// Ends the reviews whose time is over, oldest first, and says how many. One that fails is passed over until
/// the next round. What was accepted before the past came back waits for a person.
///
/// # Errors
/// The due reviews could not be read.
pub async fn expire_due(pool: &PgPool) -> sqlx::Result<usize> {
    let due = sqlx::query_scalar!(
        "select r.payment_id from reviews r
           join payments p on p.id = r.payment_id
          where r.status = 'open' and r.expires_at <= now()
            and (p.from_balance or p.created_at >= coalesce((select returned_at from installation), '-infinity'))
            and p.created_at >= (select own_since from installation)
            and (select may_claim())
          order by r.expires_at
          limit $1",
        PAGE
    );
    let mut ended = 0;
    for id in due.fetch_all(pool).in_time().await? {
        let expiry = Decision {
            payment: id.into(),
            verdict: Verdict::Expired,
            by: "payonce".to_owned(),
            credential: None,
            note: None,
        };
        match decide(pool, &expiry).await {
            Ok(reviewed) => ended += usize::from(reviewed == Reviewed::Done),
            Err(error) => {
                let payment_id = PaymentId::from(id);
                tracing::warn!(event = "review_not_ended", %error, %payment_id, "could not end a review that is due");
            }
        }
    }
    Ok(ended)
}

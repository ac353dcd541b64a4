//! What a key stands for: the outcome of the first request under it. Read before anything is locked, so that
//! a request which is repeated waits for no account.

use chrono::{DateTime, Utc};
use domain::ids::MerchantId;
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use super::moving::{Reason, TakenKey};
use super::{Columns, Transfer};
use crate::database::batch::Work;
use crate::database::{InTime as _, Lend, Seat};

/// What was recorded under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The SHA-256 of the request that took the key.
    pub fingerprint: Vec<u8>,
    /// The number of the renderer that made the first answer.
    pub renderer: i16,
    /// What the request made or acted on.
    pub object_id: Uuid,
    /// When the key was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Why nothing moved. None if it was done.
    pub refusal: Option<Reason>,
    /// The transfers that the key stands for, as they stand now; none if it was refused.
    pub transfers: Vec<Transfer>,
}

struct Row {
    n: i64,
    fingerprint: Vec<u8>,
    renderer: i16,
    object_id: Uuid,
    recorded_at: DateTime<Utc>,
    outcome_code: Option<String>,
    outcome_detail: Option<Value>,
    id: Option<Uuid>,
    debited: Option<Uuid>,
    credited: Option<Uuid>,
    amount: Option<Decimal>,
    currency: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    group_id: Option<Uuid>,
    created_at: Option<DateTime<Utc>>,
    status: Option<String>,
    posted_amount: Option<Decimal>,
    ended_at: Option<DateTime<Utc>>,
}

impl Row {
    fn transfer(&mut self) -> Option<Transfer> {
        let columns = Columns {
            id: self.id,
            debited: self.debited,
            credited: self.credited,
            amount: self.amount,
            currency: self.currency.take(),
            expires_at: self.expires_at,
            group_id: self.group_id,
            created_at: self.created_at,
            status: self.status.take(),
            posted_amount: self.posted_amount,
            ended_at: self.ended_at,
        };
        columns.transfer()
    }

    fn remembered(self) -> Remembered {
        let refusal =
            self.outcome_code.map(|code| Reason { code, detail: self.outcome_detail.unwrap_or_default() });
        Remembered {
            fingerprint: self.fingerprint,
            renderer: self.renderer,
            object_id: self.object_id,
            recorded_at: self.recorded_at,
            refusal,
            transfers: Vec::new(),
        }
    }
}

/// What the keys stand for, in their order; none if a key is free.
///
/// # Errors
/// Returns the database's error.
pub async fn remembered(
    on: &impl Lend,
    keys: &[(MerchantId, TakenKey)],
) -> sqlx::Result<Vec<Option<Remembered>>> {
    let each = |read: fn(&TakenKey) -> String| keys.iter().map(|(_, key)| read(key)).collect::<Vec<_>>();
    let mut connection = on.lend().await?;
    let rows = sqlx::query_file_as!(
        Row,
        "queries/account_remembered.sql",
        &keys.iter().map(|(merchant, _)| merchant.uuid()).collect::<Vec<_>>(),
        &each(|key| key.operation.to_owned()),
        &each(|key| key.scope.clone()),
        &each(|key| key.key.as_str().to_owned())
    )
    .fetch_all(&mut *connection)
    .in_time()
    .await;
    let mut found: Vec<Option<Remembered>> = vec![None; keys.len()];
    for mut row in connection.back(rows)? {
        let Some(place) = usize::try_from(row.n - 1).ok().and_then(|n| found.get_mut(n)) else { continue };
        let transfer = row.transfer();
        place.get_or_insert_with(|| row.remembered()).transfers.extend(transfer);
    }
    Ok(found)
}

/// Reads what keys stand for, for many requests at once.
pub struct Remembering {
    /// The connection to the keys.
    pub seat: Seat,
}

impl Work for Remembering {
    type Item = (MerchantId, TakenKey);
    type Answer = Option<Remembered>;
    type Error = sqlx::Error;

    async fn settled(&self) {
        self.seat.settled().await;
    }

    async fn work(&self, keys: &[(MerchantId, TakenKey)]) -> sqlx::Result<Vec<Option<Remembered>>> {
        remembered(&self.seat, keys).await
    }
}

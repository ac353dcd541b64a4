//! The endpoints of merchants: where events are sent, made once per idempotency key, disabled and enabled.

use chrono::{DateTime, Utc};
use domain::ids::{EndpointId, MerchantId};
use sqlx::PgPool;
use uuid::Uuid;

use super::seal::{Sealed, SealingKeys, Secret};
use crate::database::{InTime as _, durable};

/// The most endpoints of a merchant that are enabled.
pub const ENDPOINTS_MAX: i64 = 16;

/// An endpoint to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEndpoint {
    /// Whose it is.
    pub merchant: MerchantId,
    /// The idempotency key of the request.
    pub key: String,
    /// Where events are sent.
    pub url: String,
    /// What it is sent; none for everything.
    pub types: Option<Vec<String>>,
    /// The merchant's own words for it.
    pub description: Option<String>,
}

/// An endpoint as it stands.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns of the table of the same name, which explains them")]
pub struct Endpoint {
    pub id: Uuid,
    pub url: String,
    pub types: Option<Vec<String>>,
    pub description: Option<String>,
    pub status: String,
    pub disabled_reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub failing_since: Option<DateTime<Utc>>,
    /// Deliveries that are due or wait for their next try.
    pub pending: i64,
    /// Deliveries that were given up.
    pub given_up: i64,
}

/// What became of a request for an endpoint or a secret.
#[derive(Debug)]
pub enum Made<T> {
    /// It was made, now or by an earlier request with the key; with its secret.
    Made(T, Secret, bool),
    /// The key came with another request before.
    KeyReused,
    /// The merchant has as many endpoints as it may have.
    TooMany,
    /// There is no such endpoint.
    NotFound,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The secret cannot be sealed or opened.
    #[error(transparent)]
    Sealed(#[from] Sealed),
    /// The database's error; the call may be repeated.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Makes an endpoint, which is sent every event from now on. A repeat with the same key answers the same.
///
/// # Errors
/// See [`MakeError`].
pub async fn make(pool: &PgPool, keys: &SealingKeys, new: &NewEndpoint) -> Result<Made<Endpoint>, MakeError> {
    let (id, secret) = (EndpointId::generate(), Secret::generate());
    let (sealed, mark) = keys.seal(&secret, id, 1)?;
    // Its events begin above every transaction that runs at the moment, so none is missed.
    let statement = sqlx::query!(
        "with made as (
             insert into webhook_endpoints (id, merchant_id, idempotency_key, url, types, description, start_epoch, start_tx, epoch, tx)
             select $1, $2, $3, $4, $5, $6, l.epoch, l.tx, l.epoch, l.tx
               from (select max(epoch) as epoch, (pg_snapshot_xmin(pg_current_snapshot())::text::numeric - 1)::text::xid8 as tx
                       from event_epochs) as l
              where (select count(*) from webhook_endpoints where merchant_id = $2 and status = 'enabled') < $9
                 on conflict on constraint webhook_endpoints_once do nothing
             returning id)
         insert into webhook_secrets (endpoint_id, number, sealed, mark, idempotency_key)
         select id, 1, $7, $8, $3 from made",
        id.uuid(),
        new.merchant.uuid(),
        new.key,
        new.url,
        new.types.as_deref(),
        new.description,
        sealed,
        mark,
        ENDPOINTS_MAX
    )
    .execute(pool)
    .in_time();
    let is_new = durable("make_endpoint", statement).await?.rows_affected() == 1;
    let made = sqlx::query_scalar!(
        "select id from webhook_endpoints where merchant_id = $1 and idempotency_key = $2",
        new.merchant.uuid(),
        new.key
    );
    let Some(id) = made.fetch_optional(pool).in_time().await? else { return Ok(Made::TooMany) };
    let Some(endpoint) = one(pool, new.merchant, id.into()).await? else { return Ok(Made::NotFound) };
    if endpoint.url != new.url || endpoint.types != new.types || endpoint.description != new.description {
        return Ok(Made::KeyReused);
    }
    let secret = secret_of(pool, keys, id.into(), &new.key).await?;
    Ok(secret.map_or(Made::NotFound, |secret| Made::Made(endpoint, secret, !is_new)))
}

/// Gives an endpoint another secret. Both sign until the older one expires after `overlap_s` seconds. A
/// repeat with the same key answers the same.
///
/// # Errors
/// See [`MakeError`].
pub async fn rotate(
    pool: &PgPool,
    keys: &SealingKeys,
    (merchant, id): (MerchantId, EndpointId),
    key: &str,
    overlap_s: i64,
) -> Result<Made<Endpoint>, MakeError> {
    let Some(endpoint) = one(pool, merchant, id).await? else { return Ok(Made::NotFound) };
    if let Some(secret) = secret_of(pool, keys, id, key).await? {
        return Ok(Made::Made(endpoint, secret, true));
    }
    let number =
        sqlx::query_scalar!("select max(number) from webhook_secrets where endpoint_id = $1", id.uuid());
    let number = number.fetch_one(pool).in_time().await?.unwrap_or(0) + 1;
    let secret = Secret::generate();
    let (sealed, mark) = keys.seal(&secret, id, number)?;
    let statement = sqlx::query!(
        "with made as (
             insert into webhook_secrets (endpoint_id, number, sealed, mark, idempotency_key) values ($1, $2, $3, $4, $5)
                 on conflict do nothing
             returning number)
         update webhook_secrets s
            set expires_at = least(s.expires_at, clock_timestamp() + $6 * interval '1 second')
           from made where s.endpoint_id = $1 and s.number < made.number",
        id.uuid(),
        number,
        sealed,
        mark,
        key,
        overlap_s as f64
    )
    .execute(pool)
    .in_time();
    durable("rotate_endpoint", statement).await?;
    // Another rotation may have been faster: then this key made nothing, and asks again.
    let secret = secret_of(pool, keys, id, key).await?;
    Ok(secret.map_or(Made::KeyReused, |secret| Made::Made(endpoint, secret, false)))
}

/// The secret that a request with this key made.
async fn secret_of(
    pool: &PgPool,
    keys: &SealingKeys,
    id: EndpointId,
    key: &str,
) -> Result<Option<Secret>, MakeError> {
    let row = sqlx::query!(
        "select number, sealed, mark from webhook_secrets where endpoint_id = $1 and idempotency_key = $2",
        id.uuid(),
        key
    );
    let Some(row) = row.fetch_optional(pool).in_time().await? else { return Ok(None) };
    Ok(Some(keys.open(&row.sealed, &row.mark, id, row.number)?))
}

/// One endpoint; none if the merchant has no such one.
///
/// # Errors
/// Returns the database's error.
pub async fn one(pool: &PgPool, merchant: MerchantId, id: EndpointId) -> sqlx::Result<Option<Endpoint>> {
    let all = list(pool, merchant, Some(id), None, 1).await?;
    Ok(all.into_iter().next())
}

/// The endpoints of a merchant, newest first: all, or the one with that id.
///
/// # Errors
/// Returns the database's error.
pub async fn list(
    pool: &PgPool,
    merchant: MerchantId,
    only: Option<EndpointId>,
    after: Option<EndpointId>,
    limit: i64,
) -> sqlx::Result<Vec<Endpoint>> {
    sqlx::query_as!(
        Endpoint,
        r#"select w.id, w.url, w.types, w.description, w.status, w.disabled_reason, w.created_at, w.failing_since,
                  (select count(*) from webhook_deliveries d where d.endpoint_id = w.id and d.status = 'pending') as "pending!",
                  (select count(*) from webhook_deliveries d where d.endpoint_id = w.id and d.status = 'given_up') as "given_up!"
             from webhook_endpoints w
            where w.merchant_id = $1 and ($2::uuid is null or w.id = $2) and ($3::uuid is null or w.id < $3)
            order by w.id desc limit $4"#,
        merchant.uuid(),
        only.map(EndpointId::uuid),
        after.map(EndpointId::uuid),
        limit
    )
    .fetch_all(pool)
    .in_time()
    .await
}

/// Stops what is sent to an endpoint. Its events wait, for when it is enabled again. Answers false if there
/// is no such endpoint.
///
/// # Errors
/// Returns the database's error.
pub async fn disable(pool: &PgPool, merchant: MerchantId, id: EndpointId) -> sqlx::Result<bool> {
    let statement = sqlx::query!(
        "with changed as (
             update webhook_endpoints
                set status = 'disabled', disabled_reason = 'merchant', lease_token = null, lease_until = null, versions = versions + 1
              where id = $1 and merchant_id = $2 and status = 'enabled'
             returning id, versions)
         insert into webhook_endpoint_events (endpoint_id, version, type, reason, at)
         select id, versions, 'disabled', 'merchant', clock_timestamp() from changed",
        id.uuid(),
        merchant.uuid()
    )
    .execute(pool)
    .in_time();
    durable("disable_endpoint", statement).await?;
    Ok(one(pool, merchant, id).await?.is_some())
}

/// Enables an endpoint, and has everything sent again that was given up since a time. Answers false if there
/// is no such endpoint.
///
/// # Errors
/// Returns the database's error.
pub async fn recover(
    pool: &PgPool,
    merchant: MerchantId,
    id: EndpointId,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<bool> {
    let statement = sqlx::query!(
        "with mine as materialized (
             select id, status from webhook_endpoints where id = $1 and merchant_id = $2 for no key update),
         changed as (
             update webhook_endpoints w
                set status = 'enabled', disabled_reason = null, misses = 0, failures = 0, failing_since = null,
                    look_at = clock_timestamp(), lease_token = null, lease_until = null,
                    versions = versions + (w.status = 'disabled')::int
               from mine where w.id = mine.id
             returning w.id, w.versions, mine.status = 'disabled' as is_enabled_now),
         told as (
             insert into webhook_endpoint_events (endpoint_id, version, type, at)
             select id, versions, 'enabled', clock_timestamp() from changed where is_enabled_now)
         update webhook_deliveries d
            set status = 'pending', due_at = clock_timestamp(), tries = 0, updated_at = clock_timestamp()
           from changed
          where d.endpoint_id = changed.id and (d.status = 'given_up' or (d.status = 'pending' and d.due_at > clock_timestamp()))
            and d.updated_at >= coalesce($3::timestamptz, '-infinity')",
        id.uuid(),
        merchant.uuid(),
        since
    )
    .execute(pool)
    .in_time();
    durable("recover_endpoint", statement).await?;
    Ok(one(pool, merchant, id).await?.is_some())
}

/// Makes an event that only this endpoint is sent. Answers false if there is no such endpoint.
///
/// # Errors
/// Returns the database's error.
pub async fn test(pool: &PgPool, merchant: MerchantId, id: EndpointId) -> sqlx::Result<bool> {
    let statement = sqlx::query!(
        "with changed as (
             update webhook_endpoints set versions = versions + 1 where id = $1 and merchant_id = $2 returning id, versions)
         insert into webhook_endpoint_events (endpoint_id, version, type, at)
         select id, versions, 'test', clock_timestamp() from changed",
        id.uuid(),
        merchant.uuid()
    )
    .execute(pool)
    .in_time();
    Ok(durable("test_endpoint", statement).await?.rows_affected() == 1)
}

/// One try of a delivery, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table `webhook_attempts`, which explains them")]
pub struct Try {
    pub id: i64,
    pub event: String,
    pub event_type: String,
    pub number: i32,
    pub at: DateTime<Utc>,
    pub took_ms: i32,
    pub http_status: Option<i32>,
    pub answer: Option<String>,
    pub error: Option<String>,
}

/// What was sent to an endpoint, newest first, before the try `before`.
///
/// # Errors
/// Returns the database's error.
pub async fn tries(pool: &PgPool, id: EndpointId, before: Option<i64>, limit: i64) -> sqlx::Result<Vec<Try>> {
    sqlx::query_as!(
        Try,
        "select id, event, type as event_type, try as number, at, took_ms, http_status, answer, error
           from webhook_attempts where endpoint_id = $1 and ($2::bigint is null or id < $2)
          order by id desc limit $3",
        id.uuid(),
        before,
        limit
    )
    .fetch_all(pool)
    .in_time()
    .await
}

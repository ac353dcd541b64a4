//! Idempotency: every payment has exactly one key, and every key leads to exactly one payment, of its own
//! merchant and customer. No key is there twice, and the key at the gateway is derived from it.

use std::collections::HashSet;

use anyhow::Result;
use chrono::{DateTime, Utc};
use domain::ids::PaymentId;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::acknowledged::Clients;
use super::ours::{advice, again};
use super::past::key_space;
use super::register::{Keyed, Register};
use super::report::Check;

const PAGE: i64 = 5_000;

/// One key in its scope, with all the rows that it has.
#[derive(Debug)]
pub(super) struct KeyRow {
    pub(super) merchant_id: Uuid,
    pub(super) operation: String,
    pub(super) customer_id: String,
    pub(super) key: String,
    /// The payments that the key made; one, where all is well.
    pub(super) payment_ids: Vec<Uuid>,
    /// Each payment's key at the gateway. None means its id, also where the payment does not exist.
    gateway_keys: Vec<Option<String>>,
    /// Whether each payment was made here, and not in the installation that this is a copy of.
    is_own: Vec<bool>,
    has_fingerprint: bool,
}

impl KeyRow {
    /// The key's name in what is said about it.
    fn name(&self) -> String {
        format!("{:?} of {:?}", self.key, self.customer_id)
    }
}

/// Reads all keys, page by page, and compares them with the payments and with the clients' history.
pub(super) async fn check(
    pool: &PgPool,
    register: &mut Register,
    clients: &mut Option<Clients>,
    idempotency: &mut Check,
) -> Result<()> {
    let mut after: Option<KeyRow> = None;
    let (space, own_since) = key_space(pool).await?;
    loop {
        let page = read(pool, after.as_ref(), own_since).await?;
        let mut newcomers = Vec::new();
        for row in &page {
            idempotency.checked += 1;
            check_row(row, register, &mut newcomers, idempotency);
            check_derived(row, &space, idempotency);
            if let Some(clients) = clients {
                clients.recorded(row);
            }
        }
        if !newcomers.is_empty() {
            check_newcomers(pool, &newcomers, idempotency).await?;
        }
        let is_last = i64::try_from(page.len()).is_ok_and(|read| read < PAGE);
        after = page.into_iter().last();
        if is_last || after.is_none() {
            break;
        }
    }
    for (id, keys) in register.miskeyed() {
        idempotency.blame(PaymentId::from(id), format!("has {keys} idempotency keys, and not one"));
    }
    Ok(())
}

fn check_row(
    row: &KeyRow,
    register: &mut Register,
    newcomers: &mut Vec<(Uuid, String)>,
    idempotency: &mut Check,
) {
    let recorded = row.payment_ids.len();
    if recorded != 1 {
        idempotency.blame(row.name(), format!("is recorded {recorded} times"));
    }
    if !row.has_fingerprint {
        idempotency.blame(row.name(), "has no fingerprint of its request");
    }
    for &id in &row.payment_ids {
        match register.count_key(id, row.merchant_id, &row.customer_id) {
            Keyed::Fits => {}
            Keyed::OfAnother => {
                let says = format!("has the key {}, which is another merchant's or customer's", row.name());
                idempotency.blame(PaymentId::from(id), says);
            }
            Keyed::Unknown => newcomers.push((id, row.name())),
        }
    }
}

/// Compares a payment's own key at the gateway, where it has one, with the key derived from its request.
fn check_derived(row: &KeyRow, space: &str, idempotency: &mut Check) {
    for ((id, stored), is_own) in row.payment_ids.iter().zip(&row.gateway_keys).zip(&row.is_own) {
        let Some(stored) = stored.as_ref().filter(|_| *is_own) else { continue };
        let derived = derived(space, row);
        if *stored != derived {
            let says = format!(
                "has the key {stored} at the gateway, and not {derived}, which follows from its request"
            );
            idempotency.blame(PaymentId::from(*id), says);
        }
    }
}

/// The key at the gateway that is derived from this idempotency key and its scope.
fn derived(space: &str, row: &KeyRow) -> String {
    let merchant = row.merchant_id.to_string();
    let mut hasher = Sha256::new();
    for part in ["pk1", space, &row.operation, &merchant, &row.customer_id, &row.key] {
        hasher.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hasher.update(part);
    }
    let digits =
        hasher.finalize().iter().take(20).fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    format!("pk1_{digits}")
}

/// Looks again for payments that were not there when the payments were read. A key whose payment is still
/// missing is blamed.
async fn check_newcomers(pool: &PgPool, newcomers: &[(Uuid, String)], idempotency: &mut Check) -> Result<()> {
    let ids: Vec<Uuid> = newcomers.iter().map(|(id, _)| *id).collect();
    let there: HashSet<Uuid> = again(pool, &ids).await?.into_iter().map(|payment| payment.id).collect();
    for (id, name) in newcomers.iter().filter(|(id, _)| !there.contains(id)) {
        idempotency.blame(name, format!("leads to {}, which does not exist", PaymentId::from(*id)));
    }
    Ok(())
}

async fn read(
    pool: &PgPool,
    after: Option<&KeyRow>,
    own_since: Option<DateTime<Utc>>,
) -> Result<Vec<KeyRow>> {
    let keys = sqlx::query_as!(
        KeyRow,
        r#"select k.merchant_id, k.operation, k.customer_id, k.key, array_agg(coalesce(k.payment_id, '00000000-0000-0000-0000-000000000000')) as "payment_ids!",
                  array_agg(p.gateway_key) as "gateway_keys!: Vec<Option<String>>",
                  array_agg(coalesce(p.created_at >= $6, true)) as "is_own!",
                  bool_and(octet_length(k.fingerprint) = 32) as "has_fingerprint!"
             from idempotency_keys k
             left join payments p on p.id = k.payment_id
            where (k.merchant_id, k.operation, k.customer_id, k.key) > ($1, $2, $3, $4) and k.operation = 'create_payment'
            group by k.merchant_id, k.operation, k.customer_id, k.key
            order by k.merchant_id, k.operation, k.customer_id, k.key
            limit $5"#,
        after.map_or(Uuid::nil(), |row| row.merchant_id),
        after.map_or("", |row| &row.operation),
        after.map_or("", |row| &row.customer_id),
        after.map_or("", |row| &row.key),
        PAGE,
        own_since
    );
    keys.fetch_all(pool).await.map_err(advice)
}

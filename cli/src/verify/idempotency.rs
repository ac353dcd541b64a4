//! Idempotency: every payment has exactly one key, every key leads to exactly one payment of its own merchant and
//! customer, and no key is there twice.

use std::collections::HashSet;

use anyhow::Result;
use shared::ids::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use super::acknowledged::Clients;
use super::ours::{advice, again};
use super::register::{Keyed, Register};
use super::report::Check;

const PAGE: i64 = 5_000;

/// One key in its scope, however many rows it has.
#[derive(Debug)]
pub(super) struct KeyRow {
    pub(super) merchant_id: Uuid,
    pub(super) operation: String,
    pub(super) customer_id: String,
    pub(super) key: String,
    /// One, where all is well.
    pub(super) payment_ids: Vec<Uuid>,
    has_fingerprint: bool,
}

impl KeyRow {
    /// How the key is called in what is said about it.
    fn name(&self) -> String {
        format!("{:?} of {:?}", self.key, self.customer_id)
    }
}

/// Reads all keys, page by page, and compares them with the payments, and with what clients sent.
pub(super) async fn check(
    pool: &PgPool,
    register: &mut Register,
    clients: &mut Option<Clients>,
    idempotency: &mut Check,
) -> Result<()> {
    let mut after: Option<KeyRow> = None;
    loop {
        let page = read(pool, after.as_ref()).await?;
        let mut newcomers = Vec::new();
        for row in &page {
            idempotency.checked += 1;
            check_row(row, register, &mut newcomers, idempotency);
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

/// Keys of payments that were not there when the payments were read: by now they are, or never were.
async fn check_newcomers(pool: &PgPool, newcomers: &[(Uuid, String)], idempotency: &mut Check) -> Result<()> {
    let ids: Vec<Uuid> = newcomers.iter().map(|(id, _)| *id).collect();
    let there: HashSet<Uuid> = again(pool, &ids).await?.into_iter().map(|payment| payment.id).collect();
    for (id, name) in newcomers.iter().filter(|(id, _)| !there.contains(id)) {
        idempotency.blame(name, format!("leads to {}, which does not exist", PaymentId::from(*id)));
    }
    Ok(())
}

async fn read(pool: &PgPool, after: Option<&KeyRow>) -> Result<Vec<KeyRow>> {
    let keys = sqlx::query_as!(
        KeyRow,
        r#"select merchant_id, operation, customer_id, key, array_agg(payment_id) as "payment_ids!",
                  bool_and(octet_length(fingerprint) = 32) as "has_fingerprint!"
             from idempotency_keys
            where (merchant_id, operation, customer_id, key) > ($1, $2, $3, $4)
            group by merchant_id, operation, customer_id, key
            order by merchant_id, operation, customer_id, key
            limit $5"#,
        after.map_or(Uuid::nil(), |row| row.merchant_id),
        after.map_or("", |row| &row.operation),
        after.map_or("", |row| &row.customer_id),
        after.map_or("", |row| &row.key),
        PAGE
    );
    keys.fetch_all(pool).await.map_err(advice)
}

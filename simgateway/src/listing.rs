//! Lists charges, page by page: what a lookup would say of each, without looking one up.

use anyhow::Context;
use sqlx::PgPool;

use crate::book::{Charge, ChargeStatus};
use crate::token::{self, Lookups};

/// The first `limit` charges whose ids come after `after`. Ids grow with time.
pub(crate) async fn read(pool: &PgPool, after: &str, limit: i64) -> anyhow::Result<Vec<Charge>> {
    let rows = sqlx::query_file!("queries/list_charges.sql", after, limit).fetch_all(pool).await?;
    let shown = |status: &str, payment_method: Option<&str>| {
        let status = ChargeStatus::parse(status).context("a charge in the books has a strange status")?;
        let lookups = payment_method.and_then(token::find).map(|token| token.lookups);
        let denies = status == ChargeStatus::Succeeded && lookups == Some(Lookups::SayFailed);
        anyhow::Ok(if denies { ChargeStatus::Failed } else { status })
    };
    rows.into_iter()
        .map(|row| {
            Ok(Charge {
                status: shown(&row.status, row.payment_method.as_deref())?,
                id: row.id,
                key: row.key,
                amount: row.amount,
                currency: row.currency,
                reference: row.reference,
                decline: None,
                decide_at: None,
                created_at: row.created_at,
            })
        })
        .collect()
}

//! The parts of our books about forgotten payments, and about the derivation of keys at the gateway.

use anyhow::Result;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::ours::advice;

/// A charge of a forgotten payment, as far as it is known.
#[derive(Debug)]
pub(super) struct Orphan {
    /// The gateway and the key under which it stands.
    pub(super) place: String,
    pub(super) reference: Option<String>,
    adopted_by: Option<Uuid>,
    /// Whether a person was told of it.
    is_told: bool,
}

impl Orphan {
    /// The payment that adopted it. None where none did.
    pub(super) const fn owner(&self) -> Option<Uuid> {
        self.adopted_by
    }

    /// Whether a payment has adopted it, or a person is to look at it.
    pub(super) const fn is_explained(&self) -> bool {
        self.is_told || self.adopted_by.is_some()
    }
}

/// All known charges of forgotten payments.
pub(super) async fn orphans(pool: &PgPool) -> Result<Vec<Orphan>> {
    let rows = sqlx::query_as!(
        Orphan,
        r#"select key_subject(gateway, key) as "place!", reference, adopted_by,
                  exists (select from breaks b
                           where b.subject = key_subject(o.gateway, o.key)
                             and (b.kind = 'orphan'
                                  -- Where no past ever came back nothing can have been forgotten.
                                  or b.kind = 'charge_unknown' and (select returned_at from installation) is not null))
                      as "is_told!"
             from orphans o
            order by gateway, key"#
    );
    rows.fetch_all(pool).await.map_err(advice)
}

/// The installation's own part in its keys at the gateway, and the time from which payments are its own.
/// None: all are.
pub(super) async fn key_space(pool: &PgPool) -> Result<(String, Option<DateTime<Utc>>)> {
    let row = sqlx::query!(
        r#"select key_space, case when isfinite(own_since) then own_since end as own_since from installation where one"#
    );
    let row = row.fetch_one(pool).await.map_err(advice)?;
    Ok((row.key_space, row.own_since))
}

//! What our books say of payments that were forgotten, and of keys at the gateway.

use anyhow::Result;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::ours::advice;

/// What is known of a charge of a forgotten payment.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) key: String,
    pub(super) reference: Option<String>,
    adopted_by: Option<Uuid>,
    /// Whether a person was told.
    is_told: bool,
}

impl Orphan {
    /// The payment that adopted it.
    pub(super) const fn owner(&self) -> Option<Uuid> {
        self.adopted_by
    }

    /// Whether it is somebody's, or a person's to look at.
    pub(super) const fn is_explained(&self) -> bool {
        self.is_told || self.adopted_by.is_some()
    }
}

/// All charges of forgotten payments that are known.
pub(super) async fn orphans(pool: &PgPool) -> Result<Vec<Orphan>> {
    let rows = sqlx::query_as!(
        Orphan,
        r#"select key, reference, adopted_by,
                  exists (select from breaks b
                           where b.subject = 'key ' || o.key
                             and (b.kind = 'orphan'
                                  -- Where no past ever came back nothing can have been forgotten.
                                  or b.kind = 'charge_unknown' and (select returned_at from installation) is not null))
                      as "is_told!"
             from orphans o
            order by gateway, key"#
    );
    rows.fetch_all(pool).await.map_err(advice)
}

/// What keys at the gateway are derived with: the installation's own part, and from when on its payments are its own.
pub(super) async fn key_space(pool: &PgPool) -> Result<(String, Option<DateTime<Utc>>)> {
    let row = sqlx::query!(
        r#"select key_space, case when isfinite(own_since) then own_since end as own_since from installation where one"#
    );
    let row = row.fetch_one(pool).await.map_err(advice)?;
    Ok((row.key_space, row.own_since))
}

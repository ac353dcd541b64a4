//! Payments that came back, and of which the gateway shows nothing: a named person gives all of them back to
//! the workers at once.
//!
//! Invariant: each is released by a statement of its own, in the version in which it was found.

use sqlx::PgPool;
use uuid::Uuid;

use super::orphans::Sum;
use crate::payment::transition::{Justification, release};

/// Payments that are read at a time.
const PAGE: i64 = 1_000;

/// The payments that came back and of which the gateway shows nothing, by currency. They wait for a person.
///
/// # Errors
/// Returns the database's error.
pub async fn held_back(pool: &PgPool) -> sqlx::Result<Vec<Sum>> {
    sqlx::query_as!(
        Sum,
        "select currency, count(*) as \"count!\", sum(amount) as \"amount!\"
           from payments
          where held_reason = 'restored' and created_at >= (select own_since from installation)
          group by currency order by currency"
    )
    .fetch_all(pool)
    .await
}

/// Gives all of them back to the workers, one by one, each in the version in which it was found. A payment
/// about which a person decides meanwhile is left. Answers how many were released; `tell` hears how many so
/// far.
///
/// # Errors
/// The database's error. Payments that were released stay so.
pub async fn release_all(
    pool: &PgPool,
    justification: &Justification,
    mut tell: impl FnMut(u64),
) -> sqlx::Result<u64> {
    let (mut released, mut after) = (0, Uuid::nil());
    loop {
        let page = sqlx::query!(
            "select id, version from payments where held_reason = 'restored' and id > $1
                and created_at >= (select own_since from installation)
              order by id limit $2",
            after,
            PAGE
        )
        .fetch_all(pool)
        .await?;
        let Some(last) = page.last() else { return Ok(released) };
        after = last.id;
        for payment in page {
            let done = release(pool, payment.id.into(), payment.version, justification);
            released += u64::from(done.await?.is_some());
        }
        tell(released);
    }
}

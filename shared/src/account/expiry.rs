//! The holds whose time is over. Nobody can post one even before it is found here: the sweep only gives back
//! what is reserved, for who does not ask for it.

use chrono::{DateTime, Utc};
use domain::ids::TransferId;
use sqlx::PgPool;
use uuid::Uuid;

use super::moving::{Moved, Movement, Patience, Request, move_money};
use crate::database::InTime as _;

/// How many holds are ended by one statement.
const PAGE: i64 = 100;

/// How many such statements one round has at most.
const PAGES: usize = 20;

/// Ends the holds whose time is over, oldest first, and says how many. What cannot be ended now is passed
/// over until the next round. Every worker may do so at the same time.
///
/// # Errors
/// The due holds could not be read.
pub async fn expire_due(pool: &PgPool) -> sqlx::Result<usize> {
    let mut after = (DateTime::UNIX_EPOCH, Uuid::nil());
    let mut ended = 0;
    for _ in 0..PAGES {
        let due = due(pool, after).await?;
        let Some(last) = due.last() else { break };
        after = *last;
        let requests: Vec<Request> = due.iter().map(|(_, id)| expiry(*id)).collect();
        ended += expire(pool, &requests).await;
        if i64::try_from(due.len()).is_ok_and(|found| found < PAGE) {
            break;
        }
    }
    Ok(ended)
}

/// Ends these holds together. If that fails, each is tried by itself, so that one does not keep the others.
async fn expire(pool: &PgPool, requests: &[Request]) -> usize {
    let all: Vec<&Request> = requests.iter().collect();
    let patience = Patience::PassesOver(Vec::new());
    let error = match move_money(pool, &all, &patience).await {
        Ok(moved) => return count(&moved),
        Err(error) => error,
    };
    tracing::warn!(%error, holds = requests.len(), "could not end holds that are due; trying each by itself");
    let mut ended = 0;
    for request in requests {
        match move_money(pool, &[request], &patience).await {
            Ok(moved) => ended += count(&moved),
            Err(error) => {
                let transfer_id = TransferId::from(request.object_id);
                tracing::error!(event = "hold_not_ended", %error, %transfer_id, "could not end a hold that is due");
            }
        }
    }
    ended
}

fn count(moved: &[Moved]) -> usize {
    moved.iter().filter(|it| matches!(it, Moved::Done(_))).count()
}

fn expiry(id: Uuid) -> Request {
    Request {
        merchant: None,
        key: None,
        object_id: id,
        movements: vec![Movement::Expire(id.into())],
        is_group: false,
    }
}

/// A page of due holds after that one. The condition is worded as its index words it.
async fn due(pool: &PgPool, after: (DateTime<Utc>, Uuid)) -> sqlx::Result<Vec<(DateTime<Utc>, Uuid)>> {
    let rows = sqlx::query!(
        r#"select expires_at as "expires_at!", id from transfers
            where (status || '') = 'pending' and expires_at <= now() and (expires_at, id) > ($1, $2)
            order by expires_at, id
            limit $3"#,
        after.0,
        after.1,
        PAGE
    );
    Ok(rows.fetch_all(pool).in_time().await?.into_iter().map(|row| (row.expires_at, row.id)).collect())
}

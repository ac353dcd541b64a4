//! Writes down a person's wish for a held payment, for a worker to check (`decide`).
//!
//! Invariant: one decision about a payment is open at a time, and it is about the version that the person
//! saw.

use domain::held::Wish;
use domain::ids::PaymentId;
use domain::outcome::is_storable;
use sqlx::PgPool;

use super::{Justification, Unusable};
use crate::database::{InTime as _, durable};

/// A person's wish for one version of a held payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    payment_id: PaymentId,
    version: i32,
    wish: Wish,
    is_unproven: bool,
    justification: Justification,
    credential: String,
}

impl Asking {
    /// A wish about the payment as it stood in that version. `is_unproven` says that the gateway cannot prove
    /// it.
    ///
    /// # Errors
    /// A success whose charge has no usable id, or a wish without proof that is no end.
    pub fn new(
        (payment_id, version): (PaymentId, i32),
        wish: Wish,
        is_unproven: bool,
        justification: Justification,
        credential: &str,
    ) -> Result<Self, Unusable> {
        if wish.charge_id().is_some_and(|id| !is_storable(id)) {
            let why = "must be given as the gateway shows it, in at most 255 characters";
            return Err(Unusable { field: "charge_id", why });
        }
        if is_unproven && matches!(wish, Wish::Look | Wish::Void) {
            return Err(Unusable { field: "unproven", why: "goes only with succeed, fail or reverse" });
        }
        Ok(Self { payment_id, version, wish, is_unproven, justification, credential: credential.to_owned() })
    }
}

/// The result of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The wish is this decision, which a worker checks.
    Open(i64),
    /// That decision about the payment is being checked. Nothing else is decided meanwhile.
    Another(i64),
    /// The payment is not held in that version any more.
    Moved,
}

/// Asks for a decision. The same wish, while it is open or once it is done, is the same decision.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn ask(pool: &PgPool, asking: &Asking) -> sqlx::Result<Asked> {
    let Asking { payment_id, version, wish, is_unproven, justification, credential } = asking;
    let statement = sqlx::query_file!(
        "queries/decision_ask.sql",
        payment_id.uuid(),
        version,
        wish.as_str(),
        is_unproven,
        wish.charge_id(),
        justification.by(),
        credential,
        justification.reason()
    )
    .fetch_one(pool)
    .in_time();
    let asked = durable("decision_ask", statement).await?;
    if let Some(id) = asked.asked {
        return Ok(Asked::Open(id));
    }
    // It is open, or done already: a connection may have broken before that was known.
    let open = sqlx::query!(
        "select id, version = $2 and wish = $3 and is_unproven = $4 and charge_id is not distinct from $5
                and asked_by = $6 and asked_with = $7 and reason = $8 as \"is_so!\"
           from decisions
          where payment_id = $1 and (ended_at is null or (version = $2 and outcome = 'done'))
          order by id desc
          limit 1",
        payment_id.uuid(),
        version,
        wish.as_str(),
        is_unproven,
        wish.charge_id(),
        justification.by(),
        credential,
        justification.reason()
    )
    .fetch_optional(pool)
    .in_time()
    .await?;
    Ok(match open {
        Some(open) if open.is_so => Asked::Open(open.id),
        Some(open) if asked.is_held => Asked::Another(open.id),
        Some(_) | None => Asked::Moved,
    })
}

/// Takes back a decision. A worker that is looking for it just now writes nothing any more, and a look
/// changes nothing. Answers false if it had ended.
///
/// # Errors
/// The database's error. The call may be repeated.
pub async fn withdraw(pool: &PgPool, id: i64, justification: &Justification) -> sqlx::Result<bool> {
    let statement = sqlx::query!(
        "update decisions
            set ended_at = clock_timestamp(), outcome = 'withdrawn', refusal = $2 || ': ' || $3
          where id = $1 and ended_at is null",
        id,
        justification.by(),
        justification.reason()
    )
    .execute(pool)
    .in_time();
    let withdrawn = durable("decision_withdraw", statement).await?;
    Ok(withdrawn.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_without_a_usable_charge_and_a_look_without_proof_are_not_asked_for() {
        let ada = || Justification::new("ada", "the gateway's books say so").unwrap();
        let id = PaymentId::generate();
        for unusable in [String::new(), "a\u{0}".to_owned(), "x".repeat(256)] {
            let wish = Wish::Succeed { charge_id: unusable };
            assert_eq!(Asking::new((id, 4), wish, false, ada(), "ada").unwrap_err().field, "charge_id");
        }
        for wish in [Wish::Look, Wish::Void] {
            assert_eq!(Asking::new((id, 4), wish, true, ada(), "ada").unwrap_err().field, "unproven");
        }
    }
}

//! Resolving a break from the command line or over HTTP: closing it, or deciding about the payment that is held over it.
//! Both end in the one writer; here is only which of the two it is.

use sqlx::PgPool;

use crate::breaks::{self, Break};
use crate::ids::PaymentId;
use crate::payment::history;
use crate::payment::transition::{
    Decision, Justification, Resolution, ResolveError, Unusable, close_break, resolve,
};

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What becomes of the held payment: `release`, `succeed`, `fail` or `reverse`. None where it is not held.
    pub decision: Option<String>,
    /// By which charge it succeeded.
    pub charge_id: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// It is closed now.
    Now(Break),
    /// The same person had closed it for the same reason.
    Before(Break),
    /// It was closed before, by somebody else or for another reason.
    Otherwise(Break),
    /// There is none of that number.
    NoSuchBreak,
    /// Its payment is held: say what becomes of it.
    NeedsDecision,
    /// Its payment is not held: there is nothing to decide about it.
    NothingToDecide,
    /// A field cannot be used.
    Unusable(Unusable),
}

/// Resolves a break.
///
/// # Errors
/// The database's; then nothing was written (or, where the connection broke, all of it: the same request tells).
pub async fn resolve_break(pool: &PgPool, id: i64, asked: &Resolve) -> Result<Resolved, ResolveError> {
    let (justification, decision) = match usable(asked) {
        Ok(usable) => usable,
        Err(why) => return Ok(Resolved::Unusable(why)),
    };
    let Some(found) = breaks::find(pool, id).await? else { return Ok(Resolved::NoSuchBreak) };
    if found.closed_at.is_some() {
        let is_repeated = is_closed_so(&found, &justification);
        return Ok(if is_repeated { Resolved::Before(found) } else { Resolved::Otherwise(found) });
    }
    match (decision, found.payment_id.filter(|_| found.is_held)) {
        (None, None) => {
            close_break(pool, id, &justification).await?;
        }
        (None, Some(_)) => return Ok(Resolved::NeedsDecision),
        (Some(_), None) => return Ok(Resolved::NothingToDecide),
        (Some(decision), Some(payment)) => {
            let payment = PaymentId::from(payment);
            let version = history::row(pool, payment).await?.version;
            match Resolution::new(payment, version, decision, justification.clone()) {
                Ok(resolution) => resolve(pool, &resolution).await?,
                Err(why) => return Ok(Resolved::Unusable(why)),
            };
        }
    }
    // Of two who resolve at once one wins, and the other is told so.
    let now = breaks::find(pool, id).await?;
    Ok(match now {
        None => Resolved::NoSuchBreak,
        Some(now) if now.closed_at.is_none() => Resolved::NeedsDecision,
        Some(now) if is_closed_so(&now, &justification) => Resolved::Now(now),
        Some(now) => Resolved::Otherwise(now),
    })
}

/// Whether it was closed by this person for this reason.
fn is_closed_so(it: &Break, justification: &Justification) -> bool {
    justification.is(it.closed_by.as_deref(), it.closed_reason.as_deref())
}

fn usable(asked: &Resolve) -> Result<(Justification, Option<Decision>), Unusable> {
    let justification = Justification::new(&asked.by, &asked.reason)?;
    let unknown = Unusable { field: "decision", why: "must be release, succeed, fail or reverse" };
    let decision = match (asked.decision.as_deref(), &asked.charge_id) {
        (None, None) => None,
        (Some("succeed"), Some(charge_id)) => Some(Decision::Succeed { charge_id: charge_id.clone() }),
        (Some("succeed"), None) => {
            return Err(Unusable { field: "charge_id", why: "must name the charge by which it succeeded" });
        }
        (_, Some(_)) => {
            return Err(Unusable { field: "charge_id", why: "goes only with the decision succeed" });
        }
        (Some("release"), None) => Some(Decision::Release),
        (Some("fail"), None) => Some(Decision::Fail),
        (Some("reverse"), None) => Some(Decision::Reverse),
        (Some(_), None) => return Err(unknown),
    };
    Ok((justification, decision))
}

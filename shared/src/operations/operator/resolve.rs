//! Resolving a break from the command line or over HTTP: closing it, or deciding about the payment that is held over it.
//! Both end in the one writer; here is only which of the two it is, and waiting for the look that a decision needs.

use std::time::Duration;

use domain::held::Wish;
use domain::ids::PaymentId;
use sqlx::PgPool;

use super::decisions::{Decision, await_decision};
use crate::operations::breaks::{self, Break};
use crate::operations::installation;
use crate::payment::history;
use crate::payment::transition::{Asked, Asking, Justification, Unusable, ask, close_break, release};

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// Who.
    pub by: String,
    /// Which credential that was.
    pub credential: String,
    /// Why.
    pub reason: String,
    /// What becomes of the held payment: `release`, `look`, `succeed`, `fail`, `reverse` or `void`. None where it is not
    /// held.
    pub decision: Option<String>,
    /// By which charge it succeeded.
    pub charge_id: Option<String>,
    /// Without proof, where the gateway is silent or cannot look up.
    pub unproven: bool,
    /// How long to wait for a worker to check the decision.
    pub patience: Duration,
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
    /// A decision of somebody else about its payment is being checked.
    Another,
    /// The decision is written down, and no worker has checked it yet: the same request tells what became of it.
    Asked(Box<Decision>),
    /// What the gateway shows does not permit it, or it was only to be looked at. The break stays open.
    Checked(Box<Decision>),
    /// A field cannot be used.
    Unusable(Unusable),
}

/// What becomes of a held payment.
enum Chosen {
    Release,
    Wish(Wish),
}

/// Resolves a break.
///
/// # Errors
/// The database's; then nothing was written (or, where the connection broke, all of it: the same request tells).
pub async fn resolve_break(pool: &PgPool, id: i64, asked: &Resolve) -> sqlx::Result<Resolved> {
    let (justification, chosen) = match usable(asked) {
        Ok(usable) => usable,
        Err(why) => return Ok(Resolved::Unusable(why)),
    };
    let Some(found) = breaks::find(pool, id).await? else { return Ok(Resolved::NoSuchBreak) };
    if found.closed_at.is_some() {
        let is_repeated = is_closed_so(&found, &justification);
        return Ok(if is_repeated { Resolved::Before(found) } else { Resolved::Otherwise(found) });
    }
    match (chosen, found.payment_id.filter(|_| found.is_held).map(PaymentId::from)) {
        (None, None) => {
            close_break(pool, id, &justification).await?;
        }
        (None, Some(_)) => return Ok(Resolved::NeedsDecision),
        (Some(_), None) => return Ok(Resolved::NothingToDecide),
        (Some(_), Some(payment)) if !installation::owns(pool, payment).await? => {
            let why = "must be left: the payment belongs to the installation of which this is a copy";
            return Ok(Resolved::Unusable(Unusable { field: "decision", why }));
        }
        (Some(Chosen::Release), Some(payment)) => {
            let version = history::row(pool, payment).await?.version;
            release(pool, payment, version, &justification).await?;
        }
        (Some(Chosen::Wish(wish)), Some(payment)) => {
            let checked = check(pool, payment, wish, asked, &justification).await?;
            if let Some(resolved) = checked {
                return Ok(resolved);
            }
        }
    }
    // Of two who resolve at once one wins, and the other is told so.
    let now = breaks::find(pool, id).await?;
    Ok(match now {
        None => Resolved::NoSuchBreak,
        Some(now) if now.closed_at.is_none() => Resolved::Another,
        Some(now) if is_closed_so(&now, &justification) => Resolved::Now(now),
        Some(now) => Resolved::Otherwise(now),
    })
}

/// Asks for the decision and waits for what the look makes of it; none where it was done, or somebody was faster.
async fn check(
    pool: &PgPool,
    payment: PaymentId,
    wish: Wish,
    asked: &Resolve,
    justification: &Justification,
) -> sqlx::Result<Option<Resolved>> {
    let version = history::row(pool, payment).await?.version;
    let about = (payment, version);
    let asking = match Asking::new(about, wish, asked.unproven, justification.clone(), &asked.credential) {
        Ok(asking) => asking,
        Err(why) => return Ok(Some(Resolved::Unusable(why))),
    };
    let decision = match ask(pool, &asking).await? {
        Asked::Open(id) => await_decision(pool, id, asked.patience).await?,
        Asked::Another(_) => return Ok(Some(Resolved::Another)),
        Asked::Moved => return Ok(None),
    };
    Ok(match decision.outcome.as_deref() {
        None => Some(Resolved::Asked(Box::new(decision))),
        Some("seen" | "refused" | "withdrawn") => Some(Resolved::Checked(Box::new(decision))),
        Some(_) => None,
    })
}

/// Whether it was closed by this person for this reason.
fn is_closed_so(it: &Break, justification: &Justification) -> bool {
    justification.is(it.closed_by.as_deref(), it.closed_reason.as_deref())
}

fn usable(asked: &Resolve) -> Result<(Justification, Option<Chosen>), Unusable> {
    let justification = Justification::new(&asked.by, &asked.reason)?;
    let unknown =
        Unusable { field: "decision", why: "must be release, look, succeed, fail, reverse or void" };
    if asked.unproven && !matches!(asked.decision.as_deref(), Some("succeed" | "fail" | "reverse")) {
        let why = "goes only with the decision succeed, fail or reverse";
        return Err(Unusable { field: "unproven", why });
    }
    let wish = |wish| Some(Chosen::Wish(wish));
    let chosen = match (asked.decision.as_deref(), &asked.charge_id) {
        (None, None) => None,
        (Some("succeed"), Some(charge_id)) => wish(Wish::Succeed { charge_id: charge_id.clone() }),
        (Some("succeed"), None) => {
            return Err(Unusable { field: "charge_id", why: "must name the charge by which it succeeded" });
        }
        (_, Some(_)) => {
            return Err(Unusable { field: "charge_id", why: "goes only with the decision succeed" });
        }
        (Some("release"), None) => Some(Chosen::Release),
        (Some("look"), None) => wish(Wish::Look),
        (Some("fail"), None) => wish(Wish::Fail),
        (Some("reverse"), None) => wish(Wish::Reverse),
        (Some("void"), None) => wish(Wish::Void),
        (Some(_), None) => return Err(unknown),
    };
    Ok((justification, chosen))
}

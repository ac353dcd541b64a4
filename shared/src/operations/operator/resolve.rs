//! Resolves a break for the command line or for HTTP: closes it, or decides about the payment that is held
//! over it. Both end in [`crate::payment::transition`]. This file chooses between the two, and waits for the
//! look that a decision needs.

use std::time::Duration;

use domain::held::Wish;
use domain::ids::PaymentId;
use sqlx::PgPool;

use super::decisions::{Decision, await_decision};
use crate::operations::breaks::{self, Break};
use crate::operations::installation;
use crate::payment::history;
use crate::payment::transition::{Asked, Asking, Justification, Unusable, ask, close_break, release};

/// A request to resolve a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The person who asks.
    pub by: String,
    /// The name of the credential that was used.
    pub credential: String,
    /// The reason that the person gives.
    pub reason: String,
    /// What becomes of the held payment: `release`, `look`, `succeed`, `fail`, `reverse` or `void`. None if
    /// it is not held.
    pub decision: Option<String>,
    /// The charge by which it succeeded; only with `succeed`.
    pub charge_id: Option<String>,
    /// Whether to decide without proof, because the gateway is silent or cannot look up.
    pub unproven: bool,
    /// How long to wait for a worker to check the decision.
    pub patience: Duration,
}

/// The result of resolving a break.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// The break is closed now.
    Now(Break),
    /// The same person had closed it for the same reason.
    Before(Break),
    /// It was closed before by another person or for another reason.
    Otherwise(Break),
    /// There is no break of that number.
    NoSuchBreak,
    /// Its payment is held: say what becomes of it.
    NeedsDecision,
    /// Its payment is not held: there is nothing to decide about it.
    NothingToDecide,
    /// Another person's decision about its payment is being checked.
    Another,
    /// The decision is written down, and no worker has checked it yet. The same request tells later what
    /// became of it.
    Asked(Box<Decision>),
    /// The look does not permit the decision, or only a look was asked for. The break stays open.
    Checked(Box<Decision>),
    /// A field cannot be used.
    Unusable(Unusable),
}

/// The choice for a held payment.
enum Chosen {
    Release,
    Wish(Wish),
}

/// Resolves a break as the person asks.
///
/// # Errors
/// The database's error; then nothing was written. If the connection broke, all of it may be: the same
/// request tells.
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
    // If two people resolve at once, one wins, and the other is told so.
    let now = breaks::find(pool, id).await?;
    Ok(match now {
        None => Resolved::NoSuchBreak,
        Some(now) if now.closed_at.is_none() => Resolved::Another,
        Some(now) if is_closed_so(&now, &justification) => Resolved::Now(now),
        Some(now) => Resolved::Otherwise(now),
    })
}

/// Asks for the decision and waits for the verdict of the look. None if it was done, or if another person was
/// faster.
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

/// Whether the break was closed by this person for this reason.
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

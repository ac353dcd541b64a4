//! Whether the charge of a payment that may be forgotten here is taken for another payment's, as a look or a
//! charge shows it.
//!
//! Invariant: a charge that names another payment's id is adopted only where no such payment is known. The
//! database that the claim came from is asked, and ids never come into being later. Where it cannot be asked,
//! nothing is decided.

use domain::decide::{self, Reason, Situation, Spends, Step};
use domain::ids::PaymentId;
use domain::outcome::{Charge, LookupOutcome};
use domain::status::HeldReason;
use serde_json::{Value, json};
use shared::payment::store;
use shared::payment::transition::Claim;
use shared::platform::fault;
use sqlx::PgPool;

use crate::Context;

/// Whether no payment of that id is known. Sabotage `adopts_anything` takes every one for forgotten.
pub(crate) async fn is_forgotten(pool: &PgPool, named: PaymentId) -> sqlx::Result<bool> {
    if fault::sabotaged("adopts_anything") {
        return Ok(true);
    }
    store::is_known(pool, named).await.map(|is_known| !is_known)
}

/// What follows a charge under our key, of the amount owed, that names another payment. The charge of a
/// forgotten payment is this one's; that of a known payment contradicts it.
pub(crate) async fn adopt(
    context: &Context,
    (charge, named): (Charge, PaymentId),
    evidence: &mut Value,
) -> Step {
    match is_forgotten(&context.pool, named).await {
        Ok(true) => {
            tracing::warn!(event = "adopted", charge_id = charge.id, made_as = %named,
                "a payment that is forgotten here was charged under the same key; its charge is this one's");
            evidence["adopted"] = json!(named);
            Step::Succeed(charge)
        }
        Ok(false) => {
            evidence["names"] = json!(named);
            Step::Hold(HeldReason::Contradiction)
        }
        Err(why) => {
            tracing::warn!(%why, "could not ask whose a charge is; looking again");
            let wait = context.policy.wait_for_gateway();
            Step::Doubt { wait, reason: Reason::AdoptionUnclear, spends: Spends::Nothing, tells: false }
        }
    }
}

/// What follows a look, whether it comes first or in the ordinary course of things.
pub(crate) async fn after_look(
    context: &Context,
    claim: &Claim,
    situation: &Situation,
    outcome: LookupOutcome,
    evidence: &mut Value,
) -> Step {
    let policy = &context.policy;
    if let (LookupOutcome::ChargedAs(charge, named), false) = (&outcome, situation.is_voiding) {
        return adopt(context, (charge.clone(), *named), evidence).await;
    }
    if claim.looks_first {
        return decide::first_look(situation, policy, outcome);
    }
    let step = decide::after_lookup(situation, policy, outcome.clone());
    decide::look_before_void(situation, policy, step, Some(&outcome))
}

//! Payments from a balance: decided when they are answered.

use std::sync::Arc;
use std::time::Duration;

use domain::idempotency;
use shared::database::batch::Refused;
use shared::database::failure::Failure;
use shared::database::standby;
use shared::payment::store;
use shared::payment::transition::{FromBalance, NewPayment, Paid};
use tokio::time::Instant;

use super::{Told, caller, created, replay};
use crate::App;
use crate::problem::Problem;
use crate::refusal::NotMoved;
use crate::routes::KEY_WAIT;

/// The first pause before a request is tried again. Each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(20);

const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Pays from the account, or finds the payment that the key made. A repeat is answered without a lock.
pub(super) async fn pay(app: App, payment: NewPayment) -> Result<Told, Problem> {
    let merchant = caller(&app, payment.api_key).await?.merchant;
    let asked = Arc::new(FromBalance { merchant, payment });
    let deadline = Instant::now() + KEY_WAIT;
    let (mut pause, mut suspect) = (PAUSE, None);
    loop {
        if let Some(told) = recorded(&app, &asked).await? {
            return Ok(told);
        }
        let waited_for = match app.accounts.pay(&asked, suspect).await {
            // What the key stands for is read, and told.
            Ok(Paid::Recorded) => continue,
            Ok(Paid::Unfit(reason)) => return Err(NotMoved::of(&reason, None)),
            Ok(Paid::Again) => Problem::KeyInProgress,
            Ok(Paid::Held(account)) => {
                suspect = Some(account);
                Problem::AccountBusy(account)
            }
            Err(Refused::Failed(error)) if Failure::of(&error) == Failure::LockedOut => Problem::DatabaseBusy,
            Err(refused) => return Err(refused.into()),
        };
        if Instant::now() >= deadline {
            tracing::warn!(event = "account_busy", problem = %waited_for, "waited in vain");
            return Err(waited_for);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What the key stands for, if it was taken.
async fn recorded(app: &App, asked: &FromBalance) -> Result<Option<Told>, Problem> {
    let FromBalance { merchant, payment } = asked;
    let customer_id = &payment.request.customer_id;
    let found = store::remembered(&app.pool, *merchant, customer_id, &payment.key).await?;
    let Some(remembered) = found else { return Ok(None) };
    standby::before_telling(&app.pool, remembered.accepted.created_at).await?;
    if remembered.accepted.id == payment.id.uuid() {
        let renderer = remembered.renderer;
        return Ok(Some(Told { renderer, ..created(remembered.accepted) }));
    }
    let differing = idempotency::differences(&payment.request, payment.fingerprint, &remembered);
    replay(remembered, differing).map(Some)
}

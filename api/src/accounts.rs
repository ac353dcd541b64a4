//! The way of a request that moves money: what its key remembers, then a batch, then alone if an account is
//! held. It waits with growing pauses, and at most as long as a request with a held key does.

use std::sync::Arc;
use std::time::Duration;

use domain::idempotency::RENDERER;
use domain::ids::AccountId;
use shared::account::moving::{Moved, Moving, Request, Suspects, move_alone};
use shared::account::remembered::{Remembered, Remembering};
use shared::database::batch::{Batcher, Refused};
use shared::database::failure::Failure;
use shared::database::{Seat, standby};
use shared::payment::transition::{FromBalance, Paid, Paying, pay_alone};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::problem::Problem;

/// How long a request waits for a key or an account that another one has.
const WAIT: Duration = Duration::from_secs(5);

/// The first pause. Each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(20);

const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How many requests are tried by themselves at a time.
const LANES: usize = 4;

/// What moves money for this process.
pub(crate) struct Accounts {
    pool: PgPool,
    moves: Batcher<Moving>,
    memories: Batcher<Remembering>,
    payments: Batcher<Paying>,
    suspects: Suspects,
    lanes: Semaphore,
}

/// What a request came to, now or when its key was first used.
pub(crate) enum Outcome {
    /// It was decided now.
    Moved(Moved),
    /// Its key was recorded. Whether that was by another request than this one.
    Remembered(Remembered, bool),
}

impl Accounts {
    pub(crate) fn new(pool: &PgPool) -> Self {
        let seat = || Seat::new(pool.clone());
        let suspects = Suspects::default();
        Self {
            pool: pool.clone(),
            moves: Batcher::new(Moving { seat: seat(), suspects: suspects.clone() }),
            memories: Batcher::new(Remembering { seat: seat() }),
            payments: Batcher::new(Paying { seat: seat(), suspects: suspects.clone() }),
            suspects,
            lanes: Semaphore::new(LANES),
        }
    }

    /// What the request's key remembers; none if the key is free. Another request under it is a problem.
    pub(crate) async fn remembered(&self, request: &Request) -> Result<Option<Remembered>, Problem> {
        let Some(asked) = request.merchant.zip(request.key.clone()) else { return Ok(None) };
        let fingerprint = asked.1.fingerprint;
        let Some(found) = self.memories.submit(asked).await? else { return Ok(None) };
        standby::before_telling(&self.pool, found.recorded_at).await?;
        if found.fingerprint != fingerprint {
            return Err(Problem::KeyOfAnother);
        }
        if found.renderer != RENDERER {
            tracing::error!(
                renderer = found.renderer,
                "no such renderer: this program is older than the key"
            );
            return Err(Problem::Internal);
        }
        Ok(Some(found))
    }

    /// Tries a payment from a balance with others; by itself, if this account was found to be held.
    pub(crate) async fn pay(
        &self,
        asked: &Arc<FromBalance>,
        suspect: Option<AccountId>,
    ) -> Result<Paid, Refused<sqlx::Error>> {
        let Some(account) = suspect else { return self.payments.submit(asked.clone()).await };
        let _lane = self.lanes.acquire().await;
        let paid = pay_alone(&self.pool, &self.suspects, asked, account).await;
        paid.map_err(|error| Refused::Failed(Arc::new(error)))
    }

    /// Does what the request asks for, or finds what came of it.
    pub(crate) async fn perform(&self, request: Request) -> Result<Outcome, Problem> {
        let request = Arc::new(request);
        let deadline = Instant::now() + WAIT;
        let mut pause = PAUSE;
        let mut suspect = None;
        loop {
            let tried = match suspect {
                None => self.moves.submit(request.clone()).await,
                Some(account) => {
                    let _lane = self.lanes.acquire().await;
                    let moved = move_alone(&self.pool, &self.suspects, &request, account).await;
                    moved.map_err(|error| Refused::Failed(Arc::new(error)))
                }
            };
            let waited_for = match tried {
                Ok(Moved::Again) => Problem::KeyInProgress,
                Ok(Moved::Held(account)) => {
                    suspect = Some(account);
                    Problem::AccountBusy(account)
                }
                Ok(moved) => return Ok(Outcome::Moved(moved)),
                Err(Refused::Failed(error)) if Failure::of(&error) == Failure::LockedOut => {
                    Problem::DatabaseBusy
                }
                Err(refused) => return Err(refused.into()),
            };
            if let Some(found) = self.remembered(&request).await? {
                let is_own = found.object_id == request.object_id;
                return Ok(Outcome::Remembered(found, !is_own));
            }
            if Instant::now() >= deadline {
                tracing::warn!(event = "account_busy", problem = %waited_for, "waited in vain");
                return Err(waited_for);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

//! Whether the database is still the one that this installation knows, asked every two seconds while the
//! worker works.
//!
//! A server that took over is compared with the gateway's books; until it is accepted, the database refuses
//! all claims. A database that has become another one ends the worker.

use std::time::Duration;

use shared::operations::installation::timeline::{self, Returned};
use shared::operations::installation::{self, Installation, Refused, Verdict, verdict};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Desks;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the worker logs again that nothing is claimed, while that goes on.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Asks until `shutdown`.
///
/// # Errors
/// The database is another one, and the worker must end.
pub(crate) async fn watch(desks: &Desks, shutdown: &CancellationToken) -> Result<(), Refused> {
    let mut said_at: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        let why = match look(desks).await {
            Ok(Look::Well) => None,
            Ok(Look::Closed(why)) => Some(why),
            Ok(Look::Another(why)) => return Err(why),
            Err(why) => {
                tracing::warn!(%why, "could not ask which database this is");
                None
            }
        };
        if let Some(why) = why
            && said_at.is_none_or(|at| at.elapsed() >= SAY_AGAIN)
        {
            tracing::error!(event = "nothing_is_claimed", why, "nothing is claimed");
            said_at = Some(Instant::now());
        }
        tokio::select! { () = sleep(LOOK_EVERY) => {} () = shutdown.cancelled() => {} }
    }
    Ok(())
}

enum Look {
    Well,
    /// Nothing is claimed, for that reason.
    Closed(String),
    Another(Refused),
}

async fn look(desks: &Desks) -> sqlx::Result<Look> {
    let (installation, seen) =
        (installation::read(&desks.pool).await?, installation::seen(&desks.pool).await?);
    Ok(match verdict::judge(&installation, &seen) {
        Verdict::Refused(why) => Look::Another(why),
        Verdict::Known | Verdict::New => told(installation),
        Verdict::Ahead => look_into(desks, installation).await?,
    })
}

fn told(installation: Installation) -> Look {
    installation.must_restore.map_or(Look::Well, Look::Closed)
}

async fn look_into(desks: &Desks, installation: Installation) -> sqlx::Result<Look> {
    if installation.must_restore.is_some() {
        return Ok(told(installation));
    }
    Ok(match timeline::look_into(&desks.pool, &desks.gateways()).await? {
        Returned::NothingToDo => Look::Well,
        Returned::Accepted => {
            tracing::warn!(
                event = "server_accepted",
                "another server took over, and nothing is forgotten of what the gateway knows"
            );
            Look::Well
        }
        Returned::AcceptedBlindly => {
            tracing::error!(
                event = "server_accepted",
                "another server took over, and the gateway shows no books: whether payments are forgotten is not known"
            );
            Look::Well
        }
        Returned::MustRestore(why) => Look::Closed(why),
        Returned::Waits(why) => Look::Closed(format!(
            "another server took over, and the gateway's books were not read to their end: {why}"
        )),
    })
}

//! What strikes a bank: in turn, each fault that reaches those who move money between accounts.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{Scene, database, network, processes};

/// How long an API is frozen: longer than anybody waits for an account that is locked.
const FROZEN_FOR: Duration = Duration::from_millis(1_500);

/// A fault.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    ApiKilled,
    ApiFrozen,
    WorkerKilled,
    DatabaseKilled,
    DatabaseSlow,
    Parted,
    WithoutConnections,
    AllRestarted,
}

/// Those that are over in a moment stand here several times.
const IN_TURN: [Trouble; 11] = [
    Trouble::ApiKilled,
    Trouble::ApiFrozen,
    Trouble::DatabaseKilled,
    Trouble::ApiKilled,
    Trouble::DatabaseSlow,
    Trouble::WorkerKilled,
    Trouble::Parted,
    Trouble::ApiFrozen,
    Trouble::AllRestarted,
    Trouble::ApiKilled,
    Trouble::WithoutConnections,
];

/// The strike of that number.
pub(super) async fn strike(scene: &mut Scene<'_>, number: u32) -> Result<()> {
    match IN_TURN[usize::try_from(number)? % IN_TURN.len()] {
        Trouble::ApiKilled => processes::kill_an_api(scene).await,
        Trouble::ApiFrozen => freeze_an_api(scene).await,
        Trouble::WorkerKilled => processes::kill_a_worker(scene).await,
        Trouble::DatabaseKilled => database::kill(scene).await,
        Trouble::DatabaseSlow => network::slow_the_database(scene).await,
        Trouble::Parted => network::part(scene).await,
        Trouble::WithoutConnections => database::take_all_connections(scene).await,
        Trouble::AllRestarted => processes::restart_all(scene).await,
    }
}

/// Freezes an API with all that it has under way, accounts that it locked among it, and lets it go on.
async fn freeze_an_api(scene: &mut Scene<'_>) -> Result<()> {
    let which = scene.one_of(scene.fleet.apis.len());
    scene.pause_up_to(Duration::from_millis(30)).await;
    let is_frozen = scene.fleet.apis[which].freeze();
    sleep(FROZEN_FOR).await;
    let went_on = scene.fleet.apis[which].thaw();
    scene.fired("APIs frozen", (is_frozen && went_on).into());
    Ok(())
}

//! The database is killed, has no connection left, or has no disk space left.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::Scene;
use crate::database::Database;

/// How long all connections stay taken: longer than a request waits for one.
const CONNECTIONS_HELD: Duration = Duration::from_millis(3_500);
/// How long the disk stays full once that is felt.
const DISK_HELD: Duration = Duration::from_millis(1_000);
/// The name of the sessions that take up the connections.
const OURS: &str = "payonce chaos";
const AT_ONCE: usize = 8;
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// The longest time until the database needs space that it does not have.
const DISK_PATIENCE: Duration = Duration::from_mins(2);
/// The bytes that are written at a time until nothing fits any more.
const PIECE: usize = 64 * 1024;
const RESTART_PATIENCE: Duration = Duration::from_mins(3);

pub(super) async fn kill(scene: &mut Scene<'_>) -> Result<()> {
    let lived = scene.fleet.database.kill9().await?;
    scene.fired("database servers killed", lived.into());
    scene.pause_up_to(Duration::from_millis(500)).await;
    scene.fleet.database.restart().await
}

/// Takes every connection that is left, breaks those of the processes, takes these as well, and holds them.
pub(super) async fn take_all_connections(scene: &mut Scene<'_>) -> Result<()> {
    let url = PgConnectOptions::from_str(&scene.fleet.database_url())?.application_name(OURS);
    let (mut taken, mut refused, put_off_before) = (Vec::new(), 0, scene.load.put_off());
    let mut full_since = None;
    while full_since.is_none_or(|since: Instant| since.elapsed() < CONNECTIONS_HELD) {
        // Several at once: free connections must be taken faster than the processes take them.
        let several = (0..AT_ONCE).map(|_| timeout(CONNECT_PATIENCE, PgConnection::connect_with(&url)));
        let several = join_all(several).await;
        let refused_now = several.iter().filter(|one| !matches!(one, Ok(Ok(_)))).count();
        taken.extend(several.into_iter().flatten().flatten());
        if refused_now > 0 {
            refused += u64::try_from(refused_now)?;
            full_since.get_or_insert_with(Instant::now);
            break_other_connections(&mut taken).await;
        }
    }
    scene.fired("connections refused, since none was left", refused);
    let put_off = scene.load.put_off() - put_off_before;
    scene.fired("requests put off while no connection was left", put_off);
    for connection in taken {
        drop(connection.close_hard().await);
    }
    Ok(())
}

async fn break_other_connections(taken: &mut [PgConnection]) {
    let Some(first) = taken.first_mut() else { return };
    let broken = sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name <> $1",
    );
    // Where that fails, the next one is refused too.
    let _ = broken.bind(OURS).execute(first).await;
}

/// Fills the database's disk, waits, and frees it again. Starts the database if it ended for lack of space.
pub(super) async fn fill_the_disk(scene: &mut Scene<'_>) -> Result<()> {
    let Some(disk) = scene.small_disk.clone() else { return Ok(()) };
    let ballast = disk.join("ballast");
    let (put_off_before, deadline) = (scene.load.put_off(), Instant::now() + DISK_PATIENCE);
    // Filled again and again, since the database frees some space by itself, until it hurts, and a
    // little longer.
    let mut hurts_since = None;
    while hurts_since.is_none_or(|since: Instant| since.elapsed() < DISK_HELD) && Instant::now() < deadline {
        fill(&ballast)?;
        if hurts_since.is_none() && scene.load.put_off() > put_off_before {
            hurts_since = Some(Instant::now());
        }
        sleep(Duration::from_millis(5)).await;
    }
    std::fs::remove_file(&ballast).with_context(|| format!("cannot remove {}", ballast.display()))?;
    let (refused, has_ended) =
        (scene.load.put_off() - put_off_before, scene.fleet.database.has_ended().await);
    scene.fired("requests put off while the disk was full", refused);
    scene.fired("database servers ended for want of room", has_ended.into());
    revive(&mut scene.fleet.database).await
}

/// Writes until nothing fits. Answers how many bytes that was.
fn fill(ballast: &Path) -> Result<u64> {
    let mut file = File::options().create(true).append(true).open(ballast)?;
    let (piece, mut written) = (vec![0; PIECE], 0);
    let mut length = PIECE;
    while length > 0 {
        match file.write(&piece[..length]) {
            Ok(wrote @ 1..) => written += u64::try_from(wrote)?,
            Ok(_) | Err(_) => length /= 2,
        }
    }
    Ok(written)
}

/// Starts a server that has ended because it could not write its log of changes. It may need a second start.
async fn revive(database: &mut Database) -> Result<()> {
    let deadline = Instant::now() + RESTART_PATIENCE;
    while database.has_ended().await {
        match database.restart().await {
            Ok(()) => {}
            Err(why) if Instant::now() > deadline => return Err(why),
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
    Ok(())
}

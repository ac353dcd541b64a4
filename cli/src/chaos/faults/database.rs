//! The database is killed, has no connection left, has no room left.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::Scene;
use crate::chaos::fleet::Database;

/// How long all connections stay taken, and the disk full.
const HELD: Duration = Duration::from_millis(1_500);
/// What the connections that take up the room are called.
const OURS: &str = "payonce chaos";
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// What is written at a time until nothing fits any more.
const PIECE: usize = 64 * 1024;
const RESTART_PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn kill(scene: &mut Scene<'_>) -> Result<()> {
    let lived = scene.fleet.database.kill9().await?;
    scene.fired("database servers killed", lived.into());
    scene.pause_up_to(Duration::from_millis(500)).await;
    scene.fleet.database.restart().await
}

/// Takes every connection that is left, breaks those of the processes, takes these as well, and holds them.
pub(super) async fn take_all_connections(scene: &mut Scene<'_>) -> Result<()> {
    let url = PgConnectOptions::from_str(&scene.fleet.database_url())?.application_name(OURS);
    let (mut taken, mut refused) = (Vec::new(), 0);
    let until = Instant::now() + HELD;
    while Instant::now() < until {
        match timeout(CONNECT_PATIENCE, PgConnection::connect_with(&url)).await {
            Ok(Ok(connection)) => taken.push(connection),
            Ok(Err(_)) | Err(_) => {
                refused += 1;
                break_other_connections(&mut taken).await;
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    scene.fired("times that no connection was left", refused);
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

/// Fills the database's disk, waits, makes room again, and starts the database where it ended for want of room.
pub(super) async fn fill_the_disk(scene: &mut Scene<'_>) -> Result<()> {
    let Some(disk) = scene.small_disk.clone() else { return Ok(()) };
    let ballast = disk.join("ballast");
    let deadline = Instant::now() + HELD;
    // Again and again, since the database frees some room by itself.
    let mut written = 0;
    while Instant::now() < deadline {
        written += fill(&ballast)?;
        sleep(Duration::from_millis(20)).await;
    }
    scene.fired("times that the disk was full", u64::from(written > 0));
    std::fs::remove_file(&ballast).with_context(|| format!("cannot remove {}", ballast.display()))?;
    if scene.fleet.database.has_ended().await {
        scene.fired("database servers ended for want of room", 1);
    }
    revive(&mut scene.fleet.database).await
}

/// Writes until nothing fits; tells how much that was.
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

/// A server that could not write its log of changes ends, and may need a second start.
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

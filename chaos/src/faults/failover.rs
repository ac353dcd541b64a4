//! A standby takes the place of the database, again and again. The old server is gone, is read only, or knows
//! nothing of it.
//!
//! Must hold: every acknowledged payment is there, since each commit waits for the standby. A server that was
//! passed over acknowledges nothing any more, though it still takes writes. No payment is counted against its
//! workers for the pauses, and there are as many connections as before.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use terminal::progress;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::Scene;
use crate::database::Database;

/// The old primary's lot while its standby takes over.
#[derive(Debug, Clone, Copy)]
enum Old {
    /// It is killed with SIGKILL.
    Killed,
    /// It refuses writes, as a demoted server does that keeps its sockets.
    ReadOnly,
    /// It goes on, and would take writes.
    Undemoted,
}

/// The lots that the old primaries have, in turn.
const OLD: [Old; 3] = [Old::Killed, Old::ReadOnly, Old::Undemoted];

/// The longest wait for anything that a standby is to show, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Makes each commit wait for the standby.
const SYNCHRONOUS: [&str; 2] =
    ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"];
/// Makes a primary without a standby wait for none, as operators do when they promote one.
const ALONE: [&str; 2] = ["alter system reset synchronous_standby_names", "select pg_reload_conf()"];
const READ_ONLY: [&str; 2] =
    ["alter system set default_transaction_read_only = on", "select pg_reload_conf()"];

/// Counts the sessions of APIs and workers.
const SESSIONS: &str =
    "select count(*) from pg_stat_activity where datname = 'payonce' and application_name like 'payonce%'";

/// What each session is, and what it did last. Sessions whose other end may be gone are left out: one that
/// waits for a standby's word looks at nothing else.
const WHO: &str =
    "select format('%s, %s since %s: %s', application_name, state, state_change::timetz(0), left(query, 60))
    from pg_stat_activity
    where datname = 'payonce' and application_name like 'payonce%' and wait_event is distinct from 'SyncRep'";

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    if let Some(elsewhere) = scene.plan.elsewhere.clone() {
        return strike_elsewhere(scene, &elsewhere.strike_with).await;
    }
    let Some(mut standby) = scene.fleet.standby.take() else { return Ok(()) };
    until_followed(&scene.fleet.database).await?;
    scene.fleet.database.execute(&SYNCHRONOUS).await?;
    let kills = scene.plan.kills;
    let mut sessions_before = None;
    let mut gaps = Vec::new();
    for strike in 0..kills {
        scene.load.reach(f64::from(strike + 1) / f64::from(kills + 1)).await?;
        let sessions = scene.fleet.database.count(SESSIONS).await?;
        sessions_before.get_or_insert(sessions);
        let old = OLD[usize::try_from(strike)? % OLD.len()];
        let (gap, next) = fail_over(scene, old, standby).await?;
        gaps.push(gap);
        standby = next;
    }
    let sessions = scene.fleet.database.count(SESSIONS).await?;
    scene.demand(sessions_before.is_none_or(|before| sessions <= before.max(1) * 2), || {
        format!("{sessions} sessions of ours at the end, and {sessions_before:?} at the beginning")
    });
    let poisoned: i64 = sqlx::query_scalar("select count(*) from payments where held_reason = 'poison'")
        .fetch_one(&scene.fleet.pool)
        .await?;
    scene.demand(poisoned == 0, || format!("{poisoned} payments are blamed for workers that waited"));
    tell(scene, gaps);
    scene.fleet.standby = Some(standby);
    Ok(())
}

/// Does one promotion. Answers how long it took from its beginning until a request was acknowledged that was
/// sent after that, and the next standby.
async fn fail_over(scene: &mut Scene<'_>, old: Old, standby: Database) -> Result<(Duration, Database)> {
    let began = Instant::now();
    match old {
        Old::Killed => _ = scene.fleet.database.kill9().await?,
        Old::ReadOnly => scene.fleet.database.execute(&READ_ONLY).await?,
        Old::Undemoted => {}
    }
    standby.promote().await?;
    standby.execute(&ALONE).await?;
    standby.execute(&["alter system reset default_transaction_read_only", "select pg_reload_conf()"]).await?;
    let mut was = scene.fleet.moved_on(standby).await?;
    let gap = scene.load.acknowledged_after(began).await?;
    let what = match old {
        Old::Killed => "primaries killed, and their standbys promoted",
        Old::ReadOnly => "primaries read only, and their standbys promoted",
        Old::Undemoted => "primaries passed over that went on",
    };
    scene.fired(what, 1);
    if !matches!(old, Old::Killed) {
        until_left(&was).await?;
        was.kill9().await?;
    }
    let (directory, port) = was.place()?;
    drop(was);
    let next = scene.fleet.database.follow(&directory, port, scene.guardian).await?;
    until_followed(&scene.fleet.database).await?;
    scene.fleet.database.execute(&SYNCHRONOUS).await?;
    Ok((gap, next))
}

/// Has an outside command break the primary, as often as planned.
async fn strike_elsewhere(scene: &mut Scene<'_>, command: &str) -> Result<()> {
    let kills = scene.plan.kills;
    let mut gaps = Vec::new();
    for strike in 0..kills {
        scene.load.reach(f64::from(strike + 1) / f64::from(kills + 1)).await?;
        let mut striking = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run sh")?;
        let said = striking.stdout.take().context("its output is gone")?;
        let said = BufReader::new(said).lines().next_line().await?;
        let began = Instant::now();
        let Some(said) = said else {
            bail!("{command} ended ({}) and struck nothing", striking.wait().await?)
        };
        progress::say(&said);
        gaps.push(scene.load.acknowledged_after(began).await?);
        scene.fired("primaries broken by a command", 1);
        let ended = striking.wait().await?;
        ensure!(ended.success(), "{command} failed: {ended}");
    }
    tell(scene, gaps);
    Ok(())
}

/// Waits until none of our sessions is connected to a server that was passed over.
async fn until_left(old: &Database) -> Result<()> {
    let began = Instant::now();
    loop {
        let who = old.texts(WHO).await?;
        if who.is_empty() {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("still connected to a server that was passed over {PATIENCE:?} ago: {}", who.join("; "));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until a standby has all that the primary has.
pub(super) async fn until_followed(primary: &Database) -> Result<()> {
    let began = Instant::now();
    while primary.count("select count(*) from pg_stat_replication where state = 'streaming'").await? == 0 {
        if began.elapsed() > PATIENCE {
            bail!("no standby follows the primary after {PATIENCE:?}");
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn tell(scene: &mut Scene<'_>, mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    let ms = |gap: Option<&Duration>| gap.map_or(0, |gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
    scene.measured("from a promotion's beginning to the first 2xx, ms: median", ms(gaps.get(gaps.len() / 2)));
    scene.measured("from a promotion's beginning to the first 2xx, ms: worst", ms(gaps.last()));
}

//! A standby takes over for which no commit waited. What it had not received is gone, acknowledged or not,
//! and the gateway remembers what was charged for it.
//!
//! Must hold: the loss is noticed before anything is claimed. Once `payonce restored` has run and clients
//! have repeated their requests, each purchase was charged exactly once.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::{Scene, failover};
use crate::database::Database;
use crate::past::{self, Client, Fate, Purchase};
use crate::till::{self, count};

/// How many purchases are made around each promotion, in full and in short.
const PURCHASES: (usize, usize) = (1_000, 40);

const ENDED: &str = "select count(*) from payments where terminal_at is not null";
const HELD: &str = "select count(*) from payments where held_reason = 'restored'";
/// Counts one once a worker has found out what the server that took over is.
const DECIDED: &str = "
    select count(*) from installation
     where must_restore is not null
        or timeline = ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int";

/// The names of the figures.
const RESTORED: &str = "promotions after which `payonce restored` was needed";
const WORST: &str = "from the primary's death until all went on, ms: worst";

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let mut standby = scene.fleet.standby.take().context("there is no standby")?;
    let mut bought = Vec::new();
    for round in 0..scene.plan.kills {
        let how_many = if scene.plan.is_short { PURCHASES.1 } else { PURCHASES.0 };
        let purchase =
            |number| Purchase::new((0, "sim_ok"), format!("round-{round}-{number}"), number, Fate::Succeeds);
        let mut purchases: Vec<Purchase> = (0..how_many).map(purchase).collect();
        standby = take_over(scene, standby, &mut purchases).await?;
        bought.append(&mut purchases);
    }
    scene.fleet.standby = Some(standby);
    judge(scene, &bought).await
}

/// Does one promotion while these are bought, and waits until each has ended. Answers the next standby.
async fn take_over(scene: &mut Scene<'_>, standby: Database, purchases: &mut [Purchase]) -> Result<Database> {
    failover::until_followed(&scene.fleet.database).await?;
    let client = Client::of(scene.fleet)?;
    let quarter = purchases.len() / 4;
    let (received, not_received) = purchases.split_at_mut(quarter);
    let (acknowledged, under_way) = not_received.split_at_mut(quarter);
    let before = count(&scene.fleet.pool, ENDED).await?;
    client.post_all(received).await?;
    let sender = scene.fleet.database.count("select pid::bigint from pg_stat_replication").await?;
    let sender = Sender::freeze(i32::try_from(sender)?, scene);
    client.post_all(acknowledged).await?;
    let pool = scene.fleet.pool.clone();
    let some = before + i64::try_from(quarter)?;
    till::until("some to end that the standby knows nothing of", async || {
        Ok(count(&pool, ENDED).await? > some)
    })
    .await?;
    let (posted, next) =
        tokio::join!(client.post_all(under_way), Box::pin(lose_the_tail(scene, standby, sender)));
    posted?;
    next?;
    let next = scene.fleet.standby.take().context("there is no standby")?;
    client.post_all(purchases).await?;
    past::all_ended(&scene.fleet.pool, 0).await?;
    if count(&scene.fleet.pool, HELD).await? > 0 {
        let release = "restored release --all --by chaos --reason repeated --yes --json";
        past::payonce(scene.fleet, &release.split(' ').collect::<Vec<_>>()).await?;
        past::all_ended(&scene.fleet.pool, 0).await?;
    }
    Ok(next)
}

/// The primary's process that tells the standby what was committed. While it is frozen, it tells nothing.
struct Sender {
    pid: i32,
}

impl Sender {
    fn freeze(pid: i32, scene: &Scene<'_>) -> Self {
        // The guardian ends it, however this process ends.
        scene.guardian.process(pid.cast_unsigned());
        let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        Self { pid }
    }

    fn kill(self, scene: &Scene<'_>) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        scene.guardian.gone(self.pid.cast_unsigned());
    }
}

/// Kills the primary with what it had not sent, and promotes the standby. Where that is found to have
/// forgotten charges, it does what the runbook asks of a person.
async fn lose_the_tail(scene: &mut Scene<'_>, standby: Database, sender: Sender) -> Result<()> {
    let began = Instant::now();
    scene.fleet.database.kill9().await?;
    sender.kill(scene);
    standby.promote().await?;
    let was = scene.fleet.moved_on(standby).await?;
    scene.fired("standbys promoted without the last commits", 1);
    let pool = scene.fleet.pool.clone();
    till::until("somebody to look into it", async || Ok(count(&pool, DECIDED).await? > 0)).await?;
    let closed = count(&pool, "select count(*) from installation where must_restore is not null").await?;
    if closed > 0 {
        for process in scene.fleet.workers.iter_mut().chain(&mut scene.fleet.apis) {
            process.kill9().await;
        }
        past::payonce(scene.fleet, &["restored", "--by", "chaos", "--json"]).await?;
        scene.fleet.heal().await?;
        let times = scene.measured.get(RESTORED).copied().unwrap_or_default();
        scene.measured(RESTORED, times + 1);
    }
    let worst = scene.measured.get(WORST).copied().unwrap_or_default();
    scene.measured(WORST, worst.max(u64::try_from(began.elapsed().as_millis())?));
    let (directory, port) = was.place()?;
    drop(was);
    scene.fleet.standby = Some(scene.fleet.database.follow(&directory, port, scene.guardian).await?);
    Ok(())
}

/// Whether each purchase succeeded and was charged once, by the gateway's own journal. Counts also how many
/// were lost meanwhile.
async fn judge(scene: &mut Scene<'_>, bought: &[Purchase]) -> Result<()> {
    let mut standing: HashMap<String, usize> = HashMap::new();
    for charge in past::standing(scene.fleet.gateway.address()).await? {
        *standing.entry(charge.key).or_default() += 1;
    }
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select 'pay_' || replace(id::text, '-', ''), gateway_key, coalesce(held_reason, status) from payments",
    )
    .fetch_all(&scene.fleet.pool)
    .await?;
    let (mut twice, mut lost) = (0, 0);
    let ended: HashMap<String, (String, String)> =
        rows.into_iter().map(|(id, key, end)| (id, (key, end))).collect();
    for purchase in bought {
        let id = purchase.ids.last().context("a purchase without an id")?;
        let (key, end) = ended.get(id).map_or(("", "forgotten"), |(key, end)| (key, end));
        let charges = standing.remove(key).unwrap_or_default();
        twice += u64::from(charges > 1);
        lost += u64::try_from(purchase.ids.len() - 1)?;
        scene.demand(purchase.fate.is_met_by(end, charges), || {
            format!("{} ({id}) is {end}, with {charges} charges that stand", purchase.key)
        });
    }
    scene.demand(standing.is_empty(), || format!("{} charges stand that nobody knows", standing.len()));
    scene.demand(lost > 0, || "no acknowledged payment was lost, so nothing was shown".to_owned());
    scene.measured("acknowledged payments that were lost, and repeated", lost);
    let adopted =
        count(&scene.fleet.pool, "select count(*) from orphans where adopted_by is not null").await?;
    scene.measured("of these charged, and adopted", u64::try_from(adopted)?);
    scene.measured("purchases charged twice", twice);
    past::remember_all(scene.load, bought)
}

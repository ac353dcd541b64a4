//! Programs of two versions take turns while clients pay. The database is migrated under the old ones. Both
//! run beside each other, and some of them are killed. The deployment is taken back, and made again. Once
//! keys are derived, which old programs cannot read, it is taken back once more. Then the database comes back
//! from a backup.
//!
//! Must hold: a program that cannot do it right does nothing. Each purchase succeeds, and was charged once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::Scene;
use super::restore::{judge, repeat_all};
use crate::past::{self, Client, Fate, Purchase};
use crate::till::count;

/// How many purchases are made in each act, in full and in short.
const PURCHASES: (usize, usize) = (2_000, 30);
/// How often a worker is killed while versions are mixed, in full and in short.
const KILLS: (usize, usize) = (20, 1);

/// The longest pause between two kills.
const PAUSE: Duration = Duration::from_millis(500);

/// Counts payments that a program accepted which derives no keys, once all keys are derived.
const UNDERIVED: &str = "select count(*) from payments where gateway_key is null";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Old,
    New,
}

/// What happens while clients pay.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Nothing else happens meanwhile.
    Quiet,
    /// The new payonce migrates the database.
    Migrate,
    /// Some of the programs become those of a version. Then workers of either are killed.
    Deploy(Version, Which),
    /// The new payonce is told that the last old program is gone.
    Finish,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    First,
    Others,
    All,
}

const BEFORE_KEYS: &[Act] = &[
    Act::Quiet,
    Act::Migrate,
    Act::Deploy(Version::New, Which::First),
    Act::Deploy(Version::Old, Which::All),
    Act::Deploy(Version::New, Which::First),
    Act::Deploy(Version::New, Which::All),
];

const WITH_KEYS: &[Act] = &[Act::Quiet, Act::Deploy(Version::Old, Which::Others), Act::Quiet];

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let mut bought = Vec::new();
    for act in BEFORE_KEYS {
        perform(scene, *act, &mut bought, Fate::Succeeds).await?;
    }
    perform(scene, Act::Finish, &mut bought, Fate::Succeeds).await?;
    let before = count(&scene.fleet.pool, UNDERIVED).await?;
    for act in WITH_KEYS {
        perform(scene, *act, &mut bought, Fate::Succeeds).await?;
    }
    comes_back(scene, &mut bought).await?;
    let underived = count(&scene.fleet.pool, UNDERIVED).await? - before;
    scene.demand(underived == 0, || format!("{underived} payments have no derived key, though all must"));
    perform(scene, Act::Deploy(Version::New, Which::All), &mut bought, Fate::Succeeds).await?;
    judge(scene, &bought).await
}

/// Has clients pay while that happens, until all that they bought has ended.
async fn perform(scene: &mut Scene<'_>, act: Act, bought: &mut Vec<Purchase>, fate: Fate) -> Result<()> {
    let how_many = if scene.plan.is_short { PURCHASES.1 } else { PURCHASES.0 };
    let first = bought.len();
    let purchase = |number| Purchase::new((0, "sim_ok"), format!("purchase-{number}"), number, fate);
    let mut purchases: Vec<Purchase> = (first..first + how_many).map(purchase).collect();
    let client = Client::of(scene.fleet)?;
    let (posted, done) = tokio::join!(client.post_all(&mut purchases), Box::pin(happen(scene, act)));
    done?;
    posted?;
    bought.append(&mut purchases);
    past::all_ended(&scene.fleet.pool, 0).await
}

async fn happen(scene: &mut Scene<'_>, act: Act) -> Result<()> {
    match act {
        Act::Quiet => Ok(()),
        Act::Migrate => past::payonce(scene.fleet, &["migrate", "--json"]).await.map(drop),
        Act::Finish => past::payonce(scene.fleet, &["migrate", "--finish", "--json"]).await.map(drop),
        Act::Deploy(version, which) => {
            deploy(scene, version, which).await?;
            kill_some(scene).await
        }
    }
}

/// Ends the programs one after another, by a signal or by force, and starts each again as that version's.
async fn deploy(scene: &mut Scene<'_>, version: Version, which: Which) -> Result<()> {
    let program = program(scene, version);
    for number in 0..scene.fleet.workers.len().max(scene.fleet.apis.len()) {
        let is_meant = match which {
            Which::First => number == 0,
            Which::Others => number > 0,
            Which::All => true,
        };
        let is_killed = scene.one_of(2) == 0;
        let processes = [scene.fleet.workers.get_mut(number), scene.fleet.apis.get_mut(number)];
        let mut exchanged = 0;
        for process in processes.into_iter().flatten().filter(|_| is_meant) {
            let _ = if is_killed { process.kill9().await } else { process.terminate().await };
            process.becomes(program.as_deref());
            process.set("ALLOW_NEWER_DATABASE", (version == Version::Old).to_string());
            process.revive().await?;
            exchanged += 1;
        }
        scene.fired("programs exchanged for those of a version", exchanged);
    }
    Ok(())
}

fn program(scene: &Scene<'_>, version: Version) -> Option<PathBuf> {
    match version {
        Version::Old => scene.plan.old.clone(),
        Version::New => None,
    }
}

async fn kill_some(scene: &mut Scene<'_>) -> Result<()> {
    let times = if scene.plan.is_short { KILLS.1 } else { KILLS.0 };
    for _ in 0..times {
        let number = scene.one_of(scene.fleet.workers.len());
        let worker = &mut scene.fleet.workers[number];
        let lived = worker.kill9().await;
        worker.revive().await?;
        scene.fired("workers killed", lived.into());
        scene.pause_up_to(PAUSE).await;
    }
    Ok(())
}

/// Restores a backup from before the last purchases, which are forgotten by it. Some programs are still the
/// old ones.
async fn comes_back(scene: &mut Scene<'_>, bought: &mut Vec<Purchase>) -> Result<()> {
    let dump = past::dump(scene.fleet, 0).await?;
    perform(scene, Act::Quiet, bought, Fate::Adopted).await?;
    for process in scene.fleet.workers.iter_mut().chain(&mut scene.fleet.apis) {
        process.kill9().await;
    }
    past::restore(scene.fleet, &dump, 0).await?;
    scene.fired("pasts that came back", 1);
    past::payonce(scene.fleet, &["restored", "--by", "chaos", "--json"]).await?;
    scene.fleet.heal().await?;
    repeat_all(scene, bought).await
}

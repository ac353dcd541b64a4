//! What is done to a running system in each scenario. The seed decides what is struck and how. The machine
//! decides when exactly, so a replay is the same trouble, but not at the same microsecond.

mod bank;
mod database;
mod deliveries;
mod door;
mod failover;
mod gateway;
mod gateways;
mod horizon;
mod lost_tail;
pub(super) mod network;
mod outage;
mod processes;
mod restore;
mod silence;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::fleet::Fleet;
use super::guardian::Guardian;
use super::load::Load;
use super::plan::{Plan, Scenario, Trait};

/// Faults that really fired, and how often.
pub(super) type Fired = BTreeMap<&'static str, u64>;

/// Figures that a script measured, by their names.
pub(super) type Measured = BTreeMap<String, u64>;

/// All that a fault can reach.
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    pub(super) fleet: &'a mut Fleet,
    pub(super) load: &'a Arc<Load>,
    pub(super) guardian: &'a Guardian,
    /// The small file system that the database lies on. None where there is no such file system.
    pub(super) small_disk: Option<PathBuf>,
    pub(super) dice: StdRng,
    pub(super) fired: Fired,
    pub(super) measured: Measured,
    /// What a script found that must not be.
    pub(super) wrong: Vec<String>,
    pub(super) last_at: Instant,
    /// How many processes ended though nothing struck them.
    pub(super) ended_by_themselves: u64,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        fleet: &'a mut Fleet,
        load: &'a Arc<Load>,
        guardian: &'a Guardian,
        small_disk: Option<PathBuf>,
    ) -> Self {
        let dice = StdRng::seed_from_u64(plan.seed);
        Self {
            plan,
            fleet,
            load,
            guardian,
            small_disk,
            dice,
            fired: Fired::new(),
            measured: Measured::new(),
            wrong: Vec::new(),
            last_at: Instant::now(),
            ended_by_themselves: 0,
        }
    }

    /// Counts a fault that fired.
    fn fired(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.fired.entry(what).or_default() += times;
            self.last_at = Instant::now();
        }
    }

    /// Makes everything whole again.
    async fn heal(&mut self) -> Result<()> {
        self.ended_by_themselves += self.fleet.heal().await?;
        Ok(())
    }

    /// Notes a fault of the system, unless `holds`.
    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    /// Keeps a figure for the report.
    fn measured(&mut self, what: impl Into<String>, figure: u64) {
        self.measured.insert(what.into(), figure);
    }

    /// A random number below `how_many`.
    fn one_of(&mut self, how_many: usize) -> usize {
        self.dice.random_range(0..how_many.max(1))
    }

    async fn pause_up_to(&mut self, longest: Duration) {
        sleep(longest.mul_f64(self.dice.random())).await;
    }
}

/// Puts in place what must be there before the first payment.
pub(super) async fn prepare(plan: &Plan, fleet: &Fleet) -> Result<()> {
    match plan.scenario {
        Scenario::Zombies => gateway::answer_slowly(fleet).await,
        Scenario::Gateway => gateway::misbehave(fleet, plan.seed).await,
        Scenario::LostAnswers => gateway::lose_all_answers(fleet, plan.seed).await,
        Scenario::Deliveries => deliveries::deliver_again(fleet).await,
        Scenario::Workers
        | Scenario::Api
        | Scenario::GatewayKill
        | Scenario::Postgres
        | Scenario::ClockSkew
        | Scenario::Connections
        | Scenario::DiskFull
        | Scenario::RestartStorm
        | Scenario::Failover
        | Scenario::LostTail
        | Scenario::SlowDatabase
        | Scenario::Partition
        | Scenario::SilentFew
        | Scenario::QuietOutage
        | Scenario::TwoGateways
        | Scenario::WrongDoor
        | Scenario::HeldSnapshot
        | Scenario::Restore
        | Scenario::Versions
        | Scenario::Bank
        | Scenario::All => Ok(()),
    }
}

/// Strikes as often as planned, spread over the payments, or goes on until the time is over. Returns with
/// everything whole again.
pub(super) async fn drive(scene: &mut Scene<'_>) -> Result<()> {
    match scene.plan.scenario {
        Scenario::All => everything(scene).await?,
        Scenario::SilentFew => silence::play(scene).await?,
        Scenario::QuietOutage => outage::play(scene).await?,
        Scenario::TwoGateways => gateways::play(scene).await?,
        Scenario::WrongDoor => door::play(scene).await?,
        Scenario::Failover => failover::play(scene).await?,
        Scenario::LostTail => Box::pin(lost_tail::play(scene)).await?,
        Scenario::HeldSnapshot => horizon::play(scene).await?,
        Scenario::Restore => Box::pin(restore::play(scene)).await?,
        Scenario::Versions => Box::pin(versions::play(scene)).await?,
        Scenario::Workers
        | Scenario::Api
        | Scenario::GatewayKill
        | Scenario::Postgres
        | Scenario::Zombies
        | Scenario::Gateway
        | Scenario::LostAnswers
        | Scenario::Deliveries
        | Scenario::ClockSkew
        | Scenario::Connections
        | Scenario::DiskFull
        | Scenario::RestartStorm
        | Scenario::SlowDatabase
        | Scenario::Partition
        | Scenario::Bank => now_and_then(scene).await?,
    }
    scene.heal().await
}

/// Strikes as often as planned. Each strike comes once a certain share of payments has ended, so that they
/// are spread over all of them.
async fn now_and_then(scene: &mut Scene<'_>) -> Result<()> {
    let (scenario, kills, load) = (scene.plan.scenario, scene.plan.kills, scene.load);
    let mut struck = 0;
    while struck < kills {
        let share = f64::from(struck + 1) / f64::from(kills + 1);
        if scenario == Scenario::Api {
            load.reach_acknowledged(share).await?;
        } else {
            load.reach(share).await?;
        }
        if scenario == Scenario::Partition && struck == 0 {
            network::cut_the_gateway_off(scene).await;
        } else if scenario == Scenario::Bank {
            bank::strike(scene, struck).await?;
        } else {
            strike_once(scenario, scene).await?;
        }
        // Each strike makes several zombies, or none where the workers had nothing to do.
        let zombies = scene.fired.get(processes::ZOMBIES).copied().unwrap_or_default();
        struck = if scenario == Scenario::Zombies { u32::try_from(zombies)? } else { struck + 1 };
    }
    Ok(())
}

async fn strike_once(scenario: Scenario, scene: &mut Scene<'_>) -> Result<()> {
    match scenario {
        Scenario::Workers => processes::kill_a_worker(scene).await,
        Scenario::Api => processes::kill_an_api(scene).await,
        Scenario::GatewayKill => processes::kill_the_gateway(scene).await,
        Scenario::Zombies => processes::make_zombies(scene).await,
        Scenario::RestartStorm => processes::restart_all(scene).await,
        Scenario::Postgres => database::kill(scene).await,
        Scenario::Connections => database::take_all_connections(scene).await,
        Scenario::DiskFull => database::fill_the_disk(scene).await,
        Scenario::SlowDatabase => network::slow_the_database(scene).await,
        Scenario::Partition => network::part(scene).await,
        // These are in place from the start, or go by a script.
        Scenario::Gateway
        | Scenario::LostAnswers
        | Scenario::Deliveries
        | Scenario::ClockSkew
        | Scenario::Failover
        | Scenario::LostTail
        | Scenario::SilentFew
        | Scenario::QuietOutage
        | Scenario::TwoGateways
        | Scenario::WrongDoor
        | Scenario::HeldSnapshot
        | Scenario::Restore
        | Scenario::Versions
        | Scenario::Bank
        | Scenario::All => Ok(()),
    }
}

/// The strikes of `all`. One that stands here several times comes more often.
const ANYTHING: &[Scenario] = &[
    Scenario::Workers,
    Scenario::Workers,
    Scenario::Workers,
    Scenario::Api,
    Scenario::Api,
    Scenario::GatewayKill,
    Scenario::Postgres,
    Scenario::Zombies,
    Scenario::Connections,
    Scenario::RestartStorm,
    Scenario::SlowDatabase,
    Scenario::Partition,
];

async fn everything(scene: &mut Scene<'_>) -> Result<()> {
    let until = Instant::now() + scene.plan.duration.unwrap_or_default();
    deliveries::deliver_again(scene.fleet).await?;
    while Instant::now() < until {
        // A gateway that was started again has forgotten its faults.
        gateway::misbehave_somehow(scene).await?;
        let next = ANYTHING[scene.one_of(ANYTHING.len())];
        strike_once(next, scene).await?;
        scene.heal().await?;
        scene.pause_up_to(Duration::from_millis(500)).await;
    }
    gateway::behave(scene.fleet).await
}

/// Counts faults that show only afterwards: those that struck the gateway's calls and the queue's jobs.
pub(super) async fn count_afterwards(scene: &mut Scene<'_>, journal: &super::journal::Journal) -> Result<()> {
    let last_at = scene.last_at;
    if scene.plan.scenario.has(Trait::Counted) {
        for (what, times) in journal.faults() {
            scene.fired(what, times);
        }
    }
    if scene.plan.scenario.has(Trait::Redelivers) {
        let copies = deliveries::copies(scene.fleet).await?;
        scene.fired("further deliveries", copies);
    }
    if scene.plan.scenario.has(Trait::Skews) {
        let skewed = processes::skewed_ids(scene.fleet).await?;
        scene.fired("ids of another day", skewed);
    }
    scene.last_at = last_at;
    Ok(())
}

//! The desks of a worker, one for each gateway: what every attempt needs there. Each has calls, a pace, a
//! breaker and a memory of outages of its own, so that a gateway which is away, or slow, costs the payments
//! of another one nothing.
//!
//! Invariant: a desk claims only what is charged at its gateway, and asks no other.

use std::ops::DerefMut;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::decide::Policy;
use domain::ids::GatewayName;
use shared::database;
use shared::database::batch::Batcher;
use shared::gateway::Gateway;
use shared::gateway::outage::Outages;
use shared::gateway::settings::GatewaySettings;
use shared::payment::shares::Shares;
use shared::payment::transition::{Claimant, Claiming, Settling};
use shared::platform::metrics;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::breaker::Breaker;
use crate::limit::Limit;
use crate::settings::Settings;
use crate::sweep::LastSweep;

/// The connections that claiming and settling at one desk keep for themselves.
pub(crate) const SEATS: u32 = 2;

/// What every attempt at one gateway needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) pool: PgPool,
    /// All hosts of its database, and which of them takes writes.
    pub(crate) site: Arc<database::Site>,
    pub(crate) gateway: Gateway,
    pub(crate) policy: Arc<Policy>,
    pub(crate) claimant: Claimant,
    pub(crate) claims: Batcher<Claiming>,
    pub(crate) settlements: Batcher<Settling>,
    /// One for each gateway call at a time. A claim is taken only with one of these in hand, so that its
    /// charge can be sent at once.
    pub(crate) permits: Arc<Semaphore>,
    /// The number of permits.
    concurrency: usize,
    /// One for each job that waits for such a call. More are not kept waiting here, where they would keep the
    /// jobs of other gateways from being delivered.
    pub(crate) waiting: Arc<Semaphore>,
    /// The tasks that claim and use claims, which a shutdown waits for.
    pub(crate) attempts: TaskTracker,
    pub(crate) last_sweep: Arc<LastSweep>,
    pub(crate) breaker: Arc<Breaker>,
    /// How the calls are shared out between merchants, and between charges and looks.
    pub(crate) shares: Arc<Shares>,
    /// When the gateway was away. No deadline of a doubt or a void counts that time.
    outages: Arc<Mutex<Outages>>,
    /// The pace of calls. A claim is taken only after it has given a call.
    pub(crate) limit: Arc<Limit>,
    /// All calls of the worker, at whatever gateway.
    hands: Arc<Hands>,
}

/// The calls of all desks together, for a payment that is to be alone in the worker.
struct Hands {
    /// One takes all calls at a time: two that take them in turns would wait for each other.
    turn: tokio::sync::Mutex<()>,
    desks: Vec<(Arc<Semaphore>, u32)>,
}

impl Context {
    pub(crate) fn outages(&self) -> impl DerefMut<Target = Outages> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of its gateway.
    pub(crate) const fn gateway_name(&self) -> &GatewayName {
        self.gateway.name()
    }

    /// The gateway and the worker, for the worker's own words about the gateway.
    pub(crate) fn who(&self) -> (&GatewayName, &str) {
        (self.gateway_name(), &self.claimant.worker)
    }

    /// All calls of all desks, once each of them is free: then nothing else is in the worker's hands. None
    /// once the worker shuts down.
    pub(crate) async fn all_calls(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let _turn = self.hands.turn.lock().await;
        let mut all = Vec::with_capacity(self.hands.desks.len());
        for (permits, count) in &self.hands.desks {
            all.push(permits.clone().acquire_many_owned(*count).await.ok()?);
        }
        Some(all)
    }
}

/// All desks of a worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desks {
    pub(crate) pool: PgPool,
    /// The worker's name.
    pub(crate) worker: Arc<str>,
    /// The tasks that claim and use claims, at whatever desk.
    pub(crate) attempts: TaskTracker,
    all: Arc<[Context]>,
}

impl Desks {
    /// One desk for each gateway of the settings.
    pub(crate) async fn open(pool: PgPool, settings: &Settings, worker: &Arc<str>) -> anyhow::Result<Self> {
        let attempts = TaskTracker::new();
        let all = open(&pool, settings, (worker, &attempts)).await?;
        Ok(Self { pool, worker: worker.clone(), attempts, all })
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Context> {
        self.all.iter()
    }

    /// The desk for a gateway.
    pub(crate) fn of(&self, gateway: &GatewayName) -> Option<&Context> {
        self.each().find(|desk| desk.gateway_name() == gateway)
    }

    /// All gateways, in the order of the settings.
    pub(crate) fn gateways(&self) -> Vec<Gateway> {
        self.each().map(|desk| desk.gateway.clone()).collect()
    }

    /// The names of the gateways, for people.
    pub(crate) fn names(&self) -> String {
        self.each().map(|desk| desk.gateway_name().as_str()).collect::<Vec<_>>().join(", ")
    }

    /// How many gateway calls there may be at a time, at all of them together.
    pub(crate) fn calls(&self) -> usize {
        self.each().map(|desk| desk.concurrency).sum()
    }

    /// How long ago the desk swept that has not swept for longest.
    pub(crate) fn swept_ago(&self) -> Duration {
        self.each().map(|desk| desk.last_sweep.age()).max().unwrap_or_default()
    }
}

async fn open(
    pool: &PgPool,
    settings: &Settings,
    (worker, attempts): (&Arc<str>, &TaskTracker),
) -> anyhow::Result<Arc<[Context]>> {
    let gateways = shared::gateway::settings::gateways(&settings.gateways)?;
    let permits: Vec<_> =
        settings.gateways.iter().map(|terms| Arc::new(Semaphore::new(terms.concurrency))).collect();
    let count = |terms: &GatewaySettings| u32::try_from(terms.concurrency).unwrap_or(u32::MAX);
    let hands = Arc::new(Hands {
        turn: tokio::sync::Mutex::new(()),
        desks: permits.iter().cloned().zip(settings.gateways.iter().map(count)).collect(),
    });
    let mut desks = Vec::with_capacity(gateways.len());
    for ((gateway, terms), permits) in gateways.into_iter().zip(&settings.gateways).zip(permits) {
        let name = gateway.name().clone();
        metrics::describe_gateway(&name);
        let shares = Arc::new(Shares::new(terms.concurrency));
        let claimant = Claimant { worker: worker.clone(), gateway: name.clone(), lease: settings.lease };
        let seat = || database::Seat::new(pool.clone());
        let claiming = Claiming { seat: seat(), claimant: claimant.clone(), shares: shares.clone() };
        desks.push(Context {
            pool: pool.clone(),
            site: database::site(pool),
            policy: Arc::new(terms.policy.clone()),
            claimant,
            claims: Batcher::new(claiming),
            settlements: Batcher::new(Settling { seat: seat(), gateway: name.clone() }),
            permits,
            concurrency: terms.concurrency,
            waiting: Arc::new(Semaphore::new(terms.concurrency)),
            attempts: attempts.clone(),
            last_sweep: Arc::new(LastSweep::new()),
            breaker: Arc::new(Breaker::new(terms, shares.clone())),
            shares,
            outages: Arc::new(Mutex::new(Outages::before_now(pool, &name).await?)),
            limit: Arc::new(Limit::new(name, terms.rate)),
            hands: hands.clone(),
            gateway,
        });
    }
    Ok(desks.into())
}

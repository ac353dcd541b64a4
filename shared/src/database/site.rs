//! Where this process's database is: which hosts there are, which of them takes writes, and since when.
//!
//! Invariants: pools, seats and claims belong to a *generation*. Only a fresh connection raises it, which
//! found another server, timeline or role: a session that was ended flushes nothing. What belongs to an older
//! generation is not used again. While no host takes writes, a task keeps asking. Else all hosts are asked
//! only if there are several, of which one may be promoted unnoticed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::watch;

use super::hosts::Host;
use super::primary::{self, Primary};
use super::refusal::Refusal;
use super::session::{self, Identity, Room, Seen};
use super::standing::{self, Standing};
use super::{Error, PING_TIMEOUT, standby, within};

/// The pause between two questions while no host takes writes, and before the first. A random part of it
/// passes, so that not all processes ask at once.
const ASK_AGAIN: Duration = Duration::from_millis(300);
const JITTER: Duration = Duration::from_millis(50);

/// The pause between two looks at all hosts while all is well.
const WATCH: Duration = Duration::from_secs(2);

/// All sites of this process: one, but for tests.
static SITES: Mutex<Vec<Weak<Site>>> = Mutex::new(Vec::new());

/// The database of some pools.
#[derive(Debug)]
pub struct Site {
    hosts: Vec<Host>,
    known: Mutex<Known>,
    status: watch::Sender<Status>,
    is_asking: AtomicBool,
    is_watched: AtomicBool,
    /// All connections that its pools may take.
    may_take: AtomicU32,
}

/// The state that other tasks wait for.
#[derive(Debug, Clone, Default)]
struct Status {
    generation: u64,
    is_asking: bool,
    /// Why no host takes writes.
    trouble: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Known {
    at: usize,
    seen: Option<Seen>,
    tells_all: bool,
    raised_at: Option<Instant>,
    /// When a connection last said that it is the primary's.
    asked_at: Option<Instant>,
    /// The pools that are told where to connect, which only a URL of several hosts needs.
    pools: Vec<PgPool>,
}

impl Site {
    /// The site of these hosts: the one that this process has already, or a new one.
    pub(super) fn at(hosts: Vec<Host>) -> Arc<Self> {
        let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
        sites.retain(|site| site.strong_count() > 0);
        if let Some(site) = sites.iter().filter_map(Weak::upgrade).find(|site| site.has(&hosts)) {
            return site;
        }
        let site = Arc::new(Self {
            hosts,
            known: Mutex::default(),
            status: watch::Sender::new(Status::default()),
            is_asking: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            may_take: AtomicU32::new(0),
        });
        sites.push(Arc::downgrade(&site));
        site
    }

    /// The site of a pool; none if the pool is not one of ours.
    pub(super) fn of(pool: &PgPool) -> Option<Arc<Self>> {
        let options = pool.connect_options();
        all().into_iter().find(|site| site.hosts.iter().any(|host| is_same(&host.options, &options)))
    }

    fn has(&self, hosts: &[Host]) -> bool {
        let mut pairs = self.hosts.iter().zip(hosts);
        self.hosts.len() == hosts.len() && pairs.all(|(one, other)| is_same(&one.options, &other.options))
    }

    /// How to connect to the host in use.
    pub(super) fn options(&self) -> PgConnectOptions {
        let at = self.known().at;
        self.hosts[at].options.clone()
    }

    /// Takes in a pool of this site, which is told when the primary is somewhere else.
    pub(super) fn adopt(&self, pool: &PgPool, max_connections: u32) {
        self.may_take.fetch_max(max_connections, Ordering::Relaxed);
        if self.hosts.len() > 1 {
            let mut known = self.known();
            known.pools.retain(|pool| !pool.is_closed());
            known.pools.push(pool.clone());
        }
    }

    /// Has a task ask all hosts now and then, if there are several: one may be promoted while the one in use
    /// goes on.
    pub(super) fn watch(self: &Arc<Self>) {
        if self.hosts.len() > 1 && !self.is_watched.swap(true, Ordering::AcqRel) {
            standing::has_several_hosts();
            tokio::spawn(keep_watching(Arc::downgrade(self)));
        }
    }

    /// Sets the number of connections that this process may take, where that is more than one pool.
    pub(super) fn may_take(&self, connections: u32) {
        self.may_take.store(connections, Ordering::Relaxed);
    }

    pub(super) fn generation(&self) -> u64 {
        self.status.borrow().generation
    }

    /// The standing of now: what begins now is valid while it holds.
    pub(crate) fn standing(self: &Arc<Self>) -> Standing {
        Standing::now(self.clone())
    }

    /// Whether a connection of this age was made in this generation.
    pub(super) fn is_of_now(&self, age: Duration) -> bool {
        self.known().raised_at.is_none_or(|raised| age < raised.elapsed())
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        Some(self.known().seen.as_ref()?.identity)
    }

    pub(super) fn running_since(&self) -> Option<String> {
        Some(self.known().seen.as_ref()?.running_since.clone())
    }

    pub(super) fn tells_all(&self) -> bool {
        self.known().tells_all
    }

    /// Why no host takes writes; none while one does.
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.status.borrow().trouble.clone()
    }

    /// How many connections there are, and how many are ours.
    pub(super) fn room(&self) -> Option<(Room, u32)> {
        Some((self.known().seen.as_ref()?.room, self.may_take.load(Ordering::Relaxed)))
    }

    /// Judges what a connection of a pool says at its first statement.
    pub(super) fn admit(self: &Arc<Self>, seen: &Seen) -> Result<(), Refusal> {
        let mut known = self.known();
        let before = known.seen.as_ref().map(|seen| seen.identity);
        let is_another = before.is_some_and(|before| before != seen.identity);
        let refusal = Refusal::of_role(seen).or(is_another.then_some(Refusal::Another));
        if refusal.is_none() {
            known.asked_at = Some(Instant::now());
            known.seen = Some(seen.clone());
            standby::is_waited_for(seen.waits_for_standby);
        }
        drop(known);
        refusal.map_or(Ok(()), |refusal| {
            self.alarm();
            Err(refusal)
        })
    }

    /// Whether a connection lives and its server is still the same primary, in one round trip. If any
    /// connection said so a moment ago, it is asked only whether it lives, since a role is the server's.
    pub(super) async fn lives(
        self: &Arc<Self>,
        connection: &mut PgConnection,
        fresh: Duration,
    ) -> sqlx::Result<bool> {
        let is_known = self.known().asked_at.is_some_and(|at| at.elapsed() < fresh);
        let lives = if is_known {
            within(PING_TIMEOUT, connection.ping()).await.map(|()| true)
        } else {
            within(PING_TIMEOUT, self.ask_role(connection)).await.map(|refusal| refusal.is_none())
        };
        if !matches!(lives, Ok(true)) {
            self.alarm();
        }
        lives
    }

    /// Whether a connection said within this time that its server is the primary.
    pub(super) fn is_known_to_be_primary(&self, fresh: Duration) -> bool {
        self.known().asked_at.is_some_and(|at| at.elapsed() < fresh)
    }

    async fn ask_role(&self, connection: &mut PgConnection) -> sqlx::Result<Option<Refusal>> {
        let tells_all = self.tells_all();
        let (recovery, read_only, timeline, since, waits): (bool, bool, Option<i32>, String, bool) =
            sqlx::query_as(AssertSqlSafe(session::role_question(tells_all))).fetch_one(connection).await?;
        let mut known = self.known();
        let Some(seen) = &mut known.seen else { return Ok(None) };
        let now =
            Seen { is_in_recovery: recovery, is_read_only: read_only, running_since: since, ..seen.clone() };
        let is_another = timeline.map(i32::cast_unsigned) != now.identity.timeline;
        let refusal = Refusal::of_role(&now).or(is_another.then_some(Refusal::Another));
        if refusal.is_none() {
            *seen = Seen { waits_for_standby: waits, ..now };
            known.asked_at = Some(Instant::now());
            standby::is_waited_for(waits);
        }
        Ok(refusal)
    }

    /// Has a fresh connection ask who is there, unless one is asking already.
    pub(crate) fn alarm(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_asking.swap(true, Ordering::AcqRel) {
            return;
        }
        self.status.send_modify(|status| status.is_asking = true);
        runtime.spawn(keep_asking(Asking(Arc::downgrade(self))));
    }

    /// Returns once no task is asking who is there, or after this time.
    pub(super) async fn settled(&self, at_most: Duration) {
        let mut status = self.status.subscribe();
        // The sender is ours, so there is no error but that of time.
        let _ = tokio::time::timeout(at_most, status.wait_for(|status| !status.is_asking)).await;
    }

    /// Whether a server takes writes, as far as is known without asking.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.trouble().is_none()
    }

    /// Returns once a server takes writes, as far as is known.
    pub(crate) async fn takes_writes(&self) {
        let mut status = self.status.subscribe();
        drop(status.wait_for(|status| status.trouble.is_none() && !status.is_asking).await);
    }

    /// Raises the generation, as if another server had been found.
    #[cfg(test)]
    pub(super) fn raise(&self) {
        self.status.send_modify(|status| status.generation += 1);
    }

    /// Returns once the generation is another one.
    pub(super) async fn is_raised_from(&self, generation: u64) {
        let mut status = self.status.subscribe();
        drop(status.wait_for(|status| status.generation != generation).await);
    }

    /// Asks all hosts, and remembers the primary.
    ///
    /// # Errors
    /// No host takes writes.
    pub(super) async fn find(self: &Arc<Self>) -> Result<PgConnection, Error> {
        let at = self.known().at;
        let found = Box::pin(primary::find(&self.hosts, at, self.room())).await;
        match found {
            Ok(primary) => Ok(self.found(primary)),
            Err(nobody) => {
                self.lost(&nobody);
                Err(Error::Connect(nobody.told))
            }
        }
    }

    fn found(&self, primary: Primary) -> PgConnection {
        let Primary { at, seen, tells_all, connection } = primary;
        let mut known = self.known();
        let is_another = known.seen.as_ref().is_some_and(|before| before.identity != seen.identity);
        if known.at != at {
            known.at = at;
            known.pools.retain(|pool| !pool.is_closed());
            for pool in &known.pools {
                // The pool's own name for its connections stays.
                let before = pool.connect_options();
                let options = self.hosts[at].options.clone();
                let name = before.get_application_name().unwrap_or("payonce");
                pool.set_connect_options(options.application_name(name));
            }
        }
        primary::remember(seen.identity);
        let identity = seen.identity;
        standby::is_waited_for(seen.waits_for_standby);
        known.seen = Some(seen);
        known.tells_all = tells_all;
        known.asked_at = Some(Instant::now());
        if is_another {
            known.raised_at = Some(Instant::now());
        }
        self.status.send_modify(|status| {
            if let Some(trouble) = status.trouble.take() {
                tracing::info!(event = "database_found", host = %self.hosts[at], ?identity, %trouble, "the database is back");
            }
            status.generation += u64::from(is_another);
        });
        if is_another {
            tracing::warn!(event = "database_moved", host = %self.hosts[at], ?identity,
                "another server takes writes: older connections are dropped, and claims made before are not sent");
        }
        connection
    }

    fn lost(&self, nobody: &primary::Nobody) {
        let mut known = self.known();
        // Raised once: until a host takes writes again, a second time would end nothing more.
        let has_lost_its_role = nobody.has_lost_its_role(known.at)
            && known.seen.as_ref().is_some_and(|seen| !seen.is_in_recovery && !seen.is_read_only);
        known.asked_at = None;
        if has_lost_its_role {
            known.raised_at = Some(Instant::now());
            if let Some(seen) = &mut known.seen {
                seen.is_read_only = true;
            }
        }
        drop(known);
        self.status.send_modify(|status| {
            if status.trouble.as_deref() != Some(&*nobody.told) {
                tracing::error!(event = "database_away", why = nobody.told, "no server takes writes");
                status.trouble = Some(nobody.told.as_str().into());
            }
            status.generation += u64::from(has_lost_its_role);
        });
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sites that live.
pub(super) fn all() -> Vec<Arc<Site>> {
    SITES.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}

fn is_same(one: &PgConnectOptions, other: &PgConnectOptions) -> bool {
    one.get_port() == other.get_port()
        && one.get_socket() == other.get_socket()
        && one.get_host() == other.get_host()
        && one.get_database() == other.get_database()
        && one.get_username() == other.get_username()
}

/// Marks the asking as ended when it is dropped, however it ends.
struct Asking(Weak<Site>);

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(site) = self.0.upgrade() {
            site.is_asking.store(false, Ordering::Release);
            site.status.send_modify(|status| status.is_asking = false);
        }
    }
}

async fn keep_watching(site: Weak<Site>) {
    loop {
        let pause = WATCH.mul_f64(rand::rng().random_range(0.75..1.25));
        tokio::time::sleep(pause).await;
        let Some(site) = site.upgrade() else { return };
        match site.find().await {
            Ok(connection) => drop(within(PING_TIMEOUT, connection.close()).await),
            Err(_) => site.alarm(),
        }
    }
}

async fn keep_asking(asking: Asking) {
    let mut pause = JITTER;
    loop {
        let pause_now = pause.mul_f64(rand::rng().random_range(0.1..1.0));
        tokio::time::sleep(pause_now).await;
        let Some(site) = asking.0.upgrade() else { return };
        if let Ok(connection) = site.find().await {
            // Nothing waits for the end of it.
            tokio::spawn(within(PING_TIMEOUT, connection.close()));
            return;
        }
        pause = ASK_AGAIN;
    }
}

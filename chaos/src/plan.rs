//! The plan: what to break, how often, and under how much load.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Args;

/// The scenario: what is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scenario {
    /// Workers are killed at random (SIGKILL)
    Workers,
    /// APIs are killed while they answer; clients repeat themselves
    Api,
    /// The gateway is killed and comes back
    GatewayKill,
    /// Postgres is killed under load
    Postgres,
    /// Workers are frozen until others took over, and then go on
    Zombies,
    /// Three in ten charges go wrong, in every way that the gateway knows
    Gateway,
    /// The gateway charges, and its answer is lost, always
    LostAnswers,
    /// Every job is delivered two to five times
    Deliveries,
    /// No two processes agree about the time
    ClockSkew,
    /// All connections of the database are taken
    Connections,
    /// The database's disk is full (needs root, for a small file system in memory)
    DiskFull,
    /// All workers and APIs are started again, at once, again and again
    RestartStorm,
    /// A standby takes the database's place; the old server is killed, read only, or goes on as if
    /// nothing were
    Failover,
    /// A standby takes over for which no commit waited: the last commits are lost, and clients
    /// repeat themselves
    LostTail,
    /// The database answers late
    SlowDatabase,
    /// The gateway is cut off; after that nothing passes on one wire or another for a while
    Partition,
    /// The gateway stays silent about one merchant's payments, while another merchant pays
    SilentFew,
    /// The gateway is away, or answers that it cannot, while hardly anything is paid
    QuietOutage,
    /// Two gateways, of which one is killed or frozen while merchants of both pay
    TwoGateways,
    /// Something else answers in the gateway's place
    WrongDoor,
    /// One session holds a snapshot while clients pay at an even --rate: no dead row is cleared
    HeldSnapshot,
    /// The database comes back from a backup taken under load, and clients repeat themselves
    Restore,
    /// Programs of two versions take turns while clients pay, and a deployment is taken back
    Versions,
    /// A bank moves money between accounts while each of these comes in turn
    Bank,
    /// Most of the others that need no script, at random, for --duration
    All,
}

impl Scenario {
    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How much of it there is where the arguments do not say, and what is in it.
    const fn nature(self) -> Nature {
        use Trait::{
            Banks, BreaksDatabase, ChaosMode, Counted, HasStandby, LosesAnswers, Mixed, Redelivers, Scripted,
            SecondGateway, Skews, SmallDisk, Spread, Wires,
        };
        match self {
            Self::Workers => Nature::new((30_000, 300), (300, 3), (4, 2), &[]),
            Self::Api => Nature::new((10_000, 100), (300, 3), (2, 3), &[ChaosMode]),
            Self::GatewayKill => Nature::new((10_000, 30), (200, 2), (2, 1), &[]),
            Self::Postgres => Nature::new((10_000, 30), (200, 1), (4, 2), &[BreaksDatabase]),
            Self::Zombies => Nature::new((5_000, 100), (150, 2), (8, 1), &[]),
            Self::Gateway => Nature::new((30_000, 0), (300, 0), (4, 2), &[LosesAnswers, Mixed, Counted]),
            Self::LostAnswers => Nature::new((10_000, 0), (200, 0), (2, 1), &[LosesAnswers, Counted]),
            Self::Deliveries => Nature::new((30_000, 0), (300, 0), (8, 1), &[Redelivers]),
            Self::ClockSkew => Nature::new((5_000, 0), (100, 0), (4, 2), &[Skews]),
            Self::Connections => Nature::new((5_000, 10), (150, 1), (2, 2), &[BreaksDatabase]),
            Self::DiskFull => Nature::new((5_000, 5), (200, 1), (2, 1), &[BreaksDatabase, SmallDisk]),
            Self::RestartStorm => Nature::new((5_000, 20), (150, 2), (3, 2), &[]),
            Self::Failover => Nature::new((100_000, 20), (300, 3), (2, 2), &[BreaksDatabase, HasStandby]),
            Self::LostTail => Nature::new((0, 20), (0, 2), (2, 1), &[BreaksDatabase, HasStandby, Scripted]),
            Self::SlowDatabase => Nature::new((5_000, 20), (100, 2), (2, 1), &[Wires]),
            Self::Partition => Nature::new((5_000, 20), (150, 3), (2, 1), &[Wires]).lasting(CUT_LASTS),
            Self::SilentFew | Self::QuietOutage | Self::Restore => {
                Nature::new((0, 0), (0, 0), (2, 1), &[Scripted])
            }
            Self::TwoGateways => Nature::new((0, 0), (0, 0), (2, 1), &[Scripted, SecondGateway]),
            Self::WrongDoor => Nature::new((0, 0), (0, 0), (2, 1), &[Scripted, Wires]),
            Self::HeldSnapshot => Nature::new((0, 0), (0, 0), (2, 1), &[Spread]).lasting(HELD_LASTS),
            Self::Versions => Nature::new((0, 0), (0, 0), (2, 2), &[Scripted]),
            Self::Bank => {
                Nature::new((20_000, 110), (200, 11), (2, 2), &[Banks, BreaksDatabase, ChaosMode, Wires])
            }
            Self::All => Nature::new(
                (30_000, 0),
                (300, 0),
                (4, 2),
                &[Banks, BreaksDatabase, ChaosMode, Counted, LosesAnswers, Mixed, Redelivers, Spread, Wires],
            )
            .lasting(ALL_LASTS),
        }
    }

    /// Whether it strikes now and then, and not all the time.
    const fn strikes(self) -> bool {
        self.nature().long.1 > 0
    }

    /// Whether this is in it.
    pub(super) fn has(self, it: Trait) -> bool {
        self.nature().traits.contains(&it)
    }

    /// How many merchants there are.
    pub(super) fn shops(self) -> usize {
        if self.has(Trait::Scripted) { 2 } else { 1 }
    }
}

/// What may be in a scenario, for the parts of a run that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trait {
    /// It goes by a script of its own, which says who pays what, and when.
    Scripted,
    /// It breaks the database, so that the gateway has a server of its own.
    BreaksDatabase,
    /// A standby follows the database.
    HasStandby,
    /// The second merchant's payments are charged at a second gateway.
    SecondGateway,
    /// The wires between the processes are disturbed.
    Wires,
    /// Clients may ask an API for a failure after it recorded their payment.
    ChaosMode,
    /// Customers also pay by methods that fail.
    Mixed,
    /// The gateway loses answers, so that workers wait for them only shortly.
    LosesAnswers,
    /// The gateway's own journal tells which faults fired.
    Counted,
    /// Jobs are delivered several times.
    Redelivers,
    /// Clocks are set wrong.
    Skews,
    /// The database lies on a small file system of its own.
    SmallDisk,
    /// Payments are spread over its time.
    Spread,
    /// A bank moves money between accounts beside the payments.
    Banks,
}

/// How much of a scenario there is, in full and in short, and what is in it.
#[derive(Debug, Clone, Copy)]
struct Nature {
    /// The numbers of payments and strikes, in full. Below, in short.
    long: (u64, u32),
    short: (u64, u32),
    /// The numbers of workers and of APIs.
    fleet: (usize, usize),
    traits: &'static [Trait],
    /// How long it goes on, in full and in short. None where it ends with its payments.
    lasts: Option<(Duration, Duration)>,
}

impl Nature {
    const fn new(
        long: (u64, u32),
        short: (u64, u32),
        fleet: (usize, usize),
        traits: &'static [Trait],
    ) -> Self {
        Self { long, short, fleet, traits, lasts: None }
    }

    const fn lasting(self, lasts: (Duration, Duration)) -> Self {
        Self { lasts: Some(lasts), ..self }
    }
}

/// How long `all` goes on, in full and in short.
const ALL_LASTS: (Duration, Duration) = (Duration::from_mins(15), Duration::from_secs(8));
/// How long `partition` cuts the gateway off, at least.
const CUT_LASTS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3));

/// How long `held-snapshot` goes on, in full and in short.
const HELD_LASTS: (Duration, Duration) = (Duration::from_mins(60), Duration::from_secs(60));
/// The rate of `held-snapshot` where --rate is not given. In full it is half of what the machine of
/// docs/PERFORMANCE.md settles, in short next to nothing.
const HELD_RATE: (u32, u32) = (2_000, 20);
/// The bytes that a payment of `held-snapshot` leaves on disk, with its dead rows and what clients and
/// gateway write. It is twice what was measured.
const BYTES_PER_PAYMENT: u64 = 12_000;

/// The plan of a run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) seed: u64,
    pub(super) is_short: bool,
    pub(super) payments: u64,
    /// How often it strikes.
    pub(super) kills: u32,
    pub(super) workers: usize,
    pub(super) apis: usize,
    /// For `all` and `held-snapshot`: how long it goes on. For `partition`: how long the gateway is cut off.
    pub(super) duration: Option<Duration>,
    /// A database elsewhere, and the command that makes it fail over. None where the run has one of its own.
    pub(super) elsewhere: Option<Elsewhere>,
    /// For `held-snapshot`: payments a second.
    pub(super) rate: Option<u32>,
    /// For `versions`: the payonce whose programs are the old ones. None where this one plays it.
    pub(super) old: Option<PathBuf>,
}

/// A database that was there before, and is not ours to start or to kill.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    /// Its URL with all its hosts.
    pub(super) url: String,
    /// The shell command that makes it fail over.
    pub(super) strike_with: String,
}

impl Plan {
    /// The plan that the arguments ask for.
    ///
    /// # Errors
    /// The arguments contradict the scenario.
    pub(super) fn new(args: &Args) -> Result<Self> {
        let scenario = args.scenario;
        if args.kills.is_some() && !scenario.strikes() {
            bail!("--kills says nothing about {scenario}, which goes on all the time");
        }
        let Nature { long, short, fleet, lasts, .. } = scenario.nature();
        if args.duration.is_some() && lasts.is_none() {
            bail!(
                "--duration is for the scenarios all, partition and held-snapshot; {scenario} ends with its payments"
            );
        }
        let is_paced = scenario == Scenario::HeldSnapshot;
        if args.rate.is_some() && !is_paced {
            bail!("--rate is for the scenario held-snapshot; clients of {scenario} pay as fast as they can");
        }
        if args.payments.is_some() && is_paced {
            bail!(
                "--payments says nothing about {scenario}, which pays --rate payments a second for --duration"
            );
        }
        if args.payments.is_some() && scenario.has(Trait::Scripted) {
            bail!(
                "--payments says nothing about {scenario}, which goes by a script; --short makes it shorter"
            );
        }
        if args.database_url.is_some() && scenario != Scenario::Failover {
            bail!(
                "--database-url and --strike-with are for the scenario failover; {scenario} has a database of its own"
            );
        }
        if args.old.is_some() && scenario != Scenario::Versions {
            bail!("--old is for the scenario versions; {scenario} is about one version");
        }
        let (payments, kills) = if args.short { short } else { long };
        let duration = lasts.map(|(long, short)| match args.duration {
            Some(seconds) => Duration::from_secs(seconds),
            None if args.short => short,
            None => long,
        });
        let usual_rate = if args.short { HELD_RATE.1 } else { HELD_RATE.0 };
        let rate = is_paced.then(|| args.rate.unwrap_or(usual_rate));
        let paced = rate.zip(duration).map(|(rate, duration)| u64::from(rate) * duration.as_secs());
        let plan = Self {
            scenario,
            is_short: args.short,
            seed: args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            payments: args.payments.or(paced).unwrap_or(payments),
            kills: args.kills.unwrap_or(kills),
            workers: args.workers.map_or(fleet.0, usize::from),
            apis: args.apis.map_or(fleet.1, usize::from),
            duration,
            elsewhere: args
                .database_url
                .clone()
                .zip(args.strike_with.clone())
                .map(|(url, strike_with)| Elsewhere { url, strike_with }),
            rate,
            old: args.old.clone(),
        };
        plan.require_fleet()?;
        Ok(plan)
    }

    fn require_fleet(&self) -> Result<()> {
        if self.scenario == Scenario::Versions && (self.workers < 2 || self.apis < 2) {
            bail!("versions needs --workers 2 and --apis 2 or more: one of each version");
        }
        if self.scenario == Scenario::Zombies && self.workers < 2 {
            bail!("zombies needs --workers 2 or more: one that freezes, and one that takes over");
        }
        Ok(())
    }

    /// The time over which the payments are spread. None where they are not spread.
    pub(super) fn spread_over(&self) -> Option<Duration> {
        self.duration.filter(|_| self.scenario.has(Trait::Spread))
    }

    /// How many bytes of disk it may take. None where that is only a little.
    pub(super) fn disk(&self) -> Option<u64> {
        self.rate.map(|_| self.payments * BYTES_PER_PAYMENT)
    }

    /// The command that does the same again.
    pub(super) fn replay(&self) -> String {
        let Self { scenario, seed, payments, workers, apis, .. } = self;
        let kills = if scenario.strikes() { format!(" --kills {}", self.kills) } else { String::new() };
        let short = if self.is_short { " --short" } else { "" };
        let duration =
            self.duration.map(|duration| format!(" --duration {}", duration.as_secs())).unwrap_or_default();
        let old = self.old.as_ref().map(|old| format!(" --old {}", old.display())).unwrap_or_default();
        let paid = match self.rate {
            _ if scenario.has(Trait::Scripted) => String::new(),
            Some(rate) => format!(" --rate {rate}"),
            None => format!(" --payments {payments}"),
        };
        format!(
            "payonce chaos {scenario} --seed {seed}{paid}{duration} --workers {workers} --apis {apis}{kills}{old}{short}"
        )
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

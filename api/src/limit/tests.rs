//! The shares of one key's limit among simulated processes, over a clock of their own. Heartbeats are late,
//! crossed and lost; processes come, go and stand still.

use shared::merchant::auth::Presented;
use shared::merchant::pepper::Peppers;
use shared::merchant::scope::Scope;
use std::collections::BTreeMap;

use domain::ids::MerchantId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use shared::merchant::limits::{ALIVE, Ask, Grant};

use super::*;

const STEP: Duration = Duration::from_millis(10);
const PER_S: f64 = 200.0;
const BURST: f64 = 100.0;

/// What the statement `share_limits` does, for one limit of one key.
#[derive(Default)]
struct Database {
    rows: BTreeMap<usize, (f64, f64, Instant)>,
}

impl Database {
    fn share(&mut self, process: usize, ask: &Ask, now: Instant) -> Grant {
        self.rows.retain(|_, (.., seen_at)| now < *seen_at + ALIVE);
        let others = self.rows.iter().filter(|(other, _)| **other != process);
        let (mut held, mut others_want, mut count) = (0.0, 0.0, 0);
        for (_, (wanted, share, _)) in others {
            (held, others_want, count) = (held + share, others_want + wanted, count + 1);
        }
        let room = f64::max(1.0 - held, (1.05 - held) / 2.0);
        let own = self.rows.get(&process).map_or(0.0, |(_, share, _)| *share);
        let share = ask.target.min(room.max(own)).max(0.0);
        self.rows.insert(process, (ask.wanted, share, now));
        Grant { key: ask.key, traffic: ask.traffic, share, others: count, others_want }
    }
}

/// A heartbeat under way.
struct Beat {
    ask: Ask,
    asked_at: Instant,
    arrives_at: Instant,
    answered_at: Instant,
    granted: Option<Grant>,
    is_lost: bool,
    is_second: bool,
}

struct Process {
    known: Known,
    beat: Option<Beat>,
    looks_at: Instant,
    last: Instant,
    stands_still_until: Instant,
    /// The requests in a second that come to it.
    load: f64,
    due: f64,
    admitted: u64,
}

/// A secret of before, which names no key.
fn secret() -> Presented {
    let peppers = Peppers::read("a-pepper-for-tests-0123456789abcdef").unwrap();
    Presented::read("secret", &peppers, Scope::PaymentsWrite).unwrap()
}

struct Fleet {
    now: Instant,
    start: Instant,
    key: KeyId,
    secret: Presented,
    database: Database,
    processes: BTreeMap<usize, Process>,
    next: usize,
    admitted: u64,
    random: StdRng,
    /// The longest way of a heartbeat to the database, or of its answer, in milliseconds.
    way_ms: u64,
    /// How many heartbeats in a hundred are never answered.
    lost: u32,
}

impl Fleet {
    fn new(seed: u64, way_ms: u64, lost: u32) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            key: KeyId::generate(),
            secret: secret(),
            database: Database::default(),
            processes: BTreeMap::new(),
            next: 0,
            admitted: 0,
            random: StdRng::seed_from_u64(seed),
            way_ms,
            lost,
        }
    }

    fn start_process(&mut self, load: f64) -> usize {
        let rate = PER_S.to_string().parse::<shared::platform::rate::Rate>().unwrap();
        let limit = Some(rate.with_burst(std::num::NonZeroU32::new(100).unwrap()));
        let mut known = Known::new(KeyLimits { writes: limit, reads: None });
        let caller = Caller { key: self.key, merchant: MerchantId::generate(), limits: KeyLimits::default() };
        known.learn(self.secret, Some(caller), self.now);
        let looks_at = self.now + Duration::from_millis(self.random.random_range(0..250));
        let process = Process {
            known,
            beat: None,
            looks_at,
            last: self.now,
            stands_still_until: self.now,
            load,
            due: 0.0,
            admitted: 0,
        };
        self.next += 1;
        self.processes.insert(self.next, process);
        self.next
    }

    /// Kills a process: its heartbeat under way may still arrive.
    fn kill(&mut self, process: usize) {
        self.processes.remove(&process);
    }

    fn load(&mut self, process: usize, load: f64) {
        self.processes.get_mut(&process).unwrap().load = load;
    }

    /// Lets time go on, and asserts what always holds.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            for id in self.processes.keys().copied().collect::<Vec<_>>() {
                self.step(id);
            }
            let granted: f64 = self.database.rows.values().map(|(_, share, _)| share).sum();
            assert!(granted <= 1.05 + 1e-9, "granted: {granted}");
            let in_use: f64 =
                self.processes.values().map(|process| process.known.in_use(self.key, self.now)).sum();
            assert!(in_use <= 1.05 + 1e-9, "in use: {in_use}");
            let bound = 1.05 * PER_S * (self.now - self.start).as_secs_f64() + BURST;
            // One request more for each process that ever was: no bucket is smaller than a request.
            let ever = f64::from(u32::try_from(self.next).unwrap());
            let admitted = f64::from(u32::try_from(self.admitted).unwrap());
            assert!(admitted <= bound + ever, "{admitted} of {bound}");
        }
    }

    fn step(&mut self, id: usize) {
        let now = self.now;
        let process = self.processes.get_mut(&id).unwrap();
        if let Some(beat) = &mut process.beat
            && beat.granted.is_none()
            && now >= beat.arrives_at
        {
            beat.granted = Some(self.database.share(id, &beat.ask, now));
        }
        if now < process.stands_still_until {
            return;
        }
        let mut asks_again = None;
        if process.beat.as_ref().is_some_and(|beat| beat.granted.is_some() && now >= beat.answered_at) {
            let beat = process.beat.take().unwrap();
            if let (Some(grant), false) = (beat.granted, beat.is_lost) {
                process.known.granted(&[grant], beat.asked_at, now);
                asks_again = (process.known.has_too_much() && !beat.is_second).then_some(true);
            }
        }
        let mut has_to_join = false;
        process.due += process.load * STEP.as_secs_f64();
        while process.due >= 1.0 {
            process.due -= 1.0;
            match process.known.take(self.key, Traffic::Writes, now) {
                Some((Taken::Admitted, _)) => {
                    process.admitted += 1;
                    self.admitted += 1;
                }
                Some((Taken::Ungranted, _)) => has_to_join = true,
                Some((Taken::Refused, _)) | None => {}
            }
        }
        if has_to_join && process.beat.is_none() {
            asks_again = Some(false);
        }
        if now >= process.looks_at {
            process.looks_at = now + LOOK_EVERY;
            let is_urgent = process.known.is_urgent(now);
            if (is_urgent || now >= process.last + BEAT_EVERY) && process.beat.is_none() {
                process.last = now;
                asks_again = asks_again.or(Some(false));
            }
        }
        if let Some(is_second) = asks_again {
            self.beat(id, is_second);
        }
    }

    fn beat(&mut self, id: usize, is_second: bool) {
        let mut way = || Duration::from_millis(self.random.random_range(0..=self.way_ms));
        let (there, back) = (way(), way());
        let is_lost = self.random.random_range(0..100) < self.lost;
        let process = self.processes.get_mut(&id).unwrap();
        let Some(&ask) = process.known.asks(self.now).first() else { return };
        let arrives_at = self.now + there;
        process.beat = Some(Beat {
            ask,
            asked_at: self.now,
            arrives_at,
            answered_at: arrives_at + back,
            granted: None,
            is_lost,
            is_second,
        });
    }

    /// How many requests this process admits in the next second.
    fn admitted_in_a_second(&mut self, process: usize) -> f64 {
        let before = self.processes[&process].admitted;
        self.run(Duration::from_secs(1));
        f64::from(u32::try_from(self.processes[&process].admitted - before).unwrap())
    }
}

const BUSY: f64 = 3.0 * PER_S;

#[test]
fn a_process_that_is_alone_has_the_whole_limit_and_its_burst_at_once() {
    let mut fleet = Fleet::new(1, 5, 0);
    let alone = fleet.start_process(BUSY);

    let first = fleet.admitted_in_a_second(alone);
    assert!(first >= BURST + 0.9 * PER_S, "{first}");
    let second = fleet.admitted_in_a_second(alone);
    assert!((0.95 * PER_S..=1.05 * PER_S).contains(&second), "{second}");
}

#[test]
fn a_key_whose_traffic_moves_to_another_process_has_nine_tenths_of_its_limit_there_within_two_seconds() {
    for seed in 0..30 {
        let mut fleet = Fleet::new(seed, 20, 0);
        let processes: Vec<usize> = (0..4).map(|_| fleet.start_process(BUSY)).collect();
        fleet.run(Duration::from_secs(5));
        for &chosen in processes.iter().cycle().take(8) {
            processes.iter().for_each(|&process| fleet.load(process, 0.0));
            fleet.load(chosen, BUSY);
            fleet.run(Duration::from_secs(2));
            let admitted = fleet.admitted_in_a_second(chosen);
            assert!(admitted >= 0.9 * PER_S, "seed {seed}: {admitted}");
        }
    }
}

#[test]
fn busy_processes_have_equal_shares_and_use_the_limit_up() {
    for seed in 0..20 {
        let mut fleet = Fleet::new(seed, 20, 0);
        let processes: Vec<usize> = (0..3).map(|_| fleet.start_process(BUSY)).collect();
        fleet.run(Duration::from_secs(4));
        let before = fleet.admitted;
        fleet.run(Duration::from_secs(10));

        let all = f64::from(u32::try_from(fleet.admitted - before).unwrap());
        assert!((9.0 * PER_S..=10.5 * PER_S).contains(&all), "seed {seed}: {all}");
        for process in processes {
            let admitted = fleet.admitted_in_a_second(process);
            assert!((0.25 * PER_S..=0.42 * PER_S).contains(&admitted), "seed {seed}: {admitted}");
        }
    }
}

#[test]
fn whatever_is_late_lost_or_crossed_and_whoever_comes_goes_or_stands_still_no_more_is_admitted() {
    for seed in 0..90 {
        let way_ms = [5, 300, 3_000][usize::try_from(seed % 3).unwrap()];
        let mut fleet = Fleet::new(seed, way_ms, 10);
        for _ in 0..40 {
            let ids: Vec<usize> = fleet.processes.keys().copied().collect();
            let any = |random: &mut StdRng| ids.get(random.random_range(0..ids.len().max(1))).copied();
            match (fleet.random.random_range(0..6), any(&mut fleet.random)) {
                (0, _) if ids.len() < 6 => drop(fleet.start_process(BUSY)),
                (1, Some(id)) => fleet.kill(id),
                (2, Some(id)) => {
                    let until = fleet.now + Duration::from_millis(fleet.random.random_range(0..15_000));
                    fleet.processes.get_mut(&id).unwrap().stands_still_until = until;
                }
                (3, Some(id)) => fleet.load(id, 0.0),
                (4, Some(id)) => fleet.load(id, BUSY),
                _ => {}
            }
            let pause = Duration::from_millis(fleet.random.random_range(0..3_000));
            fleet.run(pause);
        }
    }
}

#[test]
fn a_process_that_dies_is_dropped_and_the_others_have_its_share() {
    let mut fleet = Fleet::new(7, 20, 0);
    let (dies, stays) = (fleet.start_process(BUSY), fleet.start_process(BUSY));
    fleet.run(Duration::from_secs(5));
    fleet.kill(dies);

    fleet.run(ALIVE + Duration::from_secs(2));

    assert_eq!(fleet.database.rows.keys().copied().collect::<Vec<_>>(), [stays]);
    assert!(fleet.admitted_in_a_second(stays) >= 0.95 * PER_S);
}

#[test]
fn a_process_that_loses_the_database_goes_on_with_its_share_for_eight_seconds_and_then_admits_nothing() {
    let mut fleet = Fleet::new(3, 5, 0);
    let alone = fleet.start_process(BUSY);
    fleet.run(Duration::from_secs(3));
    fleet.lost = 100;
    fleet.run(Duration::from_secs(6));
    assert!(fleet.admitted_in_a_second(alone) >= 0.95 * PER_S);

    fleet.run(Duration::from_secs(3));

    assert!(fleet.admitted_in_a_second(alone) < 1.0);
    fleet.lost = 0;
    fleet.run(Duration::from_secs(2));
    assert!(fleet.admitted_in_a_second(alone) >= 0.95 * PER_S);
}

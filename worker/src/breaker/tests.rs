//! What the breaker lets through, moment by moment.

use super::*;

const FAILURES: usize = 5;
const OPEN_FOR: Duration = Duration::from_secs(60);

/// What an ordinary claim gets, and the first probe.
const ORDINARY: Option<Ticket> = Some(None);
const PROBE: Option<Ticket> = Some(Some(1));

/// A circuit, a clock, and payments.
struct Bench {
    circuit: Circuit,
    now: Instant,
    payments: Vec<PaymentId>,
}

impl Bench {
    fn new() -> Self {
        let payments = (0..10).map(|_| PaymentId::generate()).collect();
        Self { circuit: Circuit::new(FAILURES, OPEN_FOR), now: Instant::now(), payments }
    }

    /// Opened by failures, just now.
    fn open() -> Self {
        let mut bench = Self::new();
        bench.fail(0..FAILURES);
        assert!(bench.circuit.is_open(bench.now));
        bench
    }

    fn fail(&mut self, payments: impl IntoIterator<Item = usize>) {
        for n in payments {
            self.hear(n, Health::Down, None);
        }
    }

    fn hear(&mut self, payment: usize, health: Health, ticket: Ticket) {
        self.circuit.hear(self.payments[payment], health, ticket, self.now);
    }

    fn admit(&mut self) -> Option<Ticket> {
        self.circuit.admit(self.now)
    }
}

#[test]
fn so_many_payments_in_a_row_open_it() {
    let mut bench = Bench::new();
    bench.fail(0..FAILURES - 1);
    assert_eq!(bench.admit(), ORDINARY);

    bench.fail([FAILURES - 1]);

    assert_eq!(bench.admit(), None);
}

#[test]
fn an_answer_in_between_begins_the_count_anew() {
    let mut bench = Bench::new();
    bench.fail(0..FAILURES - 1);
    bench.hear(9, Health::Up, None);

    bench.fail(0..FAILURES - 1);

    assert_eq!(bench.admit(), ORDINARY);
}

#[test]
fn one_payment_alone_does_not_open_it_however_often_it_fails() {
    let mut bench = Bench::new();
    bench.fail([3; 100]);
    assert_eq!(bench.admit(), ORDINARY);
}

#[test]
fn refused_credentials_open_it_at_once() {
    let mut bench = Bench::new();
    bench.hear(0, Health::LockedOut, None);
    assert_eq!(bench.admit(), None);
}

#[test]
fn once_the_time_is_over_exactly_one_is_let_through() {
    let mut bench = Bench::open();
    bench.now += OPEN_FOR - Duration::from_millis(1);
    assert_eq!(bench.admit(), None);
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.admit(), PROBE);
    bench.now += OPEN_FOR * 10;
    assert_eq!(bench.admit(), None, "a second probe while the first is under way");
}

#[test]
fn the_probes_answer_closes_it_and_its_failure_opens_it_for_as_long_again() {
    for (health, then) in [(Health::Up, ORDINARY), (Health::Down, None), (Health::LockedOut, None)] {
        let mut bench = Bench::open();
        bench.now += OPEN_FOR;
        let probe = bench.admit().unwrap();

        bench.hear(7, health, probe);

        assert_eq!(bench.admit(), then, "{health:?}");
        bench.now += OPEN_FOR;
        assert_eq!(bench.admit(), then.or(Some(Some(2))), "{health:?}, later");
    }
}

#[test]
fn a_probe_that_heard_nothing_is_followed_by_another() {
    for given_back in [true, false] {
        let mut bench = Bench::open();
        bench.now += OPEN_FOR;
        let probe = bench.admit().unwrap();

        if given_back {
            bench.circuit.give_back(probe, bench.now);
        } else {
            bench.hear(7, Health::Unknown, probe);
        }

        assert_eq!(bench.admit(), Some(Some(2)));
    }
}

#[test]
fn what_left_before_it_opened_can_close_it_but_neither_opens_it_longer_nor_answers_for_the_probe() {
    let mut bench = Bench::open();
    bench.now += OPEN_FOR;
    bench.fail(0..FAILURES);
    assert_eq!(bench.admit(), PROBE, "a late failure kept it open");
    bench.fail(0..FAILURES);
    bench.hear(0, Health::LockedOut, None);
    bench.hear(0, Health::Unknown, None);
    assert_eq!(bench.circuit.state, State::HalfOpen(1));

    bench.hear(0, Health::Up, None);

    assert_eq!(bench.admit(), ORDINARY);
    bench.hear(1, Health::Down, Some(1));
    assert_eq!(bench.admit(), ORDINARY, "the probe's failure is one among others by now");
}

#[test]
fn whatever_happens_nobody_waits_for_a_probe_that_is_not_under_way() {
    // Every sequence of six of these things.
    const THINGS: u32 = 7;
    for sequence in 0..THINGS.pow(6) {
        let mut bench = Bench::new();
        bench.circuit.failures = 2;
        let mut under_way = Vec::new();
        for n in 0..6 {
            match sequence / THINGS.pow(n) % THINGS {
                0 => bench.now += OPEN_FOR,
                1 => under_way.extend(bench.admit().flatten()),
                2 => bench.hear(0, Health::Down, None),
                3 => bench.hear(1, Health::Down, None),
                4 => bench.hear(2, Health::Up, None),
                5 if !under_way.is_empty() => bench.hear(3, Health::Down, Some(under_way.remove(0))),
                _ => bench.circuit.give_back(under_way.pop(), bench.now),
            }
            if let State::HalfOpen(probe) = bench.circuit.state {
                assert!(under_way.contains(&probe), "waits for probe {probe}: {sequence}");
            }
        }
    }
}

//! The circuit breaker, moment by moment: what it lets through, what opens it, and that it always asks again.

use std::time::Duration;

use domain::ids::PaymentId;

use super::circuit::State;

use super::*;

const RULES: Rules =
    Rules { failures: 5, open_for: Duration::from_secs(60), timeout: Duration::from_secs(5), calls: 16 };
const TIMEOUT: FailureKind = FailureKind::Timeout;
const REFUSED: FailureKind = FailureKind::Unreachable;
const FAILED: FailureKind = FailureKind::NotExecuted;

/// A circuit and a clock.
struct Bench {
    circuit: Circuit,
    now: Instant,
}

impl Bench {
    /// Closed, after the door was read for the first time, long ago.
    fn new() -> Self {
        let now = Instant::now();
        let mut circuit = Circuit::new(RULES, now);
        circuit.knocked(None, now);
        Self { circuit, now: now + Duration::from_mins(10) }
    }

    /// Just opened by this failure.
    fn open(why: FailureKind) -> Self {
        let mut bench = Self::new();
        for n in 0..5 {
            bench.hear(payment(n), n, Some(why));
        }
        assert_eq!(bench.circuit.reason(), Some(why));
        bench
    }

    /// Half open, with a probe under way, and that probe's ticket.
    fn probing(why: FailureKind) -> (Self, Ticket) {
        let mut bench = Self::open(why);
        bench.now += RULES.open_for;
        bench.circuit.knocked(None, bench.now);
        let ticket = bench.circuit.admit_probe();
        assert!(ticket.is_some());
        (bench, ticket)
    }

    fn hear(&mut self, payment: PaymentId, merchant: u128, failure: Option<FailureKind>) {
        self.hear_of(call(payment, merchant, self.now), failure, None);
    }

    fn hear_of(&mut self, call: Call, failure: Option<FailureKind>, ticket: Ticket) {
        self.circuit.hear(call, failure, ticket, self.now);
        self.circuit.give_back(ticket);
    }

    fn is_closed(&self) -> bool {
        self.circuit.is_closed()
    }

    fn task(&self) -> Task {
        self.circuit.task(self.now)
    }
}

fn payment(n: u128) -> PaymentId {
    uuid::Uuid::from_u128(1_000 + n).into()
}

fn call(payment: PaymentId, merchant: u128, began: Instant) -> Call {
    Call { about: About::Charge { payment, merchant: uuid::Uuid::from_u128(merchant).into() }, began }
}

#[test]
fn nothing_is_let_through_before_the_door_was_read() {
    let now = Instant::now();
    let mut circuit = Circuit::new(RULES, now);
    assert!(!circuit.admit() && !circuit.is_away());
    assert_eq!(circuit.task(now), Task::Knock);

    circuit.knocked(None, now);

    assert_eq!(circuit.room(), RULES.calls);
    let mut away = Circuit::new(RULES, now);
    away.knocked(Some(REFUSED), now);
    assert!(away.is_away() && !away.admit());
}

#[test]
fn two_exchanges_that_find_the_way_closed_open_it_whosever_they_were() {
    for why in [REFUSED, FailureKind::NotTheGateway] {
        let mut bench = Bench::new();
        bench.hear(payment(1), 1, Some(why));
        assert!(bench.is_closed());
        bench.hear(payment(2), 2, None);
        bench.hear(payment(1), 1, Some(why));
        assert!(bench.is_closed(), "an answer in between");

        bench.hear(payment(1), 1, Some(why));

        assert!(!bench.is_closed() && !bench.circuit.admit());
        assert_eq!(bench.task(), Task::Knock);
    }
}

#[test]
fn silence_alone_does_not_open_it_however_many_payments_it_is_about() {
    let mut bench = Bench::new();
    for n in 0..500 {
        bench.hear(payment(n), n % 3, Some(TIMEOUT));
    }
    assert!(bench.is_closed());
    bench.now += RULES.timeout * 2;
    assert_eq!(bench.task(), Task::Knock, "nothing was answered for two timeouts");

    bench.circuit.knocked(None, bench.now);

    assert!(bench.is_closed());
    assert_eq!(bench.task(), Task::Wait(None));
}

#[test]
fn silence_of_payments_and_of_the_door_opens_it() {
    for door in [TIMEOUT, FailureKind::Reset, REFUSED, FailureKind::NotTheGateway] {
        let mut bench = Bench::new();
        bench.hear(payment(1), 1, Some(TIMEOUT));
        bench.now += RULES.timeout * 2;
        bench.circuit.knocked(Some(door), bench.now);
        assert_eq!(bench.circuit.reason(), Some(door));
    }
}

#[test]
fn any_answer_begins_the_silence_anew() {
    let mut bench = Bench::new();
    bench.hear(payment(1), 1, Some(TIMEOUT));
    bench.now += RULES.timeout;
    bench.hear(payment(2), 2, Some(FAILED));
    bench.now += RULES.timeout;
    assert_eq!(bench.task(), Task::Wait(None));
}

#[test]
fn failures_of_one_payment_are_its_own() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.hear(payment(1), 1, Some(FAILED));
    }
    assert!(bench.is_closed());
    assert!(!bench.circuit.is_failing());
}

#[test]
fn failures_of_several_merchants_payments_open_it() {
    let mut bench = Bench::new();
    bench.hear(payment(9), 9, None);
    for n in 0..4 {
        bench.hear(payment(n), n, Some(FAILED));
        assert!(bench.is_closed());
    }
    bench.hear(payment(4), 4, Some(FAILED));
    assert!(!bench.is_closed());
}

#[test]
fn failures_of_one_merchants_payments_open_it_where_no_charge_was_answered_for_ten_seconds() {
    let mut bench = Bench::new();
    bench.hear(payment(9), 9, None);
    for n in 0..20 {
        bench.hear(payment(n), 1, Some(FAILED));
    }
    assert!(bench.is_closed() && bench.circuit.is_failing());
    bench.now += Duration::from_secs(10);
    bench.hear(payment(1), 1, Some(FAILED));
    assert!(!bench.is_closed());
}

#[test]
fn a_look_that_is_answered_says_nothing_of_charges() {
    let look = |bench: &Bench| Call { about: About::Look, began: bench.now };
    let mut bench = Bench::new();
    bench.hear(payment(9), 9, None);
    for n in 0..5 {
        bench.hear(payment(n), n, Some(FAILED));
        bench.hear_of(look(&bench), None, None);
    }
    assert_eq!(bench.circuit.reason(), Some(FAILED));
    bench.hear_of(look(&bench), None, None);
    assert!(matches!(bench.task(), Task::Wait(_)));
    bench.hear(payment(8), 8, None);
    assert_eq!((bench.is_closed(), bench.task()), (false, Task::Knock));
}

#[test]
fn refused_credentials_open_it_if_the_door_refuses_them_too() {
    let mut bench = Bench::new();
    bench.hear(payment(1), 1, Some(FailureKind::Unauthorized));
    assert_eq!((bench.is_closed(), bench.task()), (true, Task::Knock));
    bench.circuit.knocked(None, bench.now);
    assert_eq!((bench.is_closed(), bench.task()), (true, Task::Wait(None)), "it was about that payment");

    bench.hear(payment(1), 1, Some(FailureKind::Unauthorized));
    bench.circuit.knocked(Some(FailureKind::Unauthorized), bench.now);
    assert!(!bench.is_closed());
}

#[test]
fn a_closed_door_is_read_ever_more_rarely() {
    let mut bench = Bench::open(REFUSED);
    for secs in [0, 1, 2, 4, 8, 15, 15, 15] {
        let at = bench.now + Duration::from_secs(secs);
        let State::Open { knock_at, .. } = bench.circuit.state else { panic!("{:?}", bench.circuit.state) };
        assert_eq!(knock_at, at);
        bench.now = at;
        bench.circuit.knocked(Some(REFUSED), bench.now);
    }
}

#[test]
fn once_the_door_answers_exactly_one_is_let_through() {
    let mut bench = Bench::open(FAILED);
    bench.now += RULES.open_for - Duration::from_millis(1);
    assert!(matches!(bench.task(), Task::Wait(_)));
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.task(), Task::Knock);
    bench.circuit.knocked(None, bench.now);
    assert_eq!(bench.task(), Task::Probe);

    assert_eq!(bench.circuit.admit_probe(), Some(1));

    assert_eq!((bench.circuit.admit_probe(), bench.circuit.admit()), (None, false));
    bench.now += RULES.open_for * 10;
    assert_eq!((bench.circuit.admit_probe(), bench.circuit.admit()), (None, false));
}

#[test]
fn the_probes_answer_closes_it_and_its_failure_opens_it_again() {
    let (mut bench, ticket) = Bench::probing(FAILED);
    bench.hear_of(call(payment(7), 7, bench.now), None, ticket);
    assert!(bench.is_closed());
    for why in [FAILED, REFUSED, FailureKind::NotTheGateway, FailureKind::Unauthorized] {
        let (mut bench, ticket) = Bench::probing(FAILED);
        bench.hear_of(call(payment(7), 7, bench.now), Some(why), ticket);
        assert_eq!(bench.circuit.reason(), Some(why));
        assert!(!bench.circuit.admit());
    }
}

#[test]
fn probes_that_are_silent_while_the_door_answers_are_about_their_payments() {
    let (mut bench, mut ticket) = Bench::probing(FAILED);
    for n in 0..2 {
        bench.hear_of(call(payment(n), n, bench.now), Some(TIMEOUT), ticket);
        assert_eq!(bench.task(), Task::Knock, "the door is read before each");
        bench.circuit.knocked(None, bench.now);
        ticket = bench.circuit.admit_probe();
    }
    bench.hear_of(call(payment(3), 3, bench.now), Some(TIMEOUT), ticket);
    assert!(bench.is_closed());

    let (mut bench, ticket) = Bench::probing(FAILED);
    bench.hear_of(call(payment(1), 1, bench.now), Some(TIMEOUT), ticket);
    bench.circuit.knocked(Some(TIMEOUT), bench.now);
    assert_eq!(bench.circuit.reason(), Some(TIMEOUT));
}

#[test]
fn a_probe_that_heard_nothing_is_followed_by_another() {
    let (mut bench, ticket) = Bench::probing(FAILED);
    bench.hear_of(call(payment(7), 7, bench.now), Some(FailureKind::NotSent), ticket);
    assert_eq!((bench.task(), bench.circuit.admit_probe()), (Task::Probe, Some(2)));
}

#[test]
fn where_there_is_no_payment_to_ask_about_the_door_alone_closes_it() {
    let mut bench = Bench::open(REFUSED);
    bench.circuit.nothing_to_probe();
    assert!(!bench.is_closed(), "the door has not answered");
    bench.circuit.knocked(None, bench.now);
    bench.circuit.nothing_to_probe();
    assert!(bench.is_closed());
}

#[test]
fn after_closing_calls_double_with_each_answer() {
    let (mut bench, ticket) = Bench::probing(FAILED);
    bench.hear_of(call(payment(7), 7, bench.now), None, ticket);
    for room in [1, 2, 4, 8, 16, 16] {
        assert_eq!(bench.circuit.room(), room);
        assert!((0..room).all(|_| bench.circuit.admit()) && !bench.circuit.admit());
        (0..room).for_each(|_| bench.circuit.give_back(None));
        bench.hear(payment(8), 8, Some(TIMEOUT));
        assert_eq!(bench.circuit.room(), room, "silence makes no room");
        bench.hear(payment(8), 8, None);
    }
}

#[test]
fn what_left_before_it_opened_makes_it_look_at_the_door_and_decides_nothing() {
    let mut bench = Bench::open(FAILED);
    bench.hear(payment(1), 1, None);
    assert_eq!((bench.is_closed(), bench.task()), (false, Task::Knock));

    let (mut bench, probe) = Bench::probing(REFUSED);
    for why in [None, Some(REFUSED), Some(FAILED), Some(TIMEOUT), Some(FailureKind::Unauthorized)] {
        bench.hear(payment(1), 1, why);
        assert_eq!(bench.circuit.state, State::HalfOpen(probe), "{why:?}");
    }
}

#[test]
fn a_door_that_is_to_be_opened_must_answer_well() {
    for why in [FailureKind::ServerError, FailureKind::RateLimited, FailureKind::Unexpected, REFUSED] {
        let mut bench = Bench::open(FAILED);
        bench.circuit.knocked(Some(why), bench.now);
        assert_eq!(bench.circuit.reason(), Some(why));
        let mut closed = Bench::new();
        closed.circuit.knocked(Some(why), closed.now);
        assert_eq!(closed.is_closed(), why != REFUSED, "{why}: it answers");
    }
}

#[test]
fn what_another_worker_says_makes_it_look_and_decides_nothing() {
    let mut bench = Bench::new();
    bench.circuit.warned();
    assert_eq!((bench.is_closed(), bench.task()), (true, Task::Knock));
    bench.circuit.knocked(None, bench.now);
    assert_eq!((bench.is_closed(), bench.task()), (true, Task::Wait(None)));

    let mut bench = Bench::open(FAILED);
    assert!(matches!(bench.task(), Task::Wait(_)));
    bench.circuit.encouraged(bench.now);
    assert_eq!((bench.is_closed(), bench.task()), (false, Task::Knock));
}

#[test]
fn whatever_happens_it_comes_to_ask_again_by_itself() {
    const THINGS: u32 = 10;
    let whys = [TIMEOUT, REFUSED, FAILED, FailureKind::Unauthorized];
    for sequence in 0..THINGS.pow(5) {
        let mut bench = Bench::new();
        let mut probes = Vec::new();
        for n in 0..5 {
            let thing = sequence / THINGS.pow(n) % THINGS;
            match thing {
                0 => bench.now += RULES.open_for,
                1 => _ = bench.circuit.admit(),
                2 => probes.extend(bench.circuit.admit_probe()),
                3..=6 => {
                    let probe = probes.pop();
                    let why = whys[usize::try_from(thing - 3).unwrap()];
                    bench.hear_of(call(payment(u128::from(n)), 1, bench.now), Some(why), probe);
                }
                7 => bench.circuit.knocked(None, bench.now),
                8 => bench.circuit.knocked(Some(TIMEOUT), bench.now),
                _ => bench.hear(payment(1), 1, None),
            }
            if let State::HalfOpen(Some(probe)) = bench.circuit.state {
                assert!(probes.contains(&probe), "waits for probe {probe}: {sequence}");
            }
            if matches!(bench.task(), Task::Wait(None)) {
                let is_probing = matches!(bench.circuit.state, State::HalfOpen(Some(_)));
                assert!(bench.is_closed() || is_probing, "nobody asks again: {sequence}");
            }
        }
    }
}

#[test]
fn after_two_hours_without_traffic_it_finds_the_gateway_back_within_a_quarter_of_its_open_time() {
    for why in [REFUSED, TIMEOUT, FailureKind::NotTheGateway] {
        let mut bench = Bench::new();
        bench.circuit.warned();
        bench.circuit.knocked(Some(why), bench.now);
        let (mut reads, is_back_at) = (0, bench.now + Duration::from_hours(2));
        while !bench.is_closed() {
            match bench.task() {
                Task::Wait(Some(at)) => bench.now = at,
                Task::Knock => {
                    reads += 1;
                    bench.circuit.knocked((bench.now < is_back_at).then_some(why), bench.now);
                }
                Task::Probe => bench.circuit.nothing_to_probe(),
                Task::Wait(None) => unreachable!("nobody would ask again"),
            }
        }
        assert!(bench.now < is_back_at + RULES.open_for / 4, "{why}");
        assert!(reads < 600, "{why}: {reads} reads");
    }
}

//! The same protocol where the past comes back. Once, the database is what it was at any earlier moment, or
//! both go on. The client repeats its request, with another amount too, and the gateway may forget keys by
//! age. Exhaustively, as `super` does it.
//!
//! What must hold: no two charges ever stand, no void takes along another payment's charge, and a payment
//! that has ended agrees with the gateway.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use domain::decide::{Policy, Situation};
use domain::ids::{GatewayKey, PaymentId};
use domain::money::Money;
use domain::outcome::Expected;
use domain::status::PaymentStatus;
use serde_json::json;

mod fate;
mod gateway;
mod work;

/// The number of claims that the model follows.
const CLAIMS_MAX: u8 = 5;

/// The guard that is taken away; each says what holds with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The same request has the same key.
    TheSameKey,
    /// A payment that came back is looked at first.
    LookingFirst,
    /// A payment under a forgotten one's key is looked at first.
    Orphans,
    /// A void near a return follows a look.
    LookingBeforeVoids,
    /// A charge of another amount is no reason to take another key.
    Contradiction,
    /// A program that reads no keys is refused a payment that has one.
    ReadingKeys,
}

/// What may happen at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The gateway's books are read when the past came back.
    Books,
    /// The books cannot be read, and nobody waits for so long that keys are forgotten. Then a repeat may
    /// charge twice, as the command says.
    NoBooks,
    /// Both databases may go on.
    Split,
    /// No past comes back. Programs of two kinds work at one payment, and the second kind is from before
    /// there were keys.
    Mixed,
}

/// The key of a payment whose id is its key, where there are other keys.
const ID_AS_KEY: u8 = 1;

/// How the past comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Past {
    NotYet,
    /// It took the place of the present, and nobody has looked into it yet.
    Replaced,
    /// It took the place of the present, and it was looked into.
    Restored,
    /// Both the past and the present go on.
    Split,
}

/// The payment of one database. The first one has id 0, a repeat of the forgotten request id 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Row {
    id: u8,
    key: u8,
    is_other_amount: bool,
    status: PaymentStatus,
    held: Option<&'static str>,
    token: u8,
    in_doubt: bool,
    voiding: bool,
    looks_first: bool,
    /// Whether it was accepted before the gateway forgot keys.
    is_old: bool,
    /// Whether its first charge left before that time.
    was_sent_long_ago: bool,
    was_sent: bool,
    not_found_count: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Does {
    Nothing,
    Charging,
    AwaitingCharge,
    LookingUp,
    Voiding,
    AwaitingVoid,
}

/// A worker, with what it knows of its claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    does: Does,
    row: Option<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Charge { token: u8, key: u8, id: u8, is_other_amount: bool },
    Answer { token: u8, answer: Answer },
    Void { token: u8, key: u8, id: u8 },
    Voided { token: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Answer {
    Charged { id: u8 },
    Reused,
    Closed,
}

/// What the gateway has under a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Key {
    /// Charges that stand: by which name, and whether of the other amount.
    standing: Vec<(u8, bool)>,
    was_voided: bool,
    is_closed: bool,
    is_forgotten: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    rows: [Option<Row>; 2],
    workers: [Worker; 2],
    net: Vec<Message>,
    keys: [Key; 2],
    kept: Option<Option<Row>>,
    past: Past,
    /// Whether each key is known to be a forgotten payment's.
    orphans: [bool; 2],
    has_aged: bool,
    was_released: bool,
    claims: u8,
    voided_anothers: bool,
    /// A charge was still on its way when the books were read, which the command waits for.
    came_late: bool,
}

struct Model {
    without: Without,
    policy: Policy,
    ids: [PaymentId; 2],
    mode: Mode,
}

impl Model {
    fn start(&self) -> State {
        let idle = Worker { does: Does::Nothing, row: None };
        State {
            rows: [Some(self.accepted(0, false, false)), None],
            workers: [idle.clone(), idle],
            net: Vec::new(),
            keys: [Key::default(), Key::default()],
            // The backup is from before the request, or from after it.
            kept: None,
            past: Past::NotYet,
            orphans: [false; 2],
            has_aged: false,
            was_released: false,
            claims: 0,
            voided_anothers: false,
            came_late: false,
        }
    }

    fn accepted(&self, id: u8, is_other_amount: bool, looks_first: bool) -> Row {
        Row {
            id,
            key: if self.without == Without::TheSameKey { id } else { 0 },
            is_other_amount,
            status: PaymentStatus::Pending,
            held: None,
            token: 0,
            in_doubt: false,
            voiding: false,
            looks_first,
            is_old: false,
            was_sent_long_ago: false,
            was_sent: false,
            not_found_count: 0,
        }
    }

    fn expected(&self, row: &Row) -> Expected {
        let payment_id = self.ids[usize::from(row.id)];
        let key = GatewayKey::of(Some(format!("pk1_{}", row.key)), payment_id);
        Expected {
            key,
            payment_id,
            money: Money::parse(amount(row.is_other_amount), "EUR".parse().unwrap()).unwrap(),
        }
    }

    fn charge(&self, key: u8, (id, is_other): (u8, bool), status: &str) -> serde_json::Value {
        json!({ "id": "ch_1", "key": format!("pk1_{key}"), "reference": self.ids[usize::from(id)], "status": status,
                "amount": amount(is_other), "currency": "EUR" })
    }

    fn situations(&self, state: &State, row: &Row) -> Vec<Situation> {
        const LONG: Duration = Duration::from_hours(25);
        let returned = state.past == Past::Restored;
        let youngest = if row.is_old { LONG } else { Duration::ZERO };
        let ages = [youngest, LONG].map(|age| [Duration::ZERO, LONG].map(|doubt_age| (age, doubt_age)));
        let situation = |(age, doubt_age)| Situation {
            in_doubt: row.in_doubt,
            was_sent: row.was_sent,
            not_found_count: row.not_found_count.into(),
            age,
            doubt_age: if row.in_doubt { doubt_age } else { Duration::ZERO },
            first_sent_age: if row.was_sent_long_ago { LONG } else { Duration::ZERO },
            send_by_age: LONG,
            void_age: doubt_age,
            is_voiding: row.voiding,
            from_a_return: returned.then_some(Duration::ZERO),
            ..Situation::default()
        };
        ages.into_iter().flatten().map(situation).collect()
    }

    fn next(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        for d in 0..2 {
            self.work(state, d, &mut next);
        }
        for (at, &message) in state.net.iter().enumerate() {
            let mut arrived = state.clone();
            arrived.net.remove(at);
            next.push(arrived.clone());
            next.extend(gateway::arrive(arrived, message));
        }
        self.fate(state, &mut next);
        next
    }

    fn explore(&self, start: State) -> Result<usize, String> {
        let mut seen = HashSet::from([start.clone()]);
        let mut todo = VecDeque::from([start]);
        while let Some(state) = todo.pop_front() {
            if let Some(wrong) = gateway::violation(&state) {
                return Err(format!("{wrong}: {state:?}"));
            }
            for next in self.next(&state) {
                if seen.insert(next.clone()) {
                    todo.push_back(next);
                }
            }
        }
        Ok(seen.len())
    }
}

const fn amount(is_other: bool) -> &'static str {
    if is_other { "99.00" } else { "12.30" }
}

impl Without {
    fn explore(self, mode: Mode, key: u8) -> Result<usize, String> {
        let ids = [PaymentId::generate(), PaymentId::generate()];
        let policy = Policy { max_retries: 1, ..Policy::default() };
        let model = Model { without: self, policy, ids, mode };
        let mut start = model.start();
        start.rows[0].as_mut().unwrap().key = key;
        model.explore(start)
    }
}

#[test]
fn no_return_of_the_past_charges_twice_or_voids_what_another_payment_was_charged() {
    for mode in [Mode::Books, Mode::NoBooks, Mode::Split] {
        let states = Without::Nothing.explore(mode, 0).unwrap();
        assert!(states > 10_000, "only {states} states: the model lost its moves");
    }
}

#[test]
fn nor_do_programs_that_read_keys_beside_programs_that_do_not() {
    for key in [0, ID_AS_KEY] {
        let states = Without::Nothing.explore(Mode::Mixed, key).unwrap();
        assert!(states > 100, "only {states} states: the model lost its moves");
    }
}

#[test]
fn without_any_one_guard_one_of_them_does() {
    for (without, mode) in [
        (Without::TheSameKey, Mode::Books),
        (Without::LookingFirst, Mode::Books),
        (Without::Orphans, Mode::Books),
        (Without::LookingBeforeVoids, Mode::NoBooks),
        (Without::Contradiction, Mode::Books),
        (Without::ReadingKeys, Mode::Mixed),
    ] {
        let found = without.explore(mode, 0);
        assert!(found.is_err(), "without {without:?} nothing goes wrong in {found:?} states");
    }
}

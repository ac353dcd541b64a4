//! A clerk: moves money in every way there is, again and again, and notes what each answer means.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::teller::{Answer, Asked};
use super::{Bank, CUSTOMERS, Fate, Movement, amount, cents};

/// The most that a clerk moves at a time, in cents: often more than there is.
const MOST: i64 = 4_000;
/// How long a hold lasts that somebody ends, and the longest that nobody ends, in seconds.
const LASTS: i64 = 60;
const LEFT_FOR: i64 = 3;
/// The longest pause of a clerk.
const PAUSE: Duration = Duration::from_millis(40);

/// Works until it is enough, or the bank gave up.
pub(super) async fn work(bank: Arc<Bank>, number: u64) {
    let dice = StdRng::seed_from_u64(bank.seed.wrapping_mul(31).wrapping_add(number));
    let mut clerk = Clerk { bank, name: format!("clerk-{number}"), dice, asked: 0 };
    while !clerk.bank.is_enough.load(Ordering::Relaxed) {
        if clerk.do_something().await.is_none() {
            return;
        }
        let pause = PAUSE.mul_f64(clerk.dice.random());
        sleep(pause).await;
    }
}

struct Clerk {
    bank: Arc<Bank>,
    name: String,
    dice: StdRng,
    asked: u64,
}

impl Clerk {
    /// None if the bank gave up.
    async fn do_something(&mut self) -> Option<()> {
        match self.dice.random_range(0..10) {
            0..=2 => self.transfer().await,
            3 => self.transfer_twice().await,
            4 => self.group().await,
            5 | 6 => self.hold_and_post().await,
            7 => self.hold_and_void().await,
            8 => self.hold_and_race().await,
            _ => self.hold_and_leave().await,
        }
    }

    fn key(&mut self) -> String {
        self.asked += 1;
        format!("{}-{}", self.name, self.asked)
    }

    fn movement(&mut self) -> Movement {
        let from = self.dice.random_range(0..CUSTOMERS);
        let to = (from + self.dice.random_range(1..CUSTOMERS)) % CUSTOMERS;
        let accounts = &self.bank.accounts;
        Movement {
            from: accounts[from].clone(),
            to: accounts[to].clone(),
            cents: self.dice.random_range(1..=MOST),
        }
    }

    fn asks(&mut self, path: &str, body: Value) -> Asked {
        let key = self.key();
        Asked::new(path, &key, body)
    }

    async fn transfer(&mut self) -> Option<()> {
        let movement = self.movement();
        let asked = self.asks("/v1/transfers", movement.body());
        let answer = self.bank.ask(&asked).await?;
        self.took_place(&asked, &answer, &[movement]);
        Some(())
    }

    /// Two clients send it at once, as an impatient one would.
    async fn transfer_twice(&mut self) -> Option<()> {
        let movement = self.movement();
        let asked = self.asks("/v1/transfers", movement.body());
        let (one, other) = tokio::join!(self.bank.ask(&asked), self.bank.ask(&asked));
        let (one, other) = (one?, other?);
        self.must_equal(&asked, &one, &other);
        self.took_place(&asked, &one, &[movement]);
        Some(())
    }

    async fn group(&mut self) -> Option<()> {
        let movements: Vec<Movement> = (0..self.dice.random_range(2..5)).map(|_| self.movement()).collect();
        let bodies: Vec<Value> = movements.iter().map(Movement::body).collect();
        let asked = self.asks("/v1/transfers", json!({ "transfers": bodies }));
        let answer = self.bank.ask(&asked).await?;
        self.took_place(&asked, &answer, &movements);
        Some(())
    }

    /// All of it took place, or it was refused for want of funds.
    fn took_place(&self, asked: &Asked, answer: &Answer, movements: &[Movement]) {
        match (answer.status, answer.code()) {
            (201, _) => self.bank.happened(movements),
            (422, "insufficient_funds") => {}
            _ => self.bank.wrong(format_args!("{asked} was answered {answer}")),
        }
    }

    fn must_equal(&self, asked: &Asked, one: &Answer, other: &Answer) {
        if one != other {
            self.bank.wrong(format_args!("{asked} was answered {one}, and also {other}"));
        }
    }

    /// Reserves something. The outer none means that the bank gave up, the inner one that it was refused.
    async fn hold(&mut self, seconds: i64) -> Option<Option<(String, Movement)>> {
        let movement = self.movement();
        let mut body = movement.body();
        body["pending"] = json!(true);
        let end = Utc::now() + TimeDelta::seconds(seconds);
        body["expires_at"] = json!(end.to_rfc3339_opts(SecondsFormat::Millis, true));
        let asked = self.asks("/v1/transfers", body);
        let answer = self.bank.ask(&asked).await?;
        match (answer.status, answer.code()) {
            (201, _) => {
                let id = answer.text("id");
                let mut known = self.bank.known();
                known.transfers += 1;
                known.holds.insert(id.clone(), (Fate::Expired, movement.cents));
                return Some(Some((id, movement)));
            }
            // An API may be away until the end of a short hold has passed.
            (422, "insufficient_funds") | (400, "expiry_out_of_range") => {}
            _ => self.bank.wrong(format_args!("{asked} was answered {answer}")),
        }
        Some(None)
    }

    fn post(&mut self, hold: &str, most: i64) -> (Asked, i64) {
        let cents = if self.dice.random() { most } else { self.dice.random_range(1..=most) };
        let body = if cents == most { json!({}) } else { json!({ "amount": amount(cents) }) };
        (self.asks(&format!("/v1/transfers/{hold}/post"), body), cents)
    }

    fn void(&mut self, hold: &str) -> Asked {
        self.asks(&format!("/v1/transfers/{hold}/void"), json!({}))
    }

    async fn hold_and_post(&mut self) -> Option<()> {
        let Some((hold, movement)) = self.hold(LASTS).await? else { return Some(()) };
        let (asked, cents) = self.post(&hold, movement.cents);
        let answer = self.bank.ask(&asked).await?;
        if self.ended(&asked, &answer) {
            self.posted(&hold, &movement, (&asked, &answer), cents);
        }
        Some(())
    }

    async fn hold_and_void(&mut self) -> Option<()> {
        let Some((hold, _)) = self.hold(LASTS).await? else { return Some(()) };
        let asked = self.void(&hold);
        let answer = self.bank.ask(&asked).await?;
        if self.ended(&asked, &answer) {
            self.voided(&hold);
        }
        Some(())
    }

    /// One posts it and another one voids it, at once: one of them wins. What won is told again under another
    /// key, as it was.
    async fn hold_and_race(&mut self) -> Option<()> {
        let Some((hold, movement)) = self.hold(LASTS).await? else { return Some(()) };
        let ((post, cents), void) = (self.post(&hold, movement.cents), self.void(&hold));
        let (posts, voids) = tokio::join!(self.bank.ask(&post), self.bank.ask(&void));
        let (posts, voids) = (posts?, voids?);
        let (won, by) = match (posts.status, voids.status) {
            (200, 409) if voids.code() == "transfer_not_pending" => {
                self.posted(&hold, &movement, (&post, &posts), cents);
                (post, posts)
            }
            (409, 200) if posts.code() == "transfer_not_pending" => {
                self.voided(&hold);
                (void, voids)
            }
            (409, 409) if [&posts, &voids].iter().all(|it| it.code() == "transfer_expired") => {
                return Some(());
            }
            _ => {
                self.bank.wrong(format_args!("{post} was answered {posts}, and {void} was answered {voids}"));
                return Some(());
            }
        };
        let again = won.under(&self.key());
        let answer = self.bank.ask(&again).await?;
        self.must_equal(&won, &by, &answer);
        Some(())
    }

    /// Nobody ends it, so it goes back by itself.
    async fn hold_and_leave(&mut self) -> Option<()> {
        let seconds = self.dice.random_range(1..=LEFT_FOR);
        self.hold(seconds).await?;
        Some(())
    }

    /// Whether the act ended the hold. If not, its time must have been over.
    fn ended(&self, asked: &Asked, answer: &Answer) -> bool {
        let is_late = (answer.status, answer.code()) == (409, "transfer_expired");
        if answer.status != 200 && !is_late {
            self.bank.wrong(format_args!("{asked} was answered {answer}"));
        }
        answer.status == 200
    }

    fn posted(&self, hold: &str, movement: &Movement, told: (&Asked, &Answer), posted: i64) {
        let (asked, answer) = told;
        if cents(&answer.text("posted_amount")) != Some(posted) {
            self.bank.wrong(format_args!("{asked} was answered {answer}"));
        }
        let mut known = self.bank.known();
        known.holds.insert(hold.to_owned(), (Fate::Posted(posted), movement.cents));
        known.move_cents(&movement.from, &movement.to, posted);
    }

    fn voided(&self, hold: &str) {
        let mut known = self.bank.known();
        if let Some((fate, _)) = known.holds.get_mut(hold) {
            *fate = Fate::Voided;
        }
    }
}

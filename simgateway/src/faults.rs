//! Faults: how the network between caller and gateway misbehaves by chance, and which promises are broken.
//!
//! Faults live in memory. A restart switches them off, while their effects stay in the books. Chance strikes
//! charge calls only, except for `lookup_error_rate`, which strikes lookups, and `crash_rate`, which strikes
//! any call.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::reply::{Failure, Refusal};
use crate::token::Spoil;

/// The switches. A field that a `PUT` leaves out takes its default, which is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Faults {
    /// Begins the random draws anew from this seed. Without it they go on.
    pub(crate) seed: Option<u64>,
    /// The connection is reset before anything is charged.
    pub(crate) network_error_rate: Rate,
    /// The call gets 429, and nothing is charged.
    pub(crate) rate_429: Rate,
    /// The call gets 503 `not_executed`, and nothing is charged.
    pub(crate) not_executed_rate: Rate,
    /// The call gets 500. One half of these calls charge.
    pub(crate) error_5xx_rate: Rate,
    /// The call gets no answer for `timeout_delay_ms`. One half of these calls charge.
    pub(crate) timeout_rate: Rate,
    /// The call charges, and the connection is closed without an answer.
    pub(crate) lost_response_rate: Rate,
    /// The call is processed twice, through the key check each time.
    pub(crate) duplicate_rate: Rate,
    /// One unit too much is charged.
    pub(crate) wrong_amount_rate: Rate,
    /// A lookup answers 500.
    pub(crate) lookup_error_rate: Rate,
    /// The process ends in the middle of a call, as if by SIGKILL. One half of the crashes come before the
    /// books have the call, one half after.
    pub(crate) crash_rate: Rate,
    /// The next call ends the process, at this moment of it.
    pub(crate) crash: Option<Crash>,
    /// How much later every answer to a charge call leaves.
    pub(crate) slow_ms: u32,
    /// How long a connection that gets no answer is held.
    pub(crate) timeout_delay_ms: u32,
    /// The delay after which `sim_async_ok` and `sim_async_fail` are decided.
    pub(crate) async_delay_ms: u32,
    /// The delay after which the charge of `sim_late_arrival` appears.
    pub(crate) late_arrival_ms: u32,
    /// The delay after which `sim_slow` answers.
    pub(crate) slow_token_ms: u32,
    /// Charges, lookups, voids and `/account` answer 401, as if the caller's credentials had been revoked.
    pub(crate) unauthorized: bool,
    /// Broken promise: every charge call charges, whatever its key has seen. A voided key stays closed.
    pub(crate) ignore_idempotency_keys: bool,
    /// Broken promise: a charge call without a key is accepted, and charges whatever other calls charged.
    pub(crate) keys_optional: bool,
    /// Broken promise: lookups answer 501.
    pub(crate) lookup_unsupported: bool,
    /// Broken promise: voids answer 501.
    pub(crate) void_unsupported: bool,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            seed: None,
            network_error_rate: Rate(0.0),
            rate_429: Rate(0.0),
            not_executed_rate: Rate(0.0),
            error_5xx_rate: Rate(0.0),
            timeout_rate: Rate(0.0),
            lost_response_rate: Rate(0.0),
            duplicate_rate: Rate(0.0),
            wrong_amount_rate: Rate(0.0),
            lookup_error_rate: Rate(0.0),
            crash_rate: Rate(0.0),
            crash: None,
            slow_ms: 0,
            timeout_delay_ms: 10_000,
            async_delay_ms: 2_000,
            late_arrival_ms: 3_000,
            slow_token_ms: 2_000,
            unauthorized: false,
            ignore_idempotency_keys: false,
            keys_optional: false,
            lookup_unsupported: false,
            void_unsupported: false,
        }
    }
}

impl Faults {
    /// Whether a call may end the process.
    pub(crate) fn may_crash(&self) -> bool {
        self.crash.is_some() || self.crash_rate.0 > 0.0
    }
}

/// The moment of a call at which the process ends. No answer leaves at either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Crash {
    /// Before the call is in the books: the journal knows nothing of it.
    Before,
    /// After the call is in the books, and before the answer leaves.
    After,
}

/// A share of calls, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub(crate) struct Rate(f64);

impl TryFrom<f64> for Rate {
    type Error = &'static str;

    fn try_from(share: f64) -> Result<Rate, &'static str> {
        if (0.0..=1.0).contains(&share) { Ok(Rate(share)) } else { Err("a rate is a number from 0 to 1") }
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> f64 {
        rate.0
    }
}

/// The faults that are on, and the dice that belong to them.
#[derive(Debug)]
pub(crate) struct FaultSwitch {
    pub(crate) faults: Arc<Faults>,
    pub(crate) dice: Dice,
}

impl FaultSwitch {
    /// All faults off, with dice of seed 0.
    pub(crate) fn off() -> FaultSwitch {
        FaultSwitch { faults: Arc::new(Faults::default()), dice: Dice::seeded(0) }
    }

    /// Replaces the faults that were on.
    pub(crate) fn set(&mut self, faults: Faults) -> Arc<Faults> {
        if let Some(seed) = faults.seed {
            self.dice = Dice::seeded(seed);
        }
        self.faults = Arc::new(faults);
        Arc::clone(&self.faults)
    }
}

/// The accidents that chance has in store for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    pub(crate) mishap: Option<Mishap>,
    pub(crate) is_duplicated: bool,
    pub(crate) wrong_amount: bool,
    pub(crate) lookup_error: bool,
    pub(crate) crash: Option<Crash>,
}

/// A call that does not get its true answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// Before it reached the books, so that nothing happens.
    Before(Spoil),
    /// After the books took it.
    After(Spoil),
}

/// The dice. The number of throws per call is always the same, so that switching one fault on does not move
/// the others to other calls.
#[derive(Debug)]
pub(crate) struct Dice {
    mishaps: StdRng,
    /// Separate dice, since these are thrown for every call, and the others not for all of them.
    crashes: StdRng,
}

impl Dice {
    /// Dice whose throws follow from `seed`.
    pub(crate) fn seeded(seed: u64) -> Dice {
        Dice { mishaps: StdRng::seed_from_u64(seed), crashes: StdRng::seed_from_u64(!seed) }
    }

    /// Draws what happens to a charge call. Where several mishaps strike, the first in this order wins.
    pub(crate) fn draw_charge(&mut self, faults: &Faults) -> Fate {
        let server_error = Spoil::Refuse(Refusal::Internal);
        let silence = Spoil::Fail(Failure::Silence);
        let mishaps = [
            (self.strikes(faults.network_error_rate), Mishap::Before(Spoil::Fail(Failure::Reset))),
            (self.strikes(faults.rate_429), Mishap::Before(Spoil::Refuse(Refusal::RateLimited))),
            (self.strikes(faults.not_executed_rate), Mishap::Before(Spoil::Refuse(Refusal::NotExecuted))),
            (self.strikes(faults.error_5xx_rate), self.before_or_after(server_error)),
            (self.strikes(faults.timeout_rate), self.before_or_after(silence)),
            (self.strikes(faults.lost_response_rate), Mishap::After(Spoil::Fail(Failure::HangUp))),
        ];
        Fate {
            mishap: mishaps.into_iter().find_map(|(strikes, mishap)| strikes.then_some(mishap)),
            is_duplicated: self.strikes(faults.duplicate_rate),
            wrong_amount: self.strikes(faults.wrong_amount_rate),
            ..Fate::default()
        }
    }

    /// Draws what happens to a lookup.
    pub(crate) fn draw_lookup(&mut self, faults: &Faults) -> Fate {
        Fate { lookup_error: self.strikes(faults.lookup_error_rate), ..Fate::default() }
    }

    /// Draws whether a call, of whatever kind, ends the process.
    pub(crate) fn draw_crash(&mut self, faults: &Faults) -> Option<Crash> {
        let [strikes, moment]: [f64; 2] = [self.crashes.random(), self.crashes.random()];
        let by_chance = if moment < 0.5 { Crash::Before } else { Crash::After };
        faults.crash.or((strikes < faults.crash_rate.0).then_some(by_chance))
    }

    fn strikes(&mut self, rate: Rate) -> bool {
        self.throw() < rate.0
    }

    fn before_or_after(&mut self, spoil: Spoil) -> Mishap {
        if self.throw() < 0.5 { Mishap::Before(spoil) } else { Mishap::After(spoil) }
    }

    /// A number from 0 up to 1, never 1. (`random_bool` throws no dice where the answer is certain.)
    fn throw(&mut self) -> f64 {
        self.mishaps.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64, faults: &Faults) -> Vec<Fate> {
        let mut dice = Dice::seeded(seed);
        (0..1_000).map(|_| dice.draw_charge(faults)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_fates() {
        let faults = Faults { timeout_rate: Rate(0.3), duplicate_rate: Rate(0.3), ..Faults::default() };

        assert_eq!(fates(7, &faults), fates(7, &faults));
        assert_ne!(fates(7, &faults), fates(8, &faults));
    }

    #[test]
    fn without_faults_nothing_strikes() {
        assert!(fates(7, &Faults::default()).iter().all(|fate| *fate == Fate::default()));
    }

    #[test]
    fn switching_one_fault_on_does_not_move_another() {
        let alone = Faults { duplicate_rate: Rate(0.5), ..Faults::default() };
        let together = Faults { timeout_rate: Rate(0.5), ..alone.clone() };

        let duplicated = |faults| fates(7, faults).iter().map(|f| f.is_duplicated).collect::<Vec<_>>();
        assert_eq!(duplicated(&alone), duplicated(&together));
    }

    #[test]
    fn chance_crashes_a_share_of_calls_one_half_of_them_too_late_to_undo() {
        let faults = Faults { crash_rate: Rate(0.1), ..Faults::default() };
        let crashes = |seed| {
            let mut dice = Dice::seeded(seed);
            (0..1_000).map(|_| dice.draw_crash(&faults)).collect::<Vec<_>>()
        };

        let drawn = crashes(7);
        let count = |moment| drawn.iter().filter(|crash| **crash == Some(moment)).count();
        assert!((30..70).contains(&count(Crash::Before)) && (30..70).contains(&count(Crash::After)));
        assert_eq!(crashes(7), drawn);
        assert_ne!(crashes(8), drawn);
    }

    #[test]
    fn a_crash_that_is_asked_for_comes_with_the_next_call_and_moves_no_chance() {
        let asked = Faults { crash: Some(Crash::After), ..Faults::default() };
        let mut dice = Dice::seeded(7);

        assert_eq!(dice.draw_crash(&asked), Some(Crash::After));
        let after: Vec<_> = (0..1_000).map(|_| dice.draw_charge(&Faults::default())).collect();
        assert_eq!(after, fates(7, &Faults::default()));
    }

    #[test]
    fn one_half_of_the_server_errors_has_charged() {
        let faults = Faults { error_5xx_rate: Rate(1.0), ..Faults::default() };

        let charged = fates(7, &faults).iter().filter(|f| matches!(f.mishap, Some(Mishap::After(_)))).count();
        assert!((400..600).contains(&charged), "{charged}");
    }

    #[test]
    fn unknown_fields_and_rates_out_of_bounds_are_refused() {
        for refused in [
            r#"{"timeout_rates": 0.1}"#,
            r#"{"timeout_rate": 1.1}"#,
            r#"{"timeout_rate": -0.1}"#,
            r#"{"slow_ms": -1}"#,
            r#"{"slow_ms": null}"#,
            r#"{"crash_rate": 1.1}"#,
            r#"{"crash": "now"}"#,
            r#"{"crash": true}"#,
        ] {
            assert!(serde_json::from_str::<Faults>(refused).is_err(), "{refused}");
        }
        assert_eq!(serde_json::from_str::<Faults>("{}").unwrap(), Faults::default());
    }
}

//! Charge: every payment in a few bytes, so that a million fit, and what the gateway took for each.
//!
//! A payment that succeeded has exactly one charge that stands, of what is owed, under its own key, and it is the one
//! that the payment names; one that ended otherwise has none; and no charge stands that belongs to no payment. Charges
//! are added up as fingerprints, from which a void takes its charge's away: what is left must be the fingerprint of the
//! one charge that is expected, or nothing. Of a payment that was corrected what stands must be what its last correction says;
//! one that a person ended without proof, and that the journal refutes, is told apart.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use shared::ids::PaymentId;
use uuid::Uuid;

use super::amount::{Amount, Currency, currency};
use super::journal::Row;
use super::liveness::Rule;
use super::ours::{CorrectionRow, PaymentRow, Standing};
use super::report::{Check, Unproven};

/// Remarks about charges that are not as expected are kept for so many payments; they only explain.
const REMARKED: usize = 1_000;

/// Where a payment stands, as far as its charge is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Pending, processing or held: anything may be at the gateway.
    UnderWay,
    /// Succeeded.
    Charged,
    /// Failed or reversed.
    Free,
    /// The same, and a worker is having voided what was charged all the same.
    Voiding,
}

impl Stand {
    fn of(status: &str) -> Self {
        match status {
            "pending" | "processing" => Self::UnderWay,
            "succeeded" => Self::Charged,
            _ => Self::Free,
        }
    }
}

/// What the gateway did under one reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    /// The sum of the charges' fingerprints less those of what was undone.
    print: u64,
    /// What was charged less what was undone, whatever the currency.
    net: Amount,
    /// Charges less voids and refunds.
    standing: i32,
}

/// One payment of ours.
#[derive(Debug)]
struct Entry {
    id: Uuid,
    /// Merchant and customer.
    owner: u64,
    /// The fingerprint of the charge that there must be.
    expected: u64,
    owed: Amount,
    tally: Tally,
    currency: Currency,
    stand: Stand,
    keys: u8,
}

/// All payments, and the gateway's charges beside them.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// In the order of their ids.
    entries: Vec<Entry>,
    /// References in the form of our ids that are none of ours, or of a payment that came meanwhile.
    strangers: HashMap<Uuid, Tally>,
    /// Other references.
    foreign: HashMap<String, Tally>,
    remarks: HashMap<Uuid, Vec<String>>,
    /// The few that were corrected: what stands at the gateway after all, and by which charge.
    corrected: HashMap<Uuid, (Option<Amount>, Option<String>)>,
    /// The few that a person ended without proof.
    unproven: HashSet<Uuid>,
    in_flight: u64,
}

/// What the idempotency check learns about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyed {
    /// It belongs to that merchant and customer.
    Fits,
    /// It belongs to others.
    OfAnother,
    /// It was not there when the payments were read.
    Unknown,
}

/// A stable hash: of one build, within one run.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn fingerprint(charge_id: &str, key: &str, amount: Option<Amount>, currency: Currency) -> u64 {
    hash((charge_id, key, amount, currency))
}

fn expected(id: Uuid, charge_id: Option<&str>, owed: Option<Amount>, currency: Currency) -> u64 {
    fingerprint(charge_id.unwrap_or_default(), &PaymentId::from(id).to_string(), owed, currency)
}

impl Register {
    /// Takes up the next payment; they come in the order of their ids.
    pub(super) fn add(&mut self, row: &PaymentRow) {
        let (owed, currency) = (Amount::parse(&row.amount), currency(&row.currency));
        let stand = Stand::of(&row.status);
        self.in_flight += u64::from(stand == Stand::UnderWay && row.held_reason.is_none());
        self.entries.push(Entry {
            id: row.id,
            owner: hash((row.merchant_id, &row.customer_id)),
            expected: expected(row.id, row.gateway_transaction_id.as_deref(), owed, currency),
            owed: owed.unwrap_or_default(),
            tally: Tally::default(),
            currency,
            stand,
            keys: 0,
        });
    }

    /// Takes note of the few of a page that people corrected, in the order of that, or ended without proof.
    pub(super) fn learn(&mut self, corrections: &[CorrectionRow], unproven: &[Uuid]) {
        let of = |it: &CorrectionRow| (it.payment_id, (Amount::parse(&it.amount), it.charge_id.clone()));
        self.corrected.extend(corrections.iter().map(of));
        self.unproven.extend(unproven);
    }

    fn is_fine(&self, entry: &Entry) -> bool {
        let Some((stands, charge_id)) = self.corrected.get(&entry.id) else { return entry.is_fine() };
        let tally = entry.tally;
        // A refund of a part takes another fingerprint away than that of the charge.
        let print = expected(entry.id, charge_id.as_deref(), *stands, entry.currency);
        *stands == Some(tally.net) && tally.standing <= 1 && (tally.standing < 1 || tally.print == print)
    }

    /// How many payments there are.
    pub(super) fn payments(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many of them the machine still works on.
    pub(super) fn in_flight(&self) -> u64 {
        let voiding = self.entries.iter().filter(|entry| entry.stand == Stand::Voiding);
        self.in_flight + voiding.count() as u64
    }

    /// How many charges stand at the gateway.
    pub(super) fn charges(&self) -> u64 {
        let ours = self.entries.iter().map(|entry| entry.tally);
        let all = ours.chain(self.strangers.values().copied()).chain(self.foreign.values().copied());
        all.map(|tally| u64::try_from(tally.standing).unwrap_or(0)).sum()
    }

    /// Counts an idempotency key of a payment.
    pub(super) fn count_key(&mut self, payment: Uuid, merchant: Uuid, customer: &str) -> Keyed {
        let Some(entry) = self.find(payment) else { return Keyed::Unknown };
        entry.keys = entry.keys.saturating_add(1);
        if entry.owner == hash((merchant, customer)) { Keyed::Fits } else { Keyed::OfAnother }
    }

    /// The payments that have not exactly one idempotency key, and how many they have.
    pub(super) fn miskeyed(&self) -> impl Iterator<Item = (Uuid, u8)> {
        self.entries.iter().filter(|entry| entry.keys != 1).map(|entry| (entry.id, entry.keys))
    }

    fn find(&mut self, id: Uuid) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by(|entry| entry.id.cmp(&id)).ok()?;
        self.entries.get_mut(at)
    }

    /// Books one row of the gateway's journal, if it moved money.
    pub(super) fn book(&mut self, row: &Row<'_>) {
        let is_charge = row.kind == "charge";
        if !is_charge && row.kind != "void" && row.kind != "refund" {
            return;
        }
        // A void of nothing closes a key, and moves no money.
        let Some(charge_id) = row.charge_id.as_deref() else { return };
        let key = row.key.as_deref().unwrap_or_default();
        let reference = row.reference.as_deref().unwrap_or(key);
        let amount = row.amount.as_deref().and_then(Amount::parse);
        let currency = currency(row.currency.as_deref().unwrap_or_default());
        let print = fingerprint(charge_id, key, amount, currency);
        let book = |tally: &mut Tally| tally.book(is_charge, amount.unwrap_or_default(), print);
        let Ok(id) = reference.parse::<PaymentId>().map(PaymentId::uuid) else {
            book(self.foreign.entry(reference.to_owned()).or_default());
            return;
        };
        let Some(entry) = self.find(id) else {
            book(self.strangers.entry(id).or_default());
            return;
        };
        book(&mut entry.tally);
        let as_owed = (amount, currency) == (Some(entry.owed), entry.currency) && key == reference;
        if is_charge && !as_owed && self.remarks.len() < REMARKED {
            let (amount, currency) = (row.amount.as_deref(), row.currency.as_deref());
            let remark = format!(
                "{charge_id} is of {} {} under the key {key}",
                amount.unwrap_or("no amount"),
                currency.unwrap_or_default()
            );
            self.remarks.entry(id).or_default().push(remark);
        }
    }

    /// The payments, ours or not, whose charges must be looked at again.
    pub(super) fn suspects(&self) -> Vec<Uuid> {
        let ours = self.entries.iter().filter(|entry| !self.is_fine(entry)).map(|entry| entry.id);
        let strangers = self.strangers.iter().filter(|(_, tally)| **tally != Tally::default());
        ours.chain(strangers.map(|(id, _)| *id)).collect()
    }

    /// References of the form of our ids for which no payment was there so far.
    pub(super) fn strangers(&self) -> Vec<Uuid> {
        self.strangers.keys().copied().collect()
    }

    /// Passes over a payment that came so late that this run cannot judge it.
    pub(super) fn pass_over(&mut self, newcomer: Uuid) {
        self.strangers.remove(&newcomer);
    }

    /// Takes note of how a payment stands by now.
    pub(super) fn update(&mut self, now: &Standing, rule: Rule) {
        if let Some(amount) = &now.corrected_amount {
            self.corrected.insert(now.id, (Amount::parse(amount), now.corrected_charge.clone()));
        }
        if now.is_unproven {
            self.unproven.insert(now.id);
        }
        let mut stand = Stand::of(&now.status);
        if stand == Stand::Free && rule.allows_to_be_voiding(now.voiding_s) {
            stand = Stand::Voiding;
        }
        let (owed, currency) = (Amount::parse(&now.amount), currency(&now.currency));
        let fresh = Entry {
            id: now.id,
            owner: 0,
            expected: expected(now.id, now.gateway_transaction_id.as_deref(), owed, currency),
            owed: owed.unwrap_or_default(),
            tally: self.strangers.remove(&now.id).unwrap_or_default(),
            currency,
            stand,
            keys: 1,
        };
        match self.entries.binary_search_by(|entry| entry.id.cmp(&now.id)) {
            // It came meanwhile.
            Err(at) => self.entries.insert(at, fresh),
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    *entry = Entry { tally: entry.tally, owner: entry.owner, keys: entry.keys, ..fresh };
                }
            }
        }
    }

    /// Names all that is wrong, and, told apart, what a person ended without proof and the journal refutes. Several charges
    /// are wrong whatever anybody says.
    pub(super) fn judge(&self, charge: &mut Check) -> Unproven {
        charge.checked = self.payments();
        let mut unproven = Unproven::of(self.unproven.len());
        for entry in self.entries.iter().filter(|entry| !self.is_fine(entry)) {
            let corrected = self.corrected.get(&entry.id);
            if self.unproven.contains(&entry.id) && corrected.is_none() && entry.tally.standing <= 1 {
                unproven.refute(PaymentId::from(entry.id), entry.says());
                continue;
            }
            let mut says = corrected.map_or_else(
                || entry.says(),
                |(stands, _)| {
                    let Tally { net, standing, .. } = entry.tally;
                    let stands = stands.unwrap_or_default();
                    format!("was corrected to {stands}, but {standing} charges stand, {net} together")
                },
            );
            for remark in self.remarks.get(&entry.id).into_iter().flatten() {
                says = format!("{says}; {remark}");
            }
            charge.blame(PaymentId::from(entry.id), says);
        }
        let strangers = self.strangers.iter().map(|(id, tally)| (PaymentId::from(*id).to_string(), tally));
        let foreign = self.foreign.iter().map(|(reference, tally)| (reference.clone(), tally));
        for (reference, tally) in strangers.chain(foreign).filter(|(_, tally)| **tally != Tally::default()) {
            let Tally { net, standing, .. } = tally;
            charge.checked += 1;
            charge.blame(
                reference,
                format!("is no payment of ours, but the gateway took {net} by {standing} charges"),
            );
        }
        unproven
    }
}

impl Tally {
    fn book(&mut self, is_charge: bool, amount: Amount, print: u64) {
        if is_charge {
            self.standing += 1;
            self.net = self.net.plus(amount);
            self.print = self.print.wrapping_add(print);
        } else {
            self.standing -= 1;
            self.net = self.net.minus(amount);
            self.print = self.print.wrapping_sub(print);
        }
    }
}

impl Entry {
    fn is_fine(&self) -> bool {
        match self.stand {
            Stand::UnderWay => true,
            Stand::Charged => self.tally.standing == 1 && self.tally.print == self.expected,
            Stand::Free => self.tally == Tally::default(),
            Stand::Voiding => self.tally == Tally::default() || self.tally.standing > 0,
        }
    }

    fn says(&self) -> String {
        let Tally { net, standing, .. } = self.tally;
        let currency = String::from_utf8_lossy(&self.currency);
        let owed = self.owed;
        match (self.stand, standing) {
            (Stand::Charged, 0) => {
                format!("is succeeded with {owed} {currency} owed, but no charge of it stands")
            }
            (Stand::Charged, 1) => format!(
                "is succeeded with {owed} {currency} owed, but the charge that stands is another one or of something \
                 else: the gateway took {net}"
            ),
            (Stand::Charged, many) => {
                format!("is succeeded with {owed} {currency} owed, but {many} charges stand, {net} together")
            }
            (Stand::Free | Stand::Voiding | Stand::UnderWay, many) => {
                format!("ended without a charge, but {many} stand at the gateway, {net} together")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_payments_fit() {
        assert!(std::mem::size_of::<Entry>() <= 72, "{} bytes each", std::mem::size_of::<Entry>());
    }

    #[test]
    fn a_charge_undone_twice_does_not_stand_for_another() {
        let (first, second) = (hash("first"), hash("second"));
        let mut tally = Tally::default();
        for (is_charge, print) in [(true, first), (true, second), (false, first), (false, first)] {
            tally.book(is_charge, Amount::default(), print);
        }
        assert_eq!(tally.standing, 0);
        assert_ne!(tally, Tally::default());
    }
}

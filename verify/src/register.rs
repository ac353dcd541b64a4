//! Charge: every payment in a few bytes, so that a million fit, and what the gateway took for each.
//!
//! A payment that succeeded has exactly one charge that stands, of what is owed, under its own key, and it is
//! the one that the payment names. A payment that ended otherwise has none, and no charge stands that belongs
//! to no payment. Charges are added up as fingerprints, and a void subtracts its charge's. What is left must
//! be the fingerprint of the one charge that is expected, or nothing. For a payment that was corrected, it
//! must be what the last correction says. A payment that a person ended without proof, and that the journal
//! refutes, is counted separately.
//!
//! The owner of a charge follows from its reference. Where that is no payment of ours, it follows from the
//! key: the payment that adopted what stands there. A charge that none adopted, and that a person was told
//! of, is a forgotten payment's, and no violation.

use std::collections::{HashMap, HashSet};

use domain::ids::{GatewayName, PaymentId};
use uuid::Uuid;

use super::amount::{Amount, Currency, currency};
use super::journal::Row;
use super::liveness::Rule;
use super::ours::{CorrectionRow, PaymentRow, Standing};
use super::past::Orphan;
use super::report::{Check, Unproven};
use super::stand::Stand;
use super::tally::{Tally, fingerprint, hash, key_of, key_print};

/// The number of payments whose remarks about unexpected charges are kept; remarks only explain.
const REMARKED: usize = 1_000;

/// One payment of ours.
#[derive(Debug)]
struct Entry {
    id: Uuid,
    /// The hash of merchant and customer.
    owner: u64,
    /// The fingerprint of the charge that must be there.
    expected: u64,
    owed: Amount,
    tally: Tally,
    currency: Currency,
    stand: Stand,
    keys: u8,
    /// A short hash of its key at the gateway, for which there is room. Only remarks depend on it.
    key_print: u16,
}

/// All payments, and the gateway's charges beside them.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// All payments, in the order of their ids.
    entries: Vec<Entry>,
    /// Charges under references in the form of our ids, of no payment of ours or of one that came meanwhile.
    strangers: HashMap<Uuid, Tally>,
    /// Charges under other references.
    foreign: HashMap<String, Tally>,
    /// The charges of forgotten payments that our books know, by gateway and key.
    orphans: HashMap<String, Orphan>,
    /// The charges of forgotten payments that none adopted, by gateway and key.
    orphaned: HashMap<String, Tally>,
    remarks: HashMap<Uuid, Vec<String>>,
    /// The few payments that were corrected: what stands at the gateway after all, and by which charge.
    corrected: HashMap<Uuid, (Option<Amount>, Option<String>)>,
    /// Where and under which key the corrected payments are charged.
    corrected_places: HashMap<Uuid, (String, String)>,
    /// The few payments that a person ended without proof.
    unproven: HashSet<Uuid>,
    in_flight: u64,
}

/// What the idempotency check learns about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyed {
    /// The payment belongs to that merchant and customer.
    Fits,
    /// The payment belongs to others.
    OfAnother,
    /// The payment was not there when the payments were read.
    Unknown,
}

impl Register {
    /// Takes up the next payment. They come in the order of their ids.
    pub(super) fn add(&mut self, row: &PaymentRow) {
        let (owed, currency) = (Amount::parse(&row.amount), currency(&row.currency));
        let stand = Stand::of(&row.status, row.from_balance);
        let key = key_of(row.id, row.gateway_key.as_deref());
        let charge_id = row.gateway_transaction_id.as_deref().unwrap_or_default();
        self.in_flight += u64::from(stand == Stand::UnderWay && row.held_reason.is_none());
        self.entries.push(Entry {
            id: row.id,
            owner: hash((row.merchant_id, &row.customer_id)),
            expected: fingerprint(&row.gateway, (charge_id, &key), owed, currency),
            owed: owed.unwrap_or_default(),
            tally: Tally::default(),
            currency,
            stand,
            keys: 0,
            key_print: key_print(&key),
        });
        if self.corrected.contains_key(&row.id) {
            self.corrected_places.insert(row.id, (row.gateway.clone(), key.into_owned()));
        }
    }

    /// Takes note of a page's payments that people corrected, in that order, or ended without proof.
    pub(super) fn learn(&mut self, corrections: &[CorrectionRow], unproven: &[Uuid]) {
        let of = |it: &CorrectionRow| (it.payment_id, (Amount::parse(&it.amount), it.charge_id.clone()));
        self.corrected.extend(corrections.iter().map(of));
        self.unproven.extend(unproven);
    }

    /// Takes note of the known charges of forgotten payments. An adopted charge is the adopter's.
    pub(super) fn learn_orphans(&mut self, orphans: Vec<Orphan>) {
        for orphan in orphans.into_iter().filter(Orphan::is_explained) {
            let named = orphan.reference.as_deref().and_then(|it| it.parse::<PaymentId>().ok());
            let strange = named.and_then(|named| self.strangers.remove(&named.uuid()));
            let known = self.orphaned.remove(&orphan.place);
            for tally in [strange, known].into_iter().flatten() {
                self.tally_of(orphan.owner(), &orphan.place).add(tally);
            }
            self.orphans.insert(orphan.place.clone(), orphan);
        }
    }

    /// The tally of a payment, or of a key at a gateway without an owner.
    fn tally_of(&mut self, owner: Option<Uuid>, place: &str) -> &mut Tally {
        let Some(id) = owner else { return self.orphaned.entry(place.to_owned()).or_default() };
        let at = self.entries.binary_search_by(|entry| entry.id.cmp(&id)).ok();
        match at.and_then(|at| self.entries.get_mut(at)) {
            Some(entry) => &mut entry.tally,
            // The payment came meanwhile.
            None => self.strangers.entry(id).or_default(),
        }
    }

    /// How many charges of forgotten payments stand that none adopted.
    pub(super) fn orphans(&self) -> u64 {
        self.orphaned.values().filter(|tally| **tally != Tally::default()).count() as u64
    }

    fn is_fine(&self, entry: &Entry) -> bool {
        let Some((stands, charge_id)) = self.corrected.get(&entry.id) else { return entry.is_fine() };
        let tally = entry.tally;
        // A partial refund subtracts another fingerprint than that of the charge.
        let place = self.corrected_places.get(&entry.id);
        let (gateway, key) = place.map_or(("", ""), |(gateway, key)| (gateway, key));
        let charge_id = charge_id.as_deref().unwrap_or_default();
        let print = fingerprint(gateway, (charge_id, key), *stands, entry.currency);
        *stands == Some(tally.net) && tally.standing <= 1 && (tally.standing < 1 || tally.print == print)
    }

    /// How many payments there are.
    pub(super) fn payments(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many payments the machine still works on.
    pub(super) fn in_flight(&self) -> u64 {
        let voiding = self.entries.iter().filter(|entry| entry.stand == Stand::Voiding);
        self.in_flight + voiding.count() as u64
    }

    /// How many charges stand at the gateway.
    pub(super) fn charges(&self) -> u64 {
        let ours = self.entries.iter().map(|entry| entry.tally);
        let strange = self.strangers.values().chain(self.foreign.values()).chain(self.orphaned.values());
        let all = ours.chain(strange.copied());
        all.map(|tally| u64::try_from(tally.standing).unwrap_or(0)).sum()
    }

    /// Counts an idempotency key of a payment, and answers whose the payment is.
    pub(super) fn count_key(&mut self, payment: Uuid, merchant: Uuid, customer: &str) -> Keyed {
        let Some(entry) = self.find(payment) else { return Keyed::Unknown };
        entry.keys = entry.keys.saturating_add(1);
        if entry.owner == hash((merchant, customer)) { Keyed::Fits } else { Keyed::OfAnother }
    }

    /// The payments that have not exactly one idempotency key, and how many each has.
    pub(super) fn miskeyed(&self) -> impl Iterator<Item = (Uuid, u8)> {
        self.entries.iter().filter(|entry| entry.keys != 1).map(|entry| (entry.id, entry.keys))
    }

    fn find(&mut self, id: Uuid) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by(|entry| entry.id.cmp(&id)).ok()?;
        self.entries.get_mut(at)
    }

    /// Books one row of a gateway's journal, if it moved money.
    pub(super) fn book(&mut self, gateway: &GatewayName, row: &Row<'_>) {
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
        let print = fingerprint(gateway.as_str(), (charge_id, key), amount, currency);
        let book = |tally: &mut Tally| tally.book(is_charge, amount.unwrap_or_default(), print);
        let named = reference.parse::<PaymentId>().ok().map(PaymentId::uuid);
        if named.is_none_or(|id| self.find(id).is_none()) {
            let place = gateway.key_subject(key);
            if let Some(owner) = self.orphans.get(&place).map(Orphan::owner) {
                book(self.tally_of(owner, &place));
                return;
            }
        }
        let Some(id) = named else {
            book(self.foreign.entry(reference.to_owned()).or_default());
            return;
        };
        let Some(entry) = self.find(id) else {
            book(self.strangers.entry(id).or_default());
            return;
        };
        book(&mut entry.tally);
        let as_owed =
            (amount, currency, key_print(key)) == (Some(entry.owed), entry.currency, entry.key_print);
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

    /// Passes over a payment that came too late for this run to judge it.
    pub(super) fn pass_over(&mut self, newcomer: Uuid) {
        self.strangers.remove(&newcomer);
    }

    /// Takes note of how a payment stands by now.
    pub(super) fn update(&mut self, now: &Standing, rule: Rule) {
        if let Some(amount) = &now.corrected_amount {
            self.corrected.insert(now.id, (Amount::parse(amount), now.corrected_charge.clone()));
            let key = key_of(now.id, now.gateway_key.as_deref()).into_owned();
            self.corrected_places.insert(now.id, (now.gateway.clone(), key));
        }
        if now.is_unproven {
            self.unproven.insert(now.id);
        }
        let mut stand = Stand::of(&now.status, now.from_balance);
        if stand == Stand::Free && rule.allows_to_be_voiding(now.voiding_s) {
            stand = Stand::Voiding;
        }
        let (owed, currency) = (Amount::parse(&now.amount), currency(&now.currency));
        let key = key_of(now.id, now.gateway_key.as_deref());
        let charge_id = now.gateway_transaction_id.as_deref().unwrap_or_default();
        let fresh = Entry {
            id: now.id,
            owner: 0,
            expected: fingerprint(&now.gateway, (charge_id, &key), owed, currency),
            owed: owed.unwrap_or_default(),
            tally: self.strangers.remove(&now.id).unwrap_or_default(),
            currency,
            stand,
            keys: 1,
            key_print: key_print(&key),
        };
        match self.entries.binary_search_by(|entry| entry.id.cmp(&now.id)) {
            // The payment came meanwhile.
            Err(at) => self.entries.insert(at, fresh),
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    *entry = Entry { tally: entry.tally, owner: entry.owner, keys: entry.keys, ..fresh };
                }
            }
        }
    }

    /// Names all that is wrong. What a person ended without proof, and the journal refutes, is counted
    /// separately; several charges are wrong even then.
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

impl Entry {
    fn is_fine(&self) -> bool {
        match self.stand {
            Stand::UnderWay => true,
            Stand::Unknown => false,
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
            (Stand::Unknown, _) => "is in a status that this program does not know".to_owned(),
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
}

//! What a client may ask for. Invalid requests store nothing, so the corrected one may use the same key.
//!
//! Reading comes first, and the rules after it. The rules change, and are for new payments. A request that
//! was recorded under earlier rules can still be read, and be told from another request.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::http::{HeaderMap, HeaderName};
use domain::idempotency::{Key, UncheckedRequest};
use domain::ids::AccountId;
use domain::money::{self, Currency, InvalidMoney, Money};
use domain::request::PaymentRequest;
use rust_decimal::Decimal;

use crate::body::{self, Fields};
use crate::card_number::contains_card_number;
use crate::clean::unclean;
use crate::fault::{Fault, Kind};
use crate::problem::Problem;

/// The most bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

const METADATA_MAX: usize = 50;
const METADATA_NAME_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What could be read of a request. A field with a fault is missing here.
#[derive(Default)]
struct Said<'a> {
    amount: Option<Decimal>,
    currency: Option<&'a str>,
    customer_id: Option<&'a str>,
    payment_method: Option<&'a str>,
    description: Option<&'a str>,
    reason: Option<&'a str>,
    metadata: Option<&'a BTreeMap<String, String>>,
}

/// Reads the body of `POST /v1/payments`. It refuses only what no rules ever let pass: a body of another
/// form, an amount that is no number, and U+0000, which Postgres does not take. A body that is refused is
/// held to the rules too, as far as it can be read, so that the client hears of all faults at once.
pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<UncheckedRequest, Problem> {
    let mut fields = Fields::read(headers, body)?;
    let amount = fields.needed("amount", amount);
    let currency = fields.text("currency");
    let customer_id = fields.text("customer_id");
    let payment_method = fields.text("payment_method");
    let description = fields.optional_text("description");
    let metadata = fields.texts("metadata");
    let faults = fields.faults();
    if !faults.is_empty() {
        let said = Said {
            amount,
            currency: currency.as_deref(),
            customer_id: customer_id.as_deref(),
            payment_method: payment_method.as_deref(),
            description: description.as_deref(),
            reason: None,
            metadata: Some(&metadata),
        };
        let (_, broken) = rules(&said);
        return Err(Problem::InvalidRequest(faults).and(broken));
    }
    let (Some(amount), Some(currency), Some(customer_id), Some(payment_method)) =
        (amount, currency, customer_id, payment_method)
    else {
        // A field that is missing is a fault.
        return Err(Problem::Internal);
    };
    Ok(UncheckedRequest { amount, currency, customer_id, payment_method, description, metadata })
}

/// Checks the request against the rules for a new payment, and answers the money that it owes.
pub(crate) fn check(request: &UncheckedRequest) -> Result<Money, Problem> {
    let (money, faults) = rules(&Said {
        amount: Some(request.amount),
        currency: Some(&request.currency),
        customer_id: Some(&request.customer_id),
        payment_method: Some(&request.payment_method),
        description: request.description.as_deref(),
        reason: None,
        metadata: Some(&request.metadata),
    });
    Problem::unless(faults)?;
    // Without money there is a fault.
    money.ok_or(Problem::Internal)
}

/// Each rule that the texts of a request for a refund break.
pub(crate) fn broken_by_refund(reason: Option<&str>, metadata: &BTreeMap<String, String>) -> Vec<Fault> {
    rules(&Said { reason, metadata: Some(metadata), ..Said::default() }).1
}

/// The money that is owed, and each rule for new payments that the request breaks.
fn rules(said: &Said<'_>) -> (Option<Money>, Vec<Fault>) {
    let mut faults = Vec::new();
    let money = owed(said, &mut faults);
    if said.metadata.is_some_and(|metadata| metadata.len() > METADATA_MAX) {
        let detail = format!("metadata has more than {METADATA_MAX} entries");
        faults.push(Fault::field(&["metadata"], Kind::Invalid, detail));
    }
    for text in texts(said) {
        let detail = [wrong_length(&text), wrong_characters(&text)].into_iter().flatten().next();
        faults.extend(
            detail.map(|it| Fault::field(&text.path, Kind::Invalid, format!("{} {it}", text.field()))),
        );
    }
    (money, faults)
}

/// The money, by the rules for its amount and its currency.
fn owed(said: &Said<'_>, faults: &mut Vec<Fault>) -> Option<Money> {
    let mut noted = |field: &str, why: InvalidMoney| faults.push(Fault::field(&[field], Kind::Invalid, why));
    let in_range = said.amount.map(money::in_range);
    if let Some(Err(why)) = &in_range {
        noted("amount", why.clone());
    }
    let currency = said.currency.map(|code| code.parse().and_then(Currency::for_new_payment));
    if let Some(Err(why)) = &currency {
        noted("currency", why.clone());
    }
    let (Some(Ok(amount)), Some(Ok(currency))) = (in_range, currency) else { return None };
    Money::new(amount, currency).map_err(|why| noted("amount", why)).ok()
}

/// The request after [`check`], with the money that it found.
pub(crate) fn checked(request: UncheckedRequest, money: Money) -> PaymentRequest {
    PaymentRequest {
        money,
        customer_id: request.customer_id,
        payment_method: request.payment_method,
        description: request.description,
        metadata: request.metadata,
    }
}

/// A text that is recorded.
struct Text<'a> {
    /// The field, and the name within it where the field is an object.
    path: Vec<&'a str>,
    text: &'a str,
    lengths: RangeInclusive<usize>,
}

impl Text<'_> {
    fn field(&self) -> &str {
        self.path.first().copied().unwrap_or_default()
    }
}

/// The texts that are recorded, each with its permitted numbers of characters.
fn texts<'a>(said: &Said<'a>) -> impl Iterator<Item = Text<'a>> {
    let metadata = said.metadata.into_iter().flatten().flat_map(|(name, value)| {
        let entry = |text, lengths| Text { path: vec!["metadata", name], text, lengths };
        [entry(name.as_str(), 1..=METADATA_NAME_MAX), entry(value.as_str(), 0..=METADATA_VALUE_MAX)]
    });
    [
        ("customer_id", said.customer_id, 1..=255),
        ("payment_method", said.payment_method, 1..=255),
        ("description", said.description, 0..=1000),
        ("reason", said.reason, 0..=1000),
    ]
    .into_iter()
    .filter_map(|(field, text, lengths)| Some(Text { path: vec![field], text: text?, lengths }))
    .chain(metadata)
}

fn wrong_length(Text { text, lengths, .. }: &Text<'_>) -> Option<String> {
    let length = text.chars().count();
    let (min, max) = (lengths.start(), lengths.end());
    (!lengths.contains(&length)).then(|| format!("must have {min} to {max} characters, it has {length}"))
}

fn wrong_characters(it: &Text<'_>) -> Option<String> {
    let field = it.field();
    // A customer's id may be any number of the merchant's own.
    if field != "customer_id" && contains_card_number(it.text) {
        return Some("contains a card number; send a token instead".to_owned());
    }
    if field == "payment_method" && it.text.starts_with("acc_") && it.text.parse::<AccountId>().is_err() {
        return Some(
            "begins with acc_, and is not the id of an account: acc_ and 32 lower-case hex digits".to_owned(),
        );
    }
    if matches!(field, "customer_id" | "payment_method") { unclean(it.text) } else { None }
}

/// The client's idempotency key. Exactly one must be sent.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Key, Problem> {
    let fault = |kind, why: &dyn ToString| Fault::header("Idempotency-Key", kind, why.to_string()).into();
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Problem::KeyMissing),
        (Some(value), None) => Key::parse(value.as_bytes()).map_err(|why| fault(Kind::Invalid, &why)),
        (Some(_), Some(_)) => Err(fault(Kind::Repeated, &"send one Idempotency-Key, not several")),
    }
}

/// The amount that a JSON string or number says. Its digits are read as the client wrote them, because a
/// float would not be exact.
pub(crate) fn amount(raw: &str) -> Result<Decimal, (Kind, String)> {
    let digits = match raw.as_bytes().first() {
        Some(b'"') => body::text("amount", raw)?,
        Some(b'-' | b'0'..=b'9') => raw.to_owned(),
        _ => {
            return Err((
                Kind::WrongType,
                format!("{}; it is {}", InvalidMoney::NotANumber, body::kind(raw)),
            ));
        }
    };
    money::decimal(&digits).map_err(|why| (Kind::Invalid, why.to_string()))
}

#[cfg(test)]
mod tests;

//! Acknowledged: compares what clients were told, by their own history, with what is recorded.
//!
//! A history is a file of JSON lines: first `{"history":1,"merchant_id":"mer_…"}` (null where its clients
//! are all merchants), then one line for each HTTP exchange. It must be complete: a request that is not in it
//! counts as unexpected.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use domain::ids::{MerchantId, PaymentId};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::amount::{Amount, Currency, currency};
use super::idempotency::KeyRow;
use super::ours::{Standing, again};
use super::report::{Acknowledged, Check};

const PAGE: usize = 1_000;

#[derive(Debug, Deserialize)]
struct Heading {
    history: u32,
    merchant_id: Option<MerchantId>,
}

/// One request and its answer. Further fields of the line are ignored.
#[derive(Debug, Deserialize)]
struct Exchange {
    customer_id: String,
    key: String,
    amount: String,
    currency: String,
    payment_method: String,
    /// The status of the answer. None where no answer came.
    status: Option<u16>,
    payment_id: Option<PaymentId>,
    body_sha256: Option<String>,
}

/// Customer and key, as a hash that no two such pairs share.
type Request = [u8; 16];

fn digest(parts: [&str; 2]) -> Request {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut short = Request::default();
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

/// A client's request, and the first answer to it.
#[derive(Debug)]
struct Promise {
    payment_id: Uuid,
    body: Option<Request>,
    amount: Option<Amount>,
    currency: Currency,
    payment_method: Request,
    customer: Request,
}

#[derive(Debug, Default)]
struct Sent {
    promise: Option<Promise>,
    is_recorded: bool,
    is_duplicated: bool,
}

/// The histories of some clients, request by request.
#[derive(Debug)]
pub(super) struct Clients {
    merchant: Option<MerchantId>,
    sent: HashMap<Request, Sent>,
    check: Check,
    counts: Acknowledged,
}

impl Clients {
    /// Reads the history in this file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(BufReader::new(file))
            .with_context(|| format!("{} is no history of clients", path.display()))
    }

    fn parse(text: impl BufRead) -> Result<Self> {
        let mut lines = text.lines();
        let heading = lines.next().context("it is empty")??;
        let wanted = r#"line 1 must be {"history":1,"merchant_id":"mer_…" or null}"#;
        let heading: Heading = serde_json::from_str(&heading).context(wanted)?;
        ensure!(heading.history == 1, wanted);
        let mut clients = Self {
            merchant: heading.merchant_id,
            sent: HashMap::new(),
            check: Check::new("acknowledged"),
            counts: Acknowledged::default(),
        };
        for (line, number) in lines.zip(2..) {
            let line = line?;
            let exchange = serde_json::from_str(&line).with_context(|| format!("line {number}: {line}"))?;
            clients.add(&exchange);
        }
        Ok(clients)
    }

    fn add(&mut self, exchange: &Exchange) {
        let sent = self.sent.entry(digest([&exchange.customer_id, &exchange.key])).or_default();
        if !exchange.status.is_some_and(|status| (200..300).contains(&status)) {
            return;
        }
        let name = format!("{:?} of {:?}", exchange.key, exchange.customer_id);
        let Some(payment_id) = exchange.payment_id else {
            self.check.blame(name, "was acknowledged without the id of a payment");
            return;
        };
        let body = exchange.body_sha256.as_deref().map(|body| digest(["body", body]));
        let Some(promise) = &sent.promise else {
            sent.promise = Some(Promise {
                payment_id: payment_id.uuid(),
                body,
                amount: Amount::parse(&exchange.amount),
                currency: currency(&exchange.currency),
                payment_method: digest(["method", &exchange.payment_method]),
                customer: digest(["customer", &exchange.customer_id]),
            });
            return;
        };
        if promise.payment_id != payment_id.uuid() {
            let first = PaymentId::from(promise.payment_id);
            self.check.blame(name, format!("was acknowledged as {first}, and again as {payment_id}"));
            sent.is_duplicated = true;
        } else if promise.body != body {
            self.check
                .blame(name, format!("was answered twice for {payment_id}, and not with the same bytes"));
        }
    }

    /// Takes note of a key in our books, and blames one that no client sent, or that made another payment
    /// than the client was told.
    pub(super) fn recorded(&mut self, row: &KeyRow) {
        let is_theirs = self.merchant.is_none_or(|merchant| merchant.uuid() == row.merchant_id);
        if !is_theirs || row.operation != "create_payment" {
            return;
        }
        let ids = || {
            row.payment_ids.iter().map(|id| PaymentId::from(*id).to_string()).collect::<Vec<_>>().join(", ")
        };
        let name = format!("{:?} of {:?}", row.key, row.customer_id);
        let Some(sent) = self.sent.get_mut(&digest([&row.customer_id, &row.key])) else {
            self.counts.unexpected += 1;
            self.check.blame(name, format!("is recorded as {}, but no client sent it", ids()));
            return;
        };
        sent.is_recorded = true;
        let promised = sent.promise.as_ref().map(|promise| promise.payment_id);
        let is_other =
            promised.is_some_and(|promised| self.merchant.is_some() && row.payment_ids != [promised]);
        if is_other || row.payment_ids.len() > 1 {
            let promised = promised.map(|id| format!("acknowledged as {}, but ", PaymentId::from(id)));
            self.check.blame(name, format!("is {}recorded as {}", promised.unwrap_or_default(), ids()));
            sent.is_duplicated = true;
        }
    }

    /// Looks up every payment that clients were told about, and blames those that are lost or differ.
    pub(super) async fn look_up(&mut self, pool: &PgPool) -> Result<()> {
        let promises: Vec<&Sent> = self.sent.values().filter(|sent| sent.promise.is_some()).collect();
        for page in promises.chunks(PAGE) {
            let ids: Vec<Uuid> =
                page.iter().filter_map(|sent| Some(sent.promise.as_ref()?.payment_id)).collect();
            let found: HashMap<Uuid, Standing> =
                again(pool, &ids).await?.into_iter().map(|payment| (payment.id, payment)).collect();
            for sent in page {
                let Some(promise) = &sent.promise else { continue };
                let id = PaymentId::from(promise.payment_id);
                let payment = found.get(&promise.payment_id).filter(|payment| {
                    self.merchant.is_none_or(|merchant| merchant.uuid() == payment.merchant_id)
                });
                let Some(payment) = payment else {
                    self.counts.lost += 1;
                    self.check.blame(id, "was acknowledged, but this merchant has no such payment");
                    continue;
                };
                let differing = promise.differing(payment);
                if !differing.is_empty() {
                    let names = differing.join(", ");
                    self.check
                        .blame(id, format!("is not what was asked for when it was acknowledged: {names}"));
                }
                if !sent.is_recorded {
                    self.check.blame(id, "was acknowledged, but the key that was sent is not recorded");
                }
            }
        }
        Ok(())
    }

    /// The check and its counts, once everything has been compared.
    pub(super) fn conclude(self) -> (Check, Acknowledged) {
        let Self { sent, mut check, mut counts, .. } = self;
        let count = |is: fn(&Sent) -> bool| sent.values().filter(|sent| is(sent)).count() as u64;
        counts.attempted = sent.len() as u64;
        counts.acknowledged = count(|sent| sent.promise.is_some());
        counts.unknown = counts.attempted - counts.acknowledged;
        counts.duplicated = count(|sent| sent.is_duplicated);
        check.checked = counts.attempted;
        (check, counts)
    }
}

impl Promise {
    fn differing(&self, payment: &Standing) -> Vec<&'static str> {
        [
            ("amount", self.amount.is_none() || self.amount != Amount::parse(&payment.amount)),
            ("currency", self.currency != currency(&payment.currency)),
            ("payment_method", self.payment_method != digest(["method", &payment.payment_method])),
            ("customer_id", self.customer != digest(["customer", &payment.customer_id])),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_history_is_refused_by_its_line() {
        let heading = r#"{"history":1,"merchant_id":null}"#;
        for (text, says) in [
            (String::new(), "empty"),
            ("{}".to_owned(), "line 1"),
            (heading.replace('1', "2"), "line 1"),
            (format!("{heading}\n{{}}"), "line 2"),
        ] {
            let error = Clients::parse(text.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        assert!(Clients::parse(heading.as_bytes()).is_ok());
    }
}

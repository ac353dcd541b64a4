//! The gateway's own account of a run: which faults really struck, and which payments were charged wrongly.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::order::Order;

const PAGE: usize = 1_000;
/// How long a page may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(3);

/// The figures that are drawn from the journal.
#[derive(Debug, Default)]
pub(super) struct Journal {
    dropped: u64,
    server_errors: u64,
    not_executed: u64,
    rate_limited: u64,
    lookup_errors: u64,
    /// Payments that were charged in another amount or currency than the client asked for.
    pub(super) charged_wrongly: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Row>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Row {
    seq: i64,
    kind: String,
    op: String,
    http_status: Option<u16>,
    reference: Option<String>,
    amount: Option<Decimal>,
    currency: Option<String>,
}

impl Journal {
    /// Reads the whole journal, page by page.
    pub(super) async fn read(gateway: &str, orders: &HashMap<String, Order>) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let (mut journal, mut after) = (Self::default(), 0);
        loop {
            let url = format!("{gateway}/journal?after={after}&limit={PAGE}");
            let page: Page =
                http.get(url).send().await?.json().await.context("the journal cannot be read")?;
            let last = page.data.last().map_or(after, |row| row.seq);
            ensure!(
                last > after || !page.has_more,
                "the gateway's journal does not move on after row {after}"
            );
            after = last;
            page.data.iter().for_each(|row| journal.take(row, orders));
            if !page.has_more {
                return Ok(journal);
            }
        }
    }

    fn take(&mut self, row: &Row, orders: &HashMap<String, Order>) {
        match (row.kind.as_str(), row.op.as_str(), row.http_status) {
            ("answer", "charge", None) => self.dropped += 1,
            ("answer", "charge", Some(500)) => self.server_errors += 1,
            ("answer", "charge", Some(503)) => self.not_executed += 1,
            ("answer", "charge", Some(429)) => self.rate_limited += 1,
            ("answer", "lookup", Some(500)) => self.lookup_errors += 1,
            ("charge", _, _) => {
                let Some((payment, order)) =
                    row.reference.as_ref().and_then(|payment| orders.get_key_value(payment))
                else {
                    return;
                };
                let asked: Option<Decimal> = order.amount.parse().ok();
                if row.amount != asked || row.currency.as_deref() != Some(order.currency) {
                    self.charged_wrongly.insert(payment.clone());
                }
            }
            _ => {}
        }
    }

    /// Which faults struck, and how often.
    pub(super) fn faults(&self) -> [(&'static str, u64); 6] {
        [
            ("charges without an answer", self.dropped),
            ("charges answered 500", self.server_errors),
            ("charges answered 503", self.not_executed),
            ("charges answered 429", self.rate_limited),
            ("lookups answered 500", self.lookup_errors),
            (
                "payments charged a wrong amount",
                u64::try_from(self.charged_wrongly.len()).unwrap_or(u64::MAX),
            ),
        ]
    }
}

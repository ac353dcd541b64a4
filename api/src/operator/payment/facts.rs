//! The facts in a payment's row, in the order in which a person asks for them.

use domain::ids::MerchantId;
use shared::operations::operator::PaymentRow;

use crate::operator::payments::encoded;
use crate::operator::show::{Time, pretty};

/// One fact: its label, its value, and where it links to.
pub(in crate::operator) struct Fact {
    pub(in crate::operator) label: &'static str,
    pub(in crate::operator) value: String,
    pub(in crate::operator) href: Option<String>,
}

/// The facts of this row. One without a value is left out.
pub(in crate::operator) fn of(row: &PaymentRow, merchant_name: &str) -> Vec<Fact> {
    let time = |at| Time::from(at).to_string();
    let merchant = MerchantId::from(row.merchant_id);
    let mut facts = vec![
        Fact::linked("Merchant", merchant_name, format!("/ops/payments?merchant={merchant}")),
        Fact::linked(
            "Customer",
            &row.customer_id,
            format!("/ops/payments?merchant={merchant}&customer={}", encoded(&row.customer_id)),
        ),
        Fact::plain("Payment method", row.payment_method.clone()),
        Fact::plain("Gateway", row.gateway.clone()),
        Fact::plain("Created (UTC)", time(row.created_at)),
    ];
    let failure = row.failure_code.as_ref().map(|code| match &row.failure_message {
        Some(message) => format!("{code}: {message}"),
        None => code.clone(),
    });
    let has_metadata = row.metadata.as_object().is_some_and(|object| !object.is_empty());
    let sometimes = [
        ("Ended (UTC)", row.terminal_at.map(time)),
        ("Due (UTC)", row.due_at.map(time)),
        ("Held because", row.held_reason.clone()),
        ("Failure", failure),
        ("Gateway's charge", row.gateway_transaction_id.clone()),
        ("In doubt since (UTC)", row.doubt_since.map(time)),
        ("Void started (UTC)", row.void_started_at.map(time)),
        ("Attempts", Some(row.attempt_count.to_string())),
        ("Retries spent", Some(row.retries_spent.to_string())),
        ("Version", Some(row.version.to_string())),
        ("Correlation id", Some(row.correlation_id.clone())),
        ("Description", row.description.clone()),
        ("Metadata", has_metadata.then(|| pretty(&row.metadata))),
    ];
    facts.extend(
        sometimes.into_iter().filter_map(|(label, value)| value.map(|value| Fact::plain(label, value))),
    );
    facts
}

impl Fact {
    pub(in crate::operator) const fn plain(label: &'static str, value: String) -> Self {
        Self { label, value, href: None }
    }

    pub(in crate::operator) fn linked(label: &'static str, value: &str, href: String) -> Self {
        Self { label, value: value.to_owned(), href: Some(href) }
    }
}

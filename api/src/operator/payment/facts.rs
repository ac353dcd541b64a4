//! The facts in a payment's row, in the order in which a person asks for them.

use domain::ids::MerchantId;
use shared::operations::operator::PaymentRow;

use crate::operator::payments::encoded;
use crate::operator::show::{Time, pretty};

/// One fact: its label, its value, and where it links to.
pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) href: Option<String>,
}

/// The facts of this row. One without a value is left out.
pub(super) fn of(row: &PaymentRow, merchant_name: &str) -> Vec<Fact> {
    let time = |at| Time::from(at).to_string();
    let merchant = MerchantId::from(row.merchant_id);
    let mut facts = vec![
        linked("Merchant", merchant_name, format!("/ops/payments?merchant={merchant}")),
        linked(
            "Customer",
            &row.customer_id,
            format!("/ops/payments?merchant={merchant}&customer={}", encoded(&row.customer_id)),
        ),
        plain("Payment method", row.payment_method.clone()),
        plain("Gateway", row.gateway.clone()),
        plain("Created (UTC)", time(row.created_at)),
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
    facts.extend(sometimes.into_iter().filter_map(|(label, value)| value.map(|value| plain(label, value))));
    facts
}

const fn plain(label: &'static str, value: String) -> Fact {
    Fact { label, value, href: None }
}

fn linked(label: &'static str, value: &str, href: String) -> Fact {
    Fact { label, value: value.to_owned(), href: Some(href) }
}

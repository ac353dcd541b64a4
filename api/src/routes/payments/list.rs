//! `GET /v1/payments`: the merchant's payments that the query asks for, newest first.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::TimeDelta;
use domain::ids::MerchantId;
use domain::money::{self, Currency};
use domain::status::PaymentStatus;
use serde_json::{Value, json};
use shared::payment::list::{self, Filter};

use super::super::merchant::Merchant;
use super::told_of;
use crate::fault::{Fault, Kind};
use crate::pages::Pages;
use crate::problem::Problem;
use crate::query::Params;
use crate::{App, render};

const AMOUNT: &str = "a decimal number, such as 12.30";

/// The days between which amounts and metadata are looked for. They have no index, since accepting a payment
/// would pay for it.
const RANGE_MAX: TimeDelta = TimeDelta::days(31);

/// Lists the payments of which the query says something, and all if it says nothing.
pub(super) async fn list(
    State(app): State<App>,
    Merchant(merchant): Merchant,
    mut params: Params,
) -> Result<Response, Problem> {
    let mut filter = filter(&mut params);
    let pages = Pages::of(&mut params, named(merchant, &filter));
    params.end()?;
    filter.starting_after = pages.after;
    filter.limit = pages.limit();
    let page = list::list(&app.pool, merchant, &filter).await?;
    told_of(&app, page.payments.iter().map(|payment| payment.updated_at)).await?;
    let shown = page.payments.iter().map(render::payment);
    Ok(Json(pages.view(shown.collect(), page.next)).into_response())
}

/// Reads what narrows the list.
fn filter(params: &mut Params) -> Filter {
    let statuses: Vec<&str> = PaymentStatus::ALL.iter().map(|status| status.as_str()).collect();
    let status = params.word("status", &statuses);
    let is_held = params.flag("held");
    let customer_id = params.text("customer_id");
    let currency = params.parsed("currency", "the code of a currency, such as EUR", |code| {
        code.parse().ok().map(|currency: Currency| currency.code().to_owned())
    });
    let created_after = params.time("created_after");
    let created_before = params.time("created_before");
    let amounts = ["amount", "amount_min", "amount_max"]
        .map(|name| params.parsed(name, AMOUNT, |amount| money::decimal(amount).ok()).map(|it| (name, it)));
    let metadata = params.entries("metadata", "metadata[name]");
    for (name, _) in metadata.iter().filter(|(name, value)| name.contains('\0') || value.contains('\0')) {
        let detail = "metadata contains U+0000";
        params.refuse(Fault::query(&format!("metadata[{name}]"), Kind::Invalid, detail));
    }
    if let (Some(after), Some(before)) = (created_after, created_before)
        && before <= after
    {
        let detail = "created_before must be later than created_after";
        params.refuse(Fault::query("created_before", Kind::Invalid, detail));
    }
    let range = created_before.zip(created_after).map(|(before, after)| before - after);
    if range.is_none_or(|range| range > RANGE_MAX) {
        let of_amounts = amounts.iter().flatten().map(|(name, _)| (*name).to_owned());
        for name in of_amounts.chain(metadata.keys().map(|name| format!("metadata[{name}]"))) {
            let days = RANGE_MAX.num_days();
            let detail = format!("{name} needs created_after and created_before, at most {days} days apart");
            params.refuse(Fault::query(&name, Kind::Invalid, detail));
        }
    }
    let [amount, amount_min, amount_max] = amounts.map(|amount| amount.map(|(_, amount)| amount));
    Filter {
        status: status.and_then(|status| status.parse().ok()),
        is_held,
        customer_id,
        currency,
        created_after,
        created_before,
        amount_min: amount.max(amount_min),
        amount_max: amount.into_iter().chain(amount_max).min(),
        metadata,
        ..Filter::default()
    }
}

/// What tells this list from every other one, for its cursors.
fn named(merchant: MerchantId, filter: &Filter) -> Value {
    json!([
        "payments",
        merchant.to_string(),
        filter.status.map(PaymentStatus::as_str),
        filter.is_held,
        filter.customer_id,
        filter.currency,
        filter.created_after,
        filter.created_before,
        filter.amount_min.map(|amount| amount.normalize().to_string()),
        filter.amount_max.map(|amount| amount.normalize().to_string()),
        filter.metadata,
    ])
}

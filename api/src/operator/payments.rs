//! The list of payments: filtered, newest first, page by page.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::ids::PaymentId;
use domain::status::PaymentStatus;
use serde::Deserialize;
use shared::operations::operator::{self, Filter, Listed};
use sqlx::PgPool;
use uuid::Uuid;

use super::show::{Time, short};
use super::{Failure, rendered};
use crate::render;

/// The most rows of a page.
const ROWS: usize = 50;
const HELD: &str = "held";

/// What the forms send. A field that is empty does not narrow the list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    state: String,
    merchant: String,
    customer: String,
    before: String,
    id: String,
}

#[derive(Template)]
#[template(path = "payments.html")]
struct Page {
    here: &'static str,
    states: Vec<&'static str>,
    rows: Vec<Row>,
    complaint: Option<String>,
    is_filtered: bool,
    is_later_page: bool,
    /// The filter as a query string, for links to other pages of the list.
    query: String,
    older: Option<String>,
    asked: Asked,
}

struct Row {
    id: String,
    short_id: String,
    badge: &'static str,
    why: Option<String>,
    amount: String,
    merchant: String,
    customer: String,
    method: String,
    attempts: i32,
    created_at: Time,
}

/// `GET /ops/payments`: the list. With `id` it leads to that payment.
pub(super) async fn page(
    State(pool): State<PgPool>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    let wanted = asked.id.trim();
    let mut complaint = None;
    if !wanted.is_empty() {
        match payment_id(wanted) {
            Some(id) => return Ok(Redirect::to(&format!("/ops/payments/{id}")).into_response()),
            None => complaint = Some("That is no payment's id: it is pay_ and 32 hex digits.".to_owned()),
        }
    }
    let mut rows = match filter(&pool, &asked).await? {
        Ok(filter) => operator::list(&pool, &filter).await?,
        Err(why) => {
            complaint = Some(why);
            Vec::new()
        }
    };
    let has_more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let older = rows.last().filter(|_| has_more).map(|row| PaymentId::from(row.id).to_string());
    let page = Page {
        here: "payments",
        states: PaymentStatus::ALL.iter().map(|status| status.as_str()).chain([HELD]).collect(),
        rows: rows.into_iter().map(row).collect(),
        complaint,
        is_filtered: ![&asked.state, &asked.merchant, &asked.customer].iter().all(|it| it.is_empty()),
        is_later_page: !asked.before.is_empty(),
        query: asked.query(),
        older,
        asked,
    };
    Ok(rendered(&page)?.into_response())
}

impl Asked {
    fn query(&self) -> String {
        let fields = [("state", &self.state), ("merchant", &self.merchant), ("customer", &self.customer)];
        let set = fields.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
    }
}

/// A value as part of an address.
pub(super) fn encoded(value: &str) -> String {
    askama::filters::urlencode_strict(value).map_or_else(|never| match never {}, |text| text.to_string())
}

/// The filter for the database. The inner error is a message for the person who asks.
async fn filter(pool: &PgPool, asked: &Asked) -> Result<Result<Filter, String>, Failure> {
    if [&asked.merchant, &asked.customer].iter().any(|text| text.contains('\0')) {
        return Ok(Err("No name contains U+0000.".to_owned()));
    }
    let state = match asked.state.as_str() {
        "" => None,
        HELD => Some(operator::State::Held),
        status => match status.parse() {
            Ok(status) => Some(operator::State::Status(status)),
            Err(_) => return Ok(Err(format!("There is no state {status:?}."))),
        },
    };
    let merchant = match asked.merchant.trim() {
        "" => None,
        name_or_id => match operator::find_merchant(pool, name_or_id).await? {
            Some(merchant) => Some(merchant),
            None => return Ok(Err(format!("There is no merchant {name_or_id:?}."))),
        },
    };
    let before = match asked.before.as_str() {
        "" => None,
        id => match id.parse() {
            Ok(id) => Some(id),
            Err(_) => return Ok(Err("There is no such page.".to_owned())),
        },
    };
    let customer = asked.customer.trim();
    Ok(Ok(Filter {
        state,
        merchant,
        customer_id: (!customer.is_empty()).then(|| customer.to_owned()),
        before,
        // One row more than is shown tells whether there are more.
        limit: i64::try_from(ROWS + 1).unwrap_or(i64::MAX),
    }))
}

/// An id as people have it at hand: ours, or the bare UUID of a database row.
fn payment_id(text: &str) -> Option<PaymentId> {
    text.parse().ok().or_else(|| Uuid::try_parse(text).ok().map(PaymentId::from))
}

fn row(it: Listed) -> Row {
    let id = PaymentId::from(it.id).to_string();
    Row {
        short_id: short(&id),
        id,
        badge: badge(&it.status, it.held_reason.as_deref()),
        amount: format!("{} {}", render::amount(&it.amount, &it.currency), it.currency),
        why: it
            .held_reason
            .or_else(|| (it.in_doubt && it.status == "processing").then(|| "in doubt".to_owned())),
        merchant: it.merchant_name,
        customer: it.customer_id,
        method: it.payment_method,
        attempts: it.attempt_count,
        created_at: it.created_at.into(),
    }
}

/// The word for where a payment stands: its status, or `held` where a person must act.
pub(super) fn badge(status: &str, held_reason: Option<&str>) -> &'static str {
    match held_reason {
        Some(_) => HELD,
        None => status.parse().map_or("unknown", PaymentStatus::as_str),
    }
}

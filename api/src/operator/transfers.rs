//! Transfers between accounts: the newest, the holds that are open, and one of them.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::ids::{AccountId, MerchantId, TransferId};
use serde::Deserialize;
use shared::operations::operator::{self, TransferFilter, TransferRow};
use sqlx::PgPool;

use super::payment::Fact;
use super::show::{Time, short};
use super::{Failure, rendered};

/// The most rows of a page. One more is read, which tells whether there are more.
const ROWS: usize = 50;
const ONE_MORE: i64 = 51;
/// More than a group has.
const GROUP: i64 = 1_000;
const PENDING: &str = "pending";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    state: String,
    before: Option<String>,
    /// The end and the id of the last hold of the page before.
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "transfers.html")]
struct ListPage {
    here: &'static str,
    are_holds: bool,
    rows: Vec<TransferView>,
    is_later_page: bool,
    /// The query string of the next page.
    next: Option<String>,
}

/// A transfer as it stands in a list.
pub(super) struct TransferView {
    pub(super) id: String,
    pub(super) short_id: String,
    pub(super) status: String,
    pub(super) amount: String,
    pub(super) merchant: String,
    pub(super) from: String,
    pub(super) short_from: String,
    pub(super) to: String,
    pub(super) short_to: String,
    pub(super) expires_at: Option<Time>,
    pub(super) created_at: Time,
}

impl From<TransferRow> for TransferView {
    fn from(it: TransferRow) -> Self {
        let id = TransferId::from(it.id).to_string();
        let [from, to] = [it.debited, it.credited].map(|account| AccountId::from(account).to_string());
        Self {
            short_id: short(&id),
            id,
            status: it.status,
            amount: format!("{} {}", it.amount, it.currency),
            merchant: it.merchant_name,
            short_from: short(&from),
            from,
            short_to: short(&to),
            to,
            expires_at: it.expires_at.map(Time::from),
            created_at: it.created_at.into(),
        }
    }
}

/// `GET /ops/transfers`: the newest, or with `state=pending` the open holds in the order in which they end.
pub(super) async fn page(
    State(pool): State<PgPool>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    let no_page = || Failure::Unreadable("There is no such page.".to_owned());
    let are_holds = asked.state == PENDING;
    let filter = if are_holds {
        TransferFilter::Pending(asked.after.as_deref().map(place).transpose().map_err(|()| no_page())?)
    } else {
        let before = asked.before.as_deref().map(str::parse).transpose();
        TransferFilter::Before(before.map_err(|_| no_page())?)
    };
    let mut rows = operator::transfers(&pool, filter, ONE_MORE).await?;
    let has_more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let next = rows.last().filter(|_| has_more).map(|row| {
        let id = TransferId::from(row.id);
        match row.expires_at.filter(|_| are_holds) {
            Some(end) => format!("state={PENDING}&after={}_{id}", end.timestamp_micros()),
            None => format!("before={id}"),
        }
    });
    let page = ListPage {
        here: "transfers",
        are_holds,
        rows: rows.into_iter().map(TransferView::from).collect(),
        is_later_page: asked.before.is_some() || asked.after.is_some(),
        next,
    };
    Ok(rendered(&page)?.into_response())
}

/// The place after which a page of holds begins.
fn place(text: &str) -> Result<(DateTime<Utc>, TransferId), ()> {
    let (micros, id) = text.split_once('_').ok_or(())?;
    let end = DateTime::from_timestamp_micros(micros.parse().map_err(|_| ())?).ok_or(())?;
    Ok((end, id.parse().map_err(|_| ())?))
}

#[derive(Template)]
#[template(path = "transfer.html")]
struct OnePage {
    here: &'static str,
    id: String,
    short_id: String,
    amount: String,
    status: String,
    facts: Vec<Fact>,
    /// The others that were asked for with it.
    group: Vec<TransferView>,
}

/// `GET /ops/transfers/{id}`: one transfer, with those that were asked for with it.
pub(super) async fn one(
    State(pool): State<PgPool>,
    id: Result<Path<TransferId>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id.map_err(|_| Failure::NotFound("transfer"))?;
    let found = operator::transfers(&pool, TransferFilter::Of(id), 1).await?.pop();
    let row = found.ok_or(Failure::NotFound("transfer"))?;
    let group = match row.group_id {
        Some(group) => operator::transfers(&pool, TransferFilter::OfGroup(group), GROUP).await?,
        None => Vec::new(),
    };
    let id = id.to_string();
    let page = OnePage {
        here: "transfers",
        short_id: short(&id),
        id,
        amount: format!("{} {}", row.amount, row.currency),
        status: row.status.clone(),
        facts: facts(row),
        group: group.into_iter().map(TransferView::from).collect(),
    };
    Ok(rendered(&page)?.into_response())
}

fn facts(row: TransferRow) -> Vec<Fact> {
    let time = |at: DateTime<Utc>| Time::from(at).to_string();
    let account = |label, id| {
        let id = AccountId::from(id).to_string();
        Fact::linked(label, &id, format!("/ops/accounts/{id}"))
    };
    let merchant = MerchantId::from(row.merchant_id);
    let mut facts = vec![
        account("From", row.debited),
        account("To", row.credited),
        Fact::linked("Merchant", &row.merchant_name, format!("/ops/accounts?merchant={merchant}")),
        Fact::plain("Asked for (UTC)", time(row.created_at)),
    ];
    let sometimes = [
        ("Goes back by itself (UTC)", row.expires_at.map(time)),
        ("Posted", row.posted_amount.map(|amount| format!("{amount} {}", row.currency))),
        ("Ended (UTC)", row.ended_at.map(time)),
    ];
    facts.extend(
        sometimes.into_iter().filter_map(|(label, value)| value.map(|value| Fact::plain(label, value))),
    );
    facts
}

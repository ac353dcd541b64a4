//! Accounts of merchants' customers: the list, and one account with its changes and what it reserves.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::ids::{AccountId, MerchantId, TransferId};
use serde::Deserialize;
use shared::operations::operator::{self, AccountEntry, AccountFilter, AccountRow, TransferFilter};
use sqlx::PgPool;

use super::payment::Fact;
use super::payments::encoded;
use super::show::{Time, short};
use super::transfers::TransferView;
use super::{Failure, rendered};

/// The most rows of a page. One more is read, which tells whether there are more.
const ROWS: usize = 50;
const ONE_MORE: i64 = 51;

/// What the forms send. A field that is empty does not narrow the list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    merchant: String,
    owner: String,
    before: String,
    id: String,
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct ListPage {
    here: &'static str,
    rows: Vec<AccountView>,
    complaint: Option<String>,
    is_filtered: bool,
    is_later_page: bool,
    /// The filter as a query string, for links to other pages of the list.
    query: String,
    older: Option<String>,
    asked: Asked,
}

struct AccountView {
    id: String,
    short_id: String,
    owner: String,
    merchant: String,
    currency: String,
    posted: String,
    pending_out: String,
    available: String,
    is_funding: bool,
    last_at: Option<Time>,
}

/// `GET /ops/accounts`: the list. With `id` it leads to that account or transfer.
pub(super) async fn page(
    State(pool): State<PgPool>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    let mut complaint = None;
    if !asked.id.trim().is_empty() {
        match place(asked.id.trim()) {
            Some(path) => return Ok(Redirect::to(&path).into_response()),
            None => complaint = Some("That is no id: it is acc_ or trf_ and 32 hex digits.".to_owned()),
        }
    }
    let mut rows = match filter(&pool, &asked).await? {
        Ok(filter) => operator::accounts(&pool, &filter).await?,
        Err(why) => {
            complaint = Some(why);
            Vec::new()
        }
    };
    let has_more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let older = rows.last().filter(|_| has_more).map(|row| AccountId::from(row.id).to_string());
    let page = ListPage {
        here: "accounts",
        rows: rows.into_iter().map(AccountView::from).collect(),
        complaint,
        is_filtered: ![&asked.merchant, &asked.owner].iter().all(|it| it.is_empty()),
        is_later_page: !asked.before.is_empty(),
        query: asked.query(),
        older,
        asked,
    };
    Ok(rendered(&page)?.into_response())
}

/// The page of what has this id.
fn place(id: &str) -> Option<String> {
    let account = id.parse::<AccountId>().map(|id| format!("/ops/accounts/{id}"));
    account.ok().or_else(|| id.parse::<TransferId>().ok().map(|id| format!("/ops/transfers/{id}")))
}

impl Asked {
    fn query(&self) -> String {
        let fields = [("merchant", &self.merchant), ("owner", &self.owner)];
        let set = fields.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
    }
}

/// The filter for the database. The inner error is a message for the person who asks.
async fn filter(pool: &PgPool, asked: &Asked) -> Result<Result<AccountFilter, String>, Failure> {
    if [&asked.merchant, &asked.owner].iter().any(|text| text.contains('\0')) {
        return Ok(Err("No name contains U+0000.".to_owned()));
    }
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
    let owner = (!asked.owner.trim().is_empty()).then(|| asked.owner.trim().to_owned());
    Ok(Ok(AccountFilter { merchant, owner, before, limit: ONE_MORE }))
}

impl From<AccountRow> for AccountView {
    fn from(it: AccountRow) -> Self {
        let id = AccountId::from(it.id).to_string();
        Self {
            short_id: short(&id),
            id,
            owner: it.owner,
            merchant: it.merchant_name,
            currency: it.currency,
            posted: it.posted,
            pending_out: it.pending_out,
            available: it.available,
            is_funding: it.allow_negative,
            last_at: it.last_at.map(Time::from),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AskedOfOne {
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct OnePage {
    here: &'static str,
    id: String,
    short_id: String,
    currency: String,
    available: String,
    facts: Vec<Fact>,
    holds: Vec<TransferView>,
    has_more_holds: bool,
    entries: Vec<EntryView>,
    older: Option<i64>,
    is_earlier_page: bool,
}

struct EntryView {
    version: i64,
    transfer: String,
    short_transfer: String,
    code: String,
    /// By how much that changed what was posted, and what is reserved, with a sign.
    posted: String,
    pending: String,
    available: String,
    at: Time,
}

impl From<AccountEntry> for EntryView {
    fn from(it: AccountEntry) -> Self {
        let transfer = TransferId::from(it.transfer_id).to_string();
        let is_debit = it.side == "debit";
        Self {
            version: it.version,
            short_transfer: short(&transfer),
            transfer,
            code: it.code,
            posted: signed(&it.posted, is_debit),
            pending: format!("{} {}", signed(&it.pending, false), if is_debit { "out" } else { "in" }),
            available: it.available,
            at: it.at.into(),
        }
    }
}

/// A change with its sign. What is taken away is written as less.
fn signed(amount: &str, is_less: bool) -> String {
    match (amount.strip_prefix('-'), is_less) {
        (None, false) => format!("+{amount}"),
        (None, true) => format!("-{amount}"),
        (Some(less), true) => format!("+{less}"),
        (Some(_), false) => amount.to_owned(),
    }
}

/// `GET /ops/accounts/{id}`: one account, with a page of its entries.
pub(super) async fn one(
    State(pool): State<PgPool>,
    id: Result<Path<AccountId>, PathRejection>,
    query: Result<Query<AskedOfOne>, QueryRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id.map_err(|_| Failure::NotFound("account"))?;
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    let row = operator::account(&pool, id).await?.ok_or(Failure::NotFound("account"))?;
    let mut holds = operator::transfers(&pool, TransferFilter::ReservedBy(id), ONE_MORE).await?;
    let mut entries = operator::account_entries(&pool, id, asked.before, ONE_MORE).await?;
    let (has_more_holds, has_more) = (holds.len() > ROWS, entries.len() > ROWS);
    holds.truncate(ROWS);
    entries.truncate(ROWS);
    let id = id.to_string();
    let page = OnePage {
        here: "accounts",
        short_id: short(&id),
        id,
        currency: row.currency.clone(),
        available: row.available.clone(),
        facts: facts(row),
        holds: holds.into_iter().map(TransferView::from).collect(),
        has_more_holds,
        older: entries.last().filter(|_| has_more).map(|entry| entry.version),
        is_earlier_page: asked.before.is_some(),
        entries: entries.into_iter().map(EntryView::from).collect(),
    };
    Ok(rendered(&page)?.into_response())
}

fn facts(row: AccountRow) -> Vec<Fact> {
    let merchant = MerchantId::from(row.merchant_id);
    let of_merchant = format!("/ops/accounts?merchant={merchant}");
    let of_owner = format!("{of_merchant}&owner={}", encoded(&row.owner));
    let mut facts = vec![
        Fact::linked("Merchant", &row.merchant_name, of_merchant),
        Fact::linked("Owner", &row.owner, of_owner),
        Fact::plain("Posted", row.posted),
        Fact::plain("Reserved here for others", row.pending_out),
        Fact::plain("Reserved for it elsewhere", row.pending_in),
        Fact::plain("Entries", row.version.to_string()),
        Fact::plain("Opened (UTC)", Time::from(row.created_at).to_string()),
    ];
    let owes = row.allow_negative.then(|| "yes: others are funded by it".to_owned());
    let sometimes = [
        ("Last changed (UTC)", row.last_at.map(|at| Time::from(at).to_string())),
        ("Known elsewhere as", row.external_id),
        ("May owe", owes),
    ];
    facts.extend(
        sometimes.into_iter().filter_map(|(label, value)| value.map(|value| Fact::plain(label, value))),
    );
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_its_sign() {
        let shown = [("5.00", false), ("5.00", true), ("-5.00", false), ("-5.00", true)]
            .map(|(amount, is_less)| signed(amount, is_less));
        assert_eq!(shown, ["+5.00", "-5.00", "-5.00", "+5.00"]);
    }
}

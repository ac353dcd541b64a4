//! `payonce seed`: accounts of users to try out, with numbers for ids and something in them.
//!
//! Each step has a key of its own, so that the same command again finds what is there and adds nothing.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::account::{CREATE_TRANSFER, NewTransfer, UncheckedTransfer, fingerprint_of_transfers};
use domain::idempotency::Key;
use domain::ids::{AccountId, MerchantId, TransferId};
use domain::money::{Currency, Money};
use serde_json::json;
use shared::account::moving::{Moved, Movement, Patience, Request, TakenKey, move_money};
use shared::account::opening::{self, NewAccount};
use shared::account::remembered::remembered;
use shared::{database, merchant};
use sqlx::PgPool;
use terminal::output;

use crate::migrate::connect;

/// Make users' accounts to try out, and fund them. Needs `DATABASE_URL`
///
/// The accounts belong to one merchant, have the numbers from --first as `external_id`, and are funded by an
/// account of the merchant that may owe. The same command again adds nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  payonce seed --merchant acme --accounts 10 --amount 1000.00 --currency USD

Exit codes: 0 they are there, 1 failed, 2 called wrongly.")]
pub(crate) struct Args {
    /// The merchant's name; it is made if there is none of that name
    #[arg(long)]
    merchant: String,
    /// How many accounts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    accounts: u32,
    /// The number of the first
    #[arg(long, default_value_t = 1)]
    first: u32,
    /// How much is in each
    #[arg(long, default_value = "1000.00")]
    amount: String,
    /// The currency of all of them
    #[arg(long, default_value = "USD")]
    currency: String,
    /// Print one line of JSON: an array of `external_id` and `id`
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let currency = args.currency.parse().and_then(Currency::for_new_payment)?;
    let money = Money::parse(&args.amount, currency)?;
    let pool = connect().await?;
    database::require_migrated(&pool).await?;
    let merchant = merchant::find_or_create(&pool, &args.merchant).await?.id;
    let till = account(&pool, merchant, currency, None).await?;
    let mut made = Vec::new();
    for number in args.first..args.first.saturating_add(args.accounts) {
        let id = account(&pool, merchant, currency, Some(number)).await?;
        fund(&pool, merchant, (till, id), money, number).await?;
        made.push((number.to_string(), id));
    }
    pool.close().await;
    if args.json {
        let shown: Vec<_> =
            made.iter().map(|(number, id)| json!({ "external_id": number, "id": id })).collect();
        output::json(&shown)?;
    } else {
        let rows: Vec<_> =
            made.into_iter().map(|(number, id)| vec![number, id.to_string(), money.to_string()]).collect();
        output::table(&["EXTERNAL ID", "ACCOUNT", "FUNDED WITH"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn key(text: &str) -> Result<Key> {
    Ok(Key::parse(text.as_bytes())?)
}

/// The account with that number, or the one that funds the others. It is opened unless it is there.
async fn account(
    pool: &PgPool,
    merchant: MerchantId,
    currency: Currency,
    number: Option<u32>,
) -> Result<AccountId> {
    let new = NewAccount {
        id: AccountId::generate(),
        merchant,
        currency,
        owner: number
            .map_or_else(|| "the till of payonce seed".to_owned(), |number| format!("user-{number}")),
        external_id: number.map(|number| number.to_string()),
        allow_negative: number.is_none(),
        key: key(&format!("payonce-seed-{}", currency.code()))?,
        is_asked_by_admin: true,
    };
    match opening::open(pool, &new).await {
        Ok(true) => Ok(new.id),
        Ok(false) => {
            let found = remembered(pool, &[(merchant, new.taken_key())]).await?.pop().flatten();
            Ok(found.context("the account was taken back meanwhile; run this again")?.object_id.into())
        }
        Err(why) => Err(why).with_context(|| {
            format!(
                "cannot open the account {}; if another one has that number, use another --first",
                new.owner
            )
        }),
    }
}

/// Puts that much into the account, once.
async fn fund(
    pool: &PgPool,
    merchant: MerchantId,
    (from, to): (AccountId, AccountId),
    money: Money,
    number: u32,
) -> Result<()> {
    let currency = money.currency().code().to_owned();
    let unchecked = UncheckedTransfer { from, to, amount: money.amount(), currency, hold: None };
    let taken = TakenKey {
        operation: CREATE_TRANSFER,
        scope: String::new(),
        key: key(&format!("payonce-seed-{}-{number}", money.currency().code()))?,
        fingerprint: fingerprint_of_transfers(&[unchecked], false),
    };
    let id = TransferId::generate();
    let request = Request {
        merchant: Some(merchant),
        key: Some(taken.clone()),
        object_id: id.uuid(),
        movements: vec![Movement::Transfer(NewTransfer { id, from, to, money, hold: None })],
        is_group: false,
    };
    let moved = move_money(pool, &[&request], &Patience::PassesOver(Vec::new())).await?.pop();
    match moved {
        Some(Moved::Done(_)) => Ok(()),
        Some(Moved::Again) => match remembered(pool, &[(merchant, taken.clone())]).await?.pop().flatten() {
            Some(found) if found.fingerprint == taken.fingerprint => Ok(()),
            Some(_) => bail!("user {number} was funded before, with another amount"),
            None => bail!("somebody else seeds the same accounts; run this again"),
        },
        other => bail!("user {number} was not funded: {other:?}"),
    }
}

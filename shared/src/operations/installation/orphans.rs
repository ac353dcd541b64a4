//! Charges at the gateway of payments that are forgotten here.
//!
//! Invariant: a client that posts such a payment again gets a payment with the same key at the gateway. That
//! payment may only look, and adopts the charge. So an orphan stays for ever, also if it was adopted.

use chrono::{DateTime, Utc};
use domain::ids::GatewayName;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// How long a search through keys may take, in a process that has other work to do.
const LONGEST_LOOK: &str = "60s";

/// A key under which a charge stands at a gateway, and which is no payment's.
#[derive(Debug, Clone, PartialEq)]
pub struct Unknown {
    /// The gateway key itself.
    pub key: String,
    /// The name of the forgotten payment; none where the gateway shows none.
    pub reference: Option<String>,
    /// The first of its charges that stand.
    pub charge_id: String,
    /// The amount that stands under the key.
    pub amount: Decimal,
    /// The currency of that amount.
    pub currency: String,
    /// All rows of the journal that moved money under the key.
    effects: Value,
}

/// Which keys are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All keys, also those that are known as orphans.
    All,
    /// Only keys of effects after this row of the gateway's journal, and only those that are not known as
    /// orphans.
    NewsAfter(i64),
}

/// Lets the statements of this transaction read whole tables, and take their time.
pub(super) async fn may_read_all(connection: &mut PgConnection, longest: &str) -> sqlx::Result<()> {
    let settings = [
        ("statement_timeout", longest),
        ("idle_in_transaction_session_timeout", "60s"),
        ("enable_seqscan", "on"),
        ("enable_hashjoin", "on"),
        ("work_mem", "64MB"),
    ];
    sqlx::query!(
        "select set_config(name, value, true) from unnest($1::text[], $2::text[]) as s (name, value)",
        &settings.map(|(name, _)| name.to_owned()),
        &settings.map(|(_, value)| value.to_owned())
    )
    .fetch_all(connection)
    .await
    .map(drop)
}

/// The keys in our copy of a gateway's journal under which a charge stands and which are no payment's.
///
/// # Errors
/// Returns the database's error.
pub(super) async fn unknown(
    pool: &PgPool,
    gateway: &GatewayName,
    which: Which,
) -> sqlx::Result<Vec<Unknown>> {
    let (after, longest) = match which {
        Which::All => (i64::MIN, "0"),
        Which::NewsAfter(seq) => (seq, LONGEST_LOOK),
    };
    let mut transaction = pool.begin().await?;
    may_read_all(&mut transaction, longest).await?;
    let (name, are_all) = (gateway.as_str(), which == Which::All);
    let found = sqlx::query_file_as!(Unknown, "queries/orphans_unknown.sql", name, after, are_all)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(found)
}

/// Keeps these orphans of a gateway, and opens a break for each that no break tells of.
pub(super) async fn keep(
    connection: &mut PgConnection,
    gateway: &GatewayName,
    found: &[Unknown],
) -> sqlx::Result<()> {
    let each = |read: fn(&Unknown) -> &str| found.iter().map(|it| read(it).to_owned()).collect::<Vec<_>>();
    let keys = each(|it| &it.key);
    sqlx::query!(
        "insert into orphans (gateway, key, reference, charge_id, amount, currency)
         select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::text[])
             on conflict on constraint orphans_pkey do nothing",
        gateway.as_str(),
        &keys,
        &found.iter().map(|it| it.reference.clone()).collect::<Vec<_>>() as &[Option<String>],
        &each(|it| &it.charge_id),
        &found.iter().map(|it| it.amount).collect::<Vec<_>>(),
        &each(|it| &it.currency)
    )
    .execute(&mut *connection)
    .await?;
    let details: Vec<Value> = found.iter().map(|it| json!({ "gateway": it.effects })).collect();
    sqlx::query!(
        "insert into breaks (subject, kind, detail, opened_at)
         select s.subject, 'orphan', s.detail, clock_timestamp()
           from unnest($1::text[], $2::jsonb[]) as s (subject, detail)
          where not exists (select from breaks b
                             where b.subject = s.subject and b.kind in ('orphan', 'charge_unknown')
                               and (b.closed_at is null or b.detail = s.detail))
          order by s.subject
             on conflict do nothing",
        &keys.iter().map(|key| gateway.key_subject(key)).collect::<Vec<_>>(),
        &details
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An orphan, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Orphan {
    /// The gateway where it stands.
    pub gateway: String,
    /// The key of its charges at the gateway.
    pub key: String,
    /// The name of the forgotten payment; none where the gateway shows none.
    pub reference: Option<String>,
    /// The gateway's id of the charge that stands.
    pub charge_id: String,
    /// The amount that stands under the key.
    pub amount: Decimal,
    /// The currency of that amount.
    pub currency: String,
    /// When the orphan was found.
    pub found_at: DateTime<Utc>,
    /// The payment that adopted the charge; none while none has.
    pub adopted_by: Option<Uuid>,
}

/// The orphans after that key of that gateway, in the order of gateways and keys: those that no payment has
/// adopted, or all.
///
/// # Errors
/// Returns the database's error.
pub async fn list(pool: &PgPool, all: bool, after: (&str, &str), limit: i64) -> sqlx::Result<Vec<Orphan>> {
    sqlx::query_as!(
        Orphan,
        "select gateway, key, reference, charge_id, amount, currency, found_at, adopted_by
           from orphans
          where (gateway, key) > ($1, $3) and ($2 or adopted_by is null)
          order by gateway, key limit $4",
        after.0,
        all,
        after.1,
        limit
    )
    .fetch_all(pool)
    .await
}

/// The number of rows of one currency, and their amount.
#[derive(Debug, Clone, PartialEq)]
pub struct Sum {
    /// The currency code, by ISO 4217.
    pub currency: String,
    /// How many rows there are.
    pub count: i64,
    /// The amount of all of them together.
    pub amount: Decimal,
}

/// The orphans that no payment has adopted, by currency.
///
/// # Errors
/// Returns the database's error.
pub async fn sums(connection: &mut PgConnection) -> sqlx::Result<Vec<Sum>> {
    sqlx::query_as!(
        Sum,
        "select currency, count(*) as \"count!\", sum(amount) as \"amount!\"
           from orphans where adopted_by is null
          group by currency order by currency"
    )
    .fetch_all(connection)
    .await
}

//! Accounts: each is what its entries add up to, each transfer has the entries that its status asks for, and
//! each merchant's book adds up to nothing.
//!
//! An account's row is read before its entries, of which only those up to the row's version count: entries
//! are only ever added. A transfer is read together with its entries.

use std::collections::HashMap;

use anyhow::Result;
use domain::ids::{AccountId, MerchantId, TransferId};
use sqlx::PgPool;
use uuid::Uuid;

use super::ours::advice;
use super::report::Check;

/// The accounts, entries or transfers that are read at a time.
const PAGE: i64 = 2_000;

/// A row of `accounts`.
struct AccountRow {
    id: Uuid,
    allow_negative: bool,
    version: i64,
    sums: Vec<String>,
}

/// A row of `account_entries`. Sums stand in the order credits, debits, credits pending, debits pending.
struct EntryRow {
    account_id: Uuid,
    version: i64,
    transfer_id: Uuid,
    side: String,
    posted: String,
    pending: String,
    sums: Vec<String>,
    /// Whether it is not older than the entry before it.
    is_in_time: bool,
    /// Whether its transfer exists.
    has_transfer: bool,
}

/// A row of `transfers`, with its entries in words.
struct TransferRow {
    id: Uuid,
    debited: Uuid,
    credited: Uuid,
    amount: String,
    posted_amount: Option<String>,
    status: String,
    is_hold: bool,
    entries: Vec<String>,
}

/// An amount in millionths, of either sign. None where the text is no such amount.
fn millionths(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = format!("{:0<6}", fraction.trim_end_matches('0'));
    if fraction.len() > 6 {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    Some(sign * whole.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)?)
}

/// An account as its entries make it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Folded {
    version: i64,
    sums: [i128; 4],
}

impl Folded {
    /// What is wrong with the next entry. The account goes on as it says, so that one fault is told once.
    fn continue_with(&mut self, entry: &EntryRow, allow_negative: bool) -> Option<String> {
        let transfer = TransferId::from(entry.transfer_id);
        let (Some(posted), Some(pending)) = (millionths(&entry.posted), millionths(&entry.pending)) else {
            return Some(format!("has an entry of {transfer} that is no amount"));
        };
        let side = usize::from(entry.side == "debit");
        let mut expected = self.clone();
        expected.version += 1;
        expected.sums[side] += posted;
        expected.sums[2 + side] += pending;
        let told: Vec<Option<i128>> = entry.sums.iter().map(|sum| millionths(sum)).collect();
        let continues = entry.version == expected.version && told == expected.sums.map(Some);
        let [credits, debits, _, reserved] = expected.sums;
        self.version = entry.version;
        self.sums = std::array::from_fn(|at| told.get(at).copied().flatten().unwrap_or_default());
        if !continues {
            return Some(format!(
                "has an entry {} of {transfer} that does not follow from those before",
                entry.version
            ));
        }
        if !allow_negative && credits - debits - reserved < 0 {
            return Some(format!("owed after its entry {}, of {transfer}", entry.version));
        }
        if !entry.has_transfer {
            let says =
                format!("has an entry {} of a transfer that does not exist, {transfer}", entry.version);
            return Some(says);
        }
        (!entry.is_in_time)
            .then(|| format!("has an entry {} that is older than the one before", entry.version))
    }

    fn differs_from(&self, row: &AccountRow) -> bool {
        let told: Vec<Option<i128>> = row.sums.iter().map(|sum| millionths(sum)).collect();
        self.version != row.version || told != self.sums.map(Some)
    }
}

/// The entries that a transfer must have, each as `code side account posted pending`.
fn expected(row: &TransferRow) -> Vec<String> {
    let zero = "0".to_owned();
    let mut changes: Vec<(&str, String, String)> = Vec::new();
    let posted = row.posted_amount.clone().unwrap_or_default();
    if row.is_hold {
        changes.push(("pending", zero.clone(), row.amount.clone()));
    }
    let back = format!("-{}", row.amount);
    match (row.status.as_str(), row.is_hold) {
        ("posted", false) => changes.push(("transfer", row.amount.clone(), zero)),
        ("posted", true) => changes.push(("post", posted, back)),
        ("voided", true) => changes.push(("void", zero, back)),
        ("expired", true) => changes.push(("expire", zero, back)),
        _ => {}
    }
    let mut entries: Vec<String> = changes
        .iter()
        .flat_map(|(code, posted, pending)| {
            [("debit", row.debited), ("credit", row.credited)]
                .map(|(side, account)| in_words(code, side, account, posted, pending))
        })
        .collect();
    entries.sort();
    entries
}

fn in_words(code: &str, side: &str, account: Uuid, posted: &str, pending: &str) -> String {
    let amount = |text: &str| millionths(text).map_or_else(|| text.to_owned(), |it| it.to_string());
    format!("{code} {side} {account} {} {}", amount(posted), amount(pending))
}

/// Reads all accounts, their entries, and all transfers.
pub(super) async fn check(pool: &PgPool, accounts: &mut Check) -> Result<()> {
    let mut after = Uuid::nil();
    loop {
        let page = page(pool, after).await?;
        let Some(last) = page.last().map(|row| row.id) else { break };
        check_page(pool, &page, (after, last), accounts).await?;
        after = last;
    }
    let mut after = Uuid::nil();
    loop {
        let page = transfers(pool, after).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for row in &page {
            accounts.checked += 1;
            let mut entries: Vec<String> = row.entries.iter().map(|entry| normal(entry)).collect();
            entries.sort();
            if entries != expected(row) || (row.status == "pending" && !row.is_hold) {
                let says = format!("is {}, and has the entries {entries:?}", row.status);
                accounts.blame(TransferId::from(row.id), says);
            }
        }
    }
    for (merchant, says) in imbalances(pool).await? {
        accounts.blame(MerchantId::from(merchant), says);
    }
    for says in miskeyed(pool).await? {
        accounts.blame("the keys of accounts", says);
    }
    Ok(())
}

/// An entry in words, with its amounts as we write them.
fn normal(entry: &str) -> String {
    match entry.split(' ').collect::<Vec<_>>()[..] {
        [code, side, account, posted, pending] => {
            account.parse().map_or_else(|_| entry.to_owned(), |id| in_words(code, side, id, posted, pending))
        }
        _ => entry.to_owned(),
    }
}

/// Folds the entries of these accounts, which are all whose ids are after the first and up to the last.
async fn check_page(
    pool: &PgPool,
    page: &[AccountRow],
    (after, last): (Uuid, Uuid),
    accounts: &mut Check,
) -> Result<()> {
    let mut folded: HashMap<Uuid, (&AccountRow, Folded)> =
        page.iter().map(|row| (row.id, (row, Folded::default()))).collect();
    let mut from = (after, i64::MAX);
    loop {
        let entries = entries(pool, from, last).await?;
        let Some(newest) = entries.last() else { break };
        from = (newest.account_id, newest.version);
        for entry in &entries {
            let id = AccountId::from(entry.account_id);
            let Some((row, folded)) = folded.get_mut(&entry.account_id) else {
                accounts.blame(id, "has entries, but does not exist");
                continue;
            };
            if entry.version > row.version {
                continue;
            }
            if let Some(says) = folded.continue_with(entry, row.allow_negative) {
                accounts.blame(id, says);
            }
        }
    }
    for row in page {
        accounts.checked += 1;
        if folded.get(&row.id).is_none_or(|(row, folded)| folded.differs_from(row)) {
            accounts.blame(AccountId::from(row.id), "is not what its entries add up to");
        }
    }
    Ok(())
}

async fn page(pool: &PgPool, after: Uuid) -> Result<Vec<AccountRow>> {
    let rows = sqlx::query_as!(
        AccountRow,
        r#"select id, allow_negative, version,
                  array[credits_posted::text, debits_posted::text, credits_pending::text, debits_pending::text] as "sums!"
             from accounts where id > $1 order by id limit $2"#,
        after,
        PAGE
    );
    rows.fetch_all(pool).await.map_err(advice)
}

async fn entries(pool: &PgPool, from: (Uuid, i64), last: Uuid) -> Result<Vec<EntryRow>> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"select e.account_id, e.version, e.transfer_id, e.side, e.posted::text as "posted!", e.pending::text as "pending!",
                  array[e.credits_posted::text, e.debits_posted::text, e.credits_pending::text, e.debits_pending::text] as "sums!",
                  coalesce(e.at >= (select b.at from account_entries b
                                     where b.account_id = e.account_id and b.version = e.version - 1), true) as "is_in_time!",
                  exists (select from transfers t where t.id = e.transfer_id) as "has_transfer!"
             from account_entries e
            where (e.account_id, e.version) > ($1, $2) and e.account_id <= $3
            order by e.account_id, e.version limit $4"#,
        from.0,
        from.1,
        last,
        PAGE
    );
    rows.fetch_all(pool).await.map_err(advice)
}

async fn transfers(pool: &PgPool, after: Uuid) -> Result<Vec<TransferRow>> {
    let rows = sqlx::query_as!(
        TransferRow,
        r#"select t.id, t.debited, t.credited, t.amount::text as "amount!", t.posted_amount::text as posted_amount, t.status,
                  t.expires_at is not null as "is_hold!",
                  array(select concat_ws(' ', e.code, e.side, e.account_id, e.posted, e.pending)
                          from account_entries e where e.transfer_id = t.id) as "entries!"
             from transfers t where t.id > $1 order by t.id limit $2"#,
        after,
        PAGE
    );
    rows.fetch_all(pool).await.map_err(advice)
}

/// The books that do not add up to nothing, read at one instant.
async fn imbalances(pool: &PgPool) -> Result<Vec<(Uuid, String)>> {
    let rows = sqlx::query!(
        r#"select merchant_id, currency, sum(credits_posted - debits_posted)::text as "rest!"
             from accounts group by merchant_id, currency
           having sum(credits_posted - debits_posted) <> 0 or sum(credits_pending - debits_pending) <> 0"#
    );
    let rows = rows.fetch_all(pool).await.map_err(advice)?;
    let says = |currency, rest| format!("has a book in {currency} that adds up to {rest} and not to nothing");
    Ok(rows.into_iter().map(|row| (row.merchant_id, says(row.currency, row.rest))).collect())
}

/// What is wrong with the keys: as many stand for transfers and groups as there are, and none for nothing.
async fn miskeyed(pool: &PgPool) -> Result<Vec<String>> {
    let row = sqlx::query!(
        r#"select (select count(*) from transfers t
                    where position = 0 and not exists (select from payments p where p.id = t.id)) as "made!",
                  (select count(*) from idempotency_keys k
                     join transfers t on t.id = k.object_id
                    where k.operation = 'create_transfer' and k.outcome_code is null) as "kept!",
                  (select count(*) from idempotency_keys k
                    where k.operation = 'create_transfer' and k.outcome_code is null) as "keys!""#
    );
    let row = row.fetch_one(pool).await.map_err(advice)?;
    let mut wrong = Vec::new();
    if row.keys != row.kept {
        wrong.push(format!("{} of them stand for transfers that do not exist", row.keys - row.kept));
    }
    if row.kept != row.made {
        wrong.push(format!("{} transfers and groups have {} keys", row.made, row.kept));
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_either_sign_are_read_exactly() {
        assert_eq!(millionths("-12.30"), Some(-12_300_000));
        assert_eq!(millionths("0.00"), Some(0));
        for text in ["", "-", "1e3", "1.0000001", "--1"] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }
}

//! An audit of the books: each account made again from its entries, and a trial balance of each book.

use domain::ids::AccountId;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::InTime as _;

/// The accounts that one statement adds up.
const PAGE: i64 = 200;

/// How many wrong accounts are named. The count is of all.
const NAMED: usize = 20;

/// The accounts of one merchant in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// The merchant's name.
    pub merchant: String,
    /// The three-letter code.
    pub currency: String,
    /// How many accounts there are.
    pub accounts: i64,
    /// What the accounts have together that have something.
    pub has: String,
    /// What the others owe together, as a negative amount.
    pub owes: String,
    /// What all of them come to, which must be nothing.
    pub rest: String,
    /// Whether it is nothing.
    pub is_balanced: bool,
}

/// The result of an audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many accounts were made again.
    pub accounts: u64,
    /// Of how many entries.
    pub entries: i64,
    /// How many are not what their entries add up to.
    pub wrong: u64,
    /// The first of these.
    pub first: Vec<AccountId>,
    /// All books, by merchant and currency, as of one instant.
    pub books: Vec<Book>,
}

impl Audit {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.wrong == 0 && self.books.iter().all(|book| book.is_balanced)
    }
}

/// Makes every account again from its entries, some at a time, and adds up the books.
///
/// # Errors
/// Returns the database's error.
pub async fn audit(pool: &PgPool) -> sqlx::Result<Audit> {
    let mut audit = Audit { books: books(pool).await?, ..Audit::default() };
    let mut after = Uuid::nil();
    loop {
        let page = page(pool, after).await?;
        let Some((last, ..)) = page.last() else { return Ok(audit) };
        after = *last;
        for (id, entries, is_right) in page {
            audit.accounts += 1;
            audit.entries += entries;
            if !is_right {
                audit.wrong += 1;
                if audit.first.len() < NAMED {
                    audit.first.push(id.into());
                }
            }
        }
    }
}

/// Some accounts, each with the number of its entries, and whether it is what they add up to.
async fn page(pool: &PgPool, after: Uuid) -> sqlx::Result<Vec<(Uuid, i64, bool)>> {
    let rows = sqlx::query!(
        r#"select a.id as "id!", e.entries as "entries!",
                  (a.version, a.credits_posted, a.debits_posted, a.credits_pending, a.debits_pending)
                      = (e.entries, e.credits_posted, e.debits_posted, e.credits_pending, e.debits_pending) as "is_right!"
             from (select * from accounts where id > $1 order by id limit $2) a
            cross join lateral (
                  select count(*) as entries,
                         coalesce(sum(posted) filter (where side = 'credit'), 0) as credits_posted,
                         coalesce(sum(posted) filter (where side = 'debit'), 0) as debits_posted,
                         coalesce(sum(pending) filter (where side = 'credit'), 0) as credits_pending,
                         coalesce(sum(pending) filter (where side = 'debit'), 0) as debits_pending
                    from account_entries where account_id = a.id) e
            order by a.id"#,
        after,
        PAGE
    );
    let rows = rows.fetch_all(pool).in_time().await?;
    Ok(rows.into_iter().map(|row| (row.id, row.entries, row.is_right)).collect())
}

async fn books(pool: &PgPool) -> sqlx::Result<Vec<Book>> {
    let rows = sqlx::query_as!(
        Book,
        r#"select m.name as "merchant!", a.currency as "currency!", count(*) as "accounts!",
                  coalesce(sum(a.credits_posted - a.debits_posted) filter (where a.credits_posted > a.debits_posted), 0)::text as "has!",
                  coalesce(sum(a.credits_posted - a.debits_posted) filter (where a.credits_posted < a.debits_posted), 0)::text as "owes!",
                  sum(a.credits_posted - a.debits_posted)::text as "rest!",
                  sum(a.credits_posted - a.debits_posted) = 0 and sum(a.credits_pending - a.debits_pending) = 0 as "is_balanced!"
             from accounts a join merchants m on m.id = a.merchant_id
            group by m.name, a.currency
            order by m.name, a.currency"#
    );
    rows.fetch_all(pool).in_time().await
}

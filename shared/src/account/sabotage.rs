//! The movement of money without its guards. It exists only in test builds, and only when asked for:
//! `tests/it/teeth.rs` shows what follows.

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::OnceCell;

use crate::platform::fault;

/// The migration that has the function.
const MIGRATION: &str = include_str!("../../../migrations/20261202000011_move_money.sql");
const BEGINS: &str = "create function move_money(";
const ENDS: &str = "\nend $$;";

/// The guards in the function: the name, the part that is the guard, and the part that replaces it.
const GUARDS: &[(&str, &str, &str)] = &[
    ("no_funds_check", "if not book[d].allow_negative\n", "if false and not book[d].allow_negative\n"),
    ("half_group", "book := before ||", "book := book ||"),
    ("half_group", "entries := entries[1:entries_before];", ""),
    (
        "one_sided",
        "insert into account_entries select e.* from unnest(entries) e;",
        "insert into account_entries select e.* from unnest(entries) e where e.side = 'debit';",
    ),
    ("hold_ends_twice", "elsif holds[h].status <> 'pending' then", "elsif false then"),
];

/// The function without the guards that a test took away; none if it took none of them away.
fn function() -> Option<String> {
    let mut taken = GUARDS.iter().filter(|(guard, ..)| fault::sabotaged(guard)).peekable();
    taken.peek()?;
    let left = taken.fold(whole()?.to_owned(), |sql, (_, part, without)| sql.replace(part, without));
    Some(left.replacen("create function", "create or replace function", 1))
}

fn whole() -> Option<&'static str> {
    let from = MIGRATION.find(BEGINS)?;
    let to = MIGRATION[from..].find(ENDS)? + ENDS.len();
    Some(&MIGRATION[from..from + to])
}

/// Replaces the database's function by one without these guards, once in each process.
pub(super) async fn take_guards_away(connection: &mut PgConnection) -> sqlx::Result<()> {
    static TAKEN: OnceCell<()> = OnceCell::const_new();
    let Some(function) = function() else { return Ok(()) };
    let taking = || async move { sqlx::raw_sql(AssertSqlSafe(function)).execute(connection).await.map(drop) };
    TAKEN.get_or_try_init(taking).await.map(drop)
}

/// `no_transfer_key`: forgets that a request was done.
pub(super) fn remembers() -> bool {
    !fault::sabotaged("no_transfer_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guard_that_can_be_taken_away_stands_in_the_function() {
        let whole = whole().unwrap();
        for (guard, part, _) in GUARDS {
            assert!(whole.contains(part), "{guard}: nothing of the function reads {part}");
        }
    }
}

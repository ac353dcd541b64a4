//! The guards of the book: the database refuses what no program may write, and `payonce verify` tells it
//! where somebody wrote it all the same.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{Bank, key, sixty};
use crate::verify::{behind_the_guards, offences, report, verify};

/// A book in which something has happened: a transfer, a hold that was posted in part, and one that waits.
async fn a_book() -> (Bank, [String; 2]) {
    let bank = Bank::start().await;
    let (ann, bob) = (bank.funded("ann", "1000").await, bank.open("bob").await);
    bank.transfer(&key(), sixty(&ann, &bob)).await.assert_status(201);
    let hold = bank.hold(&ann, &bob, "80").await;
    bank.act(&hold, "post", &key(), json!({ "amount": "50" })).await.assert_status(200);
    bank.hold(&ann, &bob, "5").await;
    (bank, [ann, bob])
}

/// A statement, and what refuses it.
const REFUSED: &[(&str, &str)] = &[
    ("update accounts set credits_posted = credits_posted + 1, version = version + 1", "has no entry that says so"),
    ("update accounts set version = 0, credits_posted = 0, debits_posted = 0, credits_pending = 0, debits_pending = 0", "what was posted stays posted"),
    ("update accounts set allow_negative = not allow_negative", "whose account it is was fixed"),
    ("delete from accounts", "accounts are never deleted"),
    ("truncate accounts", "accounts are never deleted"),
    ("update account_entries set posted = 1", "a mistake is corrected by another transfer"),
    ("delete from account_entries", "a mistake is corrected by another transfer"),
    ("truncate account_entries", "a mistake is corrected by another transfer"),
    ("delete from transfers", "transfers are never deleted"),
    ("truncate transfers", "transfers are never deleted"),
    ("update transfers set amount = 1 where status = 'pending'", "what is transferred was fixed"),
    ("update transfers set ended_at = now() where status = 'posted' and expires_at is not null", "a transfer ends once"),
    (
        "update transfers set status = 'voided', ended_at = now() where status = 'pending'",
        "it has no entries that say so",
    ),
    (
        "insert into transfers (id, merchant_id, debited, credited, amount, currency, position, created_at, status,
                                posted_amount, ended_at)
         select gen_random_uuid(), gen_random_uuid(), debited, credited, amount, currency, 0, now(), 'posted', amount, now()
           from transfers limit 1",
        "are not both of its merchant and its currency",
    ),
    (
        "insert into account_entries
         select account_id, version + 100, gen_random_uuid(), code, side, posted, pending, credits_posted, debits_posted,
                credits_pending, debits_pending, at from account_entries limit 1",
        "it does not continue the one before it",
    ),
    (
        "insert into account_entries
         select a.id, a.version + 1, gen_random_uuid(), 'transfer', 'credit', 1, 0, a.credits_posted + 1, a.debits_posted,
                a.credits_pending, a.debits_pending, now() from accounts a limit 1",
        "they are not its two sides",
    ),
    (
        "insert into accounts (id, merchant_id, currency, owner, allow_negative, credits_posted, debits_posted,
                               credits_pending, debits_pending)
         select gen_random_uuid(), merchant_id, currency, owner, false, 5, 0, 0, 0 from accounts limit 1",
        "has no entry that says so",
    ),
    ("update idempotency_keys set outcome_code = null", "an idempotency key is for ever"),
    (
        "insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, renderer, created_at)
         values (gen_random_uuid(), 'create_transfer', '', 'k', sha256('x'), 1, now())",
        "idempotency_keys_stand_for_one",
    ),
];

#[tokio::test]
async fn the_database_refuses_what_no_program_may_write() {
    let (bank, _) = a_book().await;
    for (sql, refused_by) in REFUSED {
        let refused =
            sqlx::raw_sql(AssertSqlSafe(*sql)).execute(&bank.system.database.pool).await.unwrap_err();
        let refused = refused.as_database_error().unwrap().message().to_owned();
        assert!(refused.contains(refused_by), "{sql}: {refused}");
    }
    bank.assert_adds_up().await;
}

/// What somebody did behind the guards, and what `payonce verify` says of it.
const TAMPERED: &[(&str, &str)] = &[
    (
        "update accounts set credits_posted = credits_posted + 1 where owner = 'bob'",
        "is not what its entries add up to",
    ),
    ("update accounts set version = version + 1 where owner = 'bob'", "is not what its entries add up to"),
    (
        "update account_entries set posted = 61 where code = 'transfer' and side = 'credit' and posted = 60",
        "does not follow",
    ),
    ("delete from account_entries where code = 'post' and side = 'credit'", "does not follow"),
    ("update transfers set amount = 61, posted_amount = 61 where amount = 60", "and has the entries"),
    (
        "update transfers set status = 'voided', ended_at = now() where status = 'pending'",
        "is voided, and has the entries",
    ),
    ("delete from transfers where status = 'pending'", "of a transfer that does not exist"),
    (
        "delete from idempotency_keys where operation = 'create_transfer' and outcome_code is null",
        "and groups have 0 keys",
    ),
    (
        "update account_entries set at = at - interval '1 day' where version = 2",
        "that is older than the one before",
    ),
];

#[tokio::test]
async fn what_is_written_behind_the_guards_is_told_by_verify() {
    for (sql, says) in TAMPERED {
        let (bank, _) = a_book().await;
        behind_the_guards(&bank.system.database.pool, sql).await;

        let (exit, report) = report(verify(&bank.system, &[])).await;

        let found = offences(&report);
        assert!(
            found.iter().any(|(check, _, told)| check == "accounts" && told.contains(says)),
            "{sql}: {found:?}"
        );
        assert_eq!(exit, 1, "{sql}");
    }
}

#[tokio::test]
async fn the_function_sees_what_its_locks_found() {
    let bank = Bank::start().await;
    let volatile =
        "select count(*) from pg_proc where proname in ('move_money', 'balance_at') and provolatile = 'v'";
    assert_eq!(bank.system.count(volatile).await, 2);
    let elsewhere = "begin isolation level repeatable read;
        select * from move_money('{}', '{}', '{}', '{}', '{}', '{}', '{}', 1::smallint, '{}', '{}', '{}', '{}', '{}', '{}', '{}',
                                 '{}', '{}', 1, 1, '{}', false)";
    let mut connection = bank.system.database.pool.acquire().await.unwrap().detach();
    let refused = sqlx::raw_sql(elsewhere).execute(&mut connection).await.unwrap_err();
    assert!(refused.to_string().contains("read committed alone"), "{refused}");
}

//! The last guards stand in the database itself: it refuses what no program may do, whatever its bugs.

use domain::ids::PaymentId;
use tests::{Shape, System, TestDatabase, a_payment, wait_until};

use crate::PROGRAM;
use crate::tidy::text;

/// A system with one payment that succeeded and one that no worker has taken yet.
async fn two_payments() -> (System, PaymentId, PaymentId) {
    let mut system = System::start(PROGRAM).await;
    let ended = system.accepted(a_payment()).await;
    system.ended(ended).await;
    system.workers[0].kill9();
    let waiting = system.accepted(a_payment()).await;
    (system, ended, waiting)
}

/// The message with which the database refuses. None where it does not refuse.
async fn refusal(system: &System, sql: &str, id: PaymentId) -> Option<String> {
    let sql = sql.replace("$id", &format!("'{}'", id.uuid()));
    let mut transaction = system.database.pool.begin().await.unwrap();
    let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await;
    done.err()
        .map(|why| why.as_database_error().map_or_else(|| why.to_string(), |why| why.message().to_owned()))
}

const REFUSED_ON_THE_ENDED: &[(&str, &str)] = &[
    ("update payments set status = 'pending', version = version + 1 where id = $id", "a terminal payment never changes"),
    ("update payments set held_reason = 'contradiction' where id = $id", "a terminal payment never changes"),
    ("delete from payments where id = $id", "payments are never deleted"),
    ("truncate payments cascade", "payments are never deleted"),
    ("update payment_events set reason = 'x' where payment_id = $id", "events are append-only"),
    ("delete from payment_events where payment_id = $id", "events are append-only"),
    ("truncate payment_events", "events are append-only"),
    ("update ledger_transfers set amount = 1 where payment_id = $id", "a mistake is corrected by another transfer"),
    ("delete from ledger_transfers where payment_id = $id", "a mistake is corrected by another transfer"),
    ("truncate ledger_transfers", "a mistake is corrected by another transfer"),
    ("update ledger_accounts set currency = 'USD'", "accounts are never changed or deleted"),
    ("delete from idempotency_keys where payment_id = $id", "an idempotency key is for ever"),
    ("update idempotency_keys set key = 'x' where payment_id = $id", "an idempotency key is for ever"),
    (
        "insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code,
                payment_id, created_at)
         select transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id, created_at
           from ledger_transfers where payment_id = $id",
        "ledger_transfers_once",
    ),
    (
        "insert into payment_events (payment_id, version, type, to_status, correlation_id, at)
         values ($id, 3, 'failed', 'failed', 'x', now())",
        "payment_events_pkey",
    ),
];

const REFUSED_ON_THE_WAITING: &[(&str, &str)] = &[
    (
        "update payments set status = 'succeeded', gateway_transaction_id = 'ch_1', due_at = null, terminal_at = now(),
                version = version + 1 where id = $id",
        "no such transition",
    ),
    ("update payments set amount = 1, version = version + 1 where id = $id", "what the customer owes"),
    ("update payments set attempt_count = 7 where id = $id", "each change adds one to the version"),
    ("update payments set metadata = '{\"a\":\"b\"}', version = version + 1 where id = $id", "what the customer owes"),
    ("update payments set amount = 0, version = version + 1 where id = $id", "what the customer owes"),
    ("update payments set due_at = null, version = version + 1 where id = $id", "payments_due_iff_alive"),
    ("update payments set in_doubt = true, version = version + 1 where id = $id", "payments_doubt_has_a_start"),
    (
        "update payments set claim_token = gen_random_uuid(), version = version + 1 where id = $id",
        "payments_claimed_iff_processing",
    ),
    ("update payments set status = 'paid', version = version + 1 where id = $id", "no such transition"),
    (
        "insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code,
                payment_id, created_at)
         select $id, a.id, a.id, 1, 'EUR', 'payment', $id, now() from ledger_accounts a limit 1",
        "ledger_transfers_accounts_differ",
    ),
    (
        "insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code,
                payment_id, created_at)
         values ($id, gen_random_uuid(), gen_random_uuid(), 0, 'EUR', 'payment', $id, now())",
        "ledger_transfers_amount_positive",
    ),
    (
        "insert into payment_events (payment_id, version, type, to_status, correlation_id, at)
         values (gen_random_uuid(), 1, 'created', 'pending', 'x', now())",
        "payment_events_payment_id_fkey",
    ),
];

#[tokio::test]
async fn the_database_refuses_what_no_program_may_do() {
    let (system, ended, waiting) = two_payments().await;
    let mut allowed = Vec::new();
    for (id, refused) in [(ended, REFUSED_ON_THE_ENDED), (waiting, REFUSED_ON_THE_WAITING)] {
        for (sql, why) in refused {
            match refusal(&system, sql, id).await {
                Some(message) if message.contains(why) => {}
                Some(message) => {
                    allowed.push(format!("{sql}: refused, but by {message:?} and not by {why:?}"))
                }
                None => allowed.push(format!("{sql}: not refused")),
            }
        }
    }
    assert!(allowed.is_empty(), "{}", allowed.join("\n"));
}

/// Each such word says of one attempt that it did not charge. A decline is the gateway's last word.
#[tokio::test]
async fn a_payment_in_doubt_fails_by_a_decline_and_by_no_word_about_one_attempt() {
    let (system, _, waiting) = two_payments().await;
    let doubted = "set session_replication_role = replica;
                   update payments set status = 'processing', in_doubt = true, doubt_since = now() where due_at is not null;
                   reset session_replication_role";
    sqlx::raw_sql(doubted).execute(&system.database.pool).await.unwrap();
    let fails = |word: &str| {
        format!(
            "update payments set status = 'failed', failure_code = '{word}', due_at = null, terminal_at = now(),
                    claim_token = null, version = version + 1
              where id = $id"
        )
    };
    for word in ["retries_exhausted", "expired", "non_retryable", "payment_method_unknown"] {
        let message = refusal(&system, &fails(word), waiting).await.unwrap_or_default();

        assert!(message.contains("a payment in doubt ends by"), "{word}: {message:?}");
    }
    assert_eq!(refusal(&system, &fails("card_declined"), waiting).await, None);
}

#[tokio::test]
async fn without_its_trigger_a_terminal_payment_would_change() {
    let (system, ended, _) = two_payments().await;
    let reopen =
        "update payments set status = 'pending', terminal_at = null, due_at = now(), version = version + 1
                   where id = $id";
    assert!(refusal(&system, reopen, ended).await.is_some());

    sqlx::query("alter table payments disable trigger payments_terminal_is_terminal")
        .execute(&system.database.pool)
        .await
        .unwrap();

    assert_eq!(refusal(&system, reopen, ended).await, None);
}

#[tokio::test]
async fn a_payment_without_ledger_accounts_does_not_succeed() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let remove = "set session_replication_role = replica; delete from ledger_accounts";
    let mut connection = system.database.pool.acquire().await.unwrap();
    sqlx::raw_sql(remove).execute(&mut *connection).await.unwrap();
    sqlx::query("reset session_replication_role").execute(&mut *connection).await.unwrap();
    drop(connection);

    let worker = system.add_worker([("RUST_LOG", "warn")]).await;
    wait_until("settling to be refused", async || {
        system.workers[worker].stderr().contains("null value in column \\\"debit_account_id\\\"")
            || system.workers[worker].stderr().contains("null value in column \"debit_account_id\"")
    })
    .await;

    assert_eq!(system.client.payment(id).await["status"], "processing");
    assert_eq!(system.count("select count(*) from payment_events where to_status = 'succeeded'").await, 0);
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let system = System::with(PROGRAM, Shape::default()).await;
    let before = system.count("select count(*) from _sqlx_migrations").await;

    let (first, second) = tokio::join!(
        shared::database::migrate(&system.database.pool),
        shared::database::migrate(&system.database.pool)
    );

    first.unwrap();
    second.unwrap();
    assert_eq!(system.count("select count(*) from _sqlx_migrations").await, before);
}

/// The columns of the table of payments.
async fn columns(pool: &sqlx::PgPool) -> Vec<String> {
    let columns = "select column_name::text from information_schema.columns
                    where table_schema = 'public' and table_name = 'payments' order by 1";
    sqlx::query_scalar(columns).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn every_column_of_a_payment_is_either_fixed_or_changed_by_some_statement() {
    let database = TestDatabase::fresh().await;
    let fixed = "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'payments_facts_are_fixed'";
    let fixed: String = sqlx::query_scalar(fixed).fetch_one(&database.pool).await.unwrap();
    let mut statements: String = crate::copies::statements().into_iter().map(|(_, text)| text).collect();
    let functions = "select string_agg(prosrc, ' ') from pg_proc where pronamespace = 'public'::regnamespace";
    let functions: String = sqlx::query_scalar(functions).fetch_one(&database.pool).await.unwrap();
    statements.push_str(&functions);
    let updates: Vec<&str> = statements
        .split("update payments ")
        .skip(1)
        .map(|rest| rest.split(" where ").next().unwrap())
        .collect();
    assert!(updates.len() > 5, "payments are changed elsewhere");
    let columns = columns(&database.pool).await;
    assert!(columns.len() > 30, "{columns:?}");
    for column in columns {
        let is_fixed = fixed.contains(&format!("new.{column} "));
        let is_changed = updates
            .iter()
            .any(|it| [" ", "\n"].iter().any(|before| it.contains(&format!("{before}{column} = "))));
        assert!(
            is_fixed != is_changed,
            "{column} is fixed: {is_fixed}; some statement changes it: {is_changed}"
        );
    }
}

#[tokio::test]
async fn the_independent_fold_compares_every_column_of_a_payment() {
    let database = TestDatabase::fresh().await;
    let (fold, row) = (text("verify/src/fold.rs"), text("verify/src/ours.rs"));
    let (_, told) = fold.split_once("\nstruct Told {").unwrap();
    let told = told.split_once("\n}\n").unwrap().0;
    let (_, compared) = fold.split_once("\nfn differing(").unwrap();
    let compared: Vec<&str> = compared
        .split_once("\n}\n")
        .unwrap()
        .0
        .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
        .collect();
    let columns = columns(&database.pool).await;
    assert!(columns.len() > 30, "{columns:?}");
    for column in columns.iter().filter(|column| *column != "id") {
        assert!(
            told.contains(&format!(" {column}: ")),
            "the fold of `payonce verify` does not tell {column}"
        );
        assert!(compared.contains(&column.as_str()), "`payonce verify` does not compare {column}");
        assert!(row.contains(column), "`payonce verify` does not read {column}");
    }
}

/// Tables that only grow, and why: what they keep is asked for years later, or there is little of it. Every
/// other table has somebody who deletes its old rows.
const KEPT: &[(&str, &str)] = &[
    ("account_balances", "one row for each account"),
    ("api_keys", "who could ask"),
    ("account_entries", "our books"),
    ("accounts", "our books"),
    ("reviews", "what waited for people, and what they decided"),
    ("risk_rules", "which rules there were when"),
    ("breaks", "what was found, and what people did about it"),
    ("corrections", "what people put right"),
    ("dead_letters", "what the queue gave up, and what people did about it"),
    ("decisions", "what people decided"),
    ("gateway_cursors", "one row for each gateway"),
    ("gateway_effects", "the gateway's books"),
    ("gateway_identities", "one row for each gateway"),
    ("gateways", "one row for each gateway"),
    ("idempotency_keys", "the first answer, for ever"),
    ("event_epochs", "one row for each line of the server's life"),
    ("installation", "one row"),
    ("late_evidence", "what the gateway said too late"),
    ("ledger_accounts", "our books"),
    ("ledger_transfers", "our books"),
    ("limit_shares", "each heartbeat deletes the rows of processes that are gone"),
    ("merchants", "who is owed"),
    ("operation_events", "the truth about refunds, returns and disputes"),
    ("operation_transfers", "our books"),
    ("operations", "refunds, returns and disputes"),
    ("orphans", "charges of forgotten payments"),
    ("payment_events", "the truth about payments"),
    ("payments", "the payments"),
    ("public_event_types", "one row for each type"),
    ("public_events", "what was told, from the beginning"),
    ("recovery_items", "goes with its report"),
    ("refund_totals", "one row for each payment that was given back"),
    ("transfers", "our books"),
    ("webhook_attempts", "what was sent, and what came back"),
    ("webhook_deliveries", "which event went where"),
    ("webhook_endpoint_events", "what happened to endpoints"),
    ("webhook_endpoints", "where events were sent"),
    ("webhook_secrets", "one row for each rotation"),
];

#[tokio::test]
async fn every_table_is_kept_for_a_reason_or_somebody_deletes_its_old_rows() {
    let database = TestDatabase::fresh().await;
    let tables = "select relname::text from pg_class
                   where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> '_sqlx_migrations'
                   order by 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&database.pool).await.unwrap();
    let statements: String = crate::copies::statements().into_iter().map(|(_, text)| text).collect();
    for table in &tables {
        // Who deletes all rows at once, when the database moved, prunes nothing.
        let is_pruned =
            [" ", "\n"].iter().any(|end| statements.contains(&format!("delete from {table}{end}")));
        let is_kept = KEPT.iter().any(|(kept, _)| kept == table);
        assert!(is_pruned != is_kept, "{table} is pruned: {is_pruned}; is kept: {is_kept}");
    }
    let gone: Vec<_> = KEPT.iter().filter(|(kept, _)| !tables.iter().any(|table| table == kept)).collect();
    assert!(gone.is_empty(), "no such tables: {gone:?}");
}

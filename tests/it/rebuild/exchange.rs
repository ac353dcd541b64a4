//! The table made from events takes the place of the one in use, with all that hangs on it, and the system
//! goes on.

use domain::ids::PaymentId;
use serde_json::json;
use sqlx::PgPool;

use tests::{Client, System, a_payment};

use super::{after_all_sorts, close_the_doors, leave, open_the_doors, report, rows};
use crate::verify::{behind_the_guards, offences, verify};

/// All that hangs on the table, in the catalog's words. The catalog nests an expression that it reads again
/// in parentheses of its own.
const CATALOG: &str = "
    select format('%s %s %s %s', attnum, attname, format_type(atttypid, atttypmod), attnotnull) || coalesce(pg_get_expr(adbin, adrelid), '')
           || coalesce(attacl::text, '') || attstattarget::text
      from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
     where attrelid = 'payments'::regclass and attnum > 0
     union all
    select format('%s %s %s', conrelid::regclass, conname, replace(pg_get_constraintdef(oid), ' NOT VALID', ''))
      from pg_constraint where conrelid = 'payments'::regclass or confrelid = 'payments'::regclass
     union all
    select pg_get_indexdef(indexrelid) || indisprimary || indisvalid from pg_index where indrelid = 'payments'::regclass
     union all
    select translate(pg_get_triggerdef(oid), '()', '') || tgenabled::text from pg_trigger where tgrelid = 'payments'::regclass and not tgisinternal
     union all
    select format('%s %s %s %s %s', relowner::regrole, relacl, reloptions, relreplident, obj_description(oid, 'pg_class'))
      from pg_class where oid = 'payments'::regclass
     union all
    select format('%s %s %s %s', oid::regclass, relowner::regrole, relacl, reloptions) || pg_get_viewdef(oid)
      from pg_class where relkind = 'v' and relnamespace = 'public'::regnamespace
     order by 1";

async fn catalog(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(CATALOG).fetch_all(pool).await.unwrap()
}

/// Additions that operators may have made to the table.
const ADDED: &str = "
    grant select, update on payments to pg_monitor;
    grant update (held_reason) on payments to pg_read_all_stats;
    comment on table payments is 'what customers owe';
    alter table payments alter column status set statistics 300;
    create index payments_by_amount on payments (amount);
    create index payments_by_amount_too on payments (amount);
    create view large_payments with (security_barrier = true) as select id, amount from payments where amount > 1;
    grant select on large_payments to pg_monitor;
    alter table payments enable always trigger payments_not_born_reversed;
    create function quiet() returns trigger language plpgsql as $$ begin return null; end $$;
    create trigger own after insert on payments for each row execute function quiet();
    alter table payments disable trigger own";

/// Changes that were made past the guards.
const SABOTAGE: &str = "
    update payments set status = 'pending', terminal_at = null, due_at = now() + interval '1 year', attempt_count = 9,
           gateway_transaction_id = null where id = $succeeded;
    update payments set amount = 1, currency = 'USD' where id = $declined;
    update payments set due_at = due_at + interval '100 years', takeover_count = 5 where id = $waits;
    delete from payments where id = $doubt;
    insert into payments select p.* from payments q
     cross join lateral jsonb_populate_record(q, '{\"id\": \"01900000-0000-7000-8000-000000000009\"}') p
     where q.id = $declined";

async fn sabotage(system: &System, ids: &[PaymentId]) {
    let mut sql = SABOTAGE.to_owned();
    for (name, id) in
        [("succeeded", ids[0]), ("declined", ids[1]), ("doubt", ids[6]), ("waits", ids[ids.len() - 1])]
    {
        sql = sql.replace(&format!("${name}"), &format!("'{}'", id.uuid()));
    }
    behind_the_guards(&system.database.pool, &sql).await;
}

#[tokio::test]
async fn sabotaged_rows_are_found_mended_by_the_exchange_and_the_system_goes_on() {
    let (mut system, ids) = after_all_sorts().await;
    let url = system.database.url.clone();
    sqlx::raw_sql(ADDED).execute(&system.database.pool).await.unwrap();
    let (before, catalog_before) = (rows(&system.database.pool).await, catalog(&system.database.pool).await);
    sabotage(&system, &ids).await;

    let (checked, found, _) = report(&url, &["--check"]).await;
    let (written, wrote, _) = report(&url, &[]).await;
    // The swap catches up with what comes after.
    let late = system.accepted(a_payment().key("late")).await;
    let (open, _, refused) = report(&url, &["--swap"]).await;
    close_the_doors(&mut system).await;
    let (swapped, report_of_swap, said) = report(&url, &["--swap"]).await;
    open_the_doors(&mut system).await;

    assert_eq!((checked, written, open), (1, 1, 1), "{found}");
    assert_eq!((&found["differences"], &found["problems"]), (&9.into(), &2.into()), "{found}");
    assert_eq!(wrote["written"], ids.len(), "{wrote}");
    assert!(refused.stderr().contains("others are connected to this database"), "{}", refused.stderr());
    assert_eq!((swapped, &report_of_swap["equal"]), (0, &true.into()), "{report_of_swap}{}", said.stderr());
    assert_eq!((&report_of_swap["swapped"], &report_of_swap["written"]), (&true.into(), &1.into()));
    let mut after = rows(&system.database.pool).await;
    assert!(after.pop().unwrap().contains(&late.uuid().to_string()));
    assert_eq!(after, before);
    assert_eq!(catalog(&system.database.pool).await, catalog_before);
    let kept = "select count(*) from payments_before_rebuild where status = 'pending' and attempt_count = 9";
    assert_eq!(system.count(kept).await, 1);
    goes_on(&mut system, &ids, late).await;
    sqlx::raw_sql("drop table payments_before_rebuild").execute(&system.database.pool).await.unwrap();
}

/// Asserts that waiting, running and new payments end, the books agree, and the guards stand.
async fn goes_on(system: &mut System, ids: &[PaymentId], late: PaymentId) {
    let api = system.api().start().await;
    system.client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    system.apis.push(api);
    system.add_worker([("RUST_LOG", "info")]).await;
    for id in [ids[ids.len() - 2], ids[ids.len() - 1], late, system.accepted(a_payment().key("new")).await] {
        assert_eq!(system.ended(id).await["status"], "succeeded");
    }
    system.settled().await;
    let (code, verified) = crate::verify::report(verify(system, &[])).await;
    let mut said = offences(&verified);
    // A person had said of one that it failed, which the gateway may see otherwise.
    said.retain(|(check, subject, _)| (check.as_str(), subject) != ("charge", &ids[8].to_string()));
    assert!(said.is_empty() && code != 0, "{verified}");
    assert_eq!(report(&system.database.url, &["--check"]).await.0, 0);
    for (change, why) in [
        ("update payments set version = version + 1 where id = $1", "a terminal payment never changes"),
        ("delete from payments where id = $1", "payments are never deleted"),
        (
            "insert into payment_events (payment_id, version, type, to_status, correlation_id, at)
             select gen_random_uuid(), 1, 'created', 'pending', 'c', now() from payments where id = $1",
            "payment_events_payment_id_fkey",
        ),
    ] {
        let done = sqlx::query(change).bind(ids[0].uuid()).execute(&system.database.pool).await;
        let refused = done.unwrap_err().to_string();
        assert!(refused.contains(why), "{change}: {refused}");
    }
}

#[tokio::test]
async fn nothing_is_exchanged_where_it_could_not_be_done_whole() {
    let (mut system, _) = after_all_sorts().await;
    let url = system.database.url.clone();
    let before = catalog(&system.database.pool).await;
    let mut said = Vec::new();
    let mut tried = async |what: &'static str| {
        let (code, report, process) = report(&url, &["--swap"]).await;
        said.push((what, code, report, process.stderr()));
    };
    tried("there is no payments_rebuilt yet").await;
    assert_eq!(report(&url, &[]).await.0, 0);
    close_the_doors(&mut system).await;
    open_the_doors(&mut system).await;
    tried("others are connected to this database: process").await;

    for (made, unmade, what) in [
        (
            "update apalis.workers set last_seen = clock_timestamp()",
            "update apalis.workers set last_seen = now() - interval '1 minute'",
            "workers were heard of less than 30 s ago",
        ),
        (
            "create materialized view copied as select id from payments",
            "drop materialized view copied",
            "cannot be carried over: rule _RETURN on materialized view copied",
        ),
        (
            "create function newest() returns setof payments language sql as 'select * from payments limit 1'",
            "drop function newest",
            "cannot be carried over: function newest()",
        ),
        (
            "alter table payments add column more text; create index payments_more on payments (more)",
            "alter table payments drop column more",
            "of another shape than payments",
        ),
        (
            "create table payments_before_rebuild (id uuid)",
            "drop table payments_before_rebuild",
            "drop table payments_before_rebuild",
        ),
    ] {
        sqlx::raw_sql(made).execute(&system.database.pool).await.unwrap();
        leave(&system).await;
        tried(what).await;
        open_the_doors(&mut system).await;
        sqlx::raw_sql(unmade).execute(&system.database.pool).await.unwrap();
    }

    for (what, code, report, stderr) in said {
        assert_eq!((code, &report), (1, &json!(null)), "{what}");
        assert!(stderr.contains(what), "{stderr}, and not {what}");
    }
    let after = catalog(&system.database.pool).await;
    assert!(before.iter().all(|it| after.contains(it)));
}

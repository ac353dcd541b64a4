//! The findings of `--check`: each column that was changed behind the guards, and each history that makes
//! no payment.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{Shape, System, a_payment, wait_until};

use super::{after_all_sorts, rebuild, report};
use crate::PROGRAM;
use crate::verify::behind_the_guards;

/// A value of each column that no payment of these tests has.
fn other_value(column: &str, kind: &str) -> String {
    match (column, kind) {
        ("status", _) => "case status when 'succeeded' then 'pending' else 'succeeded' end".to_owned(),
        ("metadata" | "accepted_as", _) => "'{\"order\": \"8\"}'".to_owned(),
        ("currency", _) => "'USD'".to_owned(),
        (column, "timestamp with time zone") => {
            format!("coalesce({column}, now()) + interval '1 microsecond'")
        }
        (column, "integer") => format!("{column} + 1"),
        (column, "numeric") => format!("{column} + 0.01"),
        (column, "boolean") => format!("{column} is not true"),
        (_, "uuid") => "'00000000-0000-0000-0000-000000000007'".to_owned(),
        _ => "'another'".to_owned(),
    }
}

#[tokio::test]
async fn each_column_that_was_changed_is_named_with_both_values() {
    let (system, ids) = after_all_sorts().await;
    let pool = &system.database.pool;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select column_name::text, data_type::text from information_schema.columns
          where table_name = 'payments' and column_name <> 'id' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    // Not even its checks keep the table's owner from a row.
    let free = "do $$ declare name text; begin
        for name in select conname from pg_constraint where conrelid = 'payments'::regclass and contype = 'c' loop
            execute format('alter table payments drop constraint %I', name);
        end loop; end $$";
    behind_the_guards(pool, free).await;

    for (column, kind) in &columns {
        // One that has ended, one under way in a worker that died, and one that waits.
        for id in [ids[0], ids[ids.len() - 2], ids[ids.len() - 1]] {
            let change =
                |value: &str| format!("update payments set {column} = {value} where id = '{}'", id.uuid());
            let was: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "select {column}::text from payments where id = $1"
            )))
            .bind(id.uuid())
            .fetch_one(pool)
            .await
            .unwrap();
            behind_the_guards(pool, &change(&other_value(column, kind))).await;
            let (code, report, _) = report(&system.database.url, &["--check"]).await;
            let named: Vec<&Value> = report["first_differences"].as_array().unwrap().iter().collect();
            assert_eq!((code, named.len()), (1, 1), "{column}: {report}");
            assert_eq!(
                (&named[0]["payment"], &named[0]["column"]),
                (&id.to_string().into(), &column.as_str().into())
            );
            assert_ne!(named[0]["row"], named[0]["events"], "{column}");
            let back = was.map_or("null".to_owned(), |was| format!("'{}'", was.replace('\'', "''")));
            behind_the_guards(pool, &change(&back)).await;
        }
    }
    assert!(columns.len() >= 30, "{columns:?}");
    assert_eq!(report(&system.database.url, &["--check"]).await.0, 0);
}

/// Changes of the log, and what is said of the payment whose log it is.
const BROKEN: &[(&str, &str)] = &[
    ("delete from payment_events where payment_id = $id", "has no events"),
    (
        "delete from payment_events where payment_id = $id and version = 2",
        "has events that make no payment: event 3 where 2 was to come",
    ),
    (
        "update payment_events set type = 'verifying', from_status = 'processing' where payment_id = $id and version = 2",
        "has events that make no payment: ",
    ),
    (
        "update payment_events set to_status = 'failed' where payment_id = $id and version = 3",
        "event 3, succeeded, says that it leads from processing to failed",
    ),
    (
        "update payment_events set evidence = evidence - 'amount' where payment_id = $id and version = 1",
        "event 1 lacks amount",
    ),
    ("delete from payments where id = $id", "has events, but no row"),
    (
        "delete from payments where id = $id; delete from payment_events where payment_id = $id and version = 1",
        "has events, but no row, and they make none: attempt_started cannot happen",
    ),
];

#[tokio::test]
async fn histories_that_make_no_payment_are_named_and_are_in_the_way_of_an_exchange() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let mut ids = Vec::new();
    for _ in BROKEN {
        ids.push(system.accepted(a_payment()).await);
    }
    for id in &ids {
        system.ended(*id).await;
    }
    for (id, (sql, _)) in ids.iter().zip(BROKEN) {
        behind_the_guards(&system.database.pool, &sql.replace("$id", &format!("'{}'", id.uuid()))).await;
    }

    let (code, found, _) = report(&system.database.url, &["--check"]).await;
    let (as_text, text) = rebuild(&system.database.url, &["--check"]).run().await;
    let (written, _, _) = report(&system.database.url, &[]).await;
    super::close_the_doors(&mut system).await;
    let (swapped, _, said) = report(&system.database.url, &["--swap"]).await;

    assert_eq!((code, as_text, written, swapped), (1, tests::Exit::Code(1), 1, 1), "{found}");
    assert_eq!(found["problems"], BROKEN.len());
    assert_eq!(found["differences"], 0, "{found}");
    let problems = found["first_problems"].as_array().unwrap();
    for (id, (sql, says)) in ids.iter().zip(BROKEN) {
        let of_it: Vec<&str> = problems
            .iter()
            .filter(|problem| problem["payment"] == id.to_string())
            .map(|problem| problem["says"].as_str().unwrap())
            .collect();
        assert!(matches!(&*of_it, [said] if said.contains(says)), "{sql}: {of_it:?}");
        assert!(text.stdout().contains(&format!("{id}: {}", of_it[0])), "{}", text.stdout());
    }
    assert!(said.stderr().contains("Nothing was exchanged"), "{}", said.stderr());
}

#[tokio::test]
async fn many_pages_are_compared_to_their_end_while_payments_go_on() {
    let system = System::start(PROGRAM).await;
    let first = system.accepted(a_payment()).await;
    system.ended(first).await;
    let many = format!(
        "insert into payments select p.* from (select gen_random_uuid() as copy from generate_series(1, 4000)) c
           cross join payments q cross join lateral jsonb_populate_record(q, jsonb_build_object('id', copy)) p
          where q.id = '{id}';
         insert into payment_events select e.* from payments c cross join payment_events q
           cross join lateral jsonb_populate_record(q, jsonb_build_object('payment_id', c.id)) e
          where q.payment_id = '{id}' and c.id <> '{id}'",
        id = first.uuid()
    );
    behind_the_guards(&system.database.pool, &many).await;
    let load = async {
        for n in 0..30 {
            let _ = system.accepted(a_payment().key(&format!("load-{n}"))).await;
        }
    };

    let ((code, found, _), ()) = tokio::join!(report(&system.database.url, &["--check"]), load);
    let (written, all, _) = report(&system.database.url, &[]).await;

    assert_eq!((code, &found["equal"]), (0, &true.into()), "{found}");
    assert!(found["payments"].as_u64().unwrap() >= 4_001, "{found}");
    assert_eq!(written, 0, "{all}");
    wait_until("all to be written", async || {
        // Which of them were settled while it wrote is not known.
        system.count("select count(*) from payments_rebuilt").await >= 4_001
    })
    .await;
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from payments_rebuilt").fetch_all(&system.database.pool).await.unwrap();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

//! Who may touch the payments of a gateway: neither a program that knows only one, nor a claimant of another,
//! whatever a job says.

use std::time::Duration;

use shared::payment::transition::{self, Lease};
use sqlx::{Connection as _, PgConnection};
use tests::{SECOND, Second, Shape, System, a_payment, claimant};

use super::{column, two};
use crate::PROGRAM;

const LEASE: Lease = Lease { lease: Duration::from_secs(5), send_window: Duration::from_secs(1) };

#[tokio::test]
async fn a_claimant_of_another_gateway_gets_nothing() {
    let (system, _second, merchant) = two().await;
    let id = merchant.pay(a_payment()).await.payment_id();
    let pool = shared::database::connect(&system.database.url, 2).await.unwrap();

    let strange = claimant("a worker", LEASE);
    assert_eq!(transition::claim(&pool, &[id], &strange).await.unwrap().len(), 0);
    assert!(transition::claim_alone(&pool, id, &strange).await.unwrap().is_none());
    assert_eq!(column(&system, id, "select to_jsonb(version) from payments where id = $1").await, 1);

    let own = transition::Claimant { gateway: SECOND.parse().unwrap(), ..strange };
    assert_eq!(transition::claim(&pool, &[id], &own).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_job_of_a_payment_names_its_gateway_and_that_of_another_one_does_not() {
    let (system, _second, merchant) = two().await;
    for (client, gateway) in [(&merchant, Some(SECOND)), (&system.client, None)] {
        let id = client.pay(a_payment()).await.payment_id();
        let body = "select convert_from(job, 'UTF8')::jsonb from apalis.jobs where idempotency_key = $1::uuid || ':1'";
        let body = column(&system, id, body).await;
        assert_eq!(body["payment_id"], id.to_string());
        assert_eq!(body.get("gateway").and_then(|it| it.as_str()), gateway);
    }
}

#[tokio::test]
async fn the_gateway_of_a_merchant_and_of_a_payment_stays() {
    let (system, _second, merchant) = two().await;
    let id = merchant.pay(a_payment()).await.payment_id();
    let pool = shared::database::connect(&system.database.url, 1).await.unwrap();
    for sql in [
        "update merchants set gateway = 'default' where gateway = 'second'",
        "update payments set gateway = 'default', version = version + 1 where gateway = 'second'",
        "update gateways set name = 'third' where name = 'second'",
        "delete from gateways where name = 'second'",
    ] {
        let refused = sqlx::query(sql).execute(&pool).await.unwrap_err().to_string();
        assert!(refused.contains("refused"), "{sql}: {refused}");
    }
    assert_eq!(column(&system, id, "select to_jsonb(gateway) from payments where id = $1").await, SECOND);
}

/// What a program that knows one gateway would do: its sessions do not say that they know several.
async fn an_older_program(system: &System) -> PgConnection {
    PgConnection::connect(&system.database.url).await.unwrap()
}

#[tokio::test]
async fn once_there_is_a_second_gateway_a_program_that_knows_one_changes_nothing() {
    let statements = [
        "update payments set updated_at = updated_at, version = version + 1",
        "insert into breaks (subject, kind, detail, opened_at) values ('x', 'orphan', '{}', now())",
        "insert into decisions (payment_id, version, wish, is_unproven, asked_by, asked_with, reason, asked_at)
         select id, 1, 'look', false, 'ada', 'ada', 'so', now() from payments",
        "insert into corrections (payment_id, kind, amount, reason, proposed_by, proposed_with, proposed_key, proposed_at)
         select id, 'charge_missing', 0, 'so', 'ada', 'ada', 'k', now() from payments",
        "update installation set epoch = epoch",
        "insert into gateway_cursors (gateway) values ('x')",
        "insert into gateway_effects (gateway, seq, kind, key, charge_id, amount, currency, at)
         values ('default', 1, 'charge', 'k', 'c', 1, 'EUR', now())",
        "insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id,
                               created_at, status, due_at, version, updated_at)
         select gen_random_uuid(), merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id,
                created_at, 'pending', now(), 1, now() from payments",
        "insert into reconciliation_runs (trigger, holder) values ('command', gen_random_uuid())",
        "insert into merchants (id, name) values (gen_random_uuid(), 'somebody')",
        "insert into orphans (gateway, key, charge_id, amount, currency) values ('default', 'k', 'c', 1, 'EUR')",
    ];
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.accepted(a_payment()).await;
    let mut old = an_older_program(&system).await;
    sqlx::query("select set_config('payonce.reads_keys', 'on', false)").execute(&mut old).await.unwrap();
    for sql in statements {
        let mut transaction = old.begin().await.unwrap();
        sqlx::query(sql).execute(&mut *transaction).await.unwrap_or_else(|why| unreachable!("{sql}: {why}"));
        transaction.rollback().await.unwrap();
    }

    let second = Second::beside(&system, PROGRAM).await;
    second.merchant(&system, "charged elsewhere").await;

    for sql in statements {
        let refused = sqlx::query(sql).execute(&mut old).await.unwrap_err().to_string();
        assert!(refused.contains("this process knows one gateway, and here are several"), "{sql}: {refused}");
    }
}

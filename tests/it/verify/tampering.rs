//! One defect of each kind, planted behind the guards of either database, each in a payment of its own.

use std::collections::BTreeSet;

use domain::ids::PaymentId;
use tests::{TestDatabase, a_payment};

use super::{after_payments_by, behind_the_guards, offences, report, told, verify};

/// The books that are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Books {
    Ours,
    Gateways,
}

/// A defect of one payment: how it comes about, and what must be said about the payment.
struct Defect {
    /// The payment method; `waits` is a payment that no worker ever saw.
    token: &'static str,
    books: Books,
    /// The statement. `$id` is the payment's UUID, `$pay` the payment's id.
    sql: &'static str,
    /// The only check that names it.
    check: &'static str,
    says: &'static str,
}

const fn ours(token: &'static str, check: &'static str, says: &'static str, sql: &'static str) -> Defect {
    Defect { token, books: Books::Ours, sql, check, says }
}

const fn gateways(token: &'static str, says: &'static str, sql: &'static str) -> Defect {
    Defect { token, books: Books::Gateways, sql, check: "charge", says }
}

const WAITS: &str = "waits";

const DEFECTS: &[Defect] = &[
    gateways(
        "sim_ok",
        "2 charges stand, 24.60 together",
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         select (select max(seq) from gateway_journal) + 1, at, kind, op, key, 'ch_again', amount, currency, reference
           from gateway_journal where kind = 'charge' and reference = $pay",
    ),
    gateways(
        "sim_ok",
        "no charge of it stands",
        "delete from gateway_journal where kind = 'charge' and reference = $pay",
    ),
    gateways(
        "sim_ok",
        "is of 12.31 EUR",
        "update gateway_journal set amount = 12.31 where kind = 'charge' and reference = $pay",
    ),
    gateways(
        "sim_ok",
        "is of 12.30 USD",
        "update gateway_journal set currency = 'USD' where kind = 'charge' and reference = $pay",
    ),
    gateways(
        "sim_ok",
        "under the key another",
        "update gateway_journal set key = 'another' where kind = 'charge' and reference = $pay",
    ),
    gateways(
        "sim_ok",
        "the charge that stands is another one",
        "update gateway_journal set charge_id = 'ch_another' where kind = 'charge' and reference = $pay",
    ),
    gateways(
        "sim_declined",
        "ended without a charge, but 1 stand",
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         select (select max(seq) from gateway_journal) + 1, now(), 'charge', 'charge', $pay, 'ch_late', 12.30, 'EUR', $pay",
    ),
    gateways(
        "sim_doubt",
        "ended without a charge, but 1 stand",
        "delete from gateway_journal where kind = 'void' and reference = $pay",
    ),
    ours("sim_ok", "ledger", "has no transfer", "delete from ledger_transfers where payment_id = $id"),
    ours(
        "sim_ok",
        "ledger",
        "its transfer is of 13.30 EUR",
        "update ledger_transfers set amount = amount + 1 where payment_id = $id",
    ),
    ours(
        "sim_ok",
        "ledger",
        "does not debit the house's gateway_clearing",
        "update ledger_transfers set debit_account_id = credit_account_id, credit_account_id = debit_account_id
          where payment_id = $id",
    ),
    ours(
        "sim_ok",
        "ledger",
        "does not credit its merchant's merchant_payable",
        "insert into ledger_accounts (id, merchant_id, kind, currency) values ($id, $id, 'merchant_payable', 'EUR');
         update ledger_transfers set credit_account_id = $id where payment_id = $id",
    ),
    ours(
        "sim_declined",
        "ledger",
        "is failed, but has 1 transfers",
        "insert into ledger_transfers
         select gen_random_uuid(), $id, debit_account_id, credit_account_id, 12.30, 'EUR', 'payment', $id, now()
           from ledger_transfers limit 1",
    ),
    ours(
        "sim_ok",
        "history",
        "has event 3 where 2 was to come",
        "delete from payment_events where payment_id = $id and version = 2",
    ),
    ours(
        "sim_ok",
        "history",
        "has event 2, taken_over, while it was pending",
        "update payment_events set type = 'taken_over' where payment_id = $id and version = 2",
    ),
    ours(
        "sim_ok",
        "history",
        "has event 4, failed, while it was succeeded",
        "insert into payment_events (payment_id, version, type, from_status, to_status, correlation_id, at)
         values ($id, 4, 'failed', 'processing', 'failed', 'c', now())",
    ),
    ours(
        "sim_ok",
        "history",
        "is not what its events tell: retries_spent",
        "update payments set retries_spent = 7 where id = $id",
    ),
    ours(
        "sim_ok",
        "idempotency",
        "has 0 idempotency keys",
        "delete from idempotency_keys where payment_id = $id",
    ),
    ours(
        "sim_ok",
        "idempotency",
        "which is another merchant's or customer's",
        "update idempotency_keys set customer_id = 'somebody else' where payment_id = $id",
    ),
    ours(
        "sim_ok",
        "idempotency",
        "has 2 idempotency keys",
        "insert into idempotency_keys
         select merchant_id, operation, customer_id, 'another', fingerprint, payment_id, renderer, created_at
           from idempotency_keys where payment_id = $id",
    ),
    ours(
        WAITS,
        "liveness",
        "and nobody took it",
        "update payments set due_at = due_at - interval '1 hour' where id = $id;
         update payment_events set due_at = due_at - interval '1 hour' where payment_id = $id",
    ),
    ours(
        WAITS,
        "liveness",
        "has no time at which anybody looks",
        "alter table payments drop constraint payments_due_iff_alive;
         update payments set due_at = null where id = $id;
         update payment_events set due_at = null where payment_id = $id",
    ),
    // Each lease ran out, and the last one runs: nothing is due, and yet nobody ends it.
    ours(
        WAITS,
        "liveness",
        "was taken over 7 times in a row and neither settled nor held",
        include_str!("taken_over.sql"),
    ),
    ours(
        "sim_wrong_amount",
        "liveness",
        "is held, but no open break asks a person",
        "delete from breaks where payment_id = $id",
    ),
];

#[tokio::test]
async fn every_planted_defect_is_named_by_its_own_check() {
    let tokens: Vec<&str> =
        DEFECTS.iter().map(|defect| defect.token).filter(|token| *token != WAITS).collect();
    let (system, ended) = after_payments_by(&tokens).await;
    let mut ended = ended.into_iter();
    let mut ids: Vec<PaymentId> = Vec::new();
    for defect in DEFECTS {
        ids.push(if defect.token == WAITS {
            system.accepted(a_payment()).await
        } else {
            ended.next().unwrap()
        });
    }
    let (code, before) = report(verify(&system, &[])).await;
    assert_eq!((code, &before["violations"]), (3, &0.into()), "{before}");

    for (defect, id) in DEFECTS.iter().zip(&ids) {
        let sql = defect.sql.replace("$id", &format!("'{}'", id.uuid())).replace("$pay", &format!("'{id}'"));
        let pool = match defect.books {
            Books::Ours => &system.database.pool,
            Books::Gateways => &system.gateway_database.pool,
        };
        behind_the_guards(pool, &sql).await;
    }
    let (code, report) = report(verify(&system, &[])).await;

    assert_eq!(code, 1);
    // A history that was changed was told otherwise. `told.rs` has the defects of what is told.
    let (said, violations) = told::beside(&report);
    for (defect, id) in DEFECTS.iter().zip(&ids) {
        let of_it: Vec<_> = said.iter().filter(|(_, subject, _)| *subject == id.to_string()).collect();
        let checks: BTreeSet<&str> = of_it.iter().map(|(check, ..)| check.as_str()).collect();
        assert_eq!(checks, BTreeSet::from([defect.check]), "{}: {of_it:?}", defect.sql);
        assert!(of_it.iter().any(|(.., says)| says.contains(defect.says)), "{}: {of_it:?}", defect.says);
    }
    assert_eq!(violations, said.len(), "somebody else was blamed: {report}");
    let blamed: BTreeSet<&String> = said.iter().map(|(_, subject, _)| subject).collect();
    assert_eq!(blamed.len(), DEFECTS.len(), "{report}");
}

/// Defects that are about no payment, the check that names them, and the name.
const STRAYS: &[(Books, &str, &str, &str)] = &[
    (
        Books::Gateways,
        "charge",
        "order-77",
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         values (1001, now(), 'charge', 'charge', 'order-77', 'ch_1', 5, 'EUR', 'order-77')",
    ),
    (
        Books::Gateways,
        "charge",
        "pay_01900000000070008000000000000001",
        "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
         select 1002, now(), 'charge', 'charge', r, 'ch_2', 5, 'EUR', r from (values ('pay_01900000000070008000000000000001')) v (r)",
    ),
    (
        Books::Ours,
        "history",
        "pay_01900000000070008000000000000002",
        "insert into payment_events (payment_id, version, type, to_status, correlation_id, at)
         values ('01900000000070008000000000000002', 1, 'created', 'pending', 'c', now())",
    ),
    (
        Books::Ours,
        "ledger",
        "pay_ffffffffffffffffffffffffffffffff",
        "insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id, created_at)
         values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 5, 'EUR', 'payment', 'ffffffffffffffffffffffffffffffff', now())",
    ),
    (
        Books::Ours,
        "idempotency",
        "\"key-1\" of \"nobody\"",
        "insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
         values (gen_random_uuid(), 'create_payment', 'nobody', 'key-1', sha256(''), gen_random_uuid(), 1, now())",
    ),
    (
        Books::Ours,
        "idempotency",
        "\"key-2\" of \"customer-1\"",
        "alter table idempotency_keys drop constraint idempotency_keys_fingerprint_length;
         update idempotency_keys set fingerprint = '', key = 'key-2' where customer_id = 'customer-1'",
    ),
];

#[tokio::test]
async fn what_belongs_to_no_payment_is_named() {
    let (system, ids) = after_payments_by(&["sim_ok"]).await;
    for (books, _, _, sql) in STRAYS {
        let pool = match books {
            Books::Ours => &system.database.pool,
            Books::Gateways => &system.gateway_database.pool,
        };
        behind_the_guards(pool, sql).await;
    }

    let (code, report) = report(verify(&system, &[])).await;

    let said: Vec<_> = offences(&report).into_iter().map(|(check, subject, _)| (check, subject)).collect();
    let mut planted: Vec<_> =
        STRAYS.iter().map(|(_, check, subject, _)| ((*check).to_owned(), (*subject).to_owned())).collect();
    // Its key at the gateway followed from the idempotency key that it had.
    planted.push(("idempotency".to_owned(), ids[0].to_string()));
    let mut found = said.clone();
    found.sort();
    planted.sort();
    assert_eq!((code, found), (1, planted), "{report}");
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_named() {
    let (system, ids) = after_payments_by(&["sim_ok", "sim_ok"]).await;
    let twice = format!(
        "alter table idempotency_keys drop constraint idempotency_keys_pkey;
         update idempotency_keys set key = 'key-1' where payment_id in ('{}', '{}')",
        ids[0].uuid(),
        ids[1].uuid()
    );
    behind_the_guards(&system.database.pool, &twice).await;

    let (code, report) = report(verify(&system, &[])).await;

    let said: Vec<_> = offences(&report).into_iter().map(|(_, subject, _)| subject).collect();
    let key = "\"key-1\" of \"customer-1\"".to_owned();
    // Their keys at the gateway followed from the idempotency keys that they had.
    assert_eq!((code, said), (1, vec![key, ids[0].to_string(), ids[1].to_string()]), "{report}");
    let (_, _, says) = &offences(&report)[0];
    assert_eq!(says, "is recorded 2 times");
}

#[tokio::test]
async fn an_empty_ledger_beside_payments_that_succeeded_is_named() {
    let (system, _) = after_payments_by(&["sim_ok"]).await;
    behind_the_guards(&system.database.pool, "delete from ledger_transfers").await;

    let (code, report) = report(verify(&system, &[])).await;

    assert_eq!(code, 1);
    let is_named =
        |(check, subject, _): &(String, String, String)| check == "ledger" && subject == "the ledger";
    assert!(offences(&report).iter().any(is_named), "{report}");
}

#[tokio::test]
async fn an_empty_database_beside_a_gateway_with_charges_is_full_of_violations() {
    let (system, ids) = after_payments_by(&["sim_ok", "sim_ok", "sim_declined"]).await;
    let empty = TestDatabase::fresh().await;

    let (code, report) = report(verify(&system, &["--database-url", &empty.url])).await;

    assert_eq!((code, &report["payments"], &report["violations"]), (1, &0.into(), &2.into()), "{report}");
    for (check, subject, says) in offences(&report) {
        assert_eq!(check, "charge");
        assert!(ids[..2].iter().any(|id| id.to_string() == subject), "{subject}");
        assert!(says.contains("is no payment of ours, but the gateway took 12.30"), "{says}");
    }
}

#[tokio::test]
async fn only_the_first_offenders_are_named_but_all_are_counted() {
    let (system, _) = after_payments_by(&["sim_ok"]).await;
    let many = "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
                select 1000 + n, now(), 'charge', 'charge', 'order-' || n, 'ch_' || n, 5, 'EUR', 'order-' || n
                  from generate_series(1, 25000) n";
    behind_the_guards(&system.gateway_database.pool, many).await;

    let (code, report) = report(verify(&system, &[])).await;

    assert_eq!((code, &report["violations"], &report["charges"]), (1, &25_000.into(), &25_001.into()));
    assert_eq!(offences(&report).len(), 10);
}

#[tokio::test]
async fn many_pages_are_read_to_their_end() {
    let (system, ids) = after_payments_by(&["sim_ok"]).await;
    // Whole payments, each with all that belongs to it, in either database.
    let many = format!(
        "create temporary table copies as
             select gen_random_uuid() as copy, n from generate_series(1, 6500) n;
         insert into payments select p.* from copies cross join payments q
           cross join lateral jsonb_populate_record(q, jsonb_build_object('id', copy, 'gateway_key', null)) p where q.id = '{id}';
         insert into payment_events select e.* from copies cross join payment_events q
           cross join lateral jsonb_populate_record(q, jsonb_build_object('payment_id', copy,
                                                                          'evidence', evidence - 'gateway_key')) e where q.payment_id = '{id}';
         insert into ledger_transfers select t.* from copies cross join ledger_transfers q
           cross join lateral jsonb_populate_record(q, jsonb_build_object('payment_id', copy, 'id', copy)) t
          where q.payment_id = '{id}';
         insert into public_events select e.* from copies cross join public_events q
           cross join lateral jsonb_populate_record(q, jsonb_build_object('object', copy)) e where q.object = '{id}';
         insert into idempotency_keys
         select merchant_id, operation, customer_id, copy, fingerprint, copy, renderer, created_at
           from copies cross join idempotency_keys where payment_id = '{id}';
         drop table copies",
        id = ids[0].uuid()
    );
    behind_the_guards(&system.database.pool, &many).await;

    let (code, report) = report(verify(&system, &[])).await;

    // The gateway knows nothing of the copies. Everything else about them is right.
    assert_eq!(
        (code, &report["payments"], &report["violations"]),
        (1, &6_501.into(), &6_500.into()),
        "{report}"
    );
    let checks = report["checks"].as_array().unwrap().iter();
    let apart = ["accounts", "events", "refunds"];
    for check in checks.filter(|check| !apart.iter().any(|name| check["name"] == *name)) {
        let expected = if check["name"] == "charge" { 6_500 } else { 0 };
        assert_eq!((&check["checked"], &check["violations"]), (&6_501.into(), &expected.into()), "{check}");
    }
}

//! The ledger's entries: each transfer is two of them, one on either side, and they say what was transferred.

use domain::ids::PaymentId;
use serde_json::json;
use shared::operations::operator;
use sqlx::AssertSqlSafe;
use tests::{System, a_payment};

use crate::PROGRAM;

/// The entries of a payment: on which side of whose account, and how much of what.
async fn entries(system: &System, id: PaymentId) -> Vec<String> {
    let entries =
        "select concat_ws(' ', e.side, a.kind, coalesce(m.name, 'the house'), e.amount, e.currency, e.code)
           from ledger_entries e
           join ledger_accounts a on a.id = e.account_id
           left join merchants m on m.id = a.merchant_id
          where e.payment_id = $1 order by e.side desc";
    sqlx::query_scalar(entries).bind(id.uuid()).fetch_all(&system.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_payment_that_succeeds_is_a_debit_of_the_house_and_a_credit_of_its_merchant_and_others_are_nothing()
{
    let system = System::start(PROGRAM).await;
    let other = system.another_merchant("second").await;
    let ours = system.accepted(a_payment()).await;
    let yen = a_payment().amount("500").with("currency", json!("JPY"));
    let theirs = other.pay(yen).await.payment_id();
    let declined = system.accepted(a_payment().method("sim_declined")).await;
    let held = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.settled().await;

    assert_eq!(
        entries(&system, ours).await,
        [
            "debit gateway_clearing the house 12.30 EUR payment",
            "credit merchant_payable first 12.30 EUR payment"
        ]
    );
    assert_eq!(
        entries(&system, theirs).await,
        [
            "debit gateway_clearing the house 500 JPY payment",
            "credit merchant_payable second 500 JPY payment"
        ]
    );
    for id in [declined, held] {
        assert_eq!(entries(&system, id).await, [""; 0]);
    }
    let dossier = operator::dossier(&system.database.pool, ours, None).await.unwrap().unwrap();
    let shown: Vec<String> =
        dossier.entries.iter().map(|it| format!("{} {} {}", it.side, it.account, it.amount)).collect();
    assert_eq!(shown, ["debit gateway_clearing 12.30", "credit merchant_payable 12.30"]);
    system.assert_books_agree().await;
}

/// A change of what the entries are read by, and its name.
type Mistake = (&'static str, fn(&str) -> String);

/// What the entries could be mistaken for.
const MISTAKES: [Mistake; 4] = [
    ("two debits", |entries| entries.replace("'credit'", "'debit'")),
    ("one account on both sides", |entries| entries.replace("credit_account_id", "debit_account_id")),
    ("one side alone", |entries| format!("select * from ({entries}) e where e.side = 'debit'")),
    ("each twice", |entries| format!("select * from ({entries}) e union all select * from ({entries}) f")),
];

#[tokio::test]
async fn entries_that_are_not_those_of_the_transfers_are_seen_in_the_books() {
    let system = System::start(PROGRAM).await;
    system.ended(system.accepted(a_payment()).await).await;
    let pool = &system.database.pool;
    let read_by = "select trim(trailing ';' from pg_get_viewdef('ledger_entries'::regclass))";
    let right: String = sqlx::query_scalar(read_by).fetch_one(pool).await.unwrap();
    for (mistake, make) in MISTAKES {
        let wrong = make(&right);
        assert_ne!(wrong, right, "{mistake}");
        let view = format!("create or replace view ledger_entries as {wrong}");
        sqlx::raw_sql(AssertSqlSafe(view)).execute(pool).await.unwrap();

        let odds = system.violations().await;

        assert!(odds.iter().any(|odd| odd.contains("has the entries")), "{mistake}: {odds:?}");
    }
}

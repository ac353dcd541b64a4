//! Judges: `payonce verify` and reconciliation read the books of both gateways, and each charge belongs where
//! its payment is charged.

use serde_json::{Value, json};
use tests::{Exit, Process, Second, System};

use super::{accepted, all_succeed, two, works};
use crate::past::charged_at_the_gateway_of;
use crate::reconcile::open_breaks;
use crate::verify::{behind_the_guards, offences};

async fn verify(system: &System, second: &Second) -> (Exit, Process) {
    second.payonce(system, ["verify", "--json"]).await
}

/// Asserts that `payonce verify` finds nothing in the books of both.
pub(super) async fn is_clean(system: &System, second: &Second) {
    let (exit, process) = verify(system, second).await;
    assert_eq!(exit, Exit::Code(0), "{}{}", process.stdout(), process.stderr());
}

async fn reconciled(system: &System, second: &Second) -> (Exit, Value) {
    let (exit, process) = second.payonce(system, ["reconcile", "--json"]).await;
    (exit, serde_json::from_str(&process.stdout()).unwrap())
}

#[tokio::test]
async fn a_charge_at_another_gateway_than_the_payments_is_found_by_both_judges() {
    let (mut system, second, merchant) = two().await;
    works(&mut system, &second, &[]).await;
    let ids = accepted(&merchant, 1).await;
    all_succeed(&merchant, &ids).await;
    is_clean(&system, &second).await;
    let (exit, report) = reconciled(&system, &second).await;
    assert_eq!((exit, report["gateway_books"].as_str()), (Exit::Code(0), Some("compared")), "{report}");
    assert_eq!(report["books_of"], json!({ "default": "compared", "second": "compared" }));

    let key = system.gateway_key(ids[0]).await;
    charged_at_the_gateway_of(system.gateway.address("gateway"), &key, ids[0], "12.50").await;

    let (exit, process) = verify(&system, &second).await;
    let found = offences(&serde_json::from_str(&process.stdout()).unwrap());
    assert_eq!(exit, Exit::Code(1));
    assert_eq!(
        found.iter().map(|(check, of, _)| (check.as_str(), of.clone())).collect::<Vec<_>>(),
        [("charge", ids[0].to_string())]
    );
    assert_eq!(reconciled(&system, &second).await.0, Exit::Code(3));
    assert_eq!(open_breaks(&system).await, [format!("charge_unknown of key {key}")]);
}

#[tokio::test]
async fn an_unknown_charge_at_the_second_gateway_is_told_with_its_name_and_kept_as_an_orphan() {
    let (system, second, _) = two().await;
    let forgotten = domain::ids::PaymentId::generate();
    charged_at_the_gateway_of(second.process.address("gateway"), "some_key", forgotten, "3.00").await;

    assert_eq!(reconciled(&system, &second).await.0, Exit::Code(3));

    assert_eq!(open_breaks(&system).await, ["charge_unknown of gateway second key some_key"]);
    let orphans: Vec<(String, String)> =
        sqlx::query_as("select gateway, key from orphans").fetch_all(&system.database.pool).await.unwrap();
    assert_eq!(orphans, [("second".to_owned(), "some_key".to_owned())]);
}

#[tokio::test]
async fn without_the_books_of_a_gateway_that_merchants_have_nothing_is_judged() {
    let (system, second, _) = two().await;

    let (exit, process) = crate::verify::verify(&system, &[]).run().await;

    assert_eq!(exit, Exit::Code(1));
    assert_eq!(process.stdout(), "");
    assert!(process.stderr().contains("merchants have the gateways second"), "{}", process.stderr());
    drop(second);
}

#[tokio::test]
async fn one_gateway_that_is_away_keeps_no_other_from_being_compared() {
    let (mut system, mut second, merchant) = two().await;
    works(&mut system, &second, &[]).await;
    let ours = accepted(&system.client, 1).await;
    all_succeed(&system.client, &ours).await;
    let theirs = accepted(&merchant, 1).await;
    all_succeed(&merchant, &theirs).await;
    second.process.kill9();
    let key = "another_key";
    let forgotten = domain::ids::PaymentId::generate();
    charged_at_the_gateway_of(system.gateway.address("gateway"), key, forgotten, "3.00").await;

    let (_, report) = reconciled(&system, &second).await;

    assert_eq!(report["books_of"], json!({ "default": "compared", "second": "unreachable" }));
    assert_eq!(report["gateway_books"], "unreachable");
    assert!(report["gateway_books_why"].as_str().unwrap().starts_with("second: "), "{report}");
    assert!(report["charges"]["checked"].as_i64().unwrap() > 0, "{report}");
    assert_eq!(open_breaks(&system).await, [format!("charge_unknown of key {key}")]);
}

#[tokio::test]
async fn money_on_its_way_from_another_gateway_than_the_payments_is_found_by_both_judges() {
    let (mut system, second, merchant) = two().await;
    works(&mut system, &second, &[]).await;
    let (theirs, ours) = (accepted(&merchant, 1).await, accepted(&system.client, 1).await);
    all_succeed(&merchant, &theirs).await;
    all_succeed(&system.client, &ours).await;
    behind_the_guards(
        &system.database.pool,
        "update ledger_transfers t
            set debit_account_id = (select id from ledger_accounts where kind = 'gateway_clearing' and gateway = 'default')
          where payment_id = (select id from payments where gateway = 'second')",
    )
    .await;

    let (exit, process) = verify(&system, &second).await;
    assert_eq!(exit, Exit::Code(1));
    let found = offences(&serde_json::from_str(&process.stdout()).unwrap());
    assert_eq!(
        found.iter().map(|(check, of, _)| (check.as_str(), of.clone())).collect::<Vec<_>>(),
        [("ledger", theirs[0].to_string())]
    );
    assert_eq!(reconciled(&system, &second).await.0, Exit::Code(3));
    assert_eq!(open_breaks(&system).await, [format!("transfer_differs of {}", theirs[0])]);
}

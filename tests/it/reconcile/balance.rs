//! Account balances: added up from the transfers again and again, and never less than before.

use tests::{System, a_payment};

use super::{as_if_never_reconciled, behind_the_guards, open_breaks, reconcile};
use crate::PROGRAM;

async fn balances(system: &System) -> Vec<String> {
    let sql = "select a.kind || ' ' || b.debits || ' ' || b.credits || ' ' || b.transfers
                 from account_balances b join ledger_accounts a on a.id = b.account_id order by a.kind";
    sqlx::query_scalar(sql).fetch_all(&system.database.pool).await.unwrap()
}

#[tokio::test]
async fn balances_are_the_sums_of_the_transfers() {
    let mut system = System::start(PROGRAM).await;
    for amount in ["12.30", "0.70"] {
        system.ended(system.accepted(a_payment().amount(amount)).await).await;
    }
    system.workers[0].kill9();
    as_if_never_reconciled(&system).await;

    let (code, report) = reconcile(&system).await;
    let (_, second) = reconcile(&system).await;

    assert_eq!((code, &report["balances"]["checked"]), (0, &2.into()), "{report}");
    assert_eq!((&second["balances"]["checked"], &second["balances"]["found"]), (&2.into(), &0.into()));
    assert_eq!(balances(&system).await, ["gateway_clearing 13.00 0 2", "merchant_payable 0 13.00 2"]);
    assert_eq!(system.count("select count(*) from account_sums").await, 0);
    // As the page about the ledger says that a balance is read.
    let by_entries = "select count(*) from account_balances b
                       where b.debits - b.credits = (select sum(case side when 'debit' then amount else -amount end)
                                                       from ledger_entries e where e.account_id = b.account_id)";
    assert_eq!(system.count(by_entries).await, 2);
}

#[tokio::test]
async fn a_payment_that_vanished_with_its_transfer_is_missed_in_its_accounts() {
    let mut system = System::start(PROGRAM).await;
    let kept = system.accepted(a_payment()).await;
    let lost = system.accepted(a_payment()).await;
    for id in [kept, lost] {
        system.ended(id).await;
    }
    system.workers[0].kill9();
    as_if_never_reconciled(&system).await;
    assert_eq!(reconcile(&system).await.0, 0);
    let vanished = "delete from ledger_transfers where payment_id = $id; delete from payment_events where payment_id = $id;
                    delete from payments where id = $id";
    behind_the_guards(&system, vanished, lost).await;

    let (code, report) = reconcile(&system).await;
    let (_, second) = reconcile(&system).await;

    assert_eq!((code, &report["balances"]["breaks"]), (3, &2.into()), "{report}");
    assert_eq!(second["balances"]["found"], 0, "{second}");
    assert_eq!(
        open_breaks(&system).await.iter().filter(|it| it.starts_with("balance_shrank of account")).count(),
        2
    );
}

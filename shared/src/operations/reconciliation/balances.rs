//! Account balances: added up from the transfers while the walk goes over the payments, and compared with the
//! last time.
//!
//! Invariant: transfers are never changed or deleted. So a pass that began after another one had ended finds
//! at least what that one found. If it finds less, rows are gone or were altered, even if payment and
//! transfer went together.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::run::{Run, Step};
use super::{Counts, PAGE, say_opened};
use crate::database::{InTime as _, durable};
use crate::operations::breaks::{self, Finding};

/// Adds the transfers of these payments to the sums of the pass.
pub(super) async fn add(
    connection: &mut PgConnection,
    pass_began_at: DateTime<Utc>,
    payments: &[Uuid],
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into account_sums as s (pass_began_at, account_id, debits, credits, transfers)
         select $1, account_id, coalesce(sum(amount) filter (where side = 'debit'), 0),
                coalesce(sum(amount) filter (where side = 'credit'), 0), count(*)
           from (select debit_account_id as account_id, 'debit' as side, amount
                   from ledger_transfers where payment_id = any($2)
                 union all
                 select credit_account_id, 'credit', amount from ledger_transfers where payment_id = any($2)
                 union all
                 select a.account_id, a.side, t.amount
                   from operations o
                   join operation_transfers t on t.operation_id = o.id
                  cross join lateral (values (t.debit_account_id, 'debit'), (t.credit_account_id, 'credit')) as a (account_id, side)
                  where o.payment_id = any($2)) entries
          group by account_id
          order by account_id
             on conflict on constraint account_sums_pkey do update
            set debits = s.debits + excluded.debits,
                credits = s.credits + excluded.credits,
                transfers = s.transfers + excluded.transfers",
        pass_began_at,
        payments
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the pass: compares its sums with those of the last one, account by account, and puts them in their
/// place.
pub(super) async fn compare(pool: &PgPool, run: &mut Run) -> sqlx::Result<bool> {
    loop {
        let mut transaction = pool.begin().in_time().await?;
        let (checked, findings) = compare_page(&mut transaction, run.pass_began_at).await?;
        let opened = breaks::open(&mut transaction, findings).await?;
        run.findings.balances.add(Counts::of(checked, &opened));
        if checked == 0 {
            run.step = Step::Charges;
        }
        if !run.save(&mut transaction).await? {
            return Ok(false);
        }
        durable("reconcile_balances", transaction.commit()).await?;
        say_opened(&opened);
        if checked == 0 {
            return Ok(true);
        }
        run.rest().await;
    }
}

/// Takes the next accounts out of the pass's sums. An account that the pass did not find at all comes with
/// nothing.
async fn compare_page(
    connection: &mut PgConnection,
    pass_began_at: DateTime<Utc>,
) -> sqlx::Result<(usize, Vec<Finding>)> {
    // An account that the last pass knew and this one has not come across has lost all its transfers.
    let rows = sqlx::query!(
        "with summed as materialized (
             select account_id from account_sums where pass_began_at = $1 order by account_id limit $2),
         vanished as materialized (
             select b.account_id from account_balances b
              where b.pass_ended_at <= $1 and not exists (select from summed)
              order by b.account_id limit $2),
         taken as (
             delete from account_sums s using summed
              where s.pass_began_at = $1 and s.account_id = summed.account_id
             returning s.account_id, s.debits, s.credits, s.transfers),
         found as materialized (
             select account_id, debits, credits, transfers from taken
             union all
             select account_id, 0, 0, 0 from vanished),
         written as (
             insert into account_balances as b (account_id, debits, credits, transfers, pass_began_at, pass_ended_at)
             select account_id, debits, credits, transfers, $1, clock_timestamp() from found order by account_id
                 on conflict (account_id) do update
                set debits = excluded.debits, credits = excluded.credits, transfers = excluded.transfers,
                    pass_began_at = excluded.pass_began_at, pass_ended_at = excluded.pass_ended_at
              where b.pass_ended_at <= excluded.pass_began_at)
         select f.account_id as \"account_id!\", f.debits::text as \"debits!\", f.credits::text as \"credits!\",
                f.transfers as \"transfers!\", b.debits::text as \"debits_before?\", b.credits::text as \"credits_before?\",
                b.transfers as \"transfers_before?\",
                coalesce(f.debits < b.debits or f.credits < b.credits or f.transfers < b.transfers, false) as \"shrank!\"
           from found f
           left join account_balances b on b.account_id = f.account_id and b.pass_ended_at <= $1",
        pass_began_at,
        PAGE
    )
    .fetch_all(connection)
    .await?;
    let findings = rows.iter().filter(|row| row.shrank).map(|row| {
        let detail = json!({
            "before": { "debits": row.debits_before, "credits": row.credits_before, "transfers": row.transfers_before },
            "now": { "debits": row.debits, "credits": row.credits, "transfers": row.transfers },
        });
        Finding::about_other(format!("account {}", row.account_id), "balance_shrank", detail)
    });
    let findings = findings.collect();
    Ok((rows.len(), findings))
}

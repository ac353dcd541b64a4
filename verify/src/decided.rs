//! What was decided without a gateway: a payment from a balance is what its transfer says, and a payment is
//! in review exactly as long as its review is open, and not for longer than that may last.

use anyhow::Result;
use domain::ids::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use super::liveness::Rule;
use super::ours::advice;
use super::report::Check;

/// Compares payments from balances with transfers, and payments with reviews.
pub(super) async fn check(
    pool: &PgPool,
    rule: Rule,
    accounts: &mut Check,
    liveness: &mut Check,
) -> Result<()> {
    let balances = sqlx::query!(
        r#"select p.id as "id!", p.status as "status!", t.status as "transfer?"
             from payments p
             left join transfers t on t.id = p.id
             left join accounts c on c.id = t.credited
            where p.from_balance
              and (case p.status
                   when 'succeeded' then t.status = 'posted' and t.posted_amount = p.amount
                   when 'in_review' then t.status in ('pending', 'expired')
                   when 'failed' then t.id is null or t.status in ('voided', 'expired')
                   else false end
                   and (t.id is null or (t.merchant_id, t.currency, t.amount) = (p.merchant_id, p.currency, p.amount)
                                        and 'acc_' || replace(t.debited::text, '-', '') = p.payment_method
                                        and c.is_sales and c.merchant_id = p.merchant_id and c.currency = p.currency)) is not true"#
    );
    for row in balances.fetch_all(pool).await.map_err(advice)? {
        let transfer = row.transfer.unwrap_or_else(|| "none".to_owned());
        let says = format!("is {} from a balance, and its transfer is {transfer} or another one", row.status);
        accounts.blame(PaymentId::from(row.id), says);
    }
    for (id, says) in reviews(pool, rule).await? {
        liveness.blame(PaymentId::from(id), says);
    }
    Ok(())
}

/// The payments whose review says something else, or is over.
async fn reviews(pool: &PgPool, rule: Rule) -> Result<Vec<(Uuid, String)>> {
    let rows = sqlx::query!(
        r#"select p.id as "id!", p.status as "status!", coalesce(r.status, 'missing') as "review!",
                  coalesce(r.expires_at < clock_timestamp() - $1::float8 * interval '1 second', false) as "is_over!"
             from payments p
             full join reviews r on r.payment_id = p.id
            where (p.status = 'in_review') is distinct from (r.status = 'open') and (p.status = 'in_review' or r.status = 'open')
               or r.status = 'open' and r.expires_at < clock_timestamp() - $1::float8 * interval '1 second'
                  and p.created_at >= coalesce((select returned_at from installation), '-infinity')"#,
        f64::from(rule.grace_s)
    );
    let rows = rows.fetch_all(pool).await.map_err(advice)?;
    let says = |status: &str, review: &str, is_over: bool| match is_over {
        true => {
            "is in review, and nobody ended that although its time is over: does a worker run?".to_owned()
        }
        false => format!("is {status}, and its review is {review}"),
    };
    Ok(rows.into_iter().map(|row| (row.id, says(&row.status, &row.review, row.is_over))).collect())
}

//! Whose each charge of the gateway is, and whether our books say so too.
//!
//! A charge's reference says whose it is: the payment of that id, if the charge stands under its key. Else it
//! belongs to the payment that adopted what stands under that key, or to none.

use chrono::{DateTime, Utc};
use domain::ids::{GatewayName, PaymentId};
use domain::outcome::{Charge, ChargeStatus};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::books::WholeAt;
use super::copy::storable;
use crate::operations::breaks::{self, Finding};
use crate::payment::transition;

/// Those of these payments that ended otherwise than the journal of their gateway says, as far as the copy of
/// that journal is whole. What the gateway did without us is booked before that.
pub(super) async fn beside_the_gateways(
    pool: &PgPool,
    ids: &[Uuid],
    whole_at: &[WholeAt],
) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (gateway, whole_at) in whole_at {
        for adopted in transition::adopt_acts(pool, gateway, ids).await? {
            let (operation_id, payment_id) = (adopted.id, adopted.payment_id);
            tracing::warn!(event = "act_adopted", %payment_id, %operation_id, "the gateway did this without us; booked");
        }
        let rows = sqlx::query_file!("queries/reconcile_charges.sql", gateway.as_str(), ids, whole_at);
        let rows = rows.fetch_all(pool).await?;
        findings.extend(rows.into_iter().map(|row| Finding::about(row.payment_id, &row.kind, row.detail)));
    }
    Ok(findings)
}

/// Those of these keys under which something stands at the gateway that is no payment's. No payment with that
/// key has that reference, and none adopted it. A charge whose reference is no payment's id belongs to the
/// payment whose id is its key.
pub(super) async fn unknown(
    pool: &PgPool,
    gateway: &GatewayName,
    keys: &[String],
) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query_file!("queries/reconcile_unknown.sql", gateway.as_str(), keys);
    let rows = rows.fetch_all(pool).await?;
    let finding = |key: String, effects| {
        Finding::about_other(gateway.key_subject(&key), "charge_unknown", json!({ "gateway": effects }))
    };
    Ok(rows.into_iter().map(|row| finding(row.key, row.effects)).collect())
}

/// Records the keys that `unknown` found as charges of forgotten payments, so that a client that repeats such
/// a request finds them.
pub(super) async fn orphaned(
    connection: &mut PgConnection,
    gateway: &GatewayName,
    findings: &[Finding],
) -> sqlx::Result<()> {
    let before_key = gateway.key_subject("");
    let orphans: Vec<Value> = findings
        .iter()
        .filter(|finding| finding.kind == "charge_unknown")
        .filter_map(|finding| {
            match &finding.subject {
                breaks::Subject::Other(subject) => subject.strip_prefix(&before_key),
                breaks::Subject::Payment(_) => None,
            }
            .map(|key| json!({ "key": key, "effects": finding.detail["gateway"] }))
        })
        .collect();
    if orphans.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into orphans (gateway, key, reference, charge_id, amount, currency)
         select $1, o.key, min(e.reference), min(e.charge_id),
                sum(case e.kind when 'charge' then e.amount else -e.amount end), min(e.currency)
           from jsonb_to_recordset($2) as o (key text, effects jsonb)
          cross join lateral jsonb_to_recordset(o.effects)
             as e (kind text, charge_id text, amount numeric, currency text, reference text)
          group by o.key
             on conflict on constraint orphans_pkey do nothing",
        gateway.as_str(),
        Value::Array(orphans)
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Those of a gateway's charges that it does not show as succeeded, although a payment had succeeded by
/// them before it was asked. A charge is left out if two people have corrected it already, or agreed to.
pub(super) async fn denied(
    pool: &PgPool,
    gateway: &GatewayName,
    listed: &[Charge],
    asked_at: DateTime<Utc>,
) -> sqlx::Result<Vec<Finding>> {
    let not_made = listed.iter().filter_map(|charge| {
        let status = match charge.status {
            ChargeStatus::Pending => "pending",
            ChargeStatus::Failed => "failed",
            // Whether something is gone again is for the journal to say.
            ChargeStatus::Succeeded | ChargeStatus::Voided | ChargeStatus::Refunded | ChargeStatus::Other => {
                return None;
            }
        };
        // By its reference, or by its key if the reference is none of ours.
        let named = |text: &str| text.parse::<PaymentId>().ok().map(PaymentId::uuid);
        let id = charge.reference.as_deref().and_then(named).or_else(|| named(&charge.key));
        Some((id, storable(&charge.key), storable(&charge.id), status.to_owned()))
    });
    let not_made: Vec<(Option<Uuid>, String, String, String)> = not_made.collect();
    let rows = sqlx::query!(
        "select p.id, l.charge_id as \"charge_id!\", l.status as \"status!\"
           from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as l (id, key, charge_id, status)
           left join orphans o on o.gateway = $6 and o.key = l.key
           join payments p on p.id = coalesce(o.adopted_by, l.id)
          where (p.gateway = $6) is true and p.status = 'succeeded' and p.gateway_transaction_id = l.charge_id and p.terminal_at <= $5
            and not exists (select from corrections c
                             where c.payment_id = p.id and c.approved_at is not null and c.ended_at is null)
            and coalesce((select c.amount > 0 and (c.charge_id <> l.charge_id) is not true
                            from corrections c
                           where c.payment_id = p.id and c.outcome = 'posted'
                           order by c.id desc limit 1), true)",
        &not_made.iter().map(|(id, ..)| *id).collect::<Vec<_>>() as &[Option<Uuid>],
        &not_made.iter().map(|(_, key, ..)| key.clone()).collect::<Vec<_>>(),
        &not_made.iter().map(|(_, _, charge_id, _)| charge_id.clone()).collect::<Vec<_>>(),
        &not_made.iter().map(|(.., status)| status.clone()).collect::<Vec<_>>(),
        asked_at,
        gateway.as_str()
    )
    .fetch_all(pool)
    .await?;
    let detail = |charge_id, status| json!({ "payment": { "status": "succeeded" }, "gateway": { "charge_id": charge_id, "status": status } });
    Ok(rows
        .into_iter()
        .map(|row| Finding::about(row.id, "charge_denied", detail(row.charge_id, row.status)))
        .collect())
}

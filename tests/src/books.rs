//! Compares our books with the gateway's journal, and ours among themselves, as anybody could from outside.

use std::collections::{BTreeMap, HashMap};

use domain::ids::PaymentId;
use rust_decimal::Decimal;
use serde_json::Value;
use shared::payment::Event;
use shared::payment::history;
use sqlx::PgPool;
use uuid::Uuid;

/// The gateway's journal, whole, page by page.
pub async fn journal(gateway: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row["seq"].as_i64().expect("seq is a number"));
        let url = format!("{gateway}/journal?after={after}&limit=1000");
        let page: Value =
            reqwest::get(url).await.expect("the gateway answers").json().await.expect("a journal page");
        rows.extend(page["data"].as_array().cloned().expect("a page has data"));
        if page["has_more"] != true {
            return rows;
        }
    }
}

/// A row of the journal as `kind op http_status`.
#[must_use]
pub fn in_words(row: &Value) -> String {
    let status = row["http_status"].as_u64().map(|status| format!(" {status}")).unwrap_or_default();
    format!("{} {}{status}", row["kind"].as_str().unwrap_or_default(), row["op"].as_str().unwrap_or_default())
}

/// What the gateway took for each reference, or for the payment that adopted what stands under its key:
/// charges less voids, and how many charges stand.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Taken {
    net: Decimal,
    standing: i64,
}

fn taken(journal: &[Value], adopters: &HashMap<String, String>) -> HashMap<String, Taken> {
    let mut taken: HashMap<String, Taken> = HashMap::new();
    for row in journal {
        let sign = match row["kind"].as_str() {
            Some("charge") => 1,
            Some("void" | "refund") if !row["charge_id"].is_null() => -1,
            _ => continue,
        };
        let amount: Decimal = row["amount"].as_str().and_then(|a| a.parse().ok()).unwrap_or_default();
        let adopter = row["key"].as_str().and_then(|key| adopters.get(key)).map(String::as_str);
        let of = adopter.or(row["reference"].as_str()).unwrap_or_default();
        let of = taken.entry(of.to_owned()).or_default();
        of.net += amount * Decimal::from(sign);
        of.standing += sign;
    }
    taken
}

struct PaymentRow {
    id: Uuid,
    status: String,
    amount: Decimal,
    held_reason: Option<String>,
    transfers: i64,
    transferred: Option<Decimal>,
    /// The amount that stands at the gateway after all, as two people said. None without a correction.
    corrected: Option<Decimal>,
}

/// All contradictions, one sentence each.
pub async fn violations(pool: &PgPool, journal: &[Value]) -> Vec<String> {
    let payments = sqlx::query_as!(
        PaymentRow,
        "select p.id, case when p.from_balance and p.status = 'succeeded' then 'paid' else p.status end as \"status!\", p.amount, p.held_reason, count(t.id) filter (where t.code = 'payment') as \"transfers!\",
                sum(case a.kind when 'gateway_clearing' then t.amount else -t.amount end) as transferred,
                (select c.amount from corrections c where c.payment_id = p.id and c.outcome = 'posted'
                  order by c.id desc limit 1) as corrected
           from payments p
           left join ledger_transfers t on t.payment_id = p.id
           left join ledger_accounts a on a.id = t.debit_account_id
          group by p.id"
    )
    .fetch_all(pool)
    .await
    .expect("payments can be read");
    let adopted: Vec<(String, Uuid)> =
        sqlx::query_as("select key, adopted_by from orphans where adopted_by is not null")
            .fetch_all(pool)
            .await
            .expect("orphans can be read");
    let adopters = adopted.into_iter().map(|(key, id)| (key, PaymentId::from(id).to_string())).collect();
    let taken = taken(journal, &adopters);
    let mut odds = Vec::new();
    for payment in &payments {
        let id = PaymentId::from(payment.id).to_string();
        let at_gateway = taken.get(&id).cloned().unwrap_or_default();
        let is_terminal = matches!(payment.status.as_str(), "succeeded" | "failed" | "reversed" | "paid");
        let owed = if payment.status == "succeeded" { payment.amount } else { Decimal::ZERO };
        let (posted, expected_transfers) =
            (payment.transferred.unwrap_or_default(), i64::from(owed > Decimal::ZERO));
        let owed = payment.corrected.unwrap_or(owed);
        if is_terminal && at_gateway.net != owed {
            odds.push(format!(
                "{id} is {}: {owed} owed, the gateway took {}",
                payment.status, at_gateway.net
            ));
        }
        if at_gateway.standing > 1 {
            odds.push(format!("{id} was charged {} times", at_gateway.standing));
        }
        if payment.transfers != expected_transfers || posted != owed {
            odds.push(format!("{id} is {}: {} transfers of {posted}", payment.status, payment.transfers));
        }
        if !is_terminal && payment.held_reason.is_none() && payment.status != "in_review" {
            odds.push(format!("{id} has not ended"));
        }
    }
    let known: Vec<String> = payments.iter().map(|p| PaymentId::from(p.id).to_string()).collect();
    for (reference, _) in
        taken.iter().filter(|(reference, taken)| taken.standing > 0 && !known.contains(reference))
    {
        odds.push(format!("the gateway charged {reference:?}, which is no payment of ours"));
    }
    odds.extend(ledger(pool).await);
    odds.extend(histories(pool, &payments).await);
    odds.extend(blind_charges(journal));
    odds
}

/// Each transfer has one entry on either side, in the accounts of the house and of the payment's merchant,
/// and each account comes to the same by its entries as by its transfers.
async fn ledger(pool: &PgPool) -> Vec<String> {
    let odds = "
        select format('the transfer %s of %s has the entries %s', t.code, t.payment_id,
                      string_agg(concat_ws(' ', e.side, e.amount, e.currency, a.kind, a.merchant_id), ', '))
          from ledger_transfers t
          join payments p on p.id = t.payment_id
          left join ledger_entries e on e.transfer_id = t.id
          left join ledger_accounts a on a.id = e.account_id
         group by t.id, t.code, t.payment_id
        having count(*) <> 2 or count(distinct e.side) <> 2 or count(distinct a.kind) <> 2
            or bool_or(e.amount <> t.amount or e.currency <> p.currency or a.currency <> p.currency
                       or a.merchant_id is distinct from
                          (case a.kind when 'merchant_payable' then p.merchant_id end)
                       or t.code = 'payment' and (e.side = 'debit') <> (a.kind = 'gateway_clearing'))
         union all
        select format('the account %s comes to %s by its entries and to %s by its transfers', a.id, e.sum, t.sum)
          from ledger_accounts a
         cross join lateral (select coalesce(sum(case side when 'debit' then amount else -amount end), 0) as sum
                               from ledger_entries where account_id = a.id) e
         cross join lateral (select coalesce(sum(case a.id when debit_account_id then amount else -amount end), 0) as sum
                               from ledger_transfers where a.id in (debit_account_id, credit_account_id)) t
         where e.sum <> t.sum
         union all
        select format('all accounts together come to %s %s',
                      sum(case side when 'debit' then amount else -amount end), currency)
          from ledger_entries group by currency
        having sum(case side when 'debit' then amount else -amount end) <> 0";
    sqlx::query_scalar(odds).fetch_all(pool).await.expect("the ledger can be read")
}

/// Events 1..n without gaps, legal, and folding to the row.
async fn histories(pool: &PgPool, payments: &[PaymentRow]) -> Vec<String> {
    let rows = sqlx::query!(
        "select payment_id, version, type as event_type, from_status, to_status, reason, evidence, claim_token, due_at,
                spends, correlation_id, at
           from payment_events order by payment_id, version"
    )
    .fetch_all(pool)
    .await
    .expect("events can be read");
    let mut events: BTreeMap<Uuid, Vec<Event>> = BTreeMap::new();
    for row in rows {
        events.entry(row.payment_id).or_default().push(Event {
            version: row.version,
            event_type: row.event_type,
            from_status: row.from_status,
            to_status: row.to_status,
            reason: row.reason,
            evidence: row.evidence,
            claim_token: row.claim_token,
            due_at: row.due_at,
            spends: row.spends,
            correlation_id: row.correlation_id,
            at: row.at,
        });
    }
    let mut odds = Vec::new();
    for payment in payments {
        let id = PaymentId::from(payment.id);
        match history::fold(events.get(&payment.id).map_or(&[], Vec::as_slice)) {
            Err(why) => odds.push(format!("{id}: its history: {why}")),
            Ok(folded) => {
                let row = history::row(pool, id).await.expect("the payment can be read");
                if folded != row {
                    odds.push(format!("{id}: its history gives {folded:?}, its row is {row:?}"));
                }
            }
        }
    }
    odds
}

/// Charge requests without a look-up before them, after an answer that left it unknown whether there was
/// a charge.
fn blind_charges(journal: &[Value]) -> Vec<String> {
    let mut in_doubt: HashMap<&str, bool> = HashMap::new();
    let mut odds = Vec::new();
    for row in journal {
        let Some(key) = row["key"].as_str() else { continue };
        let is = |kind: &str, op: &str| row["kind"] == kind && row["op"] == op;
        if is("answer", "charge") {
            in_doubt.insert(key, matches!(row["http_status"].as_u64(), None | Some(202 | 500 | 502)));
        } else if is("request", "lookup") || is("request", "void") {
            in_doubt.insert(key, false);
        } else if is("request", "charge") && in_doubt.get(key) == Some(&true) {
            odds.push(format!("{key} was charged again without a lookup after an unknown answer"));
        }
    }
    odds
}

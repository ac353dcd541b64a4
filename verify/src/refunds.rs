//! Refunds, returns and disputes: each that stands here stands there, and moved what its status says. A
//! refund that succeeded was made once at the gateway, exactly as asked, and each that failed was not. Each
//! moved what its status says, its events are whole, and the totals of its payment are what its refunds add
//! up to. None was made beyond what was captured.
//!
//! A refund is committed before the gateway is asked for it. So a refund in the journal that is none of ours,
//! when our books are read once more, is nobody's.

use std::collections::HashMap;

use anyhow::Result;
use domain::ids::{GatewayName, OperationId, PaymentId};
use sqlx::PgPool;
use uuid::Uuid;

use super::amount::Amount;
use super::journal::Row;
use super::liveness::Rule;
use super::ours::advice;
use super::report::Check;

/// The refunds, or totals, that are read at a time.
const PAGE: i64 = 2_000;

/// A row of `operations`, with its events and transfers in words.
#[derive(Debug)]
struct RefundRow {
    id: Uuid,
    gateway: String,
    gateway_key: Option<String>,
    gateway_transaction_id: Option<String>,
    charge_id: String,
    amount: String,
    currency: String,
    kind: String,
    status: String,
    origin: String,
    version: i32,
    is_held: bool,
    has_open_break: bool,
    overdue_s: Option<f64>,
    /// The types of its events by version, which must be 1 to its own.
    events: Vec<String>,
    event_versions: Vec<i32>,
    /// Code, amount, currency, and both accounts of each transfer, in the order of the codes.
    transfers: Vec<String>,
    /// How its transfers must read, by the rules.
    founded: Vec<String>,
}

/// One refund of ours, and the times that the gateway's journal shows it.
#[derive(Debug)]
struct Refund {
    id: Uuid,
    kind: String,
    status: String,
    charge_id: String,
    amount: Option<Amount>,
    currency: String,
    as_asked: u32,
    otherwise: u32,
    /// How a dispute ended, by the journal.
    ended: Option<&'static str>,
}

/// A refund of the journal that is none of ours so far.
#[derive(Debug)]
struct Stranger {
    gateway: GatewayName,
    row: Row<'static>,
}

/// All refunds, and the gateway's beside them.
#[derive(Debug, Default)]
pub(super) struct Refunds {
    refunds: Vec<Refund>,
    /// Places in the list above, by gateway and key, and by gateway and the gateway's id.
    by_key: HashMap<(String, String), usize>,
    by_id: HashMap<(String, String), usize>,
    strangers: Vec<Stranger>,
    /// What the gateway did without us and nobody has booked yet, by its id.
    unbooked: Vec<String>,
    in_flight: u64,
}

impl Refunds {
    /// How many refunds the machine still works on.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Reads all refunds and totals, and checks what no gateway has to be asked about. `away` are the
    /// gateways whose refunds may wait.
    pub(super) async fn read(
        &mut self,
        pool: &PgPool,
        (rule, away): (Rule, &[String]),
        check: &mut Check,
    ) -> Result<()> {
        let mut after = Uuid::nil();
        loop {
            let rows = page(pool, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in rows {
                check.checked += 1;
                let is_away = away.contains(&row.gateway);
                for why in wrong(&row, rule, is_away) {
                    check.blame(OperationId::from(row.id), why);
                }
                self.in_flight += u64::from(row.status == "pending" && !row.is_held);
                self.add(row);
            }
        }
        totals(pool, check).await
    }

    fn add(&mut self, row: RefundRow) {
        let at = self.refunds.len();
        if let Some(key) = row.gateway_key {
            self.by_key.insert((row.gateway.clone(), key), at);
        }
        if let Some(id) = row.gateway_transaction_id {
            self.by_id.insert((row.gateway, id), at);
        }
        self.refunds.push(Refund {
            id: row.id,
            kind: row.kind,
            status: row.status,
            charge_id: row.charge_id,
            amount: Amount::parse(&row.amount),
            currency: row.currency,
            as_asked: 0,
            otherwise: 0,
            ended: None,
        });
    }

    /// Books a row of a gateway's journal if it is a refund that says by its own key or id which one. Answers
    /// whether it was.
    pub(super) fn book(&mut self, gateway: &GatewayName, row: &Row<'_>) -> bool {
        if row.kind == "request" {
            self.note_another_key(gateway, row);
            return false;
        }
        let is_act = matches!(&*row.kind, "refund" | "return" | "dispute" | "dispute_won" | "dispute_lost");
        if !is_act || row.act_key.is_none() && row.act_id.is_none() {
            return false;
        }
        let place = |of: &Option<std::borrow::Cow<'_, str>>| {
            of.as_deref().map(|text| (gateway.to_string(), text.to_owned()))
        };
        let by_key = place(&row.act_key).and_then(|place| self.by_key.get(&place).copied());
        let found = by_key.or_else(|| place(&row.act_id).and_then(|place| self.by_id.get(&place).copied()));
        let Some(refund) = found.and_then(|at| self.refunds.get_mut(at)) else {
            self.strangers.push(Stranger { gateway: gateway.clone(), row: row.to_owned_row() });
            return true;
        };
        let is_as_asked = row.charge_id.as_deref() == Some(&refund.charge_id)
            && row.amount.as_deref().and_then(Amount::parse) == refund.amount
            && refund.amount.is_some()
            && row.currency.as_deref() == Some(&refund.currency);
        match &*row.kind {
            "dispute_won" if is_as_asked => refund.ended = Some("won"),
            "dispute_lost" if is_as_asked => refund.ended = Some("lost"),
            kind if is_as_asked && kind == refund.kind => refund.as_asked += 1,
            _ => refund.otherwise += 1,
        }
        true
    }

    /// A request for a refund of ours under a key that is not its own can have made it twice, be that booked
    /// or not.
    fn note_another_key(&mut self, gateway: &GatewayName, row: &Row<'_>) {
        let (Some(key), Some(named)) = (row.act_key.as_deref(), row.reference.as_deref()) else { return };
        let Ok(id) = named.parse::<OperationId>() else { return };
        let of_key = self.by_key.get(&(gateway.to_string(), key.to_owned()));
        if of_key.and_then(|at| self.refunds.get(*at)).is_some_and(|refund| refund.id == id.uuid()) {
            return;
        }
        if let Some(refund) = self.refunds.iter_mut().find(|refund| refund.id == id.uuid()) {
            refund.otherwise += 1;
        }
    }

    /// Looks for the refunds of the journal that came to our books meanwhile. The others are handed to `see`.
    pub(super) async fn meet_strangers(
        &mut self,
        pool: &PgPool,
        mut see: impl FnMut(&GatewayName, &Row<'_>),
    ) -> Result<()> {
        let strangers = std::mem::take(&mut self.strangers);
        if strangers.is_empty() {
            return Ok(());
        }
        let known = self.refunds.iter().map(|refund| refund.id).max().unwrap_or_default();
        let mut after = known;
        loop {
            let rows = page(pool, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            rows.into_iter().for_each(|row| self.add(row));
        }
        for stranger in &strangers {
            self.book(&stranger.gateway, &stranger.row);
        }
        for Stranger { gateway, row } in std::mem::take(&mut self.strangers) {
            if row.kind == "refund" {
                see(&gateway, &row);
            } else {
                self.unbooked.push(row.act_id.as_deref().unwrap_or_default().to_owned());
            }
        }
        Ok(())
    }

    /// Names each refund that the gateway made otherwise than our books say.
    pub(super) fn judge(&self, check: &mut Check) {
        for id in &self.unbooked {
            check.blame(id, "stands in the gateway's journal, and is not booked: payonce reconcile books it");
        }
        for refund in &self.refunds {
            let (as_asked, otherwise) = (refund.as_asked, refund.otherwise);
            let is_fine = otherwise == 0
                && match refund.status.as_str() {
                    "succeeded" => as_asked == 1,
                    "failed" => as_asked == 0,
                    // Its end may not be booked yet.
                    "open" => as_asked == 1,
                    end @ ("won" | "lost") => as_asked == 1 && refund.ended == Some(end),
                    _ => as_asked <= 1,
                };
            if !is_fine {
                let says = format!(
                    "is {}, but the gateway made it {as_asked} times as asked and {otherwise} times otherwise",
                    refund.status
                );
                check.blame(OperationId::from(refund.id), says);
            }
        }
    }
}

/// Sentences about what is wrong with a refund by itself.
fn wrong(row: &RefundRow, rule: Rule, is_away: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let versions: Vec<i32> = (1..=row.version).collect();
    if row.event_versions != versions {
        wrong.push(format!("has version {}, but the events {:?}", row.version, row.event_versions));
    }
    let last = row.events.last().map_or("", String::as_str);
    let is_end = |event: &&String| matches!(event.as_str(), "succeeded" | "failed" | "won" | "lost");
    let ends = row.events.iter().filter(is_end).count();
    let is_over = !matches!(row.status.as_str(), "pending" | "open");
    if is_over && last != row.status || ends != usize::from(is_over) {
        wrong.push(format!("is {}, but its last event is {last}, and {ends} of them end it", row.status));
    }
    if row.transfers != row.founded {
        wrong.push(format!("is {}, but its transfers are {:?}", row.status, row.transfers));
    }
    if row.is_held && !row.has_open_break {
        wrong.push("is held, but no open break asks a person about it".to_owned());
    }
    if let Some(overdue_s) = row.overdue_s {
        if rule.at_rest {
            wrong.push("is under way".to_owned());
        } else if overdue_s > f64::from(rule.grace_s) && !is_away {
            wrong.push(format!("has been due for {overdue_s:.0} s, and no worker looked"));
        } else if -overdue_s > f64::from(rule.longest_wait_s) {
            wrong.push(format!("is due only in {:.0} s", -overdue_s));
        }
    }
    if row.origin == "gateway" && !matches!(row.status.as_str(), "succeeded" | "open" | "won" | "lost") {
        wrong.push(format!("was made by the gateway, and is {}", row.status));
    }
    wrong
}

async fn page(pool: &PgPool, after: Uuid) -> Result<Vec<RefundRow>> {
    let rows = sqlx::query_as!(
        RefundRow,
        r#"select o.id, o.gateway, o.gateway_key, o.gateway_transaction_id, o.charge_id, o.amount::text as "amount!",
                  o.currency, o.kind, o.status, o.origin, o.version, o.held_reason is not null as "is_held!",
                  exists (select from breaks b where b.subject = 'refund re_' || replace(o.id::text, '-', '')
                                                 and b.closed_at is null) as "has_open_break!",
                  extract(epoch from clock_timestamp() - o.due_at)::float8 as overdue_s,
                  array(select e.type from operation_events e where e.operation_id = o.id order by e.version) as "events!",
                  array(select e.version from operation_events e where e.operation_id = o.id order by e.version) as "event_versions!",
                  array(select concat_ws(' ', t.code, t.amount::text, t.currency, d.kind, d.currency, d.gateway, d.merchant_id,
                                         c.kind, c.currency, c.gateway, c.merchant_id)
                          from operation_transfers t
                          left join ledger_accounts d on d.id = t.debit_account_id
                          left join ledger_accounts c on c.id = t.credit_account_id
                         where t.operation_id = o.id
                         order by t.code) as "transfers!",
                  array(select concat_ws(' ', r.code, o.amount::text, o.currency, r.debit, o.currency,
                                         case r.debit when 'merchant_payable' then 'default ' || o.merchant_id else o.gateway end,
                                         r.credit, o.currency,
                                         case r.credit when 'merchant_payable' then 'default ' || o.merchant_id else o.gateway end)
                          from (values ('refund', 'api', 'pending', 'refund_reserved', 'merchant_payable', 'refunds_in_transit'),
                                       ('refund', 'api', 'succeeded', 'refund_reserved', 'merchant_payable', 'refunds_in_transit'),
                                       ('refund', 'api', 'succeeded', 'refund_sent', 'refunds_in_transit', 'gateway_clearing'),
                                       ('refund', 'api', 'failed', 'refund_reserved', 'merchant_payable', 'refunds_in_transit'),
                                       ('refund', 'api', 'failed', 'refund_released', 'refunds_in_transit', 'merchant_payable'),
                                       ('refund', 'gateway', 'succeeded', 'refund_adopted', 'merchant_payable', 'gateway_clearing'),
                                       ('return', 'gateway', 'succeeded', 'returned', 'merchant_payable', 'gateway_clearing'),
                                       ('dispute', 'gateway', 'open', 'dispute_opened', 'merchant_payable', 'disputed_funds'),
                                       ('dispute', 'gateway', 'won', 'dispute_opened', 'merchant_payable', 'disputed_funds'),
                                       ('dispute', 'gateway', 'won', 'dispute_won', 'disputed_funds', 'merchant_payable'),
                                       ('dispute', 'gateway', 'lost', 'dispute_opened', 'merchant_payable', 'disputed_funds'),
                                       ('dispute', 'gateway', 'lost', 'dispute_lost', 'disputed_funds', 'gateway_clearing'))
                               as r (kind, origin, status, code, debit, credit)
                         where r.kind = o.kind and r.origin = o.origin and r.status = o.status
                         order by r.code) as "founded!"
             from operations o
            where o.id > $1
            order by o.id
            limit $2"#,
        after,
        PAGE
    );
    rows.fetch_all(pool).await.map_err(advice)
}

/// Compares the totals of payments with their refunds. What is asked for, done and made by the gateway is
/// added up anew.
async fn totals(pool: &PgPool, check: &mut Check) -> Result<()> {
    let mut after = Uuid::nil();
    loop {
        let rows = sqlx::query!(
            r#"select ids.payment_id as "payment_id!", t.captured::text as captured,
                      (coalesce(t.reserved, 0), coalesce(t.refunded, 0), coalesce(t.adopted, 0), coalesce(t.returned, 0),
                       coalesce(t.disputed, 0), coalesce(t.disputes, 0))
                          = (s.reserved, s.refunded, s.adopted, s.returned, s.disputed, s.disputes) as "is_sum!",
                      s.reserved + s.refunded <= coalesce(t.captured, 0) as "is_within!",
                      p.status is not distinct from 'succeeded' and p.amount = t.captured as "is_captured!"
                 from (select payment_id from refund_totals where payment_id > $1
                        union
                       select payment_id from operations where payment_id > $1
                        order by payment_id
                        limit $2) ids
                 left join refund_totals t on t.payment_id = ids.payment_id
                 left join payments p on p.id = ids.payment_id
                cross join lateral (
                      select coalesce(sum(o.amount) filter (where o.status = 'pending'), 0) as reserved,
                             coalesce(sum(o.amount) filter (where o.status = 'succeeded' and o.origin = 'api'), 0) as refunded,
                             coalesce(sum(o.amount) filter (where o.origin = 'gateway' and o.kind = 'refund'), 0) as adopted,
                             coalesce(sum(o.amount) filter (where o.kind = 'return'), 0) as returned,
                             coalesce(sum(o.amount) filter (where o.kind = 'dispute' and o.status <> 'won'), 0) as disputed,
                             count(*) filter (where o.status = 'open') as disputes
                        from operations o
                       where o.payment_id = ids.payment_id) s
                order by ids.payment_id"#,
            after,
            PAGE
        );
        let rows = rows.fetch_all(pool).await.map_err(advice)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.payment_id;
        for row in &rows {
            let id = PaymentId::from(row.payment_id);
            if !row.is_sum {
                check.blame(id, "has totals of refunds that its refunds do not add up to");
            }
            if !row.is_within {
                check.blame(id, "gives back more than was captured");
            }
            if !row.is_captured {
                let captured = row.captured.as_deref().unwrap_or("nothing");
                check.blame(id, format!("gives back a captured {captured}, which it is not"));
            }
        }
    }
}

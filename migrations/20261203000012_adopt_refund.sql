-- The statement that books a refund which the gateway made without us.
-- Old code may run meanwhile: yes (a new function).

-- Adopts one refund of the copy of a gateway's journal: an operation that is over, its transfer, and the totals. Answers its id, or none
-- if it stands here already, or is not adopted: only a refund of the very charge by which a payment succeeded is, and none of a payment
-- that two people put right. Within a volatile function each step sees what was committed before it: whether it stands here is read
-- after the totals are locked, which whoever takes up a refund locks, too.
create function adopt_refund(its_gateway text, its_seq bigint, payment uuid) returns uuid language plpgsql volatile as $$
declare
    e gateway_effects;
    p payments;
    t refund_totals;
    failed uuid;
    made uuid := gen_random_uuid();
    at_ timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'refunds are adopted in read committed alone, where each step sees what its locks found'
            using errcode = 'invalid_transaction_state';
    end if;
    select * into e from gateway_effects where gateway = its_gateway and seq = its_seq and kind = 'refund' and act_id is not null and amount > 0;
    select * into p from payments
     where id = payment and gateway = its_gateway and status = 'succeeded' and gateway_transaction_id = e.charge_id and currency = e.currency;
    if e.seq is null or p.id is null or p.created_at < (select own_since from installation)
       or exists (select from corrections c where c.payment_id = p.id and c.approved_at is not null
                                              and (c.outcome is null or c.outcome = 'posted')) then
        return null;
    end if;
    insert into refund_totals (payment_id, captured) values (p.id, p.amount) on conflict do nothing;
    select * into t from refund_totals where payment_id = p.id for update;
    -- One of ours, under way or done; or one of ours without its key in the journal, which the next look will tell.
    if exists (select from operations o where o.gateway = e.gateway
                                          and (o.gateway_transaction_id = e.act_id or o.gateway_key = e.act_key and o.status <> 'failed'))
       or e.act_key is null and exists (select from operations o
                                         where o.payment_id = p.id and o.status = 'pending' and o.amount = e.amount) then
        return null;
    end if;
    failed := (select o.id from operations o where o.gateway = e.gateway and o.gateway_key = e.act_key);
    at_ := clock_timestamp();
    insert into operations (id, payment_id, merchant_id, kind, origin, amount, currency, gateway, gateway_key, charge_id, metadata,
                            correlation_id, created_at, status, may_send, gateway_transaction_id, version, updated_at, terminal_at)
    values (made, p.id, p.merchant_id, 'refund', 'gateway', e.amount, e.currency, e.gateway, case when failed is null then e.act_key end,
            e.charge_id, '{}', p.correlation_id, at_, 'succeeded', false, e.act_id, 2, at_, at_);
    insert into operation_events (operation_id, version, type, evidence, at)
    values (made, 1, 'created', jsonb_build_object('kind', 'refund', 'payment_id', p.id, 'amount', e.amount::text, 'currency', e.currency,
                                                   'origin', 'gateway', 'seq', e.seq), at_),
           (made, 2, 'succeeded', jsonb_build_object('seq', e.seq, 'at', e.at, 'transaction_id', e.act_id), at_);
    update refund_totals set adopted = adopted + e.amount, version = version + 1 where payment_id = p.id;
    insert into operation_transfers (operation_id, code, debit_account_id, credit_account_id, amount, currency, created_at)
    values (made, 'refund_adopted',
            (select a.id from ledger_accounts a
              where a.kind = 'merchant_payable' and a.currency = p.currency and a.merchant_id = p.merchant_id and a.gateway = 'default'),
            (select a.id from ledger_accounts a
              where a.kind = 'gateway_clearing' and a.currency = p.currency and a.merchant_id is null and a.gateway = p.gateway),
            e.amount, e.currency, at_);
    if failed is not null then
        insert into breaks (subject, kind, detail, opened_at)
        values ('refund re_' || replace(failed::text, '-', ''), 'refunded_after_end',
                jsonb_build_object('payment', 'pay_' || replace(p.id::text, '-', ''), 'transaction_id', e.act_id, 'amount', e.amount::text),
                at_)
            on conflict (subject, kind) where closed_at is null and subject is not null do nothing;
    end if;
    if t.reserved + t.refunded + t.adopted + e.amount > t.captured then
        insert into breaks (payment_id, kind, detail, opened_at)
        values (p.id, 'over_refunded',
                jsonb_build_object('captured', t.captured::text, 'transaction_id', e.act_id, 'amount', e.amount::text,
                                   'before', (t.reserved + t.refunded + t.adopted)::text), at_)
            on conflict (payment_id, kind) where closed_at is null do nothing;
    end if;
    return made;
end $$;

-- The statement that books what the gateway did without us: refunds, late returns and disputes.
-- Old code may run meanwhile: yes (a new function).

-- Adopts one act of the copy of a gateway's journal: an operation that is over, its transfer, and the totals. Answers its id, or none
-- if it stands here already, or is not adopted: only what was done to the very charge by which a payment succeeded is, and nothing of a payment
-- that two people put right. Within a volatile function each step sees what was committed before it: whether it stands here is read
-- after the totals are locked, which whoever takes up a refund locks, too.
create function adopt_act(its_gateway text, its_seq bigint, payment uuid) returns uuid language plpgsql volatile as $$
declare
    e gateway_effects;
    p record;
    t refund_totals;
    failed uuid;
    word text;
    made uuid := gen_random_uuid();
    at_ timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'acts are adopted in read committed alone, where each step sees what its locks found'
            using errcode = 'invalid_transaction_state';
    end if;
    select * into e from gateway_effects where gateway = its_gateway and seq = its_seq and kind not in ('charge', 'void')
                                             and act_id is not null and amount > 0;
    select * into p from payments
     where id = payment and gateway = its_gateway and status = 'succeeded' and gateway_transaction_id = e.charge_id and currency = e.currency;
    if e.seq is null or p.id is null or p.created_at < (select own_since from installation)
       or exists (select from corrections c where c.payment_id = p.id and c.approved_at is not null
                                              and (c.outcome is null or c.outcome = 'posted')) then
        return null;
    end if;
    insert into refund_totals (payment_id, captured) values (p.id, p.amount) on conflict do nothing;
    select * into t from refund_totals where payment_id = p.id for update;
    if e.kind in ('dispute_won', 'dispute_lost') then
        return end_dispute(e, p.id);
    end if;
    -- One of ours, under way or done; or one of ours without its key in the journal, which the next look will tell.
    if exists (select from operations o where o.gateway = e.gateway
                                          and (o.gateway_transaction_id = e.act_id or o.gateway_key = e.act_key and o.status <> 'failed'))
       or e.kind = 'refund' and e.act_key is null
          and exists (select from operations o where o.payment_id = p.id and o.status = 'pending' and o.amount = e.amount) then
        return null;
    end if;
    word := case e.kind when 'dispute' then 'open' else 'succeeded' end;
    failed := (select o.id from operations o where o.gateway = e.gateway and o.gateway_key = e.act_key);
    at_ := clock_timestamp();
    insert into operations (id, payment_id, merchant_id, kind, origin, amount, currency, gateway, gateway_key, charge_id, metadata,
                            correlation_id, created_at, status, may_send, gateway_transaction_id, version, updated_at, terminal_at)
    values (made, p.id, p.merchant_id, e.kind, 'gateway', e.amount, e.currency, e.gateway, case when failed is null then e.act_key end,
            e.charge_id, '{}', p.correlation_id, at_, word, false, e.act_id, 2, at_, case e.kind when 'dispute' then null else at_ end);
    insert into operation_events (operation_id, version, type, evidence, at)
    values (made, 1, 'created', jsonb_build_object('kind', e.kind, 'payment_id', p.id, 'amount', e.amount::text, 'currency', e.currency,
                                                   'origin', 'gateway', 'seq', e.seq), at_),
           (made, 2, word, jsonb_build_object('seq', e.seq, 'at', e.at, 'transaction_id', e.act_id), at_);
    update refund_totals
       set adopted = adopted + case e.kind when 'refund' then e.amount else 0 end,
           returned = returned + case e.kind when 'return' then e.amount else 0 end,
           disputed = disputed + case e.kind when 'dispute' then e.amount else 0 end,
           disputes = disputes + (e.kind = 'dispute')::int,
           version = version + 1
     where payment_id = p.id;
    perform post_act(made, p.id, case e.kind when 'refund' then 'refund_adopted' when 'return' then 'returned' else 'dispute_opened' end,
                     'merchant_payable', case e.kind when 'dispute' then 'disputed_funds' else 'gateway_clearing' end, e.amount, at_);
    if failed is not null then
        insert into breaks (subject, kind, detail, opened_at)
        values ('refund re_' || replace(failed::text, '-', ''), 'refunded_after_end',
                jsonb_build_object('payment', 'pay_' || replace(p.id::text, '-', ''), 'transaction_id', e.act_id, 'amount', e.amount::text),
                at_)
            on conflict (subject, kind) where closed_at is null and subject is not null do nothing;
    end if;
    if t.reserved + t.refunded + t.adopted + t.returned + t.disputed + e.amount > t.captured then
        insert into breaks (payment_id, kind, detail, opened_at)
        values (p.id, 'over_refunded',
                jsonb_build_object('captured', t.captured::text, 'transaction_id', e.act_id, 'amount', e.amount::text,
                                   'before', (t.reserved + t.refunded + t.adopted + t.returned + t.disputed)::text), at_)
            on conflict (payment_id, kind) where closed_at is null do nothing;
    end if;
    return made;
end $$;

-- The end of a dispute that stands here open. One that is not here yet is adopted before its end, which stands later in the journal.
create function end_dispute(e gateway_effects, payment uuid) returns uuid language plpgsql volatile as $$
declare
    is_won constant boolean := e.kind = 'dispute_won';
    ended uuid;
    now_at constant timestamptz := clock_timestamp();
begin
    update operations o
       set status = case when is_won then 'won' else 'lost' end, version = o.version + 1, updated_at = now_at, terminal_at = now_at
     where o.gateway = e.gateway and o.gateway_transaction_id = e.act_id and o.kind = 'dispute' and o.status = 'open'
       and o.payment_id = payment and o.amount = e.amount and o.currency = e.currency
    returning o.id into ended;
    if ended is null then
        return null;
    end if;
    insert into operation_events (operation_id, version, type, evidence, at)
    select o.id, o.version, o.status, jsonb_build_object('seq', e.seq, 'at', e.at), now_at from operations o where o.id = ended;
    update refund_totals
       set disputed = disputed - case when is_won then e.amount else 0 end, disputes = disputes - 1, version = version + 1
     where payment_id = payment;
    perform post_act(ended, payment, e.kind, 'disputed_funds', case when is_won then 'merchant_payable' else 'gateway_clearing' end, e.amount,
                     now_at);
    return ended;
end $$;

-- One transfer of an operation, between accounts of these kinds. An account that is missing is opened.
create function post_act(operation uuid, payment uuid, its_code text, debit text, credit text, moved numeric, at_ timestamptz)
returns void language plpgsql volatile as $$
declare
    p record;
begin
    select * into p from payments where id = payment;
    insert into ledger_accounts (kind, currency, gateway)
    select k, p.currency, p.gateway from unnest(array[debit, credit]) as k where k = 'disputed_funds'
        on conflict on constraint ledger_accounts_one_each do nothing;
    insert into operation_transfers (operation_id, code, debit_account_id, credit_account_id, amount, currency, created_at)
    select operation, its_code, d.id, c.id, moved, p.currency, at_
      from (select (select a.id from ledger_accounts a
                     where a.kind = debit and a.currency = p.currency
                       and a.merchant_id is not distinct from case debit when 'merchant_payable' then p.merchant_id end
                       and a.gateway = case debit when 'merchant_payable' then 'default' else p.gateway end) as id) d,
           (select (select a.id from ledger_accounts a
                     where a.kind = credit and a.currency = p.currency
                       and a.merchant_id is not distinct from case credit when 'merchant_payable' then p.merchant_id end
                       and a.gateway = case credit when 'merchant_payable' then 'default' else p.gateway end) as id) c;
end $$;

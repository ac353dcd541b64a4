-- The statement that takes up a refund.
-- Old code may run meanwhile: yes (a new function). Whoever changes what it takes or answers makes another one beside it, since
-- programs of before call this one meanwhile.

-- Takes up a refund, refuses it, or says what its key stands for. Within a volatile function each step sees what was committed before
-- that step, so what is read after a lock is current.
--
-- What is repeated waits for nothing. A payment that is over never changes, so it is read without a lock, and what settles other
-- payments waits for no refund. The totals put the refunds of a payment, and their keys, into one order: a key's scope is its payment.
--
-- Verdicts: `done`; `refused`, which the key remembers; `remembered`, with the fingerprint of the request that took the key; `reused`, if
-- the key was another refund's before that was forgotten here; and `no_payment`. The last two leave nothing behind.
create function refund_payment(merchant uuid, payment uuid, client_key text, print bytea, first_answer smallint, operation uuid,
                               -- What to give back. Null means all that is left.
                               asked numeric, why text, facts jsonb, correlation text)
returns table (verdict text, code text, detail jsonb, fingerprint bytea, renderer smallint, object_id uuid, recorded_at timestamptz)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    scope constant text := 'pay_' || replace(payment::text, '-', '');
    p record;
    t refund_totals;
    taken_over operations;
    rest numeric;
    wanted numeric;
    its_key text;
    word text;
    said jsonb;
    at_ timestamptz;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'refunds are taken up in read committed alone, where each step sees what its locks found'
            using errcode = 'invalid_transaction_state';
    end if;
    perform door_is_open() from installation where must_restore is not null;
    return query select * from refund_key(merchant, scope, client_key);
    if found then
        return;
    end if;

    select * into p from payments where id = payment and merchant_id = merchant;
    if p.id is null then
        return query select 'no_payment', null::text, null::jsonb, null::bytea, null::smallint, null::uuid, null::timestamptz;
        return;
    end if;
    -- What was paid from a balance is given back by a transfer.
    if p.status <> 'succeeded' or p.from_balance or p.created_at < (select own_since from installation)
       -- Of what two people put right they give back the rest.
       or exists (select from corrections c where c.payment_id = p.id and c.approved_at is not null and c.outcome is distinct from 'refused'
                                              and c.outcome is distinct from 'withdrawn') then
        word := 'payment_not_refundable';
        said := jsonb_build_object('status', p.status) || case when p.from_balance then '{"from_balance": true}' else '{}' end::jsonb;
    else
        insert into refund_totals (payment_id, captured) values (p.id, p.amount) on conflict do nothing;
        select * into t from refund_totals where payment_id = p.id for update;
        return query select * from refund_key(merchant, scope, client_key);
        if found then
            return;
        end if;
        its_key := operation_key('refund', merchant, coalesce(p.gateway_key, scope), client_key);
        -- What was refunded under this key, and then forgotten here, is that refund: it is known from the gateway's books.
        select * into taken_over from operations o where o.gateway = p.gateway and o.gateway_key = its_key;
        if taken_over.amount <> asked then
            return query select 'reused', null::text, null::jsonb, null::bytea, null::smallint, taken_over.id, null::timestamptz;
            return;
        end if;
        rest := greatest(t.captured - t.reserved - t.refunded - t.adopted - t.returned - t.disputed, 0);
        wanted := coalesce(asked, rest);
        if taken_over.id is null and t.disputes > 0 then
            word := 'payment_disputed';
            said := '{}';
        elsif taken_over.id is null and (wanted > rest or wanted <= 0) then
            word := 'amount_exceeds_refundable';
            said := jsonb_build_object('refundable', rest::text, 'currency', p.currency);
        end if;
    end if;
    at_ := clock_timestamp();
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, renderer, created_at, object_id,
                                  outcome_code, outcome_detail)
    values (merchant, 'refund_payment', scope, client_key, print, first_answer, at_, coalesce(taken_over.id, operation), word, said)
        on conflict on constraint idempotency_keys_pkey do nothing;
    if not found then
        -- The payment succeeded between two requests with this key, so that they had no lock in common.
        return query select * from refund_key(merchant, scope, client_key);
        return;
    end if;
    if word is null and taken_over.id is null then
        perform reserve_refund(p.id, operation, wanted, its_key, why, facts, correlation, at_);
    end if;
    return query select case when word is null then 'done' else 'refused' end, word, said, print, first_answer,
                        coalesce(taken_over.id, operation), at_;
end $$;

-- What a key of a refund stands for.
create function refund_key(merchant uuid, scope text, client_key text)
returns table (verdict text, code text, detail jsonb, fingerprint bytea, renderer smallint, object_id uuid, recorded_at timestamptz)
language sql stable as $$
    select 'remembered', i.outcome_code, i.outcome_detail, i.fingerprint, i.renderer, i.object_id, i.created_at
      from idempotency_keys i
     where i.merchant_id = merchant and i.operation = 'refund_payment' and i.customer_id = scope and i.key = client_key
$$;

-- The operation, its first event, what it reserves, and the transfer that says so.
create function reserve_refund(payment uuid, operation uuid, wanted numeric, its_key text, why text, facts jsonb, correlation text,
                               at_ timestamptz)
returns void language plpgsql volatile as $$
declare
    p record;
begin
    select * into p from payments where id = payment;
    insert into operations (id, payment_id, merchant_id, kind, origin, amount, currency, gateway, gateway_key, charge_id, reason, metadata,
                            correlation_id, created_at, status, due_at, may_send, version, updated_at)
    values (operation, p.id, p.merchant_id, 'refund', 'api', wanted, p.currency, p.gateway, its_key, p.gateway_transaction_id, why, facts,
            correlation, at_, 'pending', at_, true, 1, at_);
    insert into operation_events (operation_id, version, type, evidence, due_at, at)
    values (operation, 1, 'created',
            jsonb_build_object('kind', 'refund', 'payment_id', p.id, 'amount', wanted::text, 'currency', p.currency,
                               'gateway_key', its_key, 'charge_id', p.gateway_transaction_id), at_, at_);
    update refund_totals set reserved = reserved + wanted, version = version + 1 where payment_id = p.id;
    insert into ledger_accounts (kind, currency, gateway) values ('refunds_in_transit', p.currency, p.gateway)
        on conflict on constraint ledger_accounts_one_each do nothing;
    insert into operation_transfers (operation_id, code, debit_account_id, credit_account_id, amount, currency, created_at)
    values (operation, 'refund_reserved',
            (select a.id from ledger_accounts a
              where a.kind = 'merchant_payable' and a.currency = p.currency and a.merchant_id = p.merchant_id and a.gateway = 'default'),
            (select a.id from ledger_accounts a
              where a.kind = 'refunds_in_transit' and a.currency = p.currency and a.merchant_id is null and a.gateway = p.gateway),
            wanted, p.currency, at_);
end $$;

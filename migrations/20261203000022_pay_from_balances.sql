-- The statements that pay from balances, and that decide reviews.
-- Old code may run meanwhile: yes (new functions).

-- Decides payments from balances, each whole or not at all, one after the other, as one statement. A payment's verdict: `done`, also where
-- it was refused, which is its outcome; or `unfit`, `again` or `held`, as `move_money` says, which leave nothing behind.
--
-- Accounts are locked first, by their ids, while nothing is held that anybody waits for: a key is locked by its hash, which nobody waits
-- for either. Then come the rows of keys and the counters of rules, in the order in which payments by card take them. These lock no
-- account, so this statement may wait for them. What cannot be decided after that fails it as a whole: a counter that was counted up for
-- nothing would refuse another request.
create function pay_from_balances(
    -- Each payment.
    ids uuid[], merchants uuid[], customers text[], keys text[], fingerprints bytea[], amounts numeric[], currencies text[],
    methods text[], descriptions text[], metadatas jsonb[], correlation_ids text[],
    -- An id for the account for sales, should there be none yet, and a zero with the digits of the currency.
    sales uuid[], zeros numeric[],
    -- The word for the operation whose keys these are, and the number of the renderer.
    operation text, renderer smallint,
    -- As `move_money` takes them.
    hold_max integer, held uuid[], passes_over_held boolean)
returns table (request integer, verdict text, code text, detail jsonb)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    asked constant integer := cardinality(ids);
    patience constant text := current_setting('lock_timeout');
    verdicts text[];
    codes text[];
    details jsonb[];
    froms uuid[];
    tos uuid[];
    locked uuid[];
    won uuid[];
    -- What the rules say, and for how many seconds a person may look.
    risks jsonb[] := array_fill(null::jsonb, array[asked]);
    waits integer[] := array_fill(null::integer, array[asked]);
    -- The payments that money is to move for, what became of them, when, and until when it is only reserved.
    kept integer[];
    refusals text[] := array_fill(null::text, array[asked]);
    facts jsonb[] := array_fill(null::jsonb, array[asked]);
    times timestamptz[] := array_fill(null::timestamptz, array[asked]);
    ends timestamptz[] := array_fill(null::timestamptz, array[asked]);
    it record;
    r integer;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'money moves in read committed alone, where each step sees what its locks found'
            using errcode = 'invalid_transaction_state';
    end if;
    perform door_is_open() from installation where must_restore is not null;

    -- Keys. The second request with one key waits for what becomes of the first.
    select array_agg(case when k.nth > 1 then 'again'
                          when not pg_try_advisory_xact_lock(1886545260, hashtext(concat_ws(' ', k.merchant, operation, k.customer, k.key)))
                          then 'again' end order by k.n)
      into verdicts
      from (select u.*, row_number() over (partition by merchant, customer, key order by n) as nth
              from unnest(merchants, customers, keys) with ordinality as u (merchant, customer, key, n)) k;
    select array_agg(case when exists (select from idempotency_keys i
                                        where i.merchant_id = k.merchant and i.operation = pay_from_balances.operation
                                          and i.customer_id = k.customer and i.key = k.key)
                          then 'again' else k.verdict end order by k.n)
      into verdicts
      from unnest(merchants, customers, keys, verdicts) with ordinality as k (merchant, customer, key, verdict, n);

    -- Whose accounts they are never changes, and is read without a lock. Nobody pays from what may owe, or from sales.
    select array_agg(account_of(u.method) order by u.n),
           array_agg(case when u.verdict is null and (a.id is null or a.currency <> u.currency) then 'unfit' else u.verdict end order by u.n),
           array_agg(case when u.verdict is not null then null when a.id is null then 'account_not_found'
                          when a.currency <> u.currency then 'currency_mismatch' end order by u.n),
           array_agg(case when u.verdict is not null then null
                          when a.id is null then jsonb_build_object('account', account_of(u.method), 'index', 0)
                          when a.currency <> u.currency then jsonb_build_object('currency', a.currency, 'index', 0) end order by u.n)
      into froms, verdicts, codes, details
      from unnest(merchants, customers, currencies, methods, verdicts)
        with ordinality as u (merchant, customer, currency, method, verdict, n)
      left join accounts a on a.id = account_of(u.method) and a.merchant_id = u.merchant and a.owner = u.customer
                          and not a.is_sales and not a.allow_negative;

    insert into accounts (id, merchant_id, currency, owner, allow_negative, credits_posted, debits_posted, credits_pending, debits_pending,
                          is_sales)
    select distinct on (u.merchant, u.currency) u.id, u.merchant, u.currency, 'sales', false, u.zero, u.zero, u.zero, u.zero, true
      from unnest(merchants, currencies, sales, zeros, verdicts) as u (merchant, currency, id, zero, verdict)
     where u.verdict is null
       and not exists (select from accounts a where a.merchant_id = u.merchant and a.currency = u.currency and a.is_sales)
     order by u.merchant, u.currency
        on conflict (merchant_id, currency) where is_sales do nothing;
    select array_agg(a.id order by u.n) into tos
      from unnest(merchants, currencies) with ordinality as u (merchant, currency, n)
      left join accounts a on a.merchant_id = u.merchant and a.currency = u.currency and a.is_sales;

    -- Accounts. Who needs one that another session was found to have is left out.
    for r in 1 .. asked loop
        if verdicts[r] is null and (froms[r] = any (held) or tos[r] = any (held)) then
            verdicts[r] := 'held';
            details[r] := jsonb_build_object('account', case when froms[r] = any (held) then froms[r] else tos[r] end);
        end if;
    end loop;
    if passes_over_held then
        select array_agg(a.id) into locked
          from (select id from accounts
                 where id in (select unnest(array[u.debited, u.credited]) from unnest(froms, tos, verdicts) as u (debited, credited, verdict)
                               where u.verdict is null)
                 order by id for update skip locked) a;
    else
        perform set_config('lock_timeout', '250ms', true);
        select array_agg(a.id) into locked
          from (select id from accounts
                 where id in (select unnest(array[u.debited, u.credited]) from unnest(froms, tos, verdicts) as u (debited, credited, verdict)
                               where u.verdict is null)
                 order by id for update) a;
        perform set_config('lock_timeout', patience, true);
    end if;
    for r in 1 .. asked loop
        if verdicts[r] is null and not (froms[r] = any (locked) and tos[r] = any (locked)) is true then
            verdicts[r] := 'held';
            details[r] := jsonb_build_object('account', case when froms[r] = any (locked) then tos[r] else froms[r] end);
        end if;
    end loop;

    -- Keys, their rows. One that a payment by card has taken meanwhile is that one's.
    set constraints idempotency_keys_payment_id_fkey deferred;
    with inserted as (
        insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
        select u.merchant, operation, u.customer, u.key, u.fingerprint, u.id, renderer, clock_timestamp()
          from unnest(ids, merchants, customers, keys, fingerprints, verdicts) as u (id, merchant, customer, key, fingerprint, verdict)
         where u.verdict is null
         order by u.merchant, u.customer, u.key
            on conflict on constraint idempotency_keys_pkey do nothing
        returning payment_id)
    select array_agg(payment_id) into won from inserted;
    for r in 1 .. asked loop
        if verdicts[r] is null and (ids[r] = any (won)) is not true then
            verdicts[r] := 'again';
        end if;
    end loop;

    if exists (select from risk_rules where removed_at is null) then
        for it in
            select array_position(ids, j.payment_id) as n, j.risk, j.review_s
              from (select array_agg(ids[n] order by n) as ids, array_agg(merchants[n] order by n) as merchants,
                           array_agg(customers[n] order by n) as customers, array_agg(amounts[n] order by n) as amounts,
                           array_agg(currencies[n] order by n) as currencies, array_agg(methods[n] order by n) as methods
                      from generate_series(1, asked) as n where verdicts[n] is null) u
             cross join lateral judge(u.ids, u.merchants, u.customers, u.amounts, u.currencies, u.methods) j
             where u.ids is not null
        loop
            risks[it.n] := it.risk;
            if it.risk ->> 'decision' = 'review' then
                waits[it.n] := it.review_s;
            elsif it.risk ->> 'decision' = 'deny' then
                verdicts[it.n] := 'denied';
                times[it.n] := clock_timestamp();
            end if;
        end loop;
    end if;

    -- Money. What waits for a person is reserved for as long.
    select array_agg(n order by n) into kept from generate_series(1, asked) as n where verdicts[n] is null;
    for it in
        select m.*
          from (select array_agg(merchants[k] order by n) as merchants, array_agg(ids[k] order by n) as ids,
                       array_agg(froms[k] order by n) as froms, array_agg(tos[k] order by n) as tos,
                       array_agg(amounts[k] order by n) as amounts, array_agg(currencies[k] order by n) as currencies,
                       array_agg(waits[k] is not null order by n) as are_holds,
                       array_agg(clock_timestamp() + waits[k] * interval '1 second' order by n) as ends,
                       array_agg(n::integer order by n) as numbers, count(*)::integer as many
                  from unnest(kept) with ordinality as k (k, n)) u
         cross join lateral move_money(
                u.merchants, array_fill(null::text, array[many]), array_fill(null::text, array[many]), array_fill(null::text, array[many]),
                array_fill(null::bytea, array[many]), array_fill(false, array[many]), u.ids, renderer,
                u.numbers, array_fill('transfer'::text, array[many]), u.ids, u.froms, u.tos, u.amounts, u.currencies,
                u.are_holds, u.ends, hold_max, hold_max, '{}', true) as m
         where u.many > 0
    loop
        r := kept[it.request];
        if it.verdict not in ('done', 'refused') then
            raise exception 'payment % was not decided: %', ids[r], concat_ws(' ', it.verdict, it.code, it.detail)
                using errcode = 'lock_not_available';
        end if;
        refusals[r] := it.code;
        facts[r] := it.detail;
        times[r] := coalesce(it.created_at, clock_timestamp());
        ends[r] := case when it.verdict = 'done' then it.expires_at end;
    end loop;

    for r in 1 .. asked loop
        continue when times[r] is null;
        verdicts[r] := case when verdicts[r] = 'denied' or refusals[r] is not null then 'failed'
                            when ends[r] is not null then 'in_review' else 'succeeded' end;
        codes[r] := case when refusals[r] is not null then refusals[r] when verdicts[r] = 'failed' then 'risk_denied' end;
        details[r] := jsonb_strip_nulls(jsonb_build_object(
            'outcome', case verdicts[r] when 'in_review' then 'in_review' when 'succeeded' then 'paid'
                                        else case when refusals[r] is null then 'denied' else 'short' end end,
            'risk', risks[r], 'available', facts[r] ->> 'available'));
    end loop;
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, description, metadata, correlation_id,
                          created_at, gateway_key, from_balance, accepted_as, status, version, updated_at, terminal_at, failure_code,
                          failure_message, failure_retryable)
    select u.id, u.merchant, u.customer, u.amount, u.currency, u.method, u.description, u.metadata, u.correlation_id, u.at,
           -- Nothing is charged under it. But it says that the same request was the same before a restore.
           'pk1_' || left(encode(sha256((select length_prefixed('pk1') || length_prefixed(key_space) || length_prefixed(operation)
                                           from installation where key_scheme = 2)
                                        || length_prefixed(u.merchant::text) || length_prefixed(u.customer)
                                        || length_prefixed(u.key)), 'hex'), 40),
           true, u.detail, u.verdict, 2, u.at, case when u.verdict <> 'in_review' then u.at end, u.code,
           case u.code when 'insufficient_funds' then 'the account has less available' when 'risk_denied' then 'refused by the rules of risk'
                       end,
           case when u.code is not null then false end
      from unnest(ids, merchants, customers, amounts, currencies, methods, descriptions, metadatas, correlation_ids, keys, times, verdicts,
                  codes, details)
        as u (id, merchant, customer, amount, currency, method, description, metadata, correlation_id, key, at, verdict, code, detail)
     where u.at is not null
     order by u.id;
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at)
    select p.id, e.version, e.type, e.from_status, e.to_status, e.reason, e.evidence, p.correlation_id, p.created_at
      from (select * from payments where id in (select u.id from unnest(ids, times) as u (id, at) where u.at is not null)) p
     cross join lateral (
            values (1, 'created', null, 'pending', null,
                    jsonb_build_object('merchant_id', p.merchant_id, 'customer_id', p.customer_id, 'amount', p.amount::text,
                                       'currency', p.currency, 'payment_method', p.payment_method, 'description', p.description,
                                       'metadata', p.metadata, 'gateway_key', p.gateway_key, 'look_first', false, 'from_balance', true,
                                       'accepted_as', p.accepted_as)),
                   (2, case p.status when 'in_review' then 'review_started' else p.status end, 'pending', p.status,
                    case p.status when 'in_review' then 'risk' when 'succeeded' then 'balance' else p.failure_code end,
                    case p.status when 'failed'
                         then jsonb_build_object('failure', jsonb_build_object('code', p.failure_code, 'message', p.failure_message,
                                                                               'retryable', p.failure_retryable))
                         else jsonb_build_object('transfer_id', 'trf_' || replace(p.id::text, '-', '')) end))
        as e (version, type, from_status, to_status, reason, evidence)
     order by p.id, e.version;
    insert into reviews (payment_id, merchant_id, risk, opened_at, expires_at, status)
    select u.id, u.merchant, u.risk, u.at, u.ends, 'open'
      from unnest(ids, merchants, risks, times, ends, verdicts) as u (id, merchant, risk, at, ends, verdict)
     where u.at is not null and u.verdict = 'in_review'
     order by u.id;

    return query
    select u.n::integer, case when u.at is null then u.verdict else 'done' end, case when u.at is null then u.code end,
           case when u.at is null then u.detail end
      from unnest(verdicts, codes, details, times) with ordinality as u (verdict, code, detail, at, n);
end $$;

-- Decides a review, once: who comes second is told who came first. A verdict: the payment's new
-- status; `before`, if it was decided so already; `otherwise`;
-- `none`, if there is no such review here; `early`, if it is not over yet; `forgotten`, if the past came back, so that it may have been
-- approved before: then it can only be approved, by which the gateway is asked first.
--
-- Locks: the payment, then its accounts. Nobody waits for a payment who has an account.
create function decide_review(payment uuid, decision text, decider text, credential text, note text, job_id text, job bytea, queue text,
                              lease_ms bigint, hold_max integer)
returns text language plpgsql volatile as $$
#variable_conflict use_column
declare
    p payments;
    its reviews;
    holds transfers;
    it record;
    act text := decision;
    moment timestamptz;
    is_of_before boolean;
begin
    if not may_claim() then
        raise exception 'nothing is decided while a past that came back was not looked into'
            using errcode = 'cannot_connect_now', hint = 'run `payonce restored`';
    end if;
    select * into p from payments where id = decide_review.payment
                                    and created_at >= (select own_since from installation) for no key update;
    select * into its from reviews where payment_id = p.id;
    if its.payment_id is null then
        return 'none';
    elsif its.status <> 'open' then
        return case when its.status = decision then 'before' else 'otherwise' end;
    end if;
    moment := clock_timestamp();
    is_of_before := not p.from_balance and p.created_at < coalesce((select returned_at from installation), '-infinity');
    if is_of_before and decision <> 'approved' then
        return 'forgotten';
    elsif moment >= its.expires_at and not is_of_before then
        act := 'expired';
    elsif decision = 'expired' then
        return 'early';
    end if;
    if p.from_balance then
        -- Who has found it due may have given back what it reserved.
        select * into holds from transfers where id = p.id;
        if holds.status = 'expired' then
            act := 'expired';
        else
            select m.* into it
              from move_money(array[null]::uuid[], array[null]::text[], array[null]::text[], array[null]::text[], array[null]::bytea[],
                              array[false], array[p.id], 1::smallint, array[1],
                              array[case act when 'approved' then 'post' when 'denied' then 'void' else 'expire' end], array[p.id],
                              array[null]::uuid[], array[null]::uuid[], array[null]::numeric[], array[null]::text[], array[false],
                              array[null]::timestamptz[], hold_max, hold_max, '{}', false) m;
            if it.verdict = 'refused' and it.code = 'transfer_expired' then
                act := 'expired';
            elsif it.verdict <> 'done' then
                raise exception 'review of % was not decided: %', p.id, concat_ws(' ', it.verdict, it.code, it.detail)
                    using errcode = 'lock_not_available';
            end if;
        end if;
    end if;

    update reviews
       set status = act, decided_at = moment, decided_by = case when act = decision then decider else 'payonce' end,
           decided_with = case when act = decision then credential end, note = case when act = decision then decide_review.note end
     where payment_id = p.id;
    update payments u
       set status = case when act <> 'approved' then 'failed' when p.from_balance then 'succeeded' else 'pending' end,
           version = u.version + 1,
           due_at = case when act = 'approved' and not p.from_balance then moment end,
           approved_at = case when act = 'approved' and not p.from_balance then moment end,
           terminal_at = case when act <> 'approved' or p.from_balance then moment end,
           failure_code = case act when 'denied' then 'risk_denied' when 'expired' then 'review_expired' end,
           failure_message = case act when 'denied' then 'refused by a person' when 'expired' then 'nobody approved it in time' end,
           failure_retryable = case when act <> 'approved' then false end,
           updated_at = moment
     where u.id = p.id
    returning u.* into p;
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, due_at, correlation_id, at)
    values (p.id, p.version, case p.status when 'pending' then 'approved' else p.status end, 'in_review', p.status,
            coalesce(p.failure_code, 'approved'),
            jsonb_strip_nulls(jsonb_build_object('by', case when act = decision then decider else 'payonce' end,
                                                 'reason', case when act = decision then decide_review.note end,
                                                 'transfer_id', case when p.from_balance then 'trf_' || replace(p.id::text, '-', '') end))
                || case when p.status = 'failed'
                        then jsonb_build_object('failure', jsonb_build_object('code', p.failure_code, 'message', p.failure_message,
                                                                              'retryable', p.failure_retryable))
                        else '{}' end,
            p.due_at, p.correlation_id, moment);
    if is_of_before then
        -- It may have been approved before, and charged. That is looked at before anything else, as of every payment that came back.
        update payments u
           set status = 'processing', version = u.version + 1, look_first = true, in_doubt = true, doubt_since = moment,
               first_sent_at = u.created_at, send_by = moment + lease_ms * interval '1 millisecond', updated_at = moment
         where u.id = p.id
        returning u.* into p;
        insert into payment_events (payment_id, version, type, from_status, to_status, evidence, due_at, correlation_id, at)
        values (p.id, p.version, 'restored', 'pending', 'processing',
                jsonb_build_object('epoch', (select epoch from installation), 'by', decider, 'send_by', p.send_by,
                                   'first_sent_at', p.first_sent_at),
                p.due_at, p.correlation_id, moment);
    end if;
    if p.due_at is not null then
        insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key)
        values (job_id, queue, job_for(job, p.gateway), 'Pending', 0, 1, now(), 0, ''::hstore, p.id || ':' || p.version)
            on conflict (job_type, idempotency_key) do nothing;
    end if;
    return case when act = decision then p.status else 'otherwise' end;
end $$;

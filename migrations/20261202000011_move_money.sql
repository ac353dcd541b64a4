-- The statement that moves money between accounts: transfers, holds, and what becomes of holds.
-- Old code may run meanwhile: yes (a new function). Whoever changes what it takes or answers makes another one beside it, since
-- programs of before call this one meanwhile.

-- Does what the requests ask for, each whole or not at all, one after the other, as one statement. Within a volatile function each
-- step sees what was committed before that step, so what is read after a lock is current; and the steps have an order.
--
-- Locks are taken in the order of all statements: keys, then accounts by their ids. A key is locked by its hash and not by its row,
-- since the row is never changed and has to tell the outcome, which is known only after the accounts were read. Nothing waits for a
-- key. A transfer has no lock of its own: it is changed only by who has locked the account that it debits. Accounts that are needed
-- later are never waited for, so they have no place in the order.
--
-- A request's verdict: `done`; `refused`, which its key remembers; `unfit`, which leaves nothing behind; `again`, if another one has
-- its key or recorded it already, or more holds are due than are ended at a time; `held`, if another session has one of its accounts.
create function move_money(
    -- Each request. Without a key, nothing remembers it: what is due is ended so. Its object is what its key stands for.
    merchants uuid[], operations text[], scopes text[], keys text[], fingerprints bytea[], are_groups boolean[], objects uuid[],
    renderer smallint,
    -- Each movement, in the order of the requests, which are counted from 1.
    requests integer[], kinds text[], ids uuid[], froms uuid[], tos uuid[], amounts numeric[], currencies text[], are_holds boolean[],
    ends timestamptz[],
    -- How many seconds a hold lasts if its end is not said, and at most.
    hold_default integer, hold_max integer,
    -- The accounts that other sessions were found to have: who needs them is left out at once.
    held uuid[],
    -- Whether to leave out who needs another account that is not free. If not, that is waited for, and fails as a whole.
    passes_over_held boolean)
returns table (request integer, verdict text, code text, detail jsonb, id uuid, debited uuid, credited uuid, amount numeric, currency text,
               expires_at timestamptz, group_id uuid, created_at timestamptz, status text, posted_amount numeric, ended_at timestamptz)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    -- The most holds of an account that are ended by the way.
    due_max constant integer := 100;
    asked constant integer := cardinality(merchants);
    patience constant text := current_setting('lock_timeout');
    verdicts text[];
    codes text[] := array_fill(null::text, array[asked]);
    details jsonb[] := array_fill(null::jsonb, array[asked]);
    times timestamptz[] := array_fill(null::timestamptz, array[asked]);
    firsts integer[];
    lasts integer[];
    -- The order of the requests. What is due is ended by requests of our own that are put between them.
    queue integer[];
    turn integer := 1;
    -- The movements: those that were asked for, and our own.
    acts text[] := kinds;
    transfers_of uuid[] := ids;
    debits uuid[];
    credits uuid[];
    debit_at integer[];
    credit_at integer[];
    hold_at integer[];
    wanted uuid[];
    -- The accounts that are locked, with the sums that they come to, and the places of their ids.
    book accounts[];
    places uuid[];
    more accounts[];
    -- Of an account: whether its due holds were looked for, the account for want of which one was not ended, and whether there are more.
    is_looked boolean[];
    wants uuid[];
    is_behind boolean[];
    -- The holds that somebody acts on.
    holds transfers[];
    hold_ids uuid[];
    due transfers[];
    entries account_entries[] := '{}';
    -- By this time holds are due or not. By the other, entries are made: it is read after the last lock.
    moment timestamptz;
    latest timestamptz;
    before accounts[];
    entries_before integer;
    at_ timestamptz;
    own integer[];
    act text;
    why text;
    what jsonb;
    r integer;
    m integer;
    d integer;
    c integer;
    h integer;
    n integer;
    p numeric;
    q numeric;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'money moves in read committed alone, where each step sees what its locks found'
            using errcode = 'invalid_transaction_state';
    end if;
    perform door_is_open() from installation where must_restore is not null;

    -- Keys. The second request with one key waits for what becomes of the first.
    select array_agg(case when k.key is null then null
                          when k.nth > 1 then 'again'
                          when not pg_try_advisory_xact_lock(1886545260, hashtext(concat_ws(' ', k.merchant, k.operation, k.scope, k.key)))
                          then 'again' end order by k.n)
      into verdicts
      from (select u.*, row_number() over (partition by merchant, operation, scope, key order by n) as nth
              from unnest(merchants, operations, scopes, keys) with ordinality as u (merchant, operation, scope, key, n)) k;
    select array_agg(case when exists (select from idempotency_keys i
                                        where i.merchant_id = k.merchant and i.operation = k.operation and i.customer_id = k.scope
                                          and i.key = k.key)
                          then 'again' else k.verdict end order by k.n)
      into verdicts
      from unnest(merchants, operations, scopes, keys, verdicts) with ordinality as k (merchant, operation, scope, key, verdict, n);

    -- Which accounts that takes. Those of a transfer were fixed when it was made.
    select array_agg(coalesce(t.debited, u.debited) order by u.n), array_agg(coalesce(t.credited, u.credited) order by u.n)
      into debits, credits
      from unnest(requests, kinds, ids, froms, tos) with ordinality as u (request, kind, id, debited, credited, n)
      left join transfers t on u.kind <> 'transfer' and t.id = u.id
                           and (merchants[u.request] is null or t.merchant_id = merchants[u.request]);
    if cardinality(held) > 0 then
        for m in 1 .. cardinality(requests) loop
            if verdicts[requests[m]] is null and (debits[m] = any (held) or credits[m] = any (held)) then
                verdicts[requests[m]] := 'held';
                details[requests[m]] := jsonb_build_object('account', case when debits[m] = any (held) then debits[m] else credits[m] end);
            end if;
        end loop;
    end if;
    select array_agg(distinct a.id) into wanted
      from unnest(requests || requests, debits || credits) as u (request, account)
      join accounts a on a.id = u.account and (merchants[u.request] is null or a.merchant_id = merchants[u.request])
     where verdicts[u.request] is null;

    -- Accounts, by their ids. The sums are those that the lock found.
    if passes_over_held then
        select array_agg(row(a.*)::accounts), array_agg(a.id) into book, places
          from (select * from accounts where id = any (wanted) order by id for update skip locked) a;
    else
        perform set_config('lock_timeout', '250ms', true);
        select array_agg(row(a.*)::accounts), array_agg(a.id) into book, places
          from (select * from accounts where id = any (wanted) order by id for update) a;
        perform set_config('lock_timeout', patience, true);
    end if;
    moment := clock_timestamp();
    latest := moment;

    select array_agg(array_position(places, u.debited) order by u.n), array_agg(array_position(places, u.credited) order by u.n)
      into debit_at, credit_at
      from unnest(debits, credits) with ordinality as u (debited, credited, n);
    -- Holds are read after the accounts that they debit were locked.
    select array_agg(row(t.*)::transfers), array_agg(t.id) into holds, hold_ids
      from (select distinct u.id from unnest(kinds, ids) as u (kind, id) where u.kind <> 'transfer') u
      join transfers t on t.id = u.id;
    select array_agg(case when u.kind <> 'transfer' and u.debited is not null then array_position(hold_ids, u.id) end order by u.n)
      into hold_at
      from unnest(kinds, ids, debits) with ordinality as u (kind, id, debited, n);
    select array_agg(f.first order by f.request), array_agg(f.last order by f.request), array_agg(f.request order by f.request)
      into firsts, lasts, queue
      from (select u.request, min(u.n)::integer as first, max(u.n)::integer as last
              from unnest(requests) with ordinality as u (request, n) group by u.request) f;

    while turn <= cardinality(queue) loop
        r := queue[turn];
        turn := turn + 1;
        continue when verdicts[r] is not null;
        why := null;
        what := null;
        at_ := latest;
        -- What makes the request unfit, whichever of its movements it is.
        for m in firsts[r] .. lasts[r] loop
            d := debit_at[m];
            c := credit_at[m];
            if acts[m] <> 'transfer' and hold_at[m] is null then
                why := 'transfer_not_found';
            elsif (debits[m] = any (wanted)) is not true or (credits[m] = any (wanted)) is not true then
                if r <= asked then
                    why := 'account_not_found';
                    what := jsonb_build_object('account', case when debits[m] = any (wanted) then credits[m] else debits[m] end);
                end if;
            elsif d is null or c is null then
                verdicts[r] := 'held';
                details[r] := jsonb_build_object('account', case when d is null then debits[m] else credits[m] end);
            elsif acts[m] = 'transfer' and (book[d].merchant_id <> merchants[r] or book[c].merchant_id <> merchants[r]) then
                why := 'account_not_found';
                what := jsonb_build_object('account', case when book[d].merchant_id <> merchants[r] then debits[m] else credits[m] end);
            elsif acts[m] = 'transfer' and (book[d].currency <> currencies[m] or book[c].currency <> currencies[m]) then
                why := 'currency_mismatch';
                what := jsonb_build_object('currency', case when book[d].currency <> currencies[m] then book[d].currency
                                                            else book[c].currency end);
            elsif acts[m] = 'transfer' and (ends[m] <= moment or ends[m] > moment + make_interval(secs => hold_max)) then
                why := 'expiry_out_of_range';
            elsif acts[m] = 'post' and scale(trim_scale(amounts[m])) > scale(holds[hold_at[m]].amount) then
                why := 'too_many_digits';
                what := jsonb_build_object('digits', scale(holds[hold_at[m]].amount));
            end if;
            if why is not null then
                verdicts[r] := 'unfit';
                codes[r] := why;
                details[r] := coalesce(what, '{}') || jsonb_build_object('index', m - firsts[r]);
            end if;
            exit when verdicts[r] is not null;
            at_ := greatest(at_, book[d].last_at + interval '1 microsecond', book[c].last_at + interval '1 microsecond');
        end loop;
        continue when verdicts[r] is not null;

        if lasts[r] > firsts[r] then
            before := book;
        end if;
        entries_before := cardinality(entries);
        own := '{}';
        times[r] := at_;
        verdicts[r] := 'done';
        for m in firsts[r] .. lasts[r] loop
            d := debit_at[m];
            c := credit_at[m];
            h := hold_at[m];
            act := acts[m];
            p := 0;
            q := 0;
            if act = 'transfer' then
                if are_holds[m] then
                    act := 'pending';
                    q := amounts[m];
                else
                    p := amounts[m];
                end if;
                if not book[d].allow_negative
                   and book[d].credits_posted - book[d].debits_posted - book[d].debits_pending < amounts[m] then
                    -- Before funds are said not to suffice, what is due goes back to them. Its other accounts are not waited for.
                    if is_looked[d] is not true then
                        is_looked[d] := true;
                        select array_agg(row(t.*)::transfers order by t.expires_at, t.id) into due
                          from (select * from transfers t
                                 where t.debited = places[d] and t.status = 'pending' and t.expires_at <= moment
                                 order by t.expires_at limit due_max + 1) t;
                        select array_agg(row(a.*)::accounts) into more
                          from (select * from accounts
                                 where id in (select u.credited from unnest(due) u) and id <> all (places)
                                 order by id for update skip locked) a;
                        latest := clock_timestamp();
                        book := book || more;
                        places := (select array_agg(u.id) from unnest(book) u);
                        is_behind[d] := coalesce(cardinality(due), 0) > due_max;
                        for n in 1 .. least(coalesce(cardinality(due), 0), due_max) loop
                            if array_position(places, due[n].credited) is null then
                                wants[d] := due[n].credited;
                                continue;
                            end if;
                            h := array_position(hold_ids, due[n].id);
                            if h is null then
                                holds := holds || due[n];
                                hold_ids := hold_ids || due[n].id;
                                h := cardinality(hold_ids);
                            end if;
                            own := own || h;
                        end loop;
                    end if;
                    if cardinality(own) > 0 then
                        verdicts[r] := 'after what is due';
                    elsif wants[d] is not null then
                        verdicts[r] := 'held';
                        details[r] := jsonb_build_object('account', wants[d]);
                    elsif is_behind[d] then
                        verdicts[r] := 'again';
                    else
                        why := 'insufficient_funds';
                        what := jsonb_build_object(
                            'available', (book[d].credits_posted - book[d].debits_posted - book[d].debits_pending)::text);
                    end if;
                end if;
            elsif act <> 'expire' and holds[h].status = 'pending' and holds[h].expires_at <= moment then
                own := array[h];
                verdicts[r] := 'after what is due';
            elsif holds[h].status = 'expired' and act <> 'expire' then
                why := 'transfer_expired';
            elsif (act = 'post' and holds[h].status = 'posted' and holds[h].expires_at is not null
                   and holds[h].posted_amount = coalesce(amounts[m], holds[h].amount))
                  or (act = 'void' and holds[h].status = 'voided')
                  or (act = 'expire' and (holds[h].status <> 'pending' or holds[h].expires_at > moment)) then
                -- It is so already.
                continue;
            elsif holds[h].status <> 'pending' then
                why := 'transfer_not_pending';
                what := jsonb_build_object('status', holds[h].status, 'posted_amount', holds[h].posted_amount::text);
            elsif act = 'post' and amounts[m] > holds[h].amount then
                why := 'amount_exceeds_pending';
                what := jsonb_build_object('amount', holds[h].amount::text);
            else
                q := -holds[h].amount;
                if act = 'post' then
                    p := round(coalesce(amounts[m], holds[h].amount), scale(holds[h].amount));
                    holds[h].posted_amount := p;
                end if;
                holds[h].status := case act when 'post' then 'posted' when 'void' then 'voided' else 'expired' end;
                holds[h].ended_at := at_;
            end if;
            if why is not null then
                verdicts[r] := 'refused';
                codes[r] := why;
                details[r] := coalesce(what, '{}') || jsonb_build_object('index', m - firsts[r]);
            end if;
            exit when verdicts[r] <> 'done';
            book[d].debits_posted := book[d].debits_posted + p;
            book[d].debits_pending := book[d].debits_pending + q;
            book[d].version := book[d].version + 1;
            book[d].last_at := at_;
            book[c].credits_posted := book[c].credits_posted + p;
            book[c].credits_pending := book[c].credits_pending + q;
            book[c].version := book[c].version + 1;
            book[c].last_at := at_;
            entries := entries
                || row(book[d].id, book[d].version, transfers_of[m], act, 'debit', p, q, book[d].credits_posted, book[d].debits_posted,
                       book[d].credits_pending, book[d].debits_pending, at_)::account_entries
                || row(book[c].id, book[c].version, transfers_of[m], act, 'credit', p, q, book[c].credits_posted, book[c].debits_posted,
                       book[c].credits_pending, book[c].debits_pending, at_)::account_entries;
        end loop;
        continue when verdicts[r] = 'done';
        if lasts[r] > firsts[r] then
            -- Accounts that were locked meanwhile stay as they are.
            book := before || book[cardinality(before) + 1 :];
            entries := entries[1:entries_before];
        end if;
        if verdicts[r] = 'after what is due' then
            verdicts[r] := null;
            queue := queue[1:turn - 1] || r || queue[turn:];
            turn := turn - 1;
            foreach h in array own loop
                continue when holds[h].status <> 'pending';
                m := cardinality(acts) + 1;
                acts := acts || 'expire'::text;
                transfers_of := transfers_of || holds[h].id;
                debits := debits || holds[h].debited;
                credits := credits || holds[h].credited;
                debit_at := debit_at || array_position(places, holds[h].debited);
                credit_at := credit_at || array_position(places, holds[h].credited);
                hold_at := hold_at || h;
                wanted := wanted || holds[h].credited;
                firsts := firsts || m;
                lasts := lasts || m;
                verdicts := verdicts || null::text;
                queue := queue[1:turn - 1] || cardinality(firsts) || queue[turn:];
            end loop;
        end if;
    end loop;

    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, renderer, created_at, object_id, outcome_code,
                                  outcome_detail)
    select k.merchant, k.operation, k.scope, k.key, k.fingerprint, renderer, times[k.n], k.object, codes[k.n], details[k.n]
      from unnest(merchants, operations, scopes, keys, fingerprints, objects)
        with ordinality as k (merchant, operation, scope, key, fingerprint, object, n)
     where k.key is not null and verdicts[k.n] in ('done', 'refused')
     order by 1, 2, 3, 4;
    insert into transfers (id, merchant_id, debited, credited, amount, currency, expires_at, group_id, position, created_at, status,
                           posted_amount, ended_at)
    select u.id, merchants[u.request], u.debited, u.credited, u.amount, u.currency,
           case when u.is_hold then coalesce(u.ends, times[u.request] + make_interval(secs => hold_default)) end,
           case when are_groups[u.request] then objects[u.request] end, u.n - firsts[u.request], times[u.request],
           case when u.is_hold then 'pending' else 'posted' end, case when not u.is_hold then u.amount end,
           case when not u.is_hold then times[u.request] end
      from unnest(requests, kinds, ids, froms, tos, amounts, currencies, are_holds, ends)
        with ordinality as u (request, kind, id, debited, credited, amount, currency, is_hold, ends, n)
     where u.kind = 'transfer' and verdicts[u.request] = 'done';
    insert into account_entries select e.* from unnest(entries) e;
    update transfers t
       set status = u.status, posted_amount = u.posted_amount, ended_at = u.ended_at
      from unnest(holds) u
     where t.id = u.id and t.status = 'pending' and u.status <> 'pending';
    update accounts a
       set credits_posted = u.credits_posted, debits_posted = u.debits_posted, credits_pending = u.credits_pending,
           debits_pending = u.debits_pending, version = u.version, last_at = u.last_at
      from unnest(book) u
     where a.id = u.id and a.version <> u.version;

    return query
    select u.request, 'done', null::text, null::jsonb, t.id, t.debited, t.credited, t.amount, t.currency, t.expires_at, t.group_id,
           t.created_at, t.status, t.posted_amount, t.ended_at
      from unnest(requests, ids) with ordinality as u (request, id, n)
      join transfers t on t.id = u.id
     where verdicts[u.request] = 'done'
     order by u.n;
    return query
    select u.n::integer, u.verdict, codes[u.n], details[u.n], null::uuid, null::uuid, null::uuid, null::numeric, null::text, null::timestamptz,
           null::uuid, null::timestamptz, null::text, null::numeric, null::timestamptz
      from unnest(verdicts[1:asked]) with ordinality as u (verdict, n)
     where u.verdict <> 'done';
end $$;

-- How an account stood at a time. While an entry of that time may still come, the account is locked by its writer; once we have the
-- lock, each later entry has a later time. The entry is read by a step of its own after it.
create function balance_at(merchant uuid, account uuid, moment timestamptz)
returns table (verdict text, version bigint, credits_posted numeric, debits_posted numeric, credits_pending numeric,
               debits_pending numeric, at timestamptz)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    its accounts;
begin
    select * into its from accounts where id = account and merchant_id = merchant for share;
    if its.id is null then
        return;
    elsif moment >= clock_timestamp() then
        return query select 'future', null::bigint, null::numeric, null::numeric, null::numeric, null::numeric, null::timestamptz;
    elsif moment < its.created_at then
        return query select 'unborn', null::bigint, null::numeric, null::numeric, null::numeric, null::numeric, null::timestamptz;
    else
        return query
        select 'known', e.version, e.credits_posted, e.debits_posted, e.credits_pending, e.debits_pending, e.at
          from account_entries e
         where e.account_id = account
           -- The newest entry of that time or before.
           and e.version = coalesce((select b.version from account_entries b
                                      where b.account_id = account and b.at <= moment
                                      order by b.version desc limit 1), 0);
        if not found then
            -- A zero with the digits of the currency.
            return query select 'known', 0::bigint, its.credits_posted * 0, its.credits_posted * 0, its.credits_posted * 0,
                                its.credits_posted * 0, its.created_at;
        end if;
    end if;
end $$;

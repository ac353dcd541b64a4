-- What the rules of risk say of payments that are being accepted.
-- Old code may run meanwhile: yes (a new function).

-- Judges payments whose keys the calling statement has taken, and counts them. A counter is changed once for all of them, in the order of
-- its key. What a payment is told is the number that its counter came to, less those of the same call that came after it: no two requests
-- have one number, and whoever comes later has a higher one. Failures and known customers are read without a lock, and may lag.
create function judge(ids uuid[], merchants uuid[], customers text[], amounts numeric[], currencies text[], methods text[])
returns table (payment_id uuid, risk jsonb, review_s integer)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    return query
    with asked as materialized (
        select a.*
          from unnest(ids, merchants, customers, amounts, currencies, methods)
            with ordinality as a (id, merchant_id, customer_id, amount, currency, method, n)
    ),
    concerned as materialized (
        select a.*, r.id as rule_id, r.merchant_id is null as is_of_all, r.position, r.kind, r.count as allowed, r.window_s, r.value,
               r.action, r.score, r.review_s,
               count(*) over every_one as together, row_number() over (every_one order by a.n) as rank
          from asked a
          join risk_rules r on r.removed_at is null and (r.merchant_id is null or r.merchant_id = a.merchant_id)
                           and (r.currency is null or r.currency = a.currency) and (r.amount is null or a.amount > r.amount)
        window every_one as (partition by r.id, a.merchant_id, a.customer_id)
    ),
    counted as (
        insert into risk_counters as c (rule_id, merchant_id, customer_id, count, ends_at)
        select rule_id, merchant_id, customer_id, together, clock_timestamp() + window_s * interval '1 second'
          from concerned
         where kind = 'velocity' and rank = 1
         order by rule_id, merchant_id, customer_id
            on conflict on constraint risk_counters_pkey do update
           set count = case when c.ends_at <= clock_timestamp() then excluded.count else c.count + excluded.count end,
               ends_at = case when c.ends_at <= clock_timestamp() then excluded.ends_at else c.ends_at end
        returning c.rule_id, c.merchant_id, c.customer_id, c.count
    ),
    hits as (
        select h.*
          from concerned h
          left join counted c on c.rule_id = h.rule_id and c.merchant_id = h.merchant_id and c.customer_id = h.customer_id
         where case h.kind
               when 'amount_over' then true
               when 'velocity' then c.count - h.together + h.rank > h.allowed
               when 'recent_failures' then
                    (select count(*) filter (where p.status = 'failed' and p.created_at > now() - h.window_s * interval '1 second')
                       from (select status, created_at from payments f
                              where f.merchant_id = h.merchant_id and f.customer_id = h.customer_id
                              order by f.id desc limit 1000) p) >= h.allowed
               when 'new_customer' then
                    not exists (select from (select status from payments f
                                              where f.merchant_id = h.merchant_id and f.customer_id = h.customer_id
                                              order by f.id desc limit 1000) p
                                 where p.status = 'succeeded')
               when 'blocked_customer' then h.value = h.customer_id
               when 'blocked_method' then h.value = h.method end
    )
    select id,
           jsonb_build_object('decision', (array_agg(action order by is_of_all, position, rule_id))[1], 'score', sum(score),
                              'rules', jsonb_agg(jsonb_build_object('rule', rule_id, 'kind', kind, 'action', action)
                                                 order by is_of_all, position, rule_id)),
           (array_agg(hits.review_s order by is_of_all, position, rule_id))[1]
      from hits
     group by id;
end $$;

-- Whoever locks a due row first gets it: the conditions are checked again under the row's lock, so a concurrent claimant
-- finds the new due_at and goes away with nothing. Locked in id order, so that crossed batches cannot deadlock. A row that
-- is processing may have been charged: its claim may look up or void, and doubt sticks.
-- A row whose claim was lost twice in a row is given only to a worker that has nothing else in hand ($6). Lost then too,
-- it is blamed, if for each of the losses one worker was started and no other: where workers die without it, something
-- else kills them, and where none was started they were frozen. After six losses it is blamed all the same.
-- No more is taken than the worker has room for, where it may have too little: $8 looks, and $9 of each merchant, or what $11
-- says of those in $10. Chosen before anything is locked; what is not taken stays due.
-- A row whose events are not 1 to its version is taken to be held, and nothing is asked about it. Where later events stand
-- already there is no place for the claim's own: nothing takes it any more.
with roomy as not materialized (
    select id, merchant_id, due_at
      from (select id, merchant_id, due_at, status, row_number() over (partition by status order by due_at, id) as nth
              from payments
             where id = any($1) and (due_at <= clock_timestamp()) is true) as due
     where status = 'pending' or nth <= $8
),
chosen as not materialized (
    select id
      from (select id, merchant_id, row_number() over (partition by merchant_id order by due_at, id) as nth
              from roomy) as due
     where nth <= coalesce(($11::bigint[])[array_position($10::uuid[], merchant_id)], $9)
),
mine as materialized (
    select id, merchant_id, version, status, due_at, first_sent_at is distinct from left_nothing_at as was_sent,
           claim_token is not null as lease_expired, void_started_at is not null as voiding, look_first as looks_first,
           case when claim_token is null then 0 else takeover_count + 1 end as takeovers
      from payments
     where id = any(case when $8 is null then $1 else array(select id from chosen) end)
       and status in ('pending', 'processing')
       -- What is charged elsewhere is not asked about here, whatever the caller takes it for.
       and (gateway = $12) is true
       -- `is true`, so that it is no reason to read by due_at: where hardly any payment was open when the statistics were
       -- taken, each claim would read all those that are due.
       and (due_at <= clock_timestamp()) is true
       and held_reason is null
       -- Not while a past that came back, or a server that took over, was not looked into; nor what is another installation's.
       and (select may_claim())
       and created_at >= (select own_since from installation)
       and ($6 or claim_token is null or takeover_count = 0)
     order by id
       for no key update
),
-- Where the events are 1 to the version that was locked, all is said. Else version and events are read of one snapshot, which
-- the row may have left behind by the time it was locked.
told as materialized (
    select mine.*,
           seen.is_whole or (select count(e.version) = p.version
                               from payments p
                               left join payment_events e on e.payment_id = p.id
                              where p.id = mine.id
                              group by p.version) as is_whole,
           not seen.is_whole and (select coalesce(max(e.version), 0) > p.version
                                    from payments p
                                    left join payment_events e on e.payment_id = p.id
                                   where p.id = mine.id
                                   group by p.version) as is_ahead
      from mine
     cross join lateral (
            select count(*) = mine.version and coalesce(max(e.version), 0) = mine.version as is_whole
              from payment_events e
             where e.payment_id = mine.id
            offset 0) as seen
),
stamped as materialized (
    select id, status, due_at, was_sent, lease_expired, voiding, looks_first, takeovers, is_whole, clock_timestamp() as at,
           status = 'pending' and not looks_first as may_charge,
           case when takeovers < 3 then false
                when takeovers >= 6 then true
                else (select count(*) between takeovers - 1 and takeovers
                        from apalis.workers w
                       where w.worker_type = $7
                         -- Not one that took another's place in a process that went on: nothing was lost with that.
                         and w.storage_name <> 'payonce, started again'
                         and w.started_at > (select max(e.at) from payment_events e
                                              where e.payment_id = told.id and e.type <> 'taken_over'))
           end as is_blamed
      from told
     where not is_ahead
),
claimed as (
    update payments p
       set status = 'processing',
           version = p.version + 1,
           claim_token = $2,
           due_at = s.at + $3::bigint * interval '1 millisecond',
           takeover_count = s.takeovers,
           attempt_count = p.attempt_count + s.may_charge::int,
           verify_count = case when s.may_charge then 0 else p.verify_count end,
           not_found_count = case when s.may_charge then 0 else p.not_found_count end,
           first_sent_at = coalesce(p.first_sent_at, case when s.may_charge then s.at end),
           send_by = case when s.may_charge then s.at + $4::bigint * interval '1 millisecond' else p.send_by end,
           in_doubt = p.in_doubt or not s.may_charge,
           doubt_since = coalesce(p.doubt_since, case when not s.may_charge then s.at end),
           updated_at = s.at
      from stamped s
     where p.id = s.id
    returning p.id, p.merchant_id, p.amount, p.currency, p.payment_method, p.correlation_id, p.version, p.due_at, p.in_doubt,
              p.retries_spent, p.delay_count, p.verify_count, p.not_found_count, p.created_at, p.doubt_since,
              p.first_sent_at, p.send_by, p.void_started_at, p.gateway_key, p.approved_at, s.status as from_status, s.due_at as was_due_at,
              s.was_sent, s.lease_expired, s.voiding, s.looks_first, s.may_charge, s.takeovers, s.is_whole, s.is_blamed, s.at
),
logged as (
    insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, claim_token, due_at,
                                correlation_id, at)
    select id, version,
           case when may_charge then 'attempt_started' when lease_expired then 'taken_over' else 'verifying' end,
           from_status, 'processing',
           case when may_charge then 'due' when lease_expired then 'worker_lost'
                when looks_first then 'look_first' when voiding then 'void_due' else 'verify_due' end,
           jsonb_build_object('send_by', send_by, 'worker', $5::text)
               || case when lease_expired then jsonb_build_object('takeovers', takeovers, 'blamed', is_blamed) else '{}' end,
           $2, due_at, correlation_id, at
      from claimed
)
select id, merchant_id, amount::text as "amount!", currency, payment_method, correlation_id, gateway_key, at as "at!",
       may_charge as "may_charge!", looks_first as "looks_first!", lease_expired as "lease_expired!", voiding as "voiding!",
       -- How far from the last return of a past it was accepted, where its key may be that of a payment forgotten then.
       case when gateway_key is not null
            then (abs(extract(epoch from created_at - (select returned_at from installation))) * 1000)::bigint
       end as from_a_return_ms,
       was_sent as "was_sent!", is_whole as "is_whole!", takeovers as "takeovers!", is_blamed as "is_blamed!",
       in_doubt, retries_spent, delay_count, verify_count, not_found_count,
       (extract(epoch from at - was_due_at) * 1000)::bigint as "delay_ms!",
       -- What a person let pass is as old as that.
       (extract(epoch from at - coalesce(approved_at, created_at)) * 1000)::bigint as "age_ms!",
       (extract(epoch from coalesce(at - doubt_since, '0')) * 1000)::bigint as "doubt_age_ms!",
       (extract(epoch from at - coalesce(first_sent_at, created_at)) * 1000)::bigint as "first_sent_age_ms!",
       -- What was sent by a payment that is forgotten here is as old as that.
       (extract(epoch from greatest(at - coalesce(send_by, created_at), '0')) * 1000)::bigint as "send_by_age_ms!",
       (extract(epoch from coalesce(at - void_started_at, '0')) * 1000)::bigint as "void_age_ms!"
  from claimed

-- The right to look at the gateway once for one decision about a held payment. The payment is locked first, as whoever asks for
-- a decision does; of two workers one gets past its lock, and finds the decision not due any more.
-- Whether a charge may be anywhere is read from the events, which nobody can change, and only as a last resort from the row:
-- a payment that was held because they contradict each other may have been taken from a worker with its charge on the way.
with due as materialized (
    select d.id, p.amount, p.currency, p.correlation_id, p.gateway_key, p.void_started_at, p.held_reason, p.in_doubt,
           p.attempt_count,
           p.version = d.version and p.held_reason is not null and p.terminal_at is null as is_held
      from decisions d
      join payments p on p.id = d.payment_id
     where d.ended_at is null
       and (p.gateway = $4) is true
       and (d.due_at is null or d.due_at <= clock_timestamp())
       and (select may_claim())
       and p.created_at >= (select own_since from installation)
       -- What the last attempt may have sent is at the gateway by then, and visible.
       and (p.send_by is null or p.send_by + $3::bigint * interval '1 millisecond' <= clock_timestamp())
     order by d.due_at nulls first, d.id
     limit 1
       for no key update of p skip locked
)
update decisions d
   set token = $1,
       looks = d.looks + 1,
       due_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
  from due
 where d.id = due.id
   and d.ended_at is null
   and (d.due_at is null or d.due_at <= clock_timestamp())
returning d.id, d.payment_id, d.version, d.wish, d.is_unproven, d.charge_id, d.asked_by, d.reason,
          due.amount, due.currency, due.correlation_id, due.gateway_key, due.in_doubt, due.is_held as "is_held!",
          due.void_started_at is not null as "voiding!",
          due.void_started_at is not null and due.held_reason is not distinct from 'unverifiable' as "void_failed!",
          (not due.in_doubt
           and not exists (select from payment_events e
                            where e.payment_id = d.payment_id
                              and e.type in ('taken_over', 'verifying', 'outcome_unknown', 'void_started'))
           and due.attempt_count = (select count(*) from payment_events e
                                     where e.payment_id = d.payment_id and e.type = 'attempt_started')
           and (select e.type from payment_events e
                 where e.payment_id = d.payment_id and e.type <> 'held'
                 order by e.version desc limit 1) in ('created', 'retry_scheduled')
           and not exists (select from late_evidence l where l.payment_id = d.payment_id)) as "never_in_doubt!",
          -- For how long every look at this version of it was in vain.
          (select (extract(epoch from clock_timestamp() - min(o.ended_at)) * 1000)::bigint
             from decisions o
            where o.payment_id = d.payment_id and o.version = d.version and o.seen = 'silent'
              and not exists (select from decisions a
                               where a.payment_id = d.payment_id and a.version = d.version and a.id > o.id
                                 and a.seen not in ('silent', 'not_looked'))) as dark_ms,
          due.held_reason is not distinct from 'unverifiable' as "is_unverifiable!"

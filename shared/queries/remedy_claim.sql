-- The right to void one charge that came to light for a payment that ended without one: whoever locks the break first
-- gets it. A payment that succeeded is never voided, whatever its breaks say, nor one that a person ended without proof.
with due as materialized (
    select b.id, p.id as payment_id, p.correlation_id, p.gateway_key, p.first_sent_at
      from breaks b
      join payments p on p.id = b.payment_id and p.status in ('failed', 'reversed')
     where b.kind = 'charged_after_end'
       and (p.gateway = $3) is true
       and b.closed_at is null
       and b.void_ended_at is null
       and (select may_claim())
       and p.created_at >= (select own_since from installation)
       and (b.void_due_at is null or b.void_due_at <= clock_timestamp())
       and not exists (select from decisions d where d.payment_id = b.payment_id and d.is_unproven and d.outcome = 'done')
     order by b.id
     limit 1
       for no key update of b skip locked
),
stamped as materialized (
    select *, clock_timestamp() as at from due
)
update breaks b
   set void_token = $1,
       void_due_at = s.at + $2::bigint * interval '1 millisecond',
       void_started_at = coalesce(b.void_started_at, s.at)
  from stamped s
 where b.id = s.id
returning b.id, s.payment_id, s.correlation_id, s.gateway_key, b.void_count,
          -- Whether nothing but this very past can have charged under its key.
          coalesce((select epoch = 1 or s.first_sent_at >= epoch_began_at from installation), false) as "is_of_this_past!",
          (select returned_at is null from installation) as "nothing_returned!",
          (extract(epoch from s.at - b.void_started_at) * 1000)::bigint as "void_age_ms!"

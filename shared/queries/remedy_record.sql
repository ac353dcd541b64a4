-- What a void came to, fenced by the claim's token. Where that is gone (taken over, or a person closed the break) the
-- break stays as it is, and a confirmed void is kept as late evidence. May be repeated.
with recorded as (
    update breaks
       set void_token = null,
           void_due_at = clock_timestamp() + $3::bigint * interval '1 millisecond',
           void_count = void_count + 1,
           void_ended_at = case when $3::bigint is null then clock_timestamp() end,
           kind = case when $6::bool
                            and not exists (select from breaks o
                                             where o.payment_id = breaks.payment_id and o.kind = 'charge_of_another'
                                               and o.closed_at is null)
                       then 'charge_of_another' else kind end,
           detail = detail || jsonb_build_object('void', $4::jsonb)
     where id = $1
       and void_token = $2
       and closed_at is null
    returning id
),
late as (
    insert into late_evidence (payment_id, claim_token, event_type, reason, evidence, at)
    select payment_id, $2, 'reversed', 'remedy', $4, clock_timestamp()
      from breaks
     where id = $1
       and $5::bool
       and not exists (select from recorded)
       and detail -> 'void' ->> 'claim' is distinct from $4::jsonb ->> 'claim'
        on conflict on constraint late_evidence_once do nothing
)
select exists (select from recorded) as "took_effect!"

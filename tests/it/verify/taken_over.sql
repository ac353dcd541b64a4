-- An attempt and seven takeovers, one after the other, each by a worker of its own.
insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, claim_token, due_at,
                            correlation_id, at)
select id, n, case n when 2 then 'attempt_started' else 'taken_over' end,
       case n when 2 then 'pending' else 'processing' end, 'processing', 'due',
       jsonb_build_object('send_by', created_at, 'worker', 'w' || n, 'takeovers', n - 2), $id,
       created_at + n * interval '1 minute', correlation_id, created_at
  from payments cross join generate_series(2, 9) n where id = $id;
update payments
   set status = 'processing', version = 9, claim_token = $id, due_at = created_at + interval '9 minutes', in_doubt = true,
       doubt_since = created_at, takeover_count = 7, attempt_count = 1, first_sent_at = created_at, send_by = created_at,
       updated_at = created_at
 where id = $id

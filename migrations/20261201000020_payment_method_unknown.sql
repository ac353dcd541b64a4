-- `payment_method_unknown` is a failure code of its own. Like `non_retryable`, which it was until now, it says of one attempt
-- that it did not charge, and so ends no payment in doubt.
-- Old code may run meanwhile: yes (it goes on writing `non_retryable`).

create or replace trigger payments_failed_needs_proof before update on payments for each row
    when (new.status = 'failed' and new.in_doubt
          and new.failure_code in ('retries_exhausted', 'expired', 'non_retryable', 'payment_method_unknown'))
    execute function refuse_change('a payment in doubt ends by a charge found, a stored decline or a void');

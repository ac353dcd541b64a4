-- Payments that no gateway is asked about at once: those that are paid from a balance, and those that rules of risk refuse or have a person
-- look at first.
-- Old code may run meanwhile: yes, as long as there are no rules and nobody pays from a balance. An older worker takes a payment from a
-- balance for one whose charge is missing, and an older API repeats a first answer of such a payment as `pending`.

alter table payments
    -- Whether an account pays it, at once. Then no gateway is ever asked.
    add column from_balance boolean not null default false,
    -- What its acceptance decided, as the first answer tells it. Null where it waited for its first attempt, and no rule hit.
    add column accepted_as jsonb,
    -- When a person let it pass. Its age counts from then.
    add column approved_at timestamptz;
create or replace trigger payments_facts_are_fixed before update on payments for each row
    when (new.id is distinct from old.id or new.merchant_id is distinct from old.merchant_id
          or new.customer_id is distinct from old.customer_id or new.amount is distinct from old.amount
          or new.currency is distinct from old.currency or new.payment_method is distinct from old.payment_method
          or new.description is distinct from old.description or new.metadata is distinct from old.metadata
          or new.correlation_id is distinct from old.correlation_id or new.created_at is distinct from old.created_at
          or new.gateway_key is distinct from old.gateway_key or new.gateway is distinct from old.gateway
          or new.from_balance is distinct from old.from_balance or new.accepted_as is distinct from old.accepted_as)
    execute function refuse_change('what the customer owes was fixed when the payment was accepted');

-- Not valid: not checked against the rows that are there, all of which pass, so that the table is locked for a moment only.
alter table payments drop constraint payments_status_known;
alter table payments add constraint payments_status_known
    check (status in ('pending', 'processing', 'succeeded', 'failed', 'reversed', 'in_review')) not valid;
alter table payments drop constraint payments_due_iff_alive;
alter table payments add constraint payments_due_iff_alive
    check ((due_at is null) = (terminal_at is not null or held_reason is not null or status = 'in_review')) not valid;
alter table payments drop constraint payments_evidence_iff_succeeded;
alter table payments add constraint payments_evidence_iff_succeeded
    check (status <> 'succeeded' or gateway_transaction_id is not null or from_balance) not valid;
-- So no claim is ever for it.
alter table payments add constraint payments_from_balances_ask_no_gateway
    check (not from_balance or status not in ('pending', 'processing')) not valid;
alter table payments add constraint payments_in_review_are_unclaimed
    check (status <> 'in_review' or (held_reason is null and attempt_count = 0 and not in_doubt)) not valid;
alter table payment_events drop constraint payment_events_type_known;
alter table payment_events add constraint payment_events_type_known check (type in (
    'created', 'attempt_started', 'taken_over', 'verifying', 'outcome_unknown', 'retry_scheduled', 'succeeded', 'failed', 'void_started',
    'reversed', 'held', 'released', 'rescheduled', 'restored', 'doubted', 'review_started', 'approved')) not valid;
-- The statement that pays from balances takes its keys before it knows what becomes of the payments.
alter table idempotency_keys alter constraint idempotency_keys_payment_id_fkey deferrable initially immediate;

-- What a merchant sold from balances, once for each currency. It is opened by the first such payment.
alter table accounts add column is_sales boolean not null default false;
create unique index accounts_one_for_sales on accounts (merchant_id, currency) where is_sales;
alter table accounts add constraint accounts_for_sales_owe_nothing check (not (is_sales and allow_negative)) not valid;
create trigger accounts_for_sales_are_fixed before update on accounts for each row
    when (new.is_sales is distinct from old.is_sales)
    execute function refuse_change('whose account it is was fixed when it was opened');

-- The account that a payment method is; null where it is a gateway's token.
create function account_of(payment_method text) returns uuid language sql immutable as $$
    select case when payment_method ~ '^acc_[0-9a-f]{32}$' then substr(payment_method, 5)::uuid end
$$;

-- Rules of risk, of one merchant or of all. They are added and removed, and never changed: so the table tells who had which rules when.
create table risk_rules (
    id          bigint      generated always as identity primary key,
    -- Null for a rule of all merchants, which comes after those of each one.
    merchant_id uuid,
    -- The order among the rules of one merchant, or of all. The first that hits decides.
    position    integer     not null,
    kind        text        not null constraint risk_rules_kind_known check (kind in (
                            'amount_over', 'velocity', 'recent_failures', 'new_customer', 'blocked_customer', 'blocked_method')),
    -- What it is about: only payments in this currency, and above this amount. Null for all.
    currency    text        collate "C" constraint risk_rules_currency_code check (currency ~ '^[A-Z]{3}$'),
    amount      numeric     constraint risk_rules_amount_range check (amount >= 0 and amount <= 1000000000000),
    -- How many requests may come, or how many failures are too many, within the time.
    count       integer     constraint risk_rules_count_range check (count between 1 and 1000000),
    window_s    integer     constraint risk_rules_window_range check (window_s between 1 and 31622400),
    -- The customer, or the payment method.
    value       text        constraint risk_rules_value_length check (length(value) between 1 and 255),
    action      text        not null constraint risk_rules_action_known check (action in ('approve', 'review', 'deny')),
    score       integer     not null constraint risk_rules_score_range check (score between 0 and 1000),
    -- How long a review waits for a person. Not longer than a hold lasts.
    review_s    integer     not null constraint risk_rules_review_range check (review_s between 1 and 7776000),
    reason      text        not null constraint risk_rules_reason_length check (length(reason) between 1 and 1000),
    added_at    timestamptz not null default clock_timestamp(),
    added_by    text        not null,
    removed_at  timestamptz,
    removed_by  text,
    constraint risk_rules_amount_has_a_currency check (amount is null or currency is not null),
    constraint risk_rules_have_what_they_need check (
        (kind <> 'amount_over' or amount is not null)
        and (kind in ('velocity', 'recent_failures')) = (count is not null and window_s is not null)
        and (kind in ('blocked_customer', 'blocked_method')) = (value is not null)),
    constraint risk_rules_removed_by_somebody check ((removed_at is null) = (removed_by is null))
);
create index risk_rules_in_force on risk_rules (merchant_id) where removed_at is null;
create trigger risk_rules_are_only_removed before update on risk_rules for each row
    when (old.removed_at is not null or to_jsonb(new) - 'removed_at' - 'removed_by' <> to_jsonb(old) - 'removed_at' - 'removed_by')
    execute function refuse_change('a rule is removed, and another one added');
create trigger risk_rules_stay before delete on risk_rules for each row
    execute function refuse_change('what the rules were is kept');
create trigger risk_rules_stay_all before truncate on risk_rules
    execute function refuse_change('what the rules were is kept');

-- How many requests of a customer came within the window of a rule, which begins with the first of them.
create table risk_counters (
    rule_id     bigint      not null,
    merchant_id uuid        not null,
    customer_id text        not null,
    count       integer     not null,
    ends_at     timestamptz not null,
    constraint risk_counters_pkey primary key (rule_id, merchant_id, customer_id)
) with (fillfactor = 50);
create index risk_counters_ended on risk_counters (ends_at);

-- Payments that wait for a person, and what came of it.
create table reviews (
    payment_id  uuid        primary key references payments (id),
    merchant_id uuid        not null,
    -- What the rules said: the decision, the score, and the rules that hit.
    risk        jsonb       not null,
    opened_at   timestamptz not null,
    -- From then on nobody can approve it.
    expires_at  timestamptz not null,
    status      text        not null constraint reviews_status_known check (status in ('open', 'approved', 'denied', 'expired')),
    decided_at  timestamptz,
    decided_by  text,
    -- The credential by which the person came.
    decided_with text,
    note        text        constraint reviews_note_length check (length(note) <= 1000),
    constraint reviews_decided_unless_open check ((decided_at is null) = (status = 'open') and (decided_by is null) = (status = 'open'))
);
create index reviews_open on reviews (expires_at) where status = 'open';
create index reviews_by_status on reviews (status, payment_id);
create trigger reviews_end_once before update on reviews for each row
    when (old.status <> 'open' or new.status = 'open' or new.payment_id <> old.payment_id or new.merchant_id <> old.merchant_id
          or new.risk <> old.risk or new.opened_at <> old.opened_at or new.expires_at <> old.expires_at)
    execute function refuse_change('a review ends once');
create trigger reviews_stay before delete on reviews for each row
    execute function refuse_change('reviews are never deleted');
create trigger reviews_stay_all before truncate on reviews
    execute function refuse_change('reviews are never deleted');

-- What is in review leaves it as its review was decided, and nothing comes into review later.
create function refuse_what_was_not_decided() returns trigger language plpgsql as $$
begin
    if old.status <> 'in_review'
       or not exists (select from reviews r
                       where r.payment_id = new.id
                         and r.status = any (case new.status when 'pending' then array['approved']
                                                             when 'succeeded' then array['approved']
                                                             when 'failed' then array['denied', 'expired'] else '{}' end)) then
        raise exception 'payment % refused: its review does not say that it is %', new.id, new.status using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger payments_leave_review_as_decided before update on payments for each row
    when (old.status = 'in_review' or new.status = 'in_review')
    execute function refuse_what_was_not_decided();

-- The transfer of a payment from a balance has the payment's own id. So there is at most one, and no link between them can be wrong.
create function refuse_what_no_transfer_bears_out() returns trigger language plpgsql as $$
declare
    its transfers := (select t from transfers t where t.id = new.id);
    is_as_owed boolean := its.merchant_id = new.merchant_id and its.currency = new.currency and its.amount = new.amount
                          and its.debited = account_of(new.payment_method)
                          and exists (select from accounts a
                                       where a.id = its.credited and a.is_sales and a.merchant_id = new.merchant_id);
begin
    if (case new.status when 'succeeded' then is_as_owed and its.status = 'posted' and its.posted_amount = new.amount
                        when 'in_review' then is_as_owed and its.status = 'pending'
                        when 'failed' then its.id is null or its.status in ('voided', 'expired')
                        else false end) is not true then
        raise exception 'payment % refused: no transfer says that it is %', new.id, new.status using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
create trigger payments_from_balances_follow_their_transfer after insert or update on payments for each row
    when (new.from_balance) execute function refuse_what_no_transfer_bears_out();

-- What a payment in review reserves is posted or voided with it alone. By then its review is decided in the same statement. What is due
-- goes back whoever finds it.
create function refuse_to_act_for_a_payment() returns trigger language plpgsql as $$
begin
    if exists (select from payments p where p.id = new.id and p.status = 'in_review') then
        raise exception 'end of transfer % refused: the payment that it is for is in review', new.id using errcode = 'restrict_violation';
    end if;
    return null;
end $$;
create constraint trigger transfers_of_payments_end_with_them after update on transfers deferrable initially deferred for each row
    when (old.status = 'pending' and new.status in ('posted', 'voided'))
    execute function refuse_to_act_for_a_payment();

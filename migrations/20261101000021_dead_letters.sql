-- What the queue could not do, kept with its evidence until a person has replayed or discarded it.
-- Old code may run meanwhile: yes (new table; it parks nothing, and ends such jobs as before).
create table dead_letters (
    id            bigint      generated always as identity primary key,
    class         text        not null constraint dead_letters_class_known
                              check (class in ('non_retryable', 'retry_exhausted', 'poison')),
    queue         text        not null,
    -- The job's own id and key, which a replay keeps. A poisonous payment has no job, only the key of its last change.
    job_id        text,
    job_key       text,
    -- The job's body, byte for byte.
    job           bytea,
    -- Of class poison: the payment that is held.
    payment_id    uuid        references payments (id),
    error         text        not null,
    detail        jsonb       not null default '{}',
    parked_at     timestamptz not null,
    closed_at     timestamptz,
    closed_as     text        constraint dead_letters_closed_as_known check (closed_as in ('replayed', 'discarded', 'decided')),
    closed_by     text,
    closed_reason text,
    constraint dead_letters_poison_is_a_payment check ((class = 'poison') = (payment_id is not null)),
    constraint dead_letters_closed_with_a_reason check (
        (closed_at is null) = (closed_as is null) and (closed_at is null) = (closed_by is null)
        and (closed_at is null) = (closed_reason is null))
);
-- However often a job is lost or delivered, one letter is open for it.
create unique index dead_letters_one_open_per_job on dead_letters (queue, job_id) where closed_at is null and job_id is not null;
create unique index dead_letters_one_open_per_payment on dead_letters (payment_id) where closed_at is null and payment_id is not null;
create index dead_letters_open on dead_letters (id) where closed_at is null;

create trigger dead_letters_closed_stay before update on dead_letters for each row
    when (old.closed_at is not null) execute function refuse_change('a closed dead letter stays as it was closed');
create trigger dead_letters_stay before delete on dead_letters for each row
    execute function refuse_change('dead letters are closed, never deleted');

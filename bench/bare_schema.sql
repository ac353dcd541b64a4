-- The least that a durable payment job needs: what the bare lifecycle runs on.
create table payment (
    id         uuid        primary key default gen_random_uuid(),
    customer   text        not null,
    amount     numeric     not null check (amount > 0),
    currency   text        not null,
    status     text        not null default 'pending' check (status in ('pending', 'processing', 'succeeded')),
    charge     text,
    created_at timestamptz not null default clock_timestamp(),
    settled_at timestamptz
);

create table idempotency_key (
    customer    text  not null,
    key         text  not null,
    fingerprint bytea not null,
    payment_id  uuid  not null references payment,
    primary key (customer, key)
);

create table event (
    payment_id uuid        not null references payment,
    version    integer     not null,
    type       text        not null,
    at         timestamptz not null default clock_timestamp(),
    primary key (payment_id, version)
);

create table entry (
    payment_id uuid    not null references payment,
    account    text    not null,
    side       text    not null check (side in ('debit', 'credit')),
    amount     numeric not null check (amount > 0),
    primary key (payment_id, account)
);

create table job (
    id         bigint  generated always as identity primary key,
    payment_id uuid    not null,
    taken      boolean not null default false
);
create index job_waiting on job (id) where not taken;

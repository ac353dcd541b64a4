-- Webhooks: where merchants have their public events sent, what was sent, and what is to be sent again.
-- Old code may run meanwhile: yes (new tables, which it does not know).

create table webhook_endpoints (
    id              uuid        primary key,
    merchant_id     uuid        not null,
    -- The request that made it, so that a repeat finds it.
    idempotency_key text        not null constraint webhook_endpoints_key_length check (length(idempotency_key) between 1 and 255),
    url             text        not null constraint webhook_endpoints_url_length check (length(url) between 1 and 2000),
    -- What it is sent; null for everything.
    types           text[],
    description     text        constraint webhook_endpoints_description_length check (length(description) <= 1000),
    status          text        not null default 'enabled' constraint webhook_endpoints_status_known check (status in ('enabled', 'disabled')),
    -- Why nothing is sent to it.
    disabled_reason text        constraint webhook_endpoints_disabled_reason_known
                                check (disabled_reason in ('merchant', 'gone', 'failing')),
    created_at      timestamptz not null default clock_timestamp(),
    -- The number of its own events.
    versions        integer     not null default 0,
    -- The place after which its events begin. Fixed.
    start_epoch     bigint      not null,
    start_tx        xid8        not null,
    -- The place up to which each event that it wants has a delivery. What is above is due by this cursor.
    epoch           bigint      not null,
    tx              xid8        not null,
    object          uuid        not null default 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    version         integer     not null default 2147483647,
    -- Who sends to it at the moment, and until when nobody else does.
    lease_token     uuid,
    lease_until     timestamptz,
    looked_at       timestamptz not null default clock_timestamp(),
    -- When it is looked at next; later while it does not answer.
    look_at         timestamptz not null default clock_timestamp(),
    -- Rounds in a row without an answer. While there are any, a round only probes.
    misses          integer     not null default 0,
    -- Failed tries since the last success, and when the first of them was.
    failures        integer     not null default 0,
    failing_since   timestamptz,
    constraint webhook_endpoints_once unique (merchant_id, idempotency_key),
    constraint webhook_endpoints_disabled_for_a_reason check ((disabled_reason is not null) = (status = 'disabled'))
) with (fillfactor = 50);
create index webhook_endpoints_by_merchant on webhook_endpoints (merchant_id, id);
create trigger webhook_endpoints_stay before delete on webhook_endpoints for each row
    execute function refuse_change('endpoints are disabled and never deleted');
create trigger webhook_endpoints_stay_all before truncate on webhook_endpoints
    execute function refuse_change('endpoints are disabled and never deleted');
create trigger webhook_endpoints_facts_are_fixed before update on webhook_endpoints for each row
    when (new.id is distinct from old.id or new.merchant_id is distinct from old.merchant_id or new.url is distinct from old.url
          or new.types is distinct from old.types or new.start_epoch is distinct from old.start_epoch
          or new.start_tx is distinct from old.start_tx or new.created_at is distinct from old.created_at)
    execute function refuse_change('where an endpoint is and what it wants was fixed when it was made');
create trigger webhook_endpoints_go_on before update on webhook_endpoints for each row
    when ((new.epoch, new.tx, new.object, new.version) < (old.epoch, old.tx, old.object, old.version))
    execute function refuse_change('a cursor goes on and never back');

-- What deliveries are signed with, sealed under a key outside the database.
create table webhook_secrets (
    endpoint_id     uuid        not null references webhook_endpoints (id),
    number          integer     not null constraint webhook_secrets_number_positive check (number > 0),
    sealed          bytea       not null,
    -- Which key it is sealed under.
    mark            text        not null,
    idempotency_key text        not null constraint webhook_secrets_key_length check (length(idempotency_key) between 1 and 255),
    created_at      timestamptz not null default clock_timestamp(),
    -- When it stops to sign; null for the newest.
    expires_at      timestamptz,
    constraint webhook_secrets_pkey primary key (endpoint_id, number),
    constraint webhook_secrets_once unique (endpoint_id, idempotency_key)
);

-- One for each event up to the cursor of an endpoint that wants it.
create table webhook_deliveries (
    endpoint_id uuid        not null references webhook_endpoints (id),
    object      uuid        not null,
    version     integer     not null,
    epoch       bigint      not null,
    tx          xid8        not null,
    status      text        not null constraint webhook_deliveries_status_known check (status in ('pending', 'delivered', 'given_up')),
    tries       integer     not null default 0,
    -- When it is tried next. An event of the same object that is still pending goes first, whenever that is due.
    due_at      timestamptz,
    http_status integer,
    error       text,
    updated_at  timestamptz not null,
    constraint webhook_deliveries_pkey primary key (endpoint_id, object, version),
    constraint webhook_deliveries_due_iff_pending check ((due_at is not null) = (status = 'pending'))
);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, due_at) where status = 'pending';
create index webhook_deliveries_pending on webhook_deliveries (endpoint_id, object, version) where status = 'pending';
create index webhook_deliveries_given_up on webhook_deliveries (endpoint_id, updated_at) where status = 'given_up';
create trigger webhook_deliveries_delivered_once before update on webhook_deliveries for each row
    when (old.status = 'delivered') execute function refuse_change('what was delivered was delivered');

-- What was sent and what came back.
create table webhook_attempts (
    id          bigint      generated always as identity primary key,
    endpoint_id uuid        not null references webhook_endpoints (id),
    event       text        not null,
    type        text        not null,
    try         integer     not null,
    at          timestamptz not null,
    took_ms     integer     not null,
    http_status integer,
    -- The first 4 KiB of the answer.
    answer      text,
    error       text
);
create index webhook_attempts_newest on webhook_attempts (endpoint_id, id);

-- What happened to endpoints, which is told as what happens to payments is.
create table webhook_endpoint_events (
    endpoint_id uuid        not null references webhook_endpoints (id),
    version     integer     not null constraint webhook_endpoint_events_version_positive check (version > 0),
    type        text        not null constraint webhook_endpoint_events_type_known check (type in ('disabled', 'enabled', 'test')),
    reason      text,
    at          timestamptz not null,
    constraint webhook_endpoint_events_pkey primary key (endpoint_id, version)
);
create trigger webhook_endpoint_events_append_only before update or delete on webhook_endpoint_events for each row
    execute function refuse_change('events are append-only');
create trigger webhook_endpoint_events_append_only_all before truncate on webhook_endpoint_events
    execute function refuse_change('events are append-only');

select publish('webhook_endpoint_events', 'endpoint_id', 'webhook_endpoints', '''webhook_endpoint''');
insert into public_event_types (log, kind, word, type, renderer) values
    ('webhook_endpoint_events', 'webhook_endpoint', 'disabled', 'webhook_endpoint.disabled', 1),
    ('webhook_endpoint_events', 'webhook_endpoint', 'enabled', 'webhook_endpoint.enabled', 1),
    ('webhook_endpoint_events', 'webhook_endpoint', 'test', 'webhook_endpoint.test', 1);

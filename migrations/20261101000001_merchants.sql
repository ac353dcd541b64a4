-- Who may post payments: merchants and their API keys. A key is stored only as its hash.
-- Old code may run meanwhile: yes (new tables).

create table merchants (
    id         uuid        primary key,
    name       text        not null constraint merchants_name_unique unique
                           constraint merchants_name_length check (length(name) between 1 and 255),
    created_at timestamptz not null default clock_timestamp()
);

create table api_keys (
    id          uuid        primary key,
    merchant_id uuid        not null references merchants (id),
    name        text        not null constraint api_keys_name_length check (length(name) between 1 and 255),
    -- The first characters of the secret, for people to tell keys apart.
    prefix      text        not null,
    -- SHA-256 of the secret. The secret has 256 random bits, so a slow hash would add nothing.
    secret_hash bytea       not null constraint api_keys_secret_unique unique
                            constraint api_keys_secret_hash_length check (octet_length(secret_hash) = 32),
    created_at  timestamptz not null default clock_timestamp(),
    revoked_at  timestamptz
);

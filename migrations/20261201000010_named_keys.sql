-- A secret names its key, so that garbage is told without a query and logs say whose key it was. Of it only an HMAC is kept, whose
-- pepper is not in the database. A key has scopes, may expire, and may have two secrets for a while; a person who operates the
-- system has keys, too.
-- Old code may run meanwhile: yes (it finds the keys that it knows; but keys that are made from now on open nothing there: make none
-- before all processes are new).

alter table api_keys
    alter column merchant_id drop not null,
    -- The person whose key it is, where it is no merchant's.
    add column operator text constraint api_keys_operator_length check (length(operator) between 1 and 64),
    add column scopes text[] not null default array['payments:write', 'payments:read'],
    -- Tells under which pepper `secret_hash` is an HMAC, and nothing else about that. Null: it is the secret's SHA-256.
    add column pepper text,
    add column expires_at timestamptz,
    -- The secret before, which opens as much until then. It stays afterwards, so that nobody makes a key of it again.
    add column prior_hash bytea constraint api_keys_prior_hash_length check (octet_length(prior_hash) = 32),
    add column prior_until timestamptz,
    -- By UTC. The API writes it apart from requests, once a day at most.
    add column last_used_on date,
    -- The environment of an API brought it.
    add column is_seeded boolean not null default false,
    add constraint api_keys_one_owner check ((merchant_id is null) <> (operator is null)),
    add constraint api_keys_scopes_of_its_owner check (
        cardinality(scopes) > 0
        and scopes <@ case when operator is null then array['payments:write', 'payments:read'] else array['ops', 'admin'] end),
    add constraint api_keys_prior_until_some_time check ((prior_hash is null) = (prior_until is null));
create unique index api_keys_prior_hash_unique on api_keys (prior_hash) where prior_hash is not null;

-- The key that a presented secret opens, if any. The secret is told by the id that it names, or else by its hash alone. There are
-- two hashes while the pepper is exchanged. Every statement that finds a key does it by this, so that revoking and expiring hold
-- with the next one.
create function key_of(named uuid, hash bytea, other_hash bytea)
    returns table (key_id uuid, merchant_id uuid, operator text, scopes text[]) language sql stable as $$
    select a.id, a.merchant_id, a.operator, a.scopes
      from api_keys a
     where a.id = coalesce(named, (select b.id from api_keys b where b.secret_hash = hash),
                                  (select b.id from api_keys b where b.prior_hash = hash))
       and (a.secret_hash in (hash, other_hash) or (a.prior_hash in (hash, other_hash) and a.prior_until > now()))
       and a.revoked_at is null
       and (a.expires_at is null or a.expires_at > now())
$$;

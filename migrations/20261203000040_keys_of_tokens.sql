-- The tokens of another issuer (JWT) by which clients of a merchant come open one key of that merchant. So they have its limits,
-- are listed and counted with it, and are ended with it, by the statements that find any other key.
-- Old code may run meanwhile: yes (a new column; it finds no secret that opens such a key).

alter table api_keys
    -- No secret opens it: its hash is random.
    add column is_of_jwts boolean not null default false,
    add constraint api_keys_of_jwts_have_no_secret check (
        not is_of_jwts or (merchant_id is not null and pepper is null and prior_hash is null and not is_seeded));
create unique index api_keys_one_of_jwts on api_keys (merchant_id) where is_of_jwts;

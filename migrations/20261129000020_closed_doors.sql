-- While nobody has looked into a past that came back, nothing is accepted either, and nothing at all where this database is
-- a copy that nobody has said is meant.
-- Old code may run meanwhile: yes (it is refused with the same error, which its clients see as 503).

-- Whether a claim may be taken: not while a past that came back was not looked into, nor on a server that took over and whose
-- last commits may be missing, nor in another database than the installation knows: one whose row was loaded or copied, or that
-- has another number. In a statement as `(select may_claim())`, so that it is asked once.
create function may_claim() returns boolean language plpgsql stable as $$
begin
    return (select must_restore is null
                   and xmin::text::bigint = written_xid
                   and (database_oid is null
                        or database_oid = (select oid::bigint from pg_database where datname = current_database()))
                   and (timeline is null
                        or timeline >= ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int)
              from installation);
end $$;

create function refuse_behind_closed_doors() returns trigger language plpgsql as $$
begin
    if exists (select from installation where must_restore is not null) then
        raise exception 'nothing is accepted until `payonce restored` has run' using errcode = 'cannot_connect_now';
    end if;
    -- Its payments would have other keys than the same requests before.
    if current_setting('payonce.reads_keys', true) is distinct from 'on'
       and exists (select from installation where key_scheme = 2) then
        raise exception 'nothing is accepted: this process is older than the keys at the gateway; start the current version'
            using errcode = 'cannot_connect_now';
    end if;
    return null;
end $$;
-- Once for each statement.
create trigger payments_behind_closed_doors before insert on payments for each statement
    execute function refuse_behind_closed_doors();

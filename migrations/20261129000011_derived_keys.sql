-- What derives a payment's key at the gateway, and what keeps a payment that is to be looked at first from being charged.
-- Old code may run meanwhile: yes (it derives no keys, and claims no payment that is to be looked at first).

-- A part of what a key is made of, so that no two lists of parts are written alike. Inlined where it is called.
create function length_prefixed(part text) returns bytea language sql stable
    return int4send(octet_length(convert_to(part, 'UTF8'))) || convert_to(part, 'UTF8');

-- Refuses what comes in while a past that came back was not looked into. In a statement as `(select door_is_open())`, so that
-- it is asked once.
create function door_is_open() returns boolean language plpgsql stable as $$
declare
    why text := (select must_restore from installation);
begin
    if why is not null then
        raise exception 'nothing is accepted: %', why
            using errcode = 'cannot_connect_now', hint = 'run `payonce restored`';
    end if;
    return true;
end $$;

create trigger payments_look_first before update on payments for each row
    when (old.look_first and (new.attempt_count > old.attempt_count or (old.status = 'processing' and new.status = 'pending'))
          or new.look_first and old.void_started_at is null and new.void_started_at is not null
             and new.status = 'processing' and old.held_reason is null)
    execute function refuse_change('what the gateway has of it is looked at before it is charged or voided');

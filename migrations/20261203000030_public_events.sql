-- What is told to merchants: a row for each public event, written by the statement of the change itself, and the epochs by which a
-- reader's cursor stays true over restores and promotions.
-- Old code may run meanwhile: yes (new tables; triggers of the logs write them, whichever program wrote the log).

-- Transaction ids order events only within one line of the server's life. A line is an epoch. Its number is the time of its begin, in
-- seconds since 1970, so that two returns of one backup never share it.
alter table installation add column moves integer not null default 0 constraint installation_moves_counted check (moves >= 0);
comment on column installation.moves is 'how often it was brought to another server, or was about to be restored: transaction ids may begin anew';

create table event_epochs (
    epoch    bigint      primary key constraint event_epochs_epoch_range check (epoch between 1 and 4294967295),
    -- `installation.epoch`, `installation.moves` and the server's timeline: together they say which line it is.
    past     integer     not null,
    moves    integer     not null,
    timeline integer     not null,
    -- No transaction of this line is older than the one that began it.
    began_tx xid8        not null default pg_current_xact_id(),
    began_at timestamptz not null default clock_timestamp()
);
create trigger event_epochs_append_only before update or delete on event_epochs for each row
    execute function refuse_change('an epoch that began is for ever');
create trigger event_epochs_append_only_all before truncate on event_epochs
    execute function refuse_change('an epoch that began is for ever');

-- The epoch of now; null on a server whose own has not begun yet.
create function current_epoch() returns bigint language sql stable as $$
    select e.epoch
      from (select * from event_epochs order by epoch desc limit 1) as e
      join installation i on i.epoch = e.past and i.moves = e.moves
     where e.timeline = ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
$$;

-- The same for who writes an event: on a server that took over or came back from a backup, whoever writes first begins the epoch. Who
-- writes holds the lock shared until its commit, and who begins an epoch has it alone: so no event of an epoch is committed after the
-- next one began. Each query of a volatile function sees what was committed before that query.
create function event_epoch() returns bigint language plpgsql volatile security definer set search_path = public, pg_temp as $$
declare
    turn constant bigint := x'7061796f6e636503'::bigint;
    here bigint := current_epoch();
begin
    if here is not null then
        perform pg_advisory_xact_lock_shared(turn);
        here := current_epoch();
    end if;
    if here is not null then
        return here;
    end if;
    perform pg_advisory_xact_lock(turn);
    here := current_epoch();
    if here is null then
        insert into event_epochs (epoch, past, moves, timeline)
        select greatest(extract(epoch from clock_timestamp())::bigint, coalesce((select max(e.epoch) from event_epochs e), 0) + 1),
               i.epoch, i.moves, ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
          from installation i
        returning epoch into here;
    end if;
    return here;
end $$;

-- The list of what is told: the word in a log, of which kind of object, and how it is told. Whose type is here is told from now on.
create table public_event_types (
    log      text     not null,
    kind     text     not null,
    word     text     not null,
    type     text     not null,
    -- Which renderer makes the bytes. It is kept with each event, and for ever.
    renderer smallint not null,
    -- What happened before was not told.
    since    timestamptz not null default clock_timestamp(),
    constraint public_event_types_pkey primary key (log, kind, word)
);
create trigger public_event_types_append_only before update or delete on public_event_types for each row
    execute function refuse_change('what was told once is told for ever');
create trigger public_event_types_append_only_all before truncate on public_event_types
    execute function refuse_change('what was told once is told for ever');

-- Append-only, in the order (epoch, tx, object, version). Read below the oldest transaction that still runs, it is complete.
create table public_events (
    merchant_id      uuid        not null,
    epoch            bigint      not null,
    -- The writing transaction, or the one of the object's event before, if that is later: so versions of one object keep their order,
    -- whichever of two crossed transactions began first.
    tx               xid8        not null,
    -- The id of the payment, or of what else it is about, and the version of it that the event made.
    object           uuid        not null,
    version          integer     not null constraint public_events_version_positive check (version > 0),
    -- The version of the public event before, of the same object. Null if this is the first one.
    previous_version integer     constraint public_events_previous_before check (previous_version < version),
    kind             text        not null,
    type             text        not null,
    renderer         smallint    not null,
    at               timestamptz not null,
    constraint public_events_pkey primary key (object, version)
);
create unique index public_events_in_order on public_events (merchant_id, epoch, tx, object, version);
alter table public_events set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
                               autovacuum_freeze_min_age = 0);
create trigger public_events_append_only before update or delete on public_events for each row
    execute function refuse_change('what was told was told');
create trigger public_events_append_only_all before truncate on public_events
    execute function refuse_change('what was told was told');

-- Has a log tell its public events from now on; the list is filled after it, in the same migration. The log has the columns `version`, `type` and `at`, and one that names its object. The
-- object's table has `id` and `merchant_id`. `kind` is an expression over the object's row `o`.
-- The writer of the log has locked its object, so the object's event before is committed, and seen by the trigger's own queries.
create function publish(log name, object_column name, owner name, kind text) returns void language plpgsql as $outer$
begin
    execute format($make$
        create function %1$I() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
        declare
            epoch_now bigint;
        begin
            if not exists (select from written w join public_event_types p on p.log = %2$L and p.word = w.type) then
                return null;
            end if;
            epoch_now := event_epoch();
            insert into public_events (merchant_id, epoch, tx, object, version, previous_version, kind, type, renderer, at)
            select t.merchant_id, epoch_now,
                   case when before.epoch = epoch_now then greatest(before.tx, pg_current_xact_id()) else pg_current_xact_id() end,
                   t.object, t.version, coalesce(t.previous, before.version), t.kind, t.type, t.renderer, t.at
              from (select w.%3$I as object, w.version, w.at, p.kind, p.type, p.renderer, o.merchant_id,
                           lag(w.version) over (partition by w.%3$I order by w.version) as previous
                      from written w
                     cross join lateral (select o.merchant_id, %5$s as kind from %4$I o where o.id = w.%3$I offset 0) as o
                      join public_event_types p on p.log = %2$L and p.kind = o.kind and p.word = w.type) as t
              left join lateral (
                    select e.epoch, e.tx, e.version from public_events e
                     where e.object = t.object and e.version < t.version order by e.version desc limit 1) as before on true
             order by t.object, t.version;
            return null;
        end $$
    $make$, 'tell_' || log, log, object_column, owner, kind);
    execute format('create trigger %I after insert on %I referencing new table as written for each statement execute function %I()',
                   log || '_told', log, 'tell_' || log);
end $outer$;

select publish('payment_events', 'payment_id', 'payments', '''payment''');
-- After the trigger, which waited for every statement that writes the log: what was written before it is older than `since`.
insert into public_event_types (log, kind, word, type, renderer) values
    ('payment_events', 'payment', 'succeeded', 'payment.succeeded', 1),
    ('payment_events', 'payment', 'failed', 'payment.failed', 1),
    ('payment_events', 'payment', 'reversed', 'payment.reversed', 1),
    ('payment_events', 'payment', 'held', 'payment.held', 1),
    ('payment_events', 'payment', 'review_started', 'payment.in_review', 1);
do $$ begin perform event_epoch(); end $$;

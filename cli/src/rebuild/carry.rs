//! Everything that hangs on the table of payments, as statements that hang it on the table that takes
//! its place.
//!
//! Invariants: it is read from the catalog and not written down here, so that additions of a later
//! migration are carried over too. What this program does not know how to carry over is named, and nothing
//! is exchanged.

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection};

/// What depends on the table and is neither part of it nor among what [`STATEMENTS`] carries over.
const UNKNOWN: &str = "
    select pg_describe_object(d.classid, d.objid, d.objsubid)
      from pg_depend d
      join pg_class t on t.oid = 'payments'::regclass
      left join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
      left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
      left join pg_class v on v.oid = r.ev_class
     where (d.refclassid = 'pg_class'::regclass and d.refobjid = t.oid
            or d.refclassid = 'pg_type'::regclass and d.refobjid in (
                   select t.reltype union all select typarray from pg_type where oid = t.reltype))
       and d.classid not in ('pg_type'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_attrdef'::regclass,
                             'pg_statistic_ext'::regclass)
       and coalesce(c.relkind, '') not in ('i', 't')
       and coalesce(v.relkind, '') <> 'v'
     union all
    select 'its kind, place or row security' from pg_class
     where oid = 'payments'::regclass
       and (relkind <> 'r' or relpersistence <> 'p' or reltablespace <> 0 or relrowsecurity or relispartition or reloftype <> 0)
     union all
    select pg_describe_object('pg_constraint'::regclass, oid, 0) from pg_constraint
     where conrelid = 'payments'::regclass and contype not in ('c', 'p', 'u', 'n')
     order by 1";

/// Columns and checks of each table, which must be the same.
const SHAPES: &str = "
    select coalesce(string_agg(said, '; ') filter (where balance > 0), '') as lacks,
           coalesce(string_agg(said, '; ') filter (where balance < 0), '') as has
      from (select said, sum(case n when 1 then 1 else -1 end) as balance
              from (select n, format('%s %s%s default %s', attname, format_type(atttypid, atttypmod),
                                     case when attnotnull then ' not null' else '' end, pg_get_expr(adbin, adrelid)) as said
                      from (values ('payments'::regclass, 1), ('payments_rebuilt'::regclass, 2)) as t (oid, n)
                      join pg_attribute on attrelid = t.oid and attnum > 0 and not attisdropped
                      left join pg_attrdef on adrelid = attrelid and adnum = attnum
                     union all
                    select n, format('%s %s', conname, replace(pg_get_constraintdef(c.oid), ' NOT VALID', ''))
                      from (values ('payments'::regclass, 1), ('payments_rebuilt'::regclass, 2)) as t (oid, n)
                      join pg_constraint c on conrelid = t.oid and contype = 'c'
                     union all
                    select n, format('an index%s', substring(pg_get_indexdef(indexrelid) from ' USING .*'))
                      from (values ('payments'::regclass, 1), ('payments_rebuilt'::regclass, 2)) as t (oid, n)
                      join pg_index on indrelid = t.oid) every
             group by said) pairs";

/// The statements, in their order. They are read while the tables still have their old names, and name
/// nothing by number.
const STATEMENTS: &str = "
    with old as (select * from pg_class where oid = 'payments'::regclass),
    indexes as (
        select t.n, c.relname, row_number() over (partition by t.n, d.kind order by c.relname) as twin, d.kind
          from (values ('payments'::regclass, 1), ('payments_rebuilt'::regclass, 2)) as t (oid, n)
          join pg_index i on i.indrelid = t.oid
          join pg_class c on c.oid = i.indexrelid
         cross join lateral (
               select concat(i.indisprimary, i.indisunique, substring(pg_get_indexdef(i.indexrelid) from ' USING .*')) as kind) d),
    pairs as (
        select o.relname as old, r.relname as new
          from indexes o join indexes r on r.kind = o.kind and r.twin = o.twin and r.n = 2
         where o.n = 1)
    select statement from (
        -- Who points at payments lets go of it, and takes hold of what comes in its place.
        select 1 as step, format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement
          from pg_constraint where confrelid = 'payments'::regclass and contype = 'f' and conparentid = 0
         union all
        select 2, 'alter table payments rename to payments_before_rebuild'
         union all
        select 3, format('alter index %I rename to %I', old, old || '_before_rebuild') from pairs
         union all
        select 4, 'alter table payments_rebuilt rename to payments'
         union all
        select 5, format('alter index %I rename to %I', new, old) from pairs
         union all
        select 6, format('alter table payments owner to %s', relowner::regrole) from old
         union all
        select 7, format('alter table payments set (%s)', array_to_string(reloptions, ', ')) from old where reloptions is not null
         union all
        select 7, format('alter table payments set (%s)', (select string_agg('toast.' || o, ', ') from unnest(t.reloptions) o))
          from old join pg_class t on t.oid = old.reltoastrelid where t.reloptions is not null
         union all
        select 7, format('alter table payments alter column %I set statistics %s', attname, attstattarget)
          from pg_attribute join old on attrelid = old.oid where attnum > 0 and not attisdropped and attstattarget >= 0
         union all
        select 7, format('alter table payments alter column %I set (%s)', attname, array_to_string(attoptions, ', '))
          from pg_attribute join old on attrelid = old.oid where attnum > 0 and not attisdropped and attoptions is not null
         union all
        select 7, case relreplident when 'f' then 'alter table payments replica identity full'
                                    when 'n' then 'alter table payments replica identity nothing'
                                    else (select format('alter table payments replica identity using index %I', c.relname)
                                            from pg_index i join pg_class c on c.oid = i.indexrelid
                                           where i.indrelid = old.oid and i.indisreplident) end
          from old where relreplident <> 'd'
         union all
        select 7, format('comment on table payments is %L', obj_description(old.oid, 'pg_class'))
          from old where obj_description(old.oid, 'pg_class') is not null
         union all
        select 8, format('revoke all on payments from %s', case grantee when 0 then 'public' else grantee::regrole::text end)
          from (select distinct grantee
                  from pg_class c cross join lateral aclexplode(c.relacl)
                 where c.oid = 'payments_rebuilt'::regclass and grantee <> c.relowner) granted
         union all
        select 9, format('grant %s on payments to %s%s', privilege_type, case grantee when 0 then 'public' else grantee::regrole::text end,
                         case when is_grantable then ' with grant option' else '' end)
          from old cross join lateral aclexplode(relacl)
         union all
        select 9, format('grant %s (%I) on payments to %s%s', privilege_type, attname,
                         case grantee when 0 then 'public' else grantee::regrole::text end,
                         case when is_grantable then ' with grant option' else '' end)
          from old join pg_attribute on attrelid = old.oid cross join lateral aclexplode(attacl)
         union all
        select 10, pg_get_triggerdef(t.oid)
          from pg_trigger t join old on tgrelid = old.oid where not tgisinternal
         union all
        select 11, format('alter table payments %s trigger %I',
                          case tgenabled when 'D' then 'disable' when 'A' then 'enable always' else 'enable replica' end, tgname)
          from pg_trigger join old on tgrelid = old.oid where not tgisinternal and tgenabled <> 'O'
         union all
        select 12, format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
          from pg_constraint where confrelid = 'payments'::regclass and contype = 'f' and conparentid = 0
         union all
        -- A view keeps its owner, its grants and whoever reads it.
        select distinct 13, format('create or replace view %s%s as %s', v.oid::regclass,
                                   ' with (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
          from pg_depend d
          join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
          join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
         where d.refclassid = 'pg_class'::regclass and d.refobjid = 'payments'::regclass) every
     order by step, statement";

/// The tables that refer to payments, which must be locked too.
const REFERRING: &str = "
    select distinct conrelid::regclass::text from pg_constraint
     where confrelid = 'payments'::regclass and contype = 'f' order by 1";

/// Refuses what could not be carried over.
pub(super) async fn require_known(connection: &mut PgConnection) -> Result<()> {
    let unknown: Vec<String> = sqlx::query_scalar(UNKNOWN).fetch_all(&mut *connection).await?;
    ensure!(
        unknown.is_empty(),
        "this hangs on payments and cannot be carried over: {}. Drop it, and create it again after the exchange",
        unknown.join("; ")
    );
    let (lacks, has): (String, String) = sqlx::query_as(SHAPES).fetch_one(connection).await?;
    ensure!(
        lacks.is_empty() && has.is_empty(),
        "payments_rebuilt is of another shape than payments (it lacks: {lacks}; it has: {has}): run payonce rebuild again"
    );
    Ok(())
}

/// The tables that refer to payments.
pub(super) async fn referring(connection: &mut PgConnection) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(REFERRING).fetch_all(connection).await?)
}

/// Puts the new table into the place of the old one, with all that hangs on it. The transaction must hold
/// the locks.
pub(super) async fn over(transaction: &mut PgConnection) -> Result<()> {
    let statements: Vec<String> = sqlx::query_scalar(STATEMENTS).fetch_all(&mut *transaction).await?;
    for statement in statements {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *transaction).await;
        done.with_context(|| format!("nothing was exchanged, because this failed: {statement}"))?;
    }
    Ok(())
}

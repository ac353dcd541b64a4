//! The roles of a private server's database: its owner, the one that serves, and the one that reads.
//!
//! All have the superuser's password, which only the user who runs the server can read.

use anyhow::{Context as _, Result};
use shared::database::{APP, READER};
use sqlx::{AssertSqlSafe, PgConnection};

/// The role that owns the database, and migrates it.
pub(super) const OWNER: &str = "payonce_owner";

/// Gives to the owner what an earlier version made as superuser, except for what belongs to extensions.
const HAND_OVER: &str = "
    do $$
    declare statement text;
    begin
        for statement in
            with ours as (
                select oid from pg_namespace where nspname in ('public', 'apalis')),
            others as (
                select oid from pg_roles where rolname <> 'payonce_owner')
            select format('alter schema %s owner to payonce_owner', nspname) from pg_namespace
             where nspname = 'apalis' and nspowner in (select oid from others)
             union all
            select format('alter %s %s owner to payonce_owner', case relkind when 'v' then 'view' else 'table' end, oid::regclass)
              from pg_class c
             where relnamespace in (select oid from ours) and relkind in ('r', 'v') and relowner in (select oid from others)
               and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
             union all
            select format('alter function %s owner to payonce_owner', oid::regprocedure)
              from pg_proc p
             where pronamespace in (select oid from ours) and proowner in (select oid from others)
               and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
        loop
            execute statement;
        end loop;
    end $$";

/// Makes the roles, and makes the first of them the owner of the database that the superuser is connected to.
pub(super) async fn make(connection: &mut PgConnection, database: &str, password: &str) -> Result<()> {
    let mut statements = Vec::new();
    for role in [OWNER, APP, READER] {
        statements.push(format!(
            "do $$ begin create role {role}; exception when duplicate_object or unique_violation then null; end $$"
        ));
        statements.push(format!("alter role {role} login password '{password}'"));
    }
    statements.push(format!("alter database {database} owner to {OWNER}"));
    statements.push(format!("grant pg_read_all_stats to {APP}, {READER}"));
    statements.push(HAND_OVER.to_owned());
    for statement in statements {
        let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await;
        done.context("cannot make the database's roles")?;
    }
    Ok(())
}

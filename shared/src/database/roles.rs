//! The rights of the roles beside the tables' owner: `payonce_app`, which serves, `payonce_reader`, which
//! looks, and a role for each module, which looks at nothing else.
//!
//! Invariant: what is not listed is not allowed. No such role may make or change a table, or change what is
//! append-only. So not even a stolen password rewrites the books, and they do not rest on the triggers alone.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::Error;

/// The role of APIs, workers and the payonce commands that decide something.
pub const APP: &str = "payonce_app";

/// The role of `payonce verify` and of dashboards.
pub const READER: &str = "payonce_reader";

/// Each table or view, and what [`APP`] may do there beyond `select`. A new table needs its line here, or
/// only its owner sees it.
const TABLES: &[(&str, &str)] = &[
    ("public._sqlx_migrations", ""),
    ("public.gateways", "insert"),
    ("public.merchants", "insert"),
    ("public.api_keys", "insert update"),
    ("public.limit_shares", "insert update delete"),
    ("public.payments", "insert update"),
    ("public.payment_events", "insert"),
    ("public.idempotency_keys", "insert"),
    ("public.late_evidence", "insert"),
    ("public.breaks", "insert update"),
    ("public.ledger_accounts", "insert"),
    ("public.ledger_transfers", "insert"),
    ("public.ledger_entries", ""),
    ("public.payment_timeline", ""),
    ("public.payment_attempts", ""),
    ("public.provider_attempts", ""),
    ("public.transactions", ""),
    ("public.accounts", "insert update"),
    ("public.transfers", "insert update"),
    ("public.account_entries", "insert"),
    ("public.operations", "insert update"),
    ("public.operation_events", "insert"),
    ("public.operation_transfers", "insert"),
    ("public.refund_totals", "insert update"),
    ("public.risk_rules", "insert update"),
    ("public.risk_counters", "insert update delete"),
    ("public.reviews", "insert update"),
    ("public.decisions", "insert update"),
    ("public.corrections", "insert update"),
    ("public.dead_letters", "insert update"),
    ("public.reconciliation_runs", "insert update delete"),
    ("public.gateway_effects", "insert"),
    ("public.gateway_cursors", "insert update"),
    ("public.gateway_identities", "insert update"),
    ("public.gateway_outages", "insert update delete"),
    ("public.account_sums", "insert update delete"),
    ("public.account_balances", "insert update"),
    ("public.recovery_reports", "insert delete"),
    ("public.recovery_items", "insert"),
    ("public.installation", "update"),
    ("public.orphans", "insert update"),
    ("public.event_epochs", ""),
    ("public.public_event_types", ""),
    ("public.public_events", ""),
    ("public.webhook_endpoints", "insert update"),
    ("public.webhook_secrets", "insert update"),
    ("public.webhook_deliveries", "insert update delete"),
    ("public.webhook_attempts", "insert delete"),
    ("public.webhook_endpoint_events", "insert"),
    ("apalis._sqlx_migrations", ""),
    ("apalis.jobs", "insert update delete"),
    ("apalis.workers", "insert update delete"),
];

/// The roles that read one module each, and what is in it. A person is made a member of such a role.
pub const MODULES: &[(&str, &[&str])] = &[
    (
        "payonce_reads_payments",
        &[
            "public.payments",
            "public.payment_events",
            "public.payment_timeline",
            "public.payment_attempts",
            "public.late_evidence",
            "public.idempotency_keys",
            "public.merchants",
        ],
    ),
    (
        "payonce_reads_ledger",
        &[
            "public.ledger_accounts",
            "public.ledger_transfers",
            "public.ledger_entries",
            "public.transactions",
            "public.accounts",
            "public.transfers",
            "public.account_entries",
            "public.account_sums",
            "public.account_balances",
            "public.merchants",
        ],
    ),
    ("payonce_reads_queue", &["apalis.jobs", "apalis.workers", "public.dead_letters"]),
    (
        "payonce_reads_gateways",
        &[
            "public.gateways",
            "public.gateway_effects",
            "public.gateway_cursors",
            "public.gateway_identities",
            "public.gateway_outages",
            "public.provider_attempts",
            "public.reconciliation_runs",
            "public.breaks",
        ],
    ),
];

/// The table that a reader has no use for: the hashes of the API keys.
const HIDDEN: &str = "public.api_keys";

const PRIVILEGES: &[&str] = &["select", "insert", "update", "delete", "truncate", "references", "trigger"];

/// The right by which gauges tell who holds a snapshot. Without it other roles' sessions are shown without
/// what they do.
const SEES_SESSIONS: &str = "pg_read_all_stats";

/// The number of the lock by which one process grants at a time: two that change the same rows of the
/// catalogue fail.
const ONE_AT_A_TIME: i64 = 0x7061_796f_6772_6e74;

/// Makes the roles unless they exist. Each other database of the server may do so at the same moment.
const MAKE: &str = "
    do $$ begin create role payonce_app; exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role payonce_reader; exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role payonce_reads_payments; exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role payonce_reads_ledger; exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role payonce_reads_queue; exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role payonce_reads_gateways; exception when duplicate_object or unique_violation then null; end $$";

/// The statements after which these roles may do what they should, and nothing else. A role that owns the
/// tables, or may act as their owner, is passed over.
const STATEMENTS: &str = "
    with roles as (
        select r.oid, r.rolname from pg_roles r join pg_class p on p.oid = 'public.payments'::regclass
         where r.rolname = any ($5) and not pg_has_role(r.oid, p.relowner, 'member')),
    wanted as (
        select r.oid, r.rolname, to_regclass(w.relation) as relation, w.privilege, w.is_wanted
          from unnest($1::text[], $2::text[], $3::text[], $4::bool[]) as w (role, relation, privilege, is_wanted)
          join roles r on r.rolname = w.role
         where to_regclass(w.relation) is not null)
    select format('grant usage on schema %s to %I', schema, rolname)
      from roles cross join unnest(array['public', 'apalis']) as schema
     where not has_schema_privilege(oid, schema, 'usage')
     union all
    select format('grant connect on database %I to %I', current_database(), rolname)
      from roles where not has_database_privilege(oid, current_database(), 'connect')
     union all
    select format(case when is_wanted then 'grant %s on %s to %I' else 'revoke %s on %s from %I' end, privilege, relation, rolname)
      from wanted where has_table_privilege(oid, relation, privilege) <> is_wanted";

/// The lines that are left for an administrator to run.
const LEFT: &str = "
    select format('create role %I;', name) from unnest($1::text[]) as name where to_regrole(name) is null
     union all
    select format('grant %I to %I;', $2, r.rolname) from pg_roles r
     where r.rolname = any ($1) and not pg_has_role(r.oid, $2, 'usage')";

/// Makes the roles where that is allowed, and brings their rights up to date. Does nothing where the tables
/// are not ours.
pub(super) async fn grant(connection: &mut PgConnection) -> Result<(), Error> {
    let (is_ours, may_make): (bool, bool) = sqlx::query_as(
        "select (select pg_has_role(relowner, 'usage') from pg_class where oid = 'public.payments'::regclass),
                rolsuper or rolcreaterole from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_ours {
        return Ok(());
    }
    if may_make {
        sqlx::raw_sql(MAKE).execute(&mut *connection).await?;
    }
    let statements = statements(connection).await?;
    if !statements.is_empty() {
        // All or none of them: statements that are sent in one piece are one transaction.
        let lock = format!("select pg_advisory_xact_lock({ONE_AT_A_TIME})");
        let all = [lock].into_iter().chain(statements).collect::<Vec<_>>().join("; ");
        sqlx::raw_sql(AssertSqlSafe(all)).execute(&mut *connection).await?;
    }
    if may_make {
        see_sessions(connection).await;
    }
    Ok(())
}

async fn statements(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let (mut roles, mut relations, mut privileges, mut wanted) = (vec![], vec![], vec![], vec![]);
    for (role, &(relation, more)) in all_roles().flat_map(|role| TABLES.iter().map(move |it| (role, it))) {
        for &privilege in PRIVILEGES {
            roles.push(role);
            relations.push(relation);
            privileges.push(privilege);
            wanted.push(match (role, privilege) {
                (APP, "select") => true,
                (APP, _) => more.split(' ').any(|it| it == privilege),
                (READER, privilege) => privilege == "select" && relation != HIDDEN,
                (role, privilege) => privilege == "select" && is_of_module(role, relation),
            });
        }
    }
    let statements = sqlx::query_scalar(STATEMENTS).bind(roles).bind(relations).bind(privileges).bind(wanted);
    statements.bind(all_roles().map(str::to_owned).collect::<Vec<_>>()).fetch_all(connection).await
}

fn all_roles() -> impl Iterator<Item = &'static str> {
    [APP, READER].into_iter().chain(MODULES.iter().map(|(role, _)| *role))
}

fn is_of_module(role: &str, relation: &str) -> bool {
    MODULES.iter().any(|(name, relations)| *name == role && relations.contains(&relation))
}

/// Lets both roles see what other sessions hold. Where that may not be granted, it is among the lines for an
/// administrator.
async fn see_sessions(connection: &mut PgConnection) {
    for role in [APP, READER] {
        let grant = format!(
            "do $$ begin if not pg_has_role('{role}', '{SEES_SESSIONS}', 'usage') then grant {SEES_SESSIONS} to {role}; end if; end $$"
        );
        if let Err(why) = sqlx::raw_sql(AssertSqlSafe(grant)).execute(&mut *connection).await {
            tracing::debug!(%why, role, "not granted");
        }
    }
}

/// The lines for an administrator, where roles or rights are missing that a migration could not give. Without
/// them everything works under the owner's name.
///
/// # Errors
/// Returns the database's error.
pub async fn lines_for_administrator(pool: &PgPool) -> Result<Vec<String>, Error> {
    let roles = [APP, READER].map(str::to_owned);
    Ok(sqlx::query_scalar(LEFT).bind(roles).bind(SEES_SESSIONS).fetch_all(pool).await?)
}

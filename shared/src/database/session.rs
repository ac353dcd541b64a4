//! What every session is set to, and what it says of its server.
//!
//! Invariant: no promise rests on what was asked for at connecting, which a pooler may swallow. The session's
//! first statement makes all settings and reads them back in the same round trip. A session that says
//! otherwise is not used.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::failure::Failure;
use super::refusal::Refusal;

/// The oldest server that works, since older ones lack `unique nulls not distinct`.
const OLDEST: u32 = 150_000;

/// Whether a commit must have reached the disk before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It must, as all that is promised.
    Promised,
    /// It need not: hints may be lost with the server.
    Hints,
}

/// The settings of every session, written as the server shows them, so that they can be compared.
const SETTINGS: &[(&str, &str)] = &[
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("lock_timeout", "1s"),
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("idle_session_timeout", "0"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("search_path", "public"),
    ("standard_conforming_strings", "on"),
    // Warnings are heard: one may say that a commit was not waited for.
    ("client_min_messages", "warning"),
    // The tables are empty or small when their statistics are taken, so the planner would scan them whole.
    // The plan stays while they grow, also that of foreign key checks, and every payment would read all
    // others. Each of our statements names its rows by key.
    ("enable_seqscan", "off"),
    // Nor does it read and sort all of a merchant's payments for the newest of them, which an index has in
    // order.
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    // This session reads the gateway keys that are stored, and asks each gateway about its own payments
    // alone.
    ("payonce.reads_keys", "on"),
    ("payonce.reads_gateways", "on"),
];

/// The server of a session, as far as it may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's own number. None where this role may not read it.
    pub system: Option<i64>,
    /// The database's number in the cluster.
    pub database: u32,
    /// The number of the cluster's timeline, which grows with each promotion. None where this role may not
    /// read it.
    pub timeline: Option<u32>,
}

/// What a session says of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) is_in_recovery: bool,
    pub(super) is_read_only: bool,
    /// Since when the server runs. In it nothing is visible that an earlier run did not wait for.
    pub(super) running_since: String,
    /// Whether commits wait for a standby.
    pub(super) waits_for_standby: bool,
    pub(super) room: Room,
}

/// How many connections the server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) max: u32,
    /// How many of these are for superusers and other chosen roles.
    pub(super) reserved: u32,
}

/// The number of the cluster and its timeline, which some services keep to themselves.
const TIMELINE: &str = "case when pg_is_in_recovery() then null
      else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end";
const SYSTEM: &str = "(select system_identifier from pg_control_system())";

/// The question for a session's role, so that a server that was demoted under it is found out. It is one
/// round trip, as cheap as asking whether the connection lives.
pub(super) fn role_question(tells_all: bool) -> String {
    let timeline = if tells_all { TIMELINE } else { "null::int" };
    format!(
        "select pg_is_in_recovery() as recovery, current_setting('transaction_read_only')::bool as read_only,
                {timeline} as timeline, pg_postmaster_start_time()::text as since,
                current_setting('synchronous_standby_names') <> '' as waits"
    )
}

fn question(durability: Durability, tells_all: bool) -> String {
    let commit = match durability {
        Durability::Promised => "on",
        Durability::Hints => "off",
    };
    let settings = || [("synchronous_commit", commit)].into_iter().chain(SETTINGS.iter().copied());
    let (timeline, system) = if tells_all { (TIMELINE, SYSTEM) } else { ("null::int", "null::bigint") };
    // Whatever limit the role has, the rest of the statement has time enough.
    let mut sql = "set statement_timeout = 0; select ".to_owned();
    for (name, value) in settings() {
        let _ = write!(sql, "set_config('{name}', '{value}', false), ");
    }
    let _ = write!(
        sql,
        "case when current_setting('server_version_num')::int >= 170000 then set_config('transaction_timeout', '0', false) end,
         set_config('payonce.timeline', coalesce(({timeline})::text, ''), false);
         select array_to_json(array["
    );
    let read: Vec<String> = settings().map(|(name, _)| format!("current_setting('{name}')")).collect();
    let _ = write!(
        sql,
        "{}])::text as settings, current_setting('server_encoding') as encoding, current_setting('server_version') as version,
         current_setting('server_version_num') as version_num, pg_is_in_recovery()::text as recovery,
         current_setting('transaction_read_only') as read_only, nullif(current_setting('payonce.timeline'), '') as timeline,
         ({system})::text as system, (select oid from pg_database where datname = current_database())::text as database,
         pg_postmaster_start_time()::text as since, (current_setting('synchronous_standby_names') <> '')::text as waits,
         current_setting('max_connections') as max, (current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true)::int, 0))::text as reserved",
        read.join(", ")
    );
    sql
}

/// How often the first statement may be cut short by a limit that it is about to lift.
const CUT_SHORT_MAX: u32 = 20;

/// Sets a session, reads the settings back, and asks who the server is, in one round trip. Whether it takes
/// writes is for the caller to judge.
///
/// # Errors
/// The session's error; or a [`Refusal`] if the server cannot keep what is promised.
pub(super) async fn begin(
    connection: &mut PgConnection,
    durability: Durability,
    tells_all: bool,
) -> sqlx::Result<Seen> {
    let question = question(durability, tells_all);
    let mut tries = 0;
    let answer = loop {
        match sqlx::raw_sql(AssertSqlSafe(question.clone())).fetch_all(&mut *connection).await {
            Err(why) if tries < CUT_SHORT_MAX && Failure::of(&why) == Failure::Canceled => tries += 1,
            answer => break answer?,
        }
    };
    let row = answer.last().ok_or(sqlx::Error::RowNotFound)?;
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map(Option::unwrap_or_default);
    let version: u32 = text("version_num")?.parse().unwrap_or(0);
    if version < OLDEST {
        return Err(Refusal::Version(text("version")?).into());
    }
    let encoding = text("encoding")?;
    if encoding != "UTF8" {
        return Err(Refusal::Encoding(encoding).into());
    }
    let commit = if durability == Durability::Promised { "on" } else { "off" };
    let asked = [("synchronous_commit", commit)].into_iter().chain(SETTINGS.iter().copied());
    let got: Vec<String> = serde_json::from_str(&text("settings")?).unwrap_or_default();
    for ((name, asked), got) in asked.zip(got.into_iter().chain(std::iter::repeat(String::new()))) {
        if asked != got {
            return Err(Refusal::Setting { name, asked, got }.into());
        }
    }
    Ok(Seen {
        identity: Identity {
            system: text("system")?.parse().ok(),
            database: text("database")?.parse().unwrap_or(0),
            timeline: text("timeline")?.parse().ok(),
        },
        is_in_recovery: text("recovery")? == "true",
        is_read_only: text("read_only")? == "on",
        running_since: text("since")?,
        waits_for_standby: text("waits")? == "true",
        room: Room {
            max: text("max")?.parse().unwrap_or(u32::MAX),
            reserved: text("reserved")?.parse().unwrap_or(0),
        },
    })
}

/// Whether an error is the answer of a service that keeps these functions to itself.
pub(super) fn is_forbidden(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42501" | "42883" | "0A000"))
}

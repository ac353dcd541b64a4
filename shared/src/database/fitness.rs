//! What a database must be like to be one of ours, and which rights a migration needs.
//!
//! A server that is too old, or an encoding that lacks characters, would fail some payments for ever, long
//! after the migrations went well. So it is refused before anything is written, with one sentence that says
//! what to do.

use sqlx::{FromRow, PgPool};

use super::Error;

/// The oldest major version with all that the migrations use: `unique nulls not distinct`.
pub const OLDEST_SERVER: i32 = 15;

/// The newest major version that the tests have seen.
pub const NEWEST_SERVER: i32 = 18;

/// The server, as it describes itself.
#[derive(Debug, FromRow)]
struct Server {
    /// The version as a number: 150004 for 15.4.
    version_number: i32,
    version: String,
    encoding: String,
    is_in_recovery: bool,
}

impl Server {
    fn unfit(&self) -> Option<String> {
        let Self { version, encoding, .. } = self;
        if self.version_number / 10_000 < OLDEST_SERVER {
            return Some(format!(
                "the server is PostgreSQL {version}, and Payonce needs {OLDEST_SERVER} to {NEWEST_SERVER}: upgrade it, or name \
                 another one in DATABASE_URL"
            ));
        }
        if encoding != "UTF8" {
            return Some(format!(
                "the database's encoding is {encoding}, which lacks characters that customers use: make another one (create \
                 database payonce encoding 'UTF8' template template0) and name it in DATABASE_URL"
            ));
        }
        self.is_in_recovery.then(|| {
            "the server is in recovery, so that nothing can be written: name the primary in DATABASE_URL, or wait until this \
             one is promoted"
                .to_owned()
        })
    }
}

/// Refuses a server or database in which payments could not live.
///
/// # Errors
/// [`Error::Unfit`], or the database's own error.
pub(super) async fn require_fit(pool: &PgPool) -> Result<(), Error> {
    let server = "select current_setting('server_version_num')::int as version_number,
                         current_setting('server_version') as version,
                         (select pg_encoding_to_char(encoding)::text from pg_database where datname = current_database()) as encoding,
                         pg_is_in_recovery() as is_in_recovery";
    let server: Server = sqlx::query_as(server).fetch_one(pool).await?;
    server.unfit().map_or(Ok(()), |why| Err(Error::Unfit(why)))
}

/// What the migrating role finds, and may do. Names are quoted where they must be.
#[derive(Debug, FromRow)]
struct Rights {
    me: String,
    database: String,
    may_create_in_database: bool,
    has_queue_schema: bool,
    /// None where there is no schema `public`.
    may_create_in_public: Option<bool>,
    /// The schema of the extension; none where it was not created.
    hstore_in: Option<String>,
    hstore_is_installed: bool,
    may_create_hstore: bool,
    /// The owner of our tables, if this role may not act as it.
    owner: Option<String>,
    /// Another schema with our tables in it, if `public` has none.
    elsewhere: Option<String>,
}

const RIGHTS: &str = "
    select quote_ident(current_user) as me,
           quote_ident(current_database()) as database,
           has_database_privilege(current_database(), 'create') as may_create_in_database,
           to_regnamespace('apalis') is not null as has_queue_schema,
           has_schema_privilege(to_regnamespace('public'), 'create') as may_create_in_public,
           (select quote_ident(nspname) from pg_extension e join pg_namespace n on n.oid = extnamespace
             where extname = 'hstore') as hstore_in,
           exists (select from pg_available_extensions where name = 'hstore') as hstore_is_installed,
           (select rolsuper from pg_roles where rolname = current_user)
               or exists (select from pg_available_extension_versions where name = 'hstore' and trusted) as may_create_hstore,
           (select relowner::regrole::text from pg_class
             where oid = to_regclass('public.payments') and not pg_has_role(relowner, 'usage')) as owner,
           (select quote_ident(nspname) from pg_class c join pg_namespace n on n.oid = relnamespace
             where relname = 'payment_events' and relkind = 'r' and nspname <> 'public'
               and to_regclass('public.payment_events') is null
             limit 1) as elsewhere";

impl Rights {
    fn missing(&self) -> Option<String> {
        let Self { me, database, .. } = self;
        if let Some(owner) = &self.owner {
            return Some(format!(
                "the tables belong to {owner}, so that {me} may not migrate them: connect as {owner}"
            ));
        }
        if let Some(schema) = &self.elsewhere {
            return Some(format!(
                "Payonce's tables are in the schema {schema}, and this version looks for them in public: have an administrator \
                 move them (alter table {schema}.… set schema public), or make that schema the one called public"
            ));
        }
        if self.hstore_in.is_none() && !self.hstore_is_installed {
            return Some(
                "the server lacks the extension hstore: install its contrib extensions (Debian: postgresql-contrib; managed \
                 services have it, some only once it is on their list of allowed extensions)"
                    .to_owned(),
            );
        }
        let lines = self.lines();
        (!lines.is_empty()).then(|| {
            format!(
                "{me} may not make all that Payonce needs: connect as the owner of the database {database}, or have an \
                 administrator run there: {} Then run `payonce migrate` again",
                lines.join(" ")
            )
        })
    }

    /// The lines that an administrator must run.
    fn lines(&self) -> Vec<String> {
        let Self { me, database, .. } = self;
        let needs_database = !self.has_queue_schema || (self.hstore_in.is_none() && self.may_create_hstore);
        let mut lines = Vec::new();
        if needs_database && !self.may_create_in_database {
            lines.push(format!("grant create on database {database} to {me};"));
        }
        match self.may_create_in_public {
            Some(true) => {}
            Some(false) => lines.push(format!("grant usage, create on schema public to {me};")),
            None => lines.push(format!("create schema public authorization {me};")),
        }
        match self.hstore_in.as_deref() {
            Some("public") => {}
            Some(_) => lines.push("alter extension hstore set schema public;".to_owned()),
            None if self.may_create_hstore => {}
            None => lines.push("create extension hstore schema public;".to_owned()),
        }
        lines
    }
}

/// Refuses to begin with migrations that could not be brought to their end.
///
/// # Errors
/// [`Error::Unfit`], with the lines for an administrator; or the database's own error.
pub(super) async fn require_rights(pool: &PgPool) -> Result<(), Error> {
    let rights: Rights = sqlx::query_as(RIGHTS).fetch_one(pool).await?;
    rights.missing().map_or(Ok(()), |why| Err(Error::Unfit(why)))
}

#[cfg(test)]
mod tests {
    use super::{Rights, Server};

    fn server() -> Server {
        Server {
            version_number: 150_004,
            version: "15.4".to_owned(),
            encoding: "UTF8".to_owned(),
            is_in_recovery: false,
        }
    }

    #[test]
    fn a_server_of_before_15_is_refused_and_told_which_ones_will_do() {
        let old = Server { version_number: 140_020, version: "14.20 (Debian)".to_owned(), ..server() };

        let why = old.unfit().unwrap();

        assert!(why.contains("is PostgreSQL 14.20 (Debian), and Payonce needs 15 to 18"), "{why}");
        assert_eq!(server().unfit(), None);
        assert_eq!(Server { version_number: 190_000, ..server() }.unfit(), None);
    }

    #[test]
    fn an_encoding_without_all_characters_and_a_server_in_recovery_are_refused() {
        let latin = Server { encoding: "LATIN1".to_owned(), ..server() };
        let standby = Server { is_in_recovery: true, ..server() };

        assert!(latin.unfit().unwrap().contains("is LATIN1"));
        assert!(standby.unfit().unwrap().contains("in recovery"));
    }

    fn owner() -> Rights {
        Rights {
            me: "me".to_owned(),
            database: "payonce".to_owned(),
            may_create_in_database: true,
            has_queue_schema: false,
            may_create_in_public: Some(true),
            hstore_in: None,
            hstore_is_installed: true,
            may_create_hstore: true,
            owner: None,
            elsewhere: None,
        }
    }

    #[test]
    fn an_administrator_is_told_every_line_that_is_missing_and_no_other() {
        let nothing = Rights { may_create_in_database: false, may_create_in_public: Some(false), ..owner() };
        let prepared = Rights {
            may_create_in_database: false,
            has_queue_schema: true,
            hstore_in: Some("public".to_owned()),
            ..owner()
        };
        let apart = Rights { hstore_in: Some("extensions".to_owned()), ..owner() };
        let untrusted = Rights { may_create_hstore: false, may_create_in_public: None, ..owner() };

        assert_eq!(owner().missing(), None);
        assert_eq!(prepared.missing(), None);
        assert_eq!(
            nothing.lines(),
            ["grant create on database payonce to me;", "grant usage, create on schema public to me;"]
        );
        assert_eq!(apart.lines(), ["alter extension hstore set schema public;"]);
        assert_eq!(
            untrusted.lines(),
            ["create schema public authorization me;", "create extension hstore schema public;"]
        );
    }

    #[test]
    fn a_server_without_the_extension_and_tables_of_somebody_else_are_named() {
        let bare = Rights { hstore_is_installed: false, ..owner() };
        let of_another = Rights { owner: Some("payonce_owner".to_owned()), ..owner() };
        let elsewhere = Rights { elsewhere: Some("shop".to_owned()), ..owner() };

        assert!(bare.missing().unwrap().contains("lacks the extension hstore"));
        assert!(of_another.missing().unwrap().contains("connect as payonce_owner"));
        assert!(elsewhere.missing().unwrap().contains("in the schema shop"));
    }
}

//! What each role may not do: read from the catalogue, table by table, and tried. Every other test shows that
//! `payonce_app` may do all it needs, as its APIs and workers connect as that role.

use postgres::{Options, Server};
use shared::database::{APP, MODULES, READER};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tests::{Exit, Launch, Shape, System, TestDatabase, a_payment};

use crate::PROGRAM;

/// A table or view of ours: what `payonce_app` may do there, and what a trigger without exceptions refuses to
/// every program.
#[derive(Debug, sqlx::FromRow)]
struct Relation {
    name: String,
    app: Vec<String>,
    reader: Vec<String>,
    refused: Vec<String>,
}

impl Relation {
    fn app_may(&self, privilege: &str) -> bool {
        self.app.iter().any(|it| it == privilege)
    }
}

async fn relations(pool: &PgPool) -> Vec<Relation> {
    let relations = "
        with privileges as (
            select unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) as name),
        may as (
            select c.oid, r.role, array_agg(p.name) as privileges
              from pg_class c
             cross join unnest(array[$1, $2]) as r (role)
             cross join privileges p
             where has_table_privilege(r.role, c.oid, p.name)
                or (p.name in ('insert', 'update', 'references') and has_any_column_privilege(r.role, c.oid, p.name))
             group by 1, 2)
        select c.oid::regclass::text as name, coalesce(app.privileges, '{}') as app, coalesce(reader.privileges, '{}') as reader,
               array(select w.word
                       from pg_trigger t
                       join (values (8, 'delete'), (16, 'update'), (32, 'truncate')) as w (bit, word) on t.tgtype & w.bit <> 0
                      where t.tgrelid = c.oid and t.tgqual is null and t.tgfoid = to_regproc('refuse_change')) as refused
          from pg_class c
          left join may app on app.oid = c.oid and app.role = $1
          left join may reader on reader.oid = c.oid and reader.role = $2
         where c.relnamespace in ('public'::regnamespace, 'apalis'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm', 'f')
         order by 1";
    sqlx::query_as(relations).bind(APP).bind(READER).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn every_table_is_granted_and_what_is_append_only_may_be_changed_by_nobody_but_its_owner() {
    let database = TestDatabase::fresh().await;
    let relations = relations(&database.pool).await;

    let append_only = relations.iter().filter(|it| it.refused.iter().any(|word| word == "update"));
    let append_only: Vec<&str> = append_only.map(|it| it.name.as_str()).collect();
    for known in
        ["payment_events", "idempotency_keys", "ledger_transfers", "late_evidence", "gateway_effects"]
    {
        assert!(append_only.contains(&known), "{known} is not among {append_only:?}");
    }
    for it in &relations {
        assert!(it.app_may("select"), "{} has no line in db/roles.rs", it.name);
        for never in it.refused.iter().map(String::as_str).chain(["truncate", "references", "trigger"]) {
            assert!(!it.app_may(never), "{APP} may {never} {}", it.name);
        }
        // Where the role may delete, no trigger refuses a change outright.
        assert!(!it.app_may("delete") || it.refused.is_empty(), "{APP} may delete from {}", it.name);
        let seen: &[&str] = if it.name == "api_keys" { &[] } else { &["select"] };
        assert_eq!(it.reader, seen, "{READER} and {}", it.name);
    }
}

/// Statements that change the schema or step around its guards.
const NOT_FOR_THE_APP: &[&str] = &[
    "create table public.mine (id int)",
    "create table apalis.mine (id int)",
    "create schema mine",
    "create function public.mine() returns int language sql as 'select 1'",
    "create extension pgcrypto",
    "alter table payments add column mine int",
    "alter table payments disable trigger payments_terminal_is_terminal",
    "alter table payments disable trigger all",
    "drop trigger payments_terminal_is_terminal on payments",
    "drop table payment_events",
    "drop view ledger_entries",
    "create trigger mine before update on payments for each row execute function refuse_change('mine')",
    "create index mine on payments (amount)",
    "create or replace function refuse_change() returns trigger language plpgsql as 'begin return new; end'",
    "truncate apalis.jobs",
    "truncate payments cascade",
    "update payment_events set reason = 'mine'",
    "delete from payment_events",
    "update idempotency_keys set payment_id = payment_id",
    "update ledger_transfers set amount = 1",
    "delete from ledger_transfers",
    "delete from payments",
    "delete from breaks",
    "update _sqlx_migrations set checksum = ''",
    "insert into apalis._sqlx_migrations select * from apalis._sqlx_migrations",
    "set session_replication_role = replica",
    "set role payonce_reader",
    "alter role payonce_app superuser",
    "create role mine",
];

const NOT_FOR_A_READER: &[&str] = &[
    "insert into merchants (id, name) values (gen_random_uuid(), 'mine')",
    "update payments set version = version + 1",
    "delete from apalis.jobs",
    "select * from api_keys",
    "select secret_hash from api_keys",
    "create table public.mine (id int)",
    "select id from payments for update",
];

/// The statements that were not refused for want of rights.
async fn allowed(url: &str, statements: &[&str]) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut allowed = Vec::new();
    for statement in statements {
        let mut transaction = connection.begin().await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut *transaction).await;
        let code = done.as_ref().err().and_then(|why| why.as_database_error()?.code());
        if code.as_deref() != Some("42501") {
            allowed.push(format!("{statement}: {done:?}"));
        }
        transaction.rollback().await.unwrap();
    }
    connection.close().await.unwrap();
    allowed
}

#[tokio::test]
async fn the_app_changes_no_schema_and_no_books_and_a_reader_changes_nothing() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;

    let (app, reader) = (system.database.app_url(), system.database.reader_url());

    assert_eq!(allowed(&app, NOT_FOR_THE_APP).await, Vec::<String>::new());
    assert_eq!(allowed(&reader, NOT_FOR_A_READER).await, Vec::<String>::new());
}

#[tokio::test]
async fn who_reads_one_module_reads_nothing_else_and_changes_nothing() {
    let database = TestDatabase::fresh().await;
    let all = relations(&database.pool).await;
    let names: Vec<String> = all.iter().map(|it| it.name.clone()).collect();
    for (role, module) in MODULES {
        let may: Vec<(String, String)> = sqlx::query_as(
            "select c::regclass::text, p
               from unnest($1::text[]) c
              cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) p
              where has_table_privilege($2, c, p) order by 1",
        )
        .bind(&names)
        .bind(role)
        .fetch_all(&database.pool)
        .await
        .unwrap();
        let mut expected: Vec<(String, String)> = module
            .iter()
            .map(|it| (it.trim_start_matches("public.").to_owned(), "select".to_owned()))
            .collect();
        expected.sort();
        assert_eq!(may, expected, "{role}");
    }
}

/// A payment that was tried twice, one whose result came too late, and a transfer.
#[tokio::test]
async fn views_tell_people_what_happened() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_503")).await;
    let funding = crate::accounts::fund_of(&system, "first", "EUR").await;
    let account = crate::accounts::open(&system.client, "ann", "EUR").await;
    let body = serde_json::json!({ "from": funding, "to": account, "amount": "5", "currency": "EUR" });
    crate::accounts::post(&system.client, "/v1/transfers", "t", &body).await.assert_status(201);
    system.add_worker([("BACKOFF_MS", "50")]).await;
    system.ended(id).await;
    let mut reader = PgConnection::connect(&system.database.reader_url()).await.unwrap();
    let mut seen = async |sql: &'static str| -> Vec<String> {
        sqlx::query_scalar(sql).bind(id.uuid()).fetch_all(&mut reader).await.unwrap()
    };

    let timeline = seen("select type from payment_timeline where payment_id = $1 order by version").await;
    assert_eq!(timeline.first().map(String::as_str), Some("created"));
    assert_eq!(timeline.last().map(String::as_str), Some("succeeded"));
    let attempts = "select concat_ws(' ', attempt, result, http_status) from payment_attempts where payment_id = $1 order by 1";
    assert_eq!(seen(attempts).await, ["1 retry_scheduled 503", "2 retry_scheduled 503", "3 succeeded 201"]);
    let exchanges = "select concat_ws(' ', op, http_status, came_late) from provider_attempts where payment_id = $1 order by version";
    assert_eq!(seen(exchanges).await, ["charge 503 f", "charge 503 f", "charge 201 f"]);
    let moved = "select concat_ws(' ', code, amount, payment_id = $1) from transactions order by 1";
    assert_eq!(seen(moved).await, ["payment 12.30 t", "transfer 5.00"]);
}

#[tokio::test]
async fn migrating_again_takes_back_what_somebody_granted_and_gives_what_is_missing() {
    let database = TestDatabase::fresh().await;
    let before = format!("{:?}", relations(&database.pool).await);
    let meddle = "grant update, truncate on payment_events to payonce_app; grant insert on payments to payonce_reader;
                  revoke insert on breaks from payonce_app; revoke usage on schema apalis from payonce_reader";
    sqlx::raw_sql(meddle).execute(&database.pool).await.unwrap();
    assert_ne!(format!("{:?}", relations(&database.pool).await), before);

    let migrate = Launch::payonce(PROGRAM).args(["migrate"]).env("DATABASE_URL", &database.url);

    assert_eq!(migrate.run().await.0, Exit::Code(0));
    assert_eq!(format!("{:?}", relations(&database.pool).await), before);
    let seen = PgConnection::connect(&database.reader_url()).await.unwrap();
    let mut seen = seen;
    assert!(sqlx::query("select from apalis.jobs").fetch_all(&mut seen).await.is_ok());
}

#[tokio::test]
async fn a_table_that_is_rebuilt_keeps_its_grants_and_payments_go_on() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, workers: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    let before = format!("{:?}", relations(&system.database.pool).await);
    for process in system.apis.iter_mut().chain(&mut system.workers) {
        process.terminate();
        process.wait_exit().await;
    }
    sqlx::raw_sql("update apalis.workers set last_seen = '2000-01-01'")
        .execute(&system.database.pool)
        .await
        .unwrap();
    system.database.pool.close().await;

    for arguments in [&["rebuild"][..], &["rebuild", "--swap"]] {
        let rebuild = Launch::payonce(PROGRAM).args(arguments.iter().copied());
        let (exit, rebuild) = rebuild.env("DATABASE_URL", &system.database.url).run().await;
        assert_eq!(exit, Exit::Code(0), "{}", rebuild.stderr());
    }

    let pool = shared::database::connect(&system.database.url, 1).await.unwrap();
    sqlx::raw_sql("drop table payments_before_rebuild").execute(&pool).await.unwrap();
    assert_eq!(format!("{:?}", relations(&pool).await), before);
}

#[tokio::test]
async fn what_an_earlier_dev_left_is_handed_over_to_the_owner() {
    let data_dir = tests::guardian::scratch().join(format!("dev-{:016x}", rand::random::<u64>()));
    let server = Server::start(Options::new(&data_dir)).await.unwrap();
    server.create_database("payonce").await.unwrap();
    let superuser = server.url("payonce");
    let pool = shared::database::connect(&superuser, 2).await.unwrap();
    shared::database::migrate(&pool).await.unwrap();
    // As if a newer program had one migration more to apply.
    sqlx::raw_sql("delete from _sqlx_migrations where version = 20261128000020")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    server.stop().await.unwrap();

    let dev = Launch::payonce(PROGRAM)
        .args(["dev", "--json", "--data-dir"])
        .args([data_dir.into_os_string()])
        .args(tests::process::FREE_PORTS);
    let mut dev = dev.start().await;

    let url = |name: &str| dev.ready()[name].as_str().unwrap().to_owned();
    let mut owner = PgConnection::connect(&url("owner_database_url")).await.unwrap();
    let others =
        "select count(*) from pg_class where relnamespace in ('public'::regnamespace, 'apalis'::regnamespace)
                     and relkind in ('r', 'v', 'S', 'i') and relowner <> 'payonce_owner'::regrole";
    assert_eq!(sqlx::query_scalar::<_, i64>(others).fetch_one(&mut owner).await.unwrap(), 0);
    assert_eq!(allowed(&url("database_url"), NOT_FOR_THE_APP).await, Vec::<String>::new());
    assert_eq!(allowed(&url("reader_database_url"), NOT_FOR_A_READER).await, Vec::<String>::new());
    owner.close().await.unwrap();
    dev.terminate();
    assert_eq!(dev.wait_exit().await, Exit::Code(0));
}

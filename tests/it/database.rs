//! A database that others use too. One in which payments could not work is refused before anything is
//! written. Settings of its roles change nothing.

use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tests::process::FREE_PORTS;
use tests::{Exit, Launch, PrivateServer, Process, Shape, System, TestDatabase, a_payment, wait_until};

use crate::PROGRAM;

fn payonce(url: &str, arguments: &[&str]) -> Launch {
    Launch::payonce(PROGRAM).args(arguments.iter().copied()).env("DATABASE_URL", url)
}

fn api(url: &str) -> Launch {
    let any = ["API_ADDR", "OPS_ADDR", "METRICS_ADDR"].map(|name| (name, "127.0.0.1:0"));
    Launch::api(PROGRAM).envs(any).env("ADMIN_KEY", "an-admin-key-for-tests").env("DATABASE_URL", url)
}

fn worker(url: &str) -> Launch {
    let any = [("GATEWAY_URL", "http://127.0.0.1:1"), ("METRICS_ADDR", "127.0.0.1:0")];
    Launch::worker(PROGRAM).envs(any).env("DATABASE_URL", url)
}

/// The last line that it says before it ends with 1.
async fn refusal(launch: Launch) -> String {
    let (exit, process) = launch.run().await;
    assert_eq!((exit, process.stdout().as_str()), (Exit::Code(1), ""), "{}", process.stderr());
    process.stderr().lines().last().unwrap().to_owned()
}

async fn run(pool: &PgPool, statement: impl Into<String>) {
    let statement = statement.into();
    let done = pool.execute(AssertSqlSafe(statement.clone())).await;
    assert!(done.is_ok(), "{statement}: {done:?}");
}

/// Whether nothing was made in it.
async fn is_untouched(pool: &PgPool) -> bool {
    let made = "select not exists (select from pg_class where relnamespace = 'public'::regnamespace)
                   and to_regnamespace('apalis') is null and not exists (select from pg_extension where extname = 'hstore')";
    sqlx::query_scalar(made).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_database_that_lacks_characters_is_refused_by_all_and_stays_as_it_is() {
    let latin = "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0";
    let database = TestDatabase::unfit(latin).await;
    let gateway = TestDatabase::fresh_empty().await;
    let dev = payonce(&database.url, &["dev", "--data-dir", "nowhere"])
        .args(FREE_PORTS)
        .env("GATEWAY_DATABASE_URL", &gateway.url);

    for launch in [
        payonce(&database.url, &["migrate"]),
        payonce(&database.url, &["migrate", "--check"]),
        dev,
        api(&database.url),
        worker(&database.url),
    ] {
        let said = refusal(launch).await;
        assert!(
            said.contains("the database's encoding is LATIN1") && said.contains("encoding 'UTF8'"),
            "{said}"
        );
    }

    assert!(is_untouched(&database.pool).await);
}

#[tokio::test]
async fn a_server_in_recovery_is_refused_by_all() {
    let mut server = PrivateServer::start().await;
    let database = server.database().await;
    database.pool.close().await;
    server.into_recovery().await;

    for launch in [payonce(&database.url, &["migrate", "--check"]), api(&database.url), worker(&database.url)]
    {
        let said = refusal(launch).await;
        assert!(said.contains("in recovery") && said.contains("name all hosts of the cluster"), "{said}");
    }

    server.remove().await;
}

/// Records a migration that only newer programs know.
async fn migrate_by_a_newer_program(pool: &PgPool) {
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (29990101000001, 'of another day', true, '\\x00', 0)";
    run(pool, newer).await;
}

#[tokio::test]
async fn a_newer_database_is_told_by_a_code_of_its_own_and_refused_by_who_starts() {
    let database = TestDatabase::fresh().await;
    migrate_by_a_newer_program(&database.pool).await;

    for arguments in [&["migrate", "--check", "--json"][..], &["migrate", "--json"]] {
        let (exit, process) = payonce(&database.url, arguments).run().await;
        assert_eq!(exit, Exit::Code(3), "{}", process.stderr());
        assert_eq!(process.stdout().trim(), r#"{"applied":[],"pending":[],"unknown":["29990101000001"]}"#);
    }
    for launch in [api(&database.url), worker(&database.url), payonce(&database.url, &["breaks", "list"])] {
        let said = refusal(launch).await;
        assert!(said.contains("newer than this program") && said.contains("29990101000001"), "{said}");
    }
}

#[tokio::test]
async fn who_serves_when_the_database_gets_newer_goes_on_and_is_ready() {
    let system = System::start(PROGRAM).await;
    migrate_by_a_newer_program(&system.database.pool).await;

    system.client.get("/health/ready").await.assert_status(200);
    let id = system.accepted(a_payment()).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
}

#[tokio::test]
async fn a_deployment_that_is_taken_back_may_be_told_to_start() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    migrate_by_a_newer_program(&system.database.pool).await;

    system.add_worker([("ALLOW_NEWER_DATABASE", "true")]).await;
    let id = system.accepted(a_payment()).await;

    assert_eq!(system.ended(id).await["status"], "succeeded");
}

/// A role of this test's own, which may connect.
async fn a_role(pool: &PgPool) -> String {
    let role = format!("role_{:016x}", rand::random::<u64>());
    run(pool, format!("create role {role} login password '{role}'")).await;
    role
}

/// The lines for an administrator in that message.
fn lines(said: &str) -> String {
    let (_, lines) = said.split_once("have an administrator run there: ").unwrap();
    lines.split_once(" Then run").unwrap().0.to_owned()
}

#[tokio::test]
async fn who_may_not_make_what_is_needed_gets_the_lines_that_an_administrator_must_run() {
    let database = TestDatabase::fresh_empty().await;
    let role = a_role(&database.pool).await;
    let url = database.url_as(&role, &role);
    run(&database.pool, "create schema extensions; create extension hstore schema extensions").await;

    let said = refusal(payonce(&url, &["migrate"])).await;

    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&database.pool).await.unwrap();
    let expected = format!(
        "grant create on database {name} to {role}; grant usage, create on schema public to {role}; alter extension hstore set \
         schema public;"
    );
    assert_eq!(lines(&said), expected);
    let made = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
    assert_eq!(sqlx::query_scalar::<_, i64>(made).fetch_one(&database.pool).await.unwrap(), 0);
    run(&database.pool, lines(&said)).await;
    assert_eq!(payonce(&url, &["migrate"]).run().await.0, Exit::Code(0));
}

#[tokio::test]
async fn who_does_not_own_the_tables_is_told_who_does() {
    let database = TestDatabase::fresh().await;
    run(&database.pool, "delete from _sqlx_migrations where version = 20261128000020").await;

    let said = refusal(payonce(&database.app_url(), &["migrate"])).await;
    let (exit, check) = payonce(&database.app_url(), &["migrate", "--check"]).run().await;

    assert!(said.contains("the tables belong to postgres") && said.contains("connect as postgres"), "{said}");
    assert_eq!(
        (exit, check.stdout().lines().next()),
        (Exit::Code(1), Some("pending 20261128000020 rescheduled"))
    );
    assert!(
        check.stderr().contains("payonce migrate would fail: the tables belong to postgres"),
        "{}",
        check.stderr()
    );
}

#[tokio::test]
async fn an_owner_who_may_make_no_roles_gets_the_lines_for_them_and_grants_once_they_are_there() {
    let server = PrivateServer::start().await;
    let administrator = server.empty_database().await;
    run(&administrator.pool, "create role payonce_owner login password 'owner'").await;
    run(&administrator.pool, "alter database payonce owner to payonce_owner").await;
    let url = administrator.url_as("payonce_owner", "owner");

    let (exit, first) = payonce(&url, &["migrate"]).run().await;

    assert_eq!(exit, Exit::Code(0), "{}", first.stderr());
    let told = first.stderr();
    let told = told.split_once("for separate roles an administrator must run: ").unwrap().1;
    let lines = told.split_once(" Then run payonce migrate again").unwrap().0;
    assert_eq!(lines, "create role payonce_app; create role payonce_reader;");
    run(&administrator.pool, lines).await;
    let (_, second) = payonce(&url, &["migrate"]).run().await;
    let told = second.stderr();
    assert!(told.contains("grant pg_read_all_stats to payonce_app;"), "{told}");
    let extensions = "select array_agg(extname::text order by extname) from pg_extension";
    let extensions: Vec<String> =
        sqlx::query_scalar(extensions).fetch_one(&administrator.pool).await.unwrap();
    assert_eq!(extensions, ["hstore", "plpgsql"]);
    // Other roles own nothing, and may do what they need.
    tests::database::may_log_in(&administrator.pool).await;
    pays_and_agrees(administrator, &url).await;
    server.remove().await;
}

/// Makes payments with every kind of end as `payonce_app`. Then runs the checks as `payonce_reader`, and what
/// only the owner may.
async fn pays_and_agrees(database: TestDatabase, owner: &str) {
    let (reader, shape) = (database.reader_url(), Shape { apis: 1, workers: 1, ..Shape::default() });
    let system = System::on(database, PROGRAM, shape).await;
    let outcomes = [
        ("sim_ok", "succeeded"),
        ("sim_insufficient_funds", "failed"),
        ("sim_timeout_charged", "succeeded"),
        ("sim_timeout_not_charged", "succeeded"),
    ];
    for (n, (method, status)) in outcomes.into_iter().enumerate() {
        // Collations sort these keys and customers in different ways.
        let customer = ["Zoë", "zoe", "Ångström", "_a"][n];
        let id = system.accepted(a_payment().method(method).customer(customer)).await;
        assert_eq!(system.ended(id).await["status"], status, "{method}");
    }
    // The queue must work, and not the sweep alone.
    wait_until("the queue to hand out all jobs", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0
    })
    .await;
    let gateway = system.gateway.address("gateway").to_owned();
    let with = |url: &str, arguments: &[&str]| payonce(url, arguments).env("GATEWAY_URL", &gateway);
    let app = system.database.app_url();
    well(with(&app, &["reconcile"])).await;
    well(with(&app, &["recovery", "list"])).await;
    well(with(&reader, &["verify", "--at-rest"])).await;
    well(with(owner, &["rebuild", "--check"])).await;
    well(with(owner, &["migrate", "--check"])).await;
    system.assert_books_agree().await;
}

async fn well(launch: Launch) -> Process {
    let (exit, process) = launch.run().await;
    assert_eq!(exit, Exit::Code(0), "{}{}", process.stdout(), process.stderr());
    process
}

/// Settings that may have been made for a role or a database. Each changes what statements do or say.
const HOSTILE: &[&str] = &[
    "search_path = pg_catalog, nowhere",
    "default_transaction_isolation = serializable",
    "default_transaction_deferrable = on",
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "synchronous_commit = off",
    "timezone = 'Asia/Kathmandu'",
    "datestyle = 'German, DMY'",
    "intervalstyle = 'sql_standard'",
    "bytea_output = escape",
    "extra_float_digits = -15",
    "client_encoding = 'LATIN1'",
    "lc_messages = 'C'",
    "array_nulls = off",
    "quote_all_identifiers = on",
    "transform_null_equals = on",
    "row_security = off",
    "check_function_bodies = off",
    "jit = on",
    "plan_cache_mode = force_custom_plan",
];

#[tokio::test]
async fn whatever_is_set_for_roles_and_database_nothing_of_it_matters() {
    // A collation in which capitals, accents and signs sort otherwise than by their bytes.
    let swedish = "encoding 'UTF8' locale_provider icu icu_locale 'sv' template template0";
    let database = TestDatabase::made_with(swedish).await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&database.pool).await.unwrap();
    for setting in HOSTILE {
        run(&database.pool, format!("alter database {name} set {setting}")).await;
        for role in [shared::database::APP, shared::database::READER] {
            run(&database.pool, format!("alter role {role} in database {name} set {setting}")).await;
        }
    }

    well(payonce(&database.url, &["migrate"])).await;

    let owner = database.url.clone();
    pays_and_agrees(database, &owner).await;
}

//! Connections go to the host that takes writes, with the settings that promises rest on. Where there is
//! none, the error names the cause.

use std::net::{Ipv4Addr, TcpListener};

use shared::database::{self, InTime as _, Lend as _, Seat};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tests::{Exit, Launch, PrivateServer, TestDatabase, wait_until};

use crate::PROGRAM;

async fn setting(pool: &PgPool, name: &str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(pool).await.unwrap()
}

async fn execute(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap();
}

fn name_of(database: &TestDatabase) -> String {
    database.url.rsplit('/').next().unwrap().to_owned()
}

/// An address where nothing listens.
fn nowhere() -> String {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_used_and_each_other_one_has_its_own_cause() {
    let primary = PrivateServer::start().await;
    let standby = primary.standby().await;
    let database = primary.database_with(&[&standby]).await;
    let own = database.url.clone();
    let closed = nowhere();
    let all = own.replace('@', &format!("@{closed},"));

    let pool = database::connect(&all.replace(&primary.address(), &standby.address()), 2).await;
    let refused = pool.unwrap_err().to_string();
    let pool = database::connect(&all, 2).await.unwrap();

    assert!(refused.contains(&format!("at {closed}/payonce: ")) && refused.contains("refused"), "{refused}");
    assert!(refused.contains(&format!("at {}/payonce: it is in recovery", standby.address())), "{refused}");
    let port: i32 = sqlx::query_scalar("select inet_server_port()").fetch_one(&pool).await.unwrap();
    assert!(primary.address().ends_with(&port.to_string()));
    let identity = database::identity(&pool).unwrap();
    let system: i64 = sqlx::query_scalar("select system_identifier from pg_control_system()")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!((identity.system, identity.timeline), (Some(system), Some(1)));
}

#[tokio::test]
async fn of_two_that_take_writes_the_one_promoted_last_is_the_primary_and_the_other_is_refused_for_good() {
    let old = PrivateServer::start().await;
    let new = old.standby().await;
    let database = old.database_with(&[&new]).await;
    new.has_all_of(&old).await;
    // The old one does not learn of it.
    new.promote().await;

    let pool = database::connect(&database.url.replace("?", "?application_name=x&"), 1).await.unwrap();
    let port: i32 = sqlx::query_scalar("select inet_server_port()").fetch_one(&pool).await.unwrap();
    assert!(new.address().ends_with(&port.to_string()), "the old one was chosen");
    assert_eq!(database::identity(&pool).unwrap().timeline, Some(2));

    let refused = database::connect(&old.url_with(&[]), 1).await.unwrap_err().to_string();
    assert!(refused.contains("split_brain") && refused.contains("timeline is 1"), "{refused}");
}

#[tokio::test]
async fn a_primary_that_nobody_told_of_its_successor_is_left_though_it_takes_writes() {
    let old = PrivateServer::start().await;
    let new = old.standby().await;
    let database = old.database_with(&[&new]).await;
    new.has_all_of(&old).await;
    let pool = database::connect(&database.url.replace("?", "?application_name=x&"), 1).await.unwrap();
    let port = async || sqlx::query_scalar::<_, i32>("select inet_server_port()").fetch_one(&pool).await;
    assert!(old.address().ends_with(&port().await.unwrap().to_string()));

    new.promote().await;

    // A statement that reaches the old one meanwhile meets no error.
    wait_until("the new one to be found", async || {
        port().await.is_ok_and(|port| new.address().ends_with(&port.to_string()))
    })
    .await;
}

#[tokio::test]
async fn whatever_role_and_database_say_a_session_has_what_promises_rest_on() {
    let database = TestDatabase::fresh().await;
    let name = name_of(&database);
    for (setting, value) in [
        ("synchronous_commit", "off"),
        ("default_transaction_isolation", "serializable"),
        ("timezone", "Asia/Kolkata"),
        ("datestyle", "German"),
        ("search_path", "elsewhere"),
        ("lock_timeout", "0"),
        ("statement_timeout", "1ms"),
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_session_timeout", "100"),
        ("client_min_messages", "error"),
        ("enable_seqscan", "on"),
    ] {
        execute(&database.pool, &format!("alter database {name} set {setting} = '{value}'")).await;
    }

    let pool = database::connect(&database.url, 1).await.unwrap();

    for (name, value) in [
        ("synchronous_commit", "on"),
        ("transaction_isolation", "read committed"),
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO, MDY"),
        ("search_path", "public"),
        ("lock_timeout", "1s"),
        ("statement_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("idle_session_timeout", "0"),
        ("client_min_messages", "warning"),
        ("enable_seqscan", "off"),
        ("payonce.reads_keys", "on"),
        ("payonce.timeline", "1"),
        ("application_name", "payonce"),
    ] {
        assert_eq!(setting(&pool, name).await, value, "{name}");
    }
    assert_eq!(setting(&database::apart(&pool, 1), "synchronous_commit").await, "off");
}

#[tokio::test]
async fn a_database_that_cannot_keep_what_is_promised_is_refused_and_says_what_to_do() {
    let server = PrivateServer::start().await;
    server.execute("create database ascii encoding 'SQL_ASCII' template template0 locale 'C'").await;
    let database = server.database().await;

    let url = database.url.replace("/payonce", "/ascii");
    let encoding = database::connect(&url, 1).await.unwrap_err().to_string();
    server.execute("alter database payonce set default_transaction_read_only = on").await;
    let read_only = database::connect(&database.url, 1).await.unwrap_err().to_string();

    assert!(encoding.contains("encoding is SQL_ASCII") && encoding.contains("UTF8"), "{encoding}");
    assert!(read_only.contains("default_transaction_read_only is on"), "{read_only}");
}

#[tokio::test]
async fn one_session_that_is_ended_flushes_nothing() {
    let database = TestDatabase::fresh().await;
    let pool = database::connect(&database.url, 2).await.unwrap();
    let (seat, standing) = (Seat::new(pool.clone()), database::standing(&pool));
    let pid = async |seat: &Seat| {
        let mut lent = seat.lend().await.unwrap();
        let pid = sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&mut *lent).await;
        lent.back(pid).unwrap()
    };
    let kept = pid(&seat).await;

    let ended = sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(&pool).in_time().await;

    ended.unwrap_err();
    // Every connection that was asked which server is there has heard it by then.
    seat.settled().await;
    assert!(standing.holds());
    assert_eq!(pid(&seat).await, kept);
}

#[tokio::test]
async fn a_primary_that_takes_no_writes_any_more_ends_what_was_begun_and_is_used_again_when_it_does() {
    let server = PrivateServer::start().await;
    let database = server.database().await;
    let pool = database::connect(&database.url, 2).await.unwrap();
    let (site, standing) = (database::site(&pool), database::standing(&pool));
    let write = async || {
        sqlx::query("insert into merchants (id, name) values (gen_random_uuid(), gen_random_uuid()::text)")
            .execute(&pool)
            .in_time()
            .await
    };
    write().await.unwrap();

    server.set("default_transaction_read_only", Some("on")).await;
    let says = "default_transaction_read_only is on";
    wait_until("the process to know why", async || {
        write().await.is_err_and(|why| why.to_string().contains(says)) && !site.is_there()
    })
    .await;

    assert!(!standing.holds());
    server.set("default_transaction_read_only", None).await;
    wait_until("it to write again", async || write().await.is_ok()).await;
    assert!(!standing.holds(), "what was begun before is over");
}

#[tokio::test]
async fn who_gets_no_connection_is_told_why() {
    let mut server = PrivateServer::start().await;
    let database = server.database().await;
    let pool = database::connect(&database.url, 1).await.unwrap();
    let held = pool.acquire().await.unwrap();

    let all_in_use = pool.lend().await.unwrap_err().to_string();
    server.end_by(nix::sys::signal::Signal::SIGQUIT).await;
    drop(held);
    let away = database::apart(&pool, 1).lend().await.unwrap_err().to_string();

    assert!(all_in_use.contains("DATABASE_CONNECTIONS"), "{all_in_use}");
    assert!(away.contains(&server.address()) && away.contains("refused"), "{away}");
}

#[tokio::test]
async fn a_server_with_too_few_connections_for_us_is_told_of_at_start_and_where_none_is_left_with_the_sum() {
    let server = PrivateServer::with_settings(&[("max_connections", "14")]).await;
    let database = server.database().await;
    let api = || {
        Launch::api(PROGRAM)
            .env("DATABASE_URL", &database.url)
            .env("DATABASE_CONNECTIONS", "20")
            .env("API_ADDR", "127.0.0.1:0")
            .env("OPS_ADDR", "127.0.0.1:0")
            .env("METRICS_ADDR", "127.0.0.1:0")
            .env("ADMIN_KEY", "an-admin-key-for-tests")
    };
    let first = api().start().await;
    let said = "its max_connections is 14, of which 3 are reserved, so 11 are for everybody; this process alone may take 20";
    assert!(first.stderr().contains(said), "{}", first.stderr());

    // Takes all connections that are left.
    let url = server.url_with(&[]);
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect(&url).await {
        taken.push(connection);
    }
    let (exit, second) = api().run().await;

    assert_eq!(exit, Exit::Code(1));
    let said = second.stderr();
    assert!(
        !taken.is_empty() && said.contains("max_connections") && said.contains("DATABASE_CONNECTIONS"),
        "{said}"
    );
}

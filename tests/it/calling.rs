//! How programs and commands are called: their arguments, what in the environment is refused, where a key
//! comes from, and that nothing tells a password.

use std::fs;

use serde_json::Value;
use tests::{Exit, Launch, Process, System, TestDatabase, guardian};

use crate::PROGRAM;

const NOWHERE: &str = "postgres://127.0.0.1:1/none";

fn programs() -> [(&'static str, Launch); 3] {
    [
        ("api", Launch::api(PROGRAM)),
        ("worker", Launch::worker(PROGRAM)),
        ("simgateway", Launch::simgateway(PROGRAM)),
    ]
}

fn payonce(arguments: &[&str]) -> Launch {
    Launch::payonce(PROGRAM).args(arguments.iter().copied())
}

/// Whatever a process said, on both of its outputs.
fn said(process: &Process) -> String {
    format!("{}{}", process.stdout(), process.stderr())
}

#[tokio::test]
async fn programs_answer_for_help_and_version_and_take_no_other_argument() {
    for (argument, code) in [("--help", 0), ("-h", 0), ("--version", 0), ("-V", 0), ("--port", 2), ("api", 2)]
    {
        for (name, launch) in programs() {
            let (exit, process) = launch.args([argument]).run().await;

            assert_eq!(exit, Exit::Code(code), "{name} {argument}: {}", said(&process));
            let (answer, refusal) = (process.stdout(), process.stderr());
            assert_eq!((answer.is_empty(), refusal.is_empty()), (code != 0, code == 0), "{name} {argument}");
            let shows = match argument {
                "--help" | "-h" => answer.contains("DATABASE_URL  (to be set") && answer.contains("Example:"),
                "--version" | "-V" => answer == format!("{name} {}\n", env!("CARGO_PKG_VERSION")),
                _ => refusal.lines().count() == 1 && refusal.contains(&format!("{name} --help")),
            };
            assert!(shows, "{name} {argument} said:\n{}", said(&process));
        }
    }
}

/// A variable, and what is said of it.
const REFUSED: &[(&str, &str)] = &[
    ("API_RATE_PERS", "is no setting; did you mean API_RATE_PER_S?"),
    ("LEASE_SM", "is no setting; did you mean LEASE_MS?"),
    ("REDIS_URL", "is no setting: Payonce needs no Redis"),
    ("IDEMPOTENCY_TTL_SECONDS", "keys never expire here"),
    ("API_KEY_PEPPERS", "is no setting; did you mean API_KEY_PEPPER?"),
];

#[tokio::test]
async fn a_variable_that_is_no_setting_and_was_meant_for_us_refuses_to_start() {
    for (name, says) in REFUSED {
        let calls = programs().map(|(_, launch)| launch).into_iter().chain([payonce(&["keys", "list"])]);
        for launch in calls {
            let (exit, process) = launch.env("LOG_FORMAT", "text").env(name, "5").run().await;

            assert_eq!(exit, Exit::Code(1), "{name}: {}", said(&process));
            assert!(
                process.stderr().contains(name) && process.stderr().contains(says),
                "{}",
                process.stderr()
            );
        }
        let directory = guardian::scratch().join(format!("env-{:016x}", rand::random::<u64>()));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(".env"), format!("{name}=5\n")).unwrap();
        let (exit, process) = payonce(&["keys", "list"]).current_dir(&directory).run().await;
        assert_eq!(exit, Exit::Code(1), "{name}: {}", said(&process));
        assert!(process.stderr().contains(name) && process.stderr().contains(says), "{}", process.stderr());
    }
}

#[tokio::test]
async fn variables_of_others_stop_no_start() {
    let others = [
        ("API_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("WORKER_SERVICE_HOST", "10.0.0.1"),
        ("REDIS_SERVICE_PORT", "6379"),
        ("REDIS_PORT", "tcp://10.0.0.2:6379"),
        ("GATEWAY_PORT", "tcp://10.0.0.3:80"),
        ("PGHOST", "db"),
        ("DOCKER_HOST", "unix:///run/docker.sock"),
        ("LOG_LEVEL", "info"),
        ("API_RATE_PERS", ""),
    ];
    let database = TestDatabase::fresh().await;

    let (exit, process) =
        payonce(&["keys", "list"]).envs(others).env("DATABASE_URL", &database.url).run().await;

    assert_eq!(exit, Exit::Code(0), "{}", said(&process));
}

#[tokio::test]
async fn the_database_may_be_named_by_db_url_unless_that_contradicts_its_own_name() {
    let database = TestDatabase::fresh().await;
    let list = || payonce(&["keys", "list"]).env("DB_URL", &database.url);

    let (exit, by_alias) = list().run().await;
    assert_eq!(exit, Exit::Code(0), "{}", said(&by_alias));
    let (exit, both) = list().env("DATABASE_URL", &database.url).run().await;
    assert_eq!(exit, Exit::Code(0), "{}", said(&both));

    let (exit, process) = list().env("DATABASE_URL", NOWHERE).run().await;
    assert_eq!(exit, Exit::Code(1));
    assert!(process.stderr().contains("DB_URL: is another name of DATABASE_URL"), "{}", said(&process));
}

/// URLs with a password in them that is torn apart, or was never one.
const MALFORMED: &[&str] = &[
    "postgres:user:geheim@127.0.0.1:1/db",
    "user:geheim@127.0.0.1:1/db",
    "host=127.0.0.1 port=1 user=user password=geheim",
    "postgres://user:1/geheim@127.0.0.1:1/db",
    "postgres://user:1#geheim@127.0.0.1:1/db",
    "postgres://user:1?geheim@127.0.0.1:1/db",
    "postgres://user:geheim@geheim@127.0.0.1:1/db",
    "postgres://user:geheim@127.0.0.1:none/db",
    "postgres://user:geheim@127.0.0.1:1/db?pasword=geheim",
    "postgres://user:geheim@127.0.0.1:1/db?sslmode=geheim@x",
    "postgres://user:geheim@127.0.0.1:1/db",
];

#[tokio::test]
async fn no_program_and_no_command_tells_the_password_of_a_database() {
    for url in MALFORMED {
        let (gateway, admin) = ("http://127.0.0.1:1", "0123456789abcdef");
        let calls = programs().map(|(_, launch)| launch).into_iter().chain([
            payonce(&["keys", "list"]),
            payonce(&["rebuild", "--check"]),
            payonce(&["verify", "--gateway-url", gateway]),
            payonce(&["verify", "--gateway-url", gateway, "--database-url", url]),
            payonce(&["dev"]),
        ]);
        for launch in calls {
            let launch = launch.env("RUST_LOG", "trace").env("GATEWAY_URL", gateway).env("ADMIN_KEY", admin);
            let launch = launch.env("DATABASE_URL", url).env("GATEWAY_DATABASE_URL", url);
            let data = guardian::scratch().join(format!("dev-{:016x}", rand::random::<u64>()));
            fs::create_dir(&data).unwrap();

            let (exit, process) = launch.current_dir(&data).run().await;

            assert!(matches!(exit, Exit::Code(1 | 2)), "{url}: {exit:?}");
            assert!(
                !said(&process).is_empty() && !said(&process).contains("geheim"),
                "{url}: {}",
                said(&process)
            );
        }
    }
}

#[tokio::test]
async fn a_line_of_the_env_file_that_cannot_be_read_is_told_by_its_number() {
    let directory = guardian::scratch().join(format!("env-{:016x}", rand::random::<u64>()));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(".env"), "LEASE_MS=30000\nDATABASE_URL=postgres://u:ge heim@127.0.0.1/db\n")
        .unwrap();

    let (exit, process) = payonce(&["keys", "list"]).current_dir(&directory).run().await;

    assert_eq!(exit, Exit::Code(1));
    let said = said(&process);
    assert!(said.contains(".env: line 2 cannot be read") && !said.contains("heim"), "{said}");
}

#[tokio::test]
async fn where_nobody_listens_every_program_and_command_says_that_it_was_refused() {
    let gateway = "http://127.0.0.1:1";
    let calls = programs().map(|(_, launch)| launch).into_iter().chain([
        payonce(&["keys", "list"]),
        payonce(&["rebuild", "--check"]),
        payonce(&["verify", "--gateway-url", gateway]),
    ]);
    for launch in calls {
        let launch = launch.env("GATEWAY_URL", gateway).env("ADMIN_KEY", "0123456789abcdef");
        let (exit, process) =
            launch.env("DATABASE_URL", NOWHERE).env("GATEWAY_DATABASE_URL", NOWHERE).run().await;

        assert_eq!(exit, Exit::Code(1));
        let said = said(&process);
        assert!(said.contains("refused") && !said.contains("timed out"), "{said}");
    }
}

#[tokio::test]
async fn load_takes_its_key_from_the_environment_or_a_file_and_prefers_what_it_is_told() {
    let system = System::start(PROGRAM).await;
    let file = guardian::scratch().join(format!("key-{:016x}", rand::random::<u64>()));
    fs::write(&file, format!("{}\n", system.client.secret())).unwrap();
    let (url, secret, file) = (system.client.url(""), system.client.secret(), file.to_str().unwrap());
    let load = |more: &[&str]| {
        payonce(&["load", "--total", "3", "--base-url", &url]).args(more.iter().copied().map(str::to_owned))
    };
    for (launch, code, says) in [
        (load(&[]).env("PAYONCE_API_KEY", secret), 0, ""),
        (load(&["--api-key-file", file]), 0, ""),
        (load(&["--api-key-file", file]).env("PAYONCE_API_KEY", "payonce_sk_other"), 0, ""),
        (load(&["--api-key", secret]).env("PAYONCE_API_KEY", "payonce_sk_other"), 0, ""),
        (load(&[]), 2, "set PAYONCE_API_KEY"),
        (load(&["--api-key-file", "-"]), 2, "the key is empty"),
        (load(&["--api-key-file", "/none"]), 2, "cannot read \"/none\""),
        (load(&["--api-key-file", file, "--api-key", secret]), 2, "cannot be used with"),
    ] {
        let (exit, process) = launch.run().await;

        assert_eq!(exit, Exit::Code(code), "{says}: {}", said(&process));
        assert!(process.stderr().contains(says) && !said(&process).contains(secret), "{}", said(&process));
    }
}

#[tokio::test]
async fn a_list_has_a_limit_of_at_least_one_and_says_where_it_goes_on() {
    let database = TestDatabase::fresh().await;
    sqlx::query("insert into breaks (kind, subject, detail, opened_at) select 'orphan', 'k' || n, '{}', now() from generate_series(1, 5) n")
        .execute(&database.pool)
        .await
        .unwrap();
    let list = |more: &'static [&'static str]| {
        payonce(&["breaks", "list"]).args(more.iter().copied()).env("DATABASE_URL", &database.url)
    };
    for command in ["breaks", "dead-letters", "recovery", "orphans", "corrections"] {
        let (exit, process) = payonce(&[command, "list", "--limit", "0"]).run().await;
        assert_eq!(exit, Exit::Code(2), "{command}: {}", said(&process));
        assert!(process.stderr().contains("0 is not in 1..="), "{command}: {}", process.stderr());
    }

    let (_, process) = list(&["--limit", "2", "--json"]).run().await;
    let first: Value = serde_json::from_str(&process.stdout()).unwrap();
    let (_, process) = list(&["--limit", "2"]).run().await;
    let before = format!("--before {}", first["data"][1]["id"]);
    let (_, whole) = list(&["--limit", "5"]).run().await;
    let (_, whole_as_json) = list(&["--limit", "5", "--json"]).run().await;
    let (_, none) = list(&["--before", "1"]).run().await;

    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (2, &true.into()));
    assert!(
        process.stderr().contains("there are more") && process.stderr().contains(&before),
        "{}",
        process.stderr()
    );
    assert_eq!((whole.stdout().lines().count(), whole.stderr().as_str()), (6, ""));
    assert_eq!(serde_json::from_str::<Value>(&whole_as_json.stdout()).unwrap()["has_more"], false);
    assert_eq!(none.stdout(), "no such break is open\n");
}

#[tokio::test]
async fn each_shell_gets_its_completions() {
    for (shell, has) in
        [("bash", "complete -F"), ("zsh", "#compdef payonce"), ("fish", "complete -c payonce")]
    {
        let (exit, process) = payonce(&["completions", shell]).run().await;

        assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
        assert!(process.stdout().contains(has) && process.stdout().contains("dead-letters"), "{shell}");
    }
}

#[tokio::test]
async fn a_merchant_and_a_key_have_names_that_show_and_that_nobody_takes_for_anothers() {
    let database = TestDatabase::fresh().await;
    let create = |merchant: &str, name: &str| {
        payonce(&["keys", "create", "--merchant", merchant, "--name", name, "--json"])
            .env("DATABASE_URL", &database.url)
    };
    let (exit, made) = create("Acme Söhne", "till").run().await;
    assert_eq!(exit, Exit::Code(0), "{}", said(&made));

    for (merchant, name, says) in [
        ("", "till", "give 1 to 255 characters"),
        ("   ", "till", "give 1 to 255 characters"),
        (" other", "till", "no blank at either end"),
        ("\u{1b}[31mred", "till", "none of them a control"),
        ("a\u{202e}b", "till", "zero-width or direction"),
        ("Acme Söhne ", "till", "the merchant \"Acme Söhne\" exists"),
        ("acme söhne", "till", "the merchant \"Acme Söhne\" exists"),
        ("ACMESO\u{308}HNE", "till", "the merchant \"Acme Söhne\" exists"),
        ("Ac\u{200b}me Söhne", "till", "the merchant \"Acme Söhne\" exists"),
        ("Acme Söhne", "", "the key's name \"\" cannot be used: give 1 to 255"),
        ("Acme Söhne", "a\nb", "the key's name \"a\\nb\" cannot be used"),
    ] {
        let (exit, refused) = create(merchant, name).run().await;

        let told = refused.stderr();
        assert_eq!(exit, Exit::Code(1), "{merchant:?} {name:?}");
        assert!(told.contains(says) && told.lines().count() == 1, "{merchant:?} {name:?}: {told}");
        assert!(!told.chars().any(|c| c == '\u{1b}' || c == '\u{202e}'), "{told:?}");
    }

    let (again, _) = create("Acme So\u{308}hne", "second").run().await;
    let merchants: i64 =
        sqlx::query_scalar("select count(*) from merchants").fetch_one(&database.pool).await.unwrap();
    assert_eq!((again, merchants), (Exit::Code(0), 1), "composed otherwise it is the same name");
}

#[tokio::test]
async fn of_merchants_that_are_made_at_once_no_two_have_names_that_people_take_for_one_another() {
    let database = TestDatabase::fresh().await;
    let names = ["Acme", "acme", "ACME", "ac me", "ＡＣＭＥ", "acme\u{301}"];
    let made = names.map(|name| {
        let pool = database.pool.clone();
        async move { shared::merchant::find_or_create(&pool, name).await.map(|it| it.name).ok() }
    });

    let made: Vec<String> = futures::future::join_all(made).await.into_iter().flatten().collect();

    let stored: Vec<String> = sqlx::query_scalar("select name from merchants order by folded")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!((made.len(), stored.len()), (2, 2), "{made:?} {stored:?}");
    let another = names.iter().find(|name| !stored.iter().any(|it| it == *name)).unwrap();
    let create = payonce(&["keys", "create", "--merchant", another]).env("DATABASE_URL", &database.url);
    let (exit, refused) = create.run().await;
    assert_eq!(exit, Exit::Code(1));
    assert!(refused.stderr().contains("exists: say exactly that name"), "{}", said(&refused));
}

#[tokio::test]
async fn a_merchant_whose_name_would_be_refused_today_still_gets_keys() {
    let database = TestDatabase::fresh().await;
    shared::merchant::find_or_create(&database.pool, "old ").await.unwrap();

    let create = payonce(&["keys", "create", "--merchant", "old "]).env("DATABASE_URL", &database.url);
    let (exit, process) = create.run().await;

    assert_eq!(exit, Exit::Code(0), "{}", said(&process));
}

#[tokio::test]
async fn a_reason_or_a_name_of_a_person_that_hides_something_is_refused_in_one_line() {
    let database = TestDatabase::fresh().await;
    for (by, reason, says) in [
        ("ada", "a\u{202e}b", "must say why"),
        ("ada", "\u{1b}[2J", "must say why"),
        ("a\u{200b}da", "because", "must name a person"),
    ] {
        for command in [&["breaks", "resolve"][..], &["dead-letters", "discard"]] {
            let call = payonce(command).args(["1", "--by", by, "--reason", reason]);
            let (exit, process) = call.env("DATABASE_URL", &database.url).run().await;

            assert_eq!(exit, Exit::Code(1), "{command:?} {by:?} {reason:?}");
            assert!(process.stderr().contains(says), "{command:?}: {}", process.stderr());
        }
    }
}

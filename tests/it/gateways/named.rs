//! How a gateway gets its name: by the file, by the command line, and by what it says of itself.

use tests::{Exit, Launch, SECOND, Second, Shape, System, TestDatabase, a_payment, wait_until};

use super::{accepted, all_succeed, two, works};
use crate::PROGRAM;
use crate::matrix::GATEWAY_POINTS;

async fn refused<'a>(
    system: &System,
    second: &Second,
    arguments: impl IntoIterator<Item = &'a str>,
) -> String {
    let (exit, process) = second.payonce(system, arguments).await;
    assert_eq!(exit, Exit::Code(1), "{}", process.stdout());
    assert_eq!(process.stdout(), "");
    process.stderr()
}

#[tokio::test]
async fn a_merchant_keeps_its_gateway_and_a_gateway_that_nobody_describes_is_none() {
    let (system, second, _) = two().await;
    let create = ["keys", "create", "--merchant", "charged elsewhere", "--gateway"];
    let why = refused(&system, &second, create.into_iter().chain(["default"])).await;
    assert!(why.contains("is at the gateway second for life"), "{why}");
    let why = refused(&system, &second, ["keys", "create", "--merchant", "x", "--gateway", "third"]).await;
    assert!(why.contains("GATEWAYS says nothing of the gateway third"), "{why}");

    // Without a word about it the merchant stays where it is.
    let create = ["keys", "create", "--json", "--merchant", "charged elsewhere"];
    let (exit, process) = second.payonce(&system, create).await;
    assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
    let made: serde_json::Value = serde_json::from_str(&process.stdout()).unwrap();
    assert_eq!(made["gateway"], SECOND);
    assert_eq!(system.count("select count(*) from merchants where name = 'x'").await, 0);
}

#[tokio::test]
async fn a_gateway_that_is_away_is_not_taken_up() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut second = Second::beside(&system, PROGRAM).await;
    second.process.kill9();

    let why = refused(&system, &second, ["keys", "create", "--merchant", "x", "--gateway", SECOND]).await;

    assert!(why.contains("the gateway does not say that it is the one"), "{why}");
    assert_eq!(system.count("select count(*) from gateways").await, 1);
    assert_eq!(system.count("select count(*) from merchants where name = 'x'").await, 0);
}

#[tokio::test]
async fn killed_while_a_gateway_is_taken_up_it_comes_to_the_same_when_it_is_run_again() {
    for point in GATEWAY_POINTS.iter().chain(&["reconcile_journal.committed"]) {
        let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
        let second = Second::beside(&system, PROGRAM).await;
        let create = ["keys", "create", "--merchant", "charged elsewhere", "--gateway", SECOND];
        let launch = Launch::payonce(PROGRAM).args(create).envs(second.env());
        let launch = launch.env("DATABASE_URL", &system.database.url);
        let (exit, _) = launch.env("PAYONCE_FAULTS", format!("{point}=kill")).run().await;
        assert_eq!(exit, Exit::Signal(9), "{point} was not reached");
        assert_eq!(
            system.count("select count(*) from merchants where gateway = 'second'").await,
            0,
            "{point}"
        );

        second.merchant(&system, "charged elsewhere").await;

        let taken_up = "select count(*) from gateways join gateway_cursors c on c.gateway = name
                         where name = 'second' and whole_at is not null";
        assert_eq!(system.count(taken_up).await, 1, "{point}");
    }
}

#[tokio::test]
async fn gateways_whose_addresses_were_exchanged_are_asked_nothing() {
    let (mut system, mut second, merchant) = two().await;
    let worker = works(&mut system, &second, &[]).await;
    let theirs = accepted(&merchant, 1).await;
    all_succeed(&merchant, &theirs).await;
    let ours = accepted(&system.client, 1).await;
    all_succeed(&system.client, &ours).await;
    system.workers[worker].kill9();

    second.exchange_addresses(&system);
    let confused = works(&mut system, &second, &[]).await;
    let (theirs, ours) = (accepted(&merchant, 3).await, accepted(&system.client, 3).await);
    wait_until("both to be taken for strangers", async || {
        system.workers[confused].stderr().matches("\"event\":\"not_the_gateway\"").count() >= 2
    })
    .await;

    assert_eq!(system.count("select count(*) from payments where attempt_count > 1 or version > 3").await, 0);
    let waiting = "select count(*) from payments where status = 'pending' and version = 1";
    assert_eq!(system.count(waiting).await, 6);
    system.workers[confused].kill9();
    second.exchange_back(&system);
    works(&mut system, &second, &[]).await;
    all_succeed(&merchant, &theirs).await;
    all_succeed(&system.client, &ours).await;
    super::judged::is_clean(&system, &second).await;
}

#[tokio::test]
async fn one_account_has_one_name() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut second = Second::beside(&system, PROGRAM).await;
    // The second name stands at the address of the gateway that is known as the default one.
    let (exit, process) = second.payonce(&system, ["gateway", "adopt", "default"]).await;
    assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
    second.both_at_the_first(&system);

    let why = refused(&system, &second, ["keys", "create", "--merchant", "x", "--gateway", SECOND]).await;

    assert!(why.contains("which is known as the gateway default"), "{why}");
    let why = refused(&system, &second, ["gateway", "adopt", SECOND]).await;
    assert!(why.contains("which is known as the gateway default"), "{why}");
}

#[tokio::test]
async fn all_gateways_are_listed_with_their_accounts() {
    let (system, second, _) = two().await;
    let (exit, process) = second.payonce(&system, ["gateway", "list", "--json"]).await;
    assert_eq!(exit, Exit::Code(0), "{}", process.stderr());
    let all: serde_json::Value = serde_json::from_str(&process.stdout()).unwrap();
    assert_eq!(all[1]["name"], SECOND);
    assert_eq!((&all[0]["merchants"], &all[1]["merchants"]), (&1.into(), &1.into()));
    assert!(all[1]["account"].is_string() && all[1]["whole_at"].is_string(), "{all}");
}

#[tokio::test]
async fn before_a_migration_is_finished_there_is_one_gateway() {
    let database = TestDatabase::fresh().await;
    sqlx::raw_sql("update installation set key_scheme = 1").execute(&database.pool).await.unwrap();
    let system = System::on(database, PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    system.accepted(a_payment()).await;
    let second = Second::beside(&system, PROGRAM).await;

    let why = refused(&system, &second, ["keys", "create", "--merchant", "x", "--gateway", SECOND]).await;

    assert!(why.contains("run `payonce migrate --finish` first"), "{why}");
}

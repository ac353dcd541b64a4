//! The key that the environment brings, as similar systems have it.

use futures::future::join_all;
use shared::merchant::keys;
use tests::{Client, Exit, Process, System, a_payment};

use super::an_api;

const KEY: &str = "a-key-of-the-environment";

fn client(api: &Process, secret: &str) -> Client {
    Client::new(vec![api.address("api").to_owned()], secret.to_owned())
}

async fn seeded(system: &System) -> i64 {
    system.count("select count(*) from api_keys where is_seeded").await
}

#[tokio::test]
async fn the_key_of_the_environment_opens_what_is_the_merchants_default_at_every_start() {
    let system = an_api().await;
    client(&system.apis[0], KEY).pay(a_payment()).await.assert_problem(401, "unauthorized");

    let apis = join_all((0..3).map(|_| system.api().env("API_KEY", KEY).start())).await;
    let alias = system.api().env("APP_API_KEY", KEY).start().await;

    for api in apis.iter().chain([&alias, &system.apis[0]]) {
        client(api, KEY).pay(a_payment()).await.assert_status(202);
    }
    assert_eq!(seeded(&system).await, 1);
    let whose =
        "select count(*) from payments p join merchants m on m.id = p.merchant_id where m.name = 'default'";
    assert_eq!(system.count(whose).await, 5);
    let key = keys::list(&system.database.pool)
        .await
        .unwrap()
        .into_iter()
        .find(|key| key.name == "API_KEY")
        .unwrap();
    assert_eq!((key.prefix.as_str(), key.pepper), ("no key of ours", None));
}

#[tokio::test]
async fn a_key_of_the_environment_that_was_revoked_stays_so_and_is_not_rotated() {
    let system = an_api().await;
    let _api = system.api().env("API_KEY", KEY).start().await;
    let id = keys::list(&system.database.pool)
        .await
        .unwrap()
        .into_iter()
        .find(|key| key.name == "API_KEY")
        .unwrap()
        .id;
    let overlap = std::time::Duration::from_hours(1);
    let refused = keys::rotate(&system.database.pool, &tests::peppers(), id, overlap).await.unwrap();
    assert!(matches!(refused, keys::Rotated::OfEnvironment), "{refused:?}");

    keys::revoke(&system.database.pool, id).await.unwrap();

    let again = system.api().env("API_KEY", KEY).start().await;
    client(&again, KEY).pay(a_payment()).await.assert_problem(401, "unauthorized");
    assert!(again.stderr().contains("\"event\":\"seed_ended\""), "{}", again.stderr());
    assert_eq!(seeded(&system).await, 1);
}

#[tokio::test]
async fn a_key_of_the_environment_that_is_none_refuses_to_start() {
    let system = an_api().await;
    let made = system.client.secret().to_owned();
    let admin = crate::operator::ADMIN_KEY;
    for (key, says) in [
        ("short", "API_KEY: must be 16 to 255 visible ASCII characters"),
        ("with a blank in the midst", "API_KEY: must be 16 to 255"),
        (&"x".repeat(256) as &str, "API_KEY: must be 16 to 255"),
        (&made, "API_KEY: begins like a key that `payonce keys create` makes"),
        ("payonce_sk_but-of-my-own", "API_KEY: begins like a key"),
        (admin, "API_KEY: is an admin key, too"),
    ] {
        let (exit, process) = system.api().env("API_KEY", key).env("LOG_FORMAT", "text").run().await;

        assert_eq!(exit, Exit::Code(1), "{key}");
        let said = process.stderr();
        assert!(said.contains(says) && !said.contains(key), "{key}: {said}");
    }
    let both = system.api().env("API_KEY", KEY).env("APP_API_KEY", "another-key-of-the-environment");
    let (exit, process) = both.run().await;
    assert_eq!(exit, Exit::Code(1));
    assert!(process.stderr().contains("APP_API_KEY: is another name of API_KEY"), "{}", process.stderr());
    assert_eq!(seeded(&system).await, 0);
}

#[tokio::test]
async fn a_merchant_that_may_be_forgotten_is_not_made_anew_for_the_environment() {
    let system = an_api().await;
    sqlx::query("insert into orphans (gateway, key, charge_id, amount, currency) values ('default', 'k', 'c', 1, 'EUR')")
        .execute(&system.database.pool)
        .await
        .unwrap();

    let (exit, process) = system.api().env("API_KEY", KEY).run().await;

    assert_eq!(exit, Exit::Code(1));
    assert!(
        process.stderr().contains("payonce keys create --merchant default --merchant-id"),
        "{}",
        process.stderr()
    );
    assert_eq!(system.count("select count(*) from merchants where name = 'default'").await, 0);
}

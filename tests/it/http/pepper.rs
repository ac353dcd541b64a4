//! The pepper, without which what the database keeps of keys is of no use.

use std::time::Duration;

use shared::merchant::keys;
use shared::merchant::pepper::Peppers;
use tests::process::PEPPER;
use tests::{Client, Exit, Launch, System, a_payment, peppers, wait_until};

use super::an_api;
use crate::PROGRAM;

const NEXT: &str = "the-next-pepper-0123456789abcdef-01";

/// A client of one more API with this pepper, and that API.
async fn api_with(system: &System, pepper: &str, secret: &str) -> (tests::Process, Client) {
    let api = system.api().env("API_KEY_PEPPER", pepper).start().await;
    let client = Client::new(vec![api.address("api").to_owned()], secret.to_owned());
    (api, client)
}

async fn status(client: &Client) -> [u16; 2] {
    [client.pay(a_payment()).await.status, client.get("/v1/payments").await.status]
}

const OPENS: [u16; 2] = [202, 200];
const REFUSED: [u16; 2] = [401, 401];

#[tokio::test]
async fn without_a_pepper_nothing_starts_and_the_error_says_how_to_make_one() {
    let system = an_api().await;
    let create = ["keys", "create", "--merchant", "acme"];
    for launch in
        [system.api(), Launch::payonce(PROGRAM).args(create).env("DATABASE_URL", &system.database.url)]
    {
        let (exit, process) = launch.env("API_KEY_PEPPER", "").env("LOG_FORMAT", "text").run().await;

        assert_eq!(exit, Exit::Code(1));
        let said = process.stderr();
        assert!(said.contains("API_KEY_PEPPER: is not set: make one with `openssl rand -hex 32`"), "{said}");
    }
    for (pepper, says) in [
        ("short", "at least 32 characters"),
        (&format!("{PEPPER},{PEPPER}") as &str, "the same pepper twice"),
        (&format!("{PEPPER},{NEXT},{PEPPER}x"), "more than two"),
    ] {
        let (exit, process) = system.api().env("API_KEY_PEPPER", pepper).run().await;
        assert_eq!(exit, Exit::Code(1), "{pepper}");
        let said = process.stderr();
        assert!(said.contains(says) && !said.contains(PEPPER), "{pepper}: {said}");
    }
}

#[tokio::test]
async fn a_pepper_may_come_from_a_file() {
    let system = an_api().await;
    let file = tests::guardian::scratch().join(format!("pepper-{:016x}", rand::random::<u64>()));
    std::fs::write(&file, format!("{PEPPER}\n")).unwrap();
    let launch = system.api().env("API_KEY_PEPPER", "").env("API_KEY_PEPPER_FILE", &file);

    let api = launch.start().await;

    let client = Client::new(vec![api.address("api").to_owned()], system.client.secret().to_owned());
    assert_eq!(status(&client).await, OPENS);
    let (exit, both) = system.api().env("API_KEY_PEPPER_FILE", &file).run().await;
    assert_eq!(exit, Exit::Code(1));
    assert!(
        both.stderr().contains("API_KEY_PEPPER_FILE: is set, and so is API_KEY_PEPPER"),
        "{}",
        both.stderr()
    );
}

#[tokio::test]
async fn under_another_pepper_no_key_opens_anything_and_the_log_says_so() {
    let system = an_api().await;

    let (api, client) = api_with(&system, NEXT, system.client.secret()).await;

    assert_eq!(status(&client).await, REFUSED);
    wait_until("the log to say so", async || api.stderr().contains("\"event\":\"pepper_differs\"")).await;
    assert!(!system.apis[0].stderr().contains("pepper_differs"));
}

#[tokio::test]
async fn a_pepper_is_exchanged_in_three_steps_without_a_refused_request() {
    let system = an_api().await;
    let pool = &system.database.pool;
    let merchant = shared::merchant::find_or_create(pool, "first").await.unwrap().id;
    let idle = keys::create_for(pool, &peppers(), merchant, "idle").await.unwrap();
    let rotated = keys::create_for(pool, &peppers(), merchant, "rotated").await.unwrap();
    keys::rotate(pool, &peppers(), rotated.id, Duration::from_hours(1)).await.unwrap();
    let (old, new) = (peppers().mark().to_owned(), Peppers::read(NEXT).unwrap().mark().to_owned());
    let marks = async || {
        let all = keys::list(pool).await.unwrap();
        all.into_iter().map(|key| key.pepper.unwrap()).collect::<Vec<_>>()
    };

    // 1: all know both, and the old one is still that of new keys.
    let (_first, client) = api_with(&system, &format!("{PEPPER},{NEXT}"), system.client.secret()).await;
    assert_eq!(status(&client).await, OPENS);
    assert_eq!(marks().await, [&*old; 3]);
    // 2: the new one is that of new keys. A key moves to it when it is used; processes of step 1 know it.
    let (_second, moving) = api_with(&system, &format!("{NEXT},{PEPPER}"), system.client.secret()).await;
    assert_eq!(status(&moving).await, OPENS);
    wait_until("the key to have moved", async || marks().await == [&*new, &*old, &*old]).await;
    assert_eq!(status(&client).await, OPENS);
    // A secret that ends by itself moves as well.
    assert_eq!(status(&moving.with_secret(rotated.secret.clone())).await, OPENS);
    let prior = "select count(*) from api_keys where prior_hash is not null and last_used_on is not null";
    wait_until("the former secret's use to be written", async || system.count(prior).await == 1).await;
    // 3: the old one is gone. What was not used meanwhile opens nothing.
    let (third, alone) = api_with(&system, NEXT, system.client.secret()).await;
    assert_eq!(status(&alone).await, OPENS);
    assert_eq!(status(&alone.with_secret(rotated.secret)).await, OPENS);
    assert_eq!(status(&alone.with_secret(idle.secret)).await, REFUSED);
    wait_until("the log to say so", async || third.stderr().contains("\"event\":\"pepper_differs\"")).await;
}

#[tokio::test]
async fn what_the_database_keeps_of_a_key_opens_nothing() {
    let system = an_api().await;
    let row: String =
        sqlx::query_scalar("select to_jsonb(k)::text || encode(secret_hash, 'hex') from api_keys k")
            .fetch_one(&system.database.pool)
            .await
            .unwrap();
    let secret = system.client.secret();
    let sha256: String = sqlx::query_scalar("select encode(sha256($1::bytea), 'hex')")
        .bind(secret.as_bytes())
        .fetch_one(&system.database.pool)
        .await
        .unwrap();

    assert!(!row.contains(&secret[44..]), "the database keeps the secret");
    assert!(!row.contains(&sha256), "the hash needs no pepper");
}

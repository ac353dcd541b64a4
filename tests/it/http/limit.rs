//! Each API key may make a number of writes, and of reads. One more is refused, leaves nothing behind, and
//! succeeds later. Each answer tells how the limit stands.

use std::num::NonZeroU32;

use domain::ids::KeyId;
use reqwest::Method;
use serde_json::{Value, json};
use shared::merchant::limits::{self, Change, StoredLimit};
use tests::client::send;
use tests::{Answer, Client, Exit, Launch, Scrape, Shape, System, a_payment, wait_for, wait_until};

use crate::PROGRAM;

/// The rate of a bucket that is not refilled while a test runs.
const HARDLY_EVER: &str = "0.001";

async fn limited(rate: &str, burst: &str) -> System {
    let api_env = vec![("API_RATE_PER_S", rate.to_owned()), ("API_RATE_BURST", burst.to_owned())];
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

/// Asserts that it was refused, and answers for how many seconds.
#[track_caller]
fn refused_for(answer: &Answer) -> u64 {
    answer.assert_problem(429, "too_many_requests");
    answer.header("retry-after").parse().unwrap()
}

async fn another_key(system: &System) -> Client {
    let merchant = shared::merchant::find_or_create(&system.database.pool, "first").await.unwrap();
    let key =
        shared::merchant::keys::create_for(&system.database.pool, &tests::peppers(), merchant.id, "another")
            .await
            .unwrap();
    system.client.with_secret(key.secret)
}

#[tokio::test]
async fn a_burst_beyond_the_bucket_is_refused_and_leaves_nothing_behind() {
    let system = limited(HARDLY_EVER, "3").await;
    let first = a_payment();
    let id = system.accepted(first.clone()).await;
    let _ = system.accepted(a_payment()).await;
    assert_eq!(system.pay(first.clone()).await.payment_id(), id, "a repetition is a request as well");
    let stored = system.stored().await;

    let wait = refused_for(&system.pay(a_payment()).await);
    refused_for(&system.pay(first).await);
    let paths =
        ["/v1/payments".to_owned(), format!("/v1/payments/{id}"), format!("/v1/payments/{id}/events")];
    for path in &paths {
        system.client.get(path).await.assert_status(200);
    }
    for path in &paths {
        refused_for(&system.client.get(path).await);
    }

    assert!((1..=1000).contains(&wait), "{wait} s");
    assert_eq!(system.stored().await, stored);
    let api = Scrape::of(&system.apis[0]).await;
    assert_eq!(api.sum("payonce_http_requests_total", &[("status", "429")]), 5.0);
    assert_eq!(api.sum("payonce_api_refusals_total", &[("limit", "writes")]), 2.0);
    assert_eq!(api.sum("payonce_api_refusals_total", &[("limit", "reads")]), 3.0);
}

#[tokio::test]
async fn a_refused_request_is_accepted_once_the_bucket_has_been_refilled() {
    let system = limited("0.5", "1").await;
    let request = wait_for("a request to be refused", async || {
        let request = a_payment();
        let answer = system.pay(request.clone()).await;
        (answer.status != 202).then(|| {
            assert!((1..=2).contains(&refused_for(&answer)));
            request
        })
    })
    .await;

    let accepted = wait_for("it to be accepted", async || {
        let answer = system.pay(request.clone()).await;
        if answer.status == 202 {
            return Some(answer);
        }
        refused_for(&answer);
        None
    })
    .await;

    assert_eq!(accepted.header("idempotent-replayed"), "false", "the refused request had recorded something");
}

#[tokio::test]
async fn every_key_has_a_bucket_of_its_own_also_where_two_are_one_merchants() {
    let system = limited(HARDLY_EVER, "2").await;
    let others = [another_key(&system).await, system.another_merchant("other").await];
    let id = system.accepted(a_payment()).await;
    let _ = system.accepted(a_payment()).await;
    refused_for(&system.pay(a_payment()).await);

    for other in &others {
        let _ = other.pay(a_payment()).await.payment_id();
        let _ = other.pay(a_payment()).await.payment_id();
        refused_for(&other.pay(a_payment()).await);
    }

    let path = format!("/v1/payments/{id}");
    system.client.get(&path).await.assert_status(200);
    system.client.get(&path).await.assert_status(200);
    refused_for(&system.client.get(&path).await);
}

#[tokio::test]
async fn what_needs_no_valid_key_has_no_limit_and_takes_nothing_from_one() {
    let system = limited(HARDLY_EVER, "1").await;
    let nobody = system.client.with_secret("payonce_sk_unknown".to_owned());
    for _ in 0..5 {
        nobody.pay(a_payment()).await.assert_problem(401, "unauthorized");
        for path in ["/health", "/health/ready"] {
            send(system.client.request(Method::GET, path)).await.assert_status(200);
        }
    }

    let _ = system.accepted(a_payment()).await;
    refused_for(&system.pay(a_payment()).await);
    nobody.pay(a_payment()).await.assert_problem(401, "unauthorized");
    send(system.client.request(Method::GET, "/health/ready")).await.assert_status(200);
}

#[tokio::test]
async fn without_a_burst_of_its_own_it_is_one_seconds_worth() {
    let api_env = vec![("API_RATE_PER_S", "0.002".to_owned())];
    let system = System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await;

    let _ = system.accepted(a_payment()).await;

    refused_for(&system.pay(a_payment()).await);
}

/// The names and numbers of `RateLimit-Policy` and `RateLimit`; empty where the answer has none.
fn told(answer: &Answer) -> [&str; 2] {
    [answer.header("ratelimit-policy"), answer.header("ratelimit")]
}

#[tokio::test]
async fn every_answer_to_a_limited_key_tells_its_policy_and_what_is_left_of_it() {
    let api_env = vec![
        ("API_RATE_PER_S", HARDLY_EVER.to_owned()),
        ("API_RATE_BURST", "3".to_owned()),
        ("API_READS_PER_S", "0.002".to_owned()),
        ("API_READS_BURST", "4".to_owned()),
    ];
    let system = System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await;
    let policy = "\"writes\";q=3;w=3000";
    let until = |answer: &Answer| {
        let t = answer.header("ratelimit").split_once(";t=").map(|(_, t)| t.parse::<u64>().unwrap()).unwrap();
        assert!((1..=1000).contains(&t), "{t}");
        t
    };
    let left = |answer: &Answer| answer.header("ratelimit").rsplit_once(";t=").unwrap().0.to_owned();

    let accepted = system.pay(a_payment()).await;
    let invalid = system.pay(a_payment().amount("nothing")).await;
    let _ = system.accepted(a_payment()).await;
    let refused = system.pay(a_payment()).await;

    let wait = refused_for(&refused);
    invalid.assert_status(400);
    for (answer, r) in [(&accepted, 2), (&invalid, 1), (&refused, 0)] {
        assert_eq!(answer.header("ratelimit-policy"), policy);
        assert_eq!(left(answer), format!("\"writes\";r={r}"));
        assert!(wait + 5 >= until(answer));
    }
    assert!(wait >= until(&refused), "Retry-After comes before t");
    let none = system.client.get("/v1/payments/pay_00000000000000000000000000000000").await;
    none.assert_status(404);
    assert_eq!(none.header("ratelimit-policy"), "\"reads\";q=4;w=2000");
    assert_eq!(left(&none), "\"reads\";r=3");
    let nobody = system.client.with_secret("payonce_sk_unknown".to_owned()).get("/v1/payments").await;
    assert_eq!(told(&nobody), ["", ""]);
}

#[tokio::test]
async fn without_a_limit_no_answer_tells_one_and_no_heartbeat_is_written() {
    let system = super::an_api().await;

    let answers = [system.pay(a_payment()).await, system.client.get("/v1/payments").await];

    for answer in &answers {
        assert_eq!(told(answer), ["", ""]);
    }
    assert_eq!(system.count("select count(*) from limit_shares").await, 0);
}

async fn id_of_key(system: &System) -> KeyId {
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from api_keys").fetch_one(&system.database.pool).await.unwrap();
    id.into()
}

async fn limit_writes(system: &System, id: KeyId, writes: Change) {
    assert!(limits::change(&system.database.pool, id, writes, Change::Keep).await.unwrap());
}

#[tokio::test]
async fn a_limit_that_is_stored_with_a_key_holds_for_it_alone_and_from_now_on() {
    let system = super::an_api().await;
    let id = id_of_key(&system).await;
    let other = another_key(&system).await;
    let _ = system.accepted(a_payment()).await;
    let tight = StoredLimit { per_s: "0.001".parse().unwrap(), burst: NonZeroU32::new(2) };

    limit_writes(&system, id, Change::To(tight)).await;
    wait_until("the limit to be known", async || system.pay(a_payment()).await.status == 429).await;

    let _ = other.pay(a_payment()).await.payment_id();
    system.client.get("/v1/payments").await.assert_status(200);
    let refused = system.pay(a_payment()).await;
    assert_eq!(refused.header("ratelimit-policy"), "\"writes\";q=2;w=2000");
    limit_writes(&system, id, Change::Default).await;
    wait_until("the limit to be gone", async || system.pay(a_payment()).await.status == 202).await;
}

#[tokio::test]
async fn a_person_limits_a_key_and_sees_the_limit_in_the_list() {
    let system = super::an_api().await;
    let id = id_of_key(&system).await.to_string();
    let keys = async |arguments: &[&str]| {
        let arguments = ["keys"].iter().chain(arguments).map(ToString::to_string).collect::<Vec<_>>();
        Launch::payonce(PROGRAM).args(arguments).env("DATABASE_URL", system.database.app_url()).run().await
    };

    let (exit, _) = keys(&["limit", &id, "--writes", "50.5", "--writes-burst", "70"]).await;

    assert_eq!(exit, Exit::Code(0));
    let (_, listed) = keys(&["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed.stdout()).unwrap();
    assert_eq!(listed[0]["writes"], json!({ "per_s": "50.5", "burst": 70 }));
    assert_eq!(listed[0]["reads"], Value::Null);
    let (_, table) = keys(&["list"]).await;
    assert!(table.stdout().contains("50.5/s, 70 at once"), "{}", table.stdout());
    for wrong in [["--writes", "0"], ["--reads", "fast"], ["--reads-burst", "5"]] {
        let (exit, _) = keys(&[&["limit", id.as_str()], &wrong[..]].concat()).await;
        assert_eq!(exit, Exit::Code(2), "{wrong:?}");
    }
    let nobodys = KeyId::generate().to_string();
    assert_eq!(keys(&["limit", &nobodys, "--reads", "default"]).await.0, Exit::Code(1));
}

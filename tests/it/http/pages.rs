//! The pages of lists: cursors that new entries do not move, filters, and what neither may be.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::client::send;
use tests::{Client, System, a_payment};

use super::an_api;
use crate::PROGRAM;
use crate::operator::ADAS_KEY;

/// The ids of a page, and the cursor of the next one.
async fn page(client: &Client, query: &str) -> (Vec<String>, Option<String>) {
    let answer = client.get(&format!("/v1/payments?{query}")).await;
    answer.assert_status(200);
    let list = answer.json();
    let next = list["next_cursor"].as_str().map(str::to_owned);
    assert_eq!(list["has_more"] == true, next.is_some(), "{list}");
    let data = list["data"].as_array().into_iter().flatten();
    (data.map(|payment| payment["id"].as_str().unwrap_or_default().to_owned()).collect(), next)
}

/// What is wrong with the query, by the name of the parameter.
async fn refused(client: &Client, path: &str) -> Vec<(String, String)> {
    let problem = client.get(path).await.assert_problem(400, "invalid_request");
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    errors.iter().map(|error| (text(&error["query"]), text(&error["detail"]))).collect()
}

#[tokio::test]
async fn cursors_lead_through_every_payment_exactly_once_while_new_ones_arrive() {
    let system = an_api().await;
    let mut newest_first = Vec::new();
    for n in 0..11 {
        let customer = if n % 2 == 0 { "even" } else { "odd" };
        newest_first.insert(0, system.accepted(a_payment().customer(customer)).await.to_string());
    }
    let even: Vec<String> = newest_first.iter().step_by(2).cloned().collect();
    for (filter, expected, pages) in [
        ("limit=4", &newest_first, 3),
        ("limit=11", &newest_first, 1),
        ("limit=2&customer_id=even&status=pending&currency=EUR&held=false", &even, 3),
        ("limit=3&customer_id=even", &even, 2),
    ] {
        let (mut read, mut next) = page(&system.client, filter).await;
        let mut seen = 1;
        while let Some(cursor) = next {
            system.accepted(a_payment().customer("even")).await;
            let (more, after) = page(&system.client, &format!("{filter}&cursor={cursor}")).await;
            read.extend(more);
            (next, seen) = (after, seen + 1);
        }
        // What arrived before the first page is newer than all that is looked for here.
        let read: Vec<String> = read.into_iter().filter(|id| expected.contains(id)).collect();

        assert_eq!(&read, expected, "{filter}");
        assert!(seen >= pages, "{filter}: {seen}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_or_of_none_is_a_fault() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    let id = system.accepted(a_payment()).await;
    for _ in 0..2 {
        system.accepted(a_payment()).await;
        other.pay(a_payment()).await.assert_status(202);
    }
    let ours = page(&system.client, "limit=1").await.1.unwrap();
    let filtered = page(&system.client, "limit=1&currency=EUR").await.1.unwrap();
    let theirs = page(&other, "limit=1").await.1.unwrap();
    let mut changed = ours.clone();
    changed.replace_range(3..4, if ours[3..4] == *"A" { "B" } else { "A" });
    let wants = "cursor must be the next_cursor of a page of this list, sent with the filters of that page";
    for (path, cursor) in [
        ("/v1/payments?cursor=".to_owned(), theirs.as_str()),
        ("/v1/payments?cursor=".to_owned(), &filtered),
        ("/v1/payments?status=pending&cursor=".to_owned(), &ours),
        ("/v1/payments?currency=USD&cursor=".to_owned(), &filtered),
        (format!("/v1/payments/{id}/events?cursor="), &ours),
        ("/v1/payments?cursor=".to_owned(), &changed),
        ("/v1/payments?cursor=".to_owned(), "next"),
        ("/v1/payments?cursor=".to_owned(), &id.to_string()),
        ("/v1/payments?cursor=".to_owned(), ""),
    ] {
        let told = refused(&system.client, &format!("{path}{cursor}")).await;

        assert_eq!(told, [("cursor".to_owned(), wants.to_owned())], "{path}{cursor}");
    }
    let admin = system.client.with_secret(ADAS_KEY.to_owned());
    for list in ["breaks", "corrections", "dead-letters", "reconciliation/runs", "recovery-reports"] {
        let told = refused(&admin, &format!("/v1/{list}?cursor={ours}")).await;
        assert_eq!(told[0].0, "cursor", "{list}");
    }
    let both = refused(&system.client, &format!("/v1/payments?cursor={ours}&starting_after={id}")).await;
    assert_eq!(both.len(), 1);
    assert!(both[0].1.contains("send one of them"), "{both:?}");
    let same = [("limit=2", &ours), ("currency=EUR&limit=1", &filtered)];
    for (query, cursor) in same {
        assert!(!page(&system.client, &format!("{query}&cursor={cursor}")).await.0.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn operators_lists_and_events_have_cursors_too() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_503")).await;
    system.ended(id).await;
    for _ in 0..2 {
        let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
        system.held(id).await;
    }
    let admin = system.client.with_secret(ADAS_KEY.to_owned());
    let events = format!("/v1/payments/{id}/events?");
    for (client, path, key) in
        [(&system.client, events.as_str(), "version"), (&admin, "/v1/breaks?open=true&", "id")]
    {
        let all = client.get(&format!("{path}limit=100")).await.json();
        let (mut read, mut cursor) = (Vec::new(), String::new());
        loop {
            let list = client.get(&format!("{path}limit=1{cursor}")).await.json();
            read.extend(list["data"].as_array().cloned().unwrap_or_default());
            match list["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert!(read.len() >= 2, "{path}");
        assert_eq!(all["data"], json!(read), "{path} by {key}");
        assert_eq!(all["next_cursor"], Value::Null);
    }
}

#[tokio::test]
async fn held_payments_are_listed_by_themselves_or_left_out() {
    let system = System::start(PROGRAM).await;
    let fine = system.accepted(a_payment()).await;
    let held = system.accepted(a_payment().method("sim_wrong_amount").customer("a")).await;
    system.ended(fine).await;
    system.held(held).await;
    let (fine, held) = (vec![fine.to_string()], vec![held.to_string()]);
    let both = [held.clone(), fine.clone()].concat();
    for (query, expected) in [
        ("held=true", &held),
        ("held=true&status=processing&customer_id=a&currency=EUR", &held),
        ("held=true&customer_id=b", &vec![]),
        ("held=true&status=succeeded", &vec![]),
        ("held=false", &fine),
        ("held=false&customer_id=a", &vec![]),
        ("", &both),
    ] {
        assert_eq!(&page(&system.client, query).await.0, expected, "{query}");
    }
    assert_eq!(refused(&system.client, "/v1/payments?held=yes").await[0].0, "held");
}

#[tokio::test]
async fn amounts_and_metadata_are_looked_for_within_a_range_of_time() {
    let system = an_api().await;
    let small = system.accepted(a_payment().amount("5.00").with("metadata", json!({"order": "7"}))).await;
    let large = a_payment().amount("500.50").with("metadata", json!({"order": "7", "a b": "ü", "x": ""}));
    let large = system.accepted(large).await;
    let yen = a_payment().amount("500").with("currency", json!("JPY"));
    let yen = system.accepted(yen).await.to_string();
    let (small, large) = (small.to_string(), large.to_string());
    let now = chrono::Utc::now();
    let time = |minutes: i64| (now + chrono::TimeDelta::minutes(minutes)).format("%Y-%m-%dT%H:%M:%SZ");
    let month = 31 * 24 * 60;
    let range = format!("created_after={}&created_before={}", time(30 - month), time(30));
    for (query, expected) in [
        ("amount=5", vec![&small]),
        ("amount=5.000&currency=EUR", vec![&small]),
        ("amount_min=5", vec![&yen, &large, &small]),
        ("amount_min=5.01", vec![&yen, &large]),
        ("amount_max=500", vec![&yen, &small]),
        ("amount_min=5.01&amount_max=500.5", vec![&yen, &large]),
        ("amount_min=5.01&currency=EUR", vec![&large]),
        ("amount=5&amount_min=6", vec![]),
        ("currency=JPY", vec![&yen]),
        ("metadata[order]=7", vec![&large, &small]),
        ("metadata[order]=7&metadata[a%20b]=%C3%BC", vec![&large]),
        ("metadata%5Bx%5D=", vec![&large]),
        ("metadata[order]=8", vec![]),
        ("metadata[nothing]=7", vec![]),
    ] {
        let (ids, _) = page(&system.client, &format!("{range}&{query}")).await;

        assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let too_long = format!("created_after={}&created_before={}", time(29 - month), time(30));
    for name in ["amount", "amount_min", "amount_max", "metadata[order]"] {
        for range in
            ["", &too_long, &format!("created_after={}", time(-1)), "created_before=2030-01-01T00:00:00Z"]
        {
            let told = refused(&system.client, &format!("/v1/payments?{range}&{name}=5")).await;

            let detail = format!("{name} needs created_after and created_before, at most 31 days apart");
            assert_eq!(told, [(name.to_owned(), detail)], "{range}");
        }
    }
    for (query, name) in [
        ("amount=ten", "amount"),
        ("amount_max=", "amount_max"),
        ("metadata[a]=%00", "metadata[a]"),
        ("metadata[]=7", "metadata[]"),
        ("metadata=7", "metadata"),
        ("currency=eur", "currency"),
        ("currency=XYZ", "currency"),
    ] {
        let told = refused(&system.client, &format!("/v1/payments?{range}&{query}")).await;
        assert_eq!((told.len(), told[0].0.as_str()), (1, name), "{query}: {told:?}");
    }
}

#[tokio::test]
async fn payments_are_listed_between_two_times() {
    let system = an_api().await;
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let answer = system.pay(a_payment()).await;
        ids.push(answer.payment_id().to_string());
        times.push(answer.json()["created_at"].as_str().unwrap_or_default().to_owned());
    }
    let [oldest, middle, newest] = [0, 1, 2].map(|n| (&ids[n], &times[n]));
    for (query, expected) in [
        (format!("created_before={}", newest.1), vec![middle.0, oldest.0]),
        (format!("created_after={}&created_before={}", oldest.1, newest.1), vec![middle.0]),
        (format!("created_before={}", oldest.1), vec![]),
        (format!("created_before=9999-12-31T23:59:59Z&created_after={}", middle.1), vec![newest.0]),
    ] {
        assert_eq!(page(&system.client, &query).await.0.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let crossed = format!("/v1/payments?created_after={}&created_before={}", newest.1, newest.1);
    assert_eq!(refused(&system.client, &crossed).await[0].0, "created_before");
}

/// 6,000 payments in one currency, and an older one in another.
const MANY: &str = "
    set session_replication_role = replica;
    create function one(n integer) returns uuid language sql
    return ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid;
    insert into payments (id, merchant_id, customer_id, amount, currency, payment_method, metadata, correlation_id, created_at,
                          status, version, updated_at, terminal_at, failure_code)
    select one(n), $merchant, 'c', 1, case n when 0 then 'USD' else 'EUR' end, 'sim_ok', '{}', 'x', '2020-01-01',
           'failed', 2, '2020-01-01', '2020-01-01', 'card_declined'
      from generate_series(0, 6000) n;
    insert into idempotency_keys (merchant_id, operation, customer_id, key, fingerprint, payment_id, renderer, created_at)
    select $merchant, 'create_payment', 'c', 'stored-' || n, sha256('x'), one(n), 1, '2020-01-01'
      from generate_series(0, 6000) n";

#[tokio::test]
async fn a_page_looks_at_so_many_payments_and_then_says_where_to_go_on() {
    let system = an_api().await;
    system.accepted(a_payment()).await;
    let merchant = "select quote_literal(merchant_id) from payments";
    let merchant: String = sqlx::query_scalar(merchant).fetch_one(&system.database.pool).await.unwrap();
    let many = MANY.replace("$merchant", &merchant);
    sqlx::raw_sql(AssertSqlSafe(many)).execute(&system.database.pool).await.unwrap();
    for filter in ["currency=USD", "currency=USD&customer_id=c", "currency=USD&status=failed&held=false"] {
        let (none, next) = page(&system.client, filter).await;
        assert!(none.is_empty(), "{filter}: {none:?}");
        let next = next.unwrap_or_else(|| panic!("{filter}: the list goes on"));

        let (found, next) = page(&system.client, &format!("{filter}&cursor={next}")).await;

        assert_eq!(found, [format!("pay_{:032x}", 0x7000_8000_0000_0000_0000_u128)], "{filter}");
        assert_eq!(next, None, "{filter}");
    }
    // What is frequent fills its page at once.
    assert_eq!(page(&system.client, "currency=EUR&status=failed&limit=100").await.0.len(), 100);
    let head = send(system.client.request(Method::HEAD, "/v1/payments?currency=USD")).await;
    assert_eq!(head.status, 200);
}

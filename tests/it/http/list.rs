//! `GET /v1/payments`: pages, filters and their order.

use domain::ids::PaymentId;
use serde_json::Value;
use tests::{Client, System, a_payment};

use super::{an_api, fields};

/// Posts `count` payments one after the other, and answers their ids, newest first.
async fn posted(system: &System, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.insert(0, system.accepted(a_payment()).await.to_string());
    }
    ids
}

/// The ids of a page and whether there are more.
async fn page(client: &Client, query: &str) -> (Vec<String>, bool) {
    let answer = client.get(&format!("/v1/payments{query}")).await;
    answer.assert_status(200);
    let list = answer.json();
    assert_eq!(fields(&list), ["data", "has_more", "next_cursor", "object"]);
    assert_eq!(list["has_more"] == true, list["next_cursor"].is_string(), "{list}");
    assert_eq!(list["object"], "list");
    (ids(&list), list["has_more"] == true)
}

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().into_iter().flatten();
    data.map(|payment| payment["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn payments_are_listed_newest_first_ten_at_a_time() {
    let system = an_api().await;
    let newest_first = posted(&system, 11).await;

    let default = page(&system.client, "").await;
    let all = page(&system.client, "?limit=100").await;
    let exactly_all = page(&system.client, "?limit=11").await;

    assert_eq!(default, (newest_first[..10].to_vec(), true));
    assert_eq!(all, (newest_first.clone(), false));
    assert_eq!(exactly_all, (newest_first, false));
}

#[tokio::test]
async fn a_listed_payment_is_the_payment_as_it_reads() {
    let system = an_api().await;
    let id = system.accepted(a_payment()).await;

    let list = system.client.get("/v1/payments").await.json();

    assert_eq!(list["data"][0], system.client.payment(id).await);
}

#[tokio::test]
async fn paging_reads_every_payment_exactly_once_while_new_ones_arrive() {
    let system = an_api().await;
    let newest_first = posted(&system, 25).await;

    let (mut read, mut has_more) = page(&system.client, "?limit=7").await;
    let mut pages = 1;
    while has_more {
        posted(&system, 1).await;
        let last = read.last().cloned().unwrap_or_default();
        let (next, more) = page(&system.client, &format!("?limit=7&starting_after={last}")).await;
        read.extend(next);
        (has_more, pages) = (more, pages + 1);
    }

    assert_eq!(read, newest_first);
    assert_eq!(pages, 4);
}

#[tokio::test]
async fn filters_narrow_the_list_and_each_other() {
    let system = an_api().await;
    let first = system.accepted(a_payment().customer("a")).await.to_string();
    let second = system.accepted(a_payment().customer("b")).await;
    let third = system.accepted(a_payment().customer("a")).await.to_string();
    let second_at = system.client.payment(second).await["created_at"].as_str().unwrap_or_default().to_owned();
    let second = second.to_string();
    let table = [
        ("?customer_id=a".to_owned(), vec![&third, &first]),
        ("?customer_id=nobody".to_owned(), vec![]),
        ("?customer_id=".to_owned(), vec![]),
        ("?status=pending".to_owned(), vec![&third, &second, &first]),
        ("?status=succeeded".to_owned(), vec![]),
        (format!("?created_after={second_at}"), vec![&third]),
        (format!("?created_after={second_at}&customer_id=b"), vec![]),
        (format!("?starting_after={third}&customer_id=a"), vec![&first]),
        (format!("?starting_after={first}"), vec![]),
        (
            "?created_after=2020-01-01T00:00:00%2B02:00&status=pending&customer_id=b&limit=1".to_owned(),
            vec![&second],
        ),
    ];
    for (query, expected) in table {
        let (ids, _) = page(&system.client, &query).await;

        assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_status_filter_follows_the_payment() {
    let mut system = an_api().await;
    let id = system.accepted(a_payment()).await;
    system.add_worker([("RUST_LOG", "info")]).await;

    system.ended(id).await;

    assert_eq!(page(&system.client, "?status=succeeded").await.0, [id.to_string()]);
    assert_eq!(page(&system.client, "?status=pending").await.0, Vec::<String>::new());
}

#[tokio::test]
async fn a_query_that_cannot_be_understood_is_a_400() {
    let system = an_api().await;
    let unknown = PaymentId::generate();
    let queries = [
        "?limit=0",
        "?limit=101",
        "?limit=-1",
        "?limit=ten",
        "?limit=",
        "?limit=9223372036854775808",
        "?limit=1&limit=2",
        "?status=paid",
        "?status=",
        "?created_after=yesterday",
        "?created_after=2020-01-01",
        "?created_after=-262143-01-01T00:00:00Z",
        "?starting_after=pay_1",
        "?starting_after=",
        "?customer_id=%00",
        "?customer=a",
    ];
    for query in queries {
        let answer = system.client.get(&format!("/v1/payments{query}")).await;

        assert_eq!(answer.status, 400, "{query}");
        answer.assert_problem(400, "invalid_request");
    }
    assert_eq!(page(&system.client, &format!("?starting_after={unknown}")).await, (vec![], false));
}

#[tokio::test]
async fn merchants_never_see_each_others_payments() {
    let system = an_api().await;
    let other = system.another_merchant("other").await;
    let ours = system.accepted(a_payment()).await;

    let before = page(&other, "").await;
    let theirs = other.pay(a_payment()).await.payment_id();
    let after =
        page(&other, &format!("?customer_id=customer-1&starting_after={}", PaymentId::generate())).await;

    assert_eq!(before, (vec![], false));
    assert_eq!(after.0, [theirs.to_string()]);
    assert_eq!(page(&system.client, "").await.0, [ours.to_string()]);
}

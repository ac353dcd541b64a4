//! Many APIs, many clients, many keys posted more than once: the crowd of a bad day.

use std::collections::{HashMap, HashSet};

use domain::ids::PaymentId;
use futures::StreamExt as _;
use futures::stream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tests::{Client, Shape, System, a_payment};

use super::CROWD;
use crate::PROGRAM;

const POSTS: usize = 10_000;
const CLIENTS: usize = 64;
const CURRENCIES: [&str; 4] = ["EUR", "JPY", "KWD", "USD"];

/// The key of each post. About 30 % of them repeat one of the keys before, mostly one that is under way.
fn keys() -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(77);
    let mut fresh = 0;
    let mut key = || {
        if fresh > 0 && random.random_bool(0.3) {
            return fresh - 1 - random.random_range(0..fresh.min(2 * CLIENTS));
        }
        fresh += 1;
        fresh - 1
    };
    (0..POSTS).map(|_| key()).collect()
}

/// Posts under the key, and answers the payment's id. The same key is always the same request.
async fn post(merchants: &[Client], key: usize) -> (usize, PaymentId) {
    let request = a_payment()
        .key(&format!("order-{key}"))
        .customer(&format!("customer-{}", key % 100))
        .with("currency", json!(CURRENCIES[key % CURRENCIES.len()]))
        .amount(&(1 + key % 1000).to_string());
    (key, merchants[key % merchants.len()].pay(request).await.payment_id())
}

/// Slow: it makes ten thousand posts, and a charge for each payment.
#[tokio::test]
async fn ten_thousand_posts_with_repeated_keys_over_four_apis_make_each_payment_once() {
    let _alone = CROWD.lock().await;
    let system = System::with(PROGRAM, Shape { apis: 4, workers: 2, ..Shape::default() }).await;
    let merchants = [system.another_merchant("second").await, system.another_merchant("third").await];
    let keys = keys();
    let distinct = keys.iter().collect::<HashSet<_>>().len();

    // Each post must be a 202: neither a deadlock nor a full pool may reach a client.
    let answers: Vec<_> =
        stream::iter(keys).map(|key| post(&merchants, key)).buffer_unordered(CLIENTS).collect().await;

    let mut made: HashMap<usize, PaymentId> = HashMap::new();
    for (key, id) in answers {
        assert_eq!(*made.entry(key).or_insert(id), id, "order-{key} has two payments");
    }
    assert_eq!(made.len(), distinct);
    assert_eq!(made.values().collect::<HashSet<_>>().len(), distinct);
    assert_eq!(system.count("select count(*) from payments").await, i64::try_from(distinct).unwrap());
    system.settled().await;
    system.assert_books_agree().await;
}

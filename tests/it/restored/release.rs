//! Payments that came back, and of which the gateway shows nothing, are given back to the machine by a named
//! person, after they were counted.

use serde_json::json;
use tests::a_payment;

use super::{code, does, idle, one, payonce, said};

#[tokio::test]
async fn what_is_held_as_restored_is_counted_first_and_released_one_by_one_by_a_person() {
    let mut system = idle().await;
    let api = system.api().start().await;
    system.client.add_base(api.address("api"));
    for amount in ["1.00", "2.00", "4.00"] {
        system.accepted(a_payment().amount(amount)).await;
    }
    does(
        &system,
        "with held as (update payments set status = 'processing', version = 2, due_at = null, held_reason = 'restored', in_doubt = true,
                              doubt_since = now() returning *)
         insert into payment_events (payment_id, version, type, from_status, to_status, reason, correlation_id, at)
         select id, 2, 'held', 'pending', 'processing', 'restored', correlation_id, updated_at from held",
    )
    .await;
    let release = |more: &[&str]| {
        let arguments =
            [&["restored", "release", "--all", "--by", "ada", "--reason", "asked them", "--json"], more]
                .concat();
        payonce(&system, &arguments)
    };

    let counted = said(release(&[])).await;

    let held = json!([{ "currency": "EUR", "count": 3, "amount": "7.00" }]);
    assert_eq!(counted, json!({ "held": held, "released": null }));
    assert_eq!(
        one(&system, "select count(*) as held from payments where held_reason is not null").await["held"],
        3
    );
    assert_eq!(said(release(&["--yes"])).await, json!({ "held": held, "released": 3 }));
    let events = "select count(*) as all, count(*) filter (where evidence ->> 'by' = 'ada' and evidence ->> 'reason' = 'asked them') as hers
                    from payment_events where type = 'released'";
    assert_eq!(one(&system, events).await, json!({ "all": 3, "hers": 3 }));
    let (usage, _) = code(payonce(&system, &["restored", "release", "--all", "--reason", "x"])).await;
    assert_eq!(usage, 2, "who?");
}

//! The payment that a worker asks about to learn whether the gateway is back. It is another one each time, of
//! another merchant where there is one, and a doubt only where no payment waits for its charge.

use domain::ids::{GatewayName, PaymentId};
use shared::payment::store;
use tests::{Shape, System, a_payment};
use uuid::Uuid;

use crate::PROGRAM;
use crate::verify::behind_the_guards;

/// Asks for the next one again and again, as a worker does that remembers what it asked about.
async fn probed(system: &System, times: usize) -> Vec<Uuid> {
    let (mut payments, mut merchants) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let next = store::to_probe(&system.database.pool, &GatewayName::default(), &payments, &merchants)
            .await
            .unwrap();
        let Some(candidate) = next else { break };
        payments.push(candidate.id);
        merchants.retain(|merchant| *merchant != candidate.merchant_id);
        merchants.push(candidate.merchant_id);
    }
    payments
}

fn uuids(ids: &[PaymentId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

#[tokio::test]
async fn successive_probes_are_of_different_payments_and_merchants() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let other = system.another_merchant("second").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(system.accepted(a_payment()).await);
    }
    for _ in 0..2 {
        ids.push(other.pay(a_payment()).await.payment_id());
    }

    let asked = probed(&system, 9).await;

    let meant = [ids[0], ids[3], ids[1], ids[4], ids[2]];
    assert_eq!(asked, uuids(&meant));
}

#[tokio::test]
async fn where_no_charge_waits_the_doubt_that_was_looked_at_longest_ago_is_asked_about() {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let mut ids = Vec::new();
    for age in ["1 minute", "3 minutes", "2 minutes"] {
        let id = system.accepted(a_payment()).await;
        let doubt = format!(
            "update payments set status = 'processing', in_doubt = true, doubt_since = now(),
                    updated_at = now() - interval '{age}' where id = '{}'",
            id.uuid()
        );
        behind_the_guards(&system.database.pool, &doubt).await;
        ids.push(id);
    }
    assert_eq!(probed(&system, 3).await, uuids(&[ids[1], ids[2], ids[0]]));

    let charge = system.accepted(a_payment()).await;
    assert_eq!(probed(&system, 1).await, uuids(&[charge]));
}

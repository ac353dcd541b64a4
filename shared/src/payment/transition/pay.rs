//! Payments from balances: decided at once, by accounts alone.
//!
//! Invariant: payment, events, key and the movement between the accounts are one statement. A payment that an
//! account is too short for is recorded too, as failed: its key remembers that for ever.

use std::sync::Arc;

use domain::account::HOLD_MAX;
use domain::idempotency::{CREATE_PAYMENT, RENDERER_OF_BALANCES};
use domain::ids::{AccountId, MerchantId};
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use super::NewPayment;
use crate::account::moving::{Patience, Reason, Suspects};
use crate::database::batch::{Owner, Remedy, Work};
use crate::database::failure::Failure;
use crate::database::{self, InTime as _, Lend, Seat, durable};

/// A request for a payment from a balance: the payment method is an account of the merchant's book.
#[derive(Debug, Clone)]
pub struct FromBalance {
    /// Whose accounts these are.
    pub merchant: MerchantId,
    /// What is asked for.
    pub payment: NewPayment,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paid {
    /// It is recorded, whatever its outcome. The key tells it.
    Recorded,
    /// It makes no sense as it is. Nothing is recorded.
    Unfit(Reason),
    /// Nothing was decided: another request has the key, or recorded it.
    Again,
    /// Nothing was decided: another session of the database has this account.
    Held(AccountId),
}

/// A row of the statement's answer.
struct Row {
    request: i32,
    verdict: String,
    code: Option<String>,
    detail: Option<Value>,
}

/// Decides the payments, each whole or not at all, as one statement. The answers stand in their order.
///
/// # Errors
/// The database's error; then nothing was done. If the connection broke, all may be: ask again under the same
/// keys.
pub async fn pay(on: &impl Lend, payments: &[&FromBalance], patience: &Patience) -> sqlx::Result<Vec<Paid>> {
    let each = |read: fn(&NewPayment) -> &str| {
        payments.iter().map(|it| read(&it.payment).to_owned()).collect::<Vec<_>>()
    };
    let zero = |it: &&FromBalance| Decimal::new(0, it.payment.request.money.currency().digits()).to_string();
    let statement = async {
        let mut connection = on.lend().await?;
        let rows = sqlx::query_file_as!(
            Row,
            "queries/payment_from_balance.sql",
            &payments.iter().map(|it| it.payment.id.uuid()).collect::<Vec<_>>(),
            &payments.iter().map(|it| it.merchant.uuid()).collect::<Vec<_>>(),
            &each(|p| &p.request.customer_id),
            &each(|p| p.key.as_str()),
            &payments.iter().map(|it| it.payment.fingerprint.to_vec()).collect::<Vec<_>>(),
            &payments.iter().map(|it| it.payment.request.money.amount()).collect::<Vec<_>>(),
            &each(|p| p.request.money.currency().code()),
            &each(|p| &p.request.payment_method),
            &payments.iter().map(|it| it.payment.request.description.clone()).collect::<Vec<_>>()
                as &[Option<String>],
            &payments.iter().map(|it| serde_json::json!(it.payment.request.metadata)).collect::<Vec<_>>(),
            &each(|p| &p.correlation_id),
            &payments.iter().map(|_| AccountId::generate().uuid()).collect::<Vec<_>>(),
            &payments.iter().map(zero).collect::<Vec<_>>(),
            CREATE_PAYMENT,
            RENDERER_OF_BALANCES,
            i32::try_from(HOLD_MAX.num_seconds()).unwrap_or(i32::MAX),
            patience.held(),
            matches!(patience, Patience::PassesOver(_))
        )
        .fetch_all(&mut *connection)
        .in_time()
        .await;
        connection.back(rows)
    };
    let rows = durable("pay", statement).await?;
    answers(payments.len(), rows)
}

/// What each request came to.
fn answers(requests: usize, rows: Vec<Row>) -> sqlx::Result<Vec<Paid>> {
    let mut answers: Vec<Option<Paid>> = vec![None; requests];
    for row in rows {
        let place = usize::try_from(row.request - 1).ok().and_then(|n| answers.get_mut(n));
        *place.ok_or_else(|| odd("an answer to no request"))? = Some(answered(row)?);
    }
    answers.into_iter().collect::<Option<_>>().ok_or_else(|| odd("a request without an answer"))
}

fn answered(row: Row) -> sqlx::Result<Paid> {
    let detail = row.detail.unwrap_or_default();
    match (row.verdict.as_str(), row.code) {
        ("done", None) => Ok(Paid::Recorded),
        ("unfit", Some(code)) => Ok(Paid::Unfit(Reason { code, detail })),
        ("again", None) => Ok(Paid::Again),
        ("held", None) => {
            let account = detail["account"].as_str().and_then(|id| id.parse::<Uuid>().ok());
            account.map(|id| Paid::Held(id.into())).ok_or_else(|| odd("held, and no account"))
        }
        (verdict, _) => Err(odd(&format!("the verdict {verdict}"))),
    }
}

fn odd(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("pay_from_balances gave {what}"))
}

/// Pays from balances for many requests at once.
pub struct Paying {
    /// The connection by which it is done.
    pub seat: Seat,
    /// The accounts that are not waited for.
    pub suspects: Suspects,
}

impl Work for Paying {
    type Item = Arc<FromBalance>;
    type Answer = Paid;
    type Error = sqlx::Error;

    fn owner(it: &Arc<FromBalance>) -> Owner {
        it.payment.api_key.number()
    }

    async fn settled(&self) {
        self.seat.settled().await;
    }

    /// If an account is held by another session, those who need it leave the batch, and their neighbours go
    /// on.
    async fn work(&self, payments: &[Arc<FromBalance>]) -> sqlx::Result<Vec<Paid>> {
        let payments: Vec<&FromBalance> = payments.iter().map(|it| &**it).collect();
        let held = self.suspects.all();
        let paid = match pay(&self.seat, &payments, &Patience::WaitsUnlessFor(held.clone())).await {
            Err(error) if database::is_locked_out(&error) && !database::is_table_locked(&error) => {
                pay(&self.seat, &payments, &Patience::PassesOver(held)).await
            }
            done => done,
        }?;
        for answer in &paid {
            if let Paid::Held(account) = answer {
                self.suspects.note(*account);
            }
        }
        Ok(paid)
    }

    /// If a whole table is locked, each of the batch would wait for it by itself.
    fn remedy(error: &sqlx::Error) -> Remedy {
        let failure = Failure::of(error);
        if database::is_table_locked(error) {
            Remedy::None
        } else if failure == Failure::Canceled {
            Remedy::OneByOne
        } else {
            failure.remedy()
        }
    }
}

/// Tries a request by itself, without waiting for an account that another session has. This account was found
/// to be such a one; if it is free, it is not suspect any more.
///
/// # Errors
/// See [`pay`].
pub async fn pay_alone(
    on: &impl Lend,
    suspects: &Suspects,
    payment: &FromBalance,
    suspect: AccountId,
) -> sqlx::Result<Paid> {
    let paid = pay(on, &[payment], &Patience::PassesOver(Vec::new())).await?.pop();
    let paid = paid.ok_or_else(|| odd("no answer"))?;
    if paid != Paid::Held(suspect) {
        suspects.clear(suspect);
    }
    Ok(paid)
}

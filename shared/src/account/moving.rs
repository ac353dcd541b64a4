//! The statement that moves money between accounts, and its batches.
//!
//! A batch is bounded by its movements, so that its answer fits into what a connection holds by itself: a
//! process that stops in the middle of a batch keeps no account locked, as the server needs nobody to end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use domain::account::{HOLD_DEFAULT, HOLD_MAX, HoldEnd, NewTransfer};
use domain::idempotency::{Key, RENDERER};
use domain::ids::{AccountId, MerchantId, TransferId};
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use super::{Columns, Transfer, counting, sabotage};
use crate::database::batch::{Remedy, Work};
use crate::database::failure::Failure;
use crate::database::{self, InTime as _, Lend, Seat, durable};

/// The most movements of a batch. Each is answered by less than 200 bytes, and 32 kB fit into the buffers of
/// a connection.
const MOVEMENTS: usize = 160;

/// A key to record, and the request that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenKey {
    /// The word for what is asked for. The same key of another operation is another key.
    pub operation: &'static str,
    /// What else must be equal: of acts on a transfer its id, of a new account its owner.
    pub scope: String,
    /// The client's idempotency key.
    pub key: Key,
    /// The SHA-256 of the normalised request.
    pub fingerprint: [u8; 32],
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Movement {
    /// Move money, or reserve it.
    Transfer(NewTransfer),
    /// Move what is reserved, or only this much of it. The rest goes back.
    Post(TransferId, Option<Decimal>),
    /// Give back what is reserved.
    Void(TransferId),
    /// Give back what is reserved, if its time is over.
    Expire(TransferId),
}

impl Movement {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Transfer(_) => "transfer",
            Self::Post(..) => "post",
            Self::Void(_) => "void",
            Self::Expire(_) => "expire",
        }
    }

    const fn id(&self) -> TransferId {
        match self {
            Self::Transfer(transfer) => transfer.id,
            Self::Post(id, _) | Self::Void(id) | Self::Expire(id) => *id,
        }
    }

    const fn transfer(&self) -> Option<&NewTransfer> {
        match self {
            Self::Transfer(transfer) => Some(transfer),
            Self::Post(..) | Self::Void(_) | Self::Expire(_) => None,
        }
    }

    const fn amount(&self) -> Option<Decimal> {
        match self {
            Self::Transfer(transfer) => Some(transfer.money.amount()),
            Self::Post(_, amount) => *amount,
            Self::Void(_) | Self::Expire(_) => None,
        }
    }

    /// When what is reserved goes back by itself, as far as the request says so.
    fn end(&self) -> Option<DateTime<Utc>> {
        match self.transfer()?.hold? {
            HoldEnd::At(at) => Some(at),
            HoldEnd::ByDefault => None,
        }
    }
}

/// What is to be done together or not at all.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose accounts these are. None if we act by ourselves, on whatever merchant's.
    pub merchant: Option<MerchantId>,
    /// The key that remembers the outcome. None if we act by ourselves.
    pub key: Option<TakenKey>,
    /// The id that the key will stand for: of the transfer or the group that is asked for, or of this
    /// request.
    pub object_id: Uuid,
    /// What is to be done, in this order. At least one.
    pub movements: Vec<Movement>,
    /// Whether the client asked for a group, even if it is of one.
    pub is_group: bool,
}

/// Why a request was not done, as the database words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A word of [`domain::account::Refusal`].
    pub code: String,
    /// The facts that it rests on, such as `available`, and the `index` of the movement.
    pub detail: Value,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It is done. The transfers as they stand, in the order of the movements.
    Done(Vec<Transfer>),
    /// It is refused for good: the key remembers it.
    Refused(Reason),
    /// It makes no sense as it is. Nothing is remembered.
    Unfit(Reason),
    /// Nothing was decided: another request has the key or recorded it, or holds came due meanwhile.
    Again,
    /// Nothing was decided: another session of the database has this account.
    Held(AccountId),
}

/// What to do about accounts that are not free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patience {
    /// Leave out the requests that need one of these. Wait a moment for each other account, and then fail as
    /// a whole.
    WaitsUnlessFor(Vec<Uuid>),
    /// The same, but leave out the requests that need any account which is not free.
    PassesOver(Vec<Uuid>),
}

impl Patience {
    pub(crate) fn held(&self) -> &[Uuid] {
        match self {
            Self::WaitsUnlessFor(held) | Self::PassesOver(held) => held,
        }
    }
}

/// Does what the requests ask for, each whole or not at all, as one statement. The answers stand in the order
/// of the requests.
///
/// # Errors
/// The database's error; then nothing was done. If the connection broke, all may be: ask again under the same
/// keys.
pub async fn move_money(
    on: &impl Lend,
    requests: &[&Request],
    patience: &Patience,
) -> sqlx::Result<Vec<Moved>> {
    let movements: Vec<(i32, &Movement)> = numbered(requests);
    let keys = |read: fn(&TakenKey) -> String| -> Vec<Option<String>> {
        requests.iter().map(|request| taken(request).map(read)).collect()
    };
    let fingerprints: Vec<Option<Vec<u8>>> =
        requests.iter().map(|it| taken(it).map(|key| key.fingerprint.to_vec())).collect();
    let transfers = || movements.iter().map(|(_, it)| it.transfer());
    let statement = async {
        let mut connection = on.lend().await?;
        sabotage::take_guards_away(&mut connection).await?;
        let rows = sqlx::query_file_as!(
            Row,
            "queries/account_move.sql",
            &requests.iter().map(|it| it.merchant.map(MerchantId::uuid)).collect::<Vec<_>>()
                as &[Option<Uuid>],
            &keys(|key| key.operation.to_owned()) as &[Option<String>],
            &keys(|key| key.scope.clone()) as &[Option<String>],
            &keys(|key| key.key.as_str().to_owned()) as &[Option<String>],
            &fingerprints as &[Option<Vec<u8>>],
            &requests.iter().map(|it| it.is_group).collect::<Vec<_>>(),
            &requests.iter().map(|it| it.object_id).collect::<Vec<_>>(),
            RENDERER,
            &movements.iter().map(|(request, _)| *request).collect::<Vec<_>>(),
            &movements.iter().map(|(_, it)| it.kind().to_owned()).collect::<Vec<_>>(),
            &movements.iter().map(|(_, it)| it.id().uuid()).collect::<Vec<_>>(),
            &transfers().map(|it| it.map(|it| it.from.uuid())).collect::<Vec<_>>() as &[Option<Uuid>],
            &transfers().map(|it| it.map(|it| it.to.uuid())).collect::<Vec<_>>() as &[Option<Uuid>],
            &movements.iter().map(|(_, it)| it.amount()).collect::<Vec<_>>() as &[Option<Decimal>],
            &transfers().map(|it| it.map(|it| it.money.currency().code().to_owned())).collect::<Vec<_>>()
                as &[Option<String>],
            &transfers().map(|it| it.is_some_and(|it| it.hold.is_some())).collect::<Vec<_>>(),
            &movements.iter().map(|(_, it)| it.end()).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            seconds(HOLD_DEFAULT),
            seconds(HOLD_MAX),
            patience.held(),
            matches!(patience, Patience::PassesOver(_))
        )
        .fetch_all(&mut *connection)
        .in_time()
        .await;
        connection.back(rows)
    };
    let rows = durable("move", statement).await?;
    let moved = answers(requests.len(), rows)?;
    counting::count(requests, &moved);
    Ok(moved)
}

/// The key that a request takes.
fn taken(request: &Request) -> Option<&TakenKey> {
    request.key.as_ref().filter(|_| sabotage::remembers())
}

/// All movements, each with the number of its request, counted from 1.
fn numbered<'a>(requests: &[&'a Request]) -> Vec<(i32, &'a Movement)> {
    (1..).zip(requests).flat_map(|(n, request)| request.movements.iter().map(move |it| (n, it))).collect()
}

fn seconds(time: chrono::TimeDelta) -> i32 {
    i32::try_from(time.num_seconds()).unwrap_or(i32::MAX)
}

/// A row of the statement's answer.
struct Row {
    request: i32,
    verdict: String,
    code: Option<String>,
    detail: Option<Value>,
    id: Option<Uuid>,
    debited: Option<Uuid>,
    credited: Option<Uuid>,
    amount: Option<Decimal>,
    currency: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    group_id: Option<Uuid>,
    created_at: Option<DateTime<Utc>>,
    status: Option<String>,
    posted_amount: Option<Decimal>,
    ended_at: Option<DateTime<Utc>>,
}

impl Row {
    fn transfer(self) -> Option<Transfer> {
        let Self { id, debited, credited, amount, currency, expires_at, group_id, .. } = self;
        let Self { created_at, status, posted_amount, ended_at, .. } = self;
        let columns = Columns {
            id,
            debited,
            credited,
            amount,
            currency,
            expires_at,
            group_id,
            created_at,
            status,
            posted_amount,
            ended_at,
        };
        columns.transfer()
    }
}

/// What each request came to.
fn answers(requests: usize, rows: Vec<Row>) -> sqlx::Result<Vec<Moved>> {
    let mut answers: Vec<Option<Moved>> = vec![None; requests];
    for row in rows {
        let place = usize::try_from(row.request - 1).ok().and_then(|n| answers.get_mut(n));
        let answer = place.ok_or_else(|| odd("an answer to no request"))?;
        if let Some(Moved::Done(transfers)) = answer {
            transfers.extend(row.transfer());
        } else {
            *answer = Some(answered(row)?);
        }
    }
    answers.into_iter().collect::<Option<_>>().ok_or_else(|| odd("a request without an answer"))
}

fn answered(mut row: Row) -> sqlx::Result<Moved> {
    let detail = row.detail.take().unwrap_or_default();
    let reason = row.code.take().map(|code| Reason { code, detail: detail.clone() });
    match (row.verdict.as_str(), reason) {
        ("done", None) => Ok(Moved::Done(row.transfer().into_iter().collect())),
        ("refused", Some(reason)) => Ok(Moved::Refused(reason)),
        ("unfit", Some(reason)) => Ok(Moved::Unfit(reason)),
        ("again", None) => Ok(Moved::Again),
        ("held", None) => {
            let account = detail["account"].as_str().and_then(|id| id.parse::<Uuid>().ok());
            account.map(|id| Moved::Held(id.into())).ok_or_else(|| odd("held, and no account"))
        }
        (verdict, _) => Err(odd(&format!("the verdict {verdict}"))),
    }
}

fn odd(what: &str) -> sqlx::Error {
    sqlx::Error::Protocol(format!("move_money gave {what}"))
}

/// The accounts that other sessions were found to have, until somebody got them. One that is kept for long
/// is waited for once in each process, and not by each batch.
#[derive(Debug, Clone, Default)]
pub struct Suspects(Arc<Mutex<BTreeSet<Uuid>>>);

impl Suspects {
    fn set(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Uuid> {
        self.set().iter().copied().collect()
    }

    pub(crate) fn note(&self, held: AccountId) {
        self.set().insert(held.uuid());
    }

    pub(crate) fn clear(&self, free: AccountId) {
        self.set().remove(&free.uuid());
    }
}

/// Moves money for many tasks at once.
pub struct Moving {
    /// The connection by which it is moved.
    pub seat: Seat,
    /// The accounts that are not waited for.
    pub suspects: Suspects,
}

impl Work for Moving {
    type Item = Arc<Request>;
    type Answer = Moved;
    type Error = sqlx::Error;

    const BATCH: usize = MOVEMENTS;

    fn weight(request: &Arc<Request>) -> usize {
        request.movements.len()
    }

    async fn settled(&self) {
        self.seat.settled().await;
    }

    /// If an account is held by another session, those who need it leave the batch, and their neighbours go
    /// on.
    async fn work(&self, requests: &[Arc<Request>]) -> sqlx::Result<Vec<Moved>> {
        let requests: Vec<&Request> = requests.iter().map(|it| &**it).collect();
        let held = self.suspects.all();
        let moved = match move_money(&self.seat, &requests, &Patience::WaitsUnlessFor(held.clone())).await {
            Err(error) if database::is_locked_out(&error) && !database::is_table_locked(&error) => {
                move_money(&self.seat, &requests, &Patience::PassesOver(held)).await
            }
            done => done,
        }?;
        for answer in &moved {
            if let Moved::Held(account) = answer {
                self.suspects.note(*account);
            }
        }
        Ok(moved)
    }

    /// If a whole table is locked, each of the batch would wait for it by itself. A batch that took too long
    /// may have waited a little for each of many accounts.
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
/// See [`move_money`].
pub async fn move_alone(
    on: &impl Lend,
    suspects: &Suspects,
    request: &Request,
    suspect: AccountId,
) -> sqlx::Result<Moved> {
    let moved = move_money(on, &[request], &Patience::PassesOver(Vec::new())).await?.pop();
    let moved = moved.ok_or_else(|| odd("no answer"))?;
    if moved != Moved::Held(suspect) {
        suspects.clear(suspect);
    }
    Ok(moved)
}

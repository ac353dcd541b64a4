//! Every sequence of what can happen to a hold, on the real statement, beside a model of a few lines: it is
//! posted in whole or in part, voided, looked for by the sweep, or its time ends. One statement decides under
//! the lock of the debited account, so sequences are all the interleavings there are.

use domain::account::{HoldEnd, NewTransfer};
use domain::ids::{AccountId, MerchantId, TransferId};
use domain::money::Money;
use rust_decimal::Decimal;
use shared::account::moving::{Moved, Movement, Patience, Request, move_money};
use sqlx::PgPool;
use uuid::Uuid;

use super::Bank;
use crate::verify::behind_the_guards;

/// What can happen to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    IsPosted,
    IsPostedInPart,
    IsVoided,
    IsLookedFor,
    TimeEnds,
}

const ALL: [Happens; 5] =
    [Happens::IsPosted, Happens::IsPostedInPart, Happens::IsVoided, Happens::IsLookedFor, Happens::TimeEnds];

/// How many of these follow each other.
const STEPS: u32 = 4;
/// What a hold reserves, and a part of it.
const ALL_OF_IT: i64 = 5;
const A_PART: i64 = 2;
/// How many requests share a statement.
const BATCH: usize = 125;

/// Where a hold stands by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Pending { is_due: bool },
    Posted(i64),
    Voided,
    Expired,
}

impl Stands {
    /// Where it stands next, and the reason for which the request is refused; none if it is done.
    fn after(self, it: Happens) -> (Self, Option<&'static str>) {
        let posts = match it {
            Happens::IsPosted => Some(ALL_OF_IT),
            Happens::IsPostedInPart => Some(A_PART),
            Happens::IsVoided | Happens::IsLookedFor | Happens::TimeEnds => None,
        };
        match (self, it) {
            (Self::Pending { .. }, Happens::TimeEnds) => (Self::Pending { is_due: true }, None),
            (Self::Pending { is_due: true }, Happens::IsLookedFor) => (Self::Expired, None),
            (_, Happens::TimeEnds | Happens::IsLookedFor) => (self, None),
            (Self::Pending { is_due: true } | Self::Expired, _) => (Self::Expired, Some("transfer_expired")),
            (Self::Pending { is_due: false }, Happens::IsVoided) => (Self::Voided, None),
            (Self::Pending { is_due: false }, _) => (posts.map_or(self, Self::Posted), None),
            (Self::Posted(posted), _) if posts == Some(posted) => (self, None),
            (Self::Voided, Happens::IsVoided) => (self, None),
            (Self::Posted(_) | Self::Voided, _) => (self, Some("transfer_not_pending")),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Posted(_) => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// A hold, what happens to it, and where it stands by the rules.
struct Walk {
    id: TransferId,
    happens: Vec<Happens>,
    stands: Stands,
}

fn a_request(merchant: MerchantId, movement: Movement) -> Request {
    // What we ask for ourselves has neither merchant nor key.
    let merchant = (!matches!(movement, Movement::Expire(_))).then_some(merchant);
    Request { merchant, key: None, object_id: Uuid::now_v7(), movements: vec![movement], is_group: false }
}

/// Has that step happen to all of them, and compares each answer with the model.
async fn step(pool: &PgPool, merchant: MerchantId, walks: &mut [Walk], at: usize) {
    let ended: Vec<String> = walks
        .iter()
        .filter(|walk| walk.happens[at] == Happens::TimeEnds)
        .map(|walk| format!("'{}'", walk.id.uuid()))
        .collect();
    let end = format!(
        "update transfers set expires_at = created_at - interval '1 s' where status = 'pending' and id in ({})",
        ended.join(", ")
    );
    behind_the_guards(pool, &end).await;
    for some in walks.chunks_mut(BATCH) {
        let movement = |walk: &Walk| match walk.happens[at] {
            Happens::IsPosted => Some(Movement::Post(walk.id, None)),
            Happens::IsPostedInPart => Some(Movement::Post(walk.id, Some(Decimal::from(A_PART)))),
            Happens::IsVoided => Some(Movement::Void(walk.id)),
            Happens::IsLookedFor => Some(Movement::Expire(walk.id)),
            Happens::TimeEnds => None,
        };
        let asked: Vec<Option<Movement>> = some.iter().map(movement).collect();
        let requests: Vec<Request> = asked.into_iter().flatten().map(|it| a_request(merchant, it)).collect();
        let all: Vec<&Request> = requests.iter().collect();
        let moved = move_money(pool, &all, &Patience::WaitsUnlessFor(Vec::new())).await.unwrap();
        let mut moved = moved.into_iter();
        for walk in some {
            let happens = walk.happens[at];
            let (stands, refused) = walk.stands.after(happens);
            walk.stands = stands;
            if happens == Happens::TimeEnds {
                continue;
            }
            let (found, why) = match moved.next().unwrap() {
                Moved::Done(transfers) => (transfers.first().map(|it| it.status.clone()), None),
                Moved::Refused(reason) => (None, Some(reason.code)),
                other @ (Moved::Unfit(_) | Moved::Again | Moved::Held(_)) => {
                    unreachable!("{:?}: {other:?}", walk.happens)
                }
            };
            assert_eq!(why.as_deref(), refused, "{:?} at {at}", walk.happens);
            if refused.is_none() {
                assert_eq!(found.as_deref(), Some(stands.as_str()), "{:?} at {at}", walk.happens);
            }
        }
    }
}

#[tokio::test]
async fn whatever_follows_whatever_a_hold_ends_once_and_as_the_model_says() {
    let bank = Bank::start().await;
    let pool = &bank.system.database.pool;
    let sides = [bank.funded("ann", "100000").await, bank.open("bob").await];
    let [from, to] = sides.clone().map(|id| id.parse::<AccountId>().unwrap());
    let merchant: Uuid =
        sqlx::query_scalar("select merchant_id from accounts limit 1").fetch_one(pool).await.unwrap();
    let merchant = MerchantId::from(merchant);
    let mut walks: Vec<Walk> = (0..ALL.len().pow(STEPS))
        .map(|number| {
            let happens = (0..STEPS).map(|at| ALL[number / ALL.len().pow(at) % ALL.len()]).collect();
            Walk { id: TransferId::generate(), happens, stands: Stands::Pending { is_due: false } }
        })
        .collect();
    for some in walks.chunks(BATCH) {
        let hold = |walk: &Walk| {
            let money = Money::parse(&format!("{ALL_OF_IT}.00"), "USD".parse().unwrap()).unwrap();
            let hold = Some(HoldEnd::ByDefault);
            a_request(merchant, Movement::Transfer(NewTransfer { id: walk.id, from, to, money, hold }))
        };
        let requests: Vec<Request> = some.iter().map(hold).collect();
        let all: Vec<&Request> = requests.iter().collect();
        let moved = move_money(pool, &all, &Patience::WaitsUnlessFor(Vec::new())).await.unwrap();
        assert!(moved.iter().all(|it| matches!(it, Moved::Done(_))), "{moved:?}");
    }

    for at in 0..usize::try_from(STEPS).unwrap() {
        step(pool, merchant, &mut walks, at).await;
    }

    let sum = |of: fn(Stands) -> i64| walks.iter().map(|walk| of(walk.stands)).sum::<i64>();
    let posted = sum(|it| if let Stands::Posted(cents) = it { cents } else { 0 });
    let reserved = sum(|it| if matches!(it, Stands::Pending { .. }) { ALL_OF_IT } else { 0 });
    assert_eq!(bank.balance(&sides[1]).await[..2], [format!("{posted}.00"), format!("{reserved}.00")]);
    let [has, _, out, _] = bank.balance(&sides[0]).await;
    assert_eq!([has, out], [format!("{}.00", 100_000 - posted), format!("{reserved}.00")]);
}

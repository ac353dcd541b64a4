//! Accounts of a merchant's own customers, and the transfers between them.
//!
//! Read in this order:
//! - [`moving`]: the statement that moves money, and its batches;
//! - [`remembered`]: what a key stands for;
//! - [`opening`]: new accounts;
//! - [`mod@store`]: what is read;
//! - [`expiry`]: the holds whose time is over;
//! - [`audit`]: whether it all adds up.
//!
//! Invariants: one statement takes keys, then accounts by their ids, reads after it locked, and writes
//! outcome, transfers, entries and sums together. No lock outlasts it, and none is waited for while another
//! statement of ours could wait for it. Accepting, charging and settling payments lock no account.
//!
//! This wing may use `database` and `platform`. It knows nothing of payments.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

pub mod audit;
mod counting;
pub mod expiry;
pub mod moving;
pub mod opening;
pub mod remembered;
mod sabotage;
pub mod store;

/// A transfer as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table `transfers`, which explains them")]
pub struct Transfer {
    pub id: Uuid,
    pub debited: Uuid,
    pub credited: Uuid,
    pub amount: Decimal,
    pub currency: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub group_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub status: String,
    pub posted_amount: Option<Decimal>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// The columns of a transfer where there may be none.
struct Columns {
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

impl Columns {
    fn transfer(self) -> Option<Transfer> {
        Some(Transfer {
            id: self.id?,
            debited: self.debited?,
            credited: self.credited?,
            amount: self.amount?,
            currency: self.currency?,
            expires_at: self.expires_at,
            group_id: self.group_id,
            created_at: self.created_at?,
            status: self.status?,
            posted_amount: self.posted_amount,
            ended_at: self.ended_at,
        })
    }
}

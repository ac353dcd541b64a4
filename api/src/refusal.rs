//! Why no money moved, as a client is told.
//!
//! Invariant: what a key remembers is told by its word and its facts alone, so it reads the same for ever.
//! These sentences are renderer 1, as first answers are.

use domain::account::Refusal;
use domain::ids::AccountId;
use serde_json::{Value, json};
use shared::account::moving::Reason;
use uuid::Uuid;

use crate::contract::codes::Code;
use crate::problem::Problem;

mod refund;

pub(crate) use refund::NotRefunded;

/// A refusal, and the facts that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotMoved {
    refusal: Refusal,
    facts: Value,
    /// How many transfers were asked for together. None if one was asked for by itself.
    group: Option<usize>,
}

impl NotMoved {
    /// What is refused by the request alone.
    pub(crate) fn plain(refusal: Refusal, index: usize, group: Option<usize>) -> Self {
        Self { refusal, facts: json!({ "index": index }), group }
    }

    /// An account had only so much available.
    pub(crate) fn short_of(available: &Value) -> Problem {
        let facts = json!({ "available": available, "index": 0 });
        Problem::Refused(Self { refusal: Refusal::InsufficientFunds, facts, group: None })
    }

    /// The merchant has no such account.
    pub(crate) fn no_account(id: AccountId) -> Self {
        let facts = json!({ "account": id.uuid() });
        Self { refusal: Refusal::AccountNotFound, facts, group: None }
    }

    /// What the database refused. A word that is none of ours is a fault of ours.
    pub(crate) fn of(reason: &Reason, group: Option<usize>) -> Problem {
        match reason.code.parse() {
            Ok(refusal) => Problem::Refused(Self { refusal, facts: reason.detail.clone(), group }),
            Err(why) => {
                tracing::error!(code = reason.code, %why, "an outcome that this program cannot read");
                Problem::Internal
            }
        }
    }

    pub(crate) const fn code(&self) -> Code {
        match self.refusal {
            Refusal::AccountsAreTheSame => Code::AccountsAreTheSame,
            Refusal::AccountNotFound => Code::AccountNotFound,
            Refusal::TransferNotFound => Code::TransferNotFound,
            Refusal::CurrencyMismatch => Code::CurrencyMismatch,
            Refusal::ExpiryOutOfRange => Code::ExpiryOutOfRange,
            Refusal::TooManyDigits => Code::TooManyDigits,
            Refusal::TransferExpired => Code::TransferExpired,
            Refusal::TransferNotPending => Code::TransferNotPending,
            Refusal::AmountExceedsPending => Code::AmountExceedsPending,
            Refusal::InsufficientFunds => Code::InsufficientFunds,
            Refusal::LinkedTransferFailed => Code::LinkedTransferFailed,
        }
    }

    fn text(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_default()
    }

    fn index(&self) -> usize {
        self.facts["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default()
    }

    /// Adds the facts to a problem.
    pub(crate) fn tell(&self, body: &mut Value) {
        match self.refusal {
            Refusal::AccountNotFound => body["account"] = json!(self.account()),
            Refusal::InsufficientFunds => body["available"] = self.facts["available"].clone(),
            Refusal::TransferNotPending => {
                body["transfer"] = json!({
                    "status": self.facts["status"],
                    "posted_amount": self.facts["posted_amount"],
                });
            }
            Refusal::AmountExceedsPending => body["pending"] = self.facts["amount"].clone(),
            Refusal::CurrencyMismatch => body["currency"] = self.facts["currency"].clone(),
            Refusal::AccountsAreTheSame
            | Refusal::TransferNotFound
            | Refusal::ExpiryOutOfRange
            | Refusal::TooManyDigits
            | Refusal::TransferExpired
            | Refusal::LinkedTransferFailed => {}
        }
        if let Some(transfers) = self.group {
            let of = |index: usize| {
                if index == self.index() {
                    self.refusal.as_str()
                } else {
                    Refusal::LinkedTransferFailed.as_str()
                }
            };
            body["index"] = json!(self.index());
            body["transfers"] = (0..transfers).map(|index| json!({ "code": of(index) })).collect();
        }
    }

    fn account(&self) -> Option<String> {
        let id = self.facts["account"].as_str()?.parse::<Uuid>().ok()?;
        Some(AccountId::from(id).to_string())
    }
}

impl std::fmt::Display for NotMoved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.refusal {
            Refusal::AccountsAreTheSame => f.write_str("from and to are the same account; send two"),
            Refusal::AccountNotFound => {
                write!(
                    f,
                    "there is no account {} for this; open it, or name another one",
                    self.account().unwrap_or_default()
                )
            }
            Refusal::TransferNotFound => f.write_str("there is no such transfer"),
            Refusal::CurrencyMismatch => {
                write!(
                    f,
                    "an account is in {}; send amounts in the currency of both accounts",
                    self.text("currency")
                )
            }
            Refusal::ExpiryOutOfRange => {
                f.write_str("expires_at must be in the future, and at most 90 days away")
            }
            Refusal::TooManyDigits => {
                write!(
                    f,
                    "amount has more digits after the point than the currency, which has {}",
                    self.facts["digits"]
                )
            }
            Refusal::TransferExpired => {
                f.write_str("the time of this transfer is over; what it reserved went back")
            }
            Refusal::TransferNotPending => write!(f, "this transfer is {} already", self.text("status")),
            Refusal::AmountExceedsPending => {
                write!(f, "this transfer reserves {}; post that much or less", self.text("amount"))
            }
            Refusal::InsufficientFunds => write!(
                f,
                "the account has {} available; once it has more, ask again under a new Idempotency-Key",
                self.text("available")
            ),
            Refusal::LinkedTransferFailed => f.write_str("another transfer of the group was refused"),
        }
    }
}

//! Why nothing is given back, as a client is told. These sentences are renderer 1, too.

use domain::operation::RefundRefusal;
use serde_json::{Value, json};

use crate::contract::codes::Code;
use crate::problem::Problem;
use crate::render;

/// A refusal of a refund, and the facts that it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotRefunded {
    refusal: RefundRefusal,
    facts: Value,
}

impl NotRefunded {
    /// What the database refused. A word that is none of ours is a fault of ours.
    pub(crate) fn of(code: &str, facts: Value) -> Problem {
        match code.parse() {
            Ok(refusal) => Problem::NotRefunded(Self { refusal, facts }),
            Err(why) => {
                tracing::error!(code, %why, "an outcome that this program cannot read");
                Problem::Internal
            }
        }
    }

    pub(crate) const fn code(&self) -> Code {
        match self.refusal {
            RefundRefusal::PaymentDisputed => Code::PaymentDisputed,
            RefundRefusal::PaymentNotRefundable => Code::PaymentNotRefundable,
            RefundRefusal::AmountExceedsRefundable => Code::AmountExceedsRefundable,
        }
    }

    fn refundable(&self) -> String {
        let text = |name: &str| self.facts[name].as_str().unwrap_or_default();
        render::part(text("refundable"), text("currency"))
    }

    /// Adds the facts to a problem.
    pub(crate) fn tell(&self, body: &mut Value) {
        match self.refusal {
            RefundRefusal::PaymentDisputed => {}
            RefundRefusal::PaymentNotRefundable => {
                body["payment"] = json!({ "status": self.facts["status"] })
            }
            RefundRefusal::AmountExceedsRefundable => body["refundable"] = json!(self.refundable()),
        }
    }
}

impl std::fmt::Display for NotRefunded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.refusal {
            RefundRefusal::PaymentDisputed => f.write_str(
                "a dispute about this payment is open; wait for its end, and ask under a new Idempotency-Key",
            ),
            RefundRefusal::PaymentNotRefundable if self.facts["from_balance"] == true => f.write_str(
                "this payment came from a balance; give it back by a transfer from the account for sales",
            ),
            RefundRefusal::PaymentNotRefundable => {
                let status = self.facts["status"].as_str().unwrap_or_default();
                write!(
                    f,
                    "this payment is {status}, and cannot be given back as it stands; once it can, ask under a new \
                     Idempotency-Key"
                )
            }
            RefundRefusal::AmountExceedsRefundable => {
                let rest = self.refundable();
                if rest.bytes().all(|b| matches!(b, b'0' | b'.')) {
                    f.write_str("nothing of this payment is left to give back")
                } else {
                    write!(
                        f,
                        "{rest} of this payment can be given back; ask for that much or less, under a new Idempotency-Key"
                    )
                }
            }
        }
    }
}

//! Which event of a payment moves money between which accounts. `docs/LEDGER.md` explains the accounts.
//!
//! Invariant: a transfer debits one account and credits another by the same amount, so the ledger is balanced
//! by construction. It is append-only: another transfer corrects a mistake. The statement that ends a payment
//! writes its transfers, and only an approved correction adds another one.

use crate::operation::OperationEvent;
use crate::status::EventType;
use crate::words;

words! {
    /// The purpose of an account.
    AccountKind {
        /// What the gateway has collected and owes us.
        GatewayClearing = "gateway_clearing",
        /// What we owe a merchant.
        MerchantPayable = "merchant_payable",
        /// What a merchant gives back, and the gateway has not given back yet.
        RefundsInTransit = "refunds_in_transit",
        /// What a gateway keeps until a dispute ends.
        DisputedFunds = "disputed_funds",
    }
}

/// One movement of a payment's whole amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// The account whose debits grow by the amount.
    pub debit: AccountKind,
    /// The account whose credits grow by the amount.
    pub credit: AccountKind,
    /// The word for the movement. A payment has at most one transfer of each code.
    pub code: &'static str,
}

/// The movements that an event brings.
#[must_use]
pub const fn postings(event: EventType) -> &'static [Posting] {
    match event {
        EventType::Succeeded => &[Posting {
            debit: AccountKind::GatewayClearing,
            credit: AccountKind::MerchantPayable,
            code: "payment",
        }],
        EventType::Created
        | EventType::AttemptStarted
        | EventType::TakenOver
        | EventType::Verifying
        | EventType::OutcomeUnknown
        | EventType::RetryScheduled
        | EventType::Failed
        | EventType::VoidStarted
        | EventType::Reversed
        | EventType::Held
        | EventType::Released
        | EventType::Rescheduled
        | EventType::Restored
        | EventType::Doubted
        | EventType::ReviewStarted
        | EventType::Approved => &[],
    }
}

/// The movements that an event of a refund brings, of its amount. What the gateway made without us moves at
/// once ([`ADOPTED`]).
#[must_use]
pub const fn refund_postings(event: OperationEvent) -> &'static [Posting] {
    match event {
        OperationEvent::Created => &[Posting {
            debit: AccountKind::MerchantPayable,
            credit: AccountKind::RefundsInTransit,
            code: "refund_reserved",
        }],
        OperationEvent::Succeeded => &[Posting {
            debit: AccountKind::RefundsInTransit,
            credit: AccountKind::GatewayClearing,
            code: "refund_sent",
        }],
        OperationEvent::Failed => &[Posting {
            debit: AccountKind::RefundsInTransit,
            credit: AccountKind::MerchantPayable,
            code: "refund_released",
        }],
        OperationEvent::AttemptStarted
        | OperationEvent::TakenOver
        | OperationEvent::Verifying
        | OperationEvent::OutcomeUnknown
        | OperationEvent::RetryScheduled
        | OperationEvent::Held
        | OperationEvent::Released
        | OperationEvent::Restored
        | OperationEvent::Doubted
        | OperationEvent::Open
        | OperationEvent::Won
        | OperationEvent::Lost => &[],
    }
}

/// The movements of what the gateway did without us, each under what is found in its books. The statement
/// that adopts it has the same rules.
pub const ADOPTED: &[(&str, Posting)] = &[
    (
        "a refund",
        Posting {
            debit: AccountKind::MerchantPayable,
            credit: AccountKind::GatewayClearing,
            code: "refund_adopted",
        },
    ),
    (
        "a return",
        Posting {
            debit: AccountKind::MerchantPayable,
            credit: AccountKind::GatewayClearing,
            code: "returned",
        },
    ),
    (
        "a dispute that opens",
        Posting {
            debit: AccountKind::MerchantPayable,
            credit: AccountKind::DisputedFunds,
            code: "dispute_opened",
        },
    ),
    (
        "a dispute that is won",
        Posting {
            debit: AccountKind::DisputedFunds,
            credit: AccountKind::MerchantPayable,
            code: "dispute_won",
        },
    ),
    (
        "a dispute that is lost",
        Posting {
            debit: AccountKind::DisputedFunds,
            credit: AccountKind::GatewayClearing,
            code: "dispute_lost",
        },
    ),
];

/// The movements of refunds as columns, for the statement that settles them.
#[must_use]
pub fn refund_columns() -> Columns {
    let rows = || {
        OperationEvent::ALL.iter().flat_map(|&event| refund_postings(event).iter().map(move |p| (event, p)))
    };
    Columns {
        event_types: rows().map(|(event, _)| event.as_str().to_owned()).collect(),
        debit_kinds: rows().map(|(_, posting)| posting.debit.as_str().to_owned()).collect(),
        credit_kinds: rows().map(|(_, posting)| posting.credit.as_str().to_owned()).collect(),
        codes: rows().map(|(_, posting)| posting.code.to_owned()).collect(),
    }
}

/// The whole table as columns, for the statements that post and that compare.
#[derive(Default)]
#[expect(missing_docs, reason = "one column of the table of rules each")]
pub struct Columns {
    pub event_types: Vec<String>,
    pub debit_kinds: Vec<String>,
    pub credit_kinds: Vec<String>,
    pub codes: Vec<String>,
}

/// The rules, one element of each column for each movement.
#[must_use]
pub fn columns() -> Columns {
    let rows = || EventType::ALL.iter().flat_map(|&event| postings(event).iter().map(move |p| (event, p)));
    Columns {
        event_types: rows().map(|(event, _)| event.as_str().to_owned()).collect(),
        debit_kinds: rows().map(|(_, posting)| posting.debit.as_str().to_owned()).collect(),
        credit_kinds: rows().map(|(_, posting)| posting.credit.as_str().to_owned()).collect(),
        codes: rows().map(|(_, posting)| posting.code.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_moves_only_when_a_payment_succeeds() {
        for &event in EventType::ALL {
            assert_eq!(postings(event).is_empty(), event != EventType::Succeeded, "{event}");
        }
    }

    #[test]
    fn each_event_moves_money_between_the_accounts_that_the_table_of_the_ledger_says() {
        let page = include_str!("../../docs/LEDGER.md");
        let (_, table) = page.split_once("| event of a payment |").unwrap();
        let written: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        let coded =
            EventType::ALL.iter().flat_map(|&event| postings(event).iter().map(move |it| (event, it)));
        let row = |(event, it): (EventType, &Posting)| {
            format!("| `{event}` | `{}` | `{}` | `{}` |", it.debit.as_str(), it.credit.as_str(), it.code)
        };
        assert_eq!(written, coded.map(row).collect::<Vec<_>>(), "left: docs/LEDGER.md, right: the code");
        assert_eq!(written, ["| `succeeded` | `gateway_clearing` | `merchant_payable` | `payment` |"]);
    }

    #[test]
    fn each_event_of_a_refund_moves_money_as_the_table_of_the_ledger_says() {
        let page = include_str!("../../docs/LEDGER.md");
        let (_, table) = page.split_once("| event of a refund |").unwrap();
        let written: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        let row = |event: &str, it: &Posting| {
            format!("| {event} | `{}` | `{}` | `{}` |", it.debit.as_str(), it.credit.as_str(), it.code)
        };
        let coded = OperationEvent::ALL
            .iter()
            .flat_map(|&event| refund_postings(event).iter().map(move |it| row(&format!("`{event}`"), it)))
            .chain(ADOPTED.iter().map(|(found, it)| row(&format!("{found} in the gateway's books"), it)));
        assert_eq!(written, coded.collect::<Vec<_>>(), "left: docs/LEDGER.md, right: the code");
    }
}

//! Ledger: one transfer for each payment that succeeded, of what is owed and between the right accounts, and none for
//! any other.
//!
//! A transfer debits and credits one amount in one row; what is left to check are the accounts' owners, kinds and
//! currencies.

use shared::ids::PaymentId;

use super::amount::Amount;
use super::ours::{PaymentRow, TransferRow};
use super::report::Check;

/// Compares one payment with its transfers.
pub(super) fn check(payment: &PaymentRow, transfers: &[TransferRow], ledger: &mut Check) {
    ledger.checked += 1;
    let id = PaymentId::from(payment.id);
    let has_succeeded = payment.status == "succeeded";
    match (has_succeeded, transfers) {
        (true, [transfer]) => {
            if let Some(why) = differs(payment, transfer) {
                ledger.blame(id, why);
            }
        }
        (false, []) => {}
        (true, []) => ledger.blame(id, "is succeeded, but has no transfer in the ledger"),
        (_, many) => ledger.blame(id, format!("is {}, but has {} transfers", payment.status, many.len())),
    }
}

/// Transfers that belong to no payment.
pub(super) fn check_strays(transfers: &[TransferRow], ledger: &mut Check) {
    for transfer in transfers {
        let id = PaymentId::from(transfer.payment_id);
        let TransferRow { amount, currency, .. } = transfer;
        ledger.blame(id, format!("has a transfer of {amount} {currency}, but no such payment exists"));
    }
}

fn differs(payment: &PaymentRow, transfer: &TransferRow) -> Option<String> {
    let owed = (Amount::parse(&payment.amount), &payment.currency);
    let posted = (Amount::parse(&transfer.amount), &transfer.currency);
    if posted.0.is_none() || owed != posted {
        return Some(format!(
            "owes {} {}, but its transfer is of {} {}",
            payment.amount, payment.currency, transfer.amount, transfer.currency
        ));
    }
    if transfer.code != "payment" {
        return Some(format!("has a transfer with the code {}", transfer.code));
    }
    let currency = Some(&payment.currency);
    let debit = (transfer.debit_kind.as_deref(), transfer.debit_currency.as_ref(), transfer.debit_merchant);
    if debit != (Some("gateway_clearing"), currency, None) {
        return Some(
            "has a transfer that does not debit the house's gateway_clearing of its currency".to_owned(),
        );
    }
    let credit =
        (transfer.credit_kind.as_deref(), transfer.credit_currency.as_ref(), transfer.credit_merchant);
    if credit != (Some("merchant_payable"), currency, Some(payment.merchant_id)) {
        return Some(
            "has a transfer that does not credit its merchant's merchant_payable of its currency".to_owned(),
        );
    }
    None
}

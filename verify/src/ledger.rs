//! Ledger: each payment that succeeded has one transfer, of what is owed and between the right accounts, and
//! no other payment has any. Each correction that changed an amount has one transfer of just that change.
//!
//! A transfer debits and credits one amount in one row. What is left to check are the accounts' owners,
//! kinds, gateways and currencies.

use domain::ids::PaymentId;

use super::amount::Amount;
use super::ours::{CorrectionRow, PaymentRow, TransferRow};
use super::report::Check;

/// Compares one payment with its transfers.
pub(super) fn check(
    payment: &PaymentRow,
    transfers: &[TransferRow],
    corrections: &[CorrectionRow],
    ledger: &mut Check,
) {
    ledger.checked += 1;
    let id = PaymentId::from(payment.id);
    // What an account paid moved between accounts alone, and is compared with them.
    let has_succeeded = payment.status == "succeeded" && !payment.from_balance;
    let is_correction = |transfer: &&TransferRow| transfer.code.starts_with("correction_");
    for why in corrected(payment, transfers.iter().filter(is_correction), corrections) {
        ledger.blame(id, why);
    }
    let transfers: Vec<&TransferRow> = transfers.iter().filter(|it| !is_correction(it)).collect();
    match (has_succeeded, transfers.as_slice()) {
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

/// Blames transfers that belong to no payment.
pub(super) fn check_strays(transfers: &[TransferRow], ledger: &mut Check) {
    for transfer in transfers {
        let id = PaymentId::from(transfer.payment_id);
        let TransferRow { amount, currency, .. } = transfer;
        ledger.blame(id, format!("has a transfer of {amount} {currency}, but no such payment exists"));
    }
}

/// Sentences about the transfers of corrections that are wrong.
fn corrected<'a>(
    payment: &PaymentRow,
    transfers: impl Iterator<Item = &'a TransferRow>,
    corrections: &[CorrectionRow],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut transfers: Vec<&TransferRow> = transfers.collect();
    for correction in corrections {
        let code = format!("correction_{}", correction.id);
        let own =
            transfers.iter().position(|transfer| transfer.code == code).map(|at| transfers.swap_remove(at));
        let (is_taken_back, amount) =
            correction.delta.strip_prefix('-').map_or((false, &*correction.delta), |amount| (true, amount));
        let moved = Amount::parse(amount);
        match own {
            None if moved == Some(Amount::default()) => {}
            None => wrong.push(format!("has {code} of {amount}, but no transfer of it")),
            Some(transfer) if moved.is_none() || Amount::parse(&transfer.amount) != moved => {
                wrong.push(format!("has {code} of {amount}, but its transfer is of {}", transfer.amount));
            }
            Some(transfer) => wrong.extend(misplaced(payment, transfer, is_taken_back)),
        }
    }
    wrong.extend(
        transfers.iter().map(|it| format!("has a transfer {}, which no correction was posted for", it.code)),
    );
    wrong
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
    misplaced(payment, transfer, false)
}

/// A sentence where the transfer is between other accounts than it must be. Where money is taken back, debit
/// and credit change places.
fn misplaced(payment: &PaymentRow, transfer: &TransferRow, is_taken_back: bool) -> Option<String> {
    let currency = Some(&payment.currency);
    let debit = (
        transfer.debit_kind.as_deref(),
        transfer.debit_currency.as_ref(),
        transfer.debit_merchant,
        transfer.debit_gateway.as_ref(),
    );
    let credit = (
        transfer.credit_kind.as_deref(),
        transfer.credit_currency.as_ref(),
        transfer.credit_merchant,
        transfer.credit_gateway.as_ref(),
    );
    let ((gateway, gateway_does), (merchant, merchant_does)) = if is_taken_back {
        ((credit, "credit"), (debit, "debit"))
    } else {
        ((debit, "debit"), (credit, "credit"))
    };
    if gateway != (Some("gateway_clearing"), currency, None, Some(&payment.gateway)) {
        return Some(format!(
            "has a transfer that does not {gateway_does} the house's gateway_clearing of its gateway and currency"
        ));
    }
    if merchant != (Some("merchant_payable"), currency, Some(payment.merchant_id), None) {
        return Some(format!(
            "has a transfer that does not {merchant_does} its merchant's merchant_payable of its currency"
        ));
    }
    None
}

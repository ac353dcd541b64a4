//! The ledger: one row per movement of money, debiting one account and crediting another by the same amount.
//!
//! Invariant: balanced by construction and append-only; a mistake is corrected by another transfer. Transfers are
//! written by the statement that settles the payment and by nothing else; [`rules`] says which.

pub mod rules;

//! The refunds of a payment, as people who operate Payonce see them.

use domain::ids::{DisputeId, OperationId, ReturnId};
use shared::payment::refunds::Shown;

use crate::operator::show::Time;
use crate::render;

pub(super) struct RefundView {
    pub(super) id: String,
    pub(super) amount: String,
    /// Where it stands, and why it waits or has failed.
    pub(super) status: String,
    /// The gateway's id of it, or what else is known there.
    pub(super) at_gateway: String,
    pub(super) at: Time,
}

impl From<Shown> for RefundView {
    fn from(it: Shown) -> Self {
        let status = match (&it.held_reason, &it.failure_code) {
            (Some(reason), _) => format!("held: {reason}"),
            (None, Some(code)) => format!("failed: {code}"),
            (None, None) => it.status.clone(),
        };
        let at_gateway = match (it.gateway_transaction_id, it.origin.as_str()) {
            (Some(id), "gateway") => format!("{id}, made there"),
            (Some(id), _) => id,
            (None, _) if it.in_doubt => "it may have been made".to_owned(),
            (None, _) => "nothing".to_owned(),
        };
        Self {
            id: match it.kind.as_str() {
                "return" => ReturnId::from(it.id).to_string(),
                "dispute" => DisputeId::from(it.id).to_string(),
                _ => OperationId::from(it.id).to_string(),
            },
            amount: format!("{} {}", render::amount(&it.amount.to_string(), &it.currency), it.currency),
            status,
            at_gateway,
            at: it.created_at.into(),
        }
    }
}

//! Corrections: proposed on a payment's page, approved here by another person, and carried out by a worker.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::correction::KINDS;
use domain::ids::PaymentId;
use rust_decimal::Decimal;
use serde::Deserialize;
use shared::operations::operator::{self, Correction};
use shared::payment::transition::{self, Approving, Justification, Proposal, Proposing, Unusable};
use sqlx::PgPool;

use super::show::{Time, charges};
use super::{Failure, Operator, filled_in, rendered, signatory};
use crate::render;

/// The most rows of a page.
const ROWS: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    closed: Option<u8>,
    before: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Filled {
    action: String,
    #[serde(default)]
    reason: String,
}

/// What the form on a payment's page sends.
#[derive(Debug, Deserialize)]
pub(super) struct Proposed {
    kind: String,
    amount: String,
    #[serde(default)]
    charge_id: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "corrections.html")]
struct Page {
    here: &'static str,
    shows_closed: bool,
    shows_payment: bool,
    complaint: Option<String>,
    items: Vec<CorrectionView>,
    older: Option<i64>,
}

/// A correction as it is shown.
pub(super) struct CorrectionView {
    pub(super) id: i64,
    pub(super) payment_id: String,
    pub(super) kind: String,
    pub(super) explained: &'static str,
    /// The amount that stands at the gateway, and by which charge, if one is named.
    pub(super) stands: String,
    pub(super) state: String,
    pub(super) is_open: bool,
    /// Whether it waits for approval by another person than its proposer.
    pub(super) is_proposed: bool,
    pub(super) is_mine: bool,
    pub(super) reason: String,
    pub(super) proposed: String,
    pub(super) proposed_at: Time,
    pub(super) approved: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) charges: Vec<String>,
    /// The amount that was posted. None while nothing was.
    pub(super) delta: Option<String>,
}

impl CorrectionView {
    pub(super) fn of(it: Correction, operator: &Operator) -> Self {
        let money = |amount: Decimal| {
            format!("{} {}", render::amount(&amount.to_string(), &it.currency), it.currency)
        };
        let by = it.charge_id.as_ref().map(|id| format!(" by {id}")).unwrap_or_default();
        Self {
            id: it.id,
            payment_id: PaymentId::from(it.payment_id).to_string(),
            explained: KINDS.iter().find(|(kind, _)| *kind == it.kind).map_or("", |(_, means)| means),
            stands: if it.amount.is_zero() { "nothing".to_owned() } else { money(it.amount) + &by },
            state: it.state().to_owned(),
            is_open: it.ended_at.is_none(),
            is_proposed: it.ended_at.is_none() && it.approved_at.is_none(),
            is_mine: operator.person.as_ref().is_none_or(|me| me.credential == it.proposed_with),
            proposed_at: it.proposed_at.into(),
            charges: it.look.as_ref().map(charges).unwrap_or_default(),
            delta: it.delta.map(money),
            kind: it.kind,
            reason: it.reason,
            proposed: it.proposed_by,
            approved: it.approved_by,
            refusal: it.refusal,
        }
    }
}

/// `GET /ops/corrections`: the open corrections, or with `closed` all of them.
pub(super) async fn page(
    State(pool): State<PgPool>,
    Extension(operator): Extension<Operator>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    show(&pool, &operator, &asked, None).await
}

/// `POST /ops/corrections/{id}`: approves a correction, or takes it back.
pub(super) async fn decide(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<i64>, PathRejection>,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id.map_err(|_| Failure::NotFound("correction"))?;
    let operator = signatory(operator)?;
    let filled = filled_in(form)?;
    let approving = match filled.action.as_str() {
        "approve" => {
            let Some(person) = operator.person.clone() else {
                return complain(&pool, &operator, StatusCode::FORBIDDEN, NAMELESS).await;
            };
            let pool = pool.clone();
            tokio::spawn(async move { transition::approve(&pool, id, &person).await })
        }
        "withdraw" => match Justification::new(&operator.name, &filled.reason) {
            Ok(justification) => {
                let pool = pool.clone();
                tokio::spawn(async move { transition::withdraw_correction(&pool, id, &justification).await })
            }
            Err(why) => {
                return complain(&pool, &operator, StatusCode::BAD_REQUEST, &format!("the {why}")).await;
            }
        },
        _ => return Err(Failure::Unreadable("Say whether to approve it or to take it back.".to_owned())),
    };
    let (status, why) = match approving.await?? {
        Approving::Done => {
            tracing::info!(
                correction_id = id,
                by = operator.name,
                action = filled.action,
                "correction decided"
            );
            return Ok(Redirect::to("/ops/corrections").into_response());
        }
        Approving::NoSuchCorrection => return Err(Failure::NotFound("correction")),
        Approving::SamePerson => (
            StatusCode::FORBIDDEN,
            "you proposed it; somebody else has to approve it, with a key of their own",
        ),
        Approving::Otherwise => (StatusCode::CONFLICT, "that correction has been approved, or has ended"),
    };
    complain(&pool, &operator, status, why).await
}

const NAMELESS: &str = "a correction takes two people: sign in with a key of your own, which ADMIN_KEYS gives you, and not with ADMIN_KEY";

/// `POST /ops/payments/{id}/corrections`: proposes a correction.
pub(super) async fn propose(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<PaymentId>, PathRejection>,
    form: Result<Form<Proposed>, FormRejection>,
) -> Result<Response, Failure> {
    let Path(payment) = id.map_err(|_| Failure::NotFound("payment"))?;
    let operator = signatory(operator)?;
    let filled = filled_in(form)?;
    let Some(person) = operator.person.clone() else {
        return complain(&pool, &operator, StatusCode::FORBIDDEN, NAMELESS).await;
    };
    let charge_id = Some(filled.charge_id.trim().to_owned()).filter(|id| !id.is_empty());
    let proposal = Decimal::from_str_exact(filled.amount.trim())
        .map_err(|_| Unusable { field: "amount", why: "must be a decimal such as 49.00, or 0" })
        .and_then(|amount| Proposal::new(payment, &filled.kind, (amount, charge_id), &filled.reason, person));
    let proposal = match proposal {
        Ok(proposal) => proposal,
        Err(why) => {
            return complain(&pool, &operator, StatusCode::BAD_REQUEST, &format!("the {why}")).await;
        }
    };
    let proposing = {
        let pool = pool.clone();
        tokio::spawn(async move { transition::propose(&pool, &proposal).await })
    };
    match proposing.await?? {
        Proposing::Open(_) => Ok(Redirect::to("/ops/corrections").into_response()),
        Proposing::Another(id) => {
            let why = format!("correction {id} of that payment has not ended");
            complain(&pool, &operator, StatusCode::CONFLICT, &why).await
        }
        Proposing::UnderWay => {
            complain(
                &pool,
                &operator,
                StatusCode::CONFLICT,
                "the payment is not over, and only what is over is corrected",
            )
            .await
        }
        Proposing::NoSuchPayment => Err(Failure::NotFound("payment")),
    }
}

async fn complain(
    pool: &PgPool,
    operator: &Operator,
    status: StatusCode,
    why: &str,
) -> Result<Response, Failure> {
    let complaint = format!("Nothing was done: {why}.");
    Ok((status, show(pool, operator, &Asked::default(), Some(complaint)).await?).into_response())
}

async fn show(
    pool: &PgPool,
    operator: &Operator,
    asked: &Asked,
    complaint: Option<String>,
) -> Result<Response, Failure> {
    let shows_closed = asked.closed.is_some();
    let limit = i64::try_from(ROWS + 1).unwrap_or(i64::MAX);
    let mut found = operator::corrections(pool, None, !shows_closed, asked.before, limit).await?;
    let has_more = found.len() > ROWS;
    found.truncate(ROWS);
    let page = Page {
        here: "corrections",
        shows_closed,
        shows_payment: true,
        complaint,
        older: found.last().filter(|_| has_more).map(|last| last.id),
        items: found.into_iter().map(|it| CorrectionView::of(it, operator)).collect(),
    };
    Ok(rendered(&page)?.into_response())
}

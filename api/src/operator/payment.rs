//! One payment: all that is known about it, and, if it is held, the form for a person's decision.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::REFRESH;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use domain::correction::KINDS;
use domain::ids::{ClaimToken, PaymentId};
use serde::Deserialize;
use shared::operations::operator::{self, Dossier, Entry, Job, Late};
use sqlx::PgPool;

use self::decision::{Came, Filled, Held};
pub(super) use self::facts::Fact;
use self::refund::RefundView;
use self::timeline::EventView;
use super::corrections::CorrectionView;
use super::payments::badge;
use super::show::{BreakView, Time, pretty, short, told};
use super::{Failure, Operator, filled_in, rendered, signatory};
use crate::render;

mod decision;
mod facts;
mod refund;
mod timeline;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    before: Option<i32>,
}

#[derive(Template)]
#[template(path = "payment.html")]
struct Page {
    here: &'static str,
    id: String,
    short_id: String,
    amount: String,
    badge: &'static str,
    version: i32,
    operator: String,
    complaint: Option<String>,
    typed: Filled,
    held: Option<Held>,
    /// Whether a person ended it without proof.
    is_unproven: bool,
    facts: Vec<Fact>,
    shows_payment: bool,
    breaks: Vec<BreakView>,
    events: Vec<EventView>,
    /// The version below which the earlier events are. None where there are no earlier ones.
    older: Option<i32>,
    is_earlier_page: bool,
    late: Vec<LateView>,
    is_over: bool,
    may_propose: bool,
    kinds: &'static [(&'static str, &'static str)],
    corrections: Vec<CorrectionView>,
    refunds: Vec<RefundView>,
    entries: Vec<EntryView>,
    jobs: Vec<JobView>,
}

struct LateView {
    at: Time,
    name: String,
    reason: Option<String>,
    told: Option<String>,
    evidence: String,
    claim: String,
}

struct EntryView {
    account: String,
    debit: String,
    credit: String,
    code: String,
    at: Time,
}

struct JobView {
    id: String,
    status: String,
    version: i32,
    run_at: Time,
}

/// `GET /ops/payments/{id}`: one payment, with a page of its events.
pub(super) async fn page(
    State(pool): State<PgPool>,
    Extension(operator): Extension<Operator>,
    id: Result<Path<PaymentId>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    let dossier = find(&pool, payment_id(id)?, asked.before).await?;
    let page = Page { is_earlier_page: asked.before.is_some(), ..view(dossier, operator) };
    let is_being_checked = page.held.as_ref().is_some_and(|held| held.open.is_some());
    let mut response = rendered(&page)?.into_response();
    if is_being_checked {
        // The page has no script that could look again.
        response.headers_mut().insert(REFRESH, HeaderValue::from_static("3"));
    }
    Ok(response)
}

/// `POST /ops/payments/{id}`: does as a person decided, or says why not.
pub(super) async fn decide(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<PaymentId>, PathRejection>,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Failure> {
    let id = payment_id(id)?;
    let operator = signatory(operator)?;
    let filled = filled_in(form)?;
    let (status, complaint, typed) =
        match decision::carry_out(pool.clone(), id, operator.clone(), &filled).await? {
            Came::Done(version) => {
                let by = &operator.name;
                tracing::info!(payment_id = %id, by, wish = filled.decision, version, "decided by hand");
                return Ok(Redirect::to(&format!("/ops/payments/{id}#v{version}")).into_response());
            }
            Came::Noted => return Ok(Redirect::to(&format!("/ops/payments/{id}#held")).into_response()),
            Came::Unusable(why) => (StatusCode::BAD_REQUEST, why, filled),
            Came::Refused(why) => (StatusCode::CONFLICT, why, Filled::default()),
        };
    let complaint = format!("Nothing was done: {complaint}.");
    let page = complain(&pool, id, operator, complaint, typed).await?;
    Ok((status, page).into_response())
}

/// The page of the payment as it stands now, with the reason why nothing was done, and the form as it was
/// filled in.
async fn complain(
    pool: &PgPool,
    id: PaymentId,
    operator: Operator,
    complaint: String,
    typed: Filled,
) -> Result<Html<String>, Failure> {
    let dossier = find(pool, id, None).await?;
    let page = view(dossier, operator);
    let typed =
        if typed.decision.is_empty() { Filled { charge_id: page.typed.charge_id, ..typed } } else { typed };
    rendered(&Page { complaint: Some(complaint), typed, ..page })
}

async fn find(pool: &PgPool, id: PaymentId, before: Option<i32>) -> Result<Dossier, Failure> {
    operator::dossier(pool, id, before).await?.ok_or(Failure::NotFound("payment"))
}

fn payment_id(id: Result<Path<PaymentId>, PathRejection>) -> Result<PaymentId, Failure> {
    id.map(|Path(id)| id).map_err(|_| Failure::NotFound("payment"))
}

fn view(dossier: Dossier, operator: Operator) -> Page {
    let Dossier {
        id,
        row,
        merchant_name,
        events,
        has_older_events,
        late,
        breaks,
        decisions,
        corrections,
        refunds,
        entries,
        jobs,
    } = dossier;
    let id = id.to_string();
    let amount = format!("{} {}", render::amount(&row.amount, &row.currency), row.currency);
    let charge_id = Held::charge_seen(&decisions, row.version).unwrap_or_default();
    Page {
        here: "payments",
        short_id: short(&id),
        id,
        badge: badge(&row.status, row.held_reason.as_deref()),
        version: row.version,
        is_over: row.terminal_at.is_some(),
        may_propose: operator.person.is_some(),
        kinds: KINDS,
        corrections: corrections.into_iter().map(|it| CorrectionView::of(it, &operator)).collect(),
        operator: operator.name,
        complaint: None,
        typed: Filled { charge_id, ..Filled::default() },
        held: Held::of(&row, &amount, &decisions),
        is_unproven: decisions.iter().any(|it| it.is_unproven && it.outcome.as_deref() == Some("done")),
        amount,
        facts: facts::of(&row, &merchant_name),
        shows_payment: false,
        breaks: breaks.into_iter().map(BreakView::from).collect(),
        older: events.first().filter(|_| has_older_events).map(|event| event.version),
        events: timeline::of(events),
        is_earlier_page: false,
        late: late.into_iter().map(late_view).collect(),
        refunds: refunds.into_iter().map(RefundView::from).collect(),
        entries: entries.into_iter().map(entry_view).collect(),
        jobs: jobs.into_iter().map(job_view).collect(),
    }
}

fn late_view(it: Late) -> LateView {
    LateView {
        at: it.at.into(),
        name: it.event_type,
        reason: it.reason,
        told: told(&it.evidence),
        evidence: pretty(&it.evidence),
        claim: ClaimToken::from(it.claim_token).to_string(),
    }
}

fn entry_view(it: Entry) -> EntryView {
    let amount = format!("{} {}", render::amount(&it.amount, &it.currency), it.currency);
    let (debit, credit) = if it.side == "debit" { (amount, String::new()) } else { (String::new(), amount) };
    EntryView { account: it.account, debit, credit, code: it.code, at: it.created_at.into() }
}

fn job_view(it: Job) -> JobView {
    JobView { id: it.id, status: it.status, version: it.version, run_at: it.run_at.into() }
}

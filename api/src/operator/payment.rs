//! One payment: all that is known about it, and, where it is held, what a person decides.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use shared::breaks::explained;
use shared::ids::{ClaimToken, PaymentId};
use shared::operator::{self, Dossier, Entry, Job, Late};
use shared::payment::transition::{self, Decision, Justification, Resolution, Unusable};
use sqlx::PgPool;

use self::facts::Fact;
use self::timeline::EventView;
use super::payments::badge;
use super::show::{BreakView, Time, charges, pretty, short, told};
use super::{Failure, Operator, filled_in, rendered, signatory};
use crate::render;

mod facts;
mod timeline;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    before: Option<i32>,
}

/// What the form for a decision sends; shown again where it cannot be used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    version: i32,
    decision: String,
    charge_id: String,
    reason: String,
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
    facts: Vec<Fact>,
    shows_payment: bool,
    breaks: Vec<BreakView>,
    events: Vec<EventView>,
    /// The version before which the earlier events are.
    older: Option<i32>,
    is_earlier_page: bool,
    late: Vec<LateView>,
    entries: Vec<EntryView>,
    jobs: Vec<JobView>,
}

struct Held {
    explained: &'static str,
    /// The charges that the gateway showed.
    shows: Vec<String>,
    release: &'static str,
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

/// `GET /ops/payments/{id}`.
pub(super) async fn page(
    State(pool): State<PgPool>,
    Extension(operator): Extension<Operator>,
    id: Result<Path<PaymentId>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = query.map_err(|why| Failure::Unreadable(why.body_text()))?;
    let dossier = find(&pool, payment_id(id)?, asked.before).await?;
    let page = Page { is_earlier_page: asked.before.is_some(), ..view(dossier, operator) };
    Ok(rendered(&page)?.into_response())
}

/// `POST /ops/payments/{id}`: does as a person decided.
pub(super) async fn decide(
    State(pool): State<PgPool>,
    operator: Extension<Operator>,
    id: Result<Path<PaymentId>, PathRejection>,
    form: Result<Form<Filled>, FormRejection>,
) -> Result<Response, Failure> {
    let id = payment_id(id)?;
    let by = signatory(operator)?;
    let filled = filled_in(form)?;
    let resolution = match resolution(id, &by, &filled) {
        Ok(resolution) => resolution,
        Err(complaint) => {
            let complaint = format!("Nothing was done: {complaint}.");
            let page = complain(&pool, id, Operator(by), complaint, filled).await?;
            return Ok((StatusCode::BAD_REQUEST, page).into_response());
        }
    };
    // In a task of its own: a browser that hangs up drops this handler, and must not leave a statement half-way.
    let resolving =
        tokio::spawn(async move { transition::resolve(&pool, &resolution).await.map(|it| (pool, it)) });
    let (pool, version) = resolving.await??;
    let Some(version) = version else {
        let complaint = format!(
            "Nothing was done: somebody was faster. The payment changed since you opened its version {}; this is how it \
             stands now.",
            filled.version
        );
        let page = complain(&pool, id, Operator(by), complaint, Filled::default()).await?;
        return Ok((StatusCode::CONFLICT, page).into_response());
    };
    tracing::info!(payment_id = %id, by, event = filled.decision, version, "decided by hand");
    Ok(Redirect::to(&format!("/ops/payments/{id}#v{version}")).into_response())
}

fn resolution(id: PaymentId, by: &str, filled: &Filled) -> Result<Resolution, String> {
    let decision = match filled.decision.as_str() {
        "release" => Decision::Release,
        "succeeded" => Decision::Succeed { charge_id: filled.charge_id.trim().to_owned() },
        "failed" => Decision::Fail,
        "reversed" => Decision::Reverse,
        _ => return Err("say what is to happen".to_owned()),
    };
    Justification::new(by, &filled.reason)
        .and_then(|justification| Resolution::new(id, filled.version, decision, justification))
        .map_err(|Unusable { field, why }| match field {
            "charge_id" => format!("the charge's id {why}"),
            "by" => format!("your user name {why}"),
            _ => format!("the {field} {why}"),
        })
}

/// The payment as it stands now, why nothing was done, and the form as it was filled in.
async fn complain(
    pool: &PgPool,
    id: PaymentId,
    operator: Operator,
    complaint: String,
    typed: Filled,
) -> Result<Html<String>, Failure> {
    let dossier = find(pool, id, None).await?;
    rendered(&Page { complaint: Some(complaint), typed, ..view(dossier, operator) })
}

async fn find(pool: &PgPool, id: PaymentId, before: Option<i32>) -> Result<Dossier, Failure> {
    operator::dossier(pool, id, before).await?.ok_or(Failure::NotFound("payment"))
}

fn payment_id(id: Result<Path<PaymentId>, PathRejection>) -> Result<PaymentId, Failure> {
    id.map(|Path(id)| id).map_err(|_| Failure::NotFound("payment"))
}

fn view(dossier: Dossier, Operator(operator): Operator) -> Page {
    let Dossier { id, row, merchant_name, events, has_older_events, late, breaks, entries, jobs } = dossier;
    let id = id.to_string();
    Page {
        here: "payments",
        short_id: short(&id),
        id,
        amount: format!("{} {}", render::amount(&row.amount, &row.currency), row.currency),
        badge: badge(&row.status, row.held_reason.as_deref()),
        version: row.version,
        operator,
        complaint: None,
        typed: Filled::default(),
        held: row.held_reason.as_deref().map(|reason| Held {
            explained: explained(reason).unwrap_or_default(),
            shows: breaks
                .iter()
                .filter(|it| it.closed_at.is_none())
                .flat_map(|it| charges(&it.detail))
                .collect(),
            release: if row.void_started_at.is_some() {
                "It voids once more, and holds the payment again if that fails."
            } else {
                "It asks the gateway once more, and holds the payment again if nothing changed."
            },
        }),
        facts: facts::of(&row, &merchant_name),
        shows_payment: false,
        breaks: breaks.into_iter().map(BreakView::from).collect(),
        older: events.first().filter(|_| has_older_events).map(|event| event.version),
        events: timeline::of(events),
        is_earlier_page: false,
        late: late.into_iter().map(late_view).collect(),
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

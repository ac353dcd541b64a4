//! A person's decision about a held payment: what the last look at the gateway permits, what the person asks
//! for, and how that ended.

use std::time::Duration;

use domain::held::{Permit, Wish};
use domain::ids::PaymentId;
use serde::Deserialize;
use shared::operations::breaks::explained;
use shared::operations::operator::{Decision, PaymentRow, await_decision};
use shared::payment::transition::{self, Asked, Asking, Justification, Unusable};
use sqlx::PgPool;

use crate::operator::show::{Time, charges, told};
use crate::operator::{Failure, Operator};

/// How long a page waits for a worker to look. After that it shows that no worker has looked yet.
const PATIENCE: Duration = Duration::from_secs(6);

/// What the forms send. It is shown again where it cannot be used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::operator) struct Filled {
    pub(super) version: i32,
    pub(super) decision: String,
    pub(super) charge_id: String,
    pub(super) reason: String,
    /// The decision that is taken back.
    pub(super) id: i64,
}

/// A held payment, as the person sees it who decides.
pub(super) struct Held {
    pub(super) explained: &'static str,
    /// The decision that is being checked. Nothing else is decided meanwhile.
    pub(super) open: Option<OpenView>,
    /// What the last look at this version showed.
    pub(super) look: Option<LookView>,
    /// The decisions that this look permits.
    pub(super) choices: Vec<Choice>,
    /// Whether one of these choices asks for the charge's id.
    pub(super) asks_charge: bool,
    pub(super) release: &'static str,
}

pub(super) struct OpenView {
    pub(super) id: i64,
    pub(super) wish: String,
    pub(super) by: String,
    pub(super) reason: String,
    pub(super) asked_at: Time,
    pub(super) looks: i32,
}

pub(super) struct LookView {
    pub(super) at: Time,
    pub(super) explained: &'static str,
    pub(super) told: Option<String>,
    pub(super) charges: Vec<String>,
}

/// One decision that is permitted.
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) title: &'static str,
    pub(super) text: String,
}

/// The result of a form.
pub(super) enum Came {
    /// The payment moved, to this version.
    Done(i32),
    /// There is nothing more to say than what the page shows.
    Noted,
    /// The form cannot be used.
    Unusable(String),
    /// Nothing was done, for this reason.
    Refused(String),
}

impl Held {
    /// The held payment. None where the payment is not held.
    pub(super) fn of(row: &PaymentRow, amount: &str, decisions: &[Decision]) -> Option<Self> {
        let reason = row.held_reason.as_deref()?;
        let open = decisions.iter().find(|it| it.ended_at.is_none()).map(OpenView::from);
        let look = decisions.iter().find(|it| it.version == row.version && it.seen.is_some());
        let permitted =
            Permit::ALL.iter().filter(|permit| look.is_some_and(|look| look.permits(permit.as_str())));
        let choices: Vec<Choice> = permitted.map(|&permit| choice(permit, amount)).collect();
        Some(Self {
            explained: explained(reason).unwrap_or_default(),
            asks_charge: choices.iter().any(|choice| choice.value == Permit::SucceedUnproven.as_str()),
            open,
            look: look.map(LookView::from),
            choices,
            release: if row.void_started_at.is_some() {
                "It voids once more, and holds the payment again if that fails."
            } else {
                "It asks the gateway once more, and holds the payment again if nothing changed."
            },
        })
    }

    /// The id of the charge that the last look showed as standing. None where it showed none.
    pub(super) fn charge_seen(decisions: &[Decision], version: i32) -> Option<String> {
        let look = decisions.iter().find(|it| it.version == version && it.seen.is_some())?;
        let shown = look.look.as_ref()?["answer"]["data"].as_array()?;
        let standing = shown.iter().find(|charge| charge["status"] == "succeeded")?;
        Some(standing["id"].as_str()?.to_owned())
    }
}

impl From<&Decision> for OpenView {
    fn from(it: &Decision) -> Self {
        Self {
            id: it.id,
            wish: if it.is_unproven { format!("{}, without proof", it.wish) } else { it.wish.clone() },
            by: it.asked_by.clone(),
            reason: it.reason.clone(),
            asked_at: it.asked_at.into(),
            looks: it.looks,
        }
    }
}

impl From<&Decision> for LookView {
    fn from(it: &Decision) -> Self {
        let look = it.look.clone().unwrap_or_default();
        Self {
            at: it.ended_at.unwrap_or(it.asked_at).into(),
            explained: seen(it.seen.as_deref().unwrap_or_default()),
            told: told(&look),
            charges: charges(&look),
        }
    }
}

fn seen(word: &str) -> &'static str {
    match word {
        "one" => "One charge stands at the gateway.",
        "several" => "Several charges stand at the gateway.",
        "undecided" => "The gateway shows a charge that is not decided, or not ours.",
        "given_back" => "What was charged was given back: nothing stands.",
        "declined" => "The gateway declined the charge: nothing stands.",
        "nothing" => {
            "The gateway shows no charge. One may still be on its way, unless none was ever in doubt."
        }
        "unable" => "The gateway is declared not to look up.",
        "silent" => {
            "The gateway is silent. Ends without proof are possible once it has been for as long as a doubt may last."
        }
        "refused" => "Something answered, and did not let us look.",
        "" | "not_looked" => "Nobody could look.",
        _ => "Another version looked, and this one cannot say what it saw.",
    }
}

fn choice(permit: Permit, amount: &str) -> Choice {
    let (title, text) = match permit {
        Permit::Succeed => (
            "It was charged",
            format!("The gateway took exactly {amount}. It ends as succeeded, by the charge above, and is posted to the ledger."),
        ),
        Permit::Fail => ("It was not charged", "It ends as failed.".to_owned()),
        Permit::Reverse => ("It was given back", "It ends as reversed.".to_owned()),
        Permit::Void => (
            "Void it now",
            "The machine has whatever was charged undone, and it ends as reversed. It cannot succeed any more.".to_owned(),
        ),
        Permit::SucceedUnproven => (
            "It was charged, without proof",
            format!("You know by other means that exactly {amount} was taken. It ends as succeeded, marked as unproven."),
        ),
        Permit::FailUnproven => (
            "It was not charged, without proof",
            "You know so by other means. It ends as failed, marked as unproven.".to_owned(),
        ),
        Permit::ReverseUnproven => (
            "It was given back, without proof",
            "You know so by other means. It ends as reversed, marked as unproven.".to_owned(),
        ),
    };
    Choice { value: permit.as_str(), title, text }
}

/// Does what a form asks for. It runs in a task of its own, because a browser that hangs up must not leave a
/// statement half-way.
pub(super) async fn carry_out(
    pool: PgPool,
    id: PaymentId,
    operator: Operator,
    filled: &Filled,
) -> Result<Came, Failure> {
    let justification = match Justification::new(&operator.name, &filled.reason) {
        Ok(justification) => justification,
        Err(why) => return Ok(Came::Unusable(worded(why))),
    };
    let (word, is_unproven) = match filled.decision.strip_suffix(" unproven") {
        Some(word) => (word, true),
        None => (filled.decision.as_str(), false),
    };
    let wish = match word {
        "release" => return released(pool, id, filled.version, justification).await,
        "withdraw" => return withdrawn(pool, filled.id, justification).await,
        "look" => Wish::Look,
        "succeed" => Wish::Succeed { charge_id: filled.charge_id.trim().to_owned() },
        "fail" => Wish::Fail,
        "reverse" => Wish::Reverse,
        "void" => Wish::Void,
        _ => return Ok(Came::Unusable("say what is to happen".to_owned())),
    };
    match Asking::new((id, filled.version), wish, is_unproven, justification, &operator.credential) {
        Ok(asking) => asked(pool, asking, filled.version).await,
        Err(why) => Ok(Came::Unusable(worded(why))),
    }
}

fn worded(Unusable { field, why }: Unusable) -> String {
    match field {
        "charge_id" => format!("the charge's id {why}"),
        "by" => format!("your user name {why}"),
        "unproven" => format!("without proof {why}"),
        _ => format!("the {field} {why}"),
    }
}

fn somebody_was_faster(version: i32) -> Came {
    Came::Refused(format!(
        "somebody was faster. The payment changed since you opened its version {version}; this is how it stands now"
    ))
}

const BEING_CHECKED: &str =
    "another decision about this payment is being checked, see below. Wait for it, or take it back";

async fn released(
    pool: PgPool,
    id: PaymentId,
    version: i32,
    justification: Justification,
) -> Result<Came, Failure> {
    let released = tokio::spawn(async move {
        let moved = transition::release(&pool, id, version, &justification).await?;
        let open =
            shared::operations::operator::decisions(&pool, id).await?.iter().any(|it| it.ended_at.is_none());
        Ok::<_, sqlx::Error>((moved, open))
    });
    Ok(match released.await?? {
        (Some(version), _) => Came::Done(version),
        (None, true) => Came::Refused(BEING_CHECKED.to_owned()),
        (None, false) => somebody_was_faster(version),
    })
}

async fn withdrawn(pool: PgPool, decision: i64, justification: Justification) -> Result<Came, Failure> {
    let withdrawing =
        tokio::spawn(async move { transition::withdraw(&pool, decision, &justification).await });
    Ok(if withdrawing.await?? {
        Came::Noted
    } else {
        Came::Refused("that decision had ended; this is how the payment stands now".to_owned())
    })
}

async fn asked(pool: PgPool, asking: Asking, version: i32) -> Result<Came, Failure> {
    let asking = tokio::spawn(async move {
        let asked = transition::ask(&pool, &asking).await?;
        let Asked::Open(id) = asked else { return Ok((asked, None)) };
        Ok::<_, sqlx::Error>((asked, Some(await_decision(&pool, id, PATIENCE).await?)))
    });
    let decision = match asking.await?? {
        (_, Some(decision)) => decision,
        (Asked::Another(_), None) => return Ok(Came::Refused(BEING_CHECKED.to_owned())),
        (Asked::Open(_) | Asked::Moved, None) => return Ok(somebody_was_faster(version)),
    };
    let refusal = decision.refusal.unwrap_or_default();
    Ok(match decision.outcome.as_deref() {
        Some("done") => Came::Done(version + 1),
        Some("refused") => Came::Refused(refusal),
        Some("withdrawn") => Came::Refused(format!("it was taken back meanwhile ({refusal})")),
        Some("overtaken") => somebody_was_faster(version),
        // The refusal is on the page; or no worker has come to check yet.
        Some(_) | None => Came::Noted,
    })
}

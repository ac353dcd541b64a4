//! How keys are shown to people and programs. No secret is among it but one that was just made.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::json;
use shared::merchant::keys::{KeySummary, NewKey};
use shared::merchant::scope::Scope;
use terminal::output;

use super::limit;

/// Says what was made, and for whom.
pub(super) fn made(
    key: &NewKey,
    mut of: serde_json::Value,
    name: &str,
    scopes: &[Scope],
    json: bool,
) -> Result<()> {
    let secret = &key.secret;
    if json {
        let made = json!({
            "id": key.id, "name": name, "scopes": scopes, "expires_at": key.expires_at, "secret": secret,
        });
        if let (Some(of), serde_json::Value::Object(made)) = (of.as_object_mut(), made) {
            of.extend(made);
        }
        return output::json(&of);
    }
    let text = |field: &str| of[field].as_str().unwrap_or_default().to_owned();
    match of.get("operator") {
        Some(_) => output::line(&format!("operator  {}", text("operator")))?,
        None => output::line(&format!("merchant  {}\ngateway   {}", text("merchant_id"), text("gateway")))?,
    }
    let ends = key.expires_at.map_or_else(String::new, |at| format!("\nexpires   {}", at.format(MINUTE)));
    output::line(&format!("key       {}\nscopes    {}{ends}\nsecret    {secret}", key.id, words(scopes)))?;
    output::line("keep the secret now: it is not shown again")
}

/// All keys, a row each.
pub(super) fn table(all: &[KeySummary]) -> Result<()> {
    let rows: Vec<Vec<String>> = all.iter().map(as_row).collect();
    output::table(
        &[
            "ID",
            "WHOSE",
            "ITS ID",
            "NAME",
            "SCOPES",
            "SECRET",
            "MADE",
            "WRITES",
            "READS",
            "LAST USED",
            "EXPIRES",
            "REVOKED",
        ],
        &rows,
    )
}

/// A key as programs read it.
pub(super) fn as_json(key: &KeySummary) -> serde_json::Value {
    json!({
        "id": key.id,
        "merchant": key.merchant_name,
        "merchant_id": key.merchant_id,
        "operator": key.operator,
        "name": key.name,
        "scopes": key.scopes,
        "prefix": key.prefix,
        "pepper": key.pepper,
        "writes": limit::as_json(key.writes),
        "reads": limit::as_json(key.reads),
        "created_at": key.created_at,
        "last_used_on": key.last_used_on,
        "expires_at": key.expires_at,
        "prior_until": key.prior_until,
        "revoked_at": key.revoked_at,
    })
}

/// How times are shown to people.
const MINUTE: &str = "%Y-%m-%d %H:%M";

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(",")
}

fn as_row(key: &KeySummary) -> Vec<String> {
    let at =
        |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), |at| at.format(MINUTE).to_string());
    let is_named = key.prefix == key.id.to_string();
    vec![
        key.id.to_string(),
        key.merchant_name.clone().or_else(|| key.operator.clone()).unwrap_or_default(),
        key.merchant_id.map_or_else(|| "operator".to_owned(), |id| id.to_string()),
        key.name.clone(),
        words(&key.scopes),
        if is_named { "names its id".to_owned() } else { format!("{}…", key.prefix) },
        key.created_at.format(MINUTE).to_string(),
        limit::in_words(key.writes),
        limit::in_words(key.reads),
        key.last_used_on.map_or_else(|| "-".to_owned(), |day| day.to_string()),
        at(key.expires_at),
        at(key.revoked_at),
    ]
}

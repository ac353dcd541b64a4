//! The gateways whose journals are read: by arguments, by variables, or by the workers' own file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use domain::ids::GatewayName;
use serde::Deserialize;
use sqlx::PgPool;

use super::journal::Journal;
use super::ours::advice;

/// A gateway of the file that `GATEWAYS` names, as far as it matters here.
#[derive(Deserialize)]
struct Entry {
    url: String,
    api_key: Option<String>,
    api_key_file: Option<String>,
}

/// The journals that the arguments ask for, each a URL or NAME=URL; without any, those of the environment.
pub(super) fn journals(urls: &[String]) -> Result<Vec<Journal>> {
    if !urls.is_empty() {
        let key = api_key(set("GATEWAY_API_KEY"), set("GATEWAY_API_KEY_FILE"), "GATEWAY_API_KEY")?;
        let named = urls.iter().map(|argument| named(argument));
        return named.map(|(name, url)| Journal::new(name, url, key.as_deref())).collect();
    }
    let Some(path) = set("GATEWAYS") else {
        let none = "give --gateway-url, or set GATEWAY_URL (payonce dev prints it)";
        let url = set("GATEWAY_URL").context(none)?;
        return journals(&[url]);
    };
    ensure!(set("GATEWAY_URL").is_none(), "GATEWAYS and GATEWAY_URL are both set: unset one of them");
    let text = std::fs::read_to_string(&path).with_context(|| format!("GATEWAYS: cannot read {path}"))?;
    // Without the line itself, which may have our key.
    let entries: BTreeMap<GatewayName, Entry> =
        toml::from_str(&text).map_err(|why| anyhow!("GATEWAYS: {path} cannot be used: {}", why.message()))?;
    ensure!(!entries.is_empty(), "GATEWAYS: {path} names no gateway");
    let journal = |(name, entry): (GatewayName, Entry)| {
        let key = api_key(entry.api_key, entry.api_key_file, &format!("GATEWAYS: [{name}] api_key"))?;
        Journal::new(name, &entry.url, key.as_deref())
    };
    entries.into_iter().map(journal).collect()
}

/// An argument's name and URL. Without a name it is the one of every merchant for which none was named.
fn named(argument: &str) -> (GatewayName, &str) {
    let split = argument.split_once('=').and_then(|(name, url)| Some((name.parse().ok()?, url)));
    split.unwrap_or((GatewayName::default(), argument))
}

fn set(variable: &str) -> Option<String> {
    terminal::environment::value(variable)
}

/// Our key at a gateway: the key itself, or what the file holds.
fn api_key(key: Option<String>, file: Option<String>, name: &str) -> Result<Option<String>> {
    let Some(path) = file else { return Ok(key) };
    ensure!(key.is_none(), "{name} and its file are both set: unset one of them");
    let held = std::fs::read_to_string(&path).with_context(|| format!("{name}: cannot read {path}"))?;
    ensure!(!held.trim().is_empty(), "{name}: {path} is empty");
    Ok(Some(held.trim().to_owned()))
}

/// Makes sure that the journal of each gateway that a merchant has is among these: of another one nothing
/// would be judged.
pub(super) async fn require_all(pool: &PgPool, journals: &[Journal]) -> Result<()> {
    let names: Vec<String> = journals.iter().map(|journal| journal.gateway().to_string()).collect();
    let missing = sqlx::query_scalar!(
        "select name from gateways g
          where name <> all($1) and exists (select from merchants m where m.gateway = g.name)
          order by name",
        &names
    );
    let missing = missing.fetch_all(pool).await.map_err(advice)?;
    ensure!(
        missing.is_empty(),
        "merchants have the gateways {}, and no journal of theirs is given: add --gateway-url NAME=URL for each, or set GATEWAYS",
        missing.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_a_url_or_a_name_and_a_url() {
        for (argument, name, url) in [
            ("http://127.0.0.1:8090", "default", "http://127.0.0.1:8090"),
            ("acme_eu=https://eu.acme.example", "acme_eu", "https://eu.acme.example"),
            ("http://a/?key=1", "default", "http://a/?key=1"),
        ] {
            let (named, of) = named(argument);
            assert_eq!((named.as_str(), of), (name, url));
        }
    }
}

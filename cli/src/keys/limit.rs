//! `payonce keys limit`: how many requests a key may make.

use std::num::NonZeroU32;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use domain::ids::KeyId;
use rust_decimal::Decimal;
use serde_json::json;
use shared::merchant::limits::{self, Change, StoredLimit};
use shared::platform::rate::{NoRate, Rate};
use terminal::output;

use crate::migrate::connect;

/// A limit that a person gives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given {
    Default,
    PerSecond(Decimal),
}

impl FromStr for Given {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let per_s = text.parse().map_err(|_| NoRate)?;
        Rate::per_s(per_s).map(|_| Self::PerSecond(per_s))
    }
}

/// What a person says of one limit: the rate, and the burst.
type Said = (Option<Given>, Option<NonZeroU32>);

fn change(said: Said) -> Result<Change> {
    Ok(match said {
        (None, _) => Change::Keep,
        (Some(Given::Default), None) => Change::Default,
        (Some(Given::Default), Some(_)) => bail!("the default has a burst of its own; say a number for both"),
        (Some(Given::PerSecond(per_s)), burst) => Change::To(StoredLimit { per_s, burst }),
    })
}

/// Sets the limits of a key.
pub(super) async fn set(id: KeyId, writes: Said, reads: Said, json: bool) -> Result<()> {
    let (writes, reads) = (change(writes)?, change(reads)?);
    let pool = connect().await?;
    let cannot = "cannot limit the key; is the database migrated?";
    if !limits::change(&pool, id, writes, reads).await.context(cannot)? {
        bail!("there is no key {id}; payonce keys list shows those there are");
    }
    if json {
        return output::json(&json!({ "id": id, "limited": true }));
    }
    output::line(&format!("limited {id}; api processes know it within seconds"))
}

/// A limit as JSON shows it; null is the default.
pub(super) fn as_json(limit: Option<StoredLimit>) -> Option<serde_json::Value> {
    limit.map(|limit| json!({ "per_s": limit.per_s.normalize(), "burst": limit.burst }))
}

/// A limit as the table shows it.
pub(super) fn in_words(limit: Option<StoredLimit>) -> String {
    let Some(StoredLimit { per_s, burst }) = limit else { return "default".to_owned() };
    let at_once = burst.map(|burst| format!(", {burst} at once")).unwrap_or_default();
    format!("{}/s{at_once}", per_s.normalize())
}

//! What an API makes sure of when it starts: the key that its environment brings, and that it has the pepper
//! of the keys that there are.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use shared::merchant::keys::{self, Seeded};
use shared::merchant::pepper::Peppers;
use shared::merchant::{self, Unnamable};
use shared::platform::metrics;
use sqlx::PgPool;

use crate::Settings;

/// The merchant whose key `API_KEY` is.
const MERCHANT: &str = "default";

/// The pause between two looks at whether the keys' peppers are known.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Makes the key of `API_KEY`, unless it is there. The same again changes nothing.
pub(crate) async fn from_environment(pool: &PgPool, settings: &Settings) -> Result<()> {
    let unknown = keys::under_other_peppers(pool, &settings.peppers).await?;
    if unknown > 0 {
        tracing::error!(
            event = "pepper_differs",
            keys = unknown,
            "these keys were made under another API_KEY_PEPPER, and open nothing here"
        );
    }
    metrics::keys_of_other_pepper(unknown);
    let Some(key) = &settings.api_key else { return Ok(()) };
    match merchant::name(pool, MERCHANT).await {
        Ok(_) => {}
        Err(Unnamable::Database(why)) => return Err(why.into()),
        Err(why) => return Err(why).context("API_KEY is a key of the merchant \"default\""),
    }
    if merchant::find(pool, MERCHANT).await?.is_none() && merchant::may_be_forgotten(pool, MERCHANT).await? {
        bail!(
            "API_KEY: there is no merchant \"default\", and this database has forgotten payments: make it under its id with \
             payonce keys create --merchant default --merchant-id, or say --new there"
        );
    }
    let merchant =
        merchant::find_or_create(pool, MERCHANT).await.context("cannot make the merchant default")?;
    if keys::seed(pool, merchant.id, key).await.context("cannot make the key of API_KEY")? == Seeded::Ended {
        tracing::warn!(event = "seed_ended", "the key of API_KEY was revoked, and stays so: set another one");
    }
    Ok(())
}

/// Shows how many keys open nothing for want of their pepper, without end: people exchange the pepper and
/// rotate keys while an API runs.
pub(crate) async fn watch_peppers(pool: &PgPool, peppers: &Peppers) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match keys::under_other_peppers(pool, peppers).await {
            Ok(unknown) => metrics::keys_of_other_pepper(unknown),
            Err(why) => tracing::debug!(%why, "the keys of other peppers are counted later"),
        }
    }
}

//! What an API makes sure of when it starts: the key that its environment brings, and that it has the pepper
//! of the keys that there are.

use anyhow::{Context as _, Result, bail};
use shared::merchant::keys::{self, Seeded};
use shared::merchant::{self, Unnamable};
use sqlx::PgPool;

use crate::Settings;

/// The merchant whose key `API_KEY` is.
const MERCHANT: &str = "default";

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

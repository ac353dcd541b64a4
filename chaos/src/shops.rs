//! The merchants of a run, and their API keys.

use std::path::Path;

use anyhow::{Context as _, Result};
use domain::ids::MerchantId;
use shared::merchant::pepper::Peppers;
use shared::merchant::{self, keys};
use sqlx::PgPool;

use super::past;
use super::plan::Scenario;
use super::process::Process;
use super::second;

/// The pepper of all programs of a run.
pub(super) const PEPPER: &str = "nobody-looks-at-this-pepper-0123456";

/// Makes the merchants, the last of them at the second gateway. Where an older program made the tables, it
/// makes them there. Answers their ids and the API key of each.
pub(super) async fn open(
    pool: &PgPool,
    scenario: Scenario,
    second: Option<&Process>,
    old: Option<(&Path, String)>,
) -> Result<(Vec<MerchantId>, Vec<String>)> {
    let (mut merchants, mut secrets) = (Vec::new(), Vec::new());
    for shop in 1..=scenario.shops() - usize::from(second.is_some()) {
        let name = format!("chaos {shop}");
        let (merchant, secret) = match &old {
            Some((program, database)) => made_by(program, database, &name).await?,
            None => {
                let merchant = merchant::find_or_create(pool, &name).await?.id;
                (merchant, new_key(pool, merchant).await?)
            }
        };
        merchants.push(merchant);
        secrets.push(secret);
    }
    if let Some(second) = second {
        let (merchant, secret) = second::open_shop(pool, second.address()).await?;
        merchants.push(merchant);
        secrets.push(secret);
    }
    Ok((merchants, secrets))
}

/// Makes a key of that merchant, and answers its secret.
pub(super) async fn new_key(pool: &PgPool, merchant: MerchantId) -> Result<String> {
    Ok(keys::create_for(pool, &Peppers::read(PEPPER)?, merchant, "payonce chaos").await?.secret)
}

/// A merchant and a key, made by another payonce.
async fn made_by(program: &Path, database: &str, name: &str) -> Result<(MerchantId, String)> {
    let made = past::new_key_by(program, database, name).await?;
    let text = |field: &str| made[field].as_str().with_context(|| format!("no {field} in {made}"));
    Ok((text("merchant_id")?.parse()?, text("secret")?.to_owned()))
}

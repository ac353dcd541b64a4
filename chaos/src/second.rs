//! A second gateway beside the first: its name, the file that names both, and the merchant that it charges
//! for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::ids::{GatewayName, MerchantId};
use shared::gateway::Gateway;
use shared::gateway::books::Bounds;
use shared::merchant;
use shared::operations::installation::newcomer;
use sqlx::PgPool;

use super::shops;

/// The name of the second gateway.
pub(super) const SECOND: &str = "second";

/// How long an answer may take while the gateway is taken up.
const PATIENCE: Duration = Duration::from_secs(60);
const JOURNAL: Bounds = Bounds { pages: 10, time: PATIENCE };

/// Writes the file that names both gateways, for the workers.
pub(super) fn name_both(directory: &Path, first: &str, second: &str) -> Result<PathBuf> {
    let path = directory.join("gateways.toml");
    let text = format!("[default]\nurl = \"{first}\"\n\n[{SECOND}]\nurl = \"{second}\"\n");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Makes the gateway one of the installation's, and a merchant that it charges for. Answers the merchant's id
/// and API key.
pub(super) async fn open_shop(pool: &PgPool, url: &str) -> Result<(MerchantId, String)> {
    let name: GatewayName = SECOND.parse()?;
    let gateway = Gateway::new(name.clone(), url, None, PATIENCE)?;
    newcomer::take_up(pool, &gateway, JOURNAL).await?;
    let merchant = merchant::find_or_create_at(pool, "chaos elsewhere", &name).await?;
    Ok((merchant.id, shops::new_key(pool, merchant.id).await?))
}

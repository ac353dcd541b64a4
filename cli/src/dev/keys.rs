//! The keys of `payonce dev`: made once, the same at every start, so that a pasted command keeps working.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use domain::ids::MerchantId;
use postgres::data_dir::write_private;
use serde::{Deserialize, Serialize};
use shared::merchant;
use shared::merchant::auth::{self, Holder, Presented};
use shared::merchant::keys;
use shared::merchant::pepper::{self, Peppers};
use shared::merchant::scope::Scope;
use shared::publish::seal::SealingKeys;
use sqlx::PgPool;

const FILE: &str = "keys.json";
const MERCHANT: &str = "dev";

/// The contents of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct DevKeys {
    pub(super) api_key: String,
    pub(super) admin_key: String,
    /// The pepper; empty in a file of before.
    #[serde(default)]
    pub(super) pepper: String,
}

impl DevKeys {
    /// The keys of an earlier start, if this database knows them. Otherwise new ones. The pepper is that of
    /// the environment, which is not kept, or else the one that stands beside them.
    pub(super) async fn load_or_create(data_dir: &Path, pool: &PgPool) -> Result<Self> {
        let path = data_dir.join(FILE);
        let saved = read(&path)?;
        let merchant =
            merchant::find_or_create(pool, MERCHANT).await.context("cannot make the merchant dev")?;
        let own = saved.as_ref().map(|saved| saved.pepper.clone()).filter(|pepper| !pepper.is_empty());
        let own = own.unwrap_or_else(|| hex::encode(rand::random::<[u8; 32]>()));
        let pepper = pepper::given()?.unwrap_or_else(|| own.clone());
        let peppers = Peppers::read(&pepper).context(pepper::VARIABLE)?;
        let known = match saved {
            Some(keys) if opens(pool, &peppers, &keys.api_key, merchant.id).await? => {
                Some((keys.api_key, keys.admin_key))
            }
            _ => None,
        };
        let (api_key, admin_key) = match known {
            Some(known) => known,
            None => {
                let made = keys::create_for(pool, &peppers, merchant.id, "payonce dev").await;
                let admin_key = format!("payonce_admin_{}", hex::encode(rand::random::<[u8; 32]>()));
                (made.context("cannot make a key")?.secret, admin_key)
            }
        };
        let kept = Self { api_key, admin_key, pepper: own };
        write_private(&path, &serde_json::to_string(&kept)?)?;
        Ok(Self { pepper, ..kept })
    }

    /// What the secrets of webhook endpoints are sealed under, unless the environment says so. It follows
    /// from the pepper.
    pub(super) fn sealing(&self) -> Result<SealingKeys> {
        Ok(SealingKeys::read(&self.sealing_text())?)
    }

    /// The same, as programs read it.
    pub(super) fn sealing_text(&self) -> String {
        SealingKeys::following_from(&self.pepper)
    }

    /// The pepper, as programs read it.
    pub(super) fn peppers(&self) -> Result<Peppers> {
        Peppers::read(&self.pepper).context(pepper::VARIABLE)
    }
}

/// Whether the secret is a key of that merchant.
async fn opens(pool: &PgPool, peppers: &Peppers, secret: &str, merchant: MerchantId) -> Result<bool> {
    let Some(presented) = Presented::read(secret, peppers, Scope::PaymentsWrite) else { return Ok(false) };
    let found = auth::find_callers(pool, &[presented]).await?;
    let caller = found.iter().flatten().find_map(|holder: &Holder| holder.caller(Scope::PaymentsWrite));
    Ok(caller.is_some_and(|caller| caller.merchant == merchant))
}

/// The saved keys. None where the file is missing or holds no keys.
fn read(path: &Path) -> Result<Option<DevKeys>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("cannot read {}", path.display())),
    }
}

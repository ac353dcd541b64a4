//! The keys of `payonce dev`: made once, the same at every start, so that a pasted command keeps working.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use postgres::data_dir::write_private;
use serde::{Deserialize, Serialize};
use shared::merchant;
use shared::merchant::auth::{self, SecretHash};
use sqlx::PgPool;

const FILE: &str = "keys.json";
const MERCHANT: &str = "dev";

/// The contents of the file.
#[derive(Serialize, Deserialize)]
pub(super) struct DevKeys {
    pub(super) api_key: String,
    pub(super) admin_key: String,
}

impl DevKeys {
    /// The keys of an earlier start, if this database knows them. Otherwise new ones.
    pub(super) async fn load_or_create(data_dir: &Path, pool: &PgPool) -> Result<Self> {
        let path = data_dir.join(FILE);
        let saved = read(&path)?;
        let merchant =
            merchant::find_or_create(pool, MERCHANT).await.context("cannot make the merchant dev")?;
        if let Some(keys) = saved
            && auth::find_callers(pool, &[SecretHash::of(&keys.api_key)])
                .await?
                .iter()
                .flatten()
                .any(|caller| caller.merchant == merchant.id)
        {
            return Ok(keys);
        }
        let api_key =
            auth::create_key(pool, merchant.id, "payonce dev").await.context("cannot make a key")?;
        let admin_key = format!("payonce_admin_{}", hex::encode(rand::random::<[u8; 32]>()));
        let keys = Self { api_key: api_key.secret, admin_key };
        write_private(&path, &serde_json::to_string(&keys)?)?;
        Ok(keys)
    }
}

/// The saved keys. None where the file is missing or holds no keys.
fn read(path: &Path) -> Result<Option<DevKeys>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("cannot read {}", path.display())),
    }
}

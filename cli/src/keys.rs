//! `payonce keys`: who may use the API.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use domain::ids::{GatewayName, KeyId, MerchantId};
use serde_json::json;
use shared::gateway::books::Bounds;
use shared::gateway::{names, settings};
use shared::merchant::auth::{self, KeySummary};
use shared::merchant::{self, Unnamable};
use shared::operations::installation::newcomer;
use shared::platform::text;
use sqlx::PgPool;
use terminal::{output, progress};

use crate::migrate::connect;

mod limit;

use limit::Given;

/// How far the journal of a new gateway is read.
const JOURNAL: Bounds = Bounds { pages: usize::MAX, time: Duration::from_hours(1) };

/// Make, list, limit and revoke API keys. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key for a merchant, and the merchant if there is none of that name
    ///
    /// The secret is shown once: only its hash is kept.
    #[command(after_help = "\
Example:
  payonce keys create --merchant acme --name checkout
  GATEWAYS=gateways.toml payonce keys create --merchant acme --gateway acme_eu
  payonce keys create --merchant acme --merchant-id mer_01920f2d6a0b7c3e8f5a4b2c1d0e9f88   # forgotten by a backup

Exit codes: 0 made, 1 failed, 2 called wrongly.")]
    Create {
        /// The merchant's name: 1 to 255 characters, with no blank at either end
        ///
        /// A name that differs from a merchant's only in case or blanks is refused.
        #[arg(long)]
        merchant: String,
        /// Make the merchant under this id, as it had before a restored database forgot it
        #[arg(long, value_name = "ID")]
        merchant_id: Option<MerchantId>,
        /// The merchant is new, and none that a restored database forgot
        #[arg(long = "new", conflicts_with = "merchant_id")]
        is_new: bool,
        /// Where a new merchant's payments are charged, for life: a name of the file in `GATEWAYS`; without
        /// it `default`
        ///
        /// The first merchant of a gateway makes it one of this installation's. Its journal is read for that,
        /// and older programs change nothing any more. Needs `GATEWAYS` then.
        #[arg(long, value_name = "NAME")]
        gateway: Option<GatewayName>,
        /// A name for the key
        #[arg(long, default_value = "default")]
        name: String,
        /// Print one line of JSON: {"id",…,"secret"}
        #[arg(long)]
        json: bool,
    },
    /// List all keys, revoked ones included
    #[command(after_help = "\
Example:
  payonce keys list

Exit codes: 0 listed, 1 failed, 2 called wrongly.")]
    List {
        /// Print one line of JSON: an array of the keys
        #[arg(long)]
        json: bool,
    },
    /// Limit how many requests a key may make
    ///
    /// All api processes together let through so many. What is not said stays. They hold within seconds.
    #[command(after_help = "\
Example:
  payonce keys limit key_01920f2d6a0b7c3e8f5a4b2c1d0e9f88 --writes 50 --reads 200
  payonce keys limit key_01920f2d6a0b7c3e8f5a4b2c1d0e9f88 --writes default

Exit codes: 0 limited; 1 no such key, or failed; 2 called wrongly.")]
    Limit {
        /// The key's id, as `payonce keys list` shows it
        id: KeyId,
        /// Requests in a second that may change something, or `default` for that of the settings
        #[arg(long, value_name = "PER_S", required_unless_present = "reads")]
        writes: Option<Given>,
        /// As many of these at once after a pause; without it one second's worth
        #[arg(long, value_name = "NUMBER", requires = "writes")]
        writes_burst: Option<NonZeroU32>,
        /// Requests in a second that only read, or `default` for that of the settings
        #[arg(long, value_name = "PER_S")]
        reads: Option<Given>,
        /// As many of these at once after a pause; without it one second's worth
        #[arg(long, value_name = "NUMBER", requires = "reads")]
        reads_burst: Option<NonZeroU32>,
        /// Print one line of JSON: {"id","limited":true}
        #[arg(long)]
        json: bool,
    },
    /// End a key; clients that use it are refused from now on
    #[command(after_help = "\
Example:
  payonce keys revoke key_01920f2d6a0b7c3e8f5a4b2c1d0e9f88

Exit codes: 0 revoked, also before; 1 no such key, or failed; 2 called wrongly.")]
    Revoke {
        /// The key's id, as `payonce keys list` shows it
        id: KeyId,
        /// Print one line of JSON: {"id","revoked":true}
        #[arg(long)]
        json: bool,
    },
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Create { merchant, merchant_id, is_new, gateway, name, json } => {
            let which = merchant_id.map_or(Which::Called { is_new }, Which::Under);
            create((&merchant, which, gateway), &name, json).await?;
        }
        Command::List { json } => list(json).await?,
        Command::Limit { id, writes, writes_burst, reads, reads_burst, json } => {
            limit::set(id, (writes, writes_burst), (reads, reads_burst), json).await?;
        }
        Command::Revoke { id, json } => revoke(id, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Which merchant of a name is meant.
enum Which {
    /// The merchant of that name, made if there is none. No merchant may be forgotten then, unless this one
    /// is surely new.
    Called { is_new: bool },
    /// The merchant that has or had this id.
    Under(MerchantId),
}

async fn create(
    (merchant, which, gateway): (&str, Which, Option<GatewayName>),
    name: &str,
    json: bool,
) -> Result<()> {
    let name = &text::name(name).map_err(|why| anyhow!("the key's name {name:?} cannot be used: {why}"))?;
    let pool = connect().await?;
    let merchant = &match merchant::name(&pool, merchant).await {
        Ok(merchant) => merchant,
        Err(Unnamable::Database(why)) => {
            return Err(why).context("cannot look for the merchant; is the database migrated?");
        }
        Err(why) => return Err(why.into()),
    };
    if let Some(gateway) = &gateway {
        take_up(&pool, gateway).await?;
    }
    let cannot = || format!("cannot make the merchant {merchant:?}; is the database migrated?");
    let asked = gateway.clone().unwrap_or_default();
    let merchant = match which {
        Which::Called { is_new } => {
            if !is_new && merchant::may_be_forgotten(&pool, merchant).await.with_context(cannot)? {
                bail!(
                    "there is no merchant {merchant:?}, and this database has forgotten payments (payonce orphans list): if the \
                     merchant is forgotten too, say its id (--merchant-id), since under a new one a repeated request is charged \
                     once more; if it is surely new, say --new"
                );
            }
            merchant::find_or_create_at(&pool, merchant, &asked).await.with_context(cannot)?
        }
        Which::Under(id) => merchant::find_or_create_as(&pool, id, merchant, &asked)
            .await
            .with_context(cannot)?
            .with_context(|| {
                format!(
                    "the name {merchant:?} or the id {id} is another merchant's: payonce keys list shows them"
                )
            })?,
    };
    if let Some(gateway) = gateway.filter(|it| *it != merchant.gateway) {
        let (name, has) = (&merchant.name, &merchant.gateway);
        bail!("the merchant {name:?} is at the gateway {has} for life: for {gateway} make another merchant");
    }
    let key = auth::create_key(&pool, merchant.id, name).await.context("cannot make the key")?;
    if json {
        let made = json!({
            "id": key.id,
            "merchant": merchant.name,
            "merchant_id": merchant.id,
            "gateway": merchant.gateway,
            "name": name,
            "secret": key.secret,
        });
        return output::json(&made);
    }
    let (of, at) = (merchant.id, &merchant.gateway);
    output::line(&format!("merchant  {of}\ngateway   {at}\nkey       {}\nsecret    {}", key.id, key.secret))?;
    output::line("keep the secret now: it is not shown again")
}

/// Makes a gateway one of this installation's, unless it is so already.
async fn take_up(pool: &PgPool, name: &GatewayName) -> Result<()> {
    if names::all(pool).await.context("is the database migrated?")?.contains(name) {
        return Ok(());
    }
    let settings = settings::from_env_if_any()?;
    let gateways = settings::gateways(&settings)?;
    let gateway = gateways.iter().find(|gateway| gateway.name() == name).with_context(|| {
        format!("GATEWAYS says nothing of the gateway {name}, which is none of this installation's yet")
    })?;
    let taken_up = newcomer::take_up(pool, gateway, JOURNAL);
    if progress::during("reading the gateway's journal", taken_up).await? {
        progress::say(&format!(
            "{name} is a gateway of this installation from now on, and programs that know only one change nothing any more"
        ));
    }
    Ok(())
}

async fn list(json: bool) -> Result<()> {
    let pool = connect().await?;
    let keys = auth::list_keys(&pool).await.context("cannot list the keys; is the database migrated?")?;
    if json {
        return output::json(&keys.iter().map(as_json).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = keys.iter().map(as_row).collect();
    output::table(
        &["ID", "MERCHANT", "ITS ID", "NAME", "SECRET", "WRITES", "READS", "MADE", "REVOKED"],
        &rows,
    )
}

async fn revoke(id: KeyId, json: bool) -> Result<()> {
    let pool = connect().await?;
    if !auth::revoke_key(&pool, id).await.context("cannot revoke the key")? {
        bail!("there is no key {id}; payonce keys list shows those there are");
    }
    if json {
        return output::json(&json!({ "id": id, "revoked": true }));
    }
    output::line(&format!("revoked {id}"))
}

fn as_json(key: &KeySummary) -> serde_json::Value {
    json!({
        "id": key.id,
        "merchant": key.merchant_name,
        "merchant_id": key.merchant_id,
        "name": key.name,
        "prefix": key.prefix,
        "writes": limit::as_json(key.writes),
        "reads": limit::as_json(key.reads),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    })
}

fn as_row(key: &KeySummary) -> Vec<String> {
    let minute = "%Y-%m-%d %H:%M";
    vec![
        key.id.to_string(),
        key.merchant_name.clone(),
        key.merchant_id.to_string(),
        key.name.clone(),
        format!("{}…", key.prefix),
        limit::in_words(key.writes),
        limit::in_words(key.reads),
        key.created_at.format(minute).to_string(),
        key.revoked_at.map_or_else(|| "-".to_owned(), |at| at.format(minute).to_string()),
    ]
}

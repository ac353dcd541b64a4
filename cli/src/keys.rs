//! `payonce keys`: who may use the API.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use domain::ids::{GatewayName, KeyId, MerchantId};
use serde_json::json;
use shared::gateway::books::Bounds;
use shared::gateway::{names, settings};
use shared::merchant::auth::Owner;
use shared::merchant::keys::{self, Rotated, Wanted};
use shared::merchant::pepper::Peppers;
use shared::merchant::scope::Scope;
use shared::merchant::{self, Merchant, Unnamable};
use shared::operations::installation::newcomer;
use shared::platform::{config, text};
use sqlx::PgPool;
use terminal::{output, progress};

use crate::migrate::connect;

mod limit;
mod show;

use limit::Given;

/// How far the journal of a new gateway is read.
const JOURNAL: Bounds = Bounds { pages: usize::MAX, time: Duration::from_hours(1) };

/// Make, list, limit, rotate and revoke API keys. Needs `DATABASE_URL`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key for a merchant, and the merchant if there is none of that name; or a key for an operator
    ///
    /// The secret is shown once: only its hash is kept, under the pepper of `API_KEY_PEPPER`.
    #[command(after_help = "\
Example:
  payonce keys create --merchant acme --name checkout
  payonce keys create --merchant acme --name reports --scopes payments:read --expires-in 90d
  payonce keys create --operator ada
  GATEWAYS=gateways.toml payonce keys create --merchant acme --gateway acme_eu
  payonce keys create --merchant acme --merchant-id mer_01920f2d6a0b7c3e8f5a4b2c1d0e9f88   # forgotten by a backup

Environment: API_KEY_PEPPER, or API_KEY_PEPPER_FILE, as the APIs have it.

Exit codes: 0 made, 1 failed, 2 called wrongly.")]
    Create(Box<Create>),
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
    /// Give a key another secret; the one that it has opens as much for a while, and then ends by itself
    #[command(after_help = "\
Example:
  payonce keys rotate key_01920f2d6a0b7c3e8f5a4b2c1d0e9f88 --overlap 24h
  payonce keys rotate key_01920f2d6a0b7c3e8f5a4b2c1d0e9f88 --overlap 0s   # the secret got into wrong hands

Environment: API_KEY_PEPPER, or API_KEY_PEPPER_FILE, as the APIs have it.

Exit codes: 0 rotated; 1 no such key, or it cannot be rotated, or failed; 2 called wrongly.")]
    Rotate {
        /// The key's id, as `payonce keys list` shows it
        id: KeyId,
        /// How long both secrets open: 0s to 365d
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
        overlap: Duration,
        /// Print one line of JSON: {"id","secret",…}
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

/// A key that is to be made.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The merchant's name: 1 to 255 characters, with no blank at either end
    ///
    /// A name that differs from a merchant's only in case or blanks is refused.
    #[arg(long, required_unless_present = "operator")]
    merchant: Option<String>,
    /// The name of the person whose key it is: 1 to 64 of a-z, 0-9, dot, dash and underscore
    ///
    /// What they do is recorded under that name.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["merchant", "merchant_id", "is_new", "gateway"])]
    operator: Option<String>,
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
    /// What it opens, with commas between: of `payments:write`, `payments:read` for a merchant, `ops` (look),
    /// `admin` (decide) for an operator; without it both
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// How long it opens anything, as `90d`: up to 365d; without it there is no end
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    expires_in: Option<Duration>,
    /// Print one line of JSON: {"id",…,"secret"}
    #[arg(long)]
    json: bool,
}

/// Reads `30m`, `24h` or `90d`, up to a year.
fn span(text: &str) -> Result<Duration, String> {
    let wants = || "give a whole number and s, m, h or d, as 24h, up to 365d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wants)?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wants()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wants())?;
    let span = number.checked_mul(secs).map(Duration::from_secs).ok_or_else(wants)?;
    config::no_longer_than_a_year(span).map_err(|_| wants())
}

fn some_time(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    if span.is_zero() {
        Err("a key that opens nothing is of no use: give at least 1s".to_owned())
    } else {
        Ok(span)
    }
}

pub(crate) async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Create(wanted) => create(*wanted).await?,
        Command::List { json } => list(json).await?,
        Command::Limit { id, writes, writes_burst, reads, reads_burst, json } => {
            limit::set(id, (writes, writes_burst), (reads, reads_burst), json).await?;
        }
        Command::Rotate { id, overlap, json } => rotate(id, overlap, json).await?,
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

async fn create(wanted: Create) -> Result<()> {
    let name = &text::name(&wanted.name)
        .map_err(|why| anyhow!("the key's name {:?} cannot be used: {why}", wanted.name))?;
    let allowed = if wanted.operator.is_some() { Scope::OF_OPERATORS } else { Scope::OF_MERCHANTS };
    if let Some(other) = wanted.scopes.iter().find(|scope| !allowed.contains(scope)) {
        let allowed: Vec<&str> = allowed.iter().map(|scope| scope.as_str()).collect();
        bail!("the scope {other} is none of such a key: --scopes takes {}", allowed.join(", "));
    }
    let scopes = if wanted.scopes.is_empty() { allowed } else { &wanted.scopes };
    let peppers = Peppers::from_env()?;
    let pool = connect().await?;
    let (owner, of) = match (&wanted.operator, &wanted.merchant) {
        (Some(operator), _) => {
            let operator = text::operator(operator).map_err(|why| anyhow!("--operator: {why}"))?;
            (Owner::Operator(operator.to_owned()), json!({ "operator": operator }))
        }
        (None, merchant) => {
            let which = wanted.merchant_id.map_or(Which::Called { is_new: wanted.is_new }, Which::Under);
            let merchant = merchant.as_deref().unwrap_or_default();
            let merchant = find_or_make(&pool, merchant, which, wanted.gateway.as_ref()).await?;
            let of = json!({
                "merchant": merchant.name, "merchant_id": merchant.id, "gateway": merchant.gateway,
            });
            (Owner::Merchant(merchant.id), of)
        }
    };
    let key = Wanted { owner, name, scopes, expires_in: wanted.expires_in };
    let key = keys::create(&pool, &peppers, &key).await.context("cannot make the key")?;
    show::made(&key, of, name, scopes, wanted.json)
}

/// The merchant that is meant, made at this gateway if there is none.
async fn find_or_make(
    pool: &PgPool,
    given: &str,
    which: Which,
    gateway: Option<&GatewayName>,
) -> Result<Merchant> {
    let name = &merchant_name(pool, given).await?;
    if let Some(gateway) = gateway {
        take_up(pool, gateway).await?;
    }
    let cannot = || format!("cannot make the merchant {name:?}; is the database migrated?");
    let asked = gateway.cloned().unwrap_or_default();
    let merchant = match which {
        Which::Called { is_new } => {
            if !is_new && merchant::may_be_forgotten(pool, name).await.with_context(cannot)? {
                bail!(
                    "there is no merchant {name:?}, and this database has forgotten payments (payonce orphans list): if the \
                     merchant is forgotten too, say its id (--merchant-id), since under a new one a repeated request is charged \
                     once more; if it is surely new, say --new"
                );
            }
            match merchant::find_or_create_at(pool, name, &asked).await {
                // Somebody made one at this moment that is alike: looking again says which.
                Err(sqlx::Error::RowNotFound) => {
                    bail!("{}", merchant_name(pool, given).await.err().with_context(cannot)?)
                }
                made => made.with_context(cannot)?,
            }
        }
        Which::Under(id) => merchant::find_or_create_as(pool, id, name, &asked)
            .await
            .with_context(cannot)?
            .with_context(|| {
            format!("the name {name:?} or the id {id} is another merchant's: payonce keys list shows them")
        })?,
    };
    if let Some(gateway) = gateway.filter(|it| **it != merchant.gateway) {
        let (name, has) = (&merchant.name, &merchant.gateway);
        bail!("the merchant {name:?} is at the gateway {has} for life: for {gateway} make another merchant");
    }
    Ok(merchant)
}

async fn merchant_name(pool: &PgPool, given: &str) -> Result<String> {
    match merchant::name(pool, given).await {
        Ok(name) => Ok(name),
        Err(Unnamable::Database(why)) => {
            Err(why).context("cannot look for the merchant; is the database migrated?")
        }
        Err(why) => Err(why.into()),
    }
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
    let all = keys::list(&pool).await.context("cannot list the keys; is the database migrated?")?;
    if json {
        return output::json(&all.iter().map(show::as_json).collect::<Vec<_>>());
    }
    show::table(&all)
}

async fn rotate(id: KeyId, overlap: Duration, json: bool) -> Result<()> {
    let peppers = Peppers::from_env()?;
    let pool = connect().await?;
    match keys::rotate(&pool, &peppers, id, overlap).await.context("cannot rotate the key")? {
        Rotated::Done(key, prior_until) if json => {
            output::json(&json!({ "id": id, "secret": key.secret, "prior_until": prior_until }))
        }
        Rotated::Done(key, prior_until) => {
            output::line(&format!("key       {id}\nsecret    {}", key.secret))?;
            let until = prior_until.format("%Y-%m-%d %H:%M:%S");
            output::line(&format!(
                "keep the secret now: it is not shown again; the one before opens until {until} UTC"
            ))
        }
        Rotated::NoSuchKey => bail!("there is no key {id}; payonce keys list shows those there are"),
        Rotated::Ended => {
            bail!("the key {id} was revoked or has expired: make another one with payonce keys create")
        }
        Rotated::TwoAlready(until) => bail!(
            "the key {id} has two secrets until {until}, and the older one would end at once: rotate it after that, or say \
             --overlap 0s, which ends both"
        ),
        Rotated::OfEnvironment => bail!(
            "the key {id} is that of API_KEY: set another value there, let clients use it, then payonce keys revoke {id}"
        ),
        Rotated::OfJwts => bail!(
            "the key {id} is what JWTs of its merchant open, and has no secret: payonce keys revoke {id} ends it, and \
             payonce keys create makes one that has a secret"
        ),
    }
}

async fn revoke(id: KeyId, json: bool) -> Result<()> {
    let pool = connect().await?;
    if !keys::revoke(&pool, id).await.context("cannot revoke the key")? {
        bail!("there is no key {id}; payonce keys list shows those there are");
    }
    if json {
        return output::json(&json!({ "id": id, "revoked": true }));
    }
    output::line(&format!("revoked {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        for (text, secs) in [("0s", 0), ("90s", 90), ("5m", 300), ("24h", 86_400), ("365d", 31_536_000)] {
            assert_eq!(span(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for text in
            ["", "24", "h", "-1h", "1.5h", "24 h", "24hh", "366d", "1y", "99999999999999999999d", "5é"]
        {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(some_time("0s").is_err() && some_time("1s").is_ok());
    }
}

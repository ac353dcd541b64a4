//! The two databases of `payonce dev`: Payonce's and the simulated gateway's, on a private server or on one
//! that the environment names.

use std::future;
use std::path::Path;

use anyhow::{Context, Error, Result};
use postgres::data_dir::DataDir;
use postgres::{Options, RoleUrls, Server};
use reqwest::Url;
use shared::platform::config;
use sqlx::migrate::MigrateDatabase;
use terminal::{dsn, progress};

const NAME: &str = "payonce";

/// The databases, and the server under them if it is ours.
pub(super) struct Databases {
    pub(super) urls: RoleUrls,
    pub(super) gateway_url: String,
    home: Home,
}

enum Home {
    Private(Box<Server>),
    /// The environment names the server. The directory holds just the keys.
    Foreign {
        directory: DataDir,
        kept: bool,
    },
}

impl Databases {
    pub(super) async fn open(data_dir: &Path, fresh: bool) -> Result<Self> {
        match config::optional("DATABASE_URL") {
            Some(url) => Self::foreign(url, data_dir, fresh).await,
            None => Self::private(data_dir, fresh).await,
        }
    }

    async fn private(data_dir: &Path, fresh: bool) -> Result<Self> {
        let mut options = Options::new(data_dir);
        options.fresh = fresh;
        let server = Box::pin(Server::start(options)).await?;
        let gateway = format!("{NAME}_gateway");
        for database in [NAME, &gateway] {
            server.create_database(database).await?;
        }
        let urls = server.make_roles(NAME).await?;
        let gateway_url = server.url(&gateway);
        Ok(Self { urls, gateway_url, home: Home::Private(Box::new(server)) })
    }

    async fn foreign(url: String, data_dir: &Path, fresh: bool) -> Result<Self> {
        let url = dsn::checked(&url).map_err(Error::msg).context("DATABASE_URL cannot be used")?;
        let gateway_url = match config::optional("GATEWAY_DATABASE_URL") {
            Some(gateway_url) => gateway_url,
            None => create_beside(&url).await?,
        };
        let directory = DataDir::open(data_dir)?;
        if fresh {
            directory.clear()?;
        }
        // One URL for all: the operator of that server decides which roles there are.
        let urls = RoleUrls { owner: url.clone(), app: url.clone(), reader: url };
        Ok(Self { urls, gateway_url, home: Home::Foreign { directory, kept: fresh } })
    }

    pub(super) fn data_dir(&self) -> &Path {
        match &self.home {
            Home::Private(server) => server.data_dir(),
            Home::Foreign { directory, .. } => directory.path(),
        }
    }

    pub(super) fn postgres_pid(&self) -> Option<u32> {
        match &self.home {
            Home::Private(server) => Some(server.pid()),
            Home::Foreign { .. } => None,
        }
    }

    /// A note for the person who started it, where something is not as expected.
    pub(super) fn note(&self) -> Option<String> {
        match &self.home {
            Home::Private(server) => match server.moved_from() {
                Some(wanted) => Some(format!(
                    "{} cannot be reached by the user that runs the database; using {}",
                    wanted.display(),
                    server.data_dir().display()
                )),
                None => server
                    .is_adopted()
                    .then(|| format!("using the PostgreSQL that an earlier run left (pid {})", server.pid())),
            },
            Home::Foreign { kept, .. } => {
                kept.then(|| "--fresh leaves the database named by DATABASE_URL as it is".to_owned())
            }
        }
    }

    /// Waits until the private server has ended without having been told to. Without a private server it
    /// never returns.
    pub(super) async fn ended(&mut self) -> Result<String> {
        match &mut self.home {
            Home::Private(server) => server.ended().await,
            Home::Foreign { .. } => future::pending().await,
        }
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
        match &mut self.home {
            Home::Private(server) => Box::pin(server.restart()).await,
            Home::Foreign { .. } => Ok(()),
        }
    }

    pub(super) async fn stop(self) -> Result<()> {
        match self.home {
            Home::Private(server) => server.stop().await,
            Home::Foreign { .. } => Ok(()),
        }
    }
}

/// Makes the gateway's database beside Payonce's, on the same server, with a name made of its name.
async fn create_beside(url: &str) -> Result<String> {
    let gateway_url = sibling(url)?;
    let create = async {
        if !sqlx::Postgres::database_exists(&gateway_url).await? {
            sqlx::Postgres::create_database(&gateway_url).await?;
        }
        Ok::<_, sqlx::Error>(())
    };
    progress::during("creating the gateway's database", create).await.context(
        "cannot create the gateway's database beside DATABASE_URL; name one with GATEWAY_DATABASE_URL",
    )?;
    Ok(gateway_url)
}

/// The same URL for the database `<name>_gateway`.
fn sibling(url: &str) -> Result<String> {
    let mut url =
        Url::parse(url).context("DATABASE_URL is no URL; for example postgres://user@localhost/payonce")?;
    let name = match url.path().trim_matches('/') {
        "" => url.username().to_owned(),
        name => name.to_owned(),
    };
    url.set_path(&format!("/{name}_gateway"));
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::sibling;

    #[test]
    fn the_gateways_database_is_named_after_ours() {
        let named = sibling("postgres://me:secret@db.local:5433/shop?sslmode=disable").unwrap();
        let unnamed = sibling("postgres://me@localhost").unwrap();

        assert_eq!(named, "postgres://me:secret@db.local:5433/shop_gateway?sslmode=disable");
        assert_eq!(unnamed, "postgres://me@localhost/me_gateway");
    }
}

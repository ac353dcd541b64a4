//! Finds the installed programs of the Postgres server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use shared::database::{NEWEST_SERVER, OLDEST_SERVER};

/// The directory of `postgres` and `initdb`.
#[derive(Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Looks in `PG_BIN`, then where `pg_config` says, then where distributions and Homebrew put them,
    /// newest first.
    pub(crate) fn find() -> Result<Self> {
        if let Some(named) = shared::platform::config::optional("PG_BIN") {
            return Self::in_directory(named.into());
        }
        let found = from_pg_config("--bindir", Path::new("pg_config"))
            .into_iter()
            .chain(newest_first("/usr/lib/postgresql", "", "bin"))
            .chain(newest_first("/opt/homebrew/opt", "postgresql@", "bin"))
            .chain(newest_first("/usr/local/opt", "postgresql@", "bin"))
            .chain(newest_first("/usr", "pgsql-", "bin"))
            .find(|directory| is_server(directory));
        let Some(directory) = found else {
            bail!("no PostgreSQL server found; {}, or set PG_BIN to the directory of its programs", remedy());
        };
        Self { directory }.supported()
    }

    /// The programs in that directory, as `PG_BIN` names one.
    pub(crate) fn in_directory(directory: PathBuf) -> Result<Self> {
        if !is_server(&directory) {
            bail!("{} holds no postgres and initdb (PG_BIN)", directory.display());
        }
        Self { directory }.supported()
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.program("postgres")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.program("initdb")
    }

    /// The path of any other program of the server.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Refuses programs that are too old for the migrations. Programs that do not say their version show it
    /// by failing.
    fn supported(self) -> Result<Self> {
        let output = Command::new(self.postgres()).arg("--version").output().ok();
        let says = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
        if let Some(version) = major_version(&says)
            && version < OLDEST_SERVER
        {
            bail!(
                "the PostgreSQL server in {} is version {version}, and Payonce needs {OLDEST_SERVER} to {NEWEST_SERVER}; {}, or set \
                 PG_BIN to the directory of another one's programs",
                self.directory.display(),
                remedy()
            );
        }
        self.with_hstore()
    }

    /// Refuses a server without the extension `hstore`, which the queue's tables need and some systems
    /// package apart. Where its place is not known, the migration fails later.
    fn with_hstore(self) -> Result<Self> {
        let Some(extensions) = self.extensions() else { return Ok(self) };
        if extensions.join("hstore.control").is_file() {
            return Ok(self);
        }
        bail!(
            "the PostgreSQL server in {} lacks the extension hstore; {}",
            self.directory.display(),
            remedy()
        )
    }

    fn extensions(&self) -> Option<PathBuf> {
        let version = self.directory.parent()?.file_name()?;
        from_pg_config("--sharedir", &self.directory.join("pg_config"))
            .into_iter()
            .chain([
                Path::new("/usr/share/postgresql").join(version),
                self.directory.join("../share/postgresql"),
                self.directory.join("../share"),
            ])
            .map(|share| share.join("extension"))
            .find(|directory| directory.is_dir())
    }
}

/// The major version in the output of `postgres --version`:
/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, or `18beta1`.
fn major_version(says: &str) -> Option<i32> {
    let (_, version) = says.split_once("(PostgreSQL) ")?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

fn is_server(directory: &Path) -> bool {
    directory.join("postgres").is_file() && directory.join("initdb").is_file()
}

fn from_pg_config(option: &str, program: &Path) -> Option<PathBuf> {
    let output = Command::new(program).arg(option).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// The path `<root>/<prefix><version>/<leaf>` of every version found, newest first.
fn newest_first(root: &str, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(leaf)))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The command that installs a server here.
fn remedy() -> &'static str {
    let has = |program: &str| Path::new(program).exists();
    if cfg!(target_os = "macos") {
        "install one with `brew install postgresql@17`"
    } else if has("/usr/bin/apt-get") {
        "install one with `sudo apt-get install postgresql postgresql-contrib`"
    } else if has("/usr/bin/dnf") {
        "install one with `sudo dnf install postgresql-server postgresql-contrib`"
    } else if has("/sbin/apk") {
        "install one with `sudo apk add postgresql postgresql-contrib`"
    } else {
        "install the PostgreSQL server and its contrib extensions"
    }
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn a_server_says_its_version_in_several_ways() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 14.20"), Some(14));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("something else"), None);
    }
}

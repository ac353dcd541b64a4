//! One start of a private server: from the command line to the first connection.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::binaries::Binaries;
use super::cluster::Cluster;
use super::owner::Owner;
use super::postmaster::{PidFile, Postmaster};
use super::{LOOK_EVERY, MAINTENANCE, Options, START_DEADLINE, connect};

const SETTINGS: [(&str, &str); 5] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("shared_buffers", "128MB"),
    ("log_line_prefix", "%m [%p] %q%a "),
];

/// One start of the main process.
pub(super) struct Launch<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) binaries: &'a Binaries,
    pub(super) owner: &'a Owner,
    pub(super) password: &'a str,
    pub(super) options: &'a Options,
}

impl Launch<'_> {
    /// Starts it at `port` (0: any) and waits until it takes connections. Answers the process and its port.
    pub(super) async fn run(&self, port: u16) -> Result<(Postmaster, u16)> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(stale) = PidFile::read(&self.cluster.path) {
                stale.remove_if_misleading(&self.cluster.path)?;
            }
            let at = if port == 0 { free_port()? } else { port };
            let log_before = self.cluster.log.metadata().map_or(0, |log| log.len());
            let mut postmaster = self.spawn(at)?;
            let ended = loop {
                if connect(at, self.password, MAINTENANCE).await.is_ok() {
                    return Ok((postmaster, at));
                }
                if let Some(how) = postmaster.ended()? {
                    break how;
                }
                if Instant::now() > deadline {
                    postmaster.stop().await?;
                    break format!("no connection within {} s", START_DEADLINE.as_secs());
                }
                sleep(LOOK_EVERY).await;
            };
            let said = read_from(&self.cluster.log, log_before)?;
            // The free port was taken in between, or processes of a killed server have not ended yet.
            let passing =
                said.contains("shared memory block") || (port == 0 && said.contains("could not bind"));
            if !passing || Instant::now() > deadline {
                bail!(
                    "PostgreSQL did not start ({ended}); {} ends with:\n{}",
                    self.cluster.log.display(),
                    tail(&said)
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Starts the process in a group of its own. Ctrl-C in the terminal reaches only this program, so that
    /// the server is stopped last.
    fn spawn(&self, port: u16) -> Result<Postmaster> {
        let open = |path: &Path| -> std::io::Result<File> {
            OpenOptions::new().create(true).append(true).open(path)
        };
        let log =
            open(&self.cluster.log).with_context(|| format!("cannot open {}", self.cluster.log.display()))?;
        let mut command = self.owner.command(self.binaries.postgres());
        command.arg("-D").arg(&self.cluster.path).args(["-p", &port.to_string()]);
        let lifetime = self.options.lifetime.settings();
        let extra = self.options.extra_settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in SETTINGS.into_iter().chain(lifetime).chain(extra) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log)).process_group(0);
        let child = command.spawn().with_context(|| {
            format!("cannot run {} as user {}", self.binaries.postgres().display(), self.owner)
        })?;
        Ok(Postmaster::Child(child))
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn read_from(path: &Path, offset: u64) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

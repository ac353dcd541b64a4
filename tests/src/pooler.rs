//! A pooler, `PgBouncer`, between the programs and a server of the test's own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;

use nix::unistd::geteuid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::wait::wait_until;
use crate::{PrivateServer, guardian};

/// Where Debian and others put it, besides the directories in `PATH`.
const PLACES: [&str; 3] = ["/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];

/// A running pooler. When it is dropped, it is killed.
#[derive(Debug)]
pub struct Pooler {
    process: Child,
    /// The URL of the database, through the pooler.
    pub url: String,
}

impl Pooler {
    /// Starts a pooler before the server's database, with these further settings: `pool_mode`,
    /// `ignore_startup_parameters`, …
    pub async fn before(server: &PrivateServer, settings: &[(&str, &str)]) -> Self {
        let program = PLACES.into_iter().find(|place| Path::new(place).exists()).unwrap_or("pgbouncer");
        let port = {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
            free.local_addr().expect("it is bound").port()
        };
        let file = guardian::scratch().join(format!("pgbouncer-{port}.ini"));
        let (user, place) = server.user_and_place();
        let (host, server_port) = place.split_once(':').expect("host and port");
        let (name, password) = user.split_once(':').expect("user and password");
        let mut config = format!(
            "[databases]\npayonce = host={host} port={server_port} dbname=payonce user={name} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             default_pool_size = 100\nmax_client_conn = 200\n"
        );
        for (setting, value) in settings {
            config += &format!("{setting} = {value}\n");
        }
        fs::write(&file, config).expect("the scratch directory is writable");
        let mut command = Command::new(program);
        // The pooler refuses to run as root.
        if geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("pgbouncer is there: scripts/setup-tests installs it");
        guardian::watch(process.id());
        let pooler = Self { process, url: format!("postgres://postgres@127.0.0.1:{port}/payonce") };
        // This lacks the one parameter that a pooler refuses unless it is told to ignore it.
        let plain = PgConnectOptions::from_str(&pooler.url).expect("a URL").extra_float_digits(None);
        wait_until("the pooler to take connections", async || {
            PgConnection::connect_with(&plain).await.is_ok()
        })
        .await;
        pooler
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // The process may be gone by now, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
        guardian::forget(self.process.id());
    }
}

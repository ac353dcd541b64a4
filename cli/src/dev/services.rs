//! The parts that run inside `payonce dev`, and the order in which they stop.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Error, Result, anyhow};
use shared::gateway::settings::GatewaySettings;
use shared::platform::config;
use shared::publish::address::Rules;
use terminal::progress;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Args;
use super::database::Databases;
use super::keys::DevKeys;

/// The services that were started, with the URLs of the API's listeners.
pub(super) struct Services {
    pub(super) api: String,
    pub(super) ops: String,
    pub(super) board: Option<String>,
    pub(super) metrics: String,
    pub(super) gateway_addr: SocketAddr,
    /// The services in the order in which they are stopped.
    running: Vec<Service>,
}

struct Service {
    name: &'static str,
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Services {
    pub(super) async fn start(args: &Args, databases: &Databases, keys: &DevKeys) -> Result<Self> {
        let settings = simgateway::Settings {
            addr: args.gateway_addr,
            database_url: databases.gateway_url.clone(),
            api_key: config::secret("GATEWAY_API_KEY", "GATEWAY_API_KEY_FILE")?
                .map(|key| simgateway::ApiKey::new(&key)),
        };
        let gateway = simgateway::Gateway::bind(settings)
            .await
            .context("cannot start the simulated gateway (--gateway-addr)")?;
        let gateway_addr = gateway.addr();

        let mut settings =
            api::Settings::from_env_at(databases.urls.app.clone(), keys.admin_key.clone(), keys.peppers()?)?;
        settings.api_addr = args.api_addr;
        settings.ops_addr = args.ops_addr;
        settings.board_addr = Some(args.board_addr);
        settings.metrics_addr = args.metrics_addr;
        if settings.webhook_keys.is_none() {
            (settings.webhook_keys, settings.webhook_rules) =
                (Some(keys.sealing()?), Rules::on_this_machine()?);
        }
        let server = api::Server::bind(settings).await.context("cannot start the API")?;
        let (api, ops) = (server.api_url(), server.ops_url());
        let (board, metrics) = (server.board_url(), server.metrics_url());

        let mut workers = Vec::new();
        for _ in 0..args.workers {
            let gateway = GatewaySettings::from_env_at(format!("http://{gateway_addr}"))?;
            let mut settings = worker::Settings::from_env_with(databases.urls.app.clone(), vec![gateway])?;
            if settings.webhook_keys.is_none() {
                (settings.webhook_keys, settings.webhook_rules) =
                    (Some(keys.sealing()?), Rules::on_this_machine()?);
            }
            // The API shows the metrics of the whole process.
            settings.metrics_addr = (Ipv4Addr::LOCALHOST, 0).into();
            workers.push(worker::Worker::connect(settings).await.context("cannot start a worker")?);
        }

        let mut running = vec![Service::spawn("API", |shutdown| server.run(shutdown))];
        if !workers.is_empty() {
            running.push(Service::spawn("workers", |shutdown| async move {
                let mut loops = JoinSet::new();
                for worker in workers {
                    loops.spawn(worker.run(shutdown.clone()));
                }
                loops.join_all().await.into_iter().collect::<Result<()>>()
            }));
        }
        running.push(Service::spawn("gateway", |shutdown| gateway.run(shutdown)));
        Ok(Self { api, ops, board, metrics, gateway_addr, running })
    }

    /// Waits until a part has ended without having been told to, and says how.
    pub(super) async fn ended(&mut self) -> Error {
        let tasks = self.running.iter_mut().map(|service| &mut service.task);
        let (ended, index, _) = futures::future::select_all(tasks).await;
        let service = self.running.remove(index);
        match ended {
            Ok(Ok(())) => anyhow!("the {} ended by itself", service.name),
            Ok(Err(error)) => error.context(format!("the {} ended", service.name)),
            Err(panic) => Error::new(panic).context(format!("the {} ended", service.name)),
        }
    }

    /// Stops one part after the other. Answers the first error.
    pub(super) async fn stop(self) -> Result<()> {
        let mut outcome = Ok(());
        for service in self.running {
            outcome = outcome.and(service.stop().await);
        }
        outcome
    }
}

impl Service {
    fn spawn<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(shutdown.clone()));
        Self { name, shutdown, task }
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        let ended = progress::during(&format!("stopping the {}", self.name), self.task).await;
        ended
            .context("a task panicked")
            .flatten()
            .with_context(|| format!("the {} did not end well", self.name))
    }
}

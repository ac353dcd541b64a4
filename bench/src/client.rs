//! The load generator. It does as little work for each request as HTTP allows, because it runs on the same
//! two cores.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The API to ask, and the merchant to ask as.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The address of the API, without a scheme.
    pub(crate) host: String,
    pub(crate) api_key: String,
}

/// One connection, which is kept.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    target: Target,
}

impl Client {
    pub(crate) async fn connect(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(&target.host).await.context("the API cannot be reached")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The next request notices the end of the connection.
        tokio::spawn(connection);
        Ok(Self { sender, target: target.clone() })
    }

    /// Posts the payment of that number under the key `<run>-<number>`, which must be accepted. Answers how
    /// long it took.
    pub(crate) async fn pay(&mut self, run: &str, number: u64) -> Result<Duration> {
        let body = format!(
            r#"{{"amount":"12.50","currency":"EUR","customer_id":"cus_{}","payment_method":"sim_ok"}}"#,
            number % 10_000
        );
        let request = Request::post("/v1/payments")
            .header(HOST, &self.target.host)
            .header("x-api-key", &self.target.api_key)
            .header("idempotency-key", format!("{run}-{number}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        let began = Instant::now();
        let (status, body) = self.send(request).await?;
        let took = began.elapsed();
        if status != 202 {
            bail!("a payment was answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(took)
    }

    /// Posts a body under a key, by which something must be created. Answers it, and how long that took.
    pub(crate) async fn create(&mut self, path: &str, key: &str, body: &Value) -> Result<(Value, Duration)> {
        let request = Request::post(path)
            .header(HOST, &self.target.host)
            .header("x-api-key", &self.target.api_key)
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        let began = Instant::now();
        let (status, body) = self.send(request).await?;
        let took = began.elapsed();
        if status != 201 {
            bail!("POST {path} was answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok((serde_json::from_slice(&body)?, took))
    }

    /// The API's metrics as text.
    pub(crate) async fn metrics(&mut self) -> Result<String> {
        let request = Request::get("/metrics").header(HOST, &self.target.host).body(Full::default())?;
        let (_, body) = self.send(request).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes)> {
        self.sender.ready().await.context("the API closed a connection")?;
        let answer = self.sender.send_request(request).await.context("the API did not answer")?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Posts payments 0 to `count` over `connections` connections. Each sends its next request when it has its
/// answer. Answers how long each request took.
pub(crate) async fn pay_many(
    target: &Target,
    run: &str,
    count: u64,
    connections: u64,
) -> Result<Vec<Duration>> {
    let clients = try_join_all((0..connections).map(|_| Client::connect(target))).await?;
    let senders = clients.into_iter().zip(0..).map(|(mut client, first): (_, u64)| async move {
        let mut took = Vec::new();
        for number in (first..count).step_by(usize::try_from(connections)?) {
            took.push(client.pay(run, number).await?);
        }
        anyhow::Ok(took)
    });
    Ok(try_join_all(senders).await?.concat())
}

//! A merchant's receiver of deliveries, which answers as it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// What it was answered with.
    pub(crate) status: u16,
}

impl Got {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Says nothing, and keeps the connection.
pub(crate) const SILENCE: u16 = 0;

/// A receiver at an address of its own.
pub(crate) struct Receiver {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Got>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::answering(200).await
    }

    pub(crate) async fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks?a=b", listener.local_addr().unwrap());
        let (status, got) = (Arc::new(AtomicU16::new(status)), Arc::new(Mutex::new(Vec::new())));
        let (answers, seen) = (status.clone(), got.clone());
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(one(stream, answers.clone(), seen.clone()));
            }
        });
        Self { url, status, got, _serving: AbortOnDropHandle::new(serving) }
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Everything that came, in its order.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The events that it took, in their order.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.got().iter().filter(|got| got.status == 200).map(Got::event).collect()
    }
}

async fn one(mut stream: TcpStream, status: Arc<AtomicU16>, seen: Arc<Mutex<Vec<Got>>>) -> Option<()> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let headers: BTreeMap<String, String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length")?.parse().ok()?;
        if bytes.len() >= head.len() + 4 + length {
            break ((head.len() + 4, headers), length);
        }
    };
    let status = status.load(Ordering::SeqCst);
    let (begins, headers) = head;
    let body = String::from_utf8(bytes[begins..begins + length].to_vec()).unwrap();
    seen.lock().unwrap().push(Got { headers, body, status });
    if status == SILENCE {
        std::future::pending::<()>().await;
    }
    let inside = if status == 302 { "location: http://127.0.0.1:9/inside\r\n" } else { "" };
    let answer =
        format!("HTTP/1.1 {status} Said\r\n{inside}content-length: 4\r\nconnection: close\r\n\r\nsaid");
    stream.write_all(answer.as_bytes()).await.ok()
}

//! Something that answers in the gateway's place: a proxy's page, another service, or a gateway with words of
//! its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Whole HTTP answers, by the beginning of the request line. The first that fits is given.
pub type Answers = &'static [(&'static str, &'static str)];

/// A listener that gives canned answers. When it is dropped, its address is free.
#[derive(Debug)]
pub struct StandIn {
    /// The URL where it listens.
    pub url: String,
    asked: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl StandIn {
    /// Listens at `address` (`127.0.0.1:0` for a free one) and answers.
    pub async fn at(address: &str, answers: Answers) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, answers, counted.clone()));
            }
        });
        Self { url, asked, _serving: AbortOnDropHandle::new(serving) }
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Reads one request, answers it, and closes.
async fn answer(mut stream: TcpStream, answers: Answers, asked: Arc<AtomicUsize>) {
    let mut reader = BufReader::new(&mut stream);
    let (mut line, mut first, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body).await;
    let found = answers.iter().find(|(begins, _)| first.starts_with(begins));
    if let Some((_, words)) = found {
        asked.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(words.as_bytes()).await;
    }
    let _ = stream.shutdown().await;
}

/// A whole answer of this status, type and body.
#[macro_export]
macro_rules! http {
    ($status:literal, $headers:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\n", $headers, "\r\n\r\n", $body)
    };
}

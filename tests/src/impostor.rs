//! A gateway of a test's own making, for books that no honest gateway shows.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A server that answers every request with 200 and a JSON body, until it is dropped.
#[derive(Debug)]
pub struct Impostor {
    /// The URL where it listens.
    pub url: String,
    serving: JoinHandle<()>,
}

impl Impostor {
    /// Starts one. `answer` makes its answers from the request's path with its query.
    pub async fn start(answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let answer = Arc::new(answer);
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move { serve(connection, &*answer).await });
            }
        });
        Self { url, serving }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut connection: TcpStream, answer: &(impl Fn(&str) -> Value + ?Sized)) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        // A client that hangs up gets no answer.
        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = answer(path).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
}

/// Whether the head has come, and as much of a body as it announces. Closed before that, a connection is
/// broken.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let body: Option<usize> =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    request.len() >= end + 4 + body.unwrap_or(0)
}

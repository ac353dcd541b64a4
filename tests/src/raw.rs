//! HTTP as text on a TCP connection, for requests that no well-behaved client sends.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// `POST /v1/payments` as text. The server is asked to close the connection after its answer.
#[must_use]
pub fn post(secret: &str, key: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST /v1/payments HTTP/1.1\r\nhost: payonce\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-api-key: {secret}\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request and reads all that comes back.
pub async fn exchange(base: &str, request: &str) -> String {
    let mut connection = sent(base, request).await;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request, and closes the connection when `patience` is over or an answer begins to arrive. Answers
/// whether none did.
pub async fn send_and_hang_up(base: &str, request: &str, patience: Duration) -> bool {
    let mut connection = sent(base, request).await;
    timeout(patience, connection.read_u8()).await.is_err()
}

/// Whether nothing has come over this connection yet, not even its end.
#[must_use]
pub fn is_silent(connection: &TcpStream) -> bool {
    let nothing = connection.try_read(&mut [0]);
    nothing.is_err_and(|why| why.kind() == std::io::ErrorKind::WouldBlock)
}

/// Sends a request. To drop the connection is to hang up.
pub async fn sent(base: &str, request: &str) -> TcpStream {
    let address = base.strip_prefix("http://").unwrap_or(base);
    let mut connection = TcpStream::connect(address).await.expect("the server listens");
    connection.write_all(request.as_bytes()).await.expect("the server reads");
    connection
}

//! Serves HTTP so that clients which are slow, silent or too many cost the others nothing.
//!
//! A connection has a time for each thing that only the client can do: to send a whole head, to send a whole
//! body, and to take an answer. Connections are counted, because each holds a file descriptor. Where no more
//! may be open, one that has not sent a whole request makes room for the next, the oldest first. Then one
//! makes room that waits between two requests. A connection with a request under way is never closed for
//! another one.
//!
//! Invariant: what holds a connection open is either a request that the service is answering, or a client
//! whose time has not run out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

mod body;
mod seats;
mod socket;

use body::Sent;
pub use body::{Slow, Timely};
use seats::{Seat, Seats};
use socket::Socket;

/// The most bytes of a head: the request line and all headers. A longer one is answered 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 100;

/// The bytes that a connection keeps of what it has read or is about to write.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The pause after the system refused to accept a connection, for lack of descriptors or of memory.
const PAUSE: Duration = Duration::from_millis(50);

/// The file descriptors that a process needs beside its clients' connections: for the database, gateways,
/// logs and libraries.
const OTHER_DESCRIPTORS: usize = 128;

/// The problem that is told to a client for whom there is no room, before its request is read.
const NO_ROOM: &str = r#"{"type":"/problems/too_many_connections","title":"Service Unavailable","status":503,"code":"too_many_connections","detail":"too many connections are open; try again later","retryable":true}"#;

/// What a client may take, on one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the moment at which a request may begin until its head is there. So it also ends a connection
    /// that is idle.
    pub head: Duration,
    /// From the first look at a body until it is there.
    pub body: Duration,
    /// How long an answer may stand still on its way. It is longer for each byte that the client takes.
    pub write: Duration,
    /// The time that a connection has to send a request before another one may take its place.
    pub grace: Duration,
    /// The most connections at a time.
    pub connections: usize,
}

impl Limits {
    /// The limits of a listener with up to so many connections.
    #[must_use]
    pub const fn with(connections: usize) -> Self {
        Self {
            head: Duration::from_secs(30),
            body: Duration::from_secs(10),
            write: Duration::from_secs(10),
            grace: Duration::from_millis(500),
            connections,
        }
    }
}

/// The address of the client's end of the connection, among a request's extensions. Behind a load balancer
/// it is the balancer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

impl ClientAddress {
    /// The address for a log line; none for a request that came by no socket.
    pub fn of(extensions: &hyper::http::Extensions) -> Option<impl tracing::Value + use<>> {
        extensions.get::<Self>().map(|Self(address)| tracing::field::display(*address))
    }
}

/// Lets this process have as many file descriptors as the system gives it, and answers how many connections
/// of clients that allows, up to `wanted`.
#[must_use]
pub fn room_for(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let allowed = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let room = allowed.saturating_sub(OTHER_DESCRIPTORS).max(1);
    if room < wanted {
        tracing::warn!(wanted, room, "the limit of file descriptors leaves room for fewer connections");
    }
    wanted.min(room)
}

/// Serves until `shutdown`, then lets the requests under way end.
pub async fn serve<S, B>(listener: TcpListener, service: S, limits: Limits, shutdown: CancellationToken)
where
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let seats = Arc::new(Seats::new(limits));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::debug!(%why, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seats.take() else {
            connections.spawn(refuse(stream, limits.write));
            continue;
        };
        let served = connection(stream, client, service.clone(), limits, (seat, shutdown.clone()));
        connections.spawn(served);
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection until it ends, its client's time runs out, or its place is needed.
async fn connection<S, B>(
    stream: TcpStream,
    client: SocketAddr,
    service: S,
    limits: Limits,
    (seat, shutdown): (Arc<Seat>, CancellationToken),
) where
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // An answer is small and complete: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let answer = {
        let seat = seat.clone();
        service_fn(move |request: Request<Incoming>| {
            let (mut head, body) = request.into_parts();
            head.extensions.insert(ClientAddress(client));
            let body = Timely::new(body, limits.body, seat.clone());
            let answered = service.clone().oneshot(Request::from_parts(head, body));
            let seat = seat.clone();
            async move { answered.await.map(|answer| answer.map(|body| Sent::new(body, seat))) }
        })
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Socket::new(stream, limits.write)), answer);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = seat.wanted() => return,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(why) = ended {
        tracing::debug!(%why, %client, "a connection ended before its time");
    }
}

/// Says that there is no room, to a client that may not be listening.
async fn refuse(mut stream: TcpStream, time: Duration) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{NO_ROOM}",
        NO_ROOM.len()
    );
    let said = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(time, said).await;
}

#[cfg(test)]
mod tests;

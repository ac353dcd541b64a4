//! Serves HTTP so that clients which are slow, silent or too many cost the others nothing.
//!
//! HTTP/1.1 and HTTP/2 are spoken, and over TLS where there is a certificate. A connection has a time for
//! each thing that only the client can do: to send a whole head, to send a whole body, and to take an
//! answer. Connections are counted, because each holds a file descriptor. Where no more may be open, one
//! that has not sent a whole request makes room for the next, the oldest first. Then one makes room that
//! waits between two requests. A connection with a request under way is never closed for another one.
//!
//! Invariant: what holds a connection open is either a request that the service is answering, or a client
//! whose time has not run out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

mod body;
mod refusal;
mod seats;
mod socket;
mod tls;
mod turn;

use body::{Counted, Ending, Sent};
pub use body::{Holds, Slow, Timely};
use seats::{Seat, Seats};
use socket::Socket;
pub use tls::{Files as TlsFiles, Tls};

/// The most bytes of a head: the request line and all headers. A longer one is answered 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 100;

/// The bytes that a connection keeps of what it has read or is about to write. A head that is longer is
/// answered 431 without having been read whole.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The same as HTTP/2 counts it: without the request line, and with 32 bytes more for each header.
const HEAD_LIST_MAX: u32 = 32 * 1024;

/// The most bytes of the heads of all requests that are under way on one connection.
const HEADS_BYTES_MAX: usize = 4 * HEAD_BYTES_MAX;

/// The most requests at a time on one connection of HTTP/2. RFC 9113 advises against fewer.
const STREAMS_MAX: u32 = 100;

/// The bytes of a body that an HTTP/2 client may send before we have read them.
const WINDOW: u32 = 64 * 1024;

/// The time that a client has to take our goodbye at a shutdown.
const GOODBYE: Duration = Duration::from_millis(500);

/// The pause after the system refused to accept a connection, for lack of descriptors or of memory.
const PAUSE: Duration = Duration::from_millis(50);

/// The file descriptors that a process needs beside its clients' connections: for the database, gateways,
/// logs and libraries.
const OTHER_DESCRIPTORS: usize = 128;

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
    /// The most connections at a time, and the most requests of HTTP/2 at a time.
    pub connections: usize,
    /// The most bytes of large answers that wait for clients. Beyond that, clients that do not read are let
    /// go.
    pub unread: u64,
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
            unread: 16 * 1024 * 1024,
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

/// Serves until `shutdown`, then lets the requests under way end. With `tls` it serves nothing else.
pub async fn serve<S, B>(
    listener: TcpListener,
    tls: Option<Tls>,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) where
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
            connections.spawn(refusal::turn_away(stream, limits.write, refusal::NO_ROOM, tls.is_some()));
            continue;
        };
        // An answer is small and complete: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let (tls, service, shutdown) = (tls.clone(), service.clone(), shutdown.clone());
        connections.spawn(async move {
            let opened = tokio::select! {
                opened = open(stream, tls, limits) => opened,
                () = seat.has_to_end() => return,
                () = shutdown.cancelled() => return,
            };
            match opened {
                Some(Open::Plain(socket)) => connection(socket, client, service, (seat, shutdown)).await,
                Some(Open::Tls(socket)) => connection(*socket, client, service, (seat, shutdown)).await,
                None => {}
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// A connection over which requests can come.
enum Open {
    Plain(Socket),
    Tls(Box<tls::Stream>),
}

/// Opens a connection: where there is TLS, by its handshake. None where that failed, or where somebody did
/// not speak TLS, who is told so.
async fn open(stream: TcpStream, tls: Option<Tls>, limits: Limits) -> Option<Open> {
    let Some(tls) = tls else { return Some(Open::Plain(Socket::new(stream, limits.write))) };
    if !tls::begins(&stream).await {
        refusal::turn_away(stream, limits.write, refusal::NO_TLS, false).await;
        return None;
    }
    match tls.handshake(Socket::new(stream, limits.write)).await {
        Ok(stream) => Some(Open::Tls(Box::new(stream))),
        Err(why) => {
            tracing::debug!(%why, "a handshake failed");
            None
        }
    }
}

/// Serves one connection until it ends, its client's time runs out, or its place is needed.
async fn connection<I, S, B>(
    socket: I,
    client: SocketAddr,
    service: S,
    (seat, shutdown): (Arc<Seat>, CancellationToken),
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let answer = {
        let seat = seat.clone();
        service_fn(move |request| answer(request, client, service.clone(), seat.clone()))
    };
    let builder = builder(&seat.seats.limits);
    let served = builder.serve_connection(TokioIo::new(socket), answer);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = seat.has_to_end() => return,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served => ended,
                () = seat.has_to_end() => return,
                () = said_goodbye(&seat) => return,
            }
        }
    };
    if let Err(why) = ended {
        tracing::debug!(why, %client, "a connection ended before its time");
    }
}

/// Returns once no request is under way and the client had time to take our goodbye.
async fn said_goodbye(seat: &Seat) {
    loop {
        tokio::time::sleep(GOODBYE).await;
        if seat.is_quiet() {
            return;
        }
    }
}

/// How connections are served: by HTTP/2 where the client begins with its preface, and else by HTTP/1.1.
fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LIST_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_send_buf_size(BUFFER_BYTES_MAX);
    builder
}

/// Has the service answer a request, unless the listener refuses it.
async fn answer<S, B>(
    request: Request<Incoming>,
    client: SocketAddr,
    service: S,
    seat: Arc<Seat>,
) -> Result<Response<Sent<B>>, Infallible>
where
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    let (mut head, body) = request.into_parts();
    let bytes = head_bytes(&head);
    let is_too_much = bytes > HEAD_BYTES_MAX
        || head.headers.len() > HEADERS_MAX
        || seat.doing().head_bytes() + bytes > HEADS_BYTES_MAX;
    let turn = seat.begin(bytes);
    let is_stream = head.version == Version::HTTP_2;
    let counted = if is_stream { Counted::new(&seat.seats) } else { None };
    let is_full = is_stream && counted.is_none();
    let ending = Ending::new(turn.clone(), counted);
    if is_too_much {
        return Ok(refusal::answer(&refusal::HEADS, ending));
    }
    if is_full {
        return Ok(refusal::answer(&refusal::NO_STREAM, ending));
    }
    if is_stream {
        named_like_http1(&mut head);
    }
    head.extensions.insert(ClientAddress(client));
    let body = Timely::new(body, seat.seats.limits.body, turn);
    let answered = service.oneshot(Request::from_parts(head, body)).await?;
    let holds = answered.extensions().get::<Holds>().copied();
    Ok(answered.map(|body| Sent::new(body, holds, ending)))
}

/// The bytes of a head as its client sent it, near enough.
fn head_bytes(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + target
}

/// Gives a request of HTTP/2 the `Host` that its `:authority` stands for (RFC 9113, section 8.3.1), so that
/// nobody further on has to know of two. One that it brought stays, to be compared.
fn named_like_http1(head: &mut Parts) {
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
}

#[cfg(test)]
mod tests;

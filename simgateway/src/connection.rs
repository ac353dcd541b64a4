//! One TCP connection, which a handler can end without an answer: closed, or reset.
//!
//! An HTTP library answers or closes politely; a payment network does neither. So connections are served here
//! one by one, each with a wire to its task that a handler pulls.

use std::io;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How a connection ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The other side reads an end of file.
    Close,
    /// The other side gets a TCP RST.
    Reset,
}

/// The wire that a handler pulls to end its connection. Every request carries one as an extension.
#[derive(Debug, Clone)]
pub(crate) struct Wire(mpsc::Sender<Ending>);

impl Wire {
    /// Ends the connection, and with it the handler that waits here. No response is ever returned.
    pub(crate) async fn end(&self, ending: Ending) -> Response {
        // A full channel means that the connection is being ended already.
        self.0.try_send(ending).ok();
        std::future::pending().await
    }
}

/// Serves a connection until the other side leaves, a handler ends it, or `shutdown` comes between requests.
pub(crate) async fn serve(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // An answer is one small write. It must not wait for the acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let (pull, mut pulled) = mpsc::channel(1);
    let wire = Wire(pull);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(wire.clone());
        router.clone().oneshot(request)
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut is_closing = false;
    loop {
        tokio::select! {
            served = &mut connection => {
                if let Err(error) = served {
                    tracing::debug!("connection ended: {error}");
                }
                return;
            }
            Some(ending) = pulled.recv() => {
                if let Err(error) = end(connection.into_parts().io.into_inner(), ending) {
                    tracing::warn!("cannot reset a connection: {error}");
                }
                return;
            }
            () = shutdown.cancelled(), if !is_closing => {
                is_closing = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
}

fn end(stream: TcpStream, ending: Ending) -> io::Result<()> {
    match ending {
        Ending::Close => Ok(()),
        // A socket that lingers for no time sends RST instead of FIN when it is closed.
        Ending::Reset => stream.set_zero_linger(),
    }
}

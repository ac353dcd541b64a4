//! The listener with real sockets. Limits are short where they are to be reached, and long everywhere else.

use http_body_util::{BodyExt as _, Full};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tower::service_fn as tower_fn;

use super::*;

mod http2;
mod tls;

/// Long enough to be never reached.
const NEVER: Duration = Duration::from_mins(10);

const SHORT: Duration = Duration::from_millis(50);

const PATIENT: Limits = Limits {
    head: NEVER,
    body: NEVER,
    write: NEVER,
    grace: Duration::ZERO,
    connections: 100,
    unread: u64::MAX,
};

/// A listener. `/held` is answered once it is told to, `/large` by more than any socket holds, `/host` by the
/// host; anything else at once, by what came of reading the body.
struct Served {
    addr: SocketAddr,
    /// One for each request to `/held` that has begun.
    begun: mpsc::UnboundedReceiver<()>,
    may_answer: Arc<Semaphore>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

async fn served(limits: Limits) -> Served {
    served_over(None, limits).await
}

async fn served_over(tls: Option<Tls>, limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let may_answer = Arc::new(Semaphore::new(0));
    let gate = may_answer.clone();
    let (tell, begun) = mpsc::unbounded_channel();
    let service = tower_fn(move |request: Request<Timely>| {
        let (gate, tell) = (gate.clone(), tell.clone());
        async move {
            if request.uri().path() == "/held" {
                tell.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
            }
            if request.uri().path() == "/large" {
                return Ok(Response::new(Full::new(Bytes::from(vec![b'.'; 64 << 20]))));
            }
            if request.uri().path() == "/host" {
                let host = request.headers().get(HOST).map_or(b"".as_slice(), HeaderValue::as_bytes);
                return Ok(Response::new(Full::new(Bytes::copy_from_slice(host))));
            }
            let (status, said) = match request.into_body().collect().await {
                Ok(body) => (StatusCode::OK, body.to_bytes()),
                Err(why) => (StatusCode::REQUEST_TIMEOUT, Bytes::from(why.to_string())),
            };
            let mut answer = Response::new(Full::new(said));
            *answer.status_mut() = status;
            Ok::<_, Infallible>(answer)
        }
    });
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, tls, service, limits, shutdown.clone()));
    Served { addr, begun, may_answer, shutdown, serving }
}

impl Served {
    async fn client(&self, sends: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.addr).await.unwrap();
        client.write_all(sends.as_bytes()).await.unwrap();
        client
    }

    /// A client whose request is under way.
    async fn busy(&mut self) -> TcpStream {
        let client = self.client("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
        self.begun.recv().await.unwrap();
        client
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// What comes until the server ends the connection.
async fn to_its_end(client: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A connection that is closed with bytes unread ends in a reset.
    let _ = client.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// The beginning of an answer, which leaves the connection open.
async fn answer(client: &mut TcpStream) -> String {
    let mut some = [0; 1024];
    let read = client.read(&mut some).await.unwrap();
    String::from_utf8_lossy(&some[..read]).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let served = served(Limits { head: SHORT, ..PATIENT }).await;
    for half in ["", "GET / HTTP/1.1\r\nhost: a\r\nx-half: "] {
        let mut client = served.client(half).await;
        to_its_end(&mut client).await;
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_more_ends() {
    let served = served(Limits { head: SHORT, ..PATIENT }).await;
    let mut client = served.client(GET).await;
    assert!(to_its_end(&mut client).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told_and_its_connection_ends() {
    let served = served(Limits { body: SHORT, ..PATIENT }).await;
    let half = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    let mut client = served.client(half).await;
    let told = to_its_end(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    assert!(told.contains("the body did not come"), "{told}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_not_waited_for() {
    let served = served(Limits { write: SHORT, ..PATIENT }).await;
    let mut client = served.client("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    served.shutdown.cancel();
    // It ends although the client takes nothing more.
    served.serving.await.unwrap();
    assert!(to_its_end(&mut client).await.len() < 64 << 20);
}

#[tokio::test]
async fn a_client_that_reads_gets_a_large_answer_whole() {
    let served = served(PATIENT).await;
    let mut client = served.client("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(to_its_end(&mut client).await.len() > 64 << 20);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_told_so() {
    let served = served(PATIENT).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}", "a".repeat(2 * HEAD_BYTES_MAX));
    let mut client = served.client(&long).await;
    let told = to_its_end(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 431"), "{told}");
}

#[tokio::test]
async fn where_all_places_are_taken_who_sent_nothing_makes_room_then_who_is_idle_and_never_who_is_busy() {
    let mut served = served(Limits { connections: 3, ..PATIENT }).await;
    let busy = served.busy().await;
    let mut idle = served.client(GET).await;
    assert!(answer(&mut idle).await.starts_with("HTTP/1.1 200"));
    // Whether a head or a body is missing, nothing is to be answered yet.
    let half = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    let mut silent = served.client("GET /").await;
    let mut half = served.client(half).await;
    assert_eq!(to_its_end(&mut silent).await, "");

    let mut next = served.client(GET).await;
    assert!(answer(&mut next).await.starts_with("HTTP/1.1 200"));
    assert_eq!(to_its_end(&mut half).await, "");
    let after = served.busy().await;
    assert_eq!(to_its_end(&mut idle).await, "");
    let last = served.busy().await;
    assert_eq!(to_its_end(&mut next).await, "");

    let mut refused = served.client(GET).await;
    let told = to_its_end(&mut refused).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("too_many_connections"), "{told}");
    served.may_answer.add_permits(3);
    for mut client in [busy, after, last] {
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_new_connection_has_its_grace() {
    let served = served(Limits { connections: 1, grace: NEVER, ..PATIENT }).await;
    let mut silent = served.client("").await;
    let mut refused = served.client(GET).await;
    assert!(to_its_end(&mut refused).await.starts_with("HTTP/1.1 503"));
    silent.write_all(GET.as_bytes()).await.unwrap();
    assert!(answer(&mut silent).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_place_is_free_again_once_its_connection_is_gone() {
    let served = served(Limits { connections: 1, grace: NEVER, ..PATIENT }).await;
    let ask = async || {
        let mut client = served.client("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        to_its_end(&mut client).await
    };
    assert!(ask().await.starts_with("HTTP/1.1 200"));
    // The client hears of the end a moment before the place is free.
    while !ask().await.starts_with("HTTP/1.1 200") {}
}

#[tokio::test]
async fn a_shutdown_lets_requests_end_and_takes_no_more() {
    let mut served = served(PATIENT).await;
    let mut held = served.busy().await;
    let mut idle = served.client(GET).await;
    assert!(answer(&mut idle).await.starts_with("HTTP/1.1 200"));
    served.shutdown.cancel();
    assert_eq!(to_its_end(&mut idle).await, "");
    served.may_answer.add_permits(1);
    assert!(to_its_end(&mut held).await.starts_with("HTTP/1.1 200"));
    served.serving.await.unwrap();
}

#[tokio::test]
async fn where_answers_that_nobody_reads_are_too_many_bytes_the_oldest_are_let_go_and_who_reads_stays() {
    let served = served(Limits { unread: 160 << 20, ..PATIENT }).await;
    let large = "GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut client = served.client(large).await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        silent.push(client);
    }

    let mut reads = served.client(large).await;
    assert!(to_its_end(&mut reads).await.len() > 64 << 20);

    assert!(to_its_end(&mut silent[0]).await.len() < 64 << 20, "the oldest was let go");
    assert!(to_its_end(&mut silent[1]).await.len() > 60 << 20, "the other one has its time");
}

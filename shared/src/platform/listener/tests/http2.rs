//! HTTP/2 by prior knowledge: what holds for a client of HTTP/1.1 holds for one of HTTP/2.

use http_body_util::Empty;
use hyper::client::conn::http2::{Builder, SendRequest};

use super::*;

type Sender = SendRequest<Full<Bytes>>;

/// A client, and what becomes of its connection.
struct Client {
    sender: Sender,
    connection: JoinHandle<hyper::Result<()>>,
}

async fn client(served: &Served) -> Client {
    client_with(served, &mut Builder::new(TokioExecutor::new())).await
}

async fn client_with(served: &Served, builder: &mut Builder<TokioExecutor>) -> Client {
    let stream = TcpStream::connect(served.addr).await.unwrap();
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    Client { sender, connection: tokio::spawn(connection) }
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://a{path}")).body(Full::default()).unwrap()
}

async fn text(answer: Response<Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn ask(client: &mut Client, path: &str) -> (u16, String) {
    client.sender.ready().await.unwrap();
    text(client.sender.send_request(get(path)).await.unwrap()).await
}

#[tokio::test]
async fn many_requests_are_answered_on_one_connection_and_a_held_one_holds_up_none() {
    let mut served = served(PATIENT).await;
    let mut client = client(&served).await;
    let held = tokio::spawn(client.sender.send_request(get("/held")));
    served.begun.recv().await.unwrap();

    for _ in 0..10 {
        assert_eq!(ask(&mut client, "/").await, (200, String::new()));
    }
    served.may_answer.add_permits(1);
    assert_eq!(text(held.await.unwrap().unwrap()).await.0, 200);
}

#[tokio::test]
async fn the_authority_is_the_host() {
    let served = served(PATIENT).await;
    let mut client = client(&served).await;
    assert_eq!(ask(&mut client, "/host").await, (200, "a".to_owned()));
    let mut both = get("/host");
    both.headers_mut().insert(HOST, HeaderValue::from_static("b"));
    assert_eq!(text(client.sender.send_request(both).await.unwrap()).await.1, "b");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_ends_in_its_time() {
    let served = served(Limits { head: SHORT, ..PATIENT }).await;
    let asks = {
        let mut client = client(&served).await;
        assert_eq!(ask(&mut client, "/").await.0, 200);
        client
    };
    let silent = client(&served).await;
    // Half a preface, too.
    let mut half = served.client("PRI * HTTP/2.0\r\n").await;

    let _ = asks.connection.await.unwrap();
    let _ = silent.connection.await.unwrap();
    assert_eq!(to_its_end(&mut half).await, "");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_told() {
    let served = served(Limits { body: SHORT, ..PATIENT }).await;
    let stream = TcpStream::connect(served.addr).await.unwrap();
    let builder = Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let never = http_body_util::StreamBody::new(futures::stream::pending::<
        Result<hyper::body::Frame<Bytes>, Infallible>,
    >());
    let request = Request::post("http://a/").body(never).unwrap();

    let answer = text(sender.send_request(request).await.unwrap()).await;

    assert_eq!(answer, (408, format!("the body did not come within {} s", SHORT.as_secs())));
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_not_waited_for() {
    let served = served(Limits { write: SHORT, ..PATIENT }).await;
    let mut builder = Builder::new(TokioExecutor::new());
    // It reads all packets, and allows no more than the first bytes of the answer.
    let mut client = client_with(&served, builder.initial_stream_window_size(1024)).await;
    let answer = client.sender.send_request(get("/large")).await.unwrap();
    assert_eq!(answer.status(), 200);

    let _ = client.connection.await.unwrap();
    drop(answer);
}

#[tokio::test]
async fn a_client_that_reads_gets_a_large_answer_whole() {
    let served = served(PATIENT).await;
    let mut client = client(&served).await;
    let answer = client.sender.send_request(get("/large")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 64 << 20);
}

#[tokio::test]
async fn too_many_headers_or_too_long_ones_are_told_also_over_several_requests() {
    let mut served = served(PATIENT).await;
    let mut client = client(&served).await;
    let mut many = get("/");
    for n in 0..=HEADERS_MAX {
        let name: hyper::header::HeaderName = format!("x-{n}").parse().unwrap();
        many.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    let (status, told) = text(client.sender.send_request(many).await.unwrap()).await;
    assert!(status == 431 && told.contains("headers_too_large"), "{status} {told}");

    let long = || {
        let mut long = get("/held");
        long.headers_mut().insert("x-long", HeaderValue::from_str(&"a".repeat(30_000)).unwrap());
        long
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(tokio::spawn(client.sender.send_request(long())));
        served.begun.recv().await.unwrap();
    }
    let (status, told) = text(client.sender.send_request(long()).await.unwrap()).await;
    assert!(status == 431 && told.contains("headers_too_large"), "{status} {told}");
    served.may_answer.add_permits(4);
    for held in held {
        assert_eq!(held.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn there_are_no_more_requests_at_a_time_than_connections() {
    let mut served = served(Limits { connections: 2, ..PATIENT }).await;
    let mut client = client(&served).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(tokio::spawn(client.sender.send_request(get("/held"))));
        served.begun.recv().await.unwrap();
    }

    let (status, told) = ask(&mut client, "/").await;

    assert!(status == 503 && told.contains("too many requests are under way"), "{status} {told}");
    served.may_answer.add_permits(2);
    for held in held {
        assert_eq!(held.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(ask(&mut client, "/").await.0, 200);
}

#[tokio::test]
async fn a_connection_with_a_request_under_way_makes_room_for_nobody_and_an_idle_one_does() {
    let mut served = served(Limits { connections: 1, ..PATIENT }).await;
    let mut busy = client(&served).await;
    let held = tokio::spawn(busy.sender.send_request(get("/held")));
    served.begun.recv().await.unwrap();

    let mut refused = served.client(GET).await;
    assert!(to_its_end(&mut refused).await.starts_with("HTTP/1.1 503"));
    served.may_answer.add_permits(1);
    assert_eq!(text(held.await.unwrap().unwrap()).await.0, 200);
    // The answer is there a moment before the server knows that it is.
    loop {
        let mut next = served.client(GET).await;
        if answer(&mut next).await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    let _ = busy.connection.await.unwrap();
}

#[tokio::test]
async fn who_breaks_off_too_many_requests_is_let_go() {
    let mut served = served(PATIENT).await;
    let mut client = client(&served).await;
    let mut broken_off = 0;
    while client.sender.ready().await.is_ok() {
        let held = tokio::spawn(client.sender.send_request(get("/held")));
        // None comes where the connection has ended.
        tokio::select! {
            _ = served.begun.recv() => {}
            _ = client.connection_ended() => break,
        }
        held.abort();
        let _ = held.await;
        broken_off += 1;
        assert!(broken_off < 1000, "it may go on for ever");
    }
    assert!(broken_off >= 100, "{broken_off}");
}

impl Client {
    /// Returns once the connection has ended.
    async fn connection_ended(&mut self) {
        let _ = (&mut self.connection).await;
    }
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_lets_requests_end() {
    let mut served = served(PATIENT).await;
    let mut busy = client(&served).await;
    let held = tokio::spawn(busy.sender.send_request(get("/held")));
    served.begun.recv().await.unwrap();
    let idle = {
        let mut client = client(&served).await;
        assert_eq!(ask(&mut client, "/").await.0, 200);
        client
    };
    // A client that answers nothing holds nothing up.
    let mut dead = served.client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    assert!(!answer(&mut dead).await.is_empty());

    served.shutdown.cancel();

    idle.connection.await.unwrap().unwrap();
    served.may_answer.add_permits(1);
    assert_eq!(text(held.await.unwrap().unwrap()).await.0, 200);
    busy.connection.await.unwrap().unwrap();
    served.serving.await.unwrap();
}

#[tokio::test]
async fn an_empty_answer_counts_as_whole() {
    let served = served(PATIENT).await;
    let stream = TcpStream::connect(served.addr).await.unwrap();
    let builder = Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..300 {
        let request = Request::get("http://a/").body(Empty::<Bytes>::new()).unwrap();
        sender.ready().await.unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    }
}

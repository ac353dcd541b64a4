//! How answers travel: compressed, to pages of other origins, by HTTP/2 and by TLS.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Method;
use serde_json::json;
use tests::client::send;
use tests::raw::exchange;
use tests::{Answer, Exit, Launch, Shape, System, a_payment, guardian};
use tokio::net::TcpStream;

use super::an_api;
use crate::PROGRAM;

async fn an_api_with(name: &'static str, value: &str) -> System {
    let api_env = vec![(name, value.to_owned())];
    System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await
}

/// What the system answers to a read, asked for in these codings.
async fn read(system: &System, path: &str, codings: &str) -> Answer {
    send(system.client.request(Method::GET, path).header("accept-encoding", codings)).await
}

#[tokio::test]
async fn a_long_answer_is_packed_where_the_client_asks_and_says_the_same() {
    let system = an_api().await;
    for _ in 0..10 {
        system.accepted(a_payment()).await;
    }
    let plain = read(&system, "/v1/payments", "identity").await;
    assert!(plain.body.len() > 1400);
    for coding in ["gzip", "br"] {
        let packed = read(&system, "/v1/payments", coding).await;
        packed.assert_status(200);
        assert_eq!(packed.header("content-encoding"), coding);
        assert_eq!(packed.header("vary"), "accept-encoding");
        assert!(packed.body.len() < plain.body.len() / 2, "{coding}: {}", packed.body.len());
    }
    for unknown in ["zstd", "identity;q=0", "*;q=0", "gzip;q=0"] {
        let answer = read(&system, "/v1/payments", unknown).await;
        assert_eq!((answer.status, &answer.body), (200, &plain.body), "{unknown}");
    }
}

#[tokio::test]
async fn short_answers_and_answers_to_posts_are_never_packed() {
    let system = an_api().await;
    let payment = a_payment();
    let id = system.accepted(payment.clone()).await;

    let short = read(&system, &format!("/v1/payments/{id}"), "gzip, br").await;
    let replayed = system.pay(payment).await;

    for answer in [short, replayed] {
        assert!(!answer.headers.contains_key("content-encoding"), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn every_answer_is_marked_as_data() {
    let system = an_api().await;
    for path in ["/v1/payments", "/health", "/made/up"] {
        let answer = system.client.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert!(!answer.headers.contains_key("strict-transport-security"), "{path}: there is no TLS");
    }
}

/// What a browser asks before a page of that origin may post.
async fn preflight(system: &System, origin: &str) -> Answer {
    let asks = reqwest::Client::new()
        .request(Method::OPTIONS, system.client.url("/v1/payments"))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "idempotency-key,x-api-key");
    send(asks).await
}

#[tokio::test]
async fn pages_of_the_named_origins_may_call_and_no_others() {
    let system = an_api_with("CORS_ORIGINS", "https://shop.example").await;
    let ours = preflight(&system, "https://shop.example").await;
    let other = preflight(&system, "https://evil.example").await;
    let plain =
        send(reqwest::Client::new().request(Method::OPTIONS, system.client.url("/v1/payments"))).await;
    let asked = system.client.request(Method::GET, "/v1/payments").header("origin", "https://shop.example");
    let read = send(asked).await;

    ours.assert_status(200);
    assert_eq!(ours.header("access-control-allow-origin"), "https://shop.example");
    assert!(ours.header("access-control-allow-headers").contains("idempotency-key"));
    assert!(!other.headers.contains_key("access-control-allow-origin"), "{:?}", other.headers);
    plain.assert_problem(401, "unauthorized");
    assert_eq!(read.header("access-control-allow-origin"), "https://shop.example");
    assert!(read.header("access-control-expose-headers").contains("request-id"));
    assert!(!read.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn without_named_origins_a_preflight_is_a_request_like_all_others() {
    let system = an_api().await;
    let answer = preflight(&system, "https://shop.example").await;
    answer.assert_problem(401, "unauthorized");
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

/// Sends the requests over one connection of HTTP/2.
async fn over_http2(base: &str, requests: Vec<Request<Full<Bytes>>>) -> Vec<Response<Bytes>> {
    let stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let builder = http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for request in requests {
        sender.ready().await.unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        answers.push(Response::from_parts(head, body.collect().await.unwrap().to_bytes()));
    }
    answers
}

#[tokio::test]
async fn a_payment_is_made_by_http2_and_a_host_that_is_another_than_the_authority_is_refused() {
    let system = an_api().await;
    let body = json!({"amount": "1.00", "currency": "EUR", "customer_id": "c", "payment_method": "sim_ok"})
        .to_string();
    let post = || {
        Request::post(system.client.url("/v1/payments"))
            .header("x-api-key", system.client.secret())
            .header("idempotency-key", "h2")
            .header("content-type", "application/json")
            .body(Full::from(body.clone()))
            .unwrap()
    };
    let mut elsewhere = post();
    elsewhere.headers_mut().insert(HOST, "elsewhere".parse().unwrap());

    let answers = over_http2(&system.client.url(""), vec![post(), post(), elsewhere]).await;

    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(statuses, [202, 202, 400], "{:?}", answers[2].body());
    assert_eq!(answers[0].body(), answers[1].body());
    assert!(String::from_utf8_lossy(answers[2].body()).contains(":authority"));
    assert_eq!(system.count("select count(*) from payments").await, 1);
}

#[tokio::test]
async fn with_a_certificate_the_api_speaks_tls_alone_and_without_its_key_it_does_not_start() {
    let folder = guardian::scratch().join(format!("tls-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let CertifiedKey { cert: made, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let system = System::with(PROGRAM, Shape::default()).await;
    let launch = || system.api().env("TLS_CERT_FILE", &cert);

    let (exit, half) = launch().run().await;
    let (gone, missing) = launch().env("TLS_KEY_FILE", "/gone.pem").run().await;
    let api = launch().env("TLS_KEY_FILE", &key).start().await;

    assert_eq!((exit, gone), (Exit::Code(1), Exit::Code(1)));
    assert!(half.stderr().contains("TLS_CERT_FILE: needs TLS_KEY_FILE"), "{}", half.stderr());
    assert!(missing.stderr().contains("TLS_KEY_FILE: cannot read /gone.pem"), "{}", missing.stderr());
    for listener in ["api", "ops", "board"] {
        let url = api.address(listener);
        assert!(url.starts_with("https://"), "{url}");
        let plain = url.replace("https://", "http://");
        let told = exchange(&plain, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(told.contains("tls_required"), "{listener}: {told}");
    }
    assert!(api.address("metrics").starts_with("http://"), "{}", api.ready());
    let log = format!("{}{}", half.stderr(), api.stderr());
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own_and_the_apis_only_where_it_is_set() {
    let apart = an_api().await;
    apart.client.get("/metrics").await.assert_problem(404, "not_found");
    let url = format!("{}/metrics", apart.apis[0].address("metrics"));
    send(reqwest::Client::new().get(url)).await.assert_status(200);

    let both = an_api_with("METRICS_ON_API", "true").await;
    both.client.get("/metrics").await.assert_status(200);
}

#[tokio::test]
async fn without_an_address_there_is_no_job_board_and_the_root_leads_to_the_pages() {
    let system = an_api().await;
    let api = Launch::api(PROGRAM)
        .env("DATABASE_URL", system.database.app_url())
        .env("API_ADDR", "127.0.0.1:0")
        .env("OPS_ADDR", "127.0.0.1:0")
        .env("METRICS_ADDR", "127.0.0.1:0")
        .env("ADMIN_KEY", crate::operator::ADMIN_KEY)
        .start()
        .await;
    assert!(api.ready()["board"].is_null(), "{}", api.ready());

    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let asks = |path: &str| {
        plain.get(format!("{}{path}", api.address("ops"))).basic_auth("a", Some(crate::operator::ADMIN_KEY))
    };
    let root = send(asks("/")).await;
    assert_eq!((root.status, root.header("location")), (303, "/ops"));
    send(asks("/api/v1/queues")).await.assert_status(404);
}

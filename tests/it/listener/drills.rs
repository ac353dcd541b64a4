//! Drills: crowds of clients that are slow, silent or greedy, against one real API. While a crowd is there,
//! others are served, and the memory grows by little. Afterwards nothing is left of it.
//!
//! `make test` runs them in a short form, `make doors` with the crowds that `docs/LIMITS.md` tells of. That
//! prints the figures of the page.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tests::raw::{self, exchange};
use tests::{Process, Shape, System, a_payment, wait_for, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::halves;
use crate::PROGRAM;

/// Which form: `full`, or else the short one.
const FORM: &str = "PAYONCE_DOORS";

/// The most bytes by which an API may grow under any crowd.
const GROWTH_MAX: u64 = 64 << 20;

/// The healthy requests beside each crowd, each over a connection of its own.
const HEALTHY: usize = 20;

/// How large the crowds are.
struct Crowds {
    slow: usize,
    descriptors: u32,
    capped: usize,
    readers: usize,
    body_bytes: u64,
    polls: usize,
}

impl Crowds {
    fn asked_for() -> Self {
        if std::env::var(FORM).is_ok_and(|form| form == "full") {
            let body_bytes = 1 << 30;
            Self { slow: 2_000, descriptors: 1_024, capped: 1_100, readers: 200, body_bytes, polls: 2_000 }
        } else {
            let body_bytes = 64 << 20;
            Self { slow: 200, descriptors: 520, capped: 300, readers: 20, body_bytes, polls: 200 }
        }
    }
}

/// An API under drill.
struct Drilled<'a> {
    api: &'a Process,
    base: &'a str,
    secret: &'a str,
}

/// What the healthy clients saw beside a crowd.
#[derive(Default)]
struct Healthy {
    accepted: usize,
    /// Told to come again, before they were let in.
    turned_away: usize,
    slowest: Duration,
}

impl Drilled<'_> {
    /// Sends healthy requests, one after the other. Each must be accepted in the end.
    async fn healthy(&self) -> Healthy {
        let mut seen = Healthy::default();
        for _ in 0..HEALTHY {
            let payment = a_payment();
            let request = raw::post(self.secret, payment.key.as_deref().unwrap(), &payment.body);
            let asked = Instant::now();
            let turned_away = &mut seen.turned_away;
            wait_until("a healthy request to be accepted", async || {
                let answer = exchange(self.base, &request).await;
                let is_accepted = answer.starts_with("HTTP/1.1 202");
                let is_told = answer.contains("too_many_connections") && answer.contains("retry-after: 1");
                assert!(is_accepted || is_told, "{answer}");
                *turned_away += usize::from(is_told);
                is_accepted
            })
            .await;
            seen.accepted += 1;
            seen.slowest = seen.slowest.max(asked.elapsed());
        }
        seen
    }

    /// Has this crowd come, serves others beside it, and waits until nothing is left of it.
    #[expect(clippy::print_stderr, reason = "these are the figures of docs/LIMITS.md")]
    async fn drill<C>(&self, what: &str, crowd: impl Future<Output = C>, over: impl AsyncFnOnce(C)) {
        let (bytes, descriptors) = (resident_bytes(self.api), descriptors(self.api));
        let crowd = crowd.await;
        let seen = self.healthy().await;
        let grown = resident_bytes(self.api).saturating_sub(bytes);
        over(crowd).await;
        wait_until(format!("nothing to be left of {what}"), async || {
            self::descriptors(self.api) <= descriptors + 8
        })
        .await;
        let after = self.healthy().await;
        eprintln!(
            "{what}: {} of {HEALTHY} requests accepted, slowest {:?}, turned away {}; memory +{} MB; afterwards slowest {:?}",
            seen.accepted,
            seen.slowest,
            seen.turned_away,
            grown >> 20,
            after.slowest,
        );
        assert!(grown < GROWTH_MAX, "{what}: the API grew by {} MB", grown >> 20);
        assert_eq!(after.turned_away, 0, "{what}");
    }
}

/// The memory of a process. Elsewhere than on Linux none is seen.
fn resident_bytes(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// How many files and sockets a process has open. Elsewhere than on Linux none are seen.
fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.pid())).map_or(0, Iterator::count)
}

/// Lets this process, which plays the crowds, open as many sockets as the system allows.
fn room_for(crowd: usize) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let needed = crowd as u64 + 200;
    assert!(hard >= needed, "the drills need {needed} file descriptors: ulimit -Hn");
}

/// Sends each over a connection of its own. Some may be turned away before they have sent it.
async fn all_sent(base: &str, requests: impl Iterator<Item = String>) -> Vec<TcpStream> {
    let address = base.trim_start_matches("http://");
    let sent = requests.map(|request| async move {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let _ = connection.write_all(request.as_bytes()).await;
        connection
    });
    join_all(sent).await
}

/// The clients of a crowd that never send a whole request, of four kinds.
async fn slow(base: &str, secret: &str, number: usize) -> Vec<TcpStream> {
    let whole = raw::post(secret, "slow", &json!({"amount": "1.00"}));
    let (head, _) = whole.split_at(whole.find("\r\n\r\n").unwrap() + 4);
    let [idle, half_head, half_body, _] = halves(secret);
    let kinds = [idle, half_head, half_body, head.to_owned()];
    all_sent(base, kinds.into_iter().cycle().take(number)).await
}

/// Asks for the longest answer there is, again and again, and reads nothing of it.
async fn reader(base: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let address = base.trim_start_matches("http://").parse().unwrap();
    let mut connection = socket.connect(address).await.unwrap();
    let asks = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20);
    connection.write_all(asks.as_bytes()).await.unwrap();
    connection
}

/// Sends a body in chunks until the API has enough of it. Answers what it said, and how much was sent.
async fn sends_a_long_body(base: &str, secret: &str, bytes: u64) -> (String, u64) {
    let head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: a\r\nx-api-key: {secret}\r\nidempotency-key: long\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let (mut reads, mut writes) = raw::sent(base, &head).await.into_split();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let sending = async {
        let mut sent = 0;
        while sent < bytes && writes.write_all(chunk.as_bytes()).await.is_ok() {
            sent += 0x10000;
        }
        sent
    };
    let mut answer = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        // It ends with the connection, be it broken.
        while let Ok(read @ 1..) = reads.read(&mut piece).await {
            answer.extend_from_slice(&piece[..read]);
        }
    };
    let (sent, ()) = tokio::join!(sending, reading);
    (String::from_utf8_lossy(&answer).into_owned(), sent)
}

/// How a crowd goes of which nothing else is to be seen.
async fn gone<C>(crowd: C) {
    drop(crowd);
}

#[tokio::test]
async fn crowds_of_bad_clients_cost_the_others_nothing_and_leave_nothing_behind() {
    let crowds = Crowds::asked_for();
    room_for(crowds.slow.max(crowds.polls));
    let api_env = vec![("API_WAITS_PER_KEY", crowds.polls.to_string())];
    let mut system = System::with(PROGRAM, Shape { apis: 1, api_env, ..Shape::default() }).await;
    let base = system.client.url("");
    let secret = system.client.secret().to_owned();
    let id = system.accepted(a_payment()).await;
    let drilled = Drilled { api: &system.apis[0], base: &base, secret: &secret };
    drilled.healthy().await;

    let number = crowds.slow;
    let crowd = slow(&base, &secret, number);
    drilled.drill(&format!("{number} slow clients"), crowd, gone).await;

    let number = crowds.readers;
    let crowd = join_all((0..number).map(|_| reader(&base)));
    drilled.drill(&format!("{number} readers that never read"), crowd, gone).await;

    let long = sends_a_long_body(&base, &secret, crowds.body_bytes);
    let told = |(answer, sent): (String, u64)| async move {
        assert!(answer.contains(" 413 ") && answer.contains("payload_too_large"), "{answer}");
        eprintln!("  of {} MB {} kB were sent", crowds.body_bytes >> 20, sent >> 10);
    };
    drilled.drill("a body without end", long, told).await;

    let number = crowds.polls;
    let poll = format!(
        "GET /v1/payments/{id}?wait=60 HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-api-key: {secret}\r\n\r\n"
    );
    let polls = all_sent(&base, std::iter::repeat_n(poll, number));
    let hung_up = |polls: Vec<TcpStream>| async move {
        assert!(polls.iter().all(raw::is_silent), "the payment has not ended, and all wait");
    };
    drilled.drill(&format!("{number} long polls"), polls, hung_up).await;

    system.add_worker([("RUST_LOG", "info")]).await;
    system.settled().await;
    assert_eq!(system.client.payment(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn with_few_file_descriptors_newcomers_are_served_and_told_what_to_do() {
    let crowds = Crowds::asked_for();
    room_for(crowds.capped);
    let system = System::with(PROGRAM, Shape::default()).await;
    let api = system.api().descriptors(crowds.descriptors).start().await;
    let base = api.address("api").to_owned();
    let drilled = Drilled { api: &api, base: &base, secret: system.client.secret() };
    drilled.healthy().await;

    let (number, most) = (crowds.capped, crowds.descriptors);
    let crowd = async {
        let crowd = all_sent(&base, std::iter::repeat_n("GET /health HTTP/1.1\r\n".to_owned(), number)).await;
        // Whoever has no place is told so, or has been let go for somebody else.
        wait_for("the last to be turned away or let in", async || {
            (descriptors(&api) <= most as usize).then_some(())
        })
        .await;
        crowd
    };
    drilled.drill(&format!("{number} clients under ulimit -n {most}"), crowd, gone).await;
    assert!(api.stderr().contains("leaves room for fewer connections"), "{}", api.stderr());
}

//! Something else answers in the gateway's place: a proxy's pages, another service, or another
//! account's gateway.
//!
//! Must hold: its answers are final for nothing, nothing is charged there, and the breaker is open while
//! it answers. A swap for another account's gateway comes after an outage here, as it does when an address
//! is moved.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Scene, gateway};
use crate::fleet::address;
use crate::till::{self, Lot};
use crate::timing;

/// A door that is not the gateway's: its name, the first lines of its answer, and its body.
type Door = (&'static str, &'static str, &'static str);

const PAGE: &str = "<!doctype html><html><body><h1>It works!</h1></body></html>";
const DOORS: [Door; 8] = [
    ("a page under 404", "404 Not Found\r\ncontent-type: text/html", PAGE),
    ("a redirect", "302 Found\r\nlocation: http://127.0.0.1:9/login\r\ncontent-type: text/html", PAGE),
    ("a page under 200", "200 OK\r\ncontent-type: text/html", PAGE),
    ("401 of a proxy", "401 Unauthorized\r\ncontent-type: application/json", r#"{"message":"Unauthorized"}"#),
    ("429 of a proxy", "429 Too Many Requests\r\ncontent-type: application/json", r#"{"error":"slow down"}"#),
    ("405 of a proxy", "405 Method Not Allowed\r\ncontent-type: application/json", r#"{"message":"no"}"#),
    ("404 of a service", "404 Not Found\r\ncontent-type: application/json", r#"{"detail":"Not Found"}"#),
    ("an empty 502", "502 Bad Gateway", ""),
];

/// The longest wait for a whole request. One that is not complete by then is answered all the same.
const ONE_REQUEST: Duration = Duration::from_secs(1);
const REQUEST_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn play(scene: &mut Scene<'_>) -> Result<()> {
    let pool = scene.fleet.pool.clone();
    let from = till::now(&pool).await?;
    scene.load.buy(0, "sim_ok");
    scene.load.all_ended().await?;
    for door in DOORS {
        stand_in(scene, door).await?;
    }
    another_gateway(scene).await?;
    scene.load.all_ended().await?;
    let sold = Lot { merchant: None, from, to: till::now(&pool).await? }.read(&pool).await?;
    scene.demand(sold.succeeded == sold.payments, || format!("all must have succeeded: {sold:?}"));
    Ok(())
}

/// Has this door answer in the gateway's place, from when the breakers are closed until they are open. In
/// full, it goes on for longer than a doubt may last, and every payment ends before the next door comes.
async fn stand_in(scene: &mut Scene<'_>, door: Door) -> Result<()> {
    let somebody = Somebody::start(door).await?;
    lead_to(scene, somebody.addr)?;
    buy_some(scene);
    wait_until_open(scene).await?;
    scene.fired(door.0, 1);
    if !scene.plan.is_short {
        sleep(timing::doubt_deadline(scene.plan) * 3 / 2).await;
        still_open(scene, door.0).await?;
    }
    lead_back(scene).await?;
    if !scene.plan.is_short {
        scene.load.all_ended().await?;
    }
    Ok(())
}

/// Another account's gateway takes the place of one that went while payments were in doubt. It stays until
/// the oldest doubt is older than a doubt may be.
async fn another_gateway(scene: &mut Scene<'_>) -> Result<()> {
    let pool = scene.fleet.pool.clone();
    scene.load.all_ended().await?;
    gateway::look_up_nothing(scene.fleet).await?;
    // A look finds the first one's charge as soon as the gateway is back; it finds nothing of the second
    // at first.
    scene.load.buy(0, "sim_timeout_charged");
    scene.load.buy(1, "sim_timeout_not_charged");
    till::until("the doubts", async || Ok(till::in_doubt(&pool).await?.0 == 2)).await?;
    let somebody = Somebody::start(DOORS[0]).await?;
    lead_to(scene, somebody.addr)?;
    wait_until_open(scene).await?;
    let stranger = scene.fleet.stranger.as_ref().context("there is no other gateway")?.address().to_owned();
    lead_to(scene, address(&stranger)?)?;
    buy_some(scene);
    scene.fired("another account's gateway", 1);
    let deadline = i64::try_from(timing::doubt_deadline(scene.plan).as_millis())?;
    till::until("the doubts to be old", async || Ok(till::in_doubt(&pool).await?.1 > deadline + 1_000))
        .await?;
    still_open(scene, "another gateway").await?;
    let charges = charges_at(&stranger).await?;
    scene.demand(charges == 0, || format!("{charges} charges were asked of another account's gateway"));
    gateway::behave(scene.fleet).await?;
    lead_back(scene).await
}

/// Demands that breakers are open while something else answers. What has ended shows at the end.
async fn still_open(scene: &mut Scene<'_>, whom: &str) -> Result<()> {
    let open = till::breakers_open(&scene.fleet.pool).await?;
    scene.demand(open > 0, || format!("{whom}: no breaker is open"));
    let (doubts, _) = till::in_doubt(&scene.fleet.pool).await?;
    scene.measured(format!("{whom}: payments in doubt meanwhile"), doubts.unsigned_abs());
    Ok(())
}

fn buy_some(scene: &Scene<'_>) {
    scene.load.buy(0, "sim_ok");
    scene.load.buy(1, "sim_ok");
}

fn lead_to(scene: &Scene<'_>, somebody: SocketAddr) -> Result<()> {
    let wires = scene.fleet.wires.as_ref().context("there is no wire to lead elsewhere")?;
    wires.workers_to_gateway.lead_to(somebody);
    Ok(())
}

/// Brings the right gateway back, and waits until every breaker is closed.
async fn lead_back(scene: &Scene<'_>) -> Result<()> {
    lead_to(scene, address(scene.fleet.gateway.address())?)?;
    let pool = &scene.fleet.pool;
    till::until("all breakers to close", async || Ok(till::breakers_open(pool).await? == 0)).await
}

/// Waits until every worker has noticed. A worker that has not takes a gateway that is swapped meanwhile for
/// the known one.
async fn wait_until_open(scene: &Scene<'_>) -> Result<()> {
    let pool = &scene.fleet.pool;
    let workers = i64::try_from(scene.plan.workers)?;
    till::until("all breakers to open", async || Ok(till::breakers_open(pool).await? >= workers)).await
}

/// How many rows about charges stand in that gateway's journal.
async fn charges_at(gateway: &str) -> Result<usize> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let journal: Value =
        http.get(format!("{gateway}/journal?after=0&limit=1000")).send().await?.json().await?;
    let rows = journal["data"].as_array().context("the other gateway's journal cannot be read")?;
    Ok(rows.iter().filter(|row| row["op"] == "charge").count())
}

/// A listener that answers every request alike. Once it is dropped, nothing listens there any more.
struct Somebody {
    addr: SocketAddr,
    _answering: AbortOnDropHandle<()>,
}

impl Somebody {
    async fn start((_, head, body): Door) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on 127.0.0.1")?;
        let addr = listener.local_addr()?;
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        let answering = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(answer_once(caller, answer.clone()));
            }
        });
        Ok(Self { addr, _answering: AbortOnDropHandle::new(answering) })
    }
}

/// Reads the whole request first: a connection that is closed with something unread is reset, and the answer
/// is lost.
async fn answer_once(mut caller: TcpStream, answer: String) {
    let mut request = Vec::new();
    let whole = async {
        while !is_whole(&request) && request.len() < REQUEST_BYTES_MAX {
            if !matches!(caller.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
    };
    // A caller that sends half a request is answered all the same.
    let _ = timeout(ONE_REQUEST, whole).await;
    let _ = caller.write_all(answer.as_bytes()).await;
    let _ = caller.shutdown().await;
}

/// Whether the head has ended, and the body after it has the length that the head names.
fn is_whole(request: &[u8]) -> bool {
    let request = String::from_utf8_lossy(request);
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap_or(0))
    });
    body.len() >= length.unwrap_or(0)
}

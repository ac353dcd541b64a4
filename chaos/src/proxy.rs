//! A wire between two of our processes that can be made slow, silent or dead. It is a TCP proxy of our own,
//! since only root could disturb a real network, and only for the whole machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, sink};
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// How long a server holds on to a connection whose other end has vanished.
const SERVER_NOTICES_AFTER: Duration = Duration::from_secs(5);

/// What a wire does with the bytes that reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Passes them on at once.
    Pass,
    /// Passes them on, later.
    Delay(Duration),
    /// Keeps them, without a word to either end.
    Hold,
    /// Throws them away, without a word to either end.
    Swallow,
    /// Carries nothing: new connections are reset.
    Refuse,
}

/// What happens to the connections that were open while a wire was silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Healing {
    /// They go on where they stopped.
    Resume,
    /// The wire closes them all.
    Reset,
    /// Nothing comes out of them any more, and nothing says so: their other end is gone.
    Dead,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// The address that it leads to.
    target: SocketAddr,
    /// Connections with lower numbers are closed.
    reset_below: u64,
    /// Connections with lower numbers are dead.
    dead_below: u64,
}

/// How a connection ended.
enum End {
    /// One of its ends closed it.
    Closed,
    /// The wire closed it.
    Cut,
    /// The wire refused it before it began.
    Refused,
    Dead,
}

/// What happens to a piece of data.
enum Fate {
    Passes,
    IsGone,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    touched: AtomicU64,
    cut: AtomicU64,
    refused: AtomicU64,
    swallowed: AtomicU64,
}

/// What a wire did not carry so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    /// Open connections that the wire closed, or of which it swallowed something.
    pub(super) cut: u64,
    /// Connections that were refused.
    pub(super) refused: u64,
    /// Bytes that one end sent and the other end never got.
    pub(super) swallowed: u64,
}

/// A wire to one address at a time. When it is dropped, it is cut.
#[derive(Debug)]
pub(super) struct Proxy {
    addr: SocketAddr,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(super) async fn start(target: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on 127.0.0.1")?;
        let addr = listener.local_addr()?;
        let (state, watched) =
            watch::channel(State { mode: Mode::Pass, target, reset_below: 0, dead_below: 0 });
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn(accept(listener, watched, counts.clone()));
        Ok(Self { addr, state, counts, _accepting: AbortOnDropHandle::new(accepting) })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets what the wire does from now on.
    pub(super) fn set(&self, mode: Mode) {
        self.change(mode, Healing::Resume);
    }

    /// Lets everything pass again, and ends the connections that were open meanwhile like this.
    pub(super) fn heal(&self, healing: Healing) {
        self.change(Mode::Pass, healing);
    }

    fn change(&self, mode: Mode, healing: Healing) {
        self.state.send_modify(|state| {
            // A connection that saw the state before has its number by now.
            let next = self.counts.connections.load(Ordering::Relaxed);
            // A connection that has lost a byte must never carry another one.
            let is_broken = mode == Mode::Refuse || state.mode == Mode::Swallow && mode != Mode::Swallow;
            match healing {
                Healing::Reset => state.reset_below = next,
                Healing::Resume | Healing::Dead if is_broken => state.reset_below = next,
                Healing::Resume => {}
                Healing::Dead => state.dead_below = next,
            }
            state.mode = mode;
        });
    }

    /// Leads to another address from now on. Open connections are closed.
    pub(super) fn lead_to(&self, target: SocketAddr) {
        let next = self.counts.connections.load(Ordering::Relaxed);
        self.state.send_modify(|state| (state.target, state.reset_below) = (target, next));
    }

    /// How many pieces were held up so far.
    pub(super) fn touched(&self) -> u64 {
        self.counts.touched.load(Ordering::Relaxed)
    }

    /// What was not carried so far.
    pub(super) fn lost(&self) -> Lost {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { cut, refused, swallowed, .. } = &*self.counts;
        Lost { cut: read(cut), refused: read(refused), swallowed: read(swallowed) }
    }
}

async fn accept(listener: TcpListener, state: watch::Receiver<State>, counts: Arc<Counts>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let number = counts.connections.fetch_add(1, Ordering::Relaxed);
        let wire = Wire { number, state: state.clone(), counts: counts.clone(), is_cut: Arc::default() };
        tokio::spawn(wire.carry(client));
    }
}

/// One connection through the wire.
#[derive(Clone)]
struct Wire {
    number: u64,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
    is_cut: Arc<AtomicBool>,
}

impl Wire {
    async fn carry(self, mut client: TcpStream) {
        // Until the wire carries something, nobody is at its other end.
        match self.clone().pass(0).await {
            Ok(Fate::Passes) | Err(End::Dead) => {}
            Ok(Fate::IsGone) => {
                let end = self.clone().pump(client.split().0, sink()).await;
                return self.count(&end);
            }
            Err(End::Refused) => {
                // A socket that lingers for no time sends RST instead of FIN when it is closed.
                let _ = client.set_zero_linger();
                return self.count(&End::Refused);
            }
            Err(end @ (End::Closed | End::Cut)) => return self.count(&end),
        }
        let target = self.state.borrow().target;
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        // The delays are to be the wire's, not the system's.
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let end = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                end = self.clone().pump(from_client, to_server) => end,
                end = self.clone().pump(from_server, to_client) => end,
            }
        };
        self.count(&end);
        if let End::Dead = end {
            sleep(SERVER_NOTICES_AFTER).await;
            drop(server);
            // Held open until the whole wire is cut.
            let mut state = self.state;
            while state.changed().await.is_ok() {}
        }
    }

    fn count(&self, end: &End) {
        match end {
            End::Cut => self.cut(),
            End::Refused => _ = self.counts.refused.fetch_add(1, Ordering::Relaxed),
            End::Closed | End::Dead => {}
        }
    }

    /// Counts this connection among those that were cut, once.
    fn cut(&self) {
        if !self.is_cut.swap(true, Ordering::Relaxed) {
            self.counts.cut.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn pump(self, mut from: ReadHalf<'_>, mut to: impl AsyncWrite + Unpin) -> End {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = from.read(&mut piece) => read,
                end = self.clone().ended() => return end,
            };
            let Ok(length @ 1..) = read else { return End::Closed };
            match self.clone().pass(length).await {
                Ok(Fate::Passes) => {}
                Ok(Fate::IsGone) => continue,
                Err(end) => return end,
            }
            if to.write_all(&piece[..length]).await.is_err() {
                return End::Closed;
            }
        }
    }

    /// Waits until a piece of `length` bytes may go on, or is gone. Its bytes are counted then.
    async fn pass(mut self, length: usize) -> Result<Fate, End> {
        let mut is_touched = false;
        loop {
            let state = *self.state.borrow_and_update();
            self.alive(&state)?;
            let mut touch = || {
                if !std::mem::replace(&mut is_touched, true) {
                    self.counts.touched.fetch_add(1, Ordering::Relaxed);
                }
            };
            match state.mode {
                Mode::Pass => return Ok(Fate::Passes),
                Mode::Delay(delay) => {
                    touch();
                    sleep(delay).await;
                    return Ok(Fate::Passes);
                }
                Mode::Hold => touch(),
                Mode::Swallow => {
                    if length > 0 {
                        self.cut();
                    }
                    let bytes = u64::try_from(length).unwrap_or(u64::MAX);
                    self.counts.swallowed.fetch_add(bytes, Ordering::Relaxed);
                    return Ok(Fate::IsGone);
                }
                Mode::Refuse => return Err(End::Refused),
            }
            self.state.changed().await.map_err(|_| End::Closed)?;
        }
    }

    /// Waits until this connection is closed or dead.
    async fn ended(mut self) -> End {
        loop {
            let state = *self.state.borrow_and_update();
            if let Err(end) = self.alive(&state) {
                return end;
            }
            if self.state.changed().await.is_err() {
                return End::Closed;
            }
        }
    }

    fn alive(&self, state: &State) -> Result<(), End> {
        if self.number < state.reset_below {
            return Err(End::Cut);
        }
        if self.number < state.dead_below { Err(End::Dead) } else { Ok(()) }
    }
}

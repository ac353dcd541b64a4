//! Bodies that are watched: a request's, which has to come in time, and an answer's, with which its request
//! ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::seats::Seats;
use super::turn::Turn;

/// The bytes of an answer that are handed over at a time, so that it is seen whether the client takes them.
pub(super) const PIECE: usize = 64 * 1024;

/// A request's body that fails with [`Slow`] unless it comes in time.
#[derive(Debug)]
pub struct Timely {
    body: Incoming,
    time: Duration,
    /// Begins with the first look at the body.
    over: Option<Pin<Box<Sleep>>>,
    turn: Arc<Turn>,
}

/// The client did not send the whole body in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body did not come within {} s", .0.as_secs())]
pub struct Slow(pub Duration);

impl Timely {
    pub(super) fn new(body: Incoming, time: Duration, turn: Arc<Turn>) -> Self {
        if body.is_end_stream() {
            turn.received();
        }
        Self { body, time, over: None, turn }
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        self.turn.received();
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if frame.is_none() || self.body.is_end_stream() {
                self.turn.received();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let time = self.time;
        let over = self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        over.as_mut().poll(cx).map(|()| Some(Err(Slow(time).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request under way. Without [`Ending::is_whole`] it was broken off.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) turn: Arc<Turn>,
    /// What counts it among the streams under way, if it is one.
    _counted: Option<Counted>,
    is_whole: bool,
}

impl Ending {
    pub(super) const fn new(turn: Arc<Turn>, counted: Option<Counted>) -> Self {
        Self { turn, _counted: counted, is_whole: false }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.turn.over(self.is_whole);
    }
}

/// One of the streams that are under way on a listener.
#[derive(Debug)]
pub(super) struct Counted(Arc<Seats>);

impl Counted {
    /// Counts one more. None where there are as many as there may be.
    pub(super) fn new(seats: &Arc<Seats>) -> Option<Self> {
        let counted = Self(seats.clone());
        let before = seats.streams.fetch_add(1, Ordering::Relaxed);
        (before < seats.limits.connections).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes of memory that an answer holds until its client has taken it, where its own length does not
/// tell, among an answer's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds(pub u64);

/// An answer's body, which is handed over piece by piece. Once it is gone, the request is no more under way.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: Whose<B>,
    /// The rest of what the body gave last.
    rest: Bytes,
    ending: Ending,
}

#[derive(Debug)]
enum Whose<B> {
    Service(B),
    /// A refusal of the listener itself.
    Listener(Option<Bytes>),
}

impl<B: Body<Data = Bytes> + Unpin> Sent<B> {
    pub(super) fn new(body: B, holds: Option<Holds>, ending: Ending) -> Self {
        let bytes = holds.map(|Holds(bytes)| bytes).or_else(|| body.size_hint().exact());
        // What is handed over whole holds no memory while it waits.
        let bytes = bytes.filter(|bytes| *bytes > PIECE as u64);
        Self::of(Whose::Service(body), bytes.unwrap_or(0), ending)
    }

    pub(super) fn refusal(text: Bytes, ending: Ending) -> Self {
        Self::of(Whose::Listener(Some(text)), 0, ending)
    }

    fn of(body: Whose<B>, bytes: u64, mut ending: Ending) -> Self {
        ending.turn.answered(bytes);
        ending.is_whole = match &body {
            Whose::Service(body) => body.is_end_stream(),
            Whose::Listener(_) => true,
        };
        Self { body, rest: Bytes::new(), ending }
    }

    /// The next piece of the rest.
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.ending.turn.moved(piece.len() as u64);
        self.ending.is_whole = self.is_end_stream();
        Frame::data(piece)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let sent = &mut *self;
        if !sent.rest.is_empty() {
            return Poll::Ready(Some(Ok(sent.piece())));
        }
        let polled = match &mut sent.body {
            Whose::Service(body) => Pin::new(body).poll_frame(cx),
            Whose::Listener(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        };
        let Poll::Ready(next) = polled else {
            sent.ending.turn.waits();
            return Poll::Pending;
        };
        match next.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                sent.rest = data;
                Poll::Ready(Some(Ok(sent.piece())))
            }
            Some(Ok(Err(trailers))) => {
                sent.ending.is_whole = sent.is_end_stream();
                Poll::Ready(Some(Ok(trailers)))
            }
            Some(Err(why)) => Poll::Ready(Some(Err(why))),
            None => {
                sent.ending.is_whole = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && match &self.body {
                Whose::Service(body) => body.is_end_stream(),
                Whose::Listener(text) => text.is_none(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match &self.body {
            Whose::Service(body) if rest == 0 => body.size_hint(),
            Whose::Service(body) => {
                let of_body = body.size_hint();
                let mut hint = SizeHint::new();
                if let Some(upper) = of_body.upper() {
                    hint.set_upper(upper + rest);
                }
                hint.set_lower(of_body.lower() + rest);
                hint
            }
            Whose::Listener(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

//! Bodies that are watched: a request's, which has to come in time, and an answer's, with which its request
//! ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::seats::Seat;

/// A request's body that fails with [`Slow`] unless it comes in time.
#[derive(Debug)]
pub struct Timely {
    body: Incoming,
    time: Duration,
    /// Begins with the first look at the body.
    over: Option<Pin<Box<Sleep>>>,
    seat: Arc<Seat>,
}

/// The client did not send the whole body in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body did not come within {} s", .0.as_secs())]
pub struct Slow(pub Duration);

impl Timely {
    pub(super) fn new(body: Incoming, time: Duration, seat: Arc<Seat>) -> Self {
        seat.begin();
        if body.is_end_stream() {
            seat.received();
        }
        Self { body, time, over: None, seat }
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        self.seat.received();
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
                self.seat.received();
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

/// An answer's body. Once it is gone, the request is no more under way.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: B,
    seat: Arc<Seat>,
}

impl<B> Sent<B> {
    pub(super) const fn new(body: B, seat: Arc<Seat>) -> Self {
        Self { body, seat }
    }
}

impl<B> Drop for Sent<B> {
    fn drop(&mut self) {
        self.seat.answered();
    }
}

impl<B: Body + Unpin> Body for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The hints that jobs were enqueued, as the queue library wants them: a stream that wakes its worker.
//!
//! The library takes one item of the stream at each look, and then does not say that it wants to be woken for
//! the next. Where hints come faster than it looks, they would pile up: each look would find an old one, and
//! only the clock would wake the worker. So all hints that have come are taken as one.
//!
//! Invariant: after each look nothing is left in the stream beneath, and the next hint wakes the worker that
//! looked. A hint that came while jobs were being fetched has them fetched once more.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

/// A stream of hints beneath which nothing piles up.
#[derive(Debug)]
pub(super) struct Hints<S>(pub(super) S);

impl<S: Stream + Unpin> Stream for Hints<S> {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let mut came = false;
        loop {
            match Pin::new(&mut self.0).poll_next(cx) {
                Poll::Ready(Some(_)) => came = true,
                Poll::Ready(None) if !came => return Poll::Ready(None),
                Poll::Pending if !came => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {
                    // The fetch that is under way may have begun before the job was there.
                    cx.waker().wake_by_ref();
                    return Poll::Ready(Some(()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures::channel::mpsc;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_hints_that_came_are_one_and_the_next_one_wakes_again() {
        let (send, receive) = mpsc::unbounded();
        let mut hints = Hints(receive);
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let cx = &mut Context::from_waker(&waker);
        let mut look = || Pin::new(&mut hints).poll_next(cx);
        let times_woken = || woken.0.load(Ordering::Relaxed);
        assert_eq!((look(), times_woken()), (Poll::Pending, 0));

        for hint in 0..3 {
            send.unbounded_send(hint).unwrap();
        }
        let before = times_woken();
        assert_eq!(look(), Poll::Ready(Some(())));
        assert_eq!(times_woken(), before + 1, "whoever looks is to look again");
        assert_eq!(look(), Poll::Pending, "the three were one");

        let before = times_woken();
        send.unbounded_send(3).unwrap();
        assert_eq!(times_woken(), before + 1, "nobody was woken by the next hint");
        drop(send);
        assert_eq!((look(), look()), (Poll::Ready(Some(())), Poll::Ready(None)));
    }
}

//! The traps of the queue library, each with the bad outcome that it has by itself and the good one that we
//! get. Where one of these fails after an update of the library, `shared/src/queue.rs` may have one
//! precaution too many.

mod library;

mod attempts;
mod lost;
mod shutdown;

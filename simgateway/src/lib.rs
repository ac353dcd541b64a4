//! A simulated payment gateway with its own database and its own books.
//!
//! It is the outside judge of its callers: what its journal says happened, happened, whatever the caller
//! believes. It shares no types with any client, so the two cannot be wrong together.
//!
//! Invariant: it keeps its promises to the letter unless `PUT /faults` tells it to break one. An answer
//! leaves only after everything it says is committed, and one key takes effect at most once.
//!
//! Reading order: what a call asks for and gets, how that is decided (pure), how it is kept, how it
//! is served.

mod request;

mod reply;

mod book;

mod token;

mod faults;

mod decide;

mod refund;

mod act;

mod batch;

mod store;

mod writer;

mod journal;

mod listing;

mod routes;

mod connection;

mod gateway;

mod settings;

mod log;

mod program;

pub use gateway::Gateway;
pub use program::main;
pub use settings::{ApiKey, Settings};

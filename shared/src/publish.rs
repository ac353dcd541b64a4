//! Public events: what happened, told to every merchant that asks, completely and in order.
//!
//! A log of the database tells its public events by a trigger, in the statement of the change (`publish()` in
//! SQL, and the list `public_event_types`). Everybody who tells them on stands on one reader.
//!
//! Read in this order:
//! - [`domain::public_event`]: the types, and the id that is a place;
//! - [`reader`]: the next events after a place, below the oldest transaction that still runs;
//! - [`render`]: the bytes of an event, the same whenever it is told;
//! - [`endpoints`]: where merchants have events sent, and [`seal`]: their secrets;
//! - [`address`] and [`dial`]: nobody reaches inside, and one request over the wire;
//! - [`delivery`]: a round of deliveries to one endpoint.
//!
//! Invariants: no event is passed over, since a reader never goes beyond a transaction that may still write.
//! Events of one object are told in the order of its versions.
//!
//! This wing may use `database`, `payment` and `platform`. It changes no payment.

pub mod address;
pub mod delivery;
pub mod dial;
pub mod endpoints;
pub mod reader;
pub mod render;
pub mod seal;

pub use render::Told;

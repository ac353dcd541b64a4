//! What any program needs, whatever it is for: settings, logs, metrics, an orderly end, and the faults of test builds.
//!
//! May use `domain`, whose words metrics carry. Must not know that there is a database, a queue or a gateway.

pub mod config;
pub mod fault;
pub mod metrics;
pub(crate) mod notices;
pub mod process;
pub mod rate;
pub mod telemetry;
pub mod time;

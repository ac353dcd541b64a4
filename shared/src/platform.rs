//! What any program needs, whatever it is for: settings, logs, metrics, a listener, an orderly end, and the
//! faults of test builds.
//!
//! This wing may use `domain`, whose words metrics carry, and no other wing. It opens no connection. Of the
//! database it knows the driver's errors, with which faults fail, and the driver's log, which `notices`
//! hears.

pub mod config;
pub mod fault;
pub mod listener;
pub mod metrics;
pub(crate) mod notices;
pub mod process;
pub mod rate;
pub mod telemetry;
pub mod text;
pub mod time;

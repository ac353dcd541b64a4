//! What commands write: their answer to standard output, everything else to standard error.

pub mod output;
pub mod progress;

//! The output of commands: their answer on standard output, everything else on standard error.

pub mod output;
pub mod progress;

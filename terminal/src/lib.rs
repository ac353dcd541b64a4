//! How people meet the programs: the output of commands, the arguments of programs, the names of settings,
//! and the URLs of databases.

pub mod dsn;
pub mod environment;
pub mod output;
pub mod program;
pub mod progress;

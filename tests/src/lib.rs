//! The test harness: real databases, real processes, and one way to wait.
//!
//! Each test gets databases of its own on a private server that lives as long as the test process. Nothing is
//! left behind, even where the test process is killed: see [`guardian`].
//!
//! ```ignore
//! let database = TestDatabase::fresh().await;
//! let api = Launch::api(PROGRAM).env("DATABASE_URL", &database.url).start().await;
//! let answer = reqwest::get(format!("{}/health", api.address("api"))).await;
//! ```
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness reports by failing the test that uses it"
)]

pub mod books;
pub mod browser;
pub mod claimant;
pub mod client;
pub mod contract;
pub mod database;
pub mod guardian;
pub mod impostor;
pub mod issuer;
pub mod pooler;
pub mod private_server;
pub mod process;
pub mod raw;
pub mod scrape;
pub mod second;
pub mod stand_in;
pub mod system;
pub mod wait;

mod server;

pub use self::browser::Browser;
pub use self::claimant::claimant;
pub use self::client::{Answer, Client, a_payment};
pub use self::database::{Dump, TestDatabase};
pub use self::impostor::Impostor;
pub use self::pooler::Pooler;
pub use self::private_server::PrivateServer;
pub use self::process::{Exit, Launch, Process, peppers, presented};
pub use self::scrape::Scrape;
pub use self::second::{SECOND, Second};
pub use self::system::{Shape, System};
pub use self::wait::{wait_for, wait_until};

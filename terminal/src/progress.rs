//! Says on standard error what takes long, so that nobody wonders whether the program hangs.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(2);

/// Awaits `work`. Every two seconds that it lasts, one line says what is being waited for.
pub async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let mut work = pin!(work);
    loop {
        match timeout(PATIENCE, &mut work).await {
            Ok(done) => return done,
            Err(_) => say(&format!("{what} … {} s", started.elapsed().as_secs())),
        }
    }
}

/// Writes one line to standard error. Where nobody reads it, that is not worth failing.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

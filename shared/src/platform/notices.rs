//! Hears what the database driver logs beside an answer: the server's warnings.
//!
//! The driver gives warnings to no caller and only logs them. So a layer of the subscriber listens, at any
//! level of logging.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The log target under which the driver repeats what the server says beside its answers.
const NOTICES: &str = "sqlx::postgres::notice";

tokio::task_local! {
    /// Whether the server warned about the statement under way.
    static WARNED: Arc<AtomicBool>;
}

/// The listening layer, with a filter of its own.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Listener.with_filter(Targets::new().with_target(NOTICES, LevelFilter::WARN))
}

struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        // Outside of a statement that is listened to, nobody asks.
        let _ = WARNED.try_with(|warned| warned.store(true, Ordering::Relaxed));
    }
}

/// The result of the statement, and whether the server warned about it.
pub(crate) async fn beside<T>(statement: impl Future<Output = T>) -> (T, bool) {
    let warned = Arc::new(AtomicBool::new(false));
    let done = WARNED.scope(warned.clone(), statement).await;
    (done, warned.load(Ordering::Relaxed))
}

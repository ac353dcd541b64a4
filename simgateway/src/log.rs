//! Logs, to stderr: one line of JSON for each event, or readable text on a terminal.

use std::fmt;
use std::io::{self, IsTerminal as _};

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::settings::LogFormat;

/// Starts to log, at the level that `RUST_LOG` says. Without a format it is text on a terminal, and JSON
/// anywhere else.
pub(crate) fn start(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let is_terminal = io::stderr().is_terminal();
    let usual = if is_terminal { LogFormat::Text } else { LogFormat::Json };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format.unwrap_or(usual) {
        LogFormat::Text => logs.with_ansi(is_terminal).init(),
        LogFormat::Json => {
            logs.with_ansi(false).event_format(JsonLine).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!(event = "panic", "{panic}")));
        }
    }
}

/// Writes an event as one line of JSON. There are no spans here, so each event says itself what it is about.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let own = [
            ("timestamp", json!(Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true))),
            ("level", json!(event.metadata().level().as_str())),
            ("service", json!("simgateway")),
            ("target", json!(event.metadata().target())),
        ];
        fields.0.extend(own.map(|(name, value)| (name.to_owned(), value)));
        writeln!(to, "{}", Value::Object(fields.0))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), json!(format!("{value:?}")));
    }
}

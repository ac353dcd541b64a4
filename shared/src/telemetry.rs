//! Logs, to stderr: one line of JSON for each event, or readable text on a terminal.
//!
//! Invariant: a line of JSON has what the spans around it know (`payment_id`, `claim`, `correlation_id`, …) at its top
//! level, so that a search for one payment needs no path; and nothing is logged that opens anything: no API key beyond
//! its prefix, no admin key, no password of a database.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;

use chrono::Utc;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{self, InvalidSetting};

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,apalis=warn,apalis_core=warn,apalis_postgres=warn,sqlx=warn";

/// Starts to log, at the level that `RUST_LOG` says, in the form that `LOG_FORMAT` says: without it, text on a terminal
/// and JSON anywhere else. A second start in one process changes nothing.
///
/// # Errors
/// `LOG_FORMAT` is no format; then it logs all the same.
pub fn start(service: &'static str) -> Result<(), InvalidSetting> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let is_terminal = std::io::stderr().is_terminal();
    let usual = if is_terminal { Format::Text } else { Format::Json };
    let format = config::parsed("LOG_FORMAT", usual);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format.as_ref().unwrap_or(&usual) {
        Format::Json => Box::new(JsonLines { service }),
        Format::Text => {
            Box::new(tracing_subscriber::fmt::layer().with_ansi(is_terminal).with_writer(std::io::stderr))
        }
    };
    if Registry::default().with(layer.with_filter(filter)).try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    format.map(drop)
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("use json or text"),
        }
    }
}

/// A panic is a line like any other.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic.location().map(ToString::to_string);
    tracing::error!(event = "panic", place, "{message}");
}

/// Writes each event as one line of JSON.
struct JsonLines {
    service: &'static str,
}

#[derive(Serialize)]
struct Line {
    timestamp: String,
    level: &'static str,
    service: &'static str,
    message: Value,
    target: String,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// The names that every line has, and that no field can take.
const OWN: [&str; 5] = ["timestamp", "level", "service", "message", "target"];

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_else(|| json!(""));
        for name in OWN {
            fields.0.remove(name);
        }
        let line = Line {
            timestamp: crate::json::time(Utc::now()),
            level: event.metadata().level().as_str(),
            service: self.service,
            message,
            target: event.metadata().target().to_owned(),
            fields: fields.0,
        };
        if let Ok(mut bytes) = serde_json::to_vec(&line) {
            bytes.push(b'\n');
            // Whole lines only, and a log that nobody takes must not stop anybody.
            std::io::stderr().lock().write_all(&bytes).ok();
        }
    }
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_none_says_which_there_are() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("text".parse(), Ok(Format::Text));
        assert_eq!("JSON".parse::<Format>(), Err("use json or text"));
    }

    #[test]
    fn no_field_takes_the_place_of_what_every_line_has() {
        let line = Line {
            timestamp: "2026-11-01T00:00:00.000000Z".to_owned(),
            level: "INFO",
            service: "worker",
            message: json!("settled"),
            target: "worker::attempt".to_owned(),
            fields: Map::from_iter([("payment_id".to_owned(), json!("pay_1"))]),
        };
        let written = serde_json::to_value(&line).unwrap();
        for name in OWN {
            assert!(written.get(name).is_some(), "{name} is missing in {written}");
        }
        assert_eq!(written["payment_id"], "pay_1", "fields stand at the top level");
        assert_eq!(written.as_object().unwrap().len(), OWN.len() + 1);
    }
}

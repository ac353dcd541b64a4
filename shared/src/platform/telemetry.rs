//! Logs, to stderr: one line of JSON for each event, or readable text on a terminal.
//!
//! Invariants: a line of JSON has the fields of the spans around it (`payment_id`, `claim`, `correlation_id`,
//! …) at its top level. So a search for one payment needs no path. Nothing that opens anything is logged:
//! no API key beyond its prefix, no admin key, no password of a database.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;

use chrono::Utc;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::platform::config::{self, InvalidSetting};
use crate::platform::notices;

/// The filter where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,apalis=warn,apalis_core=warn,apalis_postgres=warn,sqlx=warn";

/// Starts to log, at the level of `RUST_LOG` and in the form of `LOG_FORMAT`. Without `LOG_FORMAT` a terminal
/// gets text, and anything else gets JSON. A second start in one process changes nothing.
///
/// # Errors
/// `LOG_FORMAT` is no format. The process logs all the same.
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
    // The database's warnings are heard at any level of logging.
    let registry = Registry::default().with(layer.with_filter(filter)).with(notices::layer());
    if registry.try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    format.map(drop)
}

/// The form of a line.
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

/// Logs a panic as a line like any other.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic.location().map(ToString::to_string);
    tracing::error!(event = "panic", place, "{message}");
}

/// Writes each event as one line of JSON.
struct JsonLines {
    service: &'static str,
}

/// The names that every line has, and that no field can take.
const OWN: [&str; 5] = ["timestamp", "level", "service", "message", "target"];

/// The bytes that most lines need.
const LINE: usize = 512;

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
        event.record(&mut fields);
        let (level, target) = (event.metadata().level().as_str(), event.metadata().target());
        let mut line = Line::begin(self.service, level, target, fields.get("message"));
        line.add(&fields);
        // From the innermost span outwards: a nearer field hides a farther one of the same name.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                line.add(of_span);
            }
        }
        // Whole lines only, and a log that nobody takes must not stop the process.
        std::io::stderr().lock().write_all(&line.end()).ok();
    }
}

/// A line as it is written. Every payment has three, so nothing is copied without need.
struct Line {
    json: Vec<u8>,
    names: Vec<&'static str>,
}

impl Line {
    /// A line with the fields that every line has; `message` is JSON already.
    fn begin(service: &str, level: &str, target: &str, message: Option<&str>) -> Self {
        let mut line = Self { json: Vec::with_capacity(LINE), names: OWN.to_vec() };
        line.json.push(b'{');
        line.put("timestamp", &text(&crate::platform::time::rfc3339(Utc::now())));
        line.put("level", &text(level));
        line.put("service", &text(service));
        line.put("message", message.unwrap_or("\"\""));
        line.put("target", &text(target));
        line
    }

    /// Adds those of `fields` whose names the line does not have yet.
    fn add(&mut self, fields: &Fields) {
        for (name, value) in &fields.0 {
            if !self.names.contains(name) {
                self.names.push(name);
                self.put(name, value);
            }
        }
    }

    fn put(&mut self, name: &str, value: &str) {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        self.json.extend_from_slice(text(name).as_bytes());
        self.json.push(b':');
        self.json.extend_from_slice(value.as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.json.extend_from_slice(b"}\n");
        self.json
    }
}

/// A string as JSON.
fn text(string: &str) -> String {
    serde_json::to_string(string).unwrap_or_default()
}

/// The fields of a span or an event: names, and values as JSON.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, before)) => *before = value,
            None => self.0.push((field.name(), value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| *it == name).map(|(_, value)| value.as_str())
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, text(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, text(&format!("{value:?}")));
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_format_that_is_none_says_which_there_are() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("text".parse(), Ok(Format::Text));
        assert_eq!("JSON".parse::<Format>(), Err("use json or text"));
    }

    #[test]
    fn a_line_has_each_name_once_and_no_field_takes_the_place_of_what_every_line_has() {
        let fields = |values: &[(&'static str, &str)]| {
            Fields(values.iter().map(|(name, value)| (*name, text(value))).collect())
        };
        let of_event = fields(&[("message", "settled \"so\""), ("level", "fake"), ("step", "succeed")]);
        let mut line = Line::begin("worker", "INFO", "worker::attempt", of_event.get("message"));
        line.add(&of_event);
        line.add(&fields(&[("payment_id", "pay_1"), ("step", "hidden by the event's")]));
        line.add(&fields(&[("payment_id", "hidden by the inner span's"), ("service", "fake")]));
        let line = String::from_utf8(line.end()).unwrap();

        let written: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(written.as_object().unwrap().len(), OWN.len() + 2, "{line}");
        assert_eq!(written["message"], "settled \"so\"");
        assert_eq!((&written["level"], &written["service"]), (&json!("INFO"), &json!("worker")));
        assert_eq!((&written["payment_id"], &written["step"]), (&json!("pay_1"), &json!("succeed")));
        for name in OWN.into_iter().chain(["payment_id", "step"]) {
            assert_eq!(line.matches(&format!("\"{name}\":")).count(), 1, "{name} in {line}");
        }
        assert_eq!(line.matches('\n').count(), 1);
    }
}

//! How values look on every page: times, ages, ids, evidence.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use shared::operations::breaks::{Break, explained};

/// An instant, for people and, in `datetime`, for programs.
pub(super) struct Time {
    pub(super) machine: String,
    text: String,
}

impl Time {
    /// The time to the second, for columns of times.
    pub(super) fn brief(&self) -> &str {
        self.text.split('.').next().unwrap_or(&self.text)
    }
}

impl From<DateTime<Utc>> for Time {
    fn from(at: DateTime<Utc>) -> Self {
        Self {
            machine: shared::platform::time::rfc3339(at),
            text: at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A stretch of time in its largest unit or two, as people say it.
pub(super) fn duration(time: TimeDelta) -> String {
    let ms = time.num_milliseconds().max(0);
    match ms / 1000 {
        0 => format!("{ms} ms"),
        1..10 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        secs @ 10..60 => format!("{secs} s"),
        secs @ 60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        secs @ 3600..86400 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        secs => format!("{} d {} h", secs / 86400, secs % 86400 / 3600),
    }
}

/// The beginning and the end of an id. Ids of one hour begin alike, so the end tells them apart.
pub(super) fn short(id: &str) -> String {
    let parts = id.get(..8).zip(id.len().checked_sub(8).and_then(|from| id.get(from..)));
    parts.map_or_else(|| id.to_owned(), |(start, end)| format!("{start}…{end}"))
}

/// JSON over several lines, for people.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// How an exchange with the gateway ended, in one line. None where the evidence tells of no exchange.
pub(super) fn told(evidence: &Value) -> Option<String> {
    let op = evidence["op"].as_str()?;
    if let Some(status) = evidence["http_status"].as_u64() {
        let latency = evidence["latency_ms"].as_u64().map(|ms| format!(" after {ms} ms")).unwrap_or_default();
        return Some(format!("gateway: {op} answered {status}{latency}"));
    }
    let why = ["unanswered", "unreachable", "not_sent"]
        .into_iter()
        .find_map(|how| evidence[how].as_str().map(|why| format!("{}: {why}", how.replace('_', " "))))?;
    Some(format!("gateway: {op} {why}"))
}

/// The charges that the gateway showed in an answer, one line each.
pub(super) fn charges(evidence: &Value) -> Vec<String> {
    let answer = &evidence["answer"];
    let listed = answer["data"].as_array().map_or(std::slice::from_ref(answer), Vec::as_slice);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_charge = |it: &&Value| it.get("amount").is_some() && it.get("currency").is_some();
    let line = |it: &Value| {
        format!(
            "{}: {} {}, {}",
            text(&it["id"]),
            text(&it["amount"]),
            text(&it["currency"]),
            text(&it["status"])
        )
    };
    listed.iter().filter(is_charge).map(line).collect()
}

/// How the void of a charge that came to light after its payment's end went on. None for other breaks.
fn remedy(kind: &str, detail: &Value) -> Option<&'static str> {
    if kind != "charged_after_end" {
        return None;
    }
    let void = &detail["void"];
    Some(match (void["outcome"].as_str(), void["is_over"].as_bool()) {
        (Some("confirmed"), _) => "Voided at the gateway: nothing of it stands any more.",
        (_, Some(true)) => "The gateway did not void it: it must be refunded by hand.",
        (_, Some(false) | None) => "A worker is having it voided at the gateway.",
    })
}

/// A break as it is shown.
pub(super) struct BreakView {
    pub(super) id: i64,
    /// None where the break is not about a payment.
    pub(super) payment_id: Option<String>,
    pub(super) subject: String,
    pub(super) kind: String,
    pub(super) explained: &'static str,
    pub(super) remedy: Option<&'static str>,
    pub(super) charges: Vec<String>,
    pub(super) detail: String,
    pub(super) opened_at: Time,
    pub(super) closed: Option<Closed>,
    pub(super) is_held: bool,
}

/// How a break or a dead letter was closed.
pub(super) struct Closed {
    pub(super) at: Time,
    pub(super) by: String,
    pub(super) reason: String,
}

impl From<Break> for BreakView {
    fn from(it: Break) -> Self {
        Self {
            id: it.id,
            payment_id: it.payment_id.map(|id| domain::ids::PaymentId::from(id).to_string()),
            subject: it.subject.unwrap_or_default(),
            explained: explained(&it.kind).unwrap_or_default(),
            remedy: remedy(&it.kind, &it.detail),
            kind: it.kind,
            charges: charges(&it.detail),
            detail: pretty(&it.detail),
            opened_at: it.opened_at.into(),
            closed: it.closed_at.map(|at| Closed {
                at: at.into(),
                by: it.closed_by.unwrap_or_default(),
                reason: it.closed_reason.unwrap_or_default(),
            }),
            is_held: it.is_held,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stretches_of_time_read_as_people_say_them() {
        let read = |ms| duration(TimeDelta::milliseconds(ms));
        for (ms, text) in [
            (-5, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(read(ms), text);
        }
    }

    #[test]
    fn an_exchange_is_told_in_one_line() {
        let answered = json!({ "op": "charge", "http_status": 201, "latency_ms": 12 });
        assert_eq!(told(&answered).as_deref(), Some("gateway: charge answered 201 after 12 ms"));
        let lost = json!({ "op": "charge", "unanswered": "timeout", "latency_ms": 5000 });
        assert_eq!(told(&lost).as_deref(), Some("gateway: charge unanswered: timeout"));
        let not_sent = json!({ "op": "charge", "not_sent": "too_late_to_send" });
        assert_eq!(told(&not_sent).as_deref(), Some("gateway: charge not sent: too_late_to_send"));
        assert_eq!(told(&json!({ "by": "ada" })), None);
    }

    #[test]
    fn a_break_tells_whether_its_charge_was_voided() {
        let told = |void: Value| remedy("charged_after_end", &json!({ "void": void })).unwrap_or_default();
        assert!(
            told(json!({ "outcome": "confirmed", "is_over": true })).starts_with("Voided at the gateway")
        );
        assert!(told(json!({ "outcome": "unsupported", "is_over": true })).contains("refunded by hand"));
        for under_way in [json!(null), json!({ "outcome": "no_answer", "is_over": false })] {
            assert!(told(under_way).starts_with("A worker"));
        }
        assert_eq!(remedy("transfer_missing", &json!({})), None);
    }

    #[test]
    fn the_charges_of_an_answer_are_told_one_by_one() {
        let charge = |amount: &str| json!({ "id": "ch_1", "amount": amount, "currency": "EUR", "status": "succeeded" });
        assert_eq!(charges(&json!({ "answer": charge("1.00") })), ["ch_1: 1.00 EUR, succeeded"]);
        let two = json!({ "answer": { "data": [charge("1.00"), charge("2.00")] } });
        assert_eq!(charges(&two), ["ch_1: 1.00 EUR, succeeded", "ch_1: 2.00 EUR, succeeded"]);
        for none in [json!({}), json!({ "answer": { "data": [] } }), json!({ "answer": { "code": "x" } })] {
            assert_eq!(charges(&none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn an_id_is_shortened_in_the_middle() {
        assert_eq!(short("pay_01900000000000000000000012345678"), "pay_0190…12345678");
        assert_eq!(short("short"), "short");
    }
}

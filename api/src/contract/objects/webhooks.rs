//! What merchants send and get about their webhook endpoints.

use super::events::public_event_types;
use super::{Field, Kind, Schema, at, id, maybe, maybe_at, number, object, text};

fn wanted_types() -> Vec<&'static str> {
    public_event_types().into_iter().chain(["*"]).collect()
}

fn statuses_of_endpoints() -> Vec<&'static str> {
    vec!["enabled", "disabled"]
}

fn reasons_of_endpoints() -> Vec<&'static str> {
    vec!["merchant", "gone", "failing"]
}

const TYPES: Kind = Kind::Many(&Kind::Word(wanted_types));

pub(crate) static WEBHOOK_ENDPOINT_REQUEST: Schema = Schema {
    name: "WebhookEndpointRequest",
    about: "Where events are to be sent.",
    fields: &[
        Field::new("url", Kind::Length(1, 2000), "An https URL of a public host, at port 443."),
        Field::asked("types", TYPES, "The types of events to send; all if it is left out."),
        Field::asked("description", Kind::Length(0, 1000), "Your own words for it."),
    ],
    example: "",
};

pub(crate) static WEBHOOK_RECOVERY: Schema = Schema {
    name: "WebhookRecovery",
    about: "What is sent again.",
    fields: &[Field::asked(
        "since",
        Kind::Time,
        "Only what was given up or put off since then; all if it is left out.",
    )],
    example: "",
};

pub(crate) static WEBHOOK_ENDPOINT: Schema = Schema {
    name: "WebhookEndpoint",
    about: "An endpoint that events are sent to.",
    fields: &[
        id("whe_", "The id of the endpoint."),
        object("webhook_endpoint"),
        text("url", "Where events are sent."),
        Field::new("types", TYPES, "What is sent; `*` is everything."),
        maybe("description", "Your own words for it."),
        Field::new("status", Kind::Word(statuses_of_endpoints), "Whether events are sent."),
        Field::or_null(
            "disabled_reason",
            Kind::Word(reasons_of_endpoints),
            "Why none are: you said so, the receiver is gone (410), or it failed for five days.",
        ),
        maybe_at("failing_since", "When the tries began to fail. Null where the last one did not."),
        Field::new("pending", Kind::Range(0, i64::MAX), "Deliveries that are due, or are tried again later."),
        Field::new("given_up", Kind::Range(0, i64::MAX), "Deliveries that were given up after eight tries."),
        at("created_at", "When it was made."),
        Field::optional("secret", Kind::Text, "What deliveries are signed with, for whoever made it."),
    ],
    example: "",
};

pub(crate) static WEBHOOK_ATTEMPT: Schema = Schema {
    name: "WebhookAttempt",
    about: "One try to deliver an event.",
    fields: &[
        number("The number of the attempt."),
        object("webhook_attempt"),
        text("event", "The event, which was the body."),
        text("type", "What the event tells."),
        Field::new("number", Kind::Range(1, i32::MAX as i64), "Which try of the event it was."),
        at("at", "When its result was recorded."),
        Field::new("took_ms", Kind::Range(0, i32::MAX as i64), "How long it took, in milliseconds."),
        Field::or_null(
            "http_status",
            Kind::Range(100, 999),
            "The status of the answer. Null where none came.",
        ),
        maybe("answer", "The first 4 KiB of the answer."),
        maybe("error", "Why no answer came."),
    ],
    example: "",
};

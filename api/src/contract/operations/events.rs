//! What happened, for who asks.

use super::*;

pub(super) const ALL: &[&Operation] = &[&LIST_EVENTS, &STREAM_EVENTS, &GET_EVENT];

const AFTER: Parameter =
    query("after", Kind::Text, "The last event that you were told. From the beginning without.");
const TYPES: Parameter = query("types", Kind::Text, "Only these types, with commas between.");

pub(crate) static LIST_EVENTS: Operation = Operation {
    id: "list_events",
    verb: Verb::Get,
    path: "/v1/events",
    caller: Caller::Merchant,
    about: "Lists what happened, oldest first, from any place. `next_cursor` goes into `after`.",
    takes: &[AFTER, TYPES, LIMIT],
    body: None,
    answers: &[ok("A page of events.", Content::Page(&o::PUBLIC_EVENT))],
    problems: &[Code::CursorLost],
};

pub(crate) static STREAM_EVENTS: Operation = Operation {
    id: "stream_events",
    verb: Verb::Get,
    path: "/v1/events/stream",
    caller: Caller::Merchant,
    about: "Streams what happens, as server-sent events. A client that comes back sends `Last-Event-ID`.",
    takes: &[
        AFTER,
        TYPES,
        parameter(
            Place::Header,
            false,
            "Last-Event-ID",
            Kind::Text,
            "The last event that came. It outranks `after`.",
        ),
    ],
    body: None,
    answers: &[ok("The stream. Each `data` is an event.", Content::Other("text/event-stream"))],
    problems: &[Code::CursorLost, Code::TooManyStreams],
};

pub(crate) static GET_EVENT: Operation = Operation {
    id: "get_event",
    verb: Verb::Get,
    path: "/v1/events/{id}",
    caller: Caller::Merchant,
    about: "Shows one event, in the bytes in which it is told everywhere.",
    takes: &[in_path("id", Kind::Text, "The id of the event.")],
    body: None,
    answers: &[ok("The event.", Content::One(&o::PUBLIC_EVENT))],
    problems: &[],
};

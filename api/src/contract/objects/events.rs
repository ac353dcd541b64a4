//! What merchants get of what happened.

use domain::public_event::PublicEventType;

use super::{Field, Kind, Schema, at, object, text};

pub(crate) fn public_event_types() -> Vec<&'static str> {
    PublicEventType::ALL.iter().map(|it| it.as_str()).collect()
}

pub(crate) static PUBLIC_EVENT: Schema = Schema {
    name: "PublicEvent",
    about: "Something that happened, with the object as it stood then. The bytes are the same whenever it is told.",
    fields: &[
        text("id", "The id of the event, and the place at which reading goes on."),
        object("event"),
        Field::new("type", Kind::Word(public_event_types), "What happened."),
        text("api_version", "The version of the form of events."),
        at("created_at", "When it happened."),
        Field::new("merchant", Kind::Id("mer_"), "The merchant whose event it is."),
        Field::or_null(
            "payment",
            Kind::Id("pay_"),
            "The payment that it is about. Null where it is about none.",
        ),
        Field::new(
            "version",
            Kind::Range(1, i32::MAX as i64),
            "The version that the event made of its object.",
        ),
        Field::or_null(
            "previous_version",
            Kind::Range(1, i32::MAX as i64),
            "The version of the object's event before. Null if this is the first one that is told.",
        ),
        Field {
            name: "data",
            kind: Kind::Facts,
            is_null: true,
            is_optional: false,
            about: "The payment or the endpoint as it stood. Null where part of its history is missing.",
        },
    ],
    example: "",
};

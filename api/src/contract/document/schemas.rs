//! The contract's objects as JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder,
    SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema as AnySchema};

use crate::contract::kinds::{Field, Kind, Schema};
use crate::contract::{Asked, operations};

type Described = RefOr<AnySchema>;

const NEXT_CURSOR: Field = Field::or_null(
    "next_cursor",
    Kind::Text,
    "What to send as `cursor` for the next page. Null on the last one.",
);

/// An idempotency key without quotes.
const BARE_KEY: &str = "^[!#-~][!-~]{0,254}$";

/// A decimal, as it stands in answers.
const DECIMAL: &str = r"^-?[0-9]+(\.[0-9]+)?$";

/// Every object and every list, by its name: the given ones and those within them.
pub(super) fn all(
    (whole, paged): (Vec<&'static Schema>, Vec<&'static Schema>),
) -> BTreeMap<String, Described> {
    let mut described = BTreeMap::new();
    let mut left = whole;
    while let Some(schema) = left.pop() {
        if described.insert(schema.name.to_owned(), object(schema)).is_none() {
            left.extend(schema.fields.iter().filter_map(|field| field.kind.schema()));
        }
    }
    described.extend(paged.into_iter().map(|schema| (page_name(schema), page(schema))));
    described
}

/// The name of a page of these.
pub(super) fn page_name(schema: &Schema) -> String {
    format!("{}Page", schema.name)
}

fn object(schema: &Schema) -> Described {
    let mut object = ObjectBuilder::new().schema_type(Type::Object).description(Some(schema.about));
    for field in schema.fields {
        object = object.property(field.name, property(field));
        if !field.is_optional {
            object = object.required(field.name);
        }
    }
    // A field that is not known is refused, as it may be a misspelt one. Answers may have more fields later.
    let asked: Vec<_> = operations::all().filter_map(|it| it.body).flat_map(Asked::schemas).collect();
    let within = asked.iter().flat_map(|body| body.fields).filter_map(|field| field.kind.schema());
    if asked.iter().copied().chain(within).any(|body| body.name == schema.name) {
        object = object.additional_properties(Some(AdditionalProperties::FreeForm(false)));
    }
    if let Ok(example) = serde_json::from_str::<Value>(schema.example) {
        object = object.examples([example]);
    }
    object.into()
}

fn page(schema: &Schema) -> Described {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("A page of a list."))
        .property("object", simple(Type::String).enum_values(Some(["list"])))
        .property("data", ArrayBuilder::new().items(reference(schema)))
        .property(
            "has_more",
            simple(Type::Boolean).description(Some("Whether there are more after this page.")),
        )
        .property(NEXT_CURSOR.name, property(&NEXT_CURSOR))
        .required("next_cursor")
        .required("object")
        .required("data")
        .required("has_more")
        .into()
}

fn property(field: &Field) -> Described {
    match of(field.kind) {
        RefOr::T(AnySchema::Object(object)) => {
            let object = if field.is_null { or_null(object) } else { object };
            ObjectBuilder::from(object).description(Some(field.about)).into()
        }
        RefOr::T(AnySchema::Array(array)) => {
            let array = ArrayBuilder::from(array).description(Some(field.about));
            let or_null = || SchemaType::from_iter([Type::Array, Type::Null]);
            if field.is_null { array.schema_type(or_null()).into() } else { array.into() }
        }
        described @ (RefOr::Ref(_) | RefOr::T(_)) if field.is_null => {
            either_with([described, ObjectBuilder::new().schema_type(Type::Null).into()], Some(field.about))
        }
        described @ (RefOr::Ref(_) | RefOr::T(_)) => described,
    }
}

/// The same, or null.
fn or_null(mut object: Object) -> Object {
    object.schema_type = match object.schema_type {
        SchemaType::Type(one) => SchemaType::from_iter([one, Type::Null]),
        SchemaType::Array(several) => SchemaType::from_iter(several.into_iter().chain([Type::Null])),
        SchemaType::AnyValue => SchemaType::AnyValue,
    };
    if let Some(words) = &mut object.enum_values {
        words.push(Value::Null);
    }
    object
}

/// One of two.
pub(super) fn either(one: Described, other: Described) -> Described {
    either_with([one, other], None)
}

fn either_with(schemas: [Described; 2], about: Option<&str>) -> Described {
    let either = schemas.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item);
    either.description(about).into()
}

/// A string.
pub(super) fn text() -> Described {
    simple(Type::String).into()
}

fn simple(of: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(of)
}

/// A value of this kind.
pub(super) fn of(kind: Kind) -> Described {
    match kind {
        Kind::Text => text(),
        Kind::Length(min, max) => simple(Type::String).min_length(Some(min)).max_length(Some(max)).into(),
        Kind::Word(words) => simple(Type::String).enum_values(Some(words())).into(),
        Kind::Constant(word) => simple(Type::String).enum_values(Some([word])).into(),
        Kind::Id(prefix) => simple(Type::String).pattern(Some(format!("^{prefix}[0-9a-f]{{32}}$"))).into(),
        Kind::Key => simple(Type::String).pattern(Some(BARE_KEY)).into(),
        Kind::Number => {
            simple(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))).into()
        }
        Kind::Range(min, max) => {
            simple(Type::Integer).minimum(Some(whole(min))).maximum(Some(whole(max))).into()
        }
        Kind::Flag => simple(Type::Boolean).into(),
        Kind::Time => {
            simple(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
        }
        Kind::Amount => simple(Type::String).pattern(Some(DECIMAL)).examples([json!("12.50")]).into(),
        Kind::AmountIn => AnyOfBuilder::new()
            .item(simple(Type::String).pattern(Some(DECIMAL)))
            .item(simple(Type::Number))
            .into(),
        Kind::Texts => {
            simple(Type::Object).additional_properties(Some(AdditionalProperties::RefOr(text()))).into()
        }
        Kind::Facts => {
            simple(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
        }
        Kind::Anything => ObjectBuilder::new().schema_type(SchemaType::AnyValue).into(),
        Kind::One(schema) => reference(schema),
        Kind::Many(kind) => ArrayBuilder::new().items(of(*kind)).into(),
        Kind::Between(min, max, kind) => {
            ArrayBuilder::new().items(of(*kind)).min_items(Some(min)).max_items(Some(max)).into()
        }
    }
}

fn whole(number: i64) -> utoipa::Number {
    usize::try_from(number).map_or_else(|_| utoipa::Number::Int(0), utoipa::Number::UInt)
}

fn reference(schema: &Schema) -> Described {
    RefOr::Ref(Ref::from_schema_name(schema.name))
}

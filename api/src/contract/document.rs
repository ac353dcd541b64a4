//! The contract as a document of OpenAPI 3.1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::info::{InfoBuilder, LicenseBuilder};
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, ParameterStyle, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::schema::{Components, ComponentsBuilder};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    HttpMethod, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Required, Response, Schema as AnySchema,
};

use super::codes::{Code, Retry};
use super::kinds::{Kind, Schema};
use super::{Answer, Asked, Caller, Content, Operation, Parameter, Place, Verb, objects, operations};

mod schemas;

/// The document as it is served. It is made once.
pub(crate) static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // It serializes: a test does it.
    let document = document().to_pretty_json().unwrap_or_default();
    document + "\n"
});

/// What each header is that an answer may have.
const HEADERS: &[(&str, &str)] = &[
    ("Request-Id", "The id of this request, for questions to us."),
    ("X-Correlation-Id", "The correlation id of this request: the one that it brought, or else its own id."),
    ("Location", "The address of the object that was made."),
    (
        "Idempotent-Replayed",
        "`true` if an earlier request with the key made the object, `false` if this one did.",
    ),
    ("Preference-Applied", "The preference of the request that was kept."),
    ("ETag", "The state of the object, weak and opaque. Send it back as `If-None-Match`."),
    ("RateLimit", "What is left of the key's limit, and for how long, if it has one."),
    ("RateLimit-Policy", "The key's limit, if it has one."),
    ("Retry-After", "The seconds after which the same request may well succeed."),
    ("WWW-Authenticate", "How to send a key."),
];

/// The headers of every answer.
const ALWAYS: &[&str] = &["Request-Id", "X-Correlation-Id"];

/// The headers of every answer to a key that has a limit.
const LIMITED: &[&str] = &["RateLimit", "RateLimit-Policy"];

const INTRODUCTION: &str = "Payonce records payments once per idempotency key, and charges each of them once. \
    Money is a decimal in a string, times are in UTC by RFC 3339, and ids are opaque. A field that you do not \
    know may appear at any time; none is taken away. Every problem is a document by RFC 9457, with a `code` to \
    branch on.";

fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Payonce")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(INTRODUCTION))
        .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()));
    let mut items: BTreeMap<&str, PathItem> = BTreeMap::new();
    for operation in operations::all() {
        let item = PathItem::new(method(operation.verb), described(operation));
        items.entry(operation.path).or_default().merge_operations(item);
    }
    let paths = items.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(
            [Caller::Merchant, Caller::Operator, Caller::Anybody].map(|caller| {
                TagBuilder::new().name(tag(caller)).description(Some(tag_about(caller))).build()
            }),
        ))
        .paths(paths.build())
        .components(Some(components()))
        .build()
}

const fn method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Get => HttpMethod::Get,
        Verb::Post => HttpMethod::Post,
    }
}

/// The group of operations, by who may ask for them.
pub(super) const fn tag(caller: Caller) -> &'static str {
    match caller {
        Caller::Merchant => "payments",
        Caller::Operator => "operators",
        Caller::Anybody => "service",
    }
}

pub(super) const fn tag_about(caller: Caller) -> &'static str {
    match caller {
        Caller::Merchant => "For merchants, with an API key.",
        Caller::Operator => "For people who operate the system, with an admin key.",
        Caller::Anybody => "For anybody, without a key.",
    }
}

fn described(operation: &Operation) -> utoipa::openapi::path::Operation {
    let mut described = OperationBuilder::new()
        .tag(tag(operation.caller))
        .operation_id(Some(operation.id))
        .summary(Some(summary(operation.id)))
        .description(Some(operation.about))
        .responses(responses(operation));
    for parameter in operation.takes {
        described = described.parameter(described_parameter(parameter));
    }
    if let Some(asked) = operation.body {
        let schema = match asked {
            Asked::One(schema) => reference(schema),
            Asked::Either(one, other) => schemas::either(reference(one), reference(other)),
        };
        let mut content = ContentBuilder::new().schema(Some(schema));
        let example = asked.schemas().find_map(|schema| serde_json::from_str(schema.example).ok());
        if example.is_some() {
            content = content.example(example);
        }
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        described = described.request_body(Some(body.content("application/json", content.build()).build()));
    }
    for scheme in schemes(operation.caller) {
        described = described.security(SecurityRequirement::new(*scheme, [""; 0]));
    }
    described.build()
}

/// The name of an operation as a title: `create_payment` is "Create payment".
pub(super) fn summary(id: &str) -> String {
    let words = id.replace('_', " ");
    let (first, rest) = words.split_at(1);
    first.to_uppercase() + rest
}

/// The ways to send a key, of which a request uses one.
const fn schemes(caller: Caller) -> &'static [&'static str] {
    match caller {
        Caller::Merchant => &["api_key", "bearer_api_key"],
        Caller::Operator => &["admin_key", "bearer_admin_key"],
        Caller::Anybody => &[],
    }
}

fn described_parameter(parameter: &Parameter) -> utoipa::openapi::path::Parameter {
    let place = match parameter.place {
        Place::Path => ParameterIn::Path,
        Place::Query => ParameterIn::Query,
        Place::Header => ParameterIn::Header,
    };
    // `metadata[name]=value`, one parameter for each name.
    let is_object = matches!(parameter.field.kind, Kind::Texts);
    ParameterBuilder::new()
        .style(is_object.then_some(ParameterStyle::DeepObject))
        .explode(is_object.then_some(true))
        .name(parameter.field.name)
        .parameter_in(place)
        .required(if parameter.is_needed { Required::True } else { Required::False })
        .description(Some(parameter.field.about))
        .schema(Some(schemas::of(parameter.field.kind)))
        .build()
}

fn responses(operation: &Operation) -> utoipa::openapi::Responses {
    let mut responses = ResponsesBuilder::new();
    for answer in operation.answers {
        let mut described = described_answer(answer);
        if operation.caller == Caller::Merchant {
            for name in LIMITED {
                described.headers.insert((*name).to_owned(), RefOr::Ref(header_reference(name)));
            }
        }
        responses = responses.response(answer.status.to_string(), described);
    }
    let problems = operation.all_problems();
    for codes in problems.chunk_by(|a, b| a.status() == b.status()) {
        if let [first, ..] = codes {
            responses = responses.response(first.status().as_str(), described_problem(codes));
        }
    }
    responses.build()
}

fn described_answer(answer: &Answer) -> Response {
    let schema = match answer.content {
        Content::One(schema) => Some(reference(schema)),
        Content::Page(schema) => Some(Ref::from_schema_name(schemas::page_name(schema)).into()),
        Content::OneOrPage(schema) => {
            let page = Ref::from_schema_name(schemas::page_name(schema)).into();
            Some(schemas::either(reference(schema), page))
        }
        Content::Either(one, other) => Some(schemas::either(reference(one), reference(other))),
        Content::Empty | Content::Other(_) => None,
    };
    let mut response = ResponseBuilder::new().description(answer.about);
    if !matches!(answer.content, Content::Empty) {
        let content = ContentBuilder::new().schema(schema).build();
        response = response.content(answer.content.media_type(), content);
    }
    for name in ALWAYS.iter().chain(answer.headers) {
        response = response.header_ref(*name, header_reference(name));
    }
    for id in answer.links {
        let link = LinkBuilder::new().operation_id(*id).parameter("id", "$response.body#/id").build();
        response = response.link(*id, link);
    }
    response.build()
}

/// All problems of one status.
fn described_problem(codes: &[Code]) -> Response {
    let about: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.about())).collect();
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    let content = ContentBuilder::new().schema(Some(reference(&objects::PROBLEM))).build();
    let mut response = ResponseBuilder::new()
        .description(about.join("\n\n"))
        .content("application/problem+json", content)
        .extensions(Some(ExtensionsBuilder::new().add("x-problem-codes", json!(words)).build()));
    for name in ALWAYS {
        response = response.header_ref(*name, header_reference(name));
    }
    if codes.iter().any(|code| code.retry() == Retry::After) {
        response = response.header_ref("Retry-After", header_reference("Retry-After"));
    }
    if codes.contains(&Code::Unauthorized) {
        response = response.header_ref("WWW-Authenticate", header_reference("WWW-Authenticate"));
    }
    response.build()
}

fn header_reference(name: &str) -> Ref {
    Ref::new(format!("#/components/headers/{name}"))
}

fn reference(schema: &Schema) -> RefOr<AnySchema> {
    RefOr::Ref(Ref::from_schema_name(schema.name))
}

fn components() -> Components {
    let mut components = ComponentsBuilder::new();
    for (name, about) in HEADERS {
        let header = HeaderBuilder::new().schema(Some(schemas::text())).description(Some(*about));
        components = components.header(*name, header.build());
    }
    let of_key = |name: &str| {
        [
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name))),
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        ]
    };
    for caller in [Caller::Merchant, Caller::Operator] {
        for (name, scheme) in schemes(caller).iter().zip(of_key("X-API-Key")) {
            components = components.security_scheme(*name, scheme);
        }
    }
    for (name, schema) in schemas::all(needed()) {
        components = components.schema(name, schema);
    }
    components.build()
}

/// The objects of requests and answers, without those within them, and those of which there are lists.
fn needed() -> (Vec<&'static Schema>, Vec<&'static Schema>) {
    let (mut whole, mut paged, mut seen) = (vec![&objects::PROBLEM], Vec::new(), BTreeSet::new());
    for operation in operations::all() {
        whole.extend(operation.body.into_iter().flat_map(Asked::schemas));
        for answer in operation.answers {
            match answer.content {
                Content::One(schema) => whole.push(schema),
                Content::Either(one, other) => whole.extend([one, other]),
                Content::Page(schema) | Content::OneOrPage(schema) => {
                    whole.push(schema);
                    paged.push(schema);
                }
                Content::Empty | Content::Other(_) => {}
            }
        }
    }
    paged.retain(|schema| seen.insert(schema.name));
    (whole, paged)
}

#[cfg(test)]
mod tests;

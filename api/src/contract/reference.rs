//! The contract as pages for people, and the document for programs.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::codes::{Code, Retry};
use super::document::{DOCUMENT, summary, tag, tag_about};
use super::kinds::{Field, Schema};
use super::{Asked, Caller, Content, Operation, Place, objects, operations};
use crate::problem::Problem;
use crate::query::NoParams;

/// What a page may load: its own style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long a browser may keep what changes only with the program.
const KEPT: &str = "public, max-age=300";

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference {
    version: &'static str,
    groups: Vec<Group>,
    objects: Vec<&'static Schema>,
    codes: &'static [Code],
}

/// The operations for one kind of caller.
struct Group {
    name: &'static str,
    about: &'static str,
    operations: Vec<&'static Operation>,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Explained {
    code: Code,
    operations: Vec<&'static Operation>,
}

/// `GET /openapi.json`: the contract as a document of OpenAPI 3.1.
pub(crate) async fn openapi(_: NoParams) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, KEPT)], DOCUMENT.as_str()).into_response()
}

/// `GET /docs`: the contract as a page.
pub(crate) async fn page(_: NoParams) -> Result<Response, Problem> {
    let groups = [Caller::Merchant, Caller::Operator, Caller::Anybody].map(|caller| Group {
        name: tag(caller),
        about: tag_about(caller),
        operations: operations::all().filter(|operation| operation.caller == caller).collect(),
    });
    let page = Reference {
        version: env!("CARGO_PKG_VERSION"),
        groups: groups.into(),
        objects: objects(),
        codes: Code::ALL,
    };
    shown(&page)
}

/// `GET /problems/{code}`: what the code of a problem means.
pub(crate) async fn problem(
    _: NoParams,
    code: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(word) = code.map_err(|_| Problem::NotFound("code"))?;
    let code = Code::ALL.iter().find(|code| code.as_str() == word).ok_or(Problem::NotFound("code"))?;
    let operations = operations::all().filter(|operation| operation.all_problems().contains(code)).collect();
    shown(&Explained { code: *code, operations })
}

fn shown(page: &impl Template) -> Result<Response, Problem> {
    let html = page.render().map_err(|why| {
        tracing::error!(%why, "a page of the contract");
        Problem::Internal
    })?;
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, KEPT),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((headers, html).into_response())
}

/// Every object of a request or an answer, each once, the outer ones first.
fn objects() -> Vec<&'static Schema> {
    let mut found: Vec<&'static Schema> = Vec::new();
    for operation in operations::all() {
        let of_answers = operation.answers.iter().flat_map(|answer| match answer.content {
            Content::One(schema) | Content::Page(schema) | Content::OneOrPage(schema) => vec![schema],
            Content::Either(one, other) => vec![one, other],
            Content::Empty | Content::Other(_) => Vec::new(),
        });
        for schema in operation.body.into_iter().flat_map(Asked::schemas).chain(of_answers) {
            add(&mut found, schema);
        }
    }
    add(&mut found, &objects::PROBLEM);
    found
}

fn add(found: &mut Vec<&'static Schema>, schema: &'static Schema) {
    if found.iter().any(|known| known.name == schema.name) {
        return;
    }
    found.push(schema);
    for field in schema.fields {
        if let Some(within) = field.kind.schema() {
            add(found, within);
        }
    }
}

impl Operation {
    fn title(&self) -> String {
        summary(self.id)
    }
}

impl Place {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

impl Content {
    fn in_words(self) -> String {
        match self {
            Self::One(schema) => schema.name.to_owned(),
            Self::Page(schema) => format!("page of {}", schema.name),
            Self::OneOrPage(schema) => format!("{0}, or page of {0}", schema.name),
            Self::Either(one, other) => format!("{} or {}", one.name, other.name),
            Self::Empty => "none".to_owned(),
            Self::Other(media_type) => media_type.to_owned(),
        }
    }
}

impl Field {
    const fn presence(&self) -> &'static str {
        match (self.is_optional, self.is_null) {
            (false, false) => "",
            (false, true) => "or null",
            (true, false) => "may be left out",
            (true, true) => "may be left out or null",
        }
    }
}

impl Code {
    const fn repeating(self) -> &'static str {
        match self.retry() {
            Retry::Never => "Repeating the same request does not help.",
            Retry::Sometime => "The same request may well succeed later.",
            Retry::After => "The same request may well succeed after the time in Retry-After.",
        }
    }
}

//! The API's contract, as its OpenAPI document tells it: each answer that a test gets is held against it, and
//! afterwards each entry against what the tests have seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::Answer;

/// The problems that no test can bring about at will: faults of ours, and moments of overload.
const UNFORESEEN: [&str; 3] = ["internal", "reduced_capacity", "unavailable"];

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(api::openapi()).expect("the document is JSON"));

/// The document's objects with no other fields than theirs. Clients must bear fields that they do not know,
/// but here one that the document does not name is a fault of the document.
static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DOCUMENT["components"].clone();
    close(&mut components["schemas"]);
    components
});

static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// An operation of the document.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its `operationId`.
    pub id: String,
    /// The method, in capital letters.
    pub method: String,
    /// The path, with parameters in braces.
    pub path: String,
    /// The document's own words.
    pub described: &'static Value,
}

impl Operation {
    /// Whether it asks for a key of the kind whose scheme has this name.
    #[must_use]
    pub fn takes(&self, scheme: &str) -> bool {
        let security = self.described["security"].as_array();
        security.into_iter().flatten().any(|it| it.get(scheme).is_some())
    }

    /// The name of the body's object, if it takes a body.
    #[must_use]
    pub fn body(&self) -> Option<&'static str> {
        let schema = &self.described["requestBody"]["content"]["application/json"]["schema"];
        // Of two, the first one.
        let schema = if schema["oneOf"].is_array() { &schema["oneOf"][0] } else { schema };
        schema["$ref"].as_str()?.rsplit('/').next()
    }

    /// The path for these values of its parameters.
    #[must_use]
    pub fn path_with(&self, value: &str) -> String {
        let mut segments = self.path.split('/').map(|it| if it.starts_with('{') { value } else { it });
        let first = segments.next().unwrap_or_default().to_owned();
        segments.fold(first, |path, segment| path + "/" + segment)
    }

    /// The path of an object that there is not.
    #[must_use]
    pub fn path_of_nothing(&self) -> String {
        let parameters = self.described["parameters"].as_array().into_iter().flatten();
        let mut patterns = parameters.filter(|it| it["in"] == "path").map(|it| &it["schema"]["pattern"]);
        let pattern = patterns.next().and_then(Value::as_str).unwrap_or_default();
        match pattern.trim_start_matches('^').split_once('[') {
            Some((prefix, _)) => self.path_with(&format!("{prefix}{}", "0".repeat(32))),
            None => self.path_with("999999999"),
        }
    }

    fn takes_path(&self, path: &str) -> bool {
        let (mine, asked) = (self.path.split('/'), path.split('/'));
        mine.clone().count() == asked.clone().count()
            && mine.zip(asked).all(|(mine, asked)| mine.starts_with('{') || mine == asked)
    }
}

/// The document itself.
#[must_use]
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// Every operation of the document.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let paths = DOCUMENT["paths"].as_object().expect("the document has paths");
    let of_path = |(path, item): (&String, &'static Value)| {
        let methods = item.as_object().expect("a path has methods");
        let made = |(method, described): (&String, &'static Value)| Operation {
            id: described["operationId"].as_str().expect("an operation has a name").to_owned(),
            method: method.to_uppercase(),
            path: path.clone(),
            described,
        };
        methods.iter().map(made).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Holds the body of an answer against the document, where it is the answer to one of its operations.
///
/// # Panics
/// The body is not what the document says.
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let method = if method == "HEAD" { return } else { method };
    // Workers have paths of these names, too.
    let is_packed = answer.headers.contains_key("content-encoding");
    if !path.starts_with("/v1/") || answer.body.is_empty() || is_packed {
        return;
    }
    let all = operations();
    // A path that stands by itself is not also one that takes an id.
    let stands_by_itself = all.iter().any(|it| it.path == path);
    let takes = |it: &&Operation| if stands_by_itself { it.path == path } else { it.takes_path(path) };
    let Some(operation) = all.iter().find(|it| it.method == method && takes(it)) else { return };
    let status = answer.status.to_string();
    let told = &operation.described["responses"][&status]["content"];
    let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
    let schema = &told[media_type]["schema"];
    assert!(schema.is_object(), "{} answers {status} with {media_type}", operation.id);
    let body = answer.json();
    let problems: Vec<_> =
        validator(schema).iter_errors(&body).map(|why| format!("{}: {why}", why.instance_path())).collect();
    assert!(problems.is_empty(), "{} answers {status} with {body}, but {problems:#?}", operation.id);
}

fn validator(schema: &Value) -> Arc<Validator> {
    let mut known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = || {
        let mut whole = schema.clone();
        whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        whole["components"] = COMPONENTS.clone();
        Arc::new(jsonschema::options().should_validate_formats(true).build(&whole).expect("a schema"))
    };
    known.entry(schema.to_string()).or_insert_with(made).clone()
}

fn close(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The entries of the document that none of the notes in this directory tells of: an operation with a status,
/// and a problem's code or a dash.
///
/// # Errors
/// The notes cannot be read.
pub fn unseen(notes: &Path) -> std::io::Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(notes)? {
        seen.extend(fs::read_to_string(entry?.path())?.lines().map(str::to_owned));
    }
    let mut missing = BTreeMap::new();
    for operation in operations() {
        let responses = operation.described["responses"].as_object().into_iter().flatten();
        for (status, response) in responses {
            let codes = response["x-problem-codes"].as_array();
            let words: Vec<_> = codes.into_iter().flatten().filter_map(Value::as_str).collect();
            let words = if words.is_empty() { vec!["-"] } else { words };
            for word in words.into_iter().filter(|word| !UNFORESEEN.contains(word)) {
                missing.insert(format!("{} {status} {word}", operation.id), ());
            }
        }
    }
    Ok(missing.into_keys().filter(|entry| !seen.contains(entry)).collect())
}

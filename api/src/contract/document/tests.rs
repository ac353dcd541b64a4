//! The document is whole, and the one that is committed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn read() -> Value {
    serde_json::from_str(&DOCUMENT).unwrap()
}

#[test]
fn it_is_openapi_3_1_and_the_one_that_is_committed() {
    assert!(read()["openapi"].as_str().unwrap().starts_with("3.1."), "{}", read()["openapi"]);
    let committed = include_str!("../../../../docs/openapi.json");
    assert!(committed == *DOCUMENT, "docs/openapi.json is another one: `make openapi` writes it anew");
}

#[test]
fn every_operation_has_a_name_and_a_path_of_its_own() {
    let (mut ids, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for operation in operations::all() {
        let verb = operation.id.split('_').next().unwrap_or_default();
        let is_verb = [
            "create", "get", "list", "open", "post", "void", "refund", "resolve", "propose", "approve",
            "deny", "decide", "withdraw", "replay", "discard", "stream", "rotate", "disable", "recover",
            "test",
        ];
        assert!(is_verb.contains(&verb), "{} begins with no verb that is known here", operation.id);
        assert!(ids.insert(operation.id), "{} stands twice", operation.id);
        assert!(paths.insert((operation.path, operation.verb.as_str())), "{} stands twice", operation.path);
    }
}

#[test]
fn every_link_leads_to_an_operation_that_takes_an_id() {
    for operation in operations::all() {
        for link in operation.answers.iter().flat_map(|answer| answer.links) {
            let target = operations::all().find(|it| it.id == *link).expect(link);
            assert!(target.path.contains("{id}"), "{link}");
        }
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = read();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_header_of_an_answer_is_explained() {
    let explained: Vec<_> = HEADERS.iter().map(|(name, _)| *name).collect();
    for operation in operations::all() {
        for name in operation.answers.iter().flat_map(|answer| answer.headers) {
            assert!(explained.contains(name), "{name}");
        }
    }
}

#[test]
fn every_example_is_json() {
    for operation in operations::all() {
        for schema in operation.body.into_iter().flat_map(Asked::schemas) {
            let example = schema.example;
            assert!(example.is_empty() || serde_json::from_str::<Value>(example).is_ok(), "{example}");
        }
    }
}

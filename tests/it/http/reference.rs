//! `docs/API.md` names what the contract has: every path, parameter, field, code and status, and every token.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::contract::{document, operations};

use crate::tidy::{quoted, text};

const PAGE: &str = "docs/API.md";

/// Everything that the page names in backticks, in pieces.
fn named(page: &str) -> BTreeSet<String> {
    let pieces = quoted(page).flat_map(|it| it.split([' ', '?', '&', '=', '{', '}', ',', ':', '[']));
    pieces.map(|it| it.trim_matches('"').to_owned()).filter(|it| !it.is_empty()).collect()
}

/// The name and the words of everything below a key of the document.
fn entries(of: &Value) -> impl Iterator<Item = (&str, &Value)> {
    of.as_object().unwrap().iter().map(|(name, what)| (name.as_str(), what))
}

#[test]
fn the_reference_names_every_path_and_parameter() {
    let page = text(PAGE);
    let named = named(&page);
    for operation in operations() {
        let path = &operation.path;
        let is_told = page.contains(&format!("{path}`")) || page.contains(&format!("{path}?"));
        assert!(is_told, "{PAGE} does not tell of {path}");
        for parameter in operation.described["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            assert!(parameter["in"] == "path" || named.contains(name), "{PAGE}: {path} takes {name}");
        }
    }
}

#[test]
fn the_reference_names_every_field_of_what_merchants_send_and_get() {
    let page = text(PAGE);
    let named = named(&page);
    let objects = &document()["components"]["schemas"];
    let of_merchants = [
        "PaymentRequest",
        "Payment",
        "PaymentPage",
        "Failure",
        "GatewayCharge",
        "Event",
        "IdempotencyKey",
        "AccountRequest",
        "Account",
        "Entry",
        "TransferRequest",
        "TransferGroupRequest",
        "Transfer",
        "PostingRequest",
        "Problem",
    ];
    for object in of_merchants {
        let fields: Vec<_> = entries(&objects[object]["properties"]).collect();
        assert!(!fields.is_empty(), "{object}");
        for (field, what) in fields {
            assert!(named.contains(field), "{PAGE} does not name {object}.{field}");
            let words = what["enum"].as_array().filter(|words| words.len() < 10);
            for word in words.into_iter().flatten().filter_map(Value::as_str) {
                let is_told = named.contains(word) || field == "held_reason";
                assert!(is_told, "{PAGE} does not tell of {object}.{field} = {word}");
            }
        }
    }
}

#[test]
fn the_reference_tells_of_every_code_of_a_problem_with_its_status() {
    let page = text(PAGE);
    let rows: Vec<(&str, &str)> =
        page.lines().filter_map(|line| Some((line.strip_prefix("| ")?.split(' ').next()?, line))).collect();
    let mut seen = 0;
    for operation in operations() {
        for (status, response) in entries(&operation.described["responses"]) {
            for code in response["x-problem-codes"].as_array().into_iter().flatten() {
                let code = code.as_str().unwrap();
                let is_told = rows.iter().any(|(of, row)| *of == status && quoted(row).any(|it| it == code));
                assert!(is_told, "{PAGE} does not tell of {status} {code}");
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn the_reference_names_every_token() {
    let named = named(&text(PAGE));
    let tokens = text("simgateway/src/token.rs");
    let tokens: Vec<_> = tokens.split("name:").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect();
    assert!(tokens.len() >= 18, "{tokens:?}");
    for token in tokens {
        let is_told = named.contains(token) || named.contains(&format!("{token}…"));
        assert!(is_told, "{PAGE} does not name the token {token}");
    }
}

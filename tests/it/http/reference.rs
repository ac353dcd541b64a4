//! `docs/API.md` names what there is: every path, parameter, code, status, field and test token.

use std::collections::{BTreeMap, BTreeSet};

use domain::status::PaymentStatus;

use super::keys::routes;
use crate::tidy::{quoted, sources, text};

const PAGE: &str = "docs/API.md";

/// The words in quotes that follow this in the text.
fn words_after<'a>(text: &'a str, what: &str) -> BTreeSet<&'a str> {
    text.split(what)
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

/// Everything that the page names in backticks, in pieces.
fn named(page: &str) -> BTreeSet<String> {
    let pieces = quoted(page).flat_map(|it| it.split([' ', '?', '&', '=', '{', '}', ',', ':']));
    pieces.map(|it| it.trim_matches('"').to_owned()).filter(|it| !it.is_empty()).collect()
}

#[track_caller]
fn check_named<'a>(
    named: &BTreeSet<String>,
    what: &str,
    words: impl IntoIterator<Item = &'a str>,
    least: usize,
) {
    let mut seen = 0;
    for word in words {
        assert!(named.contains(word), "{PAGE} does not name the {what} {word}");
        seen += 1;
    }
    assert!(seen >= least, "only {seen} are seen: {what}");
}

#[test]
fn the_reference_names_every_path_parameter_code_field_and_token() {
    let page = text(PAGE);
    let named = named(&page);
    let paths: BTreeSet<String> = routes("api/src").into_iter().map(|(_, path)| path).collect();
    for path in paths.iter().filter(|path| !path.starts_with("/ops")) {
        let path = path.replace("/1", "/{id}");
        assert!(page.contains(&format!("{path}`")) || page.contains(&format!("{path}?")), "{PAGE}: {path}");
    }
    for (file, text) in
        sources(&["api/src/routes"]).iter().chain(&[("pages".to_owned(), text("api/src/pages.rs"))])
    {
        for how in ["parsed(", "word(", "flag(", "needed(", "entries("] {
            check_named(&named, file, words_after(text, &format!("params.{how}")), 0);
        }
    }
    check_named(&named, "parameter", ["amount_min", "limit", "cursor", "starting_after", "wait", "kind"], 6);
    check_named(&named, "status", PaymentStatus::ALL.iter().map(|status| status.as_str()), 5);
    let render = text("api/src/render.rs");
    for view in ["PaymentView", "FailureView", "GatewayView", "EventView", "ListView"] {
        let (_, fields) = render.split_once(&format!("struct {view}<")).unwrap();
        let fields = fields.split("\n}\n").next().unwrap().lines();
        let fields =
            fields.filter_map(|line| line.strip_prefix("    ")?.split_once(": ").map(|(name, _)| name));
        check_named(&named, view, fields.map(|name| if name == "event_type" { "type" } else { name }), 1);
    }
    let tokens = text("simgateway/src/token.rs");
    check_named(&named, "token", words_after(&tokens, "Token { name:"), 5);
    let tokens = words_after(&tokens, "name:");
    check_named(&named, "token", tokens, 18);
}

/// The statuses of problems, as the code names them.
const STATUSES: [(&str, u16); 13] = [
    ("BAD_REQUEST", 400),
    ("UNAUTHORIZED", 401),
    ("FORBIDDEN", 403),
    ("NOT_FOUND", 404),
    ("METHOD_NOT_ALLOWED", 405),
    ("REQUEST_TIMEOUT", 408),
    ("CONFLICT", 409),
    ("PAYLOAD_TOO_LARGE", 413),
    ("UNSUPPORTED_MEDIA_TYPE", 415),
    ("UNPROCESSABLE_ENTITY", 422),
    ("TOO_MANY_REQUESTS", 429),
    ("INTERNAL_SERVER_ERROR", 500),
    ("SERVICE_UNAVAILABLE", 503),
];

#[test]
fn the_reference_tells_of_every_code_and_status_of_a_problem() {
    let page = text(PAGE);
    let problem = text("api/src/problem.rs");
    let rows: BTreeMap<&str, u16> = page
        .lines()
        .filter_map(|line| Some((line, line.strip_prefix("| ")?.split(' ').next()?.parse().ok()?)))
        .filter(|(_, status)| (400..600).contains(status))
        .collect();
    let told: BTreeSet<&str> = rows.keys().flat_map(|row| quoted(row)).collect();
    let codes = words_after(&problem, "=>");
    assert!(codes.len() > 25, "{codes:?}");
    for code in codes {
        assert!(told.contains(code), "{PAGE} does not tell of {code}");
    }
    let coded = problem.split("StatusCode::").skip(1);
    let coded: BTreeSet<String> = coded
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect())
        .collect();
    assert!(coded.len() > 10, "{coded:?}");
    for name in coded {
        let status = STATUSES.iter().find(|(known, _)| *known == name).map(|(_, status)| status);
        assert!(rows.values().any(|told| Some(told) == status), "{PAGE} does not tell of {name}");
    }
}

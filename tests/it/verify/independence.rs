//! The checker uses nothing of what it checks: a mistake shared by both would be seen by neither.

use std::fs;
use std::path::Path;

/// What a line uses that the checker must not use. None where it uses nothing of that kind.
fn borrowed(line: &str) -> Option<String> {
    let code = line.trim_start();
    if code.starts_with("//") {
        return None;
    }
    let follows = |path: &str| code.split(path).nth(1).map(str::to_owned);
    for package in ["api::", "worker::", "simgateway::", "shared::"] {
        if code.contains(package) {
            return Some(package.to_owned());
        }
    }
    let not_an_id = follows("domain::").filter(|rest| !rest.starts_with("ids::"));
    let writes = ["insert into", "update ", "delete from", "truncate"];
    not_an_id.or_else(|| writes.iter().find(|word| code.contains(**word)).map(|word| (*word).to_owned()))
}

#[test]
fn verify_uses_only_ids_and_writes_nothing() {
    let checker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verify/src");
    let mut read = 0;
    for file in fs::read_dir(checker).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            assert_eq!(borrowed(line), None, "{}: {line}", file.display());
        }
        read += usize::from(text.contains("domain::ids"));
    }
    assert!(read >= 5, "only {read} files use ids: is this still the checker?");
}

#[test]
fn a_line_that_borrows_is_seen() {
    for line in [
        "use shared::payment::history;",
        "    domain::money::Money::parse(text)",
        "use domain::{ids, money};",
        "use shared::database::connect;",
        "    worker::settle()",
        "    \"update payments set status = 'succeeded'\"",
    ] {
        assert!(borrowed(line).is_some(), "{line}");
    }
    for line in ["use domain::ids::PaymentId;", "use terminal::{output, progress};", "//! uses domain::money"]
    {
        assert_eq!(borrowed(line), None, "{line}");
    }
}

//! The checker uses nothing of what it checks: a mistake shared by both would be seen by neither.

use std::fs;
use std::path::Path;

/// What a line of it uses that it must not.
fn borrowed(line: &str) -> Option<String> {
    let code = line.trim_start();
    if code.starts_with("//") {
        return None;
    }
    let follows = |path: &str| code.split(path).nth(1).map(str::to_owned);
    for package in ["api::", "worker::", "simgateway::"] {
        if code.contains(package) {
            return Some(package.to_owned());
        }
    }
    let allowed: [(&str, &[&str]); 2] =
        [("shared::", &["ids::"]), ("crate::", &["output;", "progress;", "{output, progress};"])];
    let not_among = |(path, allowed): (&str, &[&str])| {
        follows(path).filter(|rest| !allowed.iter().any(|allowed| rest.starts_with(allowed)))
    };
    let writes = ["insert into", "update ", "delete from", "truncate"];
    allowed
        .into_iter()
        .find_map(not_among)
        .or_else(|| writes.iter().find(|word| code.contains(**word)).map(|word| (*word).to_owned()))
}

#[test]
fn verify_uses_only_ids_and_writes_nothing() {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/src");
    let parts = fs::read_dir(cli.join("verify")).unwrap().map(|entry| entry.unwrap().path());
    let mut read = 0;
    for file in parts.chain([cli.join("verify.rs")]) {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            assert_eq!(borrowed(line), None, "{}: {line}", file.display());
        }
        read += usize::from(text.contains("shared::ids"));
    }
    assert!(read >= 5, "only {read} files use ids: is this still the checker?");
}

#[test]
fn a_line_that_borrows_is_seen() {
    for line in [
        "use shared::payment::history;",
        "    shared::money::Money::parse(text)",
        "use shared::{ids, money};",
        "use crate::migrate::connect;",
        "    worker::settle()",
        "    \"update payments set status = 'succeeded'\"",
    ] {
        assert!(borrowed(line).is_some(), "{line}");
    }
    for line in ["use shared::ids::PaymentId;", "use crate::{output, progress};", "//! uses shared::money"] {
        assert_eq!(borrowed(line), None, "{line}");
    }
}

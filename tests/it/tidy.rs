//! Rules about the source itself.

mod no_points;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use domain::status::{EventType, PaymentStatus};
use shared::platform::fault::{POINTS, SABOTAGES};
use toml::Table;

use no_points::NO_POINTS;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text of a file, by its path from the root.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The pieces of a text that stand in backticks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every source file below these folders, with its text.
pub(crate) fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut todo: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                todo.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let name = entry.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&entry).unwrap()));
            }
        }
    }
    found
}

/// Every source file of every package of the workspace.
pub(crate) fn all_sources() -> Vec<(String, String)> {
    let workspace: Table = text("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let of_members = members.iter().map(|member| format!("{}/src", member.as_str().unwrap()));
    let folders: Vec<String> = of_members.chain(["tests/it".to_owned()]).collect();
    assert!(folders.len() > 12, "{folders:?}");
    sources(&folders.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let bad: Vec<String> = all_sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//! ") || text.lines().count() > 400)
        .map(|(name, text)| {
            format!("{name}: {} lines, begins with {:?}", text.lines().count(), text.lines().next())
        })
        .collect();
    assert!(bad.is_empty(), "no `//!` at the top, or more than 400 lines:\n{}", bad.join("\n"));
}

#[test]
fn the_fold_of_a_history_touches_nothing() {
    let name = "shared/src/payment/history.rs";
    let text = text(name);
    for word in ["tokio::", "hyper", "Instant", "SystemTime", "Utc::now", "std::env"] {
        assert!(!text.contains(word), "{name} uses {word}");
    }
}

#[test]
fn the_drawing_of_the_states_is_the_code() {
    let drawing = text("docs/STATES.md");
    let drawn: BTreeSet<String> =
        drawing.lines().map(str::trim).filter(|line| line.contains(" --> ")).map(str::to_owned).collect();
    let froms = || std::iter::once(None).chain(PaymentStatus::ALL.iter().copied().map(Some));
    let mut coded = BTreeSet::new();
    for (from, &event) in froms().flat_map(|from| EventType::ALL.iter().map(move |event| (from, event))) {
        if let Ok(to) = PaymentStatus::after(from, event) {
            coded.insert(format!("{} --> {to} : {event}", from.map_or("[*]", PaymentStatus::as_str)));
        }
    }
    assert_eq!(drawn, coded);
}

#[test]
fn the_example_environment_names_exactly_the_settings_that_are_read() {
    let example = text(".env.example");
    let named: BTreeSet<String> = example
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| is_setting(name))
        .collect();
    let mut read: BTreeSet<String> = sources(&["api/src", "shared/src", "worker/src", "simgateway/src"])
        .iter()
        .filter(|(name, _)| name.ends_with("/settings.rs"))
        .flat_map(|(_, text)| names_in_quotes(text))
        .collect();
    // The log library reads the first, `payonce dev` the second, every process that starts on a database
    // the third, `payonce load` the fourth, and who hashes API keys the last two.
    read.extend(["RUST_LOG", "PG_BIN", "ALLOW_NEWER_DATABASE", "PAYONCE_API_KEY"].map(str::to_owned));
    read.extend(["API_KEY_PEPPER", "API_KEY_PEPPER_FILE"].map(str::to_owned));
    assert_eq!(named, read, "left: .env.example, right: the code");
}

pub(crate) fn is_setting(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

pub(crate) fn names_in_quotes(text: &str) -> impl Iterator<Item = String> {
    text.split('"').filter(|name| is_setting(name)).map(str::to_owned)
}

#[test]
fn the_environment_is_read_in_one_place() {
    let reads: Vec<String> = sources(&["api/src", "shared/src", "terminal/src", "verify/src", "worker/src"])
        .into_iter()
        .filter_map(|(name, text)| text.contains("env::var").then_some(name))
        .collect();
    assert_eq!(reads, ["terminal/src/environment.rs"]);
}

/// Files and folders whose statements change durable data.
const DURABLE: &[&str] = &[
    "shared/src/account/moving.rs",
    "shared/src/account/opening.rs",
    "shared/src/payment/risk.rs",
    "shared/src/operations/dead_letter.rs",
    "shared/src/operations/installation",
    "shared/src/payment/transition/",
    "shared/src/publish/delivery",
    "shared/src/publish/endpoints.rs",
    "shared/src/queue/bell.rs",
    "shared/src/queue/park.rs",
    "shared/src/queue/prune.rs",
    "shared/src/queue/repair.rs",
    "shared/src/queue/rows.rs",
    "shared/src/queue/schedule.rs",
    "shared/src/queue/storage.rs",
    "shared/src/operations/reconciliation",
    "shared/src/operations/recovery.rs",
];

/// Files that write as well, and need no points.
const NOT_DURABLE: &[(&str, &str)] = &[
    ("cli/src/rebuild/write.rs", "writes a table beside, which is made anew"),
    ("shared/src/account/sabotage.rs", "takes guards away, in a test"),
    ("shared/src/gateway/door.rs", "who the gateway is: the same again says the same"),
    ("shared/src/gateway/outage.rs", "when a breaker was open, which moves no payment"),
    ("shared/src/merchant.rs", "merchants: the same again finds them"),
    ("shared/src/merchant/jwt/merchant_key.rs", "a merchant's key for tokens: the same again finds it"),
    ("shared/src/merchant/keys.rs", "keys, made and ended by a person who sees the answer"),
    (
        "shared/src/merchant/limits.rs",
        "limits that a person sets, and shares that the next heartbeat says again",
    ),
    ("shared/src/merchant/usage.rs", "when keys were last used: what is lost is written with the next use"),
    ("shared/src/operations/breaks.rs", "is part of a transaction"),
];

/// The functions of a file, by name, each from its name to the next function.
fn functions(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("fn ")
        .skip(1)
        .map(|function| (function.split(['(', '<']).next().unwrap_or_default(), function))
}

/// Whether it holds a statement that writes.
fn writes(code: &str) -> bool {
    let words: Vec<&str> = code.split_whitespace().collect();
    let follow = |first: &str, second: &str| {
        words.windows(2).any(|two| two[0].trim_start_matches(['"', '(']) == first && two[1] == second)
    };
    let updates = words.windows(4).any(|four| four[0].ends_with("update") && four[1..].contains(&"set"));
    follow("insert", "into") || follow("delete", "from") || updates
}

#[test]
fn every_file_that_writes_is_looked_at_or_is_known_to_need_no_points() {
    let queries = fs::read_dir(root().join("shared/queries")).unwrap().map(|entry| entry.unwrap().path());
    let writing: Vec<String> = queries
        .filter(|path| writes(&fs::read_to_string(path).unwrap()))
        .map(|path| format!("queries/{}\"", path.file_name().unwrap().to_str().unwrap()))
        .collect();
    assert!(writing.len() > 10, "only {writing:?} are seen to write");
    let mut seen = BTreeSet::new();
    for (file, text) in sources(&["api/src", "cli/src", "shared/src", "worker/src"]) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let is_test = file.ends_with("/tests.rs") || DURABLE.iter().any(|place| file.starts_with(place));
        if is_test || !(writes(code) || writing.iter().any(|query| code.contains(query))) {
            continue;
        }
        let known = NOT_DURABLE.iter().find(|(known, _)| *known == file);
        assert!(known.is_some(), "{file} writes: among DURABLE its statements are seen to have points");
        seen.insert(file);
    }
    assert_eq!(seen.len(), NOT_DURABLE.len(), "left over in NOT_DURABLE: only {seen:?} write");
}

#[test]
fn no_statement_about_payments_is_waited_for_without_end() {
    let mut seen = 0;
    for (name, text) in sources(&["shared/src/payment"]) {
        for statement in ["(pool)\n", "(pool)."] {
            for (at, _) in text.match_indices(statement) {
                let then = text[at + "(pool)".len()..].trim_start();
                assert!(then.starts_with(".in_time()"), "{name}: {:?}", then.lines().next());
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "only {seen} statements are seen: they are executed otherwise by now");
}

#[test]
fn no_statement_on_a_lent_connection_is_waited_for_without_end_and_each_is_given_back() {
    let mut lent = Vec::new();
    for (file, text) in sources(&["shared/src"]) {
        for (name, body) in functions(&text).filter(|(_, body)| body.contains(".lend().await?")) {
            // A connection that is bound to a name is given back. Within a statement it goes back by itself.
            let is_bound = body.contains("connection = on.lend().await?;");
            let execution = if is_bound { "(&mut *connection)" } else { "(&mut *pool.lend().await?)" };
            let executed: Vec<_> =
                body.match_indices(execution).map(|(at, it)| &body[at + it.len()..]).collect();
            let in_time = executed.iter().all(|then| then.trim_start().starts_with(".in_time()"));
            assert!(in_time && executed.len() == 1, "{file}: {name}");
            assert_eq!(body.matches(".back(").count(), usize::from(is_bound), "{file}: {name}");
            lent.push(name.to_owned());
        }
    }
    for name in ["accept", "claim_rows", "settle", "find", "find_callers", "take", "end", "overdue"] {
        assert!(lent.iter().any(|it| it == name), "{name} is not among {lent:?}");
    }
}

#[test]
fn every_statement_that_commits_is_between_two_fault_points() {
    // A statement on a connection is part of a transaction, or of a statement that is handed on.
    let executions = ["fetch_one(", "fetch_all(", "fetch_optional(", "execute("]
        .iter()
        .flat_map(|how| {
            [
                format!(".{how}pool)"),
                format!(".{how}&pool)"),
                format!(".{how}&self.pool)"),
                format!(".{how}&mut *pool.lend()"),
                format!(".{how}&mut *connection)"),
            ]
        })
        .collect::<Vec<_>>();
    let count = |text: &str, what: &str| text.matches(what).count();
    let (mut bare, mut seen) = (Vec::new(), BTreeSet::new());
    let durable: Vec<_> = sources(&["shared/src"])
        .into_iter()
        .filter(|(name, _)| DURABLE.iter().any(|place| name.starts_with(place)))
        .collect();
    for (file, text) in &durable {
        for (name, body) in functions(text) {
            let executed: usize = executions.iter().map(|execution| count(body, execution)).sum();
            if executed > 0 {
                seen.extend(DURABLE.iter().filter(|place| file.starts_with(**place)));
            }
            // A statement that only reads begins with its `select`.
            let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
            let reads = ["!(\"select", "!( \"select", "!( Letter, \"select"].map(|it| count(&body, it));
            if executed > count(&body, "durable(\"") + reads.iter().sum::<usize>()
                && !NO_POINTS.iter().any(|(without, _)| *without == name)
            {
                bare.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(bare.is_empty(), "statements without points:\n{}", bare.join("\n"));
    assert_eq!(seen, DURABLE.iter().collect(), "places that are elsewhere, or whose statements are not seen");
    for (name, _) in NO_POINTS {
        assert!(durable.iter().any(|(_, text)| text.contains(&format!("fn {name}("))), "no function {name}");
    }
}

#[test]
fn every_commit_and_every_gateway_call_is_between_fault_points() {
    let (mut commits, mut callers) = (0, Vec::new());
    for (file, text) in sources(&["shared/src", "worker/src", "api/src"]) {
        let lines: Vec<&str> = text.lines().collect();
        for at in (0..lines.len()).filter(|&at| lines[at].contains(".commit()")) {
            assert!(lines[at].contains("durable(\""), "{file}:{}: a commit without points", at + 1);
            commits += 1;
        }
        let calls = text.matches("wire.exchange(").count() + text.matches("client.request(").count();
        match file.as_str() {
            "shared/src/gateway/wire.rs" => {
                assert_eq!(calls, 1, "the wire carries its calls in one place");
                continue;
            }
            // They only read, and about no payment.
            "shared/src/gateway/books.rs" | "shared/src/gateway/door.rs" => continue,
            _ => {}
        }
        let points =
            ["op.before", "op.sending", "op.answered"].map(|point| text.contains(&format!("point!({point}")));
        assert!(calls == 0 || points == [true; 3], "{file}: a gateway call without points");
        callers.extend((calls > 0).then_some(file));
    }
    assert!(commits > 4, "only {commits} commits are seen");
    assert_eq!(callers, ["shared/src/gateway.rs"], "what calls the gateway about payments");
}

#[test]
fn every_fault_point_and_sabotage_exists_in_the_code_and_every_sabotage_in_a_test() {
    let code: String = sources(&["api/src", "shared/src", "worker/src"])
        .into_iter()
        .filter(|(name, _)| !name.starts_with("shared/src/platform/fault"))
        .map(|(_, text)| text)
        .collect();
    let tests: String = sources(&["tests/it"])
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tidy.rs"))
        .map(|(_, text)| text)
        .collect();
    // The matrix shows that every point is armed.
    for name in POINTS {
        let durable = name.strip_suffix(".before").or(name.strip_suffix(".committed")).unwrap_or(name);
        assert!(
            code.contains(&format!("\"{name}\"")) || code.contains(&format!("durable(\"{durable}\"")),
            "no place in the code is called {name}"
        );
    }
    for name in SABOTAGES {
        assert!(code.contains(&format!("\"{name}\"")), "no place in the code is called {name}");
        assert!(tests.contains(name), "no test arms {name}");
    }
}

#[test]
fn migrations_say_what_they_are_for_and_whether_old_code_may_run_meanwhile() {
    let paths: Vec<PathBuf> =
        fs::read_dir(root().join("migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 23, "migrations are never taken away: {paths:?}");
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-- "), "{} has no header", path.display());
        assert!(text.contains("-- Old code may run meanwhile: "), "{}", path.display());
    }
}

#[test]
fn pages_are_wrapped_where_a_terminal_ends() {
    let pages = fs::read_dir(root().join("docs")).unwrap().chain(fs::read_dir(root()).unwrap());
    let pages: Vec<PathBuf> = pages
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    assert!(pages.len() > 8, "the pages are elsewhere: {pages:?}");
    for page in pages {
        let mut is_code = false;
        for (n, line) in fs::read_to_string(&page).unwrap().lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            // A table's row and a command cannot be broken.
            let is_long = line.chars().count() > 110 && !is_code && !line.starts_with('|');
            assert!(!is_long, "{}:{}: longer than 110", page.display(), n + 1);
        }
    }
}

#[test]
fn comments_are_wrapped_where_a_terminal_ends() {
    for (name, text) in all_sources() {
        for (n, line) in text.lines().enumerate() {
            let is_long = line.chars().count() > 110 && line.trim_start().starts_with("//");
            assert!(!is_long, "{name}:{}: longer than 110", n + 1);
        }
    }
}

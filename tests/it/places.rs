//! The places where a change goes, as far as no compiler knows them: CONTRIBUTING names what exists, and
//! commands, scenarios, sabotages, settings and statements stand wherever all of their kind are listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use shared::platform::fault::SABOTAGES;
use tests::{Exit, Launch};

use crate::PROGRAM;
use crate::tidy::{all_sources, is_setting, names_in_quotes, quoted, root, sources, text};

/// The rows of all tables of a page, each with its cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("|---"));
    let cells = rows.map(|row| row.replace("\\|", "/"));
    cells.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Whether a quoted piece of the page is the path of a file or a folder.
fn is_path(piece: &str) -> bool {
    let is_file = [".rs", ".sql", ".md", ".yml", ".json", ".css", ".example", ".toml"];
    let is_named = piece.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    is_named
        && !piece.starts_with('/')
        && (piece.contains('/') || is_file.iter().any(|end| piece.ends_with(end)))
        && piece != ".sqlx/"
}

/// Whether it is the name of something in Rust.
fn is_name(piece: &str) -> bool {
    piece.len() > 1 && piece.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[test]
fn what_contributing_names_exists() {
    let page = text("CONTRIBUTING.md");
    let sources = all_sources();
    let (mut paths, mut names, mut tests) = (0, 0, 0);
    for cells in rows(&page) {
        for piece in cells.iter().flat_map(|cell| quoted(cell)).filter(|piece| is_path(piece)) {
            assert!(
                root().join(piece).exists(),
                "there is no {piece}, which CONTRIBUTING.md names: {cells:?}"
            );
            paths += 1;
        }
        // What follows a colon stands in the files before it.
        for part in cells[0].split("; ") {
            let Some((places, what)) = part.split_once("`: ") else { continue };
            let places = format!("{places}`");
            let places: Vec<PathBuf> =
                quoted(&places).map(|it| root().join(it)).filter(|it| it.is_file()).collect();
            for name in quoted(what).filter(|it| is_name(it) && !places.is_empty()) {
                let has = |place: &PathBuf| fs::read_to_string(place).unwrap().contains(name);
                assert!(places.iter().any(has), "{name} does not stand in {places:?}: {cells:?}");
                names += 1;
            }
        }
        let Some(forced) = cells.last().filter(|_| cells.len() == 2) else { continue };
        for test in quoted(forced).filter(|it| is_name(it) && it.matches('_').count() > 2) {
            let is_a_test = sources.iter().any(|(_, text)| text.contains(&format!("fn {test}(")));
            assert!(is_a_test, "there is no test {test}, which CONTRIBUTING.md names: {cells:?}");
            tests += 1;
        }
    }
    assert!(paths > 200 && names > 40 && tests > 60, "{paths} paths, {names} names, {tests} tests are seen");
}

/// What the program says of itself with these arguments.
async fn help(arguments: &[String]) -> String {
    let (exit, process) = Launch::payonce(PROGRAM).args(arguments).args(["--help"]).run().await;
    assert_eq!(exit, Exit::Code(0), "{arguments:?}: {}", process.stderr());
    process.stdout()
}

/// The subcommands that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    let named = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    named.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_has_an_example_and_exit_codes_and_stands_in_the_readme() {
    let (readme, operators) = (text("README.md"), text("docs/DEPLOY.md") + &text("docs/RUNBOOK.md"));
    let commands = subcommands(&help(&[]).await);
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let row = readme
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`payonce {command}")));
        assert!(row.is_some(), "README.md does not list payonce {command}");
        let is_operators = !["completions", "load", "openapi", "service"].contains(&command.as_str());
        let is_explained = operators.contains(&format!("payonce {command}"));
        assert!(!is_operators || is_explained, "no page tells an operator when to run payonce {command}");
        let own = help(std::slice::from_ref(&command)).await;
        let below = subcommands(&own);
        let deep = below.iter().map(|it| vec![command.clone(), it.clone()]);
        let all: Vec<Vec<String>> =
            if below.is_empty() { vec![vec![command.clone()]] } else { deep.collect() };
        for arguments in all {
            let (said, name) = (help(&arguments).await, arguments.join(" "));
            assert!(said.contains("Exit codes: 0"), "payonce {name} --help does not tell its exit codes");
            let shows =
                said.lines().any(|line| line.starts_with("  ") && line.contains(&format!("payonce {name}")));
            assert!(shows, "payonce {name} --help has no example");
            let listed = row.unwrap().split([' ', '`', '|', '\\', ',', '(', ')']);
            assert!(
                listed.into_iter().any(|it| it == arguments[arguments.len() - 1]),
                "README.md: payonce {name}"
            );
        }
    }
}

/// The scenarios of `payonce chaos`, as its help lists them.
async fn scenarios() -> Vec<String> {
    let help = help(&["chaos".to_owned()]).await;
    let listed = help.lines().filter_map(|line| line.trim_start().strip_prefix("- ")?.split_once(':'));
    listed.map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn every_scenario_is_run_in_full_and_in_short_and_stands_in_the_readme() {
    let scenarios = scenarios().await;
    let all: BTreeSet<&str> = scenarios.iter().map(String::as_str).collect();
    let script = text("scripts/chaos");
    let (_, run) = script.split_once("for scenario in ").unwrap();
    let run = run.split_once("; do").unwrap().0;
    assert_eq!(
        run.split_whitespace().filter(|it| *it != "\\").collect::<BTreeSet<_>>(),
        all,
        "left: scripts/chaos"
    );
    let readme = text("README.md");
    let (_, table) = readme.split_once("\n| trouble | scenarios |\n").unwrap();
    let table = table.split("\n\n").next().unwrap();
    assert_eq!(quoted(table).collect::<BTreeSet<_>>(), all, "left: README.md, right: the scenarios");
    assert!(
        readme.replace('\n', " ").contains(&format!("There are {} scenarios", all.len())),
        "README.md counts"
    );
    let tests: String = sources(&["tests/it"]).into_iter().map(|(_, text)| text).collect();
    for scenario in &scenarios {
        let is_played = [format!("held(\"{scenario}\")"), format!("\"{scenario}\", \"--short\"")];
        assert!(is_played.iter().any(|it| tests.contains(it)), "no test plays {scenario} in short");
    }
}

/// The scenarios that go by a script of their own, by the names that their variants have.
fn scripted() -> BTreeSet<String> {
    let plan = text("chaos/src/plan.rs");
    let (_, natures) = plan.split_once("-> Nature {").unwrap();
    let arms = natures.split("\n    }\n").next().unwrap().split("\n            Self::").skip(1);
    let scripted =
        arms.filter_map(|arm| arm.split_once("=>").filter(|(_, nature)| nature.contains("Scripted")));
    scripted.flat_map(|(names, _)| names.split(" | ")).map(|it| it.trim().replace("Self::", "")).collect()
}

#[tokio::test]
async fn the_pages_name_every_scenario_that_goes_by_a_script() {
    let scripted = scripted();
    let names: Vec<String> =
        scenarios().await.into_iter().filter(|it| scripted.contains(&variant(it))).collect();
    assert!(
        names.len() == scripted.len() && names.len() > 4,
        "{names:?}, and {scripted:?} in chaos/src/plan.rs"
    );
    for (page, heading) in [("docs/RUNBOOK.md", "## Before you trust it"), ("docs/INTERNALS.md", "## Chaos")]
    {
        let text = text(page);
        let (_, part) = text.split_once(&format!("\n{heading}\n")).unwrap();
        let part = part.split("\n## ").next().unwrap();
        for name in &names {
            assert!(part.contains(&format!("`{name}`")), "{page} does not tell of {name}");
        }
    }
}

/// The name of a scenario in Rust.
fn variant(name: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    name.split('-').map(capital).collect()
}

#[test]
fn the_table_of_teeth_has_every_sabotage() {
    let page = text("docs/INTERNALS.md");
    let (_, part) = page.split_once("\n## Teeth\n").unwrap();
    let part = part.split("\n## ").next().unwrap();
    let told: BTreeSet<&str> = rows(part)
        .iter()
        .flat_map(|cells| {
            cells[1..3].iter().flat_map(|cell| quoted(cell)).map(|it| it.to_owned()).collect::<Vec<_>>()
        })
        .filter_map(|it| SABOTAGES.iter().find(|sabotage| **sabotage == it).copied())
        .collect();
    assert_eq!(told, SABOTAGES.iter().copied().collect(), "left: docs/INTERNALS.md, right: SABOTAGES");
}

#[test]
fn every_token_of_the_simulated_gateway_is_paid_by() {
    let (tokens, paid) = (text("simgateway/src/token.rs"), text("tests/it/tokens.rs"));
    let tokens: Vec<&str> =
        tokens.split("name: \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(tokens.len() > 15, "the tokens are elsewhere: {tokens:?}");
    for token in tokens {
        assert!(paid.contains(&format!("\"{token}\"")), "tests/it/tokens.rs pays by no {token}");
    }
}

/// Text as a statement and as the source that has it in a string: without blanks and escapes.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect()
}

#[test]
fn no_checked_statement_is_left_over() {
    let mut places: String = all_sources().iter().map(|(_, text)| squeezed(text)).collect();
    for folder in ["shared/queries", "simgateway/queries"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            places.push_str(&squeezed(&fs::read_to_string(entry.unwrap().path()).unwrap()));
        }
    }
    let files: Vec<PathBuf> =
        fs::read_dir(root().join(".sqlx")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 100, "the checked statements are elsewhere");
    for file in files {
        let checked: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let query = squeezed(checked["query"].as_str().unwrap());
        assert!(places.contains(&query), "{} is of no statement: delete it", file.display());
    }
}

/// The doc comment of each field of the struct of settings in this text, in one piece.
fn fields(settings: &str) -> Vec<(String, String)> {
    let (_, body) = settings.split_once("Settings {\n").unwrap();
    let (mut doc, mut fields) = (String::new(), Vec::new());
    for line in body.split("\n}\n").next().unwrap().lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            doc.push_str(comment);
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            fields.push((name.to_owned(), std::mem::take(&mut doc)));
        }
    }
    fields
}

#[test]
fn every_setting_stands_in_the_comment_of_its_field() {
    // How a program logs is read before its settings are. Which gateways there are is read for all of them.
    let own = |name: &String| !["LOG_FORMAT", "GATEWAYS"].contains(&name.as_str());
    for file in [
        "api/src/settings.rs",
        "worker/src/settings.rs",
        "simgateway/src/settings.rs",
        "shared/src/gateway/settings.rs",
        "shared/src/merchant/jwt/settings.rs",
    ] {
        let text = text(file);
        let fields = fields(&text);
        let told: BTreeSet<String> = fields
            .iter()
            .flat_map(|(_, doc)| {
                quoted(doc).filter(|it| is_setting(it)).map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(own)
            .collect();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let read: BTreeSet<String> = names_in_quotes(code).filter(own).collect();
        assert_eq!(told, read, "left: the comments of {file}, right: what it reads");
    }
}

#[test]
fn every_key_of_the_file_of_gateways_is_explained() {
    let settings = text("shared/src/gateway/settings.rs");
    let (_, entry) = settings.split_once("struct Entry {\n").unwrap();
    let keys: Vec<&str> = entry
        .split("\n}\n")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().split_once(": ").map(|(key, _)| key))
        .collect();
    assert!(keys.len() > 15, "{keys:?}");
    let page = text("docs/GATEWAYS.md");
    for key in keys {
        let is_explained = rows(&page).iter().any(|row| row[0].contains(&format!("`{key}`")));
        assert!(is_explained, "docs/GATEWAYS.md has no row for {key}");
    }
}

/// What is not shown is compared with no default.
#[test]
fn every_setting_of_the_api_that_is_no_secret_is_shown() {
    let text = text("api/src/settings.rs");
    let secret = ["database_url", "admin_key", "admin_keys", "api_key"];
    let fields = fields(&text);
    assert!(fields.len() > secret.len() + 3, "{fields:?}");
    for (field, _) in fields.iter().filter(|(field, _)| !secret.contains(&field.as_str())) {
        assert!(text.contains(&format!(".field(\"{field}\", &self.{field})")), "{field} is not shown");
    }
}

#[test]
fn whoever_sets_a_setting_for_others_sets_one_that_exists() {
    let known: BTreeSet<String> = text(".env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut seen = 0;
    for (file, own) in [
        ("tests/src/system.rs", &["PAYONCE_FAULTS"][..]),
        ("chaos/src/timing.rs", &[]),
        ("chaos/src/fleet.rs", &[]),
        ("cli/src/restored.rs", &[]),
    ] {
        for name in names_in_quotes(&text(file)).filter(|name| name.contains('_')) {
            assert!(
                known.contains(&name) || own.contains(&name.as_str()),
                "{file} sets {name}, which is none"
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} settings are seen to be set");
}

#[test]
fn a_restore_has_the_defaults_of_the_workers() {
    let lease = worker::Settings::new(String::new(), String::new()).lease.lease;
    assert_eq!(lease, Duration::from_secs(lease.as_secs()));
    let read = format!("(\"LEASE_MS\", Duration::from_secs({}))", lease.as_secs());
    let is_same = text("cli/src/restored.rs").contains(&read);
    assert!(is_same, "LEASE_MS has another default than {lease:?} in cli/src/restored.rs");
}

#[tokio::test]
async fn verify_allows_every_wait_that_workers_have_by_default() {
    let worker = worker::Settings::new(String::new(), String::new());
    let help = help(&["verify".to_owned()]).await;
    let (_, option) = help.split_once("--longest-wait").unwrap();
    let (_, default) = option.split_once("[default: ").unwrap();
    let seconds: u64 = default.split(']').next().unwrap().parse().unwrap();
    let longest = worker.gateways[0].policy.too_far(worker.lease.lease);
    assert!(longest <= Duration::from_secs(seconds), "{longest:?} is longer than {seconds} s");
}

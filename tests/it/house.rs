//! The house: which package may use which, and which wing of `shared`. `docs/ARCHITECTURE.md` draws both;
//! these tests hold the drawing, the manifests and the `use` lines together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::tidy::{quoted, root, sources, text};

/// The parts of the house by name, each with the parts that it may use.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The rows of the table below this heading of the architecture: first column a part, last column what it may
/// use. Each row may name only parts of the rows above it, so there is no circle.
fn drawn(heading: &str) -> Arrows {
    let page = text("docs/ARCHITECTURE.md");
    let (_, section) = page.split_once(heading).unwrap();
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let quoted = |cell: &str| quoted(cell).map(str::to_owned).collect::<Vec<_>>();
    let mut arrows = Arrows::new();
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let part = quoted(cells[0]).remove(0);
        let may_use: BTreeSet<String> = quoted(cells[cells.len() - 1]).into_iter().collect();
        let above = may_use.iter().all(|it| arrows.contains_key(it));
        assert!(above, "{part} may use {may_use:?}, of which something is not above it");
        assert!(arrows.insert(part.clone(), may_use).is_none(), "{part} is drawn twice");
    }
    arrows
}

/// All packages that a manifest names as dependencies, of every kind and for every target, by their
/// real names.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") && key != "workspace" {
            for (name, spec) in table {
                let renamed = spec.get("package").and_then(Value::as_str);
                found.insert(renamed.unwrap_or(name).to_owned());
            }
        } else if key == "target" {
            found.extend(table.values().filter_map(Value::as_table).flat_map(dependencies));
        }
    }
    found
}

fn manifest(folder: &Path) -> Table {
    fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Every package of ours by name, with those packages of ours that its manifest names.
fn packages() -> Arrows {
    let workspace = manifest(&root());
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let folders: Vec<PathBuf> = members.iter().map(|it| root().join(it.as_str().unwrap())).collect();
    let named: Vec<(String, Table)> = folders
        .iter()
        .map(|folder| manifest(folder))
        .map(|manifest| (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest))
        .collect();
    let ours: BTreeSet<String> = named.iter().map(|(name, _)| name.clone()).collect();
    let uses = |manifest: &Table| dependencies(manifest).intersection(&ours).cloned().collect();
    named.iter().map(|(name, manifest)| (name.clone(), uses(manifest))).collect()
}

#[test]
fn packages_use_each_other_as_drawn() {
    assert_eq!(drawn("### Packages"), packages(), "left: docs/ARCHITECTURE.md, right: the manifests");
}

/// The domain may be pure only as long as it can reach nothing.
#[test]
fn the_domain_can_reach_nothing() {
    let pure = ["backoff", "chrono", "rust_decimal", "serde", "serde_json", "sha2", "thiserror", "uuid"];
    let test_tools = ["proptest"];
    let manifest = manifest(&root().join("domain"));
    let (of_code, of_tests) = (&manifest["dependencies"], &manifest["dev-dependencies"]);
    let names = |of: &Value| of.as_table().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(of_code),
        pure.map(str::to_owned).into(),
        "left: domain's manifest, right: what is pure"
    );
    assert_eq!(names(of_tests), test_tools.map(str::to_owned).into());
    let named: Vec<&str> = pure.into_iter().chain(test_tools).collect();
    let all = dependencies(&manifest);
    assert!(all.iter().all(|it| named.contains(&it.as_str())), "renamed, or for a target alone: {all:?}");
    let files = sources(&["domain/src"]);
    assert!(files.len() > 10, "the domain is elsewhere");
    let others = sources(&["api/src", "shared/src", "worker/src", "chaos/src", "cli/src"]);
    for reach in ["Instant::now", "SystemTime", "Utc::now", "std::env", "std::fs", "std::net", "std::process"]
    {
        assert!(others.iter().any(|(_, text)| text.contains(reach)), "nobody spells it {reach}");
        for (name, text) in &files {
            assert!(!text.contains(reach), "{name} uses {reach}");
        }
    }
}

/// Source text without comments and string literals, so that only code is left.
fn code(text: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                let _ = chars.by_ref().take_while(|&c| c != '\n').last();
                left.push('\n');
            }
            '"' => {
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                left.push_str("\"\"");
            }
            // A quote as a character would open a string that is none.
            '\'' if matches!(chars.peek(), Some('"')) => drop((chars.next(), chars.next())),
            _ => left.push(c),
        }
    }
    left
}

/// The first names after each `crate::`: one, or those of a whole group.
fn roots(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, it) in code.match_indices("crate::") {
        let rest = &code[at + it.len()..];
        let name = |text: &str| -> String {
            text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 0_u32;
        let mut start = 0;
        for (end, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' | ',' if depth == 0 => {
                    found.insert(name(&group[start..end]));
                    start = end + 1;
                    if c == '}' {
                        break;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

/// The wings of `shared`, each with the wings that its code uses.
fn wings() -> Arrows {
    let lib = text("shared/src/lib.rs");
    let names: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    let mut arrows: Arrows = names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (file, text) in sources(&["shared/src"]) {
        let path = file.trim_start_matches("shared/src/").trim_end_matches(".rs");
        let parts: Vec<&str> = path.split('/').collect();
        let code = code(&text);
        // This many steps up lead out of the file's wing, where no arrow would be seen.
        let out_of_the_wing = "super::".repeat(parts.len() + usize::from(code.contains("mod tests {")));
        assert!(!code.contains(&out_of_the_wing), "{file} leaves its wing by `super::`; write `crate::`");
        let used = roots(&code);
        for it in used_by_lines(&text) {
            assert!(used.contains(it), "{file} uses {it}, which was lost with a string or a comment");
        }
        let Some(uses) = arrows.get_mut(parts[0]) else {
            assert_eq!(parts[0], "lib", "{file} stands in no wing");
            continue;
        };
        uses.extend(used.into_iter().filter(|it| names.contains(it) && it != parts[0]));
    }
    arrows
}

/// The first names of lines that begin with `use crate::` and name one, whatever stands before them.
fn used_by_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.trim_start().split_once("use crate::"));
    let named = lines.filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
    named
        .map(|(_, path)| path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default())
        .filter(|name| !name.is_empty())
}

#[test]
fn wings_use_each_other_as_drawn() {
    assert_eq!(
        drawn("### The wings of `shared`"),
        wings(),
        "left: docs/ARCHITECTURE.md, right: the `use` lines"
    );
}

#[test]
fn arrows_are_seen_in_every_spelling() {
    let text = r#"
        use crate::database::{self, InTime as _};
        use crate::{platform::{fault, metrics}, queue, gateway::GATEWAY};
        // crate::operations::breaks is only spoken of
        fn f() { let quote = '"'; crate::payment::store::find("crate::merchant"); }
    "#;
    let seen: Vec<_> = roots(&code(text)).into_iter().collect();
    assert_eq!(seen, ["database", "gateway", "payment", "platform", "queue"]);
    assert_eq!(used_by_lines(text).collect::<Vec<_>>(), ["database"]);
    let manifest = "[dependencies]\na.workspace = true\nb = { workspace = true, features = [\"x\"] }\nc = { path = \"../c\" }\n\
                    other = { package = \"d\", version = \"1\" }\n[dev-dependencies]\ne = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nf = \"1\"\n";
    let named: Vec<_> = dependencies(&manifest.parse().unwrap()).into_iter().collect();
    assert_eq!(named, ["a", "b", "c", "d", "e", "f"]);
}

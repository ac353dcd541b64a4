//! The operators' material fits the programs: the board and the alerts name metrics that exist, the alerts
//! fire when they should, and the runbook's commands run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::status::EventType;
use serde_json::Value;
use shared::platform::metrics::{ALL, Kind};
use tests::{Exit, Launch, TestDatabase};

use crate::PROGRAM;
use crate::tidy::{root, sources, text};

fn board() -> Value {
    serde_json::from_str(&text("ops/grafana/payonce.json")).unwrap()
}

/// The alerts: name and expression.
fn alerts() -> BTreeMap<String, String> {
    let rules: Value = serde_saphyr::from_str(&text("ops/prometheus/alerts.yml")).unwrap();
    let word = |rule: &Value, field: &str| rule[field].as_str().unwrap().to_owned();
    let rules =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| (word(rule, "alert"), word(rule, "expr"))).collect()
}

/// The panels that draw something: title and expressions.
fn panels() -> Vec<(String, Vec<String>)> {
    let board = board();
    let drawn = board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    drawn
        .map(|panel| {
            let targets = panel["targets"].as_array().unwrap();
            let expressions = targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned());
            (panel["title"].as_str().unwrap().to_owned(), expressions.collect())
        })
        .collect()
}

/// The metrics that an expression reads: its words, except for labels, quoted text, and the language's own.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    const OWN: &[&str] =
        &["sum", "max", "min", "by", "rate", "increase", "histogram_quantile", "or", "and", "vector", "le"];
    let outside = |text: &str, open: char, close: char| {
        let mut depth = 0;
        let keep = |c: &char| {
            depth += i32::from(*c == open);
            let is_outside = depth == 0;
            depth -= i32::from(*c == close);
            is_outside
        };
        text.chars().filter(keep).collect::<String>()
    };
    let bare = outside(&outside(expression, '{', '}'), '[', ']');
    let by = bare.split("by (").enumerate().map(|(n, part)| match n {
        0 => part,
        _ => part.split_once(')').unwrap().1,
    });
    by.flat_map(|part| part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()) && !OWN.contains(word))
        .map(str::to_owned)
        .collect()
}

/// The names under which Prometheus keeps our metrics.
fn series() -> BTreeSet<String> {
    let of_histogram = |name| ["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")).to_vec();
    ALL.iter()
        .flat_map(|metric| match metric.kind {
            Kind::Counter | Kind::Gauge => vec![metric.name.to_owned()],
            Kind::Histogram => of_histogram(metric.name),
        })
        .collect()
}

#[test]
fn the_words_of_an_expression_are_told_apart() {
    let expression =
        r#"histogram_quantile(0.95, sum by (le, op) (rate(a_seconds_bucket{op="b_total"}[5m]))) > c_open"#;
    assert_eq!(metrics_in(expression), ["a_seconds_bucket", "c_open"].map(str::to_owned).into());
}

#[test]
fn the_board_and_the_alerts_read_metrics_that_exist() {
    let series = series();
    let by_panel = panels().into_iter().flat_map(|(title, expressions)| {
        expressions.into_iter().map(move |expression| (title.clone(), expression))
    });
    for (place, expression) in by_panel.chain(alerts()) {
        let read = metrics_in(&expression);
        assert!(!read.is_empty(), "{place} reads nothing: {expression}");
        let unknown: Vec<&String> = read.difference(&series).collect();
        assert!(unknown.is_empty(), "{place} reads {unknown:?}, which nobody shows");
    }
}

#[test]
fn every_metric_is_on_the_board() {
    let read: BTreeSet<String> =
        panels().iter().flat_map(|(_, expressions)| expressions).flat_map(|it| metrics_in(it)).collect();
    for metric in ALL {
        let is_read = read.iter().any(|name| name.starts_with(metric.name));
        assert!(is_read, "nobody would see {}", metric.name);
    }
}

#[test]
fn every_event_of_a_payment_is_on_the_board() {
    let drawn: Vec<String> = panels()
        .iter()
        .flat_map(|(_, expressions)| expressions.clone())
        .filter(|it| it.contains("payonce_payment_events_total"))
        .collect();
    // An attempt is a claim to charge, which has a panel of its own.
    for event in EventType::ALL.iter().filter(|event| **event != EventType::AttemptStarted) {
        let word = |c: char| !(c.is_ascii_alphabetic() || c == '_');
        let is_drawn = drawn.iter().any(|it| it.split(word).any(|it| it == event.as_str()));
        assert!(is_drawn, "nobody would see {event}");
    }
}

/// The values that an expression compares labels with, without patterns.
fn values_in(expression: &str) -> Vec<&str> {
    let quoted = expression.split('"').skip(1).step_by(2).flat_map(|value| value.split('|'));
    quoted.filter(|value| !value.contains(['.', '$'])).collect()
}

#[test]
fn the_board_and_the_alerts_compare_labels_with_words_that_somebody_writes() {
    let code: String = sources(&["api/src", "domain/src", "shared/src", "worker/src"])
        .into_iter()
        .map(|(_, text)| text.split("#[cfg(test)]").next().unwrap().to_owned())
        .collect();
    let expressions = panels().into_iter().flat_map(|(_, expressions)| expressions);
    let all: Vec<String> = expressions.chain(alerts().into_values()).collect();
    let mut seen = 0;
    for expression in &all {
        for value in values_in(expression) {
            // Methods of HTTP are the library's words.
            let is_written = code.contains(&format!("\"{value}\"")) || value == "POST";
            assert!(is_written, "nobody writes {value:?}, so this is silent for ever: {expression}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} values are seen");
}

#[test]
fn every_panel_says_what_it_shows_and_asks_the_chosen_datasource() {
    let board = board();
    for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
    let ids: Vec<&Value> = board["panels"].as_array().unwrap().iter().map(|panel| &panel["id"]).collect();
    assert_eq!(ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), ids.len());
}

/// The path of promtool: where scripts/setup-tests puts it, or on the path.
fn promtool() -> PathBuf {
    let target = Path::new(PROGRAM).ancestors().nth(2).unwrap();
    let ours = target.join("tools/promtool");
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("promtool")).find(|file| file.exists())
    });
    let found = on_path.or_else(|| ours.exists().then_some(ours));
    assert!(found.is_some(), "there is no promtool: run scripts/setup-tests");
    found.unwrap()
}

fn assert_promtool_agrees(arguments: &[&str]) {
    let done = Command::new(promtool()).args(arguments).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "promtool {arguments:?}:\n{said}");
}

#[test]
fn the_alerts_fire_when_they_should_and_are_silent_when_all_is_well() {
    assert_promtool_agrees(&["check", "config", "ops/prometheus/prometheus.yml"]);
    assert_promtool_agrees(&["test", "rules", "ops/prometheus/alerts_test.yml"]);
}

#[test]
fn every_alert_is_tried_silent_and_firing() {
    let cases: Value = serde_saphyr::from_str(&text("ops/prometheus/alerts_test.yml")).unwrap();
    let tried: Vec<(String, bool)> = cases["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .map(|case| {
            let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
            (case["alertname"].as_str().unwrap().to_owned(), fires)
        })
        .collect();
    for alert in alerts().into_keys() {
        for fires in [false, true] {
            assert!(tried.contains(&(alert.clone(), fires)), "{alert} is not tried where fires = {fires}");
        }
    }
    let known = alerts();
    assert!(tried.iter().all(|(alert, _)| known.contains_key(alert)), "{tried:?}");
}

/// The runbook's parts about one alert each: name and text.
fn runbook() -> BTreeMap<String, String> {
    let text = text("docs/RUNBOOK.md");
    let parts = text.split("\n### ").skip(1).map(|part| part.split_once('\n').unwrap());
    parts.map(|(name, about)| (name.to_owned(), about.to_owned())).collect()
}

/// The lines that the text says to type.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split_once("\n```").unwrap().0);
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn the_runbook_tells_of_every_alert_what_it_means_and_what_to_type_first() {
    let runbook = runbook();
    assert_eq!(runbook.keys().collect::<Vec<_>>(), alerts().keys().collect::<Vec<_>>());
    for (alert, about) in runbook {
        assert!(!commands(&about).is_empty(), "{alert} has no command");
        let meaning = about.trim_start();
        assert!(meaning.starts_with("Page. ") || meaning.starts_with("Ticket. "), "{alert}: {meaning}");
        let is_page = meaning.starts_with("Page. ");
        let rule = text("ops/prometheus/alerts.yml");
        let (_, rule) = rule.split_once(&format!("- alert: {alert}\n")).unwrap();
        let severity = rule.split_once("severity: ").unwrap().1;
        assert_eq!(severity.starts_with("page"), is_page, "{alert}");
        assert!(rule.contains(&format!("docs/RUNBOOK.md#{}\n", alert.to_lowercase())), "{alert}");
    }
}

#[test]
fn the_runbook_says_of_every_kind_of_break_what_to_do_first() {
    let about_breaks = &runbook()["BreaksOpen"];
    for (kind, _) in shared::operations::breaks::KINDS {
        assert!(about_breaks.contains(&format!("`{kind}`")), "{kind} is missing");
    }
}

#[tokio::test]
async fn every_command_of_the_runbook_runs() {
    let (database, gateways) = (TestDatabase::fresh().await, TestDatabase::fresh_empty().await);
    let gateway = Launch::simgateway(PROGRAM).env("GATEWAY_DATABASE_URL", &gateways.url);
    let gateway = gateway.env("GATEWAY_ADDR", "127.0.0.1:0").start().await;
    for command in commands(&text("docs/RUNBOOK.md")) {
        if let Some(query) = command.strip_prefix("psql \"$DATABASE_URL\" -c \"") {
            let query = query.strip_suffix('"').unwrap().to_owned();
            let ran = sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&database.pool).await;
            assert!(ran.is_ok(), "{command}\n{ran:?}");
        } else if let Some(arguments) = command.strip_prefix("payonce ") {
            let launch =
                Launch::payonce(PROGRAM).args(arguments.split(' ')).env("DATABASE_URL", &database.url);
            let (exit, payonce) = launch.env("GATEWAY_URL", gateway.address("gateway")).run().await;
            assert_eq!(exit, Exit::Code(0), "{command}\n{}", payonce.stderr());
        } else if let Some(url) = command.strip_prefix("curl -s http://127.0.0.1") {
            let shown = [":8080/health/ready", ":9464/health/ready", ":9464/metrics"];
            assert!(shown.contains(&url), "{command}: nobody answers there");
        } else {
            assert!(command.starts_with("grep "), "{command} is not tried");
        }
    }
}

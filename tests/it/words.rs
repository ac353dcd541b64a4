//! The words of an enum stand wherever all words of their kind are told: in the database's checks, on the
//! pages, on the board and in the alerts. A word that is new, or gone, is missing or left over there.

use std::collections::BTreeSet;

use domain::account::{EntryCode, TransferStatus};
use domain::correction;
use domain::dead_letter::Class;
use domain::decide::Purpose;
use domain::operation::{OperationEvent, OperationStatus};
use domain::outcome::FailureKind;
use domain::posting::AccountKind;
use domain::review::{ReviewStatus, RuleAction, RuleKind};
use domain::status::{EventType, HeldReason, PaymentStatus};
use shared::merchant::limits::Traffic;
use shared::operations::breaks;
use shared::platform::metrics;
use tests::TestDatabase;

use crate::tidy::{quoted, sources, text};

type Words = BTreeSet<String>;

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> Words {
    words.into_iter().map(str::to_owned).collect()
}

fn statuses() -> Words {
    set(PaymentStatus::ALL.iter().map(|it| it.as_str()))
}

fn terminal() -> Words {
    set(PaymentStatus::ALL.iter().filter(|it| it.is_terminal()).map(|it| it.as_str()))
}

fn events() -> Words {
    set(EventType::ALL.iter().map(|it| it.as_str()))
}

fn held_reasons() -> Words {
    set(HeldReason::ALL.iter().map(|it| it.as_str()))
}

fn failures() -> Words {
    set(FailureKind::ALL.iter().map(|it| it.as_str()))
}

fn classes() -> Words {
    set(Class::ALL.iter().map(|it| it.as_str()))
}

fn kinds(of: &[(&'static str, &'static str)]) -> Words {
    set(of.iter().map(|(kind, _)| *kind))
}

/// The words of an enum that only its own file can name.
fn declared(file: &str, name: &str) -> Words {
    let text = text(file);
    let (_, body) = text.split_once(&format!("    {name} {{\n")).unwrap();
    let words = body.split_once("\n    }").unwrap().0.split(" = \"").skip(1);
    set(words.map(|rest| rest.split('"').next().unwrap()))
}

/// The words in backticks of one column, in all rows of the table whose first row begins so.
fn column(page: &str, header: &str, n: usize) -> Words {
    let page = text(page);
    let (_, table) = page.split_once(&format!("\n{header}")).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').nth(n).unwrap_or_default());
    cells.flat_map(|cell| set(quoted(cell))).collect()
}

/// The items of the list that follows this line, each without its indentation.
fn list(page: &str, line: &str) -> Vec<String> {
    let page = text(page);
    let (_, rest) = page.split_once(line).unwrap();
    let list = rest.trim_start_matches(|c| c != '\n').trim_start().split("\n\n").next().unwrap();
    list.split("\n- ").map(|item| item.trim_start_matches("- ").replace("\n  ", " ")).collect()
}

/// The first word in backticks of each item.
fn first_of_each(items: &[String]) -> Words {
    items.iter().map(|item| quoted(item).next().unwrap_or(item).to_owned()).collect()
}

/// What each check of the database that lists words must list.
fn checked(constraint: &str) -> Option<Words> {
    Some(match constraint {
        "payments_status_known" => statuses(),
        "payments_terminal_iff_ended" => terminal(),
        "payments_held_reason_known" => held_reasons(),
        "payment_events_type_known" => events(),
        "transfers_status_known" => set(TransferStatus::ALL.iter().map(|it| it.as_str())),
        "account_entries_code_known" => set(EntryCode::ALL.iter().map(|it| it.as_str())),
        "ledger_accounts_kind_known" => set(AccountKind::ALL.iter().map(|it| it.as_str())),
        "operations_status_known" => set(OperationStatus::ALL.iter().map(|it| it.as_str())),
        "operation_events_type_known" => set(OperationEvent::ALL.iter().map(|it| it.as_str())),
        "dead_letters_class_known" => classes(),
        "corrections_kind_known" => kinds(correction::KINDS),
        "reconciliation_runs_step_known" => declared("shared/src/operations/reconciliation/run.rs", "Step"),
        "decisions_wish_known" => domain_words("held", &["look", "succeed", "fail", "reverse", "void"]),
        "risk_rules_kind_known" => set(RuleKind::ALL.iter().map(|it| it.as_str())),
        "risk_rules_action_known" => set(RuleAction::ALL.iter().map(|it| it.as_str())),
        "reviews_status_known" => set(ReviewStatus::ALL.iter().map(|it| it.as_str())),
        "limit_shares_traffic_known" => set(Traffic::ALL.iter().map(|it| it.as_str())),
        _ => return None,
    })
}

/// These words, if this file of the domain spells each of them.
fn domain_words(file: &str, words: &[&str]) -> Words {
    let text = text(&format!("domain/src/{file}.rs"));
    for word in words {
        assert!(text.contains(&format!("=> \"{word}\"")), "domain/src/{file}.rs does not spell {word}");
    }
    set(words.iter().copied())
}

/// Checks of words that are no enum's: some statement writes each of them.
const ONLY_WRITTEN: &[&str] = &[
    "account_entries_side_known",
    "corrections_outcome_known",
    "dead_letters_closed_as_known",
    "decisions_outcome_known",
    "gateway_effects_kind_known",
    "operation_transfers_code_known",
    "operations_held_reason_known",
    "operations_kind_known",
    "operations_origin_known",
    "reconciliation_runs_trigger_known",
    "webhook_deliveries_status_known",
    "webhook_endpoint_events_type_known",
    "webhook_endpoints_disabled_reason_known",
    "webhook_endpoints_status_known",
];

#[tokio::test]
async fn every_check_of_the_database_that_lists_words_lists_those_of_the_code() {
    let database = TestDatabase::fresh().await;
    let checks: Vec<(String, String)> = sqlx::query_as(
        "select conname::text, pg_get_constraintdef(oid) from pg_constraint
          where connamespace = 'public'::regnamespace and contype = 'c' order by 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let statements = statements();
    let mut compared = 0;
    for (name, definition) in checks {
        // Words stand in quotes, every other piece between them does not.
        let listed = set(definition.split('\'').skip(1).step_by(2));
        if let Some(words) = checked(&name) {
            assert_eq!(listed, words, "left: the check {name}, right: the code");
            compared += 1;
        } else if ONLY_WRITTEN.contains(&name.as_str()) {
            for word in listed {
                let is_written = [format!("'{word}'"), format!("\"{word}\"")];
                let is_written = is_written.iter().any(|it| statements.contains(it));
                assert!(is_written, "{name} allows {word}, which nothing writes");
            }
            compared += 1;
        } else {
            let lists_words = name.ends_with("_known") && !listed.is_empty();
            assert!(!lists_words || name == "ledger_transfers_code_known", "{name} is compared with nothing");
        }
    }
    assert_eq!(compared, 31, "checks were renamed");
}

/// All statements and sources that write to the database.
fn statements() -> String {
    let queries = crate::copies::statements().into_iter().map(|(_, text)| text);
    queries.chain(sources(&["cli/src", "domain/src"]).into_iter().map(|(_, text)| text)).collect()
}

#[test]
fn the_page_of_the_states_tells_every_status_event_reason_and_failure() {
    const PAGE: &str = "docs/STATES.md";
    assert_eq!(column(PAGE, "| status | meaning |", 0), statuses());
    assert_eq!(column(PAGE, "| event | what happened |", 0), events());
    assert_eq!(column(PAGE, "| answer to a charge |", 4), failures());
    let reasons = list(PAGE, "A payment is `held` if one of these is true:");
    assert_eq!(reasons.iter().flat_map(|it| set(quoted(it))).collect::<Words>(), held_reasons());
    let terminal_there: Vec<String> =
        text(PAGE).lines().filter(|line| line.contains("nobody: terminal")).map(str::to_owned).collect();
    assert_eq!(first_of_each(&terminal_there), terminal());
    for status in statuses() {
        let row = format!("\n| `{status}` | ");
        assert!(text("docs/GLOSSARY.md").contains(&row), "docs/GLOSSARY.md does not explain {status}");
    }
}

#[test]
fn the_runbook_tells_every_reason_kind_and_class() {
    const PAGE: &str = "docs/RUNBOOK.md";
    assert_eq!(first_of_each(&list(PAGE, "The held reasons are:")), held_reasons());
    assert_eq!(column(PAGE, "| kind | the books that differ |", 0), kinds(breaks::KINDS));
    assert_eq!(first_of_each(&list(PAGE, "The classes are:")), classes());
    let corrections = list(PAGE, "There are these kinds:");
    assert_eq!(
        corrections.iter().flat_map(|it| set(quoted(it))).collect::<Words>(),
        kinds(correction::KINDS)
    );
    let page = text(PAGE);
    let (_, held) = page.split_once("A payment under way is held if the kind is ").unwrap();
    let held = held.split_once(".\n").unwrap().0;
    assert_eq!(set(quoted(held)), held_reasons());
}

/// Whoever holds a payment opens a break by the same word.
#[test]
fn every_reason_to_hold_a_payment_is_a_kind_of_break() {
    let kinds = kinds(breaks::KINDS);
    let without: Vec<String> = held_reasons().difference(&kinds).cloned().collect();
    assert!(without.is_empty(), "no kind of break: {without:?}");
}

#[test]
fn every_reason_to_hold_a_payment_is_given_by_somebody() {
    let machine: String = sources(&["domain/src", "shared/src", "worker/src"])
        .into_iter()
        .filter(|(name, _)| !name.contains("/tests"))
        .map(|(_, text)| text.split("#[cfg(test)]").next().unwrap().to_owned())
        .collect();
    for reason in HeldReason::ALL {
        assert!(machine.contains(&format!("HeldReason::{reason:?}")), "nobody holds a payment as {reason}");
    }
}

/// The function of the database that opens breaks.
const ADOPTS: &str = "migrations/20261203000012_adopt_act.sql";

/// What somebody opens is listed, so that the gauge shows it; what is listed, somebody opens.
#[test]
fn every_kind_of_break_is_opened_somewhere_and_what_is_opened_is_a_kind() {
    let places: Vec<(String, String)> = crate::copies::statements()
        .into_iter()
        .filter(|(place, _)| !place.ends_with("operations/breaks.rs"))
        .chain([ADOPTS].map(|place| (place.to_owned(), text(place))))
        .collect();
    let kinds = kinds(breaks::KINDS);
    for kind in kinds.difference(&held_reasons()) {
        let spelled = [format!("'{kind}'"), format!("\"{kind}\"")];
        let is_opened = places.iter().any(|(_, text)| spelled.iter().any(|it| text.contains(it)));
        assert!(is_opened, "nothing opens {kind}");
    }
    let mut seen = 0;
    for (place, text) in &places {
        let findings = text.match_indices("Finding::about").map(|(at, _)| &text[at..]);
        let findings = findings.map(|rest| rest.lines().next().unwrap().split("json!").next().unwrap());
        let of_sql = text.lines().filter(|_| place.contains("queries/reconcile_")).flat_map(|line| {
            line.match_indices(" then '")
                .chain(line.match_indices(" else '"))
                .map(|(at, it)| &line[at + it.len()..])
        });
        let words = findings.filter_map(|it| it.split('"').rev().nth(1)).map(str::to_owned);
        let of_sql = of_sql.map(|rest| rest.split('\'').next().unwrap().to_owned());
        for word in words.chain(of_sql).filter(|word| !word.contains(['{', ' '])) {
            assert!(kinds.contains(&word), "{place} opens {word}, which is no kind");
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} kinds are seen to be opened");
}

/// Whether a charge that failed so leaves it open whether it charged.
const fn leaves_unknown(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Timeout
        | FailureKind::Reset
        | FailureKind::ServerError
        | FailureKind::Unexpected
        | FailureKind::NotTheGateway => true,
        // Surely not charged, or no call at all.
        FailureKind::Unreachable
        | FailureKind::NotExecuted
        | FailureKind::Unauthorized
        | FailureKind::RateLimited
        | FailureKind::NotSent
        | FailureKind::WorkerLost => false,
    }
}

#[test]
fn who_counts_charges_without_a_definite_answer_counts_every_such_failure() {
    let unknown = set(FailureKind::ALL.iter().filter(|it| leaves_unknown(**it)).map(|it| it.as_str()));
    let mut counted = 0;
    for file in ["ops/prometheus/alerts.yml", "ops/grafana/payonce.json"] {
        let text = text(file).replace("\\\"", "\"");
        for (at, it) in text.match_indices("op=\"charge\", outcome=~\"") {
            let listed = text[at + it.len()..].split('"').next().unwrap();
            assert_eq!(set(listed.split('|')), unknown, "left: {file}, right: the failures");
            counted += 1;
        }
    }
    assert!(counted >= 2, "the alert and the panel are elsewhere");
}

#[test]
fn help_of_metrics_and_the_style_sheet_name_every_status_class_and_purpose() {
    let help = |name: &str| metrics::ALL.iter().find(|metric| metric.name == name).unwrap().help;
    let open: Words = statuses().difference(&terminal()).cloned().collect();
    let purposes = set(Purpose::ALL.iter().map(|it| it.as_str()));
    for (name, words) in [
        (metrics::E2E, terminal()),
        (metrics::PAYMENTS_OPEN, open),
        (metrics::DEAD_LETTERS, classes()),
        (metrics::CLAIMS, purposes),
    ] {
        for word in words {
            assert!(help(name).contains(&word), "the help of {name} does not say {word}");
        }
    }
    let style = text("api/templates/style.css");
    // What is processing looks as every status does that has no look of its own.
    for status in PaymentStatus::ALL.iter().filter(|status| **status != PaymentStatus::Processing) {
        assert!(style.contains(&format!(".status.{status}")), "{status} has no look on the page");
    }
}

//! Lists of statuses and of events, wherever a statement, a trigger or a program spells one out: each is a
//! group that is told here for every word. So a new word asks the compiler for its groups, and then this test
//! for each place that lists one of them.

use std::collections::BTreeSet;
use std::fs;

use domain::status::{EventType, PaymentStatus};
use tests::TestDatabase;

use crate::tidy::{root, sources, text};

/// A group of words that is listed somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Statuses that a claim or a person may still change.
    UnderWay,
    /// Statuses that nothing follows.
    Over,
    /// Of these, the ones by which nothing is charged.
    OverWithoutCharge,
    /// Events by which a worker gets a claim.
    Claim,
    /// Of these, the claims that never charge.
    Look,
    /// Events after which a charge may have happened, whatever came before.
    Doubt,
    /// Of these, what workers write in the ordinary course of things. Before the others no person decides.
    DoubtOfWorkers,
    /// Events that put a payment in no doubt.
    NoDoubt,
    /// Events after which nothing can be on its way, if nothing was before.
    NothingSent,
}

use Group::{Claim, Doubt, DoubtOfWorkers, Look, NoDoubt, NothingSent, Over, OverWithoutCharge, UnderWay};

const ALL: &[Group] =
    &[UnderWay, Over, OverWithoutCharge, Claim, Look, Doubt, DoubtOfWorkers, NoDoubt, NothingSent];

const fn of_status(status: PaymentStatus) -> &'static [Group] {
    match status {
        PaymentStatus::Pending | PaymentStatus::Processing => &[UnderWay],
        PaymentStatus::Succeeded => &[Over],
        PaymentStatus::Failed | PaymentStatus::Reversed => &[Over, OverWithoutCharge],
        PaymentStatus::InReview => &[],
    }
}

const fn of_event(event: EventType) -> &'static [Group] {
    match event {
        EventType::Created | EventType::RetryScheduled => &[NoDoubt, NothingSent],
        EventType::AttemptStarted => &[NoDoubt, Claim],
        EventType::TakenOver | EventType::Verifying => &[Claim, Look, Doubt, DoubtOfWorkers],
        EventType::OutcomeUnknown | EventType::VoidStarted => &[Doubt, DoubtOfWorkers],
        EventType::Restored | EventType::Doubted => &[Doubt],
        EventType::Succeeded
        | EventType::Failed
        | EventType::Reversed
        | EventType::Held
        | EventType::Released
        | EventType::Rescheduled
        | EventType::ReviewStarted
        | EventType::Approved => &[NoDoubt],
    }
}

fn words(group: Group) -> BTreeSet<&'static str> {
    let statuses = PaymentStatus::ALL.iter().filter(|it| of_status(**it).contains(&group));
    let events = EventType::ALL.iter().filter(|it| of_event(**it).contains(&group));
    statuses.map(|it| it.as_str()).chain(events.map(|it| it.as_str())).collect()
}

/// The words in quotes that stand side by side, with nothing but commas or bars between.
fn runs(text: &str) -> Vec<Vec<&str>> {
    let mut runs: Vec<Vec<&str>> = Vec::new();
    let (mut at, mut end_of_last) = (0, None);
    while let Some(found) = text[at..].find(['\'', '"']) {
        let begin = at + found + 1;
        let quote = &text[begin - 1..begin];
        let rest = &text[begin..];
        let word = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).map(|end| &rest[..end]);
        let Some(word) = word.filter(|word| !word.is_empty() && rest[word.len()..].starts_with(quote)) else {
            at = begin;
            continue;
        };
        let is_beside = end_of_last.is_some_and(|end: usize| {
            let between = text[end..begin - 1].trim_start_matches("::text").trim();
            between == "," || between == "|"
        });
        match runs.last_mut().filter(|_| is_beside) {
            Some(run) => run.push(word),
            None => runs.push(vec![word]),
        }
        at = begin + word.len() + 1;
        end_of_last = Some(at);
    }
    runs.retain(|run| run.len() > 1);
    runs
}

/// The runs that are lists of statuses, or of events: no word stands twice in one.
fn lists(text: &str) -> Vec<BTreeSet<&str>> {
    let is_list = |run: &Vec<&str>| {
        let is_one = |of: &dyn Fn(&str) -> bool| run.iter().all(|word| of(word));
        is_one(&|word| word.parse::<PaymentStatus>().is_ok())
            || is_one(&|word| word.parse::<EventType>().is_ok())
    };
    let lists = runs(text).into_iter().filter(is_list).map(|run| (run.len(), BTreeSet::from_iter(run)));
    lists.filter(|(length, set)| *length == set.len()).map(|(_, set)| set).collect()
}

#[test]
fn a_list_is_seen_in_every_spelling() {
    let sql =
        "where status in ('pending',\n 'processing') and type = any (array['held'::text, 'doubted'::text])";
    assert_eq!(lists(sql), [["pending", "processing"].into(), ["held", "doubted"].into()]);
    let rust = r#"matches!(name, "taken_over" | "verifying") || ["failed", "reversed"].contains(&name)"#;
    assert_eq!(lists(rust), [["taken_over", "verifying"].into(), ["failed", "reversed"].into()]);
    // A transition, an event with its reason, and words of other kinds.
    let none =
        r#"('held', 'processing', 'processing') ("created", None, "pending") ("charge", "void") 'failed'"#;
    assert_eq!(lists(none), [] as [BTreeSet<&str>; 0]);
}

/// Every statement and program that reads or moves payments, by its place.
fn places() -> Vec<(String, String)> {
    let programs = ["api/src", "chaos/src", "cli/src", "shared/src", "tests/src", "verify/src", "worker/src"];
    let mut places = sources(&programs);
    for folder in ["shared/queries", "cli/src/rebuild"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let sql = files.filter(|path| path.extension().is_some_and(|it| it == "sql"));
        places.extend(sql.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())));
    }
    places
}

/// What the database itself says: functions, checks, indexes and views, as the newest migration left them.
async fn schema() -> Vec<(String, String)> {
    let database = TestDatabase::fresh().await;
    let schema = "
        select 'function ' || proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace
         union all
        select 'check ' || conname, pg_get_constraintdef(oid) from pg_constraint
         where connamespace = 'public'::regnamespace and contype = 'c'
           and conname not in ('payments_status_known', 'payment_events_type_known')
         union all
        select 'index ' || relname, pg_get_indexdef(oid) from pg_class
         where relnamespace = 'public'::regnamespace and relkind = 'i'
         union all
        select 'view ' || relname, pg_get_viewdef(oid) from pg_class
         where relnamespace = 'public'::regnamespace and relkind = 'v'";
    sqlx::query_as(schema).fetch_all(&database.pool).await.unwrap()
}

#[tokio::test]
async fn every_list_of_statuses_or_events_is_a_whole_group() {
    let schema = schema().await;
    assert!(schema.len() > 30, "the schema is elsewhere");
    let mut seen = BTreeSet::new();
    for (place, text) in places().into_iter().chain(schema) {
        for list in lists(&text) {
            let group = ALL.iter().find(|group| words(**group) == list);
            assert!(group.is_some(), "{place} lists {list:?}, which is no group: is a word missing?");
            seen.extend(group);
        }
    }
    assert_eq!(seen, ALL.iter().collect(), "left: the groups that are listed, right: all");
}

/// Places that name the words of a group one by one, each with something of its own.
const ONE_BY_ONE: &[(&str, Group)] = &[
    ("shared/queries/gauges.sql", UnderWay),
    ("shared/queries/payment_to_probe.sql", UnderWay),
    ("shared/queries/payments_overdue_fairly.sql", UnderWay),
    ("shared/queries/payment_settle.sql", Over),
    ("shared/src/operations/gauges.rs", UnderWay),
    ("verify/src/by_hand.rs", Over),
    ("verify/src/stand.rs", Over),
    ("verify/src/stand.rs", UnderWay),
    ("tests/src/books.rs", Over),
    ("tests/it/rebuild.rs", Over),
    ("tests/it/rebuild.rs", UnderWay),
];

#[test]
fn who_treats_each_word_of_a_group_by_itself_names_them_all() {
    for (file, group) in ONE_BY_ONE {
        let text = text(file);
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in words(*group) {
            // In a test, more may follow the word.
            let is_named =
                ["'{}'", "\"{}\"", "\"{} "].iter().any(|it| code.contains(&it.replace("{}", word)));
            assert!(is_named, "{file} does not name {word}");
        }
    }
}

/// The fold of `payonce verify` treats each event by itself, but for those that change nothing but the
/// status.
#[test]
fn the_independent_fold_names_every_event() {
    let fold = text("verify/src/fold.rs");
    let (_, change) = fold.split_once("\nfn change(").unwrap();
    let change = change.split_once("\n}\n").unwrap().0;
    for event in EventType::ALL {
        assert!(
            change.contains(&format!("\"{event}\"")),
            "the fold of `payonce verify` does not name {event}"
        );
    }
}

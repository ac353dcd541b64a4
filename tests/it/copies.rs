//! Statements that have to say the same thing in several places, because each place is one statement that
//! commits together: they are compared here, so that a change of one cannot forget the others.

use std::fs;

use crate::tidy::{root, sources};

/// All SQL of `shared` that stands in files, and the source that has some of its own.
pub(crate) fn statements() -> Vec<(String, String)> {
    let queries = fs::read_dir(root().join("shared/queries")).unwrap().map(|entry| entry.unwrap().path());
    let queries = queries.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()));
    queries.chain(sources(&["shared/src"])).collect()
}

/// The text between two marks, with its blanks evened out and its comments and parameters taken away.
fn between(text: &str, from: &str, to: &str) -> Vec<String> {
    let evened = |rest: &str| {
        let part = rest.split(to).next().unwrap_or_default();
        let code = part.lines().map(|line| line.split("--").next().unwrap_or_default());
        let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
        words.join(" ").replace(char::is_numeric, "").replace('$', "")
    };
    text.split(from).skip(1).map(evened).collect()
}

#[test]
fn every_job_is_enqueued_with_the_same_columns_and_is_delivered_once() {
    let mut found = 0;
    for (place, text) in statements() {
        let columns = between(&text, "insert into apalis.jobs", "select");
        let values = between(&text, "insert into apalis.jobs", "on conflict");
        for (columns, values) in columns.into_iter().zip(values) {
            let (_, columns) = columns.split_once('(').unwrap_or_else(|| panic!("{place}: {columns}"));
            assert_eq!(
                columns.trim_end_matches([')', ' ']),
                "id, job_type, job, status, attempts, max_attempts, run_at, priority, metadata, idempotency_key",
                "{place}"
            );
            // No attempt was made, and one is the most.
            assert!(values.contains("'Pending', , , "), "{place}: {values}");
            assert!(values.contains(", , ''::hstore, "), "{place}: {values}");
            found += 1;
        }
    }
    assert!(found >= 9, "only {found} places enqueue jobs: they are elsewhere");
}

#[test]
fn whoever_ends_a_payment_posts_the_same_transfers() {
    let posted: Vec<(String, String)> = statements()
        .into_iter()
        .filter(|(place, _)| place.ends_with("decision_record.sql") || place.ends_with("payment_settle.sql"))
        .flat_map(|(place, text)| {
            let parts = between(&text, "insert into ledger_transfers", "on r.event_type =");
            parts.into_iter().map(move |part| (place.clone(), part))
        })
        .collect();
    let [(one, first), (other, second)] = posted.as_slice() else { panic!("posted in {posted:?}") };
    assert!(first.contains("r.code, m.id, m.at from moved m"), "{one}: {first}");
    assert_eq!(first, second, "{one}, {other}");
}

//! What is allowed in a database, given which one is known. Pure.

use super::{Identity, Installation};

/// What to do with a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The database is the known one.
    Known,
    /// Nothing was known, or nothing can be missing: write down which database it is.
    New,
    /// Another server of the same cluster took over, perhaps without the last commits. Nothing is claimed
    /// until the gateway's books have been read.
    Ahead,
    /// The database must not be used.
    Refused(Refused),
}

/// What to do if a database is not the known one.
const WHAT_TO_DO: &str = "If it came back from a backup, or is behind in any other way, stop all APIs and workers and run \
     `payonce restored`; if it was moved as it was, with nothing running meanwhile (pg_upgrade, dump and load), run `payonce moved`; \
     if it is a copy beside the original, run `payonce restored --as-copy`";

/// Why a database must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The installation's row was loaded or copied.
    #[error("this database was loaded from a dump or copied. {}", WHAT_TO_DO)]
    Loaded,
    /// The database is in another cluster.
    #[error("this database is in the cluster {seen}, and was in {known}. {}", WHAT_TO_DO)]
    AnotherCluster {
        /// The system identifier of the cluster that it was in.
        known: String,
        /// The system identifier of the cluster that it is in.
        seen: String,
    },
    /// The database is another one of the same cluster.
    #[error("this database has the number {seen}, and had {known}. {}", WHAT_TO_DO)]
    AnotherDatabase {
        /// The oid that the known database had.
        known: i64,
        /// The oid that this database has.
        seen: i64,
    },
    /// The server was overtaken by another one.
    #[error(
        "this server is on timeline {seen}, and another one went on with timeline {known} (split brain): connect to that one, and \
         shut this one down"
    )]
    Overtaken {
        /// The last timeline that was seen.
        known: i32,
        /// The timeline of this server.
        seen: i32,
    },
}

/// What to do with the database that says it is `seen`.
#[must_use]
pub fn judge(installation: &Installation, seen: &Identity) -> Verdict {
    let Some(known) = &installation.known else {
        let is_sound = installation.is_as_written || installation.is_empty;
        return if is_sound { Verdict::New } else { Verdict::Refused(Refused::Loaded) };
    };
    let is_same = installation.is_as_written && known == seen;
    match refusal(installation, known, seen) {
        _ if is_same => Verdict::Known,
        _ if installation.is_empty => Verdict::New,
        Some(why) => Verdict::Refused(why),
        None if seen.timeline > known.timeline => Verdict::Ahead,
        // It could not be read before.
        None if known.system_identifier.is_none() && seen.system_identifier.is_some() => Verdict::New,
        None => Verdict::Known,
    }
}

fn refusal(installation: &Installation, known: &Identity, seen: &Identity) -> Option<Refused> {
    let clusters = known.system_identifier.as_ref().zip(seen.system_identifier.as_ref());
    if let Some((known, seen)) = clusters.filter(|(known, seen)| known != seen) {
        return Some(Refused::AnotherCluster { known: known.clone(), seen: seen.clone() });
    }
    if known.database_oid != seen.database_oid {
        return Some(Refused::AnotherDatabase { known: known.database_oid, seen: seen.database_oid });
    }
    if !installation.is_as_written {
        return Some(Refused::Loaded);
    }
    let is_overtaken = seen.timeline < known.timeline;
    is_overtaken.then_some(Refused::Overtaken { known: known.timeline, seen: seen.timeline })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Identity {
        Identity { system_identifier: Some("7".to_owned()), database_oid: 16_384, timeline: 3 }
    }

    fn installation() -> Installation {
        Installation {
            id: uuid::Uuid::nil(),
            epoch: 1,
            key_scheme: 2,
            returned_at: None,
            known: Some(here()),
            must_restore: None,
            is_as_written: true,
            is_empty: false,
        }
    }

    fn at(change: impl FnOnce(&mut Identity)) -> Verdict {
        let mut seen = here();
        change(&mut seen);
        judge(&installation(), &seen)
    }

    #[test]
    fn the_database_that_is_known_is_used_also_where_less_may_be_read_of_it() {
        assert_eq!(judge(&installation(), &here()), Verdict::Known);
        assert_eq!(at(|seen| seen.system_identifier = None), Verdict::Known);
    }

    #[test]
    fn another_one_and_a_loaded_one_are_refused_with_what_to_do() {
        let another = at(|seen| seen.system_identifier = Some("8".to_owned()));
        let database = at(|seen| seen.database_oid = 16_385);
        let loaded = judge(&Installation { is_as_written: false, ..installation() }, &here());
        let unseen = Installation { is_as_written: false, known: None, ..installation() };
        for verdict in [another, database, loaded, judge(&unseen, &here())] {
            let Verdict::Refused(why) = verdict else { panic!("{verdict:?}") };
            for command in ["`payonce restored`", "`payonce moved`", "`payonce restored --as-copy`"] {
                assert!(why.to_string().contains(command), "{why}");
            }
        }
    }

    #[test]
    fn a_server_that_took_over_may_be_read_and_one_that_was_overtaken_may_not_be_used() {
        assert_eq!(at(|seen| seen.timeline = 4), Verdict::Ahead);
        assert_eq!(at(|seen| seen.timeline = 2), Verdict::Refused(Refused::Overtaken { known: 3, seen: 2 }));
    }

    #[test]
    fn where_nothing_can_be_missing_whichever_it_is_becomes_the_known_one() {
        let seen = Identity { system_identifier: None, database_oid: 1, timeline: 1 };
        for (known, is_as_written) in
            [(None, true), (None, false), (Some(here()), true), (Some(here()), false)]
        {
            let empty = Installation { known, is_as_written, is_empty: true, ..installation() };
            assert_eq!(judge(&empty, &seen), Verdict::New);
        }
        assert_eq!(judge(&Installation { known: None, ..installation() }, &seen), Verdict::New);
        let unread = Identity { system_identifier: None, ..here() };
        assert_eq!(judge(&Installation { known: Some(unread), ..installation() }, &here()), Verdict::New);
    }
}

//! Asks every host of the URL who it is, and chooses the one that takes writes.
//!
//! Invariants: all hosts are asked before one is chosen, since a primary that was replaced answers as readily
//! as the new one. What goes wrong with one host says nothing of another. Of two that take writes, the one
//! that was promoted last is the primary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use sqlx::{Connection as _, PgConnection};

use super::failure::Failure;
use super::hosts::Host;
use super::refusal::{self, Refusal};
use super::session::{self, Durability, Identity, Room, Seen};
use super::within;

/// How long one host may take to say who it is. All are asked at the same time.
const EACH: Duration = Duration::from_secs(2);
/// The same while none was ever found: a busy machine is no reason not to start.
const EACH_AT_START: Duration = Duration::from_secs(10);

/// The server to work with.
#[derive(Debug)]
pub(super) struct Primary {
    /// The place of its host among the hosts.
    pub(super) at: usize,
    pub(super) seen: Seen,
    /// Whether its cluster's number and timeline may be read.
    pub(super) tells_all: bool,
    /// The connection by which it was asked.
    pub(super) connection: PgConnection,
}

/// Why no host can be used.
#[derive(Debug)]
pub(super) struct Nobody {
    pub(super) why: Vec<(usize, sqlx::Error)>,
    /// Each host by name, with its own cause.
    pub(super) told: String,
}

impl Nobody {
    /// Whether that host answered, and is not what it was.
    pub(super) fn has_lost_its_role(&self, at: usize) -> bool {
        let of_host = self.why.iter().find(|(host, _)| *host == at);
        of_host.and_then(|(_, why)| refusal::within(why)).is_some_and(Refusal::is_about_role)
    }
}

/// Asks all hosts. `preferred` is the host in use, and stays if another name leads to the same server. `room`
/// is what is known of the server that was found before; none at the start.
pub(super) async fn find(
    hosts: &[Host],
    preferred: usize,
    room: Option<(Room, u32)>,
) -> Result<Primary, Nobody> {
    let each = if room.is_some() { EACH } else { EACH_AT_START };
    let answers = join_all(hosts.iter().map(|host| within(each, ask(host)))).await;
    let (mut able, mut why) = (Vec::new(), Vec::new());
    for (at, answer) in answers.into_iter().enumerate() {
        let judged = answer.and_then(|(seen, tells_all, connection)| {
            let lower = lower_than(&seen.identity, highest(seen.identity.system));
            match Refusal::of_role(&seen).or(lower) {
                None => Ok(Primary { at, seen, tells_all, connection }),
                Some(refusal) => Err(refusal.into()),
            }
        });
        match judged {
            Ok(primary) => able.push(primary),
            Err(error) => why.push((at, error)),
        }
    }
    let systems = || able.iter().filter_map(|it| Some((it.seen.identity.system?, it.at)));
    let clash =
        systems().next().and_then(|(first, at)| Some((at, systems().find(|(other, _)| *other != first)?.1)));
    if let Some((one, other)) = clash {
        let refusal = || Refusal::TwoClusters(hosts[one].to_string(), hosts[other].to_string());
        why.extend([one, other].map(|at| (at, refusal().into())));
        able.clear();
    }
    let best = able
        .into_iter()
        .max_by_key(|it| (it.seen.identity.timeline, it.at == preferred, std::cmp::Reverse(it.at)));
    best.ok_or_else(|| Nobody { told: told(hosts, &why, room), why })
}

/// Refuses a timeline below one that this process has seen of the same cluster: that server was replaced.
fn lower_than(identity: &Identity, highest: Option<u32>) -> Option<Refusal> {
    let (timeline, seen) = (identity.timeline?, highest?);
    (timeline < seen).then_some(Refusal::SplitBrain { timeline, seen })
}

/// The highest timeline of each cluster that this process has worked with.
static HIGHEST: Mutex<BTreeMap<i64, u32>> = Mutex::new(BTreeMap::new());

fn highest(system: Option<i64>) -> Option<u32> {
    HIGHEST.lock().unwrap_or_else(PoisonError::into_inner).get(&system?).copied()
}

/// Notes a server that takes writes: one with a lower timeline was replaced.
pub(super) fn remember(identity: Identity) {
    if let (Some(system), Some(timeline)) = (identity.system, identity.timeline) {
        let mut highest = HIGHEST.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = highest.entry(system).or_default();
        *seen = timeline.max(*seen);
    }
}

async fn ask(host: &Host) -> sqlx::Result<(Seen, bool, PgConnection)> {
    let mut connection = PgConnection::connect_with(&host.options).await?;
    match session::begin(&mut connection, Durability::Promised, true).await {
        Err(why) if session::is_forbidden(&why) => {
            let seen = session::begin(&mut connection, Durability::Promised, false).await?;
            Ok((seen, false, connection))
        }
        seen => Ok((seen?, true, connection)),
    }
}

fn told(hosts: &[Host], why: &[(usize, sqlx::Error)], room: Option<(Room, u32)>) -> String {
    let mut told = String::new();
    for (n, (at, error)) in why.iter().enumerate() {
        let separator = if n > 0 { "; " } else { "" };
        let place = hosts.get(*at).map(|host| format!("{host}/{}", host.database())).unwrap_or_default();
        let cause = match refusal::within(error) {
            Some(refusal) => refusal.to_string(),
            None => error.to_string(),
        };
        let _ = write!(told, "{separator}at {place}: {cause}");
        if Failure::of(error) == Failure::TooManyConnections {
            let _ = write!(told, " ({})", advice(room));
        }
    }
    told
}

/// The advice for a server that has no connection left.
pub(super) fn advice(room: Option<(Room, u32)>) -> String {
    let settings =
        "the DATABASE_CONNECTIONS of all API and worker processes, added up, and some for the command line";
    match room {
        Some((Room { max, reserved }, ours)) => format!(
            "its max_connections is {max}, of which {reserved} are reserved, so {} are for everybody; this process alone may take \
             {ours}. Set max_connections above {settings}, or DATABASE_CONNECTIONS lower",
            max.saturating_sub(reserved)
        ),
        None => format!("set its max_connections above {settings}, or DATABASE_CONNECTIONS lower"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_compared_with_the_highest_of_its_own_cluster() {
        let of = |system, timeline| Identity { system, database: 1, timeline };
        remember(of(Some(1), Some(3)));
        remember(of(Some(1), Some(2)));
        remember(of(Some(2), Some(1)));
        let judged = |identity: Identity| lower_than(&identity, highest(identity.system));

        assert_eq!(judged(of(Some(1), Some(2))), Some(Refusal::SplitBrain { timeline: 2, seen: 3 }));
        for fine in [
            of(Some(1), Some(3)),
            of(Some(1), Some(4)),
            of(Some(2), Some(1)),
            of(Some(1), None),
            of(None, Some(1)),
        ] {
            assert_eq!(judged(fine), None, "{fine:?}");
        }
    }

    #[test]
    fn who_finds_no_connection_left_is_told_the_sum() {
        let advice = advice(Some((Room { max: 100, reserved: 3 }, 16)));
        assert!(
            advice.contains("is 100") && advice.contains("97 are for") && advice.contains("take 16"),
            "{advice}"
        );
    }
}

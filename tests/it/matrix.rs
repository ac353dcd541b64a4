//! The crash matrix. At every durable boundary a process dies, an operation fails, or a task pauses for
//! longer than its lease, with every outcome at the gateway that leads there. The process is started again as
//! a supervisor would, and clients repeat their requests under their keys. Every payment must then end as its
//! token's table says, with one charge and books that agree.
//!
//! All pairs of point, action and outcome are among the other tests; `make matrix` runs all combinations.

mod cell;
mod points;
mod road;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use futures::FutureExt as _;
use shared::platform::fault::POINTS;

use self::cell::{Action, Cell, Lane, Outcome, Road};
pub(crate) use self::points::*;
use crate::webhooks::crashes::WEBHOOK_POINTS;

/// The variable that says which part of the matrix runs: with `all` every combination.
const PART: &str = "PAYONCE_MATRIX";

/// How many cells run at the same time, each on databases and servers of its own. They mostly wait
/// for leases.
const LANES: usize = 10;

const fn ends(token: &'static str, status: &'static str) -> Outcome {
    Outcome { token, env: &[], status }
}

const OK: Outcome = ends("sim_ok", "succeeded");
const DECLINED: Outcome = ends("sim_declined", "failed");
const NOT_EXECUTED: Outcome = ends("sim_503", "succeeded");
const ERROR_CHARGED: Outcome = ends("sim_500_charged", "succeeded");
const ERROR_NOT_CHARGED: Outcome = ends("sim_500_not_charged", "succeeded");
const TIMEOUT_CHARGED: Outcome = ends("sim_timeout_charged", "succeeded");
const TIMEOUT_NOT_CHARGED: Outcome = ends("sim_timeout_not_charged", "succeeded");
const RESET_AFTER: Outcome = ends("sim_reset_after", "succeeded");
const STILL_WORKING: Outcome = ends("sim_async_ok", "succeeded");
const LATE_ARRIVAL: Outcome = ends("sim_late_arrival", "succeeded");
const DOUBT: Outcome =
    Outcome { token: "sim_doubt", env: &[("DOUBT_DEADLINE_MS", "1500")], status: "reversed" };
/// A gateway of which nothing can be learnt except by voiding.
const BLIND: Outcome =
    Outcome { token: "sim_reset_after", env: &[("GATEWAY_LOOKUP_SUPPORTED", "false")], status: "reversed" };
/// A gateway that cannot even void: a person must say what happened.
const HELD: Outcome = Outcome {
    token: "sim_reset_after",
    env: &[("GATEWAY_LOOKUP_SUPPORTED", "false"), ("GATEWAY_VOID_SUPPORTED", "false")],
    status: "succeeded",
};

const ALL: &[Outcome] = &[
    OK,
    DECLINED,
    NOT_EXECUTED,
    ERROR_CHARGED,
    ERROR_NOT_CHARGED,
    TIMEOUT_CHARGED,
    TIMEOUT_NOT_CHARGED,
    RESET_AFTER,
    STILL_WORKING,
    LATE_ARRIVAL,
    DOUBT,
];

/// The outcomes after which the payment is looked up, without any fault.
const IN_DOUBT: &[Outcome] = &[
    ERROR_CHARGED,
    ERROR_NOT_CHARGED,
    TIMEOUT_CHARGED,
    TIMEOUT_NOT_CHARGED,
    RESET_AFTER,
    STILL_WORKING,
    LATE_ARRIVAL,
    DOUBT,
];

/// Points that are reached on the same road, at which of their passages, and the outcomes that lead there.
struct Group {
    road: Road,
    points: &'static [&'static str],
    passage: usize,
    outcomes: &'static [Outcome],
}

const fn group(road: Road, points: &'static [&'static str], outcomes: &'static [Outcome]) -> Group {
    Group { road, points, passage: 1, outcomes }
}

const GROUPS: &[Group] = &[
    group(
        Road::Accept,
        &["accept.before", "accept.committed", "bell.before", "bell.committed"],
        &[OK, DECLINED],
    ),
    group(
        Road::Work,
        &[
            "claim.before",
            "claim.committed",
            "charge.before",
            "charge.sending",
            "charge.answered",
            "settle.before",
            "settle.committed",
        ],
        ALL,
    ),
    // The next claim after the first, and its settlement.
    Group {
        road: Road::Work,
        points: &["claim.before", "claim.committed", "settle.before", "settle.committed"],
        passage: 2,
        outcomes: &[NOT_EXECUTED, TIMEOUT_CHARGED, TIMEOUT_NOT_CHARGED, STILL_WORKING, DOUBT],
    },
    group(Road::Work, &["lookup.before", "lookup.sending", "lookup.answered"], IN_DOUBT),
    group(Road::Work, &["void.before", "void.sending", "void.answered"], &[DOUBT, BLIND]),
    // The settling of the void, which is the third or a later claim.
    Group {
        road: Road::Work,
        points: &["claim.committed", "settle.before", "settle.committed"],
        passage: 3,
        outcomes: &[BLIND],
    },
    group(
        Road::Work,
        &[
            "fetch.before",
            "fetch.committed",
            "end_jobs.before",
            "end_jobs.committed",
            "sweep.before",
            "sweep.found",
        ],
        &[OK, TIMEOUT_CHARGED, DOUBT],
    ),
    group(Road::Work, &["recovery.before", "recovery.committed"], &[OK]),
    group(
        Road::Remedy,
        &["remedy_claim.before", "remedy_claim.committed", "remedy_record.before", "remedy_record.committed"],
        &[BLIND],
    ),
    group(Road::Decide, &["decision_ask.before", "decision_ask.committed"], &[HELD]),
    group(
        Road::Check,
        &[
            "decision_claim.before",
            "decision_claim.committed",
            "decision_record.before",
            "decision_record.committed",
        ],
        &[HELD],
    ),
    group(Road::Release, &["resolve.before", "resolve.committed"], &[HELD]),
    group(Road::Withdraw, &["decision_withdraw.before", "decision_withdraw.committed"], &[HELD]),
    group(
        Road::Correct,
        &[
            "correction_propose.before",
            "correction_propose.committed",
            "correction_approve.before",
            "correction_approve.committed",
            "correction_withdraw.before",
            "correction_withdraw.committed",
        ],
        &[OK],
    ),
    group(
        Road::CarryOut,
        &[
            "correction_claim.before",
            "correction_claim.committed",
            "correction_record.before",
            "correction_record.committed",
        ],
        &[OK],
    ),
    group(Road::CloseBreak, &["close_break.before", "close_break.committed"], &[OK]),
    group(Road::Park, &["park.before", "park.committed"], &[OK]),
    group(Road::Replay, &["close_letter.before", "close_letter.committed"], &[OK]),
    group(
        Road::Prune,
        &[
            "prune_jobs.before",
            "prune_jobs.committed",
            "prune_workers.before",
            "prune_workers.committed",
            "prune_reports.before",
            "prune_reports.committed",
            "prune_sums.before",
            "prune_sums.committed",
            "prune_recoveries.before",
            "prune_recoveries.committed",
        ],
        &[OK],
    ),
    group(
        Road::Reconcile,
        &[
            "tick.before",
            "tick.committed",
            "reschedule.before",
            "reschedule.committed",
            "overdue.before",
            "overdue.committed",
            "lost_jobs.before",
            "lost_jobs.committed",
            "stray_jobs.before",
            "stray_jobs.committed",
            "reconcile_begin.before",
            "reconcile_begin.committed",
            "reconcile_step.before",
            "reconcile_step.committed",
            "reconcile_journal.before",
            "reconcile_journal.committed",
            "reconcile_effects.before",
            "reconcile_effects.committed",
            "reconcile_payments.before",
            "reconcile_payments.committed",
            "reconcile_balances.before",
            "reconcile_balances.committed",
            "reconcile_charges.before",
            "reconcile_charges.committed",
            "reconcile_finish.before",
            "reconcile_finish.committed",
        ],
        &[OK],
    ),
];

/// Every combination in each group.
fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for group in GROUPS {
        for point in group.points {
            for outcome in group.outcomes {
                cells.extend(Action::ALL.map(|action| cell(group, point, action, outcome)));
            }
        }
    }
    cells
}

/// Every pair: each point with each action and each outcome, and each action with each outcome of a group.
fn pairs() -> Vec<Cell> {
    let mut cells = Vec::new();
    for group in GROUPS {
        for (turn, point) in group.points.iter().enumerate() {
            for step in 0..group.outcomes.len().max(Action::ALL.len()) {
                let action = Action::ALL[(turn + step) % Action::ALL.len()];
                cells.push(cell(group, point, action, &group.outcomes[step % group.outcomes.len()]));
            }
        }
    }
    cells
}

fn cell(group: &Group, point: &'static str, action: Action, outcome: &'static Outcome) -> Cell {
    Cell { road: group.road, point, passage: group.passage, action, outcome, sabotage: None }
}

/// Runs the cells, some at a time. Answers what is wrong with each; the list is empty where nothing is.
async fn run(cells: Vec<Cell>) -> Vec<(Cell, Vec<String>)> {
    let waiting = Mutex::new(VecDeque::from(cells));
    let next = || waiting.lock().unwrap().pop_front();
    let lane = async || {
        let mut done = Vec::new();
        let mut lane = None;
        while let Some(cell) = next() {
            let mut own = match lane.take() {
                Some(lane) => lane,
                None => Lane::new().await,
            };
            let wrong = AssertUnwindSafe(own.run(&cell)).catch_unwind().await;
            let wrong = wrong.unwrap_or_else(|panic| vec![said(&*panic)]);
            // A lane on which something went wrong must not spoil the next cell.
            lane = wrong.is_empty().then_some(own);
            done.push((cell, wrong));
        }
        done
    };
    futures::future::join_all((0..LANES).map(|_| lane())).await.into_iter().flatten().collect()
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// One line for each point, with the number of cells of each action that ended well, and of all.
fn grid(done: &[(Cell, Vec<String>)]) -> String {
    let mut rows: BTreeMap<(usize, &str), [(usize, usize); Action::ALL.len()]> = BTreeMap::new();
    for (cell, wrong) in done {
        let counts = &mut rows.entry((cell.passage, cell.point)).or_default()[cell.action as usize];
        counts.0 += usize::from(wrong.is_empty());
        counts.1 += 1;
    }
    let mut grid = format!("{:<32}", "");
    for action in Action::ALL {
        let _ = write!(grid, "{:>9}", format!("{action:?}"));
    }
    for ((passage, point), counts) in rows {
        let name = if passage == 1 { point.to_owned() } else { format!("{point} @{passage}") };
        let _ = write!(grid, "\n{name:<32}");
        for (good, all) in counts {
            let _ = write!(grid, "{:>9}", format!("{good}/{all}"));
        }
    }
    let good = done.iter().filter(|(_, wrong)| wrong.is_empty()).count();
    let _ = write!(grid, "\n{good} of {} ended as they must", done.len());
    grid
}

#[tokio::test]
async fn whatever_fails_at_any_boundary_every_payment_ends_as_it_must() {
    let is_whole = std::env::var(PART).is_ok_and(|part| part == "all");
    let cells = if is_whole { all() } else { pairs() };
    let count = cells.len();

    let done = run(cells).await;

    let grid = grid(&done);
    println!("{grid}");
    let wrong: Vec<String> = done
        .iter()
        .filter(|(_, wrong)| !wrong.is_empty())
        .map(|(cell, wrong)| format!("{cell}: {}", wrong.join("; ")))
        .collect();
    assert!(wrong.is_empty(), "{grid}\n{}", wrong.join("\n"));
    assert_eq!(done.len(), count, "cells were not run");
}

#[test]
fn every_point_is_in_the_matrix_and_every_pair_in_its_short_form() {
    let others = [
        RESTORE_POINTS,
        INSTALLATION_POINTS,
        GATEWAY_POINTS,
        ACCOUNT_POINTS,
        REFUND_POINTS,
        crate::risk::POINTS,
        WEBHOOK_POINTS,
    ];
    let elsewhere = others.into_iter().flatten().copied();
    let points: BTreeSet<&str> = pairs().iter().map(|cell| cell.point).chain(elsewhere).collect();
    assert_eq!(points, POINTS.iter().copied().collect(), "left: the matrix, right: the code");

    // A point's passages and outcomes are those of its group. The letter before tells the pairs apart.
    let of = |cells: &[Cell]| -> BTreeSet<String> {
        let pairs_of = |cell: &Cell| {
            let (point, action) = (format!("{} @{}", cell.point, cell.passage), format!("{:?}", cell.action));
            let outcome = format!("{:?}", cell.outcome);
            [format!("{point} {action}"), format!("{point} {outcome}"), format!("{action} {outcome}")]
        };
        cells.iter().flat_map(pairs_of).collect()
    };
    assert_eq!(of(&pairs()), of(&all()));
}

#[tokio::test]
async fn a_guard_taken_away_is_seen_in_the_matrix() {
    let group = group(Road::Work, &["settle.before"], &[]);
    let blind = Cell {
        sabotage: Some("blind_retry"),
        ..cell(&group, "settle.before", Action::Error, &TIMEOUT_CHARGED)
    };

    let wrong = run(vec![blind]).await.remove(0).1;

    assert!(wrong.iter().any(|odd| odd.contains("charged again without a lookup")), "{wrong:?}");
}

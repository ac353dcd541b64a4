//! `payonce restored` killed at every durable boundary: nothing is accepted meanwhile, and run again it has
//! the same result.

use serde_json::{Value, json};
use tests::Exit;

use super::{Past, payonce, said};
use crate::matrix::RESTORE_POINTS;

/// The contents of the books, without their times.
async fn outcome(past: &Past) -> Value {
    let pool = shared::database::connect(&past.system.database.url, 1).await.unwrap();
    let sql = "select jsonb_build_object(
        'orphans', (select jsonb_agg(jsonb_build_array(key, amount::text) order by key) from orphans),
        'breaks', (select jsonb_agg(jsonb_build_array(kind, subject) order by kind, subject) from breaks where closed_at is null),
        'payments', (select jsonb_agg(jsonb_build_array(id, version, status, look_first, in_doubt, held_reason) order by id) from payments),
        'jobs', (select count(*) from apalis.jobs where status = 'Pending'),
        'installation', (select jsonb_build_array(epoch, key_scheme, must_restore) from installation))";
    let outcome = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
    pool.close().await;
    outcome
}

async fn restored(past: &Past, faults: &str) -> Exit {
    let launch = payonce(&past.system, &["restored", "--by", "ada", "--yes", "--json"]);
    launch.env("PAYONCE_FAULTS", faults).run().await.0
}

#[tokio::test]
async fn killed_at_any_boundary_it_keeps_the_doors_closed_and_comes_to_the_same_when_it_is_run_again() {
    let mut past = Past::new().await;
    past.comes_back().await;
    past.leaves().await;
    assert_eq!(restored(&past, "").await, Exit::Code(0));
    let undisturbed = outcome(&past).await;
    let points = ["reconcile_journal.before", "reconcile_journal.committed"].iter();
    let its_own = RESTORE_POINTS.iter().filter(|point| {
        !["settle_in", "finish_migration", "hold_all"].iter().any(|other| point.starts_with(other))
    });
    for point in points.chain(its_own) {
        past.comes_back().await;
        past.leaves().await;

        assert_eq!(
            restored(&past, &format!("{point}=kill")).await,
            Exit::Signal(9),
            "{point} was not reached"
        );

        let killed = outcome(&past).await;
        let (is_begun, is_done) = (*point != "close_doors.before", *point == "open_doors.committed");
        assert_eq!(!killed["installation"][2].is_null(), is_begun && !is_done, "{point}: the doors");
        if !is_done {
            said(payonce(&past.system, &["restored", "--by", "ada", "--yes", "--json"])).await;
        }
        assert_eq!(outcome(&past).await, undisturbed, "{point}");
    }
    assert_eq!(undisturbed["installation"], json!([2, 2, null]));
}

//! Reconciliation: each planted defect is found and handled, a second run finds nothing new, and runs may
//! be killed.

mod balance;
mod broken_off;
mod due_times;
mod endless;
mod gateway;
mod history;
mod resolve;

use domain::ids::PaymentId;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tests::{Exit, Launch, Process, Shape, System, a_payment, wait_until};

use crate::PROGRAM;

/// The exit code and the report of `payonce reconcile`.
pub(super) async fn reconcile(system: &System) -> (i32, Value) {
    let (code, process) = payonce(system, &["reconcile", "--json"]).await;
    (code, serde_json::from_str(&process.stdout()).unwrap())
}

/// The exit code of a command, and the process with its output.
async fn payonce(system: &System, arguments: &[&str]) -> (i32, Process) {
    payonce_with(system, system.gateway.address("gateway"), arguments).await
}

/// The same, with another gateway in place of ours.
async fn payonce_with(system: &System, gateway: &str, arguments: &[&str]) -> (i32, Process) {
    let command = Launch::payonce(PROGRAM).args(arguments.iter().copied());
    let command = command.env("GATEWAY_URL", gateway);
    match command.env("DATABASE_URL", &system.database.url).run().await {
        (Exit::Code(code), process) => (code, process),
        (Exit::Signal(signal), _) => unreachable!("nobody sent it signal {signal}"),
    }
}

/// The open breaks, as `kind of whom`, oldest first.
pub(super) async fn open_breaks(system: &System) -> Vec<String> {
    let sql = "select kind || ' of ' || coalesce('pay_' || replace(payment_id::text, '-', ''), subject)
                 from breaks where closed_at is null order by id";
    sqlx::query_scalar(sql).fetch_all(&system.database.pool).await.unwrap()
}

/// Does to the gateway's own database what the gateway never would. `$key` is the payment's key there,
/// `$name` its reference.
pub(super) async fn at_the_gateway(system: &System, sql: &str, id: PaymentId) {
    let sql = sql
        .replace("$key", &format!("'{}'", system.gateway_key(id).await))
        .replace("$name", &format!("'{id}'"));
    let mut connection = system.gateway_database.pool.acquire().await.unwrap();
    let planted = format!("set session_replication_role = replica; {sql}; reset session_replication_role");
    sqlx::raw_sql(AssertSqlSafe(planted)).execute(&mut *connection).await.unwrap();
}

/// Tells of the events of a payment that are public and were never told, as their trigger would have done.
const TOLD: &str = "
    insert into public_events (merchant_id, epoch, tx, object, version, previous_version, kind, type, renderer, at)
    select p.merchant_id, event_epoch(), pg_current_xact_id(), p.id, e.version, e.previous, t.kind, t.type, t.renderer, e.at
      from payments p
     cross join lateral (
           select version, at, type, lag(version) over (order by version) as previous
             from payment_events
            where payment_id = p.id and type in (select word from public_event_types where log = 'payment_events')) as e
      join public_event_types t on t.log = 'payment_events' and t.word = e.type
     where p.id = $id and not exists (select from public_events o where o.object = p.id and o.version = e.version)";

/// Does to the database what only a superuser can: triggers and foreign keys look away.
pub(super) async fn behind_the_guards(system: &System, sql: &str, id: PaymentId) {
    let sql = format!("{sql}; {TOLD}").replace("$id", &format!("'{}'", id.uuid()));
    let mut connection = system.database.pool.acquire().await.unwrap();
    let planted = format!("set session_replication_role = replica; {sql}; reset session_replication_role");
    sqlx::raw_sql(AssertSqlSafe(planted)).execute(&mut *connection).await.unwrap();
}

/// A system without a worker, and a payment of it that succeeded.
async fn one_that_succeeded() -> (System, PaymentId) {
    let mut system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    wait_until("all jobs to be done", async || {
        system.count("select count(*) from apalis.jobs where status <> 'Done'").await == 0
    })
    .await;
    system.workers[0].kill9();
    as_if_never_reconciled(&system).await;
    (system, id)
}

/// Waits for the tick that a worker runs when it starts, which would otherwise see what is planted meanwhile.
pub(super) async fn first_tick_over(system: &System) {
    let finished = "select count(*) from reconciliation_runs where finished_at is not null";
    wait_until("the worker's first reconciliation to be over", async || system.count(finished).await > 0)
        .await;
}

/// Forgets reconciliations so far, because it is chance whether the worker's own tick has seen the payment.
async fn as_if_never_reconciled(system: &System) {
    for table in [
        "breaks",
        "reconciliation_runs",
        "gateway_cursors",
        "gateway_effects",
        "account_sums",
        "account_balances",
    ] {
        let sql = format!(
            "set session_replication_role = replica; delete from {table}; reset session_replication_role"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&system.database.pool).await.unwrap();
    }
}

/// A system without a worker, and a payment of it that has long been due.
pub(super) async fn one_that_waits() -> (System, PaymentId) {
    let system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment()).await;
    let aged = "update payments set due_at = due_at - interval '1 hour' where id = $id;
                update apalis.jobs set run_at = run_at - interval '1 hour'";
    behind_the_guards(&system, aged, id).await;
    (system, id)
}

async fn jobs(system: &System) -> Vec<String> {
    let sql = "select status || ' ' || attempts from apalis.jobs where job_type = 'payments' order by id";
    sqlx::query_scalar(sql).fetch_all(&system.database.pool).await.unwrap()
}

#[tokio::test]
async fn where_all_is_well_nothing_is_found() {
    let (system, _) = one_that_succeeded().await;

    let (code, report) = reconcile(&system).await;

    assert_eq!(code, 0);
    for look in ["overdue", "queue", "journal", "gateway", "ledger", "history", "balances", "charges"] {
        assert_eq!(report[look]["found"], 0, "{report}");
    }
    for look in ["journal", "gateway", "ledger", "history", "charges"] {
        assert_eq!(report[look]["checked"], 1, "{look}: {report}");
    }
    assert_eq!((&report["balances"]["checked"], &report["gateway_books"]), (&2.into(), &"compared".into()));
    assert_eq!(report["needs_a_person"], false);
    let stored = "select count(*) from reconciliation_runs
                   where trigger = 'command' and finished_at >= started_at and counts -> 'ledger' ->> 'checked' = '1'";
    assert_eq!(system.count(stored).await, 1);
}

#[tokio::test]
async fn a_due_payment_without_a_job_gets_one() {
    let (mut system, id) = one_that_waits().await;
    sqlx::query("delete from apalis.jobs").execute(&system.database.pool).await.unwrap();

    let (code, first) = reconcile(&system).await;
    let (_, second) = reconcile(&system).await;

    assert_eq!((code, &first["overdue"]["found"], &first["overdue"]["repaired"]), (0, &1.into(), &1.into()));
    assert_eq!((&second["overdue"]["checked"], &second["overdue"]["found"]), (&1.into(), &0.into()));
    assert_eq!(jobs(&system).await, ["Pending 0"]);
    system.add_worker([("RUST_LOG", "info")]).await;
    assert_eq!(system.ended(id).await["status"], "succeeded");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn a_due_payment_whose_job_ended_gets_it_back() {
    let (system, _) = one_that_waits().await;
    sqlx::query("update apalis.jobs set status = 'Failed', attempts = 1, done_at = now()")
        .execute(&system.database.pool)
        .await
        .unwrap();

    let (_, report) = reconcile(&system).await;

    assert_eq!(report["overdue"]["repaired"], 1, "{report}");
    assert_eq!(jobs(&system).await, ["Pending 0"]);
}

/// Changes of a waiting payment's job, each with the job's later status and attempts.
const ORPHANS: &[(&str, &str, &str)] = &[
    (
        "got by a worker long dead",
        "status = 'Queued', lock_at = now() - interval '1 hour', lock_by = 'dead'",
        "Pending 1",
    ),
    (
        "run by a worker long dead",
        "status = 'Running', lock_at = now() - interval '1 hour', lock_by = 'dead'",
        "Pending 1",
    ),
    (
        "got at a time that has not come",
        "status = 'Queued', lock_at = now() + interval '8 hours', lock_by = 'dead'",
        "Pending 1",
    ),
    ("got by nobody", "status = 'Queued', lock_at = null", "Pending 1"),
    (
        "lost for the second time",
        "status = 'Queued', attempts = 1, lock_at = now() - interval '1 hour', lock_by = 'dead'",
        "Killed 2",
    ),
    ("delivered too often", "attempts = 2", "Killed 2"),
    ("of an unreadable id", "id = 'a'", "Killed 0"),
    ("unreadable", "job = '\\x00ff'", "Killed 0"),
    ("of no payment", "job = '{\"payment_id\":\"pay_01900000000070008000000000000000\"}'", "Killed 0"),
];

#[tokio::test]
async fn a_queue_row_that_leads_nowhere_is_put_right() {
    for (what, change, becomes) in ORPHANS {
        let (mut system, id) = one_that_waits().await;
        let planted = format!(
            "insert into apalis.workers (id, worker_type, storage_name, last_seen)
             values ('dead', 'payments', 'x', now() - interval '1 hour');
             update apalis.jobs set {change}"
        );
        sqlx::raw_sql(AssertSqlSafe(planted)).execute(&system.database.pool).await.unwrap();

        let (code, first) = reconcile(&system).await;

        assert_eq!((code, &first["queue"]["found"]), (0, &1.into()), "{what}: {first}");
        assert_eq!(first["queue"]["repaired"], 1, "{what}: {first}");
        assert_eq!(jobs(&system).await, [*becomes], "{what}");
        let (_, second) = reconcile(&system).await;
        assert_eq!(second["queue"]["found"], 0, "{what}: {second}");
        system.add_worker([("RUST_LOG", "info")]).await;
        assert_eq!(system.ended(id).await["status"], "succeeded", "{what}");
    }
}

/// Defects of the ledger that no program of ours can make, and the break that each opens.
const LEDGER_DEFECTS: &[(&str, &str)] = &[
    ("delete from ledger_transfers where payment_id = $id", "transfer_missing"),
    ("update ledger_transfers set amount = amount + 1 where payment_id = $id", "transfer_differs"),
    (
        "update ledger_transfers set debit_account_id = credit_account_id, credit_account_id = debit_account_id
          where payment_id = $id",
        "transfer_differs",
    ),
    (
        "update payments set status = 'failed', failure_code = 'declined', failure_message = 'no', failure_retryable = false
          where id = $id",
        "transfer_unfounded",
    ),
];

#[tokio::test]
async fn a_ledger_that_differs_from_the_payments_opens_one_break_and_is_left_as_it_is() {
    for (defect, kind) in LEDGER_DEFECTS {
        let (system, id) = one_that_succeeded().await;
        behind_the_guards(&system, defect, id).await;
        let transfers = "select coalesce(sum(amount * 100)::bigint, 0) from ledger_transfers";
        let before = system.count(transfers).await;

        let (code, first) = reconcile(&system).await;
        let (again, second) = reconcile(&system).await;

        assert_eq!((code, again), (3, 3), "{defect}");
        assert_eq!(
            (&first["ledger"]["found"], &first["ledger"]["breaks"]),
            (&1.into(), &1.into()),
            "{first}"
        );
        assert_eq!(
            (&second["ledger"]["found"], &second["ledger"]["breaks"]),
            (&1.into(), &0.into()),
            "{second}"
        );
        assert_eq!((&first["needs_a_person"], &first["ledger"]["repaired"]), (&true.into(), &0.into()));
        let open: Vec<String> = sqlx::query_scalar("select kind from breaks where closed_at is null")
            .fetch_all(&system.database.pool)
            .await
            .unwrap();
        assert!(open.contains(&(*kind).to_owned()), "{defect}: {open:?}");
        assert_eq!(system.count(transfers).await, before, "{defect}: the ledger was changed");
    }
}

#[tokio::test]
async fn a_stray_transfer_of_a_payment_that_waits_is_found() {
    let (system, id) = one_that_waits().await;
    let stray = "insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code,
                                               payment_id, created_at)
                 select $id, gen_random_uuid(), gen_random_uuid(), 12.30, 'EUR', 'payment', $id, now()";
    behind_the_guards(&system, stray, id).await;

    let (code, report) = reconcile(&system).await;

    assert_eq!((code, &report["ledger"]["breaks"]), (3, &1.into()));
    assert_eq!(system.count("select count(*) from breaks where kind = 'transfer_unfounded'").await, 1);
}

#[tokio::test]
async fn a_ledger_of_many_pages_is_compared_page_by_page_to_its_end() {
    let (system, id) = one_that_succeeded().await;
    let many = "insert into payments select p.* from payments q
                 cross join generate_series(1, 2500) n
                 cross join lateral jsonb_populate_record(q, jsonb_build_object('id', lpad(n::text, 32, '0'))) p
                 where q.id = $id";
    behind_the_guards(&system, many, id).await;

    let (code, report) = reconcile(&system).await;

    assert_eq!(code, 3);
    assert_eq!((&report["ledger"]["checked"], &report["ledger"]["found"]), (&2_501.into(), &2_500.into()));
    assert_eq!(system.count("select count(*) from breaks where kind = 'transfer_missing'").await, 2_500);
}

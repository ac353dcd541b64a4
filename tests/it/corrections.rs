//! Corrections, with real processes: two people put right what the books have wrong about a payment that is
//! over. They are proposed, approved, compared with the gateway, and posted.

mod denied;

use domain::ids::PaymentId;
use reqwest::Method;
use serde_json::{Value, json};
use tests::client::send;
use tests::{Answer, Exit, Launch, Shape, System, a_payment, wait_for, wait_until};

use crate::PROGRAM;
use crate::operator::{
    ADAS_KEY, ADMIN_KEY, BLIND, BOBS_KEY, charge_id, decides, version, void_at_the_gateway,
};
use crate::reconcile::{at_the_gateway, behind_the_guards, first_tick_over, open_breaks, reconcile};
use crate::verify;

async fn asks(system: &System, method: Method, path: &str, body: Option<Value>, key: &str) -> Answer {
    let url = format!("{}{path}", system.apis[0].address("api"));
    let request = reqwest::Client::new().request(method, url).header("x-api-key", key);
    send(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

async fn proposes(
    system: &System,
    id: PaymentId,
    kind: &str,
    (amount, charge_id): (&str, Option<&str>),
    key: &str,
) -> Answer {
    let mut body = json!({ "payment_id": id, "kind": kind, "amount": amount, "reason": "ticket 4711" });
    if let Some(charge_id) = charge_id {
        body["charge_id"] = json!(charge_id);
    }
    asks(system, Method::POST, "/v1/corrections", Some(body), key).await
}

async fn approves(system: &System, id: &Value, key: &str) -> Answer {
    asks(system, Method::POST, &format!("/v1/corrections/{id}/approve"), None, key).await
}

/// Ada proposes and Bob approves; reconciliation copies the journal. Answers the correction after its end.
async fn corrected(system: &System, id: PaymentId, kind: &str, stands: (&str, Option<&str>)) -> Value {
    let proposed = proposes(system, id, kind, stands, ADAS_KEY).await;
    proposed.assert_status(201);
    let number = proposed.json()["id"].clone();
    approves(system, &number, BOBS_KEY).await.assert_status(200);
    reconcile(system).await;
    wait_for("the correction to end", async || {
        let it =
            asks(system, Method::GET, &format!("/v1/corrections/{number}"), None, ADMIN_KEY).await.json();
        (!it["outcome"].is_null()).then_some(it)
    })
    .await
}

async fn verified(system: &System) -> (i64, Value) {
    let (code, report) = verify::report(verify::verify(system, &[])).await;
    (code.into(), report)
}

/// A payment that succeeded, whose charge was given back at the gateway.
async fn given_back() -> (System, PaymentId) {
    let system = System::start(PROGRAM).await;
    first_tick_over(&system).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    void_at_the_gateway(&system, id).await;
    (system, id)
}

/// Ends a payment by hand as succeeded by that charge, as people did before decisions were checked.
async fn ended_by_hand_as_succeeded(system: &System, id: PaymentId, charge_id: &str) {
    let sql = format!(
        "update payments set status = 'succeeded', held_reason = null, due_at = null, terminal_at = now(),
                gateway_transaction_id = '{charge_id}', version = version + 1, updated_at = now() where id = $id;
         insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at)
         select id, version, 'succeeded', 'processing', 'succeeded', 'by_hand',
                jsonb_build_object('by', 'eve', 'reason', 'so', 'charge_id', '{charge_id}', 'look', null, 'decision', null),
                correlation_id, updated_at from payments where id = $id;
         update payments p set terminal_at = e.at from payment_events e
          where p.id = $id and e.payment_id = p.id and e.version = p.version;
         update breaks set closed_at = now(), closed_by = 'eve', closed_reason = 'so' where payment_id = $id;
         insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency, code, payment_id,
                                       created_at)
         select p.id, (select id from ledger_accounts where kind = 'gateway_clearing' and currency = p.currency),
                (select id from ledger_accounts a where kind = 'merchant_payable' and a.currency = p.currency
                    and a.merchant_id = p.merchant_id), p.amount, p.currency, 'payment', p.id, now()
           from payments p where id = $id"
    );
    behind_the_guards(system, &sql, id).await;
}

#[tokio::test]
async fn what_was_given_back_is_taken_back_from_the_ledger_by_two_people() {
    let (system, id) = given_back().await;
    assert_eq!(verified(&system).await.0, 1);
    reconcile(&system).await;
    assert_eq!(open_breaks(&system).await, [format!("missing_at_gateway of {id}")]);

    let it = corrected(&system, id, "charge_refunded", ("0", None)).await;

    assert_eq!((&it["outcome"], &it["delta"]), (&json!("posted"), &json!("-12.30")), "{it}");
    assert_eq!((&it["proposed_by"], &it["approved_by"]), (&json!("ada"), &json!("bob")));
    assert_eq!(system.client.payment(id).await["status"], "succeeded");
    assert_eq!(open_breaks(&system).await, Vec::<String>::new());
    let (code, report) = verified(&system).await;
    assert_eq!(code, 0, "{report}");
    // A new comparison of the books finds nothing, and a further correction is refused.
    assert_eq!(reconcile(&system).await.0, 0);
    let again = corrected(&system, id, "charge_refunded", ("0", None)).await;
    assert_eq!(again["outcome"], "refused", "{again}");
    assert!(again["refusal"].as_str().unwrap().contains("nothing of it either"), "{again}");
    system.assert_books_agree().await;
}

#[tokio::test]
async fn of_what_two_people_agreed_to_correct_reconciliation_says_only_what_no_correction_explains() {
    let mut system = System::start(PROGRAM).await;
    let (id, twice) = (system.accepted(a_payment()).await, system.accepted(a_payment()).await);
    system.ended(id).await;
    system.ended(twice).await;
    // Nothing has been given back yet, which its own reconciliation would see.
    system.workers[0].kill9();
    void_at_the_gateway(&system, id).await;
    for payment in [id, twice] {
        let proposed = proposes(&system, payment, "charge_refunded", ("0", None), ADAS_KEY).await;
        approves(&system, &proposed.json()["id"], BOBS_KEY).await.assert_status(200);
    }
    let again = "insert into gateway_journal (seq, at, kind, op, key, charge_id, amount, currency, reference)
                 select seq + 100, at, kind, op, key, 'ch_again', amount, currency, reference
                   from gateway_journal where kind = 'charge' and key = $key";
    at_the_gateway(&system, again, twice).await;

    // The books are compared while both corrections are on their way.
    reconcile(&system).await;
    assert_eq!(open_breaks(&system).await, [format!("charged_twice of {twice}")]);
    system.add_worker([("RUST_LOG", "info")]).await;
    let ended = "select count(*) from corrections where ended_at is not null";
    wait_until("both corrections to end", async || system.count(ended).await == 2).await;
    reconcile(&system).await;
    assert_eq!(open_breaks(&system).await, [format!("charged_twice of {twice}")]);
}

#[tokio::test]
async fn nobody_approves_what_they_proposed_themselves_under_whichever_name() {
    let (mut system, id) = given_back().await;
    let again =
        system.api().env("ADMIN_KEYS", format!("ada:a-new-key-of-ada-s,eve:{ADAS_KEY}")).start().await;
    let number = proposes(&system, id, "charge_refunded", ("0", None), ADAS_KEY).await.json()["id"].clone();

    approves(&system, &number, ADAS_KEY).await.assert_problem(403, "same_person");
    approves(&system, &number, ADMIN_KEY).await.assert_problem(403, "named_key_needed");
    approves(&system, &number, system.client.secret()).await.assert_problem(403, "insufficient_scope");
    approves(&system, &json!(4711), BOBS_KEY).await.assert_problem(404, "not_found");
    system.apis.insert(0, again);
    // The same name with another key is refused, and so is the same key under another name.
    approves(&system, &number, "a-new-key-of-ada-s").await.assert_problem(403, "same_person");
    approves(&system, &number, ADAS_KEY).await.assert_problem(403, "same_person");
    let other = proposes(&system, id, "charge_refunded", ("0", None), ADMIN_KEY).await;
    other.assert_problem(403, "named_key_needed");
    let past_the_api =
        "update corrections set approved_by = 'x', approved_with = proposed_with, approved_key = 'x',
                               approved_at = now()";
    let refused = sqlx::query(past_the_api).execute(&system.database.pool).await.unwrap_err();
    assert!(refused.to_string().contains("corrections_take_two_people"), "{refused}");
    let unfounded =
        "insert into ledger_transfers (transaction_id, debit_account_id, credit_account_id, amount, currency,
                                                   code, payment_id, created_at)
                     select transaction_id, credit_account_id, debit_account_id, t.amount, t.currency,
                            'correction_' || c.id, t.payment_id, now()
                       from ledger_transfers t join corrections c on c.payment_id = t.payment_id";
    let refused = sqlx::query(unfounded).execute(&system.database.pool).await.unwrap_err();
    assert!(refused.to_string().contains("no correction of it was approved"), "{refused}");
    assert_eq!(system.count("select count(*) from corrections where approved_at is not null").await, 0);
}

#[tokio::test]
async fn what_was_ended_by_hand_with_another_amount_or_no_charge_is_put_right() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let (other, none) = (
        system.accepted(a_payment().method("sim_wrong_amount")).await,
        system.accepted(a_payment().method("sim_reset_before")).await,
    );
    let worker = system.add_worker([("RUST_LOG", "info")]).await;
    system.held(other).await;
    system.ended(none).await;
    system.workers[worker].kill9();
    let made_up = system.accepted(a_payment()).await;
    let of_other = charge_id(&system, other).await;
    ended_by_hand_as_succeeded(&system, other, &of_other).await;
    behind_the_guards(&system, "update payments set status = 'processing' where id = $id", made_up).await;
    behind_the_guards(
        &system,
        "insert into payment_events (payment_id, version, type, from_status, to_status, reason, evidence, correlation_id, at)
         select id, 2, 'held', 'pending', 'processing', 'contradiction', '{}', correlation_id, now() from payments where id = $id;
         update payments set held_reason = 'contradiction', version = 2, due_at = null where id = $id",
        made_up,
    )
    .await;
    ended_by_hand_as_succeeded(&system, made_up, "ch_made_up").await;
    assert_eq!(verified(&system).await.0, 1);
    let taken: Value = {
        let journal = system.journal().await;
        journal.iter().find(|row| row["kind"] == "charge" && row["charge_id"] == of_other.as_str()).unwrap()["amount"].clone()
    };
    let taken = taken.as_str().unwrap();
    system.add_worker([("RUST_LOG", "info")]).await;

    let wrong = corrected(&system, other, "amount_differs", ("1.00", Some(&of_other))).await;
    let amount = corrected(&system, other, "amount_differs", (taken, Some(&of_other))).await;
    let missing = corrected(&system, made_up, "charge_missing", ("0", None)).await;

    assert_eq!(wrong["outcome"], "refused", "{wrong}");
    assert!(wrong["refusal"].as_str().unwrap().contains("not what was proposed"), "{wrong}");
    assert_eq!(
        (&amount["outcome"], &missing["outcome"]),
        (&json!("posted"), &json!("posted")),
        "{amount} {missing}"
    );
    assert_eq!(missing["delta"], "-12.30");
    let (code, report) = verified(&system).await;
    assert_eq!(code, 0, "{report}");
    assert_eq!(open_breaks(&system).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_charge_found_for_a_payment_that_was_ended_without_proof_is_posted() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let id = system.accepted(a_payment().method("sim_reset_after")).await;
    let blind = system.add_worker(BLIND).await;
    let held = version(&system.held(id).await);
    assert_eq!(decides(&system, id, held, "fail+unproven").await.status, 303);
    system.workers[blind].kill9();
    assert_eq!(verified(&system).await.0, 3);
    system.add_worker([("RUST_LOG", "info")]).await;
    let charge = charge_id(&system, id).await;

    let it = corrected(&system, id, "charge_found", ("12.30", Some(&charge))).await;

    assert_eq!((&it["outcome"], &it["delta"]), (&json!("posted"), &json!("12.30")), "{it}");
    assert_eq!(open_breaks(&system).await, Vec::<String>::new());
    let (code, report) = verified(&system).await;
    assert_eq!(
        (code, &report["unproven"]["payments"], &report["unproven"]["refuted"]),
        (0, &json!(1), &json!(0))
    );
    assert!(!system.journal_of(id).await.contains(&"request void".to_owned()));
}

#[tokio::test]
async fn a_proposal_that_cannot_be_used_says_why() {
    let (system, id) = given_back().await;
    let waiting = a_payment().method("sim_wrong_amount");
    let waiting = system.accepted(waiting).await;
    system.held(waiting).await;
    for (kind, amount, charge_id, param) in [
        ("stolen", "0", None, "kind"),
        ("charge_refunded", "nothing", None, "amount"),
        ("charge_refunded", "-1", None, "amount"),
        ("charge_refunded", "0", Some("ch_1"), "charge_id"),
        ("amount_differs", "1", None, "charge_id"),
    ] {
        let problem = proposes(&system, id, kind, (amount, charge_id), ADAS_KEY)
            .await
            .assert_problem(400, "invalid_request");
        assert_eq!(problem["param"], param, "{problem}");
    }
    let under_way = proposes(&system, waiting, "charge_missing", ("0", None), ADAS_KEY).await;
    under_way.assert_problem(409, "payment_not_over");
    let unknown = proposes(&system, PaymentId::generate(), "charge_missing", ("0", None), ADAS_KEY).await;
    unknown.assert_problem(404, "not_found");

    let first = proposes(&system, id, "charge_refunded", ("0", None), ADAS_KEY).await;
    let again = proposes(&system, id, "charge_refunded", ("0", None), ADAS_KEY).await;
    let other = proposes(&system, id, "charge_missing", ("0", None), BOBS_KEY).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(again.json()["id"], first.json()["id"]);
    other.assert_problem(409, "correction_open");
    let changed = "update corrections set amount = 1, charge_id = 'ch_1'";
    let refused = sqlx::query(changed).execute(&system.database.pool).await.unwrap_err();
    assert!(refused.to_string().contains("stays as it was proposed"), "{refused}");
}

#[tokio::test]
async fn a_correction_is_proposed_and_approved_by_command() {
    let mut system = System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await;
    let worker = [("RECONCILE_EVERY_MS", "500")];
    system.add_worker(worker).await;
    let id = system.accepted(a_payment()).await;
    system.ended(id).await;
    void_at_the_gateway(&system, id).await;
    let api = system.apis[0].address("api").to_owned();
    let payonce = async |key: &str, arguments: &[&str]| {
        let command = Launch::payonce(PROGRAM)
            .args(["corrections", "--base-url", &api])
            .args(arguments.iter().copied());
        let (exit, process) = command.env("ADMIN_KEY", key).run().await;
        let Exit::Code(code) = exit else { unreachable!("nobody sent it a signal") };
        (code, format!("{}{}", process.stdout(), process.stderr()))
    };
    let payment = id.to_string();
    let propose = [
        "propose",
        "--payment",
        &payment,
        "--kind",
        "charge_refunded",
        "--amount",
        "0",
        "--reason",
        "ticket 1",
    ];

    let (code, said) = payonce(ADMIN_KEY, &propose).await;
    assert_eq!(code, 1);
    assert!(said.contains("come with a key of your own"), "{said}");
    let (code, said) = payonce(ADAS_KEY, &propose).await;
    assert_eq!(code, 0, "{said}");
    let number = system.count("select id from corrections").await.to_string();
    assert!(said.contains(&format!("proposed as {number}")), "{said}");
    let (code, said) = payonce(ADAS_KEY, &["approve", &number]).await;
    assert_eq!(code, 1);
    assert!(said.contains("somebody else has to approve it"), "{said}");
    let (_, listed) = payonce(ADAS_KEY, &["list"]).await;
    assert!(listed.contains("charge_refunded") && listed.contains("proposed"), "{listed}");
    let (code, said) = payonce(BOBS_KEY, &["approve", &number]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("is posted: -12.30"), "{said}");
    let (code, said) = payonce(BOBS_KEY, &["withdraw", &number, "--reason", "x"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("is posted already"), "{said}");
    assert_eq!(verified(&system).await.0, 0);
}

#[tokio::test]
async fn a_correction_is_proposed_and_approved_on_the_pages() {
    let (system, id) = given_back().await;
    let form = |path: &str, key: &str, fields: &str| {
        let url = format!("{}{path}", system.apis[0].address("ops"));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = http.post(url).basic_auth("whoever", Some(key)).header("sec-fetch-site", "same-origin");
        send(request.header("content-type", "application/x-www-form-urlencoded").body(fields.to_owned()))
    };
    let text = async |path: &str, key: &str| {
        let url = format!("{}{path}", system.apis[0].address("ops"));
        let answer = send(reqwest::Client::new().get(url).basic_auth("whoever", Some(key))).await;
        String::from_utf8(answer.body.clone()).unwrap()
    };
    let path = format!("/ops/payments/{id}/corrections");
    let fields = "kind=charge_refunded&amount=0&charge_id=&reason=ticket+4711";

    assert_eq!(form(&path, ADMIN_KEY, fields).await.status, 403);
    assert_eq!(form(&path, ADAS_KEY, "kind=charge_refunded&amount=x&reason=so").await.status, 400);
    assert_eq!(form(&path, ADAS_KEY, fields).await.status, 303);
    let number = system.count("select id from corrections").await;
    let decide = format!("/ops/corrections/{number}");
    assert!(!text("/ops/corrections", ADAS_KEY).await.contains("value=\"approve\""));
    assert!(text("/ops/corrections", BOBS_KEY).await.contains("value=\"approve\""));
    assert_eq!(form(&decide, ADAS_KEY, "action=approve").await.status, 403);
    assert_eq!(form(&decide, BOBS_KEY, "action=approve").await.status, 303);
    reconcile(&system).await;
    let posted = "select count(*) from corrections where outcome = 'posted'";
    wait_until("the correction to be posted", async || system.count(posted).await == 1).await;
    let page = text(&format!("/ops/payments/{id}"), ADAS_KEY).await;
    assert!(page.contains("approved by bob") && page.contains("Posted: <b>-12.30 EUR</b>"), "{page}");
    assert_eq!(verified(&system).await.0, 0);
}

#[tokio::test]
async fn a_key_with_a_name_acts_under_that_name_whatever_is_typed() {
    let system = System::start(PROGRAM).await;
    let id = system.accepted(a_payment().method("sim_wrong_amount")).await;
    system.held(id).await;
    let number = system.count("select id from breaks").await;
    let resolve = format!("/v1/breaks/{number}/resolve");

    let as_bob = json!({ "by": "bob", "reason": "x", "decision": "release" });
    let problem = asks(&system, Method::POST, &resolve, Some(as_bob), ADAS_KEY)
        .await
        .assert_problem(400, "invalid_request");
    assert_eq!(problem["param"], "by");
    let done = asks(
        &system,
        Method::POST,
        &resolve,
        Some(json!({ "reason": "x", "decision": "release" })),
        ADAS_KEY,
    )
    .await;

    done.assert_status(200);
    assert_eq!(done.json()["closed_by"], "ada");
}

//! Teeth: with a guard taken away `payonce verify` says what went wrong. Where another guard still holds, all
//! is clean, and it is seen to be that guard: with both taken away it is not.

mod book;
mod scene;

use std::collections::BTreeSet;

use shared::platform::fault::SABOTAGES;
use tests::{Second, System};

use self::book::*;
use self::scene::*;
use crate::reconcile::{open_breaks, reconcile};
use crate::verify;

/// The guards that a scene is without: sabotages, triggers of the database (`payments_…`, and those of
/// accounts), and promises of the gateway, by the fault that breaks each.
#[derive(Clone, Copy)]
struct Without(&'static [&'static str]);

/// The promises that the gateway can be without.
const PROMISES: &[&str] = &["ignore_idempotency_keys", "keys_optional"];

/// A scene's system at rest and without workers, and the arguments for `verify`.
struct Left {
    system: System,
    arguments: Vec<String>,
    /// A second gateway that `verify` reads too.
    _second: Option<Second>,
}

/// What `verify` must say.
#[derive(Clone, Copy)]
enum Verdict {
    /// Nothing: no guard was needed, or another one held.
    Clean,
    /// An error of this check, in these words. Reconciliation opens this break.
    Caught { check: &'static str, says: &'static str, opens: &'static str },
}

use Verdict::Clean;

const fn caught(check: &'static str, says: &'static str) -> Verdict {
    Verdict::Caught { check, says, opens: "" }
}

/// The same, and reconciliation opens a break of this kind.
const fn caught_twice(check: &'static str, says: &'static str, opens: &'static str) -> Verdict {
    Verdict::Caught { check, says, opens }
}

impl Left {
    async fn assert(self, verdict: Verdict) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let (code, report) = verify::report(verify::verify(&self.system, &arguments)).await;
        let said = verify::offences(&report);
        let Verdict::Caught { check, says, opens } = verdict else {
            assert_eq!((code, said), (0, vec![]), "{report}");
            return;
        };
        assert_eq!(code, 1, "{report}");
        assert!(said.iter().any(|(by, _, what)| by == check && what.contains(says)), "{report}");
        if !opens.is_empty() {
            reconcile(&self.system).await;
            let open = open_breaks(&self.system).await;
            assert!(open.iter().any(|kind| kind.starts_with(opens)), "{open:?}");
        }
    }
}

/// Makes one test for each row: a scene without some guards, and what `verify` says of it.
macro_rules! teeth {
    ($($test:ident: $scene:ident without [$($guard:ident),*] => $verdict:expr;)+) => {
        const TEETH: &[(Without, Verdict)] = &[$((Without(&[$(stringify!($guard)),*]), $verdict)),+];

        $(
            #[tokio::test]
            async fn $test() {
                $scene(Without(&[$(stringify!($guard)),*])).await.assert($verdict).await;
            }
        )+
    };
}

teeth! {
    // The key is recorded with the payment.
    a_key_that_is_not_unique_is_caught: the_same_key_twice without [no_unique_key]
        => caught("acknowledged", "and again as");
    // A 2xx leaves after the commit.
    an_answer_before_the_commit_is_caught: an_api_killed_before_its_commit without [acknowledge_before_commit]
        => caught("acknowledged", "was acknowledged, but this merchant has no such payment");
    // The job is recorded with the payment. Behind it: the sweep.
    a_job_lost_beside_its_payment_is_found_by_the_sweep: an_api_killed_after_its_commit without [job_outside]
        => Clean;
    a_job_lost_beside_its_payment_and_no_sweep_are_caught: an_api_killed_after_its_commit without [job_outside, no_sweep]
        => caught("liveness", "and nobody took it");
    // One claim at a time. Behind it: a takeover only looks. Behind both: one key for all charges.
    a_payment_whose_job_comes_twice_is_claimed_once: a_job_delivered_twice without []
        => Clean;
    a_claim_that_is_taken_away_is_only_looked_up: a_job_delivered_twice without [no_lease_check]
        => Clean;
    a_claim_that_is_taken_away_and_charged_is_caught: a_job_delivered_twice without [no_lease_check, takeover_charges]
        => caught("history", "attempt_started, while it was processing");
    a_claim_that_is_taken_away_and_charged_anew_is_caught:
        a_job_delivered_twice without [no_lease_check, takeover_charges, ignore_idempotency_keys]
        => caught("charge", "2 charges stand");
    // A takeover looks.
    a_payment_whose_worker_died_is_looked_up: a_worker_killed_after_its_charge without []
        => Clean;
    a_takeover_that_charges_is_caught: a_worker_killed_after_its_charge without [takeover_charges]
        => caught_twice("history", "attempt_started, while it was processing", "history");
    // No timer ends a payment. Behind it: a trigger.
    a_timer_that_writes_failed_is_refused: a_worker_killed_after_its_charge without [timer_writes_failed]
        => Clean;
    a_timer_that_writes_failed_is_caught:
        a_worker_killed_after_its_charge without [timer_writes_failed, payments_failed_needs_proof]
        => caught_twice("charge", "ended without a charge, but 1 stand", "charged_after_end");
    // Status and event are one statement, and so are status and transfer.
    an_event_that_is_skipped_is_caught: a_payment_charged without [event_skipped]
        => caught_twice("history", "has event 3 where 2 was to come", "history");
    an_entry_that_is_skipped_is_caught: a_payment_charged without [ledger_skipped]
        => caught_twice("ledger", "is succeeded, but has no transfer in the ledger", "transfer_missing");
    // A claim is for one gateway. Behind it: a job names the gateway.
    a_job_that_names_the_wrong_gateway_leads_to_no_claim: a_job_that_names_the_wrong_gateway without []
        => Clean;
    a_claim_that_minds_no_gateway_is_caught: a_job_that_names_the_wrong_gateway without [any_gateway]
        => caught_twice("charge", "but the charge that stands is another one", "charge_unknown");
    // One key for all requests for a refund.
    a_refund_that_is_never_answered_is_made_once: a_refund_never_answered without []
        => Clean;
    a_key_of_its_own_for_each_request_for_a_refund_is_caught: a_refund_never_answered without [new_key_per_refund]
        => caught("refunds", "times otherwise");
    // One key for all charges. Behind it: a gateway that demands one.
    a_key_of_its_own_for_each_charge_is_caught: a_payment_charged without [new_key_per_attempt]
        => caught_twice("charge", "stand at the gateway", "charge_unknown");
    a_charge_sent_again_takes_effect_once: a_charge_that_arrives_late without []
        => Clean;
    a_charge_without_a_key_is_refused_by_the_gateway: a_charge_that_arrives_late without [no_gateway_key]
        => Clean;
    a_gateway_that_takes_charges_without_a_key_gets_none: a_charge_that_arrives_late without [keys_optional]
        => Clean;
    a_charge_sent_again_without_a_key_is_caught: a_charge_that_arrives_late without [no_gateway_key, keys_optional]
        => caught_twice("charge", "2 charges stand", "charged_twice");
    // A lost answer is looked up. Behind it: one key for all charges.
    a_lost_answer_is_looked_up: answers_lost without [ignore_idempotency_keys]
        => Clean;
    a_blind_retry_is_answered_by_the_key: answers_lost without [blind_retry]
        => Clean;
    a_blind_retry_that_charges_anew_is_caught: answers_lost without [blind_retry, ignore_idempotency_keys]
        => caught_twice("charge", "2 charges stand", "charged_twice");
    // Doubt sticks. Behind it: a trigger.
    a_payment_in_doubt_is_voided: tries_used_up_in_doubt without []
        => Clean;
    a_forgotten_doubt_is_refused: tries_used_up_in_doubt without [doubt_forgotten]
        => Clean;
    a_forgotten_doubt_is_caught: tries_used_up_in_doubt without [doubt_forgotten, payments_failed_needs_proof]
        => caught_twice("charge", "ended without a charge, but 1 stand", "charged_after_end");
    // What a person decides is checked against a look.
    a_charge_that_nobody_made_is_refused: a_person_names_a_charge_that_nobody_made without []
        => Clean;
    a_decision_that_nobody_checks_is_caught: a_person_names_a_charge_that_nobody_made without [decision_unchecked]
        => caught_twice("by_hand", "showed no single charge that stands", "missing_at_gateway");
    // A charge by another payment's name is adopted only where that payment is forgotten.
    a_known_payments_charge_that_is_adopted_is_caught: a_charge_by_another_payments_name without [adopts_anything]
        => caught("charge", "but no charge of it stands");
    // Writes are fenced by the claim's token. Behind it: a trigger.
    a_result_that_comes_too_late_changes_nothing: a_stale_worker_writes without []
        => Clean;
    a_result_that_gets_past_the_fence_is_refused: a_stale_worker_writes without [no_fence]
        => Clean;
    a_result_that_gets_past_the_fence_is_caught: a_stale_worker_writes without [no_fence, payments_failed_needs_proof]
        => caught_twice("charge", "ended without a charge, but 1 stand", "charged_after_end");
    // Funds must suffice. Behind it: the database.
    funds_that_nobody_counts_are_refused_by_the_database: more_is_asked_for_than_there_is without [no_funds_check]
        => Clean;
    funds_that_nobody_counts_are_caught:
        more_is_asked_for_than_there_is without [no_funds_check, accounts_funds_suffice]
        => caught("accounts", "owed after its entry");
    // A refused group leaves nothing. Behind it: entries are two sides of a transfer.
    half_a_group_is_refused_by_the_database: a_group_whose_second_part_is_too_much without [half_group]
        => Clean;
    half_a_group_is_caught: a_group_whose_second_part_is_too_much without [half_group, account_entries_are_whole]
        => caught("accounts", "of a transfer that does not exist");
    // Both sides are written. Behind it: entries are two sides, and an account is what its last entry says.
    one_side_alone_is_refused_by_the_database: a_transfer without [one_sided]
        => Clean;
    one_side_alone_is_refused_by_the_other_account: a_transfer without [one_sided, account_entries_are_whole]
        => Clean;
    one_side_alone_is_caught: a_transfer without [one_sided, account_entries_are_whole, accounts_follow_their_entries]
        => caught("accounts", "and has the entries");
    // A hold ends once.
    a_hold_that_ends_twice_is_caught: a_hold_that_is_ended_twice without [hold_ends_twice]
        => caught("accounts", "is posted, and has the entries");
    // The key is recorded with the transfer.
    a_transfer_without_its_key_is_caught: a_transfer without [no_transfer_key]
        => caught("accounts", "transfers and groups have");
}

#[test]
fn every_sabotage_is_caught_and_so_is_what_the_guard_behind_it_made_harmless() {
    let mut caught = BTreeSet::new();
    for (Without(guards), verdict) in TEETH {
        let is_known = |guard: &&str| {
            let is_of_accounts = OF_THE_DATABASE.iter().any(|(name, _)| *name == *guard);
            SABOTAGES.contains(guard)
                || PROMISES.contains(guard)
                || is_of_accounts
                || guard.starts_with("payments_")
        };
        assert!(guards.iter().all(is_known), "{guards:?}");
        if matches!(verdict, Verdict::Caught { .. }) {
            caught.extend(guards.iter().filter(|guard| SABOTAGES.contains(guard)));
            let all_but_the_last = &guards[..guards.len() - 1];
            let is_shown = TEETH.iter().any(|(Without(guards), _)| *guards == all_but_the_last);
            assert!(all_but_the_last.is_empty() || is_shown, "what is without {all_but_the_last:?} alone?");
        }
    }
    assert_eq!(caught, SABOTAGES.iter().collect());
}

/// The contradictions after answers were lost, among them the order in which the gateway was asked.
async fn odds_after_lost_answers(without: Without) -> Vec<String> {
    answers_lost(without).await.system.violations().await
}

#[tokio::test]
async fn after_a_lost_answer_comes_a_lookup_before_any_other_charge() {
    assert_eq!(odds_after_lost_answers(Without(&[])).await, Vec::<String>::new());
}

#[tokio::test]
async fn without_looking_first_a_charge_would_be_sent_again_blindly() {
    let odds = odds_after_lost_answers(Without(&["blind_retry"])).await;
    assert!(odds.iter().any(|odd| odd.contains("without a lookup after an unknown answer")), "{odds:?}");
}

//! Series that stand at zero from the start: an increase from nothing is none, so a counter that is born by
//! what it counts hides the first of it.

use domain::dead_letter::Class;
use domain::decide::Purpose;
use domain::held::Seen;
use domain::ids::GatewayName;
use domain::operation::{OperationEvent, OperationOutcome};
use domain::outcome::{ChargeOutcome, FailureKind, LookupOutcome, Outcome as _, Standing, VoidOutcome};
use domain::status::{EventType, PaymentStatus};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{
    ACCEPTS, ALL, API_REFUSALS, Accept, BUILD, CLAIMS, DEAD_LETTER_REPLAYS, E2E, EVENTS, FAILURES,
    GATEWAY_CALL_DURATION, GATEWAY_CALLS, HTTP_REQUEST_DURATION, HTTP_REQUESTS, JWKS_READS, Kind,
    LATE_EVIDENCE, OTHER_PEPPER, PUT_OFF, QUEUE_DELAY, RECONCILIATIONS, REFUNDS, Refusal, SETTLE_DURATION,
    SWEEP_FOUND, SWEEPS, buried, label, rescheduled, webhooks,
};

/// The commit that the program was built from, where `PAYONCE_COMMIT` told the build.
const COMMIT: Option<&str> = option_env!("PAYONCE_COMMIT");

/// Tells the recorder what each metric means, and shows what this process may count.
pub(super) fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
    let commit = COMMIT.filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION"), "commit" => commit).set(1.0);
    describe_payments();
    super::accounts::describe();
    for limit in Refusal::ALL {
        counter!(API_REFUSALS, "limit" => limit.as_str()).increment(0);
    }
    for result in ["finished", "failed", "left"] {
        counter!(RECONCILIATIONS, "result" => result).increment(0);
    }
    for &class in Class::ALL {
        buried(class, 0);
    }
    for result in ["replayed", "duplicate"] {
        counter!(DEAD_LETTER_REPLAYS, "result" => result).increment(0);
    }
    for kind in ["payment", "job", "void"] {
        rescheduled(kind, 0);
    }
    gauge!(OTHER_PEPPER).set(0.0);
    for result in ["ok", "failed"] {
        counter!(JWKS_READS, "result" => result).increment(0);
        counter!(SWEEPS, "result" => result).increment(0);
    }
    counter!(SWEEP_FOUND).increment(0);
    webhooks(0, 0, false);
}

/// Shows what becomes of payments.
fn describe_payments() {
    for accept in Accept::ALL {
        counter!(ACCEPTS, "result" => accept.as_str()).increment(0);
    }
    for &event in EventType::ALL {
        counter!(EVENTS, "event" => event.as_str()).increment(0);
    }
    for &status in PaymentStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let _ = histogram!(E2E, "status" => status.as_str());
    }
    for purpose in Purpose::ALL {
        counter!(CLAIMS, "purpose" => purpose.as_str(), "result" => "taken").increment(0);
        let _ = histogram!(QUEUE_DELAY, "purpose" => purpose.as_str());
    }
    for result in ["nothing", "failed"] {
        counter!(CLAIMS, "purpose" => "none", "result" => result).increment(0);
    }
    for &event in OperationEvent::ALL {
        counter!(REFUNDS, "event" => event.as_str()).increment(0);
    }
    let _ = histogram!(SETTLE_DURATION);
    counter!(LATE_EVIDENCE).increment(0);
}

/// Shows the counters of a gateway from the start, as zero.
pub fn describe_gateway(gateway: &GatewayName) {
    for kind in FailureKind::ALL {
        counter!(FAILURES, "gateway" => label(gateway), "kind" => kind.as_str()).increment(0);
    }
    counter!(PUT_OFF, "gateway" => label(gateway)).increment(0);
    // Who looks up a charge asks one of three questions.
    let asked: [(&str, &[&[&'static str]]); 5] = [
        ("charge", &[ChargeOutcome::WORDS]),
        ("lookup", &[LookupOutcome::WORDS, Standing::WORDS, Seen::WORDS]),
        ("void", &[VoidOutcome::WORDS]),
        ("refund", &[OperationOutcome::WORDS]),
        ("refund_lookup", &[OperationOutcome::WORDS]),
    ];
    for (op, words) in asked {
        let failures = FailureKind::ALL.iter().filter(|kind| **kind != FailureKind::WorkerLost);
        for outcome in words.concat().into_iter().chain(failures.map(|kind| kind.as_str())) {
            counter!(GATEWAY_CALLS, "gateway" => label(gateway), "op" => op, "outcome" => outcome)
                .increment(0);
        }
        let _ = histogram!(GATEWAY_CALL_DURATION, "gateway" => label(gateway), "op" => op);
    }
}

/// Shows a route of the API from the start, with each status that it is known to answer with.
pub fn describe_route(method: &'static str, route: &'static str, statuses: &[u16]) {
    let _ = histogram!(HTTP_REQUEST_DURATION, "method" => method, "route" => route);
    for status in statuses {
        counter!(HTTP_REQUESTS, "method" => method, "route" => route, "status" => status.to_string())
            .increment(0);
    }
}

//! What merchants ask for.

use super::*;

pub(super) const ALL: &[&Operation] =
    &[&CREATE_PAYMENT, &LIST_PAYMENTS, &GET_PAYMENT, &LIST_PAYMENT_EVENTS, &GET_IDEMPOTENCY_KEY];

/// The headers of a payment that was waited for.
const AT_REST: &[&str] = &["Location", "Idempotent-Replayed", "Preference-Applied", "ETag"];

const fn header(name: &'static str, about: &'static str) -> Parameter {
    parameter(Place::Header, false, name, Kind::Text, about)
}

const PAYMENT_ID: Parameter = in_path("id", Kind::Id("pay_"), "The id of the payment.");

pub(crate) static CREATE_PAYMENT: Operation = Operation {
    id: "create_payment",
    verb: Verb::Post,
    path: "/v1/payments",
    caller: Caller::Merchant,
    about: "Records a payment once per idempotency key. Every try with one key has the same answer, byte for \
            byte, and the payment is charged once.",
    takes: &[
        KEY,
        header(
            "Prefer",
            "`wait=n` has the answer wait up to n seconds, 1 to 60, for the payment to end or to be held.",
        ),
    ],
    body: Some(Asked::One(&o::PAYMENT_REQUEST)),
    answers: &[
        Answer {
            status: 200,
            about: "A repeat, with `Prefer: wait`: the payment as it stands, over or held.",
            content: Content::One(&o::PAYMENT),
            headers: AT_REST,
            links: &["get_payment", "list_payment_events"],
        },
        Answer {
            status: 201,
            about: "With `Prefer: wait`: the payment is recorded, and is over, held or in review within that time. Or \
                    it was paid from a balance: then there is no `ETag`, and every try has this answer.",
            content: Content::One(&o::PAYMENT),
            headers: &["Location", "Idempotent-Replayed"],
            links: &["get_payment", "list_payment_events"],
        },
        Answer {
            status: 202,
            about: "The payment is recorded, and will be charged. The body shows it as it was when it was recorded.",
            content: Content::One(&o::PAYMENT),
            headers: &["Location", "Idempotent-Replayed"],
            links: &["get_payment", "list_payment_events"],
        },
    ],
    problems: &[
        Code::IdempotencyKeyMissing,
        Code::IdempotencyKeyInProgress,
        Code::IdempotencyKeyReused,
        Code::AccountNotFound,
        Code::CurrencyMismatch,
        Code::InsufficientFunds,
        Code::AccountBusy,
    ],
};

pub(crate) static LIST_PAYMENTS: Operation = Operation {
    id: "list_payments",
    verb: Verb::Get,
    path: "/v1/payments",
    caller: Caller::Merchant,
    about: "Lists your payments, newest first.",
    takes: &[
        query("status", Kind::Word(o::statuses), "Only payments with this status."),
        query("held", Kind::Flag, "Only payments that wait for a person, or only others."),
        query("customer_id", Kind::Text, "Only payments of this customer."),
        query("currency", Kind::Word(o::currencies), "Only payments in this currency."),
        query("created_after", Kind::Time, "Only payments that were recorded after this time."),
        query("created_before", Kind::Time, "Only payments that were recorded before this time."),
        query(
            "amount",
            Kind::Amount,
            "Only payments of this amount. It needs both times, at most 31 days apart.",
        ),
        query("amount_min", Kind::Amount, "Only payments of at least this amount. It needs both times."),
        query("amount_max", Kind::Amount, "Only payments of at most this amount. It needs both times."),
        query(
            "metadata",
            Kind::Texts,
            "Only payments with these metadata: `metadata[name]=value`. It needs both times.",
        ),
        query("starting_after", Kind::Id("pay_"), "The last payment of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of payments.", Content::Page(&o::PAYMENT))],
    problems: &[],
};

pub(crate) static GET_PAYMENT: Operation = Operation {
    id: "get_payment",
    verb: Verb::Get,
    path: "/v1/payments/{id}",
    caller: Caller::Merchant,
    about: "Shows a payment as it stands now.",
    takes: &[
        PAYMENT_ID,
        query(
            "wait",
            Kind::Range(0, 60),
            "The seconds that the answer may wait for the payment to end or to be held.",
        ),
        header("If-None-Match", "The `ETag` of the payment as you know it."),
    ],
    body: None,
    answers: &[
        Answer {
            status: 200,
            about: "The payment.",
            content: Content::One(&o::PAYMENT),
            headers: &["ETag"],
            links: &[],
        },
        Answer {
            status: 304,
            about: "The payment is as you know it.",
            content: Content::Empty,
            headers: &["ETag"],
            links: &[],
        },
    ],
    problems: &[Code::TooManyWaits],
};

pub(crate) static LIST_PAYMENT_EVENTS: Operation = Operation {
    id: "list_payment_events",
    verb: Verb::Get,
    path: "/v1/payments/{id}/events",
    caller: Caller::Merchant,
    about: "Lists a payment's history, oldest first.",
    takes: &[
        PAYMENT_ID,
        query(
            "starting_after",
            Kind::Range(0, i32::MAX as i64),
            "The version of the last event of the page before.",
        ),
        CURSOR,
        query("limit", Kind::Range(1, 100), "The most events of the page; all if it is left out."),
    ],
    body: None,
    answers: &[ok("The events.", Content::Page(&o::EVENT))],
    problems: &[],
};

pub(crate) static GET_IDEMPOTENCY_KEY: Operation = Operation {
    id: "get_idempotency_key",
    verb: Verb::Get,
    path: "/v1/idempotency-keys",
    caller: Caller::Merchant,
    about: "Tells what became of a request whose answer was lost, without sending it again.",
    takes: &[
        parameter(Place::Query, true, "key", Kind::Key, "The idempotency key of the request."),
        parameter(Place::Query, true, "customer_id", Kind::Text, "The customer of the request."),
        query("operation", Kind::Constant("create_payment"), "The operation of the request."),
    ],
    body: None,
    answers: &[ok("What is recorded under the key.", Content::One(&o::IDEMPOTENCY_KEY))],
    problems: &[Code::IdempotencyKeyNotFound],
};

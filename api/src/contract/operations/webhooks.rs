//! Where merchants have events sent.

use super::*;

pub(super) const ALL: &[&Operation] = &[
    &CREATE_WEBHOOK_ENDPOINT,
    &LIST_WEBHOOK_ENDPOINTS,
    &GET_WEBHOOK_ENDPOINT,
    &LIST_WEBHOOK_ATTEMPTS,
    &ROTATE_WEBHOOK_SECRET,
    &DISABLE_WEBHOOK_ENDPOINT,
    &RECOVER_WEBHOOK_ENDPOINT,
    &TEST_WEBHOOK_ENDPOINT,
];

const ID: Parameter = in_path("id", Kind::Id("whe_"), "The id of the endpoint.");

pub(crate) static CREATE_WEBHOOK_ENDPOINT: Operation = Operation {
    id: "create_webhook_endpoint",
    verb: Verb::Post,
    path: "/v1/webhook_endpoints",
    caller: Caller::Merchant,
    about: "Has events sent to a URL from now on, once per idempotency key. The answer shows the secret by which \
            deliveries are signed (Standard Webhooks 1.0.0).",
    takes: &[KEY],
    body: Some(Asked::One(&o::WEBHOOK_ENDPOINT_REQUEST)),
    answers: &[Answer {
        status: 201,
        about: "The endpoint, with its secret. Every repeat shows it, too.",
        content: Content::One(&o::WEBHOOK_ENDPOINT),
        headers: &["Idempotent-Replayed"],
        links: &["get_webhook_endpoint"],
    }],
    problems: &[
        Code::IdempotencyKeyMissing,
        Code::IdempotencyKeyReused,
        Code::TooManyEndpoints,
        Code::WebhooksOff,
    ],
};

pub(crate) static LIST_WEBHOOK_ENDPOINTS: Operation = Operation {
    id: "list_webhook_endpoints",
    verb: Verb::Get,
    path: "/v1/webhook_endpoints",
    caller: Caller::Merchant,
    about: "Lists your endpoints, newest first.",
    takes: &[
        query("starting_after", Kind::Id("whe_"), "The last endpoint of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of endpoints.", Content::Page(&o::WEBHOOK_ENDPOINT))],
    problems: &[],
};

pub(crate) static GET_WEBHOOK_ENDPOINT: Operation = Operation {
    id: "get_webhook_endpoint",
    verb: Verb::Get,
    path: "/v1/webhook_endpoints/{id}",
    caller: Caller::Merchant,
    about: "Shows an endpoint, and how many deliveries wait or were given up.",
    takes: &[ID],
    body: None,
    answers: &[ok("The endpoint.", Content::One(&o::WEBHOOK_ENDPOINT))],
    problems: &[],
};

pub(crate) static LIST_WEBHOOK_ATTEMPTS: Operation = Operation {
    id: "list_webhook_attempts",
    verb: Verb::Get,
    path: "/v1/webhook_endpoints/{id}/attempts",
    caller: Caller::Merchant,
    about: "Lists what was sent to an endpoint and what it answered, newest first.",
    takes: &[
        ID,
        query("starting_after", Kind::Number, "The last attempt of the page before."),
        CURSOR,
        LIMIT,
    ],
    body: None,
    answers: &[ok("A page of attempts.", Content::Page(&o::WEBHOOK_ATTEMPT))],
    problems: &[],
};

pub(crate) static ROTATE_WEBHOOK_SECRET: Operation = Operation {
    id: "rotate_webhook_secret",
    verb: Verb::Post,
    path: "/v1/webhook_endpoints/{id}/rotate_secret",
    caller: Caller::Merchant,
    about: "Gives an endpoint another secret, once per idempotency key. The one before signs beside it for a day.",
    takes: &[ID, KEY],
    body: None,
    answers: &[Answer {
        status: 200,
        about: "The endpoint, with its new secret. Every repeat shows it, too.",
        content: Content::One(&o::WEBHOOK_ENDPOINT),
        headers: &["Idempotent-Replayed"],
        links: &[],
    }],
    problems: &[Code::IdempotencyKeyMissing, Code::WebhooksOff],
};

pub(crate) static DISABLE_WEBHOOK_ENDPOINT: Operation = Operation {
    id: "disable_webhook_endpoint",
    verb: Verb::Post,
    path: "/v1/webhook_endpoints/{id}/disable",
    caller: Caller::Merchant,
    about: "Stops what is sent to an endpoint. Its events wait until it is recovered.",
    takes: &[ID],
    body: None,
    answers: &[ok("The endpoint, which is disabled.", Content::One(&o::WEBHOOK_ENDPOINT))],
    problems: &[],
};

pub(crate) static RECOVER_WEBHOOK_ENDPOINT: Operation = Operation {
    id: "recover_webhook_endpoint",
    verb: Verb::Post,
    path: "/v1/webhook_endpoints/{id}/recover",
    caller: Caller::Merchant,
    about: "Enables an endpoint, and sends again at once what waits or was given up.",
    takes: &[ID],
    body: Some(Asked::One(&o::WEBHOOK_RECOVERY)),
    answers: &[ok("The endpoint, which is enabled.", Content::One(&o::WEBHOOK_ENDPOINT))],
    problems: &[],
};

pub(crate) static TEST_WEBHOOK_ENDPOINT: Operation = Operation {
    id: "test_webhook_endpoint",
    verb: Verb::Post,
    path: "/v1/webhook_endpoints/{id}/test",
    caller: Caller::Merchant,
    about: "Has a `webhook_endpoint.test` event sent to the endpoint, and to no other.",
    takes: &[ID],
    body: None,
    answers: &[Answer {
        status: 202,
        about: "The endpoint. The event is on its way.",
        content: Content::One(&o::WEBHOOK_ENDPOINT),
        headers: &[],
        links: &[],
    }],
    problems: &[],
};

//! The codes of all problems, each with its status and its meaning. A code is stable: clients branch on it.
//!
//! The OpenAPI document, the page of each code below `/problems/`, and the answers themselves are made from
//! this table.

use axum::http::StatusCode;

/// Whether the same request may well succeed later, without any change to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It never does.
    Never,
    /// It does, and the answer does not know when.
    Sometime,
    /// It does, after the time that `Retry-After` tells.
    After,
}

macro_rules! codes {
    ($($code:ident = $word:literal $status:ident $retry:ident $about:literal,)+) => {
        /// What a problem is called.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code {
            $($code,)+
        }

        impl Code {
            /// Every code.
            pub(crate) const ALL: &[Self] = &[$(Self::$code),+];

            /// The one spelling.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)+
                }
            }

            pub(crate) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status,)+
                }
            }

            pub(crate) const fn retry(self) -> Retry {
                match self {
                    $(Self::$code => Retry::$retry,)+
                }
            }

            /// The meaning, and what to do.
            pub(crate) const fn about(self) -> &'static str {
                match self {
                    $(Self::$code => $about,)+
                }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request" BAD_REQUEST Never
        "Something in the request is wrong. `errors` names each place and says what it must be. Nothing was \
         recorded, so the corrected request may use the same idempotency key.",
    IdempotencyKeyMissing = "idempotency_key_missing" BAD_REQUEST Never
        "The request has no `Idempotency-Key`. Send a value of your own, the same for every try of this one \
         request.",
    TlsRequired = "tls_required" BAD_REQUEST Never
        "The port speaks TLS, and plain HTTP came. Use https, and replace any key that was sent in the clear.",
    AccountsAreTheSame = "accounts_are_the_same" BAD_REQUEST Never
        "Both sides of a transfer are one account. Nothing is recorded.",
    ExpiryOutOfRange = "expiry_out_of_range" BAD_REQUEST Never
        "A hold ends in the future, and at most 90 days away. Nothing is recorded.",
    TooManyDigits = "too_many_digits" BAD_REQUEST Never
        "The amount has more digits after the point than the currency of the transfer. Nothing is recorded.",
    Unauthorized = "unauthorized" UNAUTHORIZED Never
        "The request has no valid key: it is missing, unknown, expired or revoked, or two different ones came. \
         This is told before anything else about the request.",
    InsufficientScope = "insufficient_scope" FORBIDDEN Never
        "The key is valid, and does not have the scope that this takes. The detail names the scope. Come with a \
         key that has it.",
    NamedKeyNeeded = "named_key_needed" FORBIDDEN Never
        "What takes two people needs a key that belongs to one of them. The shared `ADMIN_KEY` does not.",
    SamePerson = "same_person" FORBIDDEN Never
        "Who proposed a correction cannot approve it. Another person must, with a key of their own.",
    AccountNotFound = "account_not_found" NOT_FOUND Never
        "There is no such account of yours. `account` names it. Nothing is recorded.",
    TransferNotFound = "transfer_not_found" NOT_FOUND Never
        "There is no such transfer of yours. Nothing is recorded.",
    NotFound = "not_found" NOT_FOUND Never
        "There is no such path or object, or it belongs to somebody else.",
    IdempotencyKeyNotFound = "idempotency_key_not_found" NOT_FOUND Never
        "Nothing is recorded under this key, customer and operation. A request that is still under way may yet \
         be: to be sure, repeat it with its key.",
    MethodNotAllowed = "method_not_allowed" METHOD_NOT_ALLOWED Never
        "The path does not take that method. `Allow` names those that it takes.",
    RequestTimeout = "request_timeout" REQUEST_TIMEOUT Sometime
        "The request did not arrive in time. Send it whole, and repeat it with the same idempotency key.",
    IdempotencyKeyInProgress = "idempotency_key_in_progress" CONFLICT After
        "Another request with this idempotency key has not ended yet. Repeat this one later: it gets that \
         request's answer.",
    BreakResolved = "break_resolved" CONFLICT Never
        "Somebody resolved the break before, and otherwise than this request asks for.",
    DecisionNeeded = "decision_needed" CONFLICT Never
        "The payment of the break is held, so closing the break takes a decision about the payment.",
    NothingToDecide = "nothing_to_decide" CONFLICT Never
        "The payment of the break is not held, so there is nothing to decide. Send the reason alone.",
    DecisionRefused = "decision_refused" CONFLICT Never
        "A look at the gateway does not bear the decision out. The detail says what it showed. Nothing was \
         decided.",
    DecisionOpen = "decision_open" CONFLICT After
        "Somebody else's decision about the payment is being checked at the gateway. Repeat this one later.",
    CorrectionOpen = "correction_open" CONFLICT Never
        "Another correction of the payment has not ended. Approve it or take it back first.",
    CorrectionClosed = "correction_closed" CONFLICT Never
        "The correction has ended or was approved already. The detail says how.",
    TransferExpired = "transfer_expired" CONFLICT Never
        "The time of the transfer is over, and what it reserved went back. The refusal is remembered.",
    TransferNotPending = "transfer_not_pending" CONFLICT Never
        "The transfer has ended by something else, or never was pending. `transfer` says how. The refusal is \
         remembered.",
    ExternalIdTaken = "external_id_taken" CONFLICT Never
        "Another account of the merchant has this `external_id`. Nothing was opened, and the key is free.",
    PaymentNotOver = "payment_not_over" CONFLICT Never
        "Only a payment that is over can be corrected.",
    PaymentDisputed = "payment_disputed" CONFLICT Never
        "A dispute about the payment is open: wait for its end. The refusal is remembered under the key: ask again \
         under a new one.",
    PaymentNotRefundable = "payment_not_refundable" CONFLICT Never
        "Only a payment that succeeded at a gateway can be given back, and none that people of ours correct. `payment` \
         says how it stood. What was paid from a balance is given back by a transfer. The refusal is remembered under \
         the key: ask again under a new one.",
    ReviewDecided = "review_decided" CONFLICT Never
        "The review of the payment ended otherwise before. `review` says how, and by whom.",
    TransferOfPayment = "transfer_of_payment" CONFLICT Never
        "The transfer reserves what a payment in review is to cost. It ends with that review alone.",
    TooManyEndpoints = "too_many_endpoints" CONFLICT Never
        "You have as many enabled endpoints as there may be. Disable one first.",
    DeadLetterClosed = "dead_letter_closed" CONFLICT Never
        "Somebody closed the dead letter before, and otherwise than this request asks for.",
    DeadLetterHeld = "dead_letter_held" CONFLICT Never
        "The payment of the dead letter is held. Replay it, or decide about the payment by its break.",
    CursorLost = "cursor_lost" GONE Never
        "The system came back from a backup, or on another server, without the events after the one that you name. \
         Go on after the event in `resume_after`, or from the beginning if it is null, and tell events apart by \
         their ids.",
    PayloadTooLarge = "payload_too_large" PAYLOAD_TOO_LARGE Never
        "The body is longer than 65,536 bytes.",
    UriTooLong = "uri_too_long" URI_TOO_LONG Never
        "The path and the query together are longer than 8,192 bytes.",
    UnsupportedMediaType = "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE Never
        "The body does not say that it is JSON. Send `Content-Type: application/json`.",
    UnsupportedContentEncoding = "unsupported_content_encoding" UNSUPPORTED_MEDIA_TYPE Never
        "The body is compressed or coded otherwise. Send it as it is, without `Content-Encoding`.",
    IdempotencyKeyReused = "idempotency_key_reused" UNPROCESSABLE_ENTITY Never
        "The idempotency key made another payment before. `differing_fields` names the fields that differ, and \
         `payment_id` the payment. Use a new key for a new payment.",
    CurrencyMismatch = "currency_mismatch" UNPROCESSABLE_ENTITY Never
        "An account is in another currency than the transfer. `currency` names it. Nothing is recorded.",
    AmountExceedsPending = "amount_exceeds_pending" UNPROCESSABLE_ENTITY Never
        "The transfer reserves less, as `pending` says. The refusal is remembered.",
    AmountExceedsRefundable = "amount_exceeds_refundable" UNPROCESSABLE_ENTITY Never
        "Less is left to give back, as `refundable` says: what is given back already and what is on its way back do not \
         count. The refusal is remembered under the key.",
    InsufficientFunds = "insufficient_funds" UNPROCESSABLE_ENTITY Never
        "The account has less available, as `available` says. The refusal is remembered under the key: once there \
         is more, ask again under a new one.",
    LinkedTransferFailed = "linked_transfer_failed" UNPROCESSABLE_ENTITY Never
        "Another transfer of the same group was refused. It stands in the list `transfers` of a problem.",
    TooManyRequests = "too_many_requests" TOO_MANY_REQUESTS After
        "The key has made too many requests. Repeat this one after the time in `Retry-After`.",
    TooManyConcurrentRequests = "too_many_concurrent_requests" TOO_MANY_REQUESTS After
        "Too many requests of the key are under way. Wait for some to end.",
    TooManyWaits = "too_many_waits" TOO_MANY_REQUESTS After
        "Too many requests of the key wait for payments. Ask without `wait`, or once some have ended.",
    TooManyStreams = "too_many_streams" TOO_MANY_REQUESTS After
        "Too many streams of yours are open at this process. Close one first.",
    HeadersTooLarge = "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE Never
        "The headers are too many or too long. Send at most 100 of them, and 32 kB.",
    TooManyTries = "too_many_tries" TOO_MANY_REQUESTS After
        "Too many wrong keys came from this address. Come back after the time in `Retry-After`.",
    Internal = "internal" INTERNAL_SERVER_ERROR Sometime
        "A fault of ours. Repeating the request with the same idempotency key is safe.",
    Unavailable = "unavailable" SERVICE_UNAVAILABLE After
        "Not possible right now. Nothing is lost by repeating the request with the same idempotency key.",
    ReducedCapacity = "reduced_capacity" SERVICE_UNAVAILABLE After
        "It is not known at the moment how much of the key's limit is left. Repeat the request later.",
    AccountBusy = "account_busy" SERVICE_UNAVAILABLE After
        "Another session of the database keeps the account locked. Repeat the request with the same idempotency \
         key.",
    DatabaseBusy = "database_busy" SERVICE_UNAVAILABLE After
        "Another session of the database keeps locked what the request needs. Nothing is lost by repeating it \
         with the same idempotency key.",
    DatabaseUnavailable = "database_unavailable" SERVICE_UNAVAILABLE After
        "The database is away, or takes no writes at the moment. Nothing is lost by repeating the request with \
         the same idempotency key.",
    TooManyConnections = "too_many_connections" SERVICE_UNAVAILABLE After
        "Too many connections are open. Close those that you do not need, and try again later. This is told \
         before any request is read.",
    WebhooksOff = "webhooks_off" SERVICE_UNAVAILABLE Sometime
        "No events are sent to endpoints here, since their secrets cannot be sealed or opened. Ask the operator, or \
         read `/v1/events`.",
    NotReady = "not_ready" SERVICE_UNAVAILABLE After
        "This process cannot do its work at the moment. The detail says why.",
}

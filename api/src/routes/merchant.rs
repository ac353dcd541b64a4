//! The caller with an API key: a merchant, if the key has the scope and its limits let the request in.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use domain::ids::KeyId;
use domain::ids::MerchantId;
use shared::merchant::auth::{Caller, Presented};
use shared::merchant::limits::Traffic;
use shared::merchant::scope::Scope;
use shared::merchant::secret;
use tracing::Instrument as _;

use crate::App;
use crate::limit::{Knowledge, Slot};
use crate::problem::Problem;

/// The merchant who asks, as an argument of a handler. Without a valid key, or beyond its limit, the handler
/// does not run.
pub(super) struct Merchant(pub(super) MerchantId);

impl FromRequestParts<App> for Merchant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let api_key = presented(parts, app).await?;
        let caller = caller(app, api_key).await?;
        drop(admit(app, parts, caller.key).await?);
        Ok(Self(caller.merchant))
    }
}

/// The API key of a request, as an argument of a handler whose statement itself finds out which merchant it
/// belongs to, and whether it has the scope. Beyond the key's limit the handler does not run.
pub(super) struct ApiKey {
    pub(super) key: Presented,
    /// The place of the request among those of its key that are under way.
    pub(super) slot: Slot,
}

impl FromRequestParts<App> for ApiKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let api_key = presented(parts, app).await?;
        let key = match app.limit.knowledge(api_key) {
            Knowledge::Fresh(key) => key,
            Knowledge::Old(key) => {
                let app = app.clone();
                tokio::spawn(async move { look_again(&app, api_key).await }.in_current_span());
                key
            }
            Knowledge::Nothing => caller(app, api_key).await?.key,
        };
        let slot = admit(app, parts, key).await?;
        Ok(Self { key: api_key, slot })
    }
}

/// Lets a request of this key in, as far as the key's limits allow.
async fn admit(app: &App, parts: &Parts, key: KeyId) -> Result<Slot, Problem> {
    let traffic = if parts.method.is_safe() { Traffic::Reads } else { Traffic::Writes };
    let slot = parts.extensions.get::<Slot>().cloned().unwrap_or_default();
    app.limit.admit(key, traffic, &slot).await?;
    Ok(slot)
}

/// The owner of an API key. A key that opens nothing, or not this, is a problem.
pub(super) async fn caller(app: &App, api_key: Presented) -> Result<Caller, Problem> {
    let found = app.authentications.submit(api_key).await?;
    let needs = api_key.needs();
    let caller = found.as_ref().and_then(|holder| holder.caller(needs));
    app.limit.learn(api_key, caller);
    if found.is_none() {
        return Err(refused());
    }
    let Some(caller) = caller else { return Err(without(needs)) };
    app.usage.note(&api_key);
    Ok(caller)
}

/// Reads a key's limits again, beside a request that does not wait for them. If that fails, they stay.
async fn look_again(app: &App, api_key: Presented) {
    if let Ok(found) = app.authentications.submit(api_key).await {
        app.limit.learn(api_key, found.and_then(|holder| holder.caller(api_key.needs())));
    }
}

fn refused() -> Problem {
    tracing::warn!(event = "key_refused", "an API key that is unknown, was revoked or has expired");
    Problem::Unauthorized
}

fn without(needs: Scope) -> Problem {
    tracing::warn!(event = "scope_refused", %needs, "a key without the scope");
    Problem::InsufficientScope(needs)
}

/// The API key that came with a request. Reading takes one scope, and everything else the other.
async fn presented(parts: &Parts, app: &App) -> Result<Presented, Problem> {
    let text = self::secret(parts).ok_or(Problem::Unauthorized)?;
    tracing::Span::current().record("key", secret::shown(text));
    let needs = if parts.method.is_safe() { Scope::PaymentsRead } else { Scope::PaymentsWrite };
    let brought = app.operators.credentials.read(text, needs).await?.ok_or_else(refused)?;
    tracing::Span::current().record("key", &brought.shown);
    if brought.lacks_scope {
        // A key that opens nothing at all hears that first.
        caller(app, brought.key).await?;
        return Err(without(needs));
    }
    Ok(brought.key)
}

/// The secret of a request: `X-API-Key: K` or `Authorization: Bearer K`. A request that brings two different
/// ones has none: of two, a proxy before us may have looked at the other one.
pub(super) fn secret(parts: &Parts) -> Option<&str> {
    let keys = parts.headers.get_all("x-api-key").iter().map(|key| key.to_str().ok());
    let bearers = parts.headers.get_all(AUTHORIZATION).iter().filter_map(bearer);
    let mut brought = keys.chain(bearers);
    let first = brought.next()?;
    brought.all(|other| other == first).then_some(first)?
}

/// The bearer's token. None where the credentials are of another scheme.
fn bearer(value: &HeaderValue) -> Option<Option<&str>> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Some(token.trim()))
}

//! The caller with an API key: a merchant, if the key's limits let the request in.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use domain::ids::KeyId;
use domain::ids::MerchantId;
use shared::merchant::auth::{self, Caller, SecretHash};
use shared::merchant::limits::Scope;
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
        let api_key = presented(parts)?;
        let caller = caller(app, api_key).await?;
        admit(app, parts, caller.key).await?;
        Ok(Self(caller.merchant))
    }
}

/// The API key of a request, as an argument of a handler whose statement itself finds out which merchant it
/// belongs to. Beyond the key's limit the handler does not run.
pub(super) struct ApiKey(pub(super) SecretHash);

impl FromRequestParts<App> for ApiKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let api_key = presented(parts)?;
        let key = match app.limit.knowledge(api_key) {
            Knowledge::Fresh(key) => key,
            Knowledge::Old(key) => {
                let app = app.clone();
                tokio::spawn(async move { look_again(&app, api_key).await }.in_current_span());
                key
            }
            Knowledge::Nothing => caller(app, api_key).await?.key,
        };
        admit(app, parts, key).await?;
        Ok(Self(api_key))
    }
}

/// Makes sure that a request brings an API key.
pub(super) async fn known(app: &App, parts: &Parts) -> Result<(), Problem> {
    caller(app, presented(parts)?).await.map(drop)
}

/// Lets a request of this key in, as far as the key's limits allow.
async fn admit(app: &App, parts: &Parts, key: KeyId) -> Result<(), Problem> {
    let reads = [Method::GET, Method::HEAD].contains(&parts.method);
    let slot = parts.extensions.get::<Slot>().cloned().unwrap_or_default();
    app.limit.admit(key, if reads { Scope::Reads } else { Scope::Writes }, &slot).await
}

/// The owner of an API key. A key that is unknown or revoked is a problem.
pub(super) async fn caller(app: &App, api_key: SecretHash) -> Result<Caller, Problem> {
    let found = app.authentications.submit(api_key).await?;
    app.limit.learn(api_key, found);
    let Some(caller) = found else {
        tracing::warn!(event = "key_refused", "an API key that is unknown or was revoked");
        return Err(Problem::Unauthorized);
    };
    Ok(caller)
}

/// Reads a key's limits again, beside a request that does not wait for them. If that fails, they stay.
async fn look_again(app: &App, api_key: SecretHash) {
    if let Ok(found) = app.authentications.submit(api_key).await {
        app.limit.learn(api_key, found);
    }
}

fn presented(parts: &Parts) -> Result<SecretHash, Problem> {
    let secret = secret(parts).ok_or(Problem::Unauthorized)?;
    tracing::Span::current().record("key", auth::shown(secret));
    Ok(SecretHash::of(secret))
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

//! Who asks: whoever runs the system, with the admin key.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::merchant::secret;
use crate::App;
use crate::problem::Problem;

/// An administrator, as an argument of a handler: without the admin key the handler does not run.
pub(super) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let secret = secret(parts).ok_or(Problem::AdminOnly)?;
        if app.admin_key.is(secret.as_bytes()) {
            return Ok(Self);
        }
        // Not which: it may be a merchant's.
        tracing::warn!(event = "admin_key_refused", "somebody came with another admin key");
        Err(Problem::AdminOnly)
    }
}

//! What clients bring to be let in: a secret of one of our keys, or a JWT of the issuer of the settings.
//!
//! Invariant: whatever is wrong with either, clients are told the same.

use shared::merchant::auth::Presented;
use shared::merchant::jwt::{self, Jwts, Refused};
use shared::merchant::pepper::Peppers;
use shared::merchant::scope::Scope;
use shared::merchant::secret;

use crate::problem::Problem;

/// What reads them.
pub(crate) struct Credentials {
    pub(crate) peppers: Peppers,
    /// None where no issuer is set. Then a JWT is a text that opens nothing.
    pub(crate) jwts: Option<Jwts>,
}

/// What was brought, as statements find it.
pub(crate) struct Brought {
    pub(crate) key: Presented,
    /// Whether the credential itself leaves out the scope that is needed, as a JWT can.
    pub(crate) lacks_scope: bool,
    /// The key as logs show it.
    pub(crate) shown: String,
}

impl Credentials {
    /// Reads what a client sent. None if it is surely no key and no valid JWT.
    pub(crate) async fn read(&self, text: &str, needs: Scope) -> Result<Option<Brought>, Problem> {
        match &self.jwts {
            Some(jwts) if jwt::looks_like_one(text) => opened(jwts, text, needs).await,
            _ => {
                let key = Presented::read(text, &self.peppers, needs);
                Ok(key.map(|key| Brought { key, lacks_scope: false, shown: secret::shown(text) }))
            }
        }
    }
}

async fn opened(jwts: &Jwts, text: &str, needs: Scope) -> Result<Option<Brought>, Problem> {
    match jwts.open(text, needs).await {
        Ok(opened) => {
            let shown = opened.key.named().map(|key| key.to_string()).unwrap_or_default();
            Ok(Some(Brought { key: opened.key, lacks_scope: !opened.has_scope, shown }))
        }
        Err(Refused::Invalid(why)) => {
            tracing::warn!(event = "jwt_refused", %why, "a JWT that opens nothing");
            Ok(None)
        }
        Err(Refused::Unjudged) => Err(Problem::Unavailable),
        Err(Refused::Database(why)) => Err(why.into()),
    }
}

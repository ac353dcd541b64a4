//! The caller with an admin key, or with an operator's key: a person who operates the system.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use shared::payment::transition::Person;

use super::merchant::secret;
use crate::App;
use crate::admin_key::Credential;
use crate::admin_key::operators::Asked;
use crate::problem::Problem;

/// An operator, as an argument of a handler. Without a key that lets in an operator for this, the handler
/// does not run.
pub(super) struct Admin(Credential);

impl Admin {
    /// The name under which a decision of theirs is recorded: their credential's. Where it has none, it is
    /// the name they give, or else `admin`. Another name than the credential's is refused.
    pub(super) fn acts_as(&self, said: Option<String>) -> Result<String, Problem> {
        match (self.0.name(), said) {
            (Some(name), Some(said)) if said != name => {
                Err(Problem::invalid("by", format!("by must be {name}, whose key this is; or leave it out")))
            }
            (Some(name), _) => Ok(name.to_owned()),
            (None, said) => Ok(said.unwrap_or_else(|| "admin".to_owned())),
        }
    }

    /// The person who alone has this key. A key without a name is refused.
    pub(super) fn person(&self) -> Result<Person, Problem> {
        self.0.person().ok_or(Problem::NamelessKey)
    }

    /// The word that tells their credential from all others.
    pub(super) fn credential(&self) -> &str {
        self.0.id()
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let secret = secret(parts).ok_or(Problem::Unauthorized)?;
        let credential = app.operators.sign_in(secret.as_bytes(), asked(parts)).await?;
        tracing::Span::current().record("key", credential.key_id());
        Ok(Self(credential))
    }
}

/// What a request asks the operators' guard for.
pub(super) const fn asked(parts: &Parts) -> Asked<'_> {
    Asked { method: &parts.method, uri: &parts.uri, extensions: &parts.extensions }
}

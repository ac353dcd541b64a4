//! Who is let in where operators are, on both listeners: by an admin key of the environment, or by a key of
//! their own.
//!
//! Invariant: every refusal is logged with the client's address, and counts against it.

use std::sync::Arc;

use axum::http::{Extensions, Method, Uri};
use shared::database::batch::Batcher;
use shared::merchant::auth::{Authenticating, Holder, Presented};
use shared::merchant::scope::Scope;
use shared::merchant::usage::Usage;
use shared::platform::listener::ClientAddress;

use super::tries::{self, Tries};
use super::{AdminKeys, Credential};
use crate::credentials::{Brought, Credentials};
use crate::problem::Problem;

/// All who may be let in.
pub(crate) struct Operators {
    pub(crate) keys: AdminKeys,
    pub(crate) authentications: Batcher<Authenticating>,
    pub(crate) credentials: Credentials,
    pub(crate) usage: Arc<Usage>,
    pub(crate) tries: Tries,
}

/// What somebody asks for, who has brought a secret.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) extensions: &'a Extensions,
}

/// Who has a secret.
enum Who {
    Admin(Credential),
    Holder(Holder, Presented),
}

impl Operators {
    /// The operator with that secret. Looking takes a key with the scope `ops`, everything else one with
    /// `admin`; the keys of the environment have both.
    pub(crate) async fn sign_in(&self, secret: &[u8], asked: Asked<'_>) -> Result<Credential, Problem> {
        let needs = if asked.method.is_safe() { Scope::Ops } else { Scope::Admin };
        let credential = match self.whose(secret, needs, asked).await? {
            Who::Admin(credential) => credential,
            Who::Holder(holder, presented) => {
                let Some(name) = holder.operator(needs) else {
                    let client = ClientAddress::of(asked.extensions);
                    tracing::warn!(event = "scope_refused", client, key = %holder.key, %needs, "a key without the scope");
                    return Err(Problem::InsufficientScope(needs));
                };
                self.usage.note(&presented);
                Credential::of(name, holder.key)
            }
        };
        if needs == Scope::Admin {
            let (client, path) = (ClientAddress::of(asked.extensions), asked.uri.path());
            let (by, key) = (credential.id(), credential.key_id());
            tracing::info!(event = "operator_acts", client, by, key, method = %asked.method, path, "an operator acts");
        }
        Ok(credential)
    }

    /// Whether anybody has that secret, a merchant or an operator.
    pub(crate) async fn must_be_known(&self, secret: &[u8], asked: Asked<'_>) -> Result<(), Problem> {
        self.whose(secret, Scope::Ops, asked).await.map(drop)
    }

    async fn whose(&self, secret: &[u8], needs: Scope, asked: Asked<'_>) -> Result<Who, Problem> {
        let client = tries::client(asked.extensions);
        self.tries.admit(client)?;
        if let Some(credential) = self.keys.whose(secret) {
            return Ok(Who::Admin(credential));
        }
        if let Ok(text) = std::str::from_utf8(secret)
            && let Some(Brought { key, .. }) = self.credentials.read(text, needs).await?
            && let Some(holder) = self.authentications.submit(key).await?
        {
            return Ok(Who::Holder(holder, key));
        }
        // The key is not logged, as it may be anybody's.
        let client_address = ClientAddress::of(asked.extensions);
        tracing::warn!(
            event = "admin_key_refused",
            client = client_address,
            "somebody came with another admin key"
        );
        Err(self.tries.count(client).err().unwrap_or(Problem::Unauthorized))
    }
}

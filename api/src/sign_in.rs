//! Who comes to the operators' pages and to the job board: HTTP Basic, with one's own name as user and one's
//! admin key as password.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use shared::platform::listener::ClientAddress;

use crate::admin_key::AdminKeys;
use crate::operator::Operator;

/// Lets nobody pass without an admin key, and says further on who it is.
pub(crate) async fn admin_only(
    State(admin_keys): State<AdminKeys>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some((user, password)) = request.headers().get(AUTHORIZATION).and_then(basic_credentials) {
        if let Some(credential) = admin_keys.whose(&password) {
            request.extensions_mut().insert(Operator::signed_in(user, &credential));
            return next.run(request).await;
        }
        // The name is not logged, because a secret may have been typed in its place.
        let client = ClientAddress::of(request.extensions());
        tracing::warn!(event = "admin_key_refused", client, "somebody came with another admin key");
    }
    let ask = [(WWW_AUTHENTICATE, "Basic realm=\"Payonce\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "your own name as user, and your admin key as password\n").into_response()
}

/// The user and the password of HTTP Basic credentials (RFC 7617).
fn basic_credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let colon = decoded.iter().position(|&b| b == b':')?;
    let user = String::from_utf8_lossy(&decoded[..colon]).into_owned();
    scheme.eq_ignore_ascii_case("basic").then(|| (user, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_of_basic_credentials_are_read() {
        let read = |text: &str| basic_credentials(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("Basic dXNlcjpzZWNyZXQ="), Some(("user".to_owned(), b"secret".to_vec())));
        assert_eq!(read("basic OmE6Yg=="), Some((String::new(), b"a:b".to_vec())));
        for other in ["Bearer dXNlcjpzZWNyZXQ=", "Basic", "Basic !!!", "Basic dXNlcg=="] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

//! Who comes to the operators' pages and to the job board: HTTP Basic, with one's own name as user and one's
//! admin key, or operator's key, as password.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::admin_key::operators::{Asked, Operators};
use crate::operator::Operator;
use crate::problem::Problem;

/// Lets nobody pass without an operator's key, and says further on who it is.
pub(crate) async fn admin_only(
    State(operators): State<Arc<Operators>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some((user, password)) = request.headers().get(AUTHORIZATION).and_then(basic_credentials) else {
        return refused(&Problem::Unauthorized);
    };
    let asked = Asked { method: request.method(), uri: request.uri(), extensions: request.extensions() };
    match operators.sign_in(&password, asked).await {
        Ok(credential) => {
            request.extensions_mut().insert(Operator::signed_in(user, &credential));
            next.run(request).await
        }
        Err(problem) => refused(&problem),
    }
}

/// A refusal as a browser takes it: for want of a key that is known it asks for another one.
fn refused(problem: &Problem) -> Response {
    let mut response = (problem.status(), format!("{problem}\n")).into_response();
    if let Some(seconds) = problem.retry_after_s() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *problem == Problem::Unauthorized {
        let ask = [(WWW_AUTHENTICATE, "Basic realm=\"Payonce\", charset=\"UTF-8\"")];
        response = (problem.status(), ask, "your own name as user, and your admin key as password\n")
            .into_response();
    }
    response
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

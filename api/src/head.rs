//! What holds for the head of every request, whatever it asks for: it names one host, a correlation id can be
//! followed, and path and query are no longer than any of ours.

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::fault::{Fault, Kind};
use crate::problem::Problem;
use crate::request::BODY_BYTES_MAX;

pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The most characters of a correlation id.
const CORRELATION_ID_MAX: usize = 128;

/// The most bytes of path and query together. The longest query of ours is a list's, with all its filters.
const URI_BYTES_MAX: usize = 8 * 1024;

/// Refuses a request whose head is not well formed, and bounds the body of any other.
pub(crate) async fn well_formed<F: Future<Output = Response>>(
    mut request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    if request.uri().path_and_query().is_some_and(|it| it.as_str().len() > URI_BYTES_MAX) {
        return Problem::UriTooLong(URI_BYTES_MAX).into_response();
    }
    let faults = [host(&request), correlation_id(request.headers()).err()];
    match Problem::unless(faults.into_iter().flatten().collect()) {
        Ok(()) => {
            DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut request);
            within(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Refuses a request that does not say for which one host it is.
pub(crate) async fn one_host(request: Request, next: Next) -> Response {
    match host(&request) {
        None => next.run(request).await,
        Some(fault) => Problem::from(fault).into_response(),
    }
}

/// What is wrong with `Host` (RFC 9112, section 3.2), which stands for `:authority` where HTTP/2 sent no
/// other one (RFC 9113, section 8.3.1). A proxy before us may have read another one of two.
fn host(request: &Request) -> Option<Fault> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    let (kind, detail) = match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => (Kind::Missing, "HTTP/1.1 needs a Host header"),
        (None, _) if request.version() == Version::HTTP_2 => (Kind::Missing, "HTTP/2 needs an :authority"),
        (Some(_), Some(_)) => (Kind::Repeated, "send one Host header, not several"),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            (Kind::Invalid, "Host must be a host, with its port where it has one")
        }
        (Some(host), None) if authority.is_some_and(|it| !is_same(it, host.as_bytes())) => {
            (Kind::Invalid, "Host must be the same as :authority, or be left out")
        }
        (None, _) | (Some(_), None) => return None,
    };
    Some(Fault::header("Host", kind, detail))
}

fn is_host(text: &[u8]) -> bool {
    Authority::try_from(text).is_ok() && !text.contains(&b'@')
}

fn is_same(authority: &Authority, host: &[u8]) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host)
}

/// The correlation id that the client brought, if there is one. It stands in logs of ours and of others, so
/// one that is not as it should be is refused: another one in its place would be looked for in vain.
pub(crate) fn correlation_id(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let fault = |kind, detail: String| Fault::header("X-Correlation-Id", kind, detail);
    let mut brought = headers.get_all(CORRELATION_ID).iter();
    let Some(value) = brought.next() else { return Ok(None) };
    if brought.next().is_some() {
        return Err(fault(Kind::Repeated, "send one X-Correlation-Id, not several".to_owned()));
    }
    let is_usable =
        |id: &&str| (1..=CORRELATION_ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let wants = || {
        format!("X-Correlation-Id must be 1 to {CORRELATION_ID_MAX} visible ASCII characters, without blanks")
    };
    let id = value.to_str().ok().filter(is_usable).ok_or_else(|| fault(Kind::Invalid, wants()))?;
    Ok(Some(id))
}

//! What an answer tells of the limits: `RateLimit-Policy` and `RateLimit`, by the draft
//! draft-ietf-httpapi-ratelimit-headers-11.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use domain::ids::KeyId;
use shared::merchant::limits::Traffic;

use super::Place;
use super::bucket::Standing;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What a request came to know of its key's limits, among its extensions.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    key: Option<KeyId>,
    place: Option<Place>,
    standing: Option<(Traffic, Standing)>,
}

impl Slot {
    pub(super) fn fill(&self, key: KeyId, place: Place, standing: Option<(Traffic, Standing)>) {
        *self.contents() = Contents { key: Some(key), place: Some(place), standing };
    }

    pub(super) fn tell(&self, standing: Option<(Traffic, Standing)>) {
        self.contents().standing = standing;
    }

    /// Takes another place for the one that it has.
    pub(super) fn change(&self, place: Place) {
        let before = self.contents().place.replace(place);
        drop(before);
    }

    pub(super) fn key(&self) -> Option<KeyId> {
        self.contents().key
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has every answer to a limited key tell its limit. The request keeps its place until it is answered.
pub(crate) async fn told<F: Future<Output = Response>>(
    mut request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = within(request).await;
    let mut contents = slot.contents();
    contents.place = None;
    if let Some((traffic, standing)) = contents.standing {
        tell(response.headers_mut(), traffic, standing);
    }
    drop(contents);
    response
}

fn tell(headers: &mut HeaderMap, traffic: Traffic, standing: Standing) {
    let Standing { quota, window_s, left, next_s } = standing;
    let traffic = traffic.as_str();
    for (name, value) in [
        (POLICY, format!("\"{traffic}\";q={quota};w={window_s}")),
        (LIMIT, format!("\"{traffic}\";r={left};t={next_s}")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

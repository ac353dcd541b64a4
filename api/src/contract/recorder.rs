//! In test builds every answer is held against the contract, and noted down for whoever asks afterwards what
//! the tests have seen.

use axum::extract::Request;
use axum::response::Response;

/// Lets only answers of the contract pass. Other builds let every answer pass, and cost nothing.
#[cfg(not(debug_assertions))]
pub(crate) async fn record<F: Future<Output = Response>>(
    request: Request,
    within: impl FnOnce(Request) -> F,
) -> Response {
    within(request).await
}

#[cfg(debug_assertions)]
pub(crate) use checking::record;

#[cfg(debug_assertions)]
mod checking {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::Path;
    use std::sync::{Arc, LazyLock, Mutex, PoisonError};

    use axum::extract::MatchedPath;
    use axum::http::StatusCode;
    use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
    use axum::response::IntoResponse as _;
    use shared::platform::config;

    use super::{Request, Response};
    use crate::contract::codes::{Code, Retry};
    use crate::contract::{Operation, operations};
    use crate::problem::Problem;

    /// The variable that names the directory in which answers are noted down, one file a process.
    const SEEN: &str = "PAYONCE_CONTRACT_SEEN";

    static NOTES: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
        let name = Path::new(&config::optional(SEEN)?).join(std::process::id().to_string());
        File::options().append(true).create(true).open(name).ok().map(Mutex::new)
    });

    pub(crate) async fn record<F: Future<Output = Response>>(
        request: Request,
        within: impl FnOnce(Request) -> F,
    ) -> Response {
        let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let method = request.method().clone();
        let response = within(request).await;
        let Some(path) = path else { return response };
        let method = if method == "HEAD" { "GET" } else { method.as_str() };
        let Some(operation) = operations::all().find(|it| it.path == path && it.verb.as_str() == method)
        else {
            return response;
        };
        match wrong(operation, &response) {
            None => response,
            Some(why) => {
                let told =
                    format!("not in the contract: {} answers {}: {why}\n", operation.id, response.status());
                tracing::error!(told, "an answer that is not in the contract");
                (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
            }
        }
    }

    /// Why the answer is not in the contract. One that is in it is noted down.
    fn wrong(operation: &Operation, response: &Response) -> Option<String> {
        let status = response.status().as_u16();
        let has = |name: &str| response.headers().contains_key(name);
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media_type = media_type.and_then(|it| it.split(';').next()).unwrap_or_default();
        if let Some(problem) = response.extensions().get::<Arc<Problem>>() {
            let code = problem.code();
            if !operation.all_problems().contains(&code) {
                return Some(format!("the problem {}", code.as_str()));
            }
            if (code.retry() == Retry::After) != has(RETRY_AFTER.as_str()) {
                return Some("Retry-After".to_owned());
            }
            if (code == Code::Unauthorized) != has(WWW_AUTHENTICATE.as_str()) {
                return Some("WWW-Authenticate".to_owned());
            }
            note(operation, status, code.as_str());
            return None;
        }
        let Some(answer) = operation.answers.iter().find(|answer| answer.status == status) else {
            return Some("that status".to_owned());
        };
        if media_type != answer.content.media_type() {
            return Some(format!("the media type {media_type}"));
        }
        if let Some(missing) = answer.headers.iter().find(|name| !has(name)) {
            return Some(format!("no header {missing}"));
        }
        note(operation, status, "-");
        None
    }

    fn note(operation: &Operation, status: u16, code: &str) {
        if let Some(notes) = &*NOTES {
            let line = format!("{} {status} {code}\n", operation.id);
            // A lost note is found as an answer that no test saw.
            let _ = notes.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        }
    }
}

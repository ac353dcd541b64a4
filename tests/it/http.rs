//! The contract of the HTTP API, path by path, as clients see it.

mod accept;
mod board;
mod bounds;
mod card_number;
mod chaos_mode;
mod conditional;
mod correlation;
mod crossed;
mod faults;
mod fleet;
mod fuzz;
mod health;
mod idempotency_key;
mod jwt;
mod keys;
mod limit;
mod list;
mod merchant;
mod operator_keys;
mod pages;
mod pepper;
mod prefer;
mod problem;
mod read;
mod reference;
mod refusal;
mod rotation;
pub(crate) mod scopes;
mod seeded;
mod transport;

use serde_json::Value;
use tests::{Shape, System};

use crate::PROGRAM;

/// One API and no worker: an accepted payment stays as it was accepted.
async fn an_api() -> System {
    System::with(PROGRAM, Shape { apis: 1, ..Shape::default() }).await
}

/// The names of a JSON object's fields, sorted.
fn fields(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

//! The merchant's key that a command presents. On the command line everybody on the machine can read it in
//! the list of processes, so it may come from a file, from standard input or from the environment.

use std::io::Read as _;

use anyhow::{Context, Result, bail};
use shared::platform::config;

/// The variable that may hold the key.
const VARIABLE: &str = "PAYONCE_API_KEY";

/// The key of the arguments, or else of the environment.
pub(crate) fn merchants_key(key: Option<&str>, file: Option<&str>) -> Result<String> {
    let given = match (key, file) {
        (Some(key), _) => Some(key.to_owned()),
        (None, Some("-")) => Some(from_standard_input()?),
        (None, Some(path)) => {
            Some(config::held_by(path).map_err(anyhow::Error::msg).context("--api-key-file")?)
        }
        (None, None) => config::optional(VARIABLE),
    };
    let Some(key) = given.map(|key| key.trim().to_owned()) else {
        bail!("set {VARIABLE} to a merchant's key, or give --api-key-file (payonce dev prints a key)");
    };
    if key.is_empty() {
        bail!("the key is empty: payonce dev and payonce keys create print one");
    }
    Ok(key)
}

fn from_standard_input() -> Result<String> {
    let mut held = String::new();
    std::io::stdin().lock().read_to_string(&mut held).context("cannot read the key from standard input")?;
    Ok(held)
}

//! The only place of APIs, workers and this crate that reads the environment, and the file `.env` in the
//! working directory.
//!
//! A program does not start with a setting that cannot be read, or that is missing and has no default. The
//! error says which setting, why, and what it should look like.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The longest duration of a setting. No wait of ours is longer, and the database could not add much more to
/// a time.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Why the program does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct InvalidSetting {
    name: String,
    why: String,
}

impl InvalidSetting {
    /// A setting that can be read but not be used.
    pub fn new(name: &str, why: impl Display) -> Self {
        Self { name: name.to_owned(), why: why.to_string() }
    }
}

/// Every setting there is, each with its default and what it is for.
const EXAMPLE: &str = include_str!("../../../.env.example");

/// Takes the variables that `.env` in the working directory sets and the environment does not. Without such a
/// file it does nothing. Called before anything else runs.
///
/// # Errors
/// The file cannot be read, or names something that is no setting: most likely a misspelt one.
pub fn load_dotenv() -> Result<(), InvalidSetting> {
    let invalid = |why: &dyn Display| InvalidSetting::new(".env", why);
    let entries = match dotenvy::dotenv_iter() {
        Ok(entries) => entries,
        Err(why) if why.not_found() => return Ok(()),
        Err(why) => return Err(invalid(&why)),
    };
    for entry in entries {
        let (name, _) = entry.map_err(|why| invalid(&why))?;
        if !settings().any(|known| known == name) {
            return Err(invalid(&format_args!("{name} is no setting; .env.example lists them all")));
        }
    }
    dotenvy::dotenv().map(drop).map_err(|why| invalid(&why))
}

/// The names that the example lists, commented out or not.
fn settings() -> impl Iterator<Item = &'static str> {
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let names =
        EXAMPLE.lines().filter_map(|line| line.trim_start_matches('#').split_once('=').map(|(name, _)| name));
    names.filter(is_name)
}

/// The variable's value; none if it is unset or empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable that must be set.
///
/// # Errors
/// The variable is unset or empty.
pub fn required(name: &str, example: &str) -> Result<String, InvalidSetting> {
    optional(name)
        .ok_or_else(|| InvalidSetting::new(name, format_args!("is not set; for example {name}={example}")))
}

/// A secret: the value of `name`, or what the file holds that `file` names, without the line's end; none if
/// neither is set.
///
/// # Errors
/// Both are set, or the file cannot be read or is empty.
pub fn secret(name: &str, file: &str) -> Result<Option<String>, InvalidSetting> {
    let Some(path) = optional(file) else { return Ok(optional(name)) };
    if optional(name).is_some() {
        return Err(InvalidSetting::new(file, format_args!("is set, and so is {name}: unset one of them")));
    }
    held_by(&path).map(Some).map_err(|why| InvalidSetting::new(file, why))
}

/// The secret that a file holds, without the line's end.
///
/// # Errors
/// The file cannot be read or is empty, as the text says.
pub fn held_by(path: &str) -> Result<String, String> {
    let held = std::fs::read_to_string(path).map_err(|why| format!("cannot read {path:?}: {why}"))?;
    let held = held.trim();
    if held.is_empty() { Err(format!("{path:?} is empty")) } else { Ok(held.to_owned()) }
}

/// The variable's value, read as `T`, or `default`.
///
/// # Errors
/// The variable is set and is no `T`.
pub fn parsed<T: FromStr<Err: Display>>(name: &str, default: T) -> Result<T, InvalidSetting> {
    Ok(parsed_optional(name)?.unwrap_or(default))
}

/// The variable's value, read as `T`; none if it is unset or empty.
///
/// # Errors
/// The variable is set and is no `T`.
pub fn parsed_optional<T: FromStr<Err: Display>>(name: &str) -> Result<Option<T>, InvalidSetting> {
    let Some(text) = optional(name) else { return Ok(None) };
    let read = text.parse().map(Some);
    read.map_err(|why| InvalidSetting::new(name, format_args!("{text:?} cannot be used: {why}")))
}

/// The variable's value in whole milliseconds, or `default`.
///
/// # Errors
/// The variable is set and is no whole number, or is more than a year.
pub fn millis(name: &str, default: Duration) -> Result<Duration, InvalidSetting> {
    match optional(name) {
        None => Ok(default),
        Some(_) => no_longer_than_a_year(parsed(name, 0_u64).map(Duration::from_millis)?)
            .map_err(|why| InvalidSetting::new(name, why)),
    }
}

/// The duration, if it may be a setting.
///
/// # Errors
/// It is more than a year, as the text says.
pub fn no_longer_than_a_year(duration: Duration) -> Result<Duration, &'static str> {
    if duration > LONGEST { Err("is more than a year") } else { Ok(duration) }
}

/// The variable's value as whole milliseconds with commas between, or `default`.
///
/// # Errors
/// The variable is set and is no such list.
pub fn millis_list(name: &str, default: Vec<Duration>) -> Result<Vec<Duration>, InvalidSetting> {
    let Some(text) = optional(name) else { return Ok(default) };
    let read = |item: &str| item.trim().parse().map(Duration::from_millis);
    text.split(',').map(read).collect::<Result<_, _>>().map_err(|why| {
        InvalidSetting::new(
            name,
            format_args!("{text:?} cannot be used, unlike for example 500,1000,2000: {why}"),
        )
    })
}

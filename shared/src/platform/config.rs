//! The settings of APIs, workers and the command line, which the environment gives, and the file `.env` in
//! the working directory. [`environment`] reads a value, and knows the names.
//!
//! A program does not start with a setting that cannot be read, or that is missing and has no default. The
//! error says which setting, why, and what it should look like.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use terminal::environment::{self, Refused};

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

impl From<Refused> for InvalidSetting {
    fn from(Refused { name, why }: Refused) -> Self {
        Self { name, why }
    }
}

/// Takes the variables that `.env` in the working directory sets and the environment does not, and looks
/// through the names of all. Called before anything else runs.
///
/// # Errors
/// The file cannot be read, or names something that is no setting: most likely a misspelt one. Or the
/// environment has a variable that was surely meant for us and is no setting.
pub fn load() -> Result<(), InvalidSetting> {
    let entries = match dotenvy::dotenv_iter() {
        Ok(entries) => Some(entries),
        Err(why) if why.not_found() => None,
        Err(why) => return Err(unreadable(&why)),
    };
    if let Some(entries) = entries {
        for entry in entries {
            let (name, _) = entry.map_err(|why| unreadable(&why))?;
            environment::check_name(&name)
                .map_err(|it| InvalidSetting::new(".env", format_args!("{} {}", it.name, it.why)))?;
        }
        dotenvy::dotenv().map_err(|why| unreadable(&why))?;
    }
    Ok(environment::check()?)
}

/// Why the file cannot be read, without the line, which may hold a secret.
fn unreadable(why: &dotenvy::Error) -> InvalidSetting {
    let dotenvy::Error::LineParse(line, _) = why else { return InvalidSetting::new(".env", why) };
    let text = std::fs::read_to_string(".env").unwrap_or_default();
    let at = text
        .lines()
        .position(|it| it.contains(line.as_str()))
        .map(|at| format!(" {}", at + 1))
        .unwrap_or_default();
    InvalidSetting::new(
        ".env",
        format_args!(
            "line{at} cannot be read: write NAME=value, and a value with blanks or signs in single quotes"
        ),
    )
}

/// The variable's value; none if it is unset or empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    environment::value(name)
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

//! The arguments of the programs that the environment configures. They take none: `--help` and `--version`
//! are answered, and anything else is refused before the program does anything.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::environment::EXAMPLE;
use crate::output::{self, EXIT_USAGE};
use crate::progress;

/// A program that the environment configures.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    about: &'static str,
    /// Settings that stand in another program's part of the example.
    also: &'static [&'static str],
    reads_env_file: bool,
    example: &'static str,
}

/// The program `api`.
pub const API: Program = Program {
    name: "api",
    about: "The HTTP API of Payonce: takes payments and shows them; a second listener is the operators' page.",
    also: &[],
    reads_env_file: true,
    example: "DATABASE_URL=postgres://payonce:password@127.0.0.1:5432/payonce ADMIN_KEY=$(openssl rand -hex 32) API_KEY_PEPPER=$(openssl rand -hex 32) api",
};

/// The program `worker`.
pub const WORKER: Program = Program {
    name: "worker",
    about: "A worker of Payonce: claims due payments, charges them at the gateway, and settles them.",
    also: &[],
    reads_env_file: true,
    example: "DATABASE_URL=postgres://payonce:password@127.0.0.1:5432/payonce GATEWAY_URL=http://127.0.0.1:8090 worker",
};

/// The program `simgateway`.
pub const SIMGATEWAY: Program = Program {
    name: "simgateway",
    about: "The simulated payment gateway of Payonce, for development and tests.",
    also: &["GATEWAY_API_KEY", "GATEWAY_API_KEY_FILE"],
    reads_env_file: false,
    example: "GATEWAY_DATABASE_URL=postgres://payonce:password@127.0.0.1:5432/payonce_gateway simgateway",
};

/// Answers the arguments, or starts the program where there are none. `arguments` are those after its name.
pub fn called(
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
    start: impl FnOnce() -> ExitCode,
) -> ExitCode {
    let name = program.name;
    let Some(first) = arguments.into_iter().next() else { return start() };
    let answer = match first.to_str() {
        Some("--help" | "-h") => program.help(),
        Some("--version" | "-V") => format!("{name} {}", env!("CARGO_PKG_VERSION")),
        _ => {
            progress::say(&format!(
                "error: {name} takes no argument, so {first:?} is refused: the environment configures it ({name} --help)"
            ));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if output::line(&answer).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Program {
    fn help(&self) -> String {
        let Self { name, about, example, .. } = self;
        let file = if self.reads_env_file { ", or a file .env in the working directory," } else { "" };
        let mut text = format!(
            "{about}\n\nUsage: {name}\n\nIt takes no arguments but --help and --version. The environment{file} configures it:\n"
        );
        for setting in of_example().filter(|it| it.is_of(name) || self.also.contains(&it.name)) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {}{}\n      {}", setting.name, setting.default(), setting.what);
        }
        let _ = write!(
            text,
            "\n\nExample:\n  {example}\n\nExit codes: 0 ended in order, 1 failed, 2 called wrongly."
        );
        text
    }
}

/// A setting as the example explains it.
struct Setting {
    name: &'static str,
    value: &'static str,
    is_commented_out: bool,
    /// The heading of its part, which names the programs that read it.
    part: &'static str,
    /// The first sentence of its explanation.
    what: String,
}

impl Setting {
    fn is_of(&self, program: &str) -> bool {
        let mut words = self.part.split(|c: char| !c.is_ascii_alphanumeric());
        self.part.starts_with("All programs") || words.any(|word| word == program)
    }

    fn default(&self) -> String {
        match (self.is_commented_out, self.value) {
            (false, "") => "  (to be set)".to_owned(),
            (false, example) => format!("  (to be set; for example {example})"),
            (true, "") => String::new(),
            (true, _) if self.what.contains("the default is") => String::new(),
            (true, default) => format!("  (default {default})"),
        }
    }
}

/// The settings of the example in their order. An explanation stands above the settings that it explains.
fn of_example() -> impl Iterator<Item = Setting> {
    let (mut part, mut words) = ("", String::new());
    EXAMPLE.lines().filter_map(move |line| {
        let text = line.trim_start_matches('#');
        let heading = text.trim().strip_prefix("--- ").and_then(|rest| rest.strip_suffix(" ---"));
        if let Some(heading) = heading {
            part = heading;
        } else if line.is_empty() {
            words.clear();
        } else if line.starts_with("# ") {
            words.push_str(text);
        } else if let Some((name, value)) = text.split_once('=') {
            let sentence = words.split_once(". ").map_or(words.as_str(), |(first, _)| first);
            let what = sentence.trim().trim_end_matches('.').to_owned();
            return Some(Setting { name, value, is_commented_out: line.starts_with('#'), part, what });
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment;

    #[test]
    fn every_setting_of_the_example_is_explained_and_belongs_to_some_program() {
        let named: Vec<&str> = of_example().map(|it| it.name).collect();
        assert_eq!(named, environment::settings().collect::<Vec<_>>());
        for setting in of_example() {
            assert!(!setting.what.is_empty() && !setting.part.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn the_help_of_a_program_lists_its_own_settings_with_their_defaults() {
        let (api, worker, gateway) = (API.help(), WORKER.help(), SIMGATEWAY.help());
        assert!(api.contains("\n  API_ADDR  (default 127.0.0.1:8080)\n"), "{api}");
        assert!(api.contains("\n  ADMIN_KEY  (to be set)\n") && !api.contains("LEASE_MS"), "{api}");
        assert!(
            worker.contains("\n  LEASE_MS  (default 30000)\n") && !worker.contains("API_ADDR"),
            "{worker}"
        );
        assert!(gateway.contains("GATEWAY_API_KEY") && !gateway.contains("\n  DATABASE_URL"), "{gateway}");
        for help in [api, worker, gateway] {
            assert!(help.contains("\n  RUST_LOG  (default info)\n") && help.contains("Example:"), "{help}");
        }
    }
}

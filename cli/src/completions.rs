//! `payonce completions`: what a shell needs to complete our commands.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Print the completions of a shell, to be read by it
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(after_help = "\
Example:
  payonce completions bash > ~/.local/share/bash-completion/completions/payonce
  payonce completions zsh > \"${fpath[1]}/_payonce\"
  payonce completions fish > ~/.config/fish/completions/payonce.fish

Exit codes: 0 printed, 1 failed, 2 called wrongly.")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the completions of `command`, which is the whole command line.
pub(crate) fn run(Args { shell }: Args, mut command: clap::Command) -> Result<ExitCode> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "payonce", &mut script);
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&script).and_then(|()| stdout.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

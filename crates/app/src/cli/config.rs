//! `config`: the example.

use super::Failure;
use anyhow::Context;
use std::io::Write;
use std::process::ExitCode;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print a commented example with all keys and their defaults
    Example,
}

/// Runs it.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Example => {
            let mut out = std::io::stdout().lock();
            out.write_all(crate::config::EXAMPLE.as_bytes()).context("write to standard output")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

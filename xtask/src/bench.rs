//! `cargo xtask bench`: builds the bench with optimisation and runs it, then the benches of the parts.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::process::Command;

/// Measure every step beside a peer, and print a table
#[derive(Args)]
pub struct Arguments {
    /// For the bench itself; `-- --help` lists them
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut whole = super::cargo();
    whole
        .args(["run", "--release", "-p", "otel-log-ai-bench", "--", "--corpora"])
        .arg(super::root().join("../shared/corpora"))
        .args(&arguments.arguments);
    succeed(&mut whole)?;
    // Who asks for a part or for help does not want the others.
    let is_else = |argument: &String| {
        argument.starts_with("--only") || matches!(argument.as_str(), "--help" | "-h" | "--version" | "-V")
    };
    if arguments.arguments.iter().any(is_else) {
        return Ok(());
    }
    succeed(super::cargo().args(["bench", "-p", "otel-log-ai-bench", "--bench", "parts"]))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("run the bench")?;
    if !status.success() {
        bail!("the bench failed");
    }
    Ok(())
}

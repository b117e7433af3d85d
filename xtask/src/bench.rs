//! `cargo xtask bench`: builds the bench with optimisation and runs it.

use anyhow::{Context, Result, bail};
use clap::Args;

/// Measure every step beside a peer, and print a table
#[derive(Args)]
pub struct Arguments {
    /// For the bench itself; `-- --help` lists them
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let status = super::cargo()
        .args(["run", "--release", "-p", "otel-log-ai-bench", "--", "--corpora"])
        .arg(super::root().join("../shared/corpora"))
        .args(&arguments.arguments)
        .status()
        .context("run the bench")?;
    if !status.success() {
        bail!("the bench failed");
    }
    Ok(())
}

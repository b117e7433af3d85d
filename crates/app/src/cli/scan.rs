//! `scan`: replaced by the lead's work on merge.

use super::Failure;
use std::process::ExitCode;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Result<ExitCode, Failure> {
    Err(Failure::unusable(anyhow::anyhow!("`scan` is not part of this build")))
}

//! `cargo xtask`: the project's chores, in Rust so that they run wherever the project builds.

mod bench;
mod corpora;
mod demo;
mod deny;
mod estate;
mod fuzz;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Demo(demo::Arguments),
    /// Run everything that CI runs: format, lints, documentation, tests
    Test,
    /// Hold the dependency tree against deny.toml; part of `test`
    Deny,
    Estate(estate::Arguments),
    Fuzz(fuzz::Arguments),
    Bench(bench::Arguments),
    /// Corpora of real events, for measuring
    #[command(subcommand)]
    Corpora(Corpora),
}

#[derive(Subcommand)]
enum Corpora {
    Rows(corpora::Rows),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test => test::run(),
        Task::Deny => deny::check().map(|fine| if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Task::Estate(arguments) => estate::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Bench(arguments) => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Fuzz(arguments) => fuzz::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Corpora(Corpora::Rows(arguments)) => corpora::rows(&arguments).map(|()| ExitCode::SUCCESS),
    }
}

/// The repository's root.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// The cargo that runs this.
fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

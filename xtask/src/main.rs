//! `cargo xtask`: the project's chores, in Rust so that they run wherever the project builds.

mod corpora;

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
    /// Corpora of real events, for measuring
    #[command(subcommand)]
    Corpora(Corpora),
}

#[derive(Subcommand)]
enum Corpora {
    Rows(corpora::Rows),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Corpora(Corpora::Rows(arguments)) => corpora::rows(&arguments),
    }
}

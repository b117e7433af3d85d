//! otel-log-ai
mod cli;
mod rows;
mod rules;
use clap::Parser;
#[derive(Parser)]
enum Cli {
    /// scan
    Scan(cli::scan::Args),
    /// rules
    Rules(cli::rules::Args),
}
fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match Cli::parse() {
        Cli::Scan(args) => cli::scan::run(&args),
        Cli::Rules(args) => cli::rules::run(&args).map(|_| ()),
    }
}

//! `otel-log-ai-clickhouse`: the embedded ClickHouse with SigNoz's tables, to try the product by hand.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use otel_log_ai_testkit::clickhouse::{ClickHouse, Options};
use otel_log_ai_testkit::schema;

/// Serve an embedded ClickHouse with SigNoz's log tables on 127.0.0.1, until interrupted.
#[derive(Parser)]
struct Arguments {
    /// Port of the HTTP interface; 0 takes any free one
    #[arg(long, default_value_t = 8123)]
    port: u16,
    /// Where the data is kept; without it, a temporary directory
    #[arg(long)]
    path: Option<PathBuf>,
    /// Which tables to create
    #[arg(long, value_enum, default_value_t = schema::Layout::SignozCreatedAt)]
    layout: schema::Layout,
    /// Ask for this user and password (`user:password`)
    #[arg(long)]
    credentials: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let credentials = match &arguments.credentials {
        Some(text) => {
            let (user, password) = text.split_once(':').context("--credentials: expected user:password")?;
            Some((user.to_owned(), password.to_owned()))
        }
        None => None,
    };
    let server = ClickHouse::with(Options {
        port: arguments.port,
        path: arguments.path,
        credentials,
        ..Options::default()
    })?;
    schema::create(&server, arguments.layout, arguments.layout.database())?;
    println!("ClickHouse on {} (stop with Ctrl-C)", server.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    runtime.block_on(async { tokio::signal::ctrl_c().await }).context("wait for Ctrl-C")
}

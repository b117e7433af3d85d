//! `cargo xtask estate`: the simulated estate's rows to a file, to try rules on with `otel-log-ai scan`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use otel_log_ai_testkit::estate::{Estate, Options};

/// Write the simulated estate's rows (`FORMAT JSONEachRow`) and print what is planted in them.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where to write the rows
    #[arg(long)]
    out: PathBuf,
    /// Hosts of the estate
    #[arg(long, default_value_t = 50)]
    hosts: usize,
    /// Rows a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of work
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed gives the same estate
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Writes the rows, which begin now.
pub fn run(arguments: &Arguments) -> Result<()> {
    let start_ns = u64::try_from(jiff::Timestamp::now().as_nanosecond()).context("read the clock")?;
    let mut estate = Estate::new(Options {
        seed: arguments.seed,
        hosts: arguments.hosts,
        rate: arguments.rate,
        start_ns,
        duration: Duration::from_secs(arguments.seconds),
    });
    let file = File::create(&arguments.out).with_context(|| format!("create {}", arguments.out.display()))?;
    let mut out = BufWriter::new(file);
    let rows = estate.rows_until(u64::MAX);
    for row in &rows {
        out.write_all(&row.to_json_each_row()).context("write the rows")?;
        out.write_all(b"\n").context("write the rows")?;
    }
    out.flush().context("write the rows")?;
    for planted in estate.planted() {
        println!("{}\t{}\t{}\t{}", planted.rule_id, planted.host, planted.row_id, planted.story);
    }
    eprintln!("{} rows of {} hosts in {}", rows.len(), estate.hosts(), arguments.out.display());
    Ok(())
}

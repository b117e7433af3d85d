//! Measures every step of the way of a record, single-threaded by processor time, beside rsigma on the
//! same events and rules in the same run. Started by `cargo xtask bench`.

mod decode;
mod matching;
mod peer;
mod report;
mod rows;
mod start;
mod tenfold;
mod threads;

use anyhow::Result;
use clap::Parser;
use otel_log_ai_bench::inputs;
use report::Report;
use std::path::PathBuf;

/// Measure the product beside a peer
#[derive(Parser)]
#[command(name = "cargo xtask bench", version)]
struct Arguments {
    /// Write the figures as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// At most so many events of each set
    #[arg(long, default_value_t = 60_000, value_name = "N")]
    events: usize,
    /// Where the corpora are [default: none; our own rules and the demo's estate are used]
    #[arg(long, value_name = "DIR")]
    corpora: Option<PathBuf>,
    /// Leave the peer out
    #[arg(long)]
    alone: bool,
    /// Only these parts: `decode`, `match`, `threads`, `tenfold`, `rows`, `peer` [default: all]
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::default();
    let tree = tempfile::tempdir()?;
    let corpora = arguments.corpora.unwrap_or_default();
    let paths = inputs::rule_paths(&corpora, tree.path())?;
    let detector = start::measure(&paths, &mut report)?;
    let sets = inputs::windows(&corpora, arguments.events)?;
    let others = inputs::sources(&corpora, arguments.events)?;
    let wanted = |part: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == part);
    if wanted("decode") {
        decode::measure(&detector, &sets, &others, &mut report);
    }
    if wanted("match") {
        matching::measure(&detector, &sets, &mut report)?;
    }
    if wanted("threads") {
        threads::measure(&detector, &sets, &mut report);
    }
    if wanted("tenfold") {
        tenfold::measure(&detector, &sets, &mut report);
    }
    if wanted("rows") {
        rows::measure(&detector, &sets, &mut report)?;
    }
    if wanted("peer") && !arguments.alone {
        peer::measure(&detector, &paths, &sets, &mut report)?;
    }
    report.print();
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    Ok(())
}

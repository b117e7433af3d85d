//! A sample of what is in ClickHouse, for reports on what really arrives.

use super::ConfigFile;
use crate::clickhouse::{Client, Fault, Kind, Layout, Reader, Rows};
use crate::config::Config;
use anyhow::{Context, Result};
use otel_log_ai_core::otel::LogRecord;
use otel_log_ai_core::report::count;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most rows of ClickHouse looked at.
const SAMPLE_ROWS_MAX: u64 = 200_000;
/// The time asked for is read in so many slices, so that no hour fills the sample alone.
const SAMPLE_SLICES: u64 = 24;
/// Most bytes of one slice on the wire (uncompressed). With more, fewer rows are taken of it.
const SLICE_BYTES_MAX: usize = 64 << 20;
/// Hands out rows of the last `hours` from the table that the configuration names, and says which.
pub fn clickhouse(config: &ConfigFile, hours: u64, each: &mut dyn FnMut(&LogRecord<'_>)) -> Result<String> {
    let path = &config.config;
    let config = Config::read(path).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
        anyhow::anyhow!("{}", lines.join("\nerror: "))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    Ok(runtime.block_on(sample(&config, hours, now_ns, each))?)
}

/// Hands out rows of the last `hours` before `now_ns`, at most [`SAMPLE_ROWS_MAX`], evenly: of more,
/// one in so many is taken by the hash of its key. Says how.
async fn sample(
    config: &Config,
    hours: u64,
    now_ns: u64,
    each: &mut dyn FnMut(&LogRecord<'_>),
) -> Result<String, Fault> {
    let client = Client::connect(&config.clickhouse).await?;
    let layout = Layout::detect(&client, &config.clickhouse).await?;
    let span_ns = hours * 3_600 * 1_000_000_000;
    let since_ns = now_ns.saturating_sub(span_ns);
    let sql = format!(
        "SELECT count() FROM {} WHERE {} AND {} < {now_ns}",
        layout.table,
        layout.since(since_ns),
        layout.time()
    );
    let total = Reader::new(&client.small(&sql).await?).u64()?;
    let one_in = total.div_ceil(SAMPLE_ROWS_MAX).max(1);
    let chosen = match one_in {
        1 => String::new(),
        n => format!(" AND {} % {n} = 0", layout.key()),
    };
    let (mut taken, mut cut) = (0_u64, 0_u64);
    for slice in 0..SAMPLE_SLICES {
        let from = since_ns + span_ns / SAMPLE_SLICES * slice;
        let to = if slice + 1 == SAMPLE_SLICES { now_ns } else { from + span_ns / SAMPLE_SLICES };
        let left = SAMPLE_ROWS_MAX.saturating_sub(taken);
        // A busy slice may take more than its share, but not the share of those that follow.
        let mut rows_max = (left / (SAMPLE_SLICES - slice) * 2).clamp(1, left.max(1));
        let rows = loop {
            let sql = format!(
                "SELECT {} FROM {} WHERE {} AND {} < {to}{chosen} LIMIT {rows_max}",
                layout.select_list(),
                layout.table,
                layout.since(from),
                layout.time()
            );
            match client.bytes(&sql, SLICE_BYTES_MAX).await {
                Err(fault) if fault.kind == Kind::TooBig && rows_max > 1 => rows_max = (rows_max / 8).max(1),
                other => break Rows::decode(other?)?,
            }
        };
        cut += u64::from(rows.len() as u64 == rows_max);
        taken += rows.len() as u64;
        (0..rows.len()).for_each(|index| each(&rows.record(index)));
    }
    let how = match one_in {
        1 => String::new(),
        n => format!(", one in {n} by the hash of its key"),
    };
    let cut = match cut {
        0 => String::new(),
        n => format!("; {n} of {SAMPLE_SLICES} slices of time held more than was read"),
    };
    let name = &layout.name;
    Ok(format!("{} of {} rows of the last {hours} h in {name}{how}{cut}", count(taken), count(total)))
}

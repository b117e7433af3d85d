//! Rows as ClickHouse delivers them: bytes of RowBinary in, decisions out, which are the rules that match, or
//! detections with their evidence and identity. The bytes are made here in the form of the product's SELECT
//! list; the network and ClickHouse's own work are not in the figures.

use crate::matching::decide;
use crate::report::{ROUNDS, Report, without};
use anyhow::{Result, anyhow};
use cpu_time::ThreadTime;
use otel_log_ai::clickhouse::Rows;
use otel_log_ai_bench::inputs::Set;
use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::engine;
use otel_log_ai_core::otel::{Buffers, LogRecord};
use otel_log_ai_testkit::signoz::LogRow;
use std::hint::black_box;

/// Rows of one batch, as the service takes them by default.
const BATCH_ROWS: usize = 10_000;

/// Measures the way of the bytes with and without the rules.
pub fn measure(detector: &Detector, sets: &[Set], report: &mut Report) -> Result<()> {
    for set in sets {
        let batches: Vec<Vec<u8>> = set.rows.chunks(BATCH_ROWS).map(bytes).collect();
        let read = per_s(&batches, set.rows.len(), &mut |record| {
            black_box(record);
        })?;
        report.add("bytes in, rows out", set.name, read, "/s");
        let mut buffers = Buffers::default();
        let decoded = per_s(&batches, set.rows.len(), &mut |record| {
            detector.taxonomy().recognise_in(&mut buffers, record, &mut |event| {
                black_box(event);
            });
        })?;
        report.add("bytes in, events out", set.name, decoded, "/s");
        let (mut buffers, mut scratch) = (Buffers::default(), engine::Scratch::default());
        let decided = per_s(&batches, set.rows.len(), &mut |record| {
            decide(detector, record, &mut buffers, &mut scratch);
        })?;
        report.aim("bytes in, decisions out", set.name, decided, "/s", 250_000.0);
        report.add("recognise, decode, match rows just read", set.name, without(read, decided), "/s");
        report.aim("decisions over events", set.name, decided / decoded, "x", 0.6);
        let (mut scratch, mut found) = (Scratch::default(), vec![]);
        let detected = per_s(&batches, set.rows.len(), &mut |record| {
            detector.detect(record, &mut scratch, &mut found);
            found.clear();
        })?;
        report.add("bytes in, detections out", set.name, detected, "/s");
        report.add("detections over events", set.name, detected / decoded, "x");
    }
    Ok(())
}

/// Rows a second of processor time; the fastest of five rounds. A batch is handed over as the HTTP client
/// hands it over, so that what it takes to have it is not counted.
fn per_s(batches: &[Vec<u8>], rows: usize, each: &mut dyn FnMut(&LogRecord<'_>)) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let mut took = 0.0;
        for batch in batches {
            let batch = batch.clone();
            let started = ThreadTime::now();
            let rows = Rows::decode(batch).map_err(|fault| anyhow!("{fault}"))?;
            let mut record = LogRecord::default();
            for index in 0..rows.len() {
                rows.read(index, &mut record);
                each(&record);
            }
            took += started.elapsed().as_secs_f64();
        }
        best = best.min(took);
    }
    Ok(rows as f64 / best)
}

/// An answer to the SELECT list of the product (`clickhouse::Layout::select_list`).
fn bytes(rows: &[LogRow]) -> Vec<u8> {
    let mut out = vec![];
    for (offset, row) in rows.iter().enumerate() {
        out.push(1); // of our share
        out.extend(0u32.to_le_bytes()); // shard
        text(&mut out, b"20260805_1_1_0");
        out.extend((offset as u64).to_le_bytes());
        out.extend(77u64.to_le_bytes()); // what tells rows apart
        text(&mut out, row.id.as_bytes());
        out.extend(row.timestamp_ns.to_le_bytes());
        out.extend(row.observed_ns.to_le_bytes());
        text(&mut out, row.trace_id.as_bytes());
        text(&mut out, row.severity_text.as_bytes());
        out.push(row.severity_number);
        out.extend((row.body.len() as u64).to_le_bytes());
        text(&mut out, &row.body);
        texts(&mut out, &row.attributes_string);
        length(&mut out, row.attributes_number.len());
        for (name, value) in &row.attributes_number {
            text(&mut out, name.as_bytes());
            out.extend(value.to_le_bytes());
        }
        length(&mut out, row.attributes_bool.len());
        for (name, value) in &row.attributes_bool {
            text(&mut out, name.as_bytes());
            out.push(u8::from(*value));
        }
        texts(&mut out, &row.resources);
        text(&mut out, row.scope_name.as_bytes());
        text(&mut out, row.resource_fingerprint().as_bytes());
    }
    out
}

fn texts(out: &mut Vec<u8>, entries: &[(String, String)]) {
    length(out, entries.len());
    for (name, value) in entries {
        text(out, name.as_bytes());
        text(out, value.as_bytes());
    }
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend(bytes);
}

/// Unsigned LEB128.
fn length(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

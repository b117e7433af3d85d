//! Reading rows from files and standard input, in bounded pieces.

use crate::rows;
use anyhow::{Context, Result, bail};
use otel_log_ai_core::otel::LogRecord;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest line that is read, bytes; a longer one is counted as bad and skipped.
pub const LINE_BYTES_MAX: usize = 64 << 20;
/// Lines evaluated together.
const CHUNK_LINES: usize = 4096;
/// … or so many bytes, whichever comes first.
const CHUNK_BYTES: usize = 16 << 20;

/// Parts what follows `--rules` from input given right behind it, as in `scan --rules DIR FILE`:
/// rules are directories and YAML files, everything else is input. Gives the input first.
pub fn parted(rules: &[PathBuf], files: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let is_input = |path: &&PathBuf| {
        let yaml = path.extension().is_some_and(|e| e == "yml" || e == "yaml");
        path.as_os_str() == "-" || is_inline(path) || (!yaml && path.exists() && !path.is_dir())
    };
    let (mut inputs, rules): (Vec<&PathBuf>, Vec<&PathBuf>) = rules.iter().partition(is_input);
    inputs.extend(files);
    (inputs.into_iter().cloned().collect(), rules.into_iter().cloned().collect())
}

/// Whether it is a row itself and no path.
pub fn is_inline(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.trim_start().starts_with('{'))
}

/// Opens a file; `-` is standard input.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(1 << 20, io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

/// Hands out the records of a file, of standard input (`-`) or of a row given as the path itself,
/// each with its line from 1, until `each` has enough (`false`). Lines that are no rows are passed
/// over; if there is nothing else, that is an error.
pub fn each_record(path: &Path, each: &mut dyn FnMut(u64, &LogRecord<'_>) -> Result<bool>) -> Result<()> {
    if let Some(row) = path.to_str().filter(|_| is_inline(path)) {
        let records = rows::parse(row).map_err(|message| anyhow::anyhow!("the row given: {message}"))?;
        for record in &records {
            if !each(1, record)? {
                break;
            }
        }
        return Ok(());
    }
    let name = path.display();
    let mut input = open(path)?;
    let (mut number, mut rows_read, mut bad) = (0, 0_u64, String::new());
    loop {
        let (lines, _) = read_chunk(&mut *input).with_context(|| format!("cannot read {name}"))?;
        if lines.is_empty() {
            break;
        }
        for line in &lines {
            number += 1;
            let text = String::from_utf8_lossy(line);
            if text.trim().is_empty() {
                continue;
            }
            let parsed = match line.len() > LINE_BYTES_MAX {
                true => Err(format!("line longer than {LINE_BYTES_MAX} bytes")),
                false => rows::parse(&text),
            };
            match parsed {
                Ok(records) => {
                    for record in &records {
                        rows_read += 1;
                        if !each(number, record)? {
                            return Ok(());
                        }
                    }
                }
                Err(message) if bad.is_empty() => bad = format!("{name}:{number}: {message}"),
                Err(_) => {}
            }
        }
    }
    if rows_read == 0 && !bad.is_empty() {
        bail!("none of the {number} input lines is a log row (first: {bad})");
    }
    if !bad.is_empty() {
        tracing::warn!("{bad}");
    }
    Ok(())
}

/// Reads some lines and says how many bytes they were. Of a line that is too long only so much is
/// kept that it can be told.
pub fn read_chunk(input: &mut dyn BufRead) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES as u64 {
        let mut line = Vec::new();
        let read = Read::take(&mut *input, LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        if line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            bytes += skip_line(input)?;
        }
        lines.push(line);
    }
    Ok((lines, bytes))
}

/// Discards what is left of a line.
fn skip_line(input: &mut dyn BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        let (take, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(take);
        skipped += take as u64;
        if done {
            return Ok(skipped);
        }
    }
}

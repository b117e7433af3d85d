//! `scan`: rules over rows from files, offline.

use super::input::{LINE_BYTES_MAX, read_chunk};
use super::{EngineFlags, Extensions, input, output};
use crate::rows;
use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use otel_log_ai_core::alert::Detection;
use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::otel::{Assembler, AuditEvent, AuditRecord};
use otel_log_ai_core::prefetch::ahead;
use otel_log_ai_core::rule::Status;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Evaluate rules on log rows from files or standard input.
///
/// Each input line is one row as ClickHouse prints it with
/// `SELECT * FROM signoz_logs.logs_v2 FORMAT JSONEachRow`, or one OTLP/JSON request as the
/// Collector's file exporter writes it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  clickhouse-client -q \"SELECT * FROM signoz_logs.logs_v2 LIMIT 100000 FORMAT JSONEachRow\" \\
    | otel-log-ai scan --rules ./sigma/rules -
  otel-log-ai scan --rules ./rules --output table rows.ndjson
  otel-log-ai scan --rules ./rules --mapping ./mapping --pipeline names.yml rows.ndjson")]
pub struct Args {
    /// Rule files and directories; may be given several times
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    rules: Vec<PathBuf>,
    #[command(flatten)]
    extensions: Extensions,
    #[command(flatten)]
    engine: EngineFlags,
    /// How to print detections
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Threads to evaluate with [default: number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print what the scan did as one JSON object on standard error
    #[arg(long)]
    stats: bool,
    /// Input files; `-` or none is standard input
    #[arg(value_name = "FILE", last = false)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON object a detection
    Ndjson,
    /// For people
    Table,
}

/// Bad lines told one by one; the rest is only counted.
const BAD_LINES_TOLD: u64 = 5;

/// Runs the command. An error means unusable input: exit code 2.
pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let (files, rules) = input::parted(&args.rules, &args.files);
    let mut loaded = args.extensions.rules(&rules)?;
    // Rules marked as unsupported cannot work as they stand, and their authors say so.
    loaded.rules.retain(|rule| rule.info.status != Some(Status::Unsupported));
    for problem in &loaded.problems {
        tracing::warn!("{problem}");
    }
    if loaded.rules.is_empty() {
        bail!("no usable rule in {}", output::paths(&rules));
    }
    let taxonomy = args.extensions.taxonomy()?;
    let detector = Detector::with_options(loaded.rules, taxonomy, args.engine.options()?);
    let ready = started.elapsed();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut scan = Scan {
        detector: &detector,
        scratches: (0..threads.max(1)).map(|_| Scratch::default()).collect(),
        assembler: Assembler::default(),
        totals: Totals::default(),
        progress: progress(&files),
        out: Sink::new(args.output),
    };
    let from_stdin = [PathBuf::from("-")];
    for path in if files.is_empty() { &from_stdin } else { files.as_slice() } {
        scan.file(path)?;
    }
    scan.audit_rest()?;
    scan.progress.finish_and_clear();
    scan.out.finish()?;
    let totals = scan.totals;
    if totals.lines > 0 && totals.bad == totals.lines {
        bail!("none of the {} input lines is a log row (first: {})", totals.lines, totals.first_bad);
    }
    totals.report(args, &detector, ready, started.elapsed().saturating_sub(ready));
    Ok(())
}

fn progress(files: &[PathBuf]) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes: Option<u64> = files.iter().map(|f| f.metadata().ok().map(|m| m.len())).sum();
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}";
    match bytes.filter(|bytes| *bytes > 0) {
        Some(bytes) => ProgressBar::new(bytes)
            .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar())),
        None => ProgressBar::new_spinner(),
    }
}

struct Scan<'d> {
    detector: &'d Detector,
    /// One per thread.
    scratches: Vec<Scratch>,
    /// Puts audit records together. Input has no clock: what is not whole waits to the end, or until
    /// too much is waiting.
    assembler: Assembler,
    totals: Totals,
    progress: ProgressBar,
    out: Sink,
}

#[derive(Debug, Default)]
struct Totals {
    lines: u64,
    records: u64,
    bad: u64,
    first_bad: String,
    faults: u64,
    unrecognised: u64,
    detections: u64,
}

/// What one thread found in its share of a chunk.
#[derive(Default)]
struct Found {
    /// Line within the chunk, and the detection.
    detections: Vec<(usize, Detection)>,
    /// Line within the chunk, and what is wrong with it.
    bad: Vec<(usize, String)>,
    faults: Vec<(usize, String)>,
    /// Line within the chunk, and the audit record.
    audit: Vec<(usize, AuditRecord)>,
    records: u64,
    unrecognised: u64,
}

/// Under these names a waiting audit record remembers where in the input it stood.
const PLACE: [&str; 2] = ["input.file", "input.line"];

impl Scan<'_> {
    fn file(&mut self, path: &Path) -> Result<()> {
        let name = path.display().to_string();
        let mut input = input::open(path)?;
        let mut done = 0;
        loop {
            let (lines, bytes) = read_chunk(&mut input).with_context(|| format!("cannot read {name}"))?;
            if lines.is_empty() {
                return Ok(());
            }
            self.chunk(&name, done, &lines)?;
            done += lines.len() as u64;
            self.progress.inc(bytes);
            self.progress.set_message(format!("{} detections", self.totals.detections));
        }
    }

    /// Evaluates lines on all threads and prints in the order of the input.
    fn chunk(&mut self, file: &str, done: u64, lines: &[Vec<u8>]) -> Result<()> {
        let share = lines.len().div_ceil(self.scratches.len());
        let detector = self.detector;
        let found: Vec<Found> = std::thread::scope(|scope| {
            let threads: Vec<_> = (lines.chunks(share).zip(&mut self.scratches))
                .map(|(lines, scratch)| scope.spawn(move || evaluate(detector, lines, scratch)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        for (part, found) in found.into_iter().enumerate() {
            let number = |line: usize| done + (part * share + line) as u64 + 1;
            for (line, message) in &found.bad {
                let place = format!("{file}:{}: {message}", number(*line));
                self.totals.bad(place);
            }
            for (line, message) in &found.faults {
                tracing::debug!("{file}:{}: {message}", number(*line));
            }
            self.totals.records += found.records;
            self.totals.unrecognised += found.unrecognised;
            self.totals.faults += found.faults.len() as u64;
            self.totals.detections += found.detections.len() as u64;
            for (line, detection) in &found.detections {
                self.out.detection(file, number(*line), detection)?;
            }
            for (line, mut record) in found.audit {
                let place = [file.to_owned(), number(line).to_string()];
                record.row.resources.extend(PLACE.map(str::to_owned).into_iter().zip(place));
                self.assembler.add(record, 0);
            }
        }
        self.totals.lines += lines.len() as u64;
        let whole = self.assembler.due(0);
        self.audit(&whole)
    }

    /// The audit events that are not whole at the end of the input.
    fn audit_rest(&mut self) -> Result<()> {
        let rest = self.assembler.flush();
        self.audit(&rest)
    }

    /// Evaluates audit events that were put together; they are said to stand where their system call
    /// stood.
    fn audit(&mut self, events: &[AuditEvent]) -> Result<()> {
        let mut detections = vec![];
        for audit in events {
            self.detector.detect_audit(audit, &mut self.scratches[0], &mut detections);
            let place = |name: &str| audit.row.resources.iter().find(|(n, _)| n == name).map(|(_, v)| v);
            let file = place(PLACE[0]).map_or("", String::as_str);
            let line = place(PLACE[1]).and_then(|line| line.parse().ok()).unwrap_or(0);
            self.totals.detections += detections.len() as u64;
            for detection in detections.drain(..) {
                self.out.detection(file, line, &detection)?;
            }
        }
        Ok(())
    }
}

fn evaluate(detector: &Detector, lines: &[Vec<u8>], scratch: &mut Scratch) -> Found {
    let mut found = Found::default();
    let mut detections = Vec::new();
    for (number, line) in ahead(lines, Vec::as_slice).enumerate() {
        if line.len() > LINE_BYTES_MAX {
            found.bad.push((number, format!("line longer than {LINE_BYTES_MAX} bytes")));
            continue;
        }
        let text = String::from_utf8_lossy(line);
        if text.trim().is_empty() {
            continue;
        }
        match rows::parse(&text) {
            Err(message) => found.bad.push((number, message)),
            Ok(records) => {
                for record in &records {
                    let outcome = detector.detect(record, scratch, &mut detections);
                    found.records += 1;
                    found.unrecognised += u64::from(!outcome.recognised);
                    found.faults.extend(outcome.fault.map(|fault| (number, fault)));
                    found.audit.extend(outcome.audit.into_iter().map(|record| (number, record)));
                    found.detections.extend(detections.drain(..).map(|detection| (number, detection)));
                }
            }
        }
    }
    found
}

impl Totals {
    fn bad(&mut self, place: String) {
        self.bad += 1;
        if self.bad <= BAD_LINES_TOLD {
            tracing::warn!("{place}");
        }
        if self.first_bad.is_empty() {
            self.first_bad = place;
        }
    }

    fn report(&self, args: &Args, detector: &Detector, ready: Duration, took: Duration) {
        let rate = self.records as f64 / took.as_secs_f64().max(1e-9);
        if args.stats {
            let stats = serde_json::json!({
                "rules": detector.rules().len(), "lines": self.lines, "records": self.records,
                "bad_lines": self.bad, "faults": self.faults, "unrecognised": self.unrecognised,
                "detections": self.detections, "startup_seconds": ready.as_secs_f64(),
                "scan_seconds": took.as_secs_f64(), "records_per_second": rate,
            });
            eprintln!("{stats}");
            return;
        }
        eprintln!(
            "{} detections in {} records ({} rules, {rate:.0} records/s); {} unrecognised, {} with faults, {} bad lines",
            self.detections,
            self.records,
            detector.rules().len(),
            self.unrecognised,
            self.faults,
            self.bad
        );
    }
}

/// Where detections are printed.
struct Sink {
    out: BufWriter<io::Stdout>,
    table: Option<Vec<[String; 5]>>,
    closed: bool,
}

impl Sink {
    fn new(output: Output) -> Sink {
        let table = (output == Output::Table).then(Vec::new);
        Sink { out: BufWriter::with_capacity(1 << 16, io::stdout()), table, closed: false }
    }

    fn detection(&mut self, file: &str, record: u64, detection: &Detection) -> Result<()> {
        if let Some(table) = &mut self.table {
            let fields: Vec<String> = detection.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            table.push([
                output::time(detection.origin.timestamp_ns),
                detection.rule.level.to_string(),
                output::line(&detection.origin.host, 32),
                output::line(&detection.rule.title, 64),
                output::line(&fields.join(" "), 100),
            ]);
            return Ok(());
        }
        if self.closed {
            return Ok(());
        }
        let written = serde_json::to_writer(&mut self.out, &json(file, record, detection))
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
        self.check(written)
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(table) = self.table.take() {
            let written = output::table(&mut self.out, ["TIME", "LEVEL", "HOST", "RULE", "MATCHED"], &table);
            self.check(written)?;
        }
        let flushed = if self.closed { Ok(()) } else { self.out.flush() };
        self.check(flushed)
    }

    /// A reader that has seen enough (`| head`) is no error.
    fn check(&mut self, written: io::Result<()>) -> Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.context("cannot write to standard output"),
        }
    }
}

/// The line contract of `--output ndjson`.
fn json(file: &str, record: u64, detection: &Detection) -> serde_json::Value {
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &detection.fields {
        fields.entry(name).or_default().push(value);
    }
    let fields: serde_json::Map<String, serde_json::Value> = (fields.into_iter())
        .map(|(name, values)| {
            let value = if values.len() == 1 { values[0].into() } else { values.into() };
            (name.to_owned(), value)
        })
        .collect();
    let rule = &detection.rule;
    serde_json::json!({
        "rule_id": rule.id,
        "rule_title": rule.title,
        "level": rule.level,
        "record": record,
        "record_id": detection.origin.record_id,
        "host": detection.origin.host,
        "timestamp": output::time(detection.origin.timestamp_ns),
        "fields": fields,
        "user": detection.origin.user,
        "src_ip": detection.origin.src_ip,
        "tags": rule.tags,
        "logsource": rule.logsource.to_string(),
        "file": file,
    })
}

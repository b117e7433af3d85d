//! Rules and records: from a folder of corpora, which are not part of the project; where
//! they are absent, our own rules and the demo's estate.

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use otel_log_ai_core::otel::LogRecord;
use otel_log_ai_testkit::estate::{Estate, Options};
use otel_log_ai_testkit::signoz::LogRow;
use otel_log_ai_testkit::windows::{Form, Shape, evtx, nxlog};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records of one kind.
#[derive(Debug)]
pub struct Set {
    /// What is printed.
    pub name: &'static str,
    /// Rows.
    pub rows: Vec<LogRow>,
}

impl Set {
    /// The rows as records.
    pub fn records(&self) -> Vec<LogRecord<'_>> {
        self.rows.iter().map(record).collect()
    }
}

fn record(row: &LogRow) -> LogRecord<'_> {
    let text = |pairs: &'_ [(String, String)]| -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        pairs.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect()
    };
    LogRecord {
        id: row.id.as_str().into(),
        timestamp_ns: row.timestamp_ns,
        observed_ns: row.observed_ns,
        body: String::from_utf8_lossy(&row.body),
        attributes_string: text(&row.attributes_string),
        resources: text(&row.resources),
        ..LogRecord::default()
    }
}

/// The folders of SigmaHQ's rules, unpacked below `into`, or our own.
pub fn rule_paths(corpora: &Path, into: &Path) -> Result<Vec<PathBuf>> {
    let archive = corpora.join("sigma-rules/sigmahq-rules-8eaafff1.tar.gz");
    let Ok(file) = File::open(&archive) else {
        eprintln!("no SigmaHQ rules at hand: the project's own are used");
        return Ok(vec![own_rules()]);
    };
    tar::Archive::new(MultiGzDecoder::new(file)).unpack(into).context("unpack the rules")?;
    let folders =
        ["rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance", "rules-dfir"];
    Ok(folders.iter().map(|folder| into.join(folder)).filter(|folder| folder.exists()).collect())
}

/// The folder of the project's own rules.
pub fn own_rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules")
}

/// Windows events as rows with JSON bodies.
pub fn windows(corpora: &Path, events_max: usize) -> Result<Vec<Set>> {
    let attack = rows(&corpora.join("evtx-attack/events.dev.ndjson.gz"), events_max, |line| {
        evtx::read(&line["Event"]).row(Form::from(Shape::D))
    })?;
    let mordor =
        rows(&corpora.join("mordor/events.dev.ndjson.zst"), events_max, |line| match &line["event"] {
            Value::Object(flat) => nxlog::read(flat).row(Form::from(Shape::D)),
            _ => LogRow::default(),
        })?;
    let sets = [("evtx-attack", attack), ("mordor", mordor)];
    let sets: Vec<Set> =
        sets.into_iter().filter_map(|(name, rows)| Some(Set { name, rows: rows? })).collect();
    if !sets.is_empty() {
        return Ok(sets);
    }
    eprintln!("no recorded events at hand: the demo's estate is used");
    Ok(vec![estate(events_max)])
}

/// Rows of the demo's estate, about so many.
pub fn estate(events: usize) -> Set {
    let start_ns = 1_785_924_930_000_000_000;
    let duration = Duration::from_secs(60);
    let options = Options { seed: 1, hosts: 50, rate: events as f64 / 60.0, start_ns, duration };
    Set { name: "estate", rows: Estate::new(options).rows_until(start_ns + 60_000_000_000) }
}

/// Records of the other sources, as the Collector's file receiver delivers them.
pub fn sources(corpora: &Path, events_max: usize) -> Result<Vec<Set>> {
    let files = [
        ("auditd", "linux/auditd.dev.ndjson.gz", "audit.log"),
        ("journald", "linux/journal-json.dev.ndjson.gz", ""),
        ("syslog", "linux/fail2ban.dev.ndjson.gz", "auth.log"),
        ("web access", "web-cloud-k8s/apache-normal.dev.ndjson.gz", "access.log"),
        ("CloudTrail", "web-cloud-k8s/cloudtrail.dev.ndjson.gz", ""),
        ("M365", "web-cloud-k8s/m365-audit.dev.ndjson.gz", ""),
    ];
    let mut sets = vec![];
    for (name, path, file) in files {
        let rows = rows(&corpora.join(path), events_max, |line| {
            let body = match (&line["raw"], &line["event"]) {
                (Value::String(raw), _) => raw.clone(),
                (_, event) => event.to_string(),
            };
            let mut row = LogRow::new(1_785_924_930_000_000_000, &[("host.name", "lin01")], body);
            if !file.is_empty() {
                row.attributes_string.push(("log.file.name".into(), file.into()));
            }
            row
        })?;
        sets.extend(rows.map(|rows| Set { name, rows }));
    }
    Ok(sets)
}

/// The events of a corpus; `None` where it is absent.
fn rows(path: &Path, events_max: usize, row: impl Fn(&Value) -> LogRow) -> Result<Option<Vec<LogRow>>> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "zst") {
        let mut decoder = zstd::Decoder::new(file)?;
        decoder.window_log_max(27)?;
        Box::new(decoder)
    } else {
        Box::new(MultiGzDecoder::new(file))
    };
    let mut rows = vec![];
    for line in BufReader::with_capacity(1 << 20, reader).lines().take(events_max) {
        let line: Value =
            serde_json::from_str(&line?).with_context(|| format!("a line of {}", path.display()))?;
        let mut row = row(&line);
        row.id = format!("{}#{}", line["source_file"].as_str().unwrap_or_default(), line["n"]);
        rows.push(row);
    }
    Ok(Some(rows))
}

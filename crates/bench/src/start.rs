//! Start: reading, parsing and compiling all rules, and what that takes of memory.

use crate::report::Report;
use anyhow::{Result, anyhow, bail};
use otel_log_ai_core::detect::Detector;
use otel_log_ai_core::otel::Taxonomy;
use otel_log_ai_core::rule::Status;
use std::path::PathBuf;
use std::time::Instant;

/// Reads and compiles the rules.
pub fn measure(paths: &[PathBuf], report: &mut Report) -> Result<Detector> {
    let before = resident_mb();
    let started = Instant::now();
    let mut loaded = otel_log_ai::rules::read(paths)?;
    loaded.rules.retain(|rule| rule.info.status != Some(Status::Unsupported));
    let read = started.elapsed();
    if loaded.rules.is_empty() {
        bail!("no rules");
    }
    let on = format!("{} rules", loaded.rules.len());
    let taxonomy = Taxonomy::builtin().map_err(|problem| anyhow!("{problem}"))?;
    let detector = Detector::new(loaded.rules, taxonomy);
    report.add("start: read and parse (wall)", &on, read.as_secs_f64(), "s");
    report.aim("start: ready for rows (wall)", &on, started.elapsed().as_secs_f64(), "s", 0.7);
    report.add("memory when ready, resident", &on, resident_mb() - before, "MB");
    detector.engine().prepare();
    report.add("start: all classes compiled (wall)", &on, started.elapsed().as_secs_f64(), "s");
    report.aim("memory of the compiled rules, resident", &on, resident_mb() - before, "MB", 120.0);
    Ok(detector)
}

/// Resident memory of this process, MB; 0 where the system does not tell.
fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

//! Start: reading, parsing and compiling all rules, and what that takes of memory.

use crate::report::Report;
use anyhow::{Result, anyhow, bail};
use otel_log_ai::config::Config;
use otel_log_ai::rules::compile;
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
    from_cache(paths, &on, report)?;
    Ok(detector)
}

/// What the service does when it starts again and no rule has changed.
fn from_cache(paths: &[PathBuf], on: &str, report: &mut Report) -> Result<()> {
    let state = tempfile::tempdir()?;
    let text = format!(
        "clickhouse: {{url: 'http://127.0.0.1:1'}}\nkeep: {{url: 'http://127.0.0.1:1', api_key: k}}\nrules: {{paths: {:?}, \
         min_level: informational, status: [stable, test, experimental, deprecated]}}\n",
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    );
    let file = state.path().join("otel-log-ai.yaml");
    std::fs::write(&file, text)?;
    let config = Config::read(&file).map_err(|problems| anyhow!("{problems:?}"))?;
    let mut best = f64::MAX;
    for _ in 0..10 {
        let started = Instant::now();
        compile(&config.rules).map_err(|problem| anyhow!("{problem}"))?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    report.aim("start: ready for rows, from the cache (wall)", on, best, "s", 0.15);
    Ok(())
}

/// Resident memory of this process, MB; 0 where the system does not tell.
fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`, one after the other, with libFuzzer.
//!
//! It needs no other toolchain than the project's: the instrumentation is LLVM's, switched on by
//! code generation options, and libFuzzer is built from its source, which takes a C++ compiler.

use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::read::GzDecoder;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fuzz the decoders: no panic, bounded time and memory
#[derive(Args)]
pub struct Arguments {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Targets [default: all]
    targets: Vec<String>,
}

/// Coverage as libFuzzer reads it.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Longest input, bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Most inputs taken from a corpus.
const SEEDS_MAX: usize = 500;

/// Corpora whose events are good to begin with.
const SEEDS: &[(&str, &str)] = &[
    ("windows_json", "sigma-regression/events.dev.ndjson.gz"),
    ("journald", "linux/journal-json.dev.ndjson.gz"),
    ("syslog", "linux/fail2ban.dev.ndjson.gz"),
    ("syslog", "linux/wazuh-ossec.dev.ndjson.gz"),
    ("auditd", "linux/auditd.dev.ndjson.gz"),
    ("audit_assembly", "linux/auditd.dev.ndjson.gz"),
    ("web", "web-cloud-k8s/apache-scans.dev.ndjson.gz"),
    ("web", "web-cloud-k8s/crs-attack-requests.dev.ndjson.gz"),
    ("network", "linux/crowdsec-hub.dev.ndjson.gz"),
    ("network", "linux/wazuh-ossec.dev.ndjson.gz"),
    ("documents", "web-cloud-k8s/cloudtrail.dev.ndjson.gz"),
    ("documents", "web-cloud-k8s/k8s-audit.dev.ndjson.gz"),
    ("documents", "web-cloud-k8s/m365-audit.dev.ndjson.gz"),
    ("documents", "web-cloud-k8s/panther-rule-tests.dev.ndjson.gz"),
    ("documents", "web-cloud-k8s/sekoia-parser-tests.dev.ndjson.gz"),
];

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let fuzz = super::root().join("fuzz");
    let all = targets(&fuzz)?;
    if let Some(unknown) = arguments.targets.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target {unknown}; there are {}", all.join(", "));
    }
    let wanted = if arguments.targets.is_empty() { &all } else { &arguments.targets };
    let triple = host()?;
    // With a target named, build scripts are not instrumented.
    let built = super::cargo()
        .current_dir(&fuzz)
        .args(["build", "--release", "--target", &triple])
        .env("RUSTFLAGS", INSTRUMENTATION)
        .status()
        .context("build the fuzz targets")?;
    if !built.success() {
        bail!("the fuzz targets do not build (libFuzzer needs a C++ compiler)");
    }
    for target in wanted {
        fuzz_one(&fuzz, &triple, target, arguments.seconds)?;
    }
    eprintln!("{} targets, {} s each: nothing found", wanted.len(), arguments.seconds);
    Ok(())
}

/// Names of all targets.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(fuzz.join("targets")).context("read fuzz/targets")?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

/// The machine's target triple.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    triple.map(str::to_owned).context("rustc does not tell its host")
}

fn fuzz_one(fuzz: &Path, triple: &str, target: &str, seconds: u64) -> Result<()> {
    let corpus = fuzz.join("target/corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let seeds = seed(target, &corpus)?;
    eprintln!("fuzzing {target} for {seconds} s, {seeds} seeds");
    let artifacts = fuzz.join("target/artifacts");
    fs::create_dir_all(&artifacts)?;
    let status = Command::new(fuzz.join("target").join(triple).join("release").join(target))
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg("-rss_limit_mb=1024")
        .arg("-timeout=5")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{target}-", artifacts.display()))
        .status()
        .with_context(|| format!("run the target {target}"))?;
    if !status.success() {
        bail!("{target} found something; the input is in {}", artifacts.display());
    }
    Ok(())
}

/// Puts lines of the corpora, where they are, into the target's own corpus.
fn seed(target: &str, corpus: &Path) -> Result<usize> {
    let mut count = 0;
    for (_, path) in SEEDS.iter().filter(|(name, _)| *name == target) {
        let path: PathBuf = super::root().join("../shared/corpora").join(path);
        let Ok(file) = fs::File::open(&path) else {
            eprintln!("no seeds: {} is absent", path.display());
            continue;
        };
        let lines = BufReader::new(GzDecoder::new(file)).lines();
        for line in lines.map_while(Result::ok).take(SEEDS_MAX) {
            let document: serde_json::Value = serde_json::from_str(&line)?;
            let text = match (&document["raw"], &document["event"]) {
                (serde_json::Value::String(raw), _) => raw.clone(),
                (_, serde_json::Value::Null) => line,
                (_, event) => event.to_string(),
            };
            // The first byte chooses a beginning; the first of them is empty.
            let input = [&[0], text.as_bytes()].concat();
            fs::write(corpus.join(format!("seed-{count}")), &input[..input.len().min(INPUT_BYTES_MAX)])?;
            count += 1;
        }
    }
    Ok(count)
}

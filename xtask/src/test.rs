//! `cargo xtask test`: everything CI runs, and nothing CI alone runs.
//!
//! Every step runs even when an earlier one failed, so that one run tells all. The test runner's own
//! summary is printed last.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use otel_log_ai_testkit::libchdb;

use crate::cargo;

/// How a step went.
struct Step {
    name: &'static str,
    passed: bool,
    took: Duration,
}

/// Runs all steps.
pub fn run() -> Result<ExitCode> {
    // Fetched once here, with its progress bar, and not by many tests at once.
    libchdb::library().context("get the ClickHouse engine for the integration tests")?;
    let mut steps = Vec::new();
    step(&mut steps, "format", |_| {}, &["fmt", "--all", "--check"])?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step(&mut steps, "lints", |_| {}, &lints)?;
    let deny = |command: &mut Command| {
        command.env("RUSTDOCFLAGS", "-D warnings");
    };
    step(&mut steps, "documentation", deny, &["doc", "--workspace", "--no-deps"])?;
    step(&mut steps, "documentation's tests", |_| {}, &["test", "--workspace", "--doc"])?;
    println!("\n== dependencies: cargo deny check");
    let started = Instant::now();
    let passed = crate::deny::check()?;
    steps.push(Step { name: "dependencies", passed, took: started.elapsed() });
    let summary = tests(&mut steps)?;

    println!("\n");
    for step in &steps {
        let verdict = if step.passed { "passed" } else { "FAILED" };
        println!("{verdict}  {:<22} {:>6.1} s", step.name, step.took.as_secs_f64());
    }
    for line in summary {
        println!("{line}");
    }
    let passed = steps.iter().all(|step| step.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn step(
    steps: &mut Vec<Step>,
    name: &'static str,
    set: impl Fn(&mut Command),
    arguments: &[&str],
) -> Result<()> {
    println!("\n== {name}: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let mut command = cargo();
    command.args(arguments);
    set(&mut command);
    let status = command.status().with_context(|| format!("run cargo {}", arguments.join(" ")))?;
    steps.push(Step { name, passed: status.success(), took: started.elapsed() });
    Ok(())
}

/// Unit and integration tests, by cargo-nextest where it is installed; gives the runner's summary.
fn tests(steps: &mut Vec<Step>) -> Result<Vec<String>> {
    let probe = cargo().args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let nextest = probe.is_ok_and(|status| status.success());
    let arguments: &[&str] = match nextest {
        true => &["nextest", "run", "--workspace", "--no-fail-fast"],
        false => &["test", "--workspace", "--all-targets", "--no-fail-fast"],
    };
    println!("\n== tests: cargo {}", arguments.join(" "));
    let started = Instant::now();
    let mut command = cargo();
    command.args(arguments);
    // nextest reports on standard error, cargo's own runner on standard output: the one read is shown
    // as it comes.
    if nextest {
        command.stderr(Stdio::piped());
    } else {
        command.stdout(Stdio::piped());
    }
    let mut child = command.spawn().context("run the tests")?;
    let stderr = child.stderr.take().map(BufReader::new);
    let stdout = child.stdout.take().map(BufReader::new);
    let summary = match (stderr, stdout) {
        (Some(stderr), _) => {
            show(stderr, |kept, line| !kept.is_empty() || line.trim_start().starts_with("Summary ["))?
        }
        (None, Some(stdout)) => show(stdout, |_, line| line.starts_with("test result:"))?,
        (None, None) => Vec::new(),
    };
    let status = child.wait().context("wait for the tests")?;
    steps.push(Step { name: "tests", passed: status.success(), took: started.elapsed() });
    Ok(summary)
}

/// Shows lines as they come and keeps those of the summary.
fn show(lines: impl BufRead, keep: impl Fn(&[String], &str) -> bool) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for line in lines.split(b'\n') {
        let line = line.context("read what the tests print")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        writeln!(std::io::stdout(), "{line}").context("print")?;
        if keep(&kept, &line) {
            kept.push(line);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_summary_is_kept_to_its_end() {
        let lines = &b"    PASS x\n     Summary [ 1.0s] 2 tests run\n        FAIL y\n"[..];
        let kept =
            show(lines, |kept, line| !kept.is_empty() || line.trim_start().starts_with("Summary [")).unwrap();
        assert_eq!(kept, ["     Summary [ 1.0s] 2 tests run", "        FAIL y"]);
    }
}

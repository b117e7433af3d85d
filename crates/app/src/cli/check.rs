//! `check`: is everything there that `run` needs? One line each, with what to do.

use super::{ConfigFile, Failure};
use crate::clickhouse::{Client, Fault, Layout, Reader};
use crate::config::{Config, Delivery};
use crate::rules;
use crate::store::{Store, StoreError, StoreSettings};
use anyhow::Context;
use otel_log_ai_core::problem::Problem;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most rule problems shown; `rules check` shows all.
const RULE_PROBLEMS_MAX: usize = 10;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Forms of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// One line for each check
    Text,
    /// One JSON object
    Json,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Error,
}

/// One line.
#[derive(Debug, Serialize)]
struct Finding {
    status: Status,
    /// What was looked at.
    subject: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Finding>,
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        status: Status,
        subject: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.0.push(Finding { status, subject, message: message.into(), hint });
    }

    fn ok(&mut self, subject: &'static str, message: impl Into<String>) {
        self.add(Status::Ok, subject, message, None);
    }

    fn fault(&mut self, subject: &'static str, fault: Fault) {
        self.add(Status::Error, subject, fault.message, fault.hint);
    }
}

/// Runs all checks.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut findings = Findings::default();
    let path = &args.config.config;
    match Config::read(path) {
        Err(problems) => {
            for problem in problems {
                findings.add(Status::Error, "config", problem.to_string(), None);
            }
        }
        Ok(config) => {
            findings.ok("config", format!("{} is valid", path.display()));
            check_secrets(&config, path, &mut findings);
            check_rules(&config, &mut findings);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start the runtime")?;
            runtime.block_on(async {
                check_clickhouse(&config, &mut findings).await;
                check_targets(&config, &mut findings).await;
            });
            check_state(&config.state_path, &mut findings);
        }
    }
    let ok = findings.0.iter().all(|finding| finding.status != Status::Error);
    let report = Report { ok, checks: findings.0 };
    print(&report, args.output)?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(report: &Report, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        println!("{}", serde_json::to_string(report).context("write the report")?);
        return Ok(());
    }
    for finding in &report.checks {
        let status = match finding.status {
            Status::Ok => "ok   ",
            Status::Warn => "warn ",
            Status::Error => "error",
        };
        println!("{status} {:<10} {}", finding.subject, finding.message);
        if let Some(hint) = &finding.hint {
            println!("      {:<10} → {hint}", "");
        }
    }
    Ok(())
}

/// Secrets belong into the environment or files of their own; if they stand in the configuration,
/// nobody else should be able to read it.
fn check_secrets(config: &Config, path: &Path, findings: &mut Findings) {
    if config.literal_secrets.is_empty() {
        return;
    }
    let keys = config.literal_secrets.join(", ");
    #[cfg(unix)]
    let others_read = {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o044 != 0)
    };
    #[cfg(not(unix))]
    let others_read = false;
    let readable = if others_read { ", which other users can read" } else { "" };
    findings.add(
        Status::Warn,
        "config",
        format!("secrets stand in {}{readable}: {keys}", path.display()),
        Some("use `${env:NAME}` or `${file:PATH}`".into()),
    );
}

fn check_rules(config: &Config, findings: &mut Findings) {
    // The service's own files are left alone.
    let settings = crate::config::Rules { cache: None, ..config.rules.clone() };
    let (detector, loaded) = match rules::compile(&settings) {
        Ok(compiled) => compiled,
        Err(problem) => return findings.add(Status::Error, "rules", problem.to_string(), None),
    };
    let count = detector.rules().len();
    let summary = format!(
        "{count} rules of {} files in use, {} left out by the filters, {} problems",
        loaded.files,
        loaded.filtered,
        loaded.problems.len()
    );
    match count {
        0 => findings.add(
            Status::Error,
            "rules",
            format!("no rule is left to use: {summary}"),
            Some("check `rules.paths`, `rules.min_level` and `rules.status`".into()),
        ),
        _ => findings.ok("rules", summary),
    }
    for problem in loaded.problems.iter().take(RULE_PROBLEMS_MAX) {
        findings.add(Status::Warn, "rules", problem.to_string(), None);
    }
    if loaded.problems.len() > RULE_PROBLEMS_MAX {
        let more = loaded.problems.len() - RULE_PROBLEMS_MAX;
        let hint = Some("`otel-log-ai rules check` shows all".into());
        findings.add(Status::Warn, "rules", format!("{more} more problems"), hint);
    }
    check_cost(&loaded.dear, findings);
}

/// Rules that cost more than they should.
fn check_cost(dear: &[Problem], findings: &mut Findings) {
    for problem in dear.iter().take(RULE_PROBLEMS_MAX) {
        findings.add(Status::Warn, "rules", problem.to_string(), None);
    }
    if dear.len() > RULE_PROBLEMS_MAX {
        let more = dear.len() - RULE_PROBLEMS_MAX;
        let hint = Some("`otel-log-ai rules check` shows all; see `rules.budget_ns`".into());
        findings.add(Status::Warn, "rules", format!("{more} more dear rules"), hint);
    }
}

async fn check_clickhouse(config: &Config, findings: &mut Findings) {
    const SUBJECT: &str = "clickhouse";
    let client = match Client::connect(&config.clickhouse).await {
        Ok(client) => client,
        Err(fault) => return findings.fault(SUBJECT, fault),
    };
    findings.ok(SUBJECT, format!("{} answers, version {}", client.url(), client.version()));
    if !client.settings_allowed() {
        findings.add(
            Status::Warn,
            SUBJECT,
            format!(
                "user `{}` is readonly=1: limits on threads, memory and time cannot be sent",
                client.user()
            ),
            Some("set them in the user's profile, or use readonly=2".into()),
        );
    }
    let layout = match Layout::detect(&client, &config.clickhouse).await {
        Ok(layout) => layout,
        Err(fault) => return findings.fault(SUBJECT, fault),
    };
    findings.ok(SUBJECT, format!("logs are in {}", layout.describe()));
    if !layout.has_parts {
        let hours = crate::tail::WINDOW.as_secs() / 3600;
        let hint = "point `clickhouse.table` to the MergeTree table, and no row is too late";
        let message = format!("rows that arrive more than {hours} h late will be missed");
        findings.add(Status::Warn, SUBJECT, message, Some(hint.into()));
    }
    if layout.hides_its_parts() {
        let hint =
            "grant SHOW TABLES on the table behind it, or point `clickhouse.url` to a server that has one";
        let message = "the table behind the Distributed one cannot be seen: if it is created anew, rows of it that \
                       are not newer than those read before may be missed";
        findings.add(Status::Warn, SUBJECT, message, Some(hint.into()));
    }
    // The columns are read for real, if only of no row: rights may differ by column.
    let columns = format!("SELECT {} FROM {} LIMIT 0", layout.select_list(), layout.table);
    if let Err(fault) = client.small(&columns).await {
        return findings.fault(SUBJECT, fault);
    }
    match rows_of_last_hour(&client, &layout).await {
        Err(fault) => findings.fault(SUBJECT, fault),
        Ok(0) => findings.add(
            Status::Warn,
            SUBJECT,
            "may read, but no row is dated within the last hour",
            Some("does the Collector send logs?".into()),
        ),
        Ok(rows) => findings.ok(SUBJECT, format!("may read: {rows} rows of the last hour")),
    }
}

async fn rows_of_last_hour(client: &Client, layout: &Layout) -> Result<u64, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_ns = (now.as_nanos() as u64).saturating_sub(3_600 * 1_000_000_000);
    let sql = format!("SELECT count() FROM {} WHERE {}", layout.table, layout.since(since_ns));
    Reader::new(&client.small(&sql).await?).u64()
}

async fn check_targets(config: &Config, findings: &mut Findings) {
    const SUBJECT: &str = "target";
    let deliveries = match config.deliveries() {
        Ok(deliveries) => deliveries,
        Err(error) => return findings.add(Status::Error, SUBJECT, format!("{error:#}"), None),
    };
    for Delivery { target, .. } in deliveries {
        let subject = if target.name() == "keep" { "keep" } else { SUBJECT };
        match target.probe().await {
            Ok(()) => findings.ok(subject, format!("{} takes alerts", target.place())),
            Err(message) => findings.add(Status::Error, subject, message, None),
        }
        // Nothing has this fingerprint; the question shows whether the key may ask.
        if target.can_verify()
            && let Err(message) = target.stored(&["otel-log-ai-check"]).await
        {
            findings.add(
                Status::Warn,
                subject,
                format!("cannot look whether alerts arrived: {message}"),
                None,
            );
        }
    }
    if config.keep.url.is_some() && config.keep.api_key.is_empty() {
        let hint = Some("fine only for a Keep without authentication".to_string());
        findings.add(Status::Warn, "keep", "`keep.api_key` is empty", hint);
    }
}

/// Looks whether the state can be kept, without making a file.
fn check_state(path: &Path, findings: &mut Findings) {
    const SUBJECT: &str = "state";
    let name = path.display();
    if path.exists() {
        match Store::open(StoreSettings::new(path)) {
            Ok(_) => findings.ok(SUBJECT, format!("{name} can be written")),
            Err(StoreError::InUse { .. }) => {
                findings.add(
                    Status::Warn,
                    SUBJECT,
                    format!("{name} is in use: is the service running?"),
                    None,
                );
            }
            Err(error) => findings.add(Status::Error, SUBJECT, error.to_string(), None),
        }
        return;
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let probe = directory.join(format!(".otel-log-ai-check-{}", std::process::id()));
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => {
            let _ = std::fs::remove_file(&probe);
            findings.ok(SUBJECT, format!("{name} will be made at the first start"));
        }
        Err(error) => findings.add(
            Status::Error,
            SUBJECT,
            format!("{name} cannot be made: {error}"),
            Some("make the directory, and give it to the user that runs the service".into()),
        ),
    }
}

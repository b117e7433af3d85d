//! The command line: one file for each subcommand.

pub mod alerts;
mod bar;
pub mod check;
pub mod config;
pub mod coverage;
pub mod explain;
pub mod input;
pub mod output;
pub mod profile;
pub mod rules;
pub mod run;
mod sample;
pub mod scan;

use crate::config::Log;
use crate::telemetry::otlp::OtlpLayer;
use clap::{Args, CommandFactory, Parser, Subcommand};
use otel_log_ai_core::engine::Options;
use otel_log_ai_core::otel::Taxonomy;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Sigma detection on OpenTelemetry logs.
///
/// Reads logs from SigNoz's ClickHouse (or from files), evaluates Sigma rules on them, and sends
/// alerts to Keep.
#[derive(Debug, Parser)]
#[command(name = "otel-log-ai", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
First steps:
  otel-log-ai config example > otel-log-ai.yaml     a commented configuration to edit
  otel-log-ai check --config otel-log-ai.yaml       is everything reachable and right?
  otel-log-ai run --config otel-log-ai.yaml         the service

Without a server:
  otel-log-ai rules check --rules ./rules           do my rules load?
  otel-log-ai rules coverage --rules ./rules        which logs feed them, and which are blind?
  otel-log-ai scan --rules ./rules rows.ndjson      what do they find in exported rows?
  otel-log-ai explain --rule ID --rules ./rules -   why did one match a row, or not?

Exit codes: 0 done, 1 a failed check or a failure while running, 2 wrong use or unusable input.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Tail the logs and send alerts: the service
    Run(run::Args),
    /// Check configuration, rules, ClickHouse, Keep and state file, and say what to do
    Check(check::Args),
    /// List, retry and drop alerts that wait for delivery or were given up
    Alerts(alerts::Args),
    /// Evaluate rules on rows in files, offline
    Scan(scan::Args),
    /// List, check and show rules, and what they can see
    Rules(rules::Args),
    /// Tell why a rule did or did not match a row
    ///
    /// What the row was recognised as and by what, where each field of the rule was found, and what
    /// is true of each part of the rule. Without a row: which logs feed the rule.
    Explain(explain::Args),
    /// Show a commented example of the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Print completions for a shell
    ///
    /// For example: otel-log-ai completions bash > /etc/bash_completion.d/otel-log-ai
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "OTEL_LOG_AI_CONFIG", default_value = "otel-log-ai.yaml")]
    pub config: PathBuf,
}

/// The user's own mapping and pipelines, for commands without a configuration.
#[derive(Debug, Default, Args)]
pub struct Extensions {
    /// Further mapping file or directory of the form of taxonomy/*.yaml; may be given several times
    #[arg(long, value_name = "FILE")]
    pub mapping: Vec<PathBuf>,
    /// Processing pipeline for rules (pySigma's YAML), or a directory of them; may be given several times
    #[arg(long = "pipeline", value_name = "FILE")]
    pub pipelines: Vec<PathBuf>,
}

impl Extensions {
    /// Reads the mapping.
    pub fn taxonomy(&self) -> anyhow::Result<Taxonomy> {
        crate::rules::mapping(&self.mapping).map_err(|problem| anyhow::anyhow!("{problem}"))
    }

    /// Reads `rules` as the pipelines want them.
    pub fn rules(&self, rules: &[PathBuf]) -> anyhow::Result<crate::rules::Loaded> {
        let pipelines =
            crate::rules::pipelines(&self.pipelines).map_err(|problem| anyhow::anyhow!("{problem}"))?;
        crate::rules::read_with(rules, &pipelines)
    }
}

/// For finding out which of the engine's optimisations is wrong, if ever one is.
#[derive(Debug, Default, Args)]
pub struct EngineFlags {
    /// Optimisations to leave out; the answers must stay the same
    #[arg(long, hide = true, value_delimiter = ',', value_name = "NAME")]
    engine_without: Vec<String>,
}

impl EngineFlags {
    /// The engine's switches.
    pub fn options(&self) -> anyhow::Result<Options> {
        Options::without(&self.engine_without).map_err(|error| anyhow::anyhow!("--engine-without: {error}"))
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: anyhow::Error,
    /// What to do about it.
    pub hint: Option<String>,
    /// Exit code.
    pub code: u8,
}

impl Failure {
    /// Wrong use or unusable input: exit code 2.
    pub fn unusable(error: impl Into<anyhow::Error>) -> Failure {
        Failure { error: error.into(), hint: None, code: 2 }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

/// A failure while running: exit code 1.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure { error, hint: None, code: 1 }
    }
}

/// Runs the command.
pub fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(args),
        Command::Alerts(args) => {
            start_log(&OFFLINE_LOG);
            alerts::run(&args)
        }
        Command::Scan(args) => {
            start_log(&OFFLINE_LOG);
            scan::run(&args).map_err(Failure::unusable)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rules(args) => {
            start_log(&OFFLINE_LOG);
            let fine = rules::run(&args).map_err(Failure::unusable)?;
            Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Explain(args) => {
            start_log(&OFFLINE_LOG);
            explain::run(&args).map_err(Failure::unusable)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(command) => config::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "otel-log-ai", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl ConfigFile {
    /// Reads and checks the file; all that is wrong is in the error, a line each.
    pub fn read(&self) -> Result<crate::config::Config, Failure> {
        crate::config::Config::read(&self.config).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
            let failure = Failure::unusable(anyhow::anyhow!("{}", lines.join("\nerror: ")));
            match self.config.exists() {
                true => failure,
                false => {
                    failure.hint("`otel-log-ai config example > otel-log-ai.yaml` makes one to start from")
                }
            }
        })
    }
}

/// The log of commands without a configuration.
static OFFLINE_LOG: Log = Log { level: String::new(), json: false };

/// Starts our own log on standard error.
pub fn start_log(log: &Log) {
    start_log_with(log, std::io::stderr, None);
}

/// Starts our own log on `out`, which is standard error, and, if given, to a Collector.
fn start_log_with<W>(log: &Log, out: W, collector: Option<OtlpLayer>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A bare level is for us; the libraries below then only warn.
    let filter = match log.level.parse::<tracing::Level>() {
        Err(_) if log.level.is_empty() => EnvFilter::new("warn"),
        Ok(_) => EnvFilter::new(format!("warn,otel_log_ai={0},otel_log_ai_core={0}", log.level)),
        Err(_) => EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info")),
    };
    let text = tracing_subscriber::fmt::layer().with_writer(out);
    let text: Box<dyn Layer<_> + Send + Sync> = match log.json {
        true => Box::new(text.json().flatten_event(true)),
        false => Box::new(text.with_ansi(std::io::stderr().is_terminal()).with_target(false)),
    };
    // A second start in one process, as in tests, keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(text).with(collector).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}

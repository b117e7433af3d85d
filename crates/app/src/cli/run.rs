//! `run`: the service.

use super::bar::Bar;
use super::{ConfigFile, EngineFlags, Failure, start_log_with};
use crate::pipeline::{self, Hangup};
use crate::telemetry::otlp;
use anyhow::Context;
use std::process::ExitCode;
use tokio::sync::watch;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and SIGINT drain and stop; SIGHUP reloads the rules (so does a change on disk).
If OTEL_LOG_AI_STATS_FILE is set, statistics are written to that file every second, as JSON.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    engine: EngineFlags,
}

/// Runs until a signal.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    // Before anything that takes time: a SIGHUP in the midst of it shall not end the service.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let hangup = {
        let _within = runtime.enter();
        Hangup::listen()
    };
    let mut config = args.config.read()?;
    config.rules.engine = args.engine.options().map_err(Failure::unusable)?;
    let (layer, exporter) = match &config.telemetry {
        Some(settings) => otlp::prepare(settings).map(|(layer, exporter)| (Some(layer), Some(exporter)))?,
        None => (None, None),
    };
    let bar = Bar::beside_log(config.log.json);
    start_log_with(&config.log, bar.clone(), layer);
    let outcome = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(stopped)));
        let showing = tokio::spawn(bar.clone().follow());
        let outcome = pipeline::run(config, hangup).await;
        showing.abort();
        bar.clear();
        let _ = stop.send(true);
        if let Some(exporting) = exporting {
            let _ = exporting.await;
        }
        outcome
    });
    // A blocking call that hangs must not hold the process after the drain.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome.map(|()| ExitCode::SUCCESS)
}

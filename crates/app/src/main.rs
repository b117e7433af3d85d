//! `otel-log-ai`: Sigma detection on OpenTelemetry logs in ClickHouse, alerts to Keep.
//!
//! Parse, run, exit code; everything else is in the library beside it. Exit codes: 0 done, 1 a
//! failed check or a failure while running, 2 wrong use or unusable input.

use clap::Parser;
use otel_log_ai::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::dispatch(cli::Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {:#}", failure.error);
            if let Some(hint) = failure.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(failure.code)
        }
    }
}

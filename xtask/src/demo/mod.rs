//! `cargo xtask demo`: the whole way, for real: an embedded ClickHouse with SigNoz's tables, a simulated
//! estate writing to it, the service tailing it, alerts at a receiver that behaves as Keep does.
//!
//! It succeeds only if every planted attack arrived exactly once.

mod report;
mod service;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::estate::{Estate, Options};
use otel_log_ai_testkit::keep::Keep;
use otel_log_ai_testkit::libchdb;
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::Writer;

use service::{Service, Stats};

/// The newest layout: what SigNoz's main branch creates.
const LAYOUT: Layout = Layout::SignozCreatedAt;
/// How often the estate's rows are inserted.
const INSERT_EVERY: Duration = Duration::from_millis(250);
/// How long the service may take to start, and to catch up at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the last expected alert, so long is waited for ones that should not come.
const GRACE: Duration = Duration::from_secs(3);

/// Run the service on a simulated estate with planted attacks and report what it found.
#[derive(clap::Args)]
pub struct Arguments {
    /// Hosts of the estate
    #[arg(long, default_value_t = 50)]
    hosts: usize,
    /// Rows a second, of all hosts together
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// How long the estate works
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The same seed gives the same hosts, events and attacks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send the alerts to this Keep instead (base URL of its backend)
    #[arg(long, value_name = "URL")]
    keep: Option<String>,
    /// Environment variable that holds that Keep's API key
    #[arg(long, value_name = "NAME", requires = "keep")]
    keep_api_key_env: Option<String>,
    /// Use this `otel-log-ai` instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What was observed, for the report.
pub(crate) struct Run {
    pub(crate) inserted: u64,
    /// When the rows of planted attacks were inserted, by row id.
    pub(crate) inserted_at: HashMap<String, SystemTime>,
    pub(crate) elapsed: Duration,
    pub(crate) stats: Stats,
    pub(crate) clean_exit: bool,
}

/// Builds, runs and reports.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    libchdb::library().context("get the ClickHouse engine")?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => service::build()?,
    };
    let server = ClickHouse::start().context("start ClickHouse")?;
    schema::create(&server, LAYOUT, LAYOUT.database()).context("create SigNoz's tables")?;
    let keep = match arguments.keep {
        None => Some(Keep::start().context("start the Keep receiver")?),
        Some(_) => None,
    };
    let keep_url = match (&keep, &arguments.keep) {
        (Some(keep), _) => keep.url(),
        (None, url) => url.clone().unwrap_or_default(),
    };
    let directory =
        tempfile::Builder::new().prefix("otel-log-ai-demo-").tempdir().context("make a directory")?;
    let config = service::Config {
        clickhouse_url: server.url(),
        keep_url,
        api_key_env: arguments.keep_api_key_env.clone(),
    };
    let mut service = Service::start(&binary, directory.path(), &config)?;
    let observed = match drive(arguments, &server, &mut service, keep.as_ref()) {
        Ok(observed) => observed,
        Err(error) => {
            eprintln!("{}", service.last_log_lines());
            return Err(error);
        }
    };
    let (run, estate) = observed;
    let good = match &keep {
        Some(keep) => report::judge(&run, estate.planted(), &keep.received()),
        None => report::sent_elsewhere(&run, estate.planted()),
    };
    if !good {
        eprintln!("{}", service.last_log_lines());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn drive(
    arguments: &Arguments,
    server: &ClickHouse,
    service: &mut Service,
    keep: Option<&Keep>,
) -> Result<(Run, Estate)> {
    service.wait_until_ready(PATIENCE)?;
    let start_ns = u64::try_from(jiff::Timestamp::now().as_nanosecond()).context("read the clock")?;
    let duration = Duration::from_secs(arguments.seconds);
    let mut estate = Estate::new(Options {
        seed: arguments.seed,
        hosts: arguments.hosts,
        rate: arguments.rate,
        start_ns,
        duration,
    });
    println!(
        "{} hosts, {} rows/s for {} s, {} detections planted",
        estate.hosts(),
        arguments.rate,
        arguments.seconds,
        estate.planted().len()
    );
    let mut writer = Writer::new(server, LAYOUT, LAYOUT.database());
    let mut inserted_at = HashMap::new();
    let (mut inserted, started) = (0, Instant::now());
    let show = Progress::new(duration);
    loop {
        let over = started.elapsed() >= duration;
        let now_ns = if over { u64::MAX } else { start_ns + nanos(started.elapsed()) };
        let rows = estate.rows_until(now_ns);
        let at = SystemTime::now();
        writer.write(&rows)?;
        inserted += rows.len() as u64;
        for planted in estate.planted() {
            if rows.iter().any(|row| row.id == planted.row_id) {
                inserted_at.insert(planted.row_id.clone(), at);
            }
        }
        service.check_alive()?;
        show.update(started.elapsed(), inserted, &service.stats(), keep);
        if over {
            break;
        }
        std::thread::sleep(INSERT_EVERY);
    }
    catch_up(service, keep, inserted, estate.planted().len(), &show, started)?;
    let elapsed = started.elapsed();
    std::thread::sleep(GRACE);
    show.finish();
    let clean_exit = service.stop(PATIENCE)?;
    let run = Run { inserted, inserted_at, elapsed, stats: service.stats(), clean_exit };
    Ok((run, estate))
}

/// Waits until every row is scanned and as many alerts as were planted have come, or patience ends.
fn catch_up(
    service: &mut Service,
    keep: Option<&Keep>,
    inserted: u64,
    planted: usize,
    show: &Progress,
    started: Instant,
) -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let stats = service.stats();
        let arrived = keep.map_or(stats.alerts_delivered as usize, |keep| keep.alerts().len());
        if stats.rows >= inserted && arrived >= planted {
            return Ok(());
        }
        service.check_alive()?;
        show.update(started.elapsed(), inserted, &stats, keep);
        std::thread::sleep(Duration::from_millis(200));
    }
    // Not an error here: the report says what is missing.
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A bar on a terminal, a line every five seconds elsewhere.
struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
    printed_s: std::cell::Cell<u64>,
}

impl Progress {
    fn new(duration: Duration) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new(duration.as_secs()) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}") {
            bar.set_style(style);
        }
        Self { bar, on_terminal, printed_s: std::cell::Cell::new(0) }
    }

    fn update(&self, elapsed: Duration, inserted: u64, stats: &Stats, keep: Option<&Keep>) {
        let arrived = keep.map_or(stats.alerts_delivered, |keep| keep.alerts().len() as u64);
        let text = format!(
            "inserted {inserted}, scanned {}, detections {}, alerts {arrived}",
            stats.rows, stats.detections
        );
        let seconds = elapsed.as_secs();
        self.bar.set_position(seconds);
        if !self.on_terminal && seconds >= self.printed_s.get() + 5 {
            self.printed_s.set(seconds);
            println!("{seconds} s: {text}");
        }
        self.bar.set_message(text);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

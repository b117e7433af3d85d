//! `alerts list|retry|drop`: what waits for delivery and what was given up, and what to do with it.
//!
//! Works on the state file, beside the running service or without it. The service looks into its
//! queues every second, so nothing must be told to it.

use super::{ConfigFile, Failure, output};
use crate::store::{DeadLetter, Queued, Store, StoreSettings};
use anyhow::{Context, bail, ensure};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most alerts that `retry` and `drop` look at; there are fewer by the store's own limits.
const ALERTS_MAX: usize = 1_000_000;
/// Fewest characters of an id that name an alert.
const ID_MIN: usize = 6;

/// Look at alerts that wait for delivery or were given up.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what waits and what was given up, the newest dead letters first
    List {
        #[command(flatten)]
        place: Place,
        /// At most so many of each
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// How to print
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Put dead letters back into the queue; the bytes stay the same
    ///
    /// One is left alone if a newer word on the same alert waits or was delivered since.
    Retry {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// Remove dead letters, or with --waiting alerts that wait, for good
    Drop {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// Alerts that wait for delivery instead of dead letters
        #[arg(long)]
        waiting: bool,
    },
}

/// Where the state is, and which target is meant.
#[derive(Debug, ClapArgs)]
struct Place {
    #[command(flatten)]
    config: ConfigFile,
    /// State file, where the configuration is not to be read
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Only of this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

#[derive(Debug, ClapArgs)]
struct Which {
    /// Ids as `list` shows them, or beginnings of them
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON object a line
    Ndjson,
    /// For people
    Table,
}

/// One alert, as it is listed.
#[derive(Debug, Serialize)]
struct Entry {
    /// `waiting` or `dead`.
    state: &'static str,
    target: String,
    id: String,
    fingerprint: String,
    name: String,
    host: String,
    status: String,
    severity: String,
    match_count: u64,
    queued_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    died_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut out = BufWriter::new(io::stdout());
    let done = match &args.command {
        Command::List { place, limit, output } => list(&mut place.open()?, place, *limit, *output, &mut out),
        Command::Retry { place, which } => retry(&mut place.open()?, place, which, &mut out),
        Command::Drop { place, which, waiting } => {
            drop_alerts(&mut place.open()?, place, which, *waiting, &mut out)
        }
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Err(error) if output::reader_left(&error) => Ok(ExitCode::SUCCESS),
        done => done.map(|()| ExitCode::SUCCESS).map_err(Failure::from),
    }
}

impl Place {
    fn open(&self) -> Result<Store, Failure> {
        let (path, targets) = match &self.state {
            Some(path) => (path.clone(), Vec::new()),
            None => {
                let config = self.config.read()?;
                let targets = config.target_names();
                (config.state_path, targets)
            }
        };
        Store::visit(StoreSettings { targets, ..StoreSettings::new(path) }).map_err(Failure::unusable)
    }

    fn wants(&self, target: &str) -> bool {
        self.target.as_deref().is_none_or(|wanted| wanted == target)
    }
}

fn list(
    store: &mut Store,
    place: &Place,
    limit: usize,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let waiting = store.waiting(ALERTS_MAX)?.into_iter().filter(|item| place.wants(&item.target));
    let dead = store.dead_letters(ALERTS_MAX)?.into_iter().filter(|letter| place.wants(&letter.target));
    let entries: Vec<Entry> =
        waiting.take(limit).map(of_queue).chain(dead.take(limit).map(of_letter)).collect();
    if output == Output::Ndjson {
        for entry in &entries {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
        }
        return Ok(());
    }
    if !entries.is_empty() {
        let rows: Vec<[String; 7]> = entries.iter().map(row).collect();
        let head = ["STATE", "TARGET", "ID", "SINCE", "NAME", "HOST", "REASON"];
        output::table(out, head, &rows)?;
        writeln!(out)?;
    }
    for depth in store.depths()?.iter().filter(|depth| place.wants(&depth.target)) {
        writeln!(out, "{}: {} wait, {} given up", depth.target, depth.queued, depth.dead)?;
    }
    Ok(())
}

fn row(entry: &Entry) -> [String; 7] {
    let since = entry.died_at.as_ref().unwrap_or(&entry.queued_at);
    [
        entry.state.to_owned(),
        output::line(&entry.target, 32),
        entry.id.clone(),
        since.clone(),
        output::line(&entry.name, 50),
        output::line(&entry.host, 30),
        output::line(entry.reason.as_deref().unwrap_or_default(), 100),
    ]
}

fn of_queue(item: Queued) -> Entry {
    entry("waiting", item.target, item.id, item.fingerprint, item.queued_at_ms, &item.payload)
}

fn of_letter(letter: DeadLetter) -> Entry {
    let died_at = Some(time(letter.died_at_ms));
    let of =
        entry("dead", letter.target, letter.id, letter.fingerprint, letter.queued_at_ms, &letter.payload);
    Entry { died_at, reason: Some(letter.reason), ..of }
}

fn entry(
    state: &'static str,
    target: String,
    id: String,
    fingerprint: String,
    queued_at_ms: i64,
    payload: &[u8],
) -> Entry {
    let alert: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    Entry {
        state,
        target,
        id,
        fingerprint,
        name: text("name"),
        host: text("host"),
        status: text("status"),
        severity: text("severity"),
        match_count: alert["match_count"].as_u64().unwrap_or(0),
        queued_at: time(queued_at_ms),
        died_at: None,
        reason: None,
    }
}

fn time(ms: i64) -> String {
    output::time(u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000))
}

fn retry(store: &mut Store, place: &Place, which: &Which, out: &mut impl Write) -> anyhow::Result<()> {
    let letters = chosen(&dead(store, place)?, which, "dead letter")?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    let retried = store.retry_dead(&letters, i64::try_from(since.as_millis()).unwrap_or(i64::MAX))?;
    writeln!(out, "{} put back into the queue", retried.queued)?;
    if retried.superseded > 0 {
        writeln!(out, "{} left: a newer word on the same alert waits or was delivered", retried.superseded)?;
    }
    Ok(())
}

fn drop_alerts(
    store: &mut Store,
    place: &Place,
    which: &Which,
    waiting: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let dropped = match waiting {
        false => {
            let letters = chosen(&dead(store, place)?, which, "dead letter")?;
            store.drop_dead(&letters)?
        }
        true => {
            let items = store.waiting(ALERTS_MAX)?.into_iter().filter(|item| place.wants(&item.target));
            let items: Vec<(i64, String)> = items.map(|item| (item.seq, item.id)).collect();
            store.drop_waiting(&chosen(&items, which, "waiting alert")?)?
        }
    };
    writeln!(out, "{dropped} removed")?;
    Ok(())
}

/// Place and id of the dead letters that are meant.
fn dead(store: &Store, place: &Place) -> anyhow::Result<Vec<(i64, String)>> {
    let letters = store.dead_letters(ALERTS_MAX)?.into_iter().filter(|letter| place.wants(&letter.target));
    Ok(letters.map(|letter| (letter.seq, letter.id)).collect())
}

/// The places of those that `which` names. One id may stand for several: the same alert for several
/// targets, or given up several times.
fn chosen(all: &[(i64, String)], which: &Which, what: &str) -> anyhow::Result<Vec<i64>> {
    if which.all {
        return Ok(all.iter().map(|(seq, _)| *seq).collect());
    }
    let mut places = Vec::new();
    for id in &which.ids {
        ensure!(id.len() >= ID_MIN, "`{id}` is too short: give at least {ID_MIN} characters of the id");
        let before = places.len();
        places.extend(all.iter().filter(|(_, known)| known.starts_with(id.as_str())).map(|(seq, _)| *seq));
        if places.len() == before {
            bail!("there is no {what} `{id}`: `otel-log-ai alerts list` shows the ids");
        }
    }
    Ok(places)
}

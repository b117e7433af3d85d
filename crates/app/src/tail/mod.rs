//! What is new in the log table: batches of rows, in the order of insertion, late rows included.
//!
//! Nothing is consumed until the caller has committed a batch's position together with the batch's
//! results; opening with the saved position goes on exactly there. Where the table has parts
//! (MergeTree, or Distributed over it), `parts` reads by the `ledger` of parts and no row is
//! missed or doubled; elsewhere (a view) `by_time` looks at a window of event time, and rows later
//! than the window are missed.

mod by_time;
mod insert;
mod ledger;
mod minutes;
mod mixed;
mod part;
mod parts;
mod position;
mod progress;
mod sieve;
mod sql;
mod table;

pub use progress::{Backlog, backlog};

use crate::clickhouse::{Client, Fault, Kind, Layout, Rows, is_other_table};
use crate::config::{self, Start};
use crate::events::Event;
use by_time::Looks;
use otel_log_ai_core::otel::LogRecord;
use position::Position;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes of one batch on the wire (uncompressed). With more, fewer rows are taken at a time.
const BATCH_BYTES_MAX: usize = 64 << 20;
/// How often a row that cannot be read is tried before it is passed over.
const ROW_ATTEMPTS: u32 = 5;
/// Most new rows noted of one mixed part, 24 bytes each.
const MIXED_ROWS_MAX: usize = 4_000_000;
/// How late a row of a table may be that is not read by parts.
pub const WINDOW: Duration = by_time::WINDOW;

/// Rows, and the position after them.
#[derive(Debug)]
pub struct Batch {
    rows: Rows,
    /// To be committed with the results of this batch; opaque.
    pub position: String,
    /// Event time of the oldest row, nanoseconds since the epoch; 0 without rows.
    pub oldest_ns: u64,
    /// Event time of the newest row, nanoseconds since the epoch; 0 without rows.
    pub newest_ns: u64,
}

impl Batch {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The record of a row.
    pub fn record(&self, index: usize) -> LogRecord<'_> {
        self.rows.record(index)
    }

    /// Makes `record` the one of a row, see [`Rows::read`].
    pub fn read<'r>(&'r self, index: usize, record: &mut LogRecord<'r>) {
        self.rows.read(index, record);
    }

    /// A number for the insert that a row came with; `None` where that cannot be told.
    pub fn insert(&self, index: usize) -> Option<u64> {
        let row = &self.rows.rows()[index];
        let is_observed = self.rows.record(index).observed_ns > 0;
        insert::insert_of(row.shard, self.rows.part(row), is_observed)
    }

    fn new(rows: Rows, position: String) -> Batch {
        let cut = rows.rows().iter().filter(|row| row.body_bytes > row.body_bytes_read);
        let longest = cut.clone().map(|row| row.body_bytes).max();
        if let Some(longest) = longest {
            Event::BodiesCut { rows: cut.count() as u64, longest_bytes: longest }.emit();
        }
        let times = rows.rows().iter().map(|row| row.timestamp_ns);
        let (oldest_ns, newest_ns) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        Batch { rows, position, oldest_ns, newest_ns }
    }
}

/// The source of batches.
#[derive(Debug)]
pub struct Tail {
    reader: Reader,
}

/// How the table is read.
#[derive(Debug)]
enum Reader {
    Parts(parts::Parts<sql::Sql>),
    ByTime(by_time::ByTime),
}

impl Tail {
    /// Opens at `saved` or, without it, where `config` says.
    pub async fn open(
        client: Arc<Client>,
        layout: Layout,
        config: &config::ClickHouse,
        saved: Option<&str>,
    ) -> anyhow::Result<Tail> {
        let (start, batch_rows) = (config.start, config.batch_rows);
        let saved = match saved.map(Position::from_json).transpose()? {
            Some(position) if position.table != layout.name => {
                Event::OtherTable { saved: &position.table, now: &layout.name }.emit();
                None
            }
            Some(position) if position.scan.is_some() == layout.has_parts => {
                Event::OtherTable { saved: "the same table, read another way", now: &layout.name }.emit();
                None
            }
            other => other,
        };
        let reader = match layout.has_parts {
            true => {
                let is_first = saved.is_none();
                let is =
                    Is { name: &layout.name, identity: &layout.identity, share: layout.share.to_string() };
                let position = at(&is, start, saved, now_ns());
                let keys_max =
                    if layout.keeps_blocks { ledger::KEYS_WITH_BLOCKS_MAX } else { ledger::KEYS_MAX };
                let catch_up = config.catch_up;
                let options =
                    parts::Options { batch_rows, catch_up, keys_max, mixed_rows_max: MIXED_ROWS_MAX };
                let table = sql::Sql::new(client, layout);
                Reader::Parts(parts::Parts::open(table, start, options, position, is_first).await?)
            }
            false => {
                let looks = Looks::default();
                Event::NoParts { table: &layout.name, engine: &layout.engine, window: looks.window }.emit();
                let opened = by_time::ByTime::open(client, layout, start, batch_rows, looks, saved);
                Reader::ByTime(opened.await?)
            }
        };
        Ok(Tail { reader })
    }

    /// The next batch, after a bounded number of questions: it may be empty, with a position that moved on.
    /// `None` if there is nothing new. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Batch>, Fault> {
        match &mut self.reader {
            Reader::Parts(parts) => parts.next().await,
            Reader::ByTime(scan) => scan.next().await,
        }
    }

    /// The position after the last batch, to be committed once after opening: `start: now` means
    /// the first start, not each one until something arrives.
    pub fn position(&self) -> String {
        match &self.reader {
            Reader::Parts(parts) => parts.position(),
            Reader::ByTime(scan) => scan.position(),
        }
    }
}

/// What is done after an answer that was too big or unreadable.
enum Retreat {
    /// Fewer rows are taken.
    Smaller,
    /// The single row at hand is passed over: it had its chances.
    PassOver(Fault),
}

/// Takes fewer of `slice_rows` after an answer that was too big or unreadable; a single row gets some
/// chances, counted in `row_failures`. Any other fault, and one that still has chances, comes back.
fn retreat(fault: Fault, slice_rows: &mut u64, row_failures: &mut u32) -> Result<Retreat, Fault> {
    if !matches!(fault.kind, Kind::TooBig | Kind::TooSlow | Kind::Garbled) {
        return Err(fault);
    }
    if *slice_rows > 1 {
        *slice_rows = (*slice_rows / 8).max(1);
        return Ok(Retreat::Smaller);
    }
    // The server is slow now; no row is to blame.
    if fault.kind == Kind::TooSlow {
        return Err(fault);
    }
    *row_failures += 1;
    if *row_failures < ROW_ATTEMPTS {
        return Err(fault);
    }
    *row_failures = 0;
    Ok(Retreat::PassOver(fault))
}

/// What a position is about.
struct Is<'a> {
    /// Database and table.
    name: &'a str,
    /// Tells the table from another of its name; empty if nothing does.
    identity: &'a str,
    /// Which share of the rows.
    share: String,
}

/// The position to go on from: `saved`, unless it is about another table or another share.
fn at(is: &Is<'_>, start: Start, saved: Option<Position>, now_ns: u64) -> Position {
    let since_ns = if let Start::At(ns) = start { ns } else { 0 };
    let mut position = saved.unwrap_or_else(|| Position::start(is.name, since_ns, now_ns));
    if is_other_table(&position.identity, is.identity) {
        Event::TableCreatedAnew { table: is.name }.emit();
        // All its rows are new.
        position = Position::start(is.name, position.since_ns, now_ns);
    }
    position.identity = is.identity.to_string();
    let share = is.share.clone();
    if position.share.is_empty() {
        // Positions of earlier versions are about everything.
        position.share = config::Share::default().to_string();
    }
    if position.share != share {
        if !position.ledger.is_empty() {
            Event::ShareChanged { saved: &position.share, now: &share }.emit();
        }
        position.share_anew(share);
    }
    position
}

/// The clock, nanoseconds since the epoch.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

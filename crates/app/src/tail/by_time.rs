//! Reads a table without parts (a view): by event time, again and again over an overlap, with the
//! keys of what was seen. A row that comes later than the overlap is missed; this is announced when
//! the table is opened.

use super::position::{Position, Scan};
use super::sieve::Sieve;
use super::{BATCH_BYTES_MAX, Batch, now_ns};
use crate::clickhouse::{Client, Fault, Kind, Layout, Reader, Rows};
use crate::config::Start;
use crate::events::{COUNTERS, Event, add};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far behind the newest row a row may arrive.
pub const OVERLAP: Duration = Duration::from_secs(300);
/// Least time between two scans of the overlap, which cost more than listing parts.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// Most rows looked at by one scan, 24 bytes each. Reaching it shortens the overlap.
const SCAN_ROWS_MAX: u64 = 2_000_000;
/// Most rows fetched by key in one query: bounds its text to some 100 KB.
const KEYS_PER_READ_MAX: usize = 5_000;

/// The reader.
#[derive(Debug)]
pub struct ByTime {
    client: Arc<Client>,
    layout: Layout,
    position: Position,
    slice_rows: usize,
    scanned: Option<Instant>,
    /// New rows that wait to be fetched: event time and key, oldest first.
    pending: VecDeque<(u64, u64)>,
}

impl ByTime {
    /// Opens at `saved` or where `start` says.
    pub async fn open(
        client: Arc<Client>,
        layout: Layout,
        start: Start,
        batch_rows: u64,
        saved: Option<Position>,
    ) -> Result<ByTime, Fault> {
        let position = saved.unwrap_or_else(|| {
            let now_ns = now_ns();
            let since_ns = match start {
                Start::Now => now_ns,
                Start::Beginning => 0,
                Start::At(ns) => ns,
            };
            let scan = Some(Scan { through_ns: since_ns, seen: Vec::new() });
            Position { scan, ..Position::start(&layout.name, since_ns, now_ns) }
        });
        let slice_rows = (batch_rows as usize).min(KEYS_PER_READ_MAX);
        Ok(ByTime { client, layout, position, slice_rows, scanned: None, pending: VecDeque::new() })
    }

    /// The position after the last batch.
    pub fn position(&self) -> String {
        self.position.to_json()
    }

    /// The next batch.
    pub async fn next(&mut self) -> Result<Option<Batch>, Fault> {
        if self.pending.is_empty() {
            if self.scanned.is_some_and(|at| at.elapsed() < SCAN_INTERVAL) {
                return Ok(None);
            }
            self.pending = self.scan().await?.into();
            self.scanned = Some(Instant::now());
        }
        let count = self.slice_rows.min(self.pending.len());
        if count == 0 {
            return Ok(None);
        }
        let wanted: Vec<(u64, u64)> = self.pending.iter().take(count).copied().collect();
        let rows = match self.fetch(&wanted).await {
            Err(fault) if fault.kind == Kind::TooBig && self.slice_rows > 1 => {
                self.slice_rows = (self.slice_rows / 8).max(1);
                return Ok(None);
            }
            other => other?,
        };
        self.slice_rows = (self.slice_rows * 2).min(KEYS_PER_READ_MAX);
        self.pending.drain(..count);
        self.consume(wanted);
        Ok(Some(Batch::new(rows, self.position.to_json())))
    }

    /// The rows of the overlap that were not seen, oldest first.
    async fn scan(&self) -> Result<Vec<(u64, u64)>, Fault> {
        let Some(Scan { through_ns, seen }) = &self.position.scan else { return Ok(Vec::new()) };
        let from_ns = through_ns.saturating_sub(OVERLAP.as_nanos() as u64).max(self.position.since_ns);
        let sql = format!(
            "SELECT {} AS time, {} FROM {} WHERE {} ORDER BY time LIMIT {SCAN_ROWS_MAX}",
            self.layout.time(),
            self.layout.key(),
            self.layout.table,
            self.layout.since(from_ns)
        );
        let bytes = self.client.small(&sql).await?;
        let mut known: Vec<u64> = seen.iter().map(|(_, key)| *key).collect();
        known.sort_unstable();
        let mut sieve = Sieve::new(known);
        let mut reader = Reader::new(&bytes);
        let mut new = Vec::new();
        let mut read = 0;
        while !reader.is_empty() {
            let (time_ns, key) = (reader.u64()?, reader.u64()?);
            read += 1;
            if sieve.is_new(key) {
                new.push((time_ns, key));
            }
        }
        if read == SCAN_ROWS_MAX {
            Event::ScanBound { table: &self.layout.name, rows: SCAN_ROWS_MAX }.emit();
        }
        Ok(new)
    }

    /// The rows of `wanted`, which are in the order of time; rows that are gone are not waited for.
    async fn fetch(&self, wanted: &[(u64, u64)]) -> Result<Rows, Fault> {
        let (Some((from_ns, _)), Some((to_ns, _))) = (wanted.first(), wanted.last()) else {
            return Ok(Rows::default());
        };
        let keys: Vec<String> = wanted.iter().map(|(_, key)| key.to_string()).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND {} <= {to_ns} AND {} IN ({})",
            self.layout.select_list(),
            self.layout.table,
            self.layout.since(*from_ns),
            self.layout.time(),
            self.layout.key(),
            keys.join(",")
        );
        let bytes = self.client.bytes(&sql, BATCH_BYTES_MAX).await?;
        add(&COUNTERS.read_bytes, bytes.len() as u64);
        let mut rows = Rows::decode(bytes)?;
        add(&COUNTERS.bodies_read, rows.len() as u64);
        let mut left: HashMap<u64, usize> = HashMap::new();
        for (_, key) in wanted {
            *left.entry(*key).or_default() += 1;
        }
        rows.sort_by_key(|_, row| (row.timestamp_ns, row.key));
        rows.retain(|row| match left.get_mut(&row.key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        });
        Ok(rows)
    }

    fn consume(&mut self, rows: Vec<(u64, u64)>) {
        // A row dated in the future must not push the overlap beyond what is still to come.
        let newest_ns = rows.iter().map(|(time_ns, _)| *time_ns).max().unwrap_or(0).min(now_ns());
        let scan = self.position.scan.get_or_insert_default();
        scan.through_ns = scan.through_ns.max(newest_ns);
        scan.seen.extend(rows);
        let oldest_ns = scan.through_ns.saturating_sub(OVERLAP.as_nanos() as u64);
        scan.seen.retain(|(time_ns, _)| *time_ns >= oldest_ns);
    }
}

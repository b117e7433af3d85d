//! Reads a table without parts (a view, an engine whose parts are not proven) by event time.
//!
//! Rows of a window of event time are counted again and again by half minutes, which costs ClickHouse
//! one column; where there are more than were consumed, the keys of that half minute are read, and
//! then the rows that are new. A row that comes later than the window is missed: this is announced
//! when the table is opened. Where the keys of consumed rows are forgotten, all rows of the half
//! minute are read again; detections on them are known by their content.

mod buckets;
#[cfg(test)]
mod tests;

pub use buckets::Scan;

use super::position::Position;
use super::sieve::Sieve;
use super::{BATCH_BYTES_MAX, Batch, Retreat, now_ns, retreat};
use crate::clickhouse::{Client, Fault, Kind, Layout, Reader, Rows};
use crate::config::Start;
use crate::events::{COUNTERS, Event, add};
use crate::telemetry::metrics::METRICS;
use buckets::{BUCKET_NS, Buckets, Grown};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How late a row may be.
pub const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How often which part of the table is looked at.
#[derive(Debug, Clone)]
pub struct Looks {
    /// Least time between two looks, which cost more than listing parts.
    pub interval: Duration,
    /// What every look covers, back from the newest row.
    pub overlap: Duration,
    /// Least time between two looks at the whole window.
    pub sweep_interval: Duration,
    /// What those cover.
    pub window: Duration,
    /// Most keys read at a time, 16 bytes each.
    pub keys_max: usize,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks {
            interval: Duration::from_secs(2),
            overlap: Duration::from_secs(15 * 60),
            sweep_interval: Duration::from_secs(10 * 60),
            window: WINDOW,
            keys_max: 1_000_000,
        }
    }
}

/// Most half minutes of one look: 17 days that are caught up with, 16 bytes each.
const BUCKETS_MAX: usize = 50_000;
/// Most half minutes whose keys are read by one query: bounds its text.
const BUCKETS_PER_READ_MAX: usize = 500;
/// Most rows fetched by key in one query: bounds its text to some 100 KB.
const KEYS_PER_READ_MAX: u64 = 5_000;
/// How far the clocks of ClickHouse, a Collector and this machine may be apart.
const CLOCKS_NS: u64 = 120 * 1_000_000_000;

/// The reader.
#[derive(Debug)]
pub struct ByTime {
    client: Arc<Client>,
    layout: Layout,
    position: Position,
    looks: Looks,
    slice_rows: u64,
    /// Keys read at a time: [`Looks::keys_max`], less after a query that went over its limits.
    group_rows: usize,
    /// Failures in a row of the single row at the front.
    row_failures: u32,
    looked: Option<Instant>,
    swept: Option<Instant>,
    /// When the look at the whole window began that is being consumed, by our clock.
    sweep_began_ns: Option<u64>,
    through_ns: u64,
    buckets: Buckets,
    /// Half minutes with new rows, oldest first.
    grown: VecDeque<Grown>,
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
        looks: Looks,
        saved: Option<Position>,
    ) -> Result<ByTime, Fault> {
        let position = saved.unwrap_or_else(|| {
            let now_ns = now_ns();
            let since_ns = match start {
                Start::Now => now_ns,
                Start::Beginning => 0,
                Start::At(ns) => ns,
            };
            let scan = Some(Scan { through_ns: since_ns, ..Scan::default() });
            Position { scan, ..Position::start(&layout.name, since_ns, now_ns) }
        });
        let scan = position.scan.as_ref();
        let buckets = scan.map(Buckets::restore).unwrap_or_default();
        let through_ns = scan.map_or(0, |scan| scan.through_ns);
        let slice_rows = batch_rows.min(KEYS_PER_READ_MAX);
        Ok(ByTime {
            client,
            layout,
            position,
            group_rows: looks.keys_max,
            looks,
            slice_rows,
            row_failures: 0,
            looked: None,
            swept: None,
            sweep_began_ns: None,
            through_ns,
            buckets,
            grown: VecDeque::new(),
            pending: VecDeque::new(),
        })
    }

    /// The position after the last batch.
    pub fn position(&self) -> String {
        self.position.to_json()
    }

    /// The next batch.
    pub async fn next(&mut self) -> Result<Option<Batch>, Fault> {
        loop {
            if !self.pending.is_empty() {
                return self.deliver().await;
            }
            if self.grown.is_empty() {
                if self.looked.is_some_and(|at| at.elapsed() < self.looks.interval) {
                    return Ok(None);
                }
                self.look().await?;
                self.note();
                if self.grown.is_empty() {
                    return Ok(None);
                }
            }
            self.find_new().await?;
        }
    }

    /// Counts the rows of the overlap, or of the whole window when it is time: also at the start,
    /// because rows may have come late while we were away.
    async fn look(&mut self) -> Result<(), Fault> {
        let began = (Instant::now(), now_ns());
        let is_sweep = self.swept.is_none_or(|at| at.elapsed() >= self.looks.sweep_interval);
        let back = if is_sweep { self.looks.window } else { self.looks.overlap };
        let from = self.through_ns.saturating_sub(back.as_nanos() as u64) / BUCKET_NS;
        self.buckets.forget_before(self.oldest_kept());
        let sql = format!(
            "SELECT toUInt64(intDiv({}, {BUCKET_NS})) AS bucket, count() FROM {} WHERE {} \
             GROUP BY bucket ORDER BY bucket LIMIT {BUCKETS_MAX}",
            self.layout.time(),
            self.layout.table,
            self.condition(from),
        );
        let bytes = self.client.small(&sql).await?;
        let mut reader = Reader::new(&bytes);
        let mut listed = Vec::new();
        while !reader.is_empty() {
            listed.push(Grown { bucket: reader.u64()?, rows: reader.u64()? });
        }
        if let Some(newest) = listed.last() {
            // A row dated in the future must not push the overlap beyond what is still to come, unless
            // there is so much of it that nothing else is left to be listed.
            let end_ns = (newest.bucket + 1).saturating_mul(BUCKET_NS);
            let is_cut = listed.len() == BUCKETS_MAX;
            self.through_ns = self.through_ns.max(if is_cut { end_ns } else { end_ns.min(began.1) });
            if is_cut {
                Event::ScanBound { table: &self.layout.name, buckets: BUCKETS_MAX }.emit();
            }
        }
        self.grown = self.buckets.grown(&listed).into();
        self.looked = Some(began.0);
        if is_sweep {
            self.swept = Some(began.0);
            self.sweep_began_ns = Some(began.1);
        }
        self.tell_backlog();
        Ok(())
    }

    /// The first bucket of which counts are kept.
    fn oldest_kept(&self) -> u64 {
        let scan_ns = self.position.scan.as_ref().map_or(0, |scan| scan.through_ns);
        scan_ns.saturating_sub(self.looks.window.as_nanos() as u64) / BUCKET_NS
    }

    /// On rows from the start of this bucket on, of those that are wanted at all.
    fn condition(&self, from_bucket: u64) -> String {
        let from_ns = from_bucket.saturating_mul(BUCKET_NS).max(self.position.since_ns);
        let mut condition = self.layout.since(from_ns);
        let ours = [self.layout.share_condition(), self.layout.shard_condition()];
        for part in ours.into_iter().flatten() {
            condition += &format!(" AND {part}");
        }
        condition
    }

    /// Finds the new rows of the next half minutes with any.
    async fn find_new(&mut self) -> Result<(), Fault> {
        self.grown.retain(|grown| grown.rows > self.buckets.rows(grown.bucket));
        let mut rows = 0;
        let mut group: Vec<Grown> = Vec::new();
        for grown in self.grown.iter().take(BUCKETS_PER_READ_MAX) {
            rows += grown.rows as usize;
            if rows > self.group_rows && !group.is_empty() {
                break;
            }
            group.push(*grown);
        }
        match self.find_in(&group).await {
            Ok(is_whole) => {
                // Half minutes of which more is new than was noted stay for the next time.
                self.grown.drain(..if is_whole { group.len() } else { 0 });
                self.group_rows = (self.group_rows * 2).min(self.looks.keys_max);
            }
            Err(fault) if matches!(fault.kind, Kind::TooBig | Kind::TooSlow) && group.len() > 1 => {
                self.group_rows = (self.group_rows / 8).max(1);
                self.pending.clear();
            }
            Err(fault) => {
                self.pending.clear();
                return Err(fault);
            }
        }
        self.pending.make_contiguous().sort_unstable();
        if self.pending.is_empty() {
            self.note();
        }
        Ok(())
    }

    /// Notes the new rows of these half minutes; `false` if there are more of them.
    async fn find_in(&mut self, group: &[Grown]) -> Result<bool, Fault> {
        let mut known: BTreeMap<u64, Sieve> = BTreeMap::new();
        for grown in group {
            match self.buckets.keys(grown.bucket) {
                Some(keys) => drop(known.insert(grown.bucket, Sieve::new(keys))),
                None => self.recall(*grown).await?,
            }
        }
        self.find_by_keys(&mut known).await
    }

    /// Finds new rows of a half minute where the keys of consumed ones are forgotten: by the time of
    /// insertion if it explains all of them, else all rows are taken for new.
    async fn recall(&mut self, grown: Grown) -> Result<(), Fault> {
        let consumed = self.buckets.rows(grown.bucket);
        let swept_ns = self.position.scan.as_ref().map_or(0, |scan| scan.swept_ns);
        let inserted = self.layout.inserted_since(swept_ns.saturating_sub(CLOCKS_NS));
        if let Some(inserted) = inserted.filter(|_| swept_ns > 0) {
            let (mut new, wanted) = (Vec::new(), grown.rows.saturating_sub(consumed));
            self.keys(&[grown.bucket], &format!(" AND {inserted}"), |row| new.push(row)).await?;
            if new.len() as u64 == wanted {
                self.pending.extend(new);
                return Ok(());
            }
        }
        let part = format!("half minute {}", grown.bucket);
        Event::RowsUncertain { part: &part, rows: grown.rows, forgotten: consumed }.emit();
        self.buckets.start_over(grown.bucket);
        let mut all = BTreeMap::from([(grown.bucket, Sieve::new(Vec::new()))]);
        self.find_by_keys(&mut all).await.map(drop)
    }

    /// Notes the rows that pass the sieves of their half minutes; `false` if there are more of them.
    async fn find_by_keys(&mut self, known: &mut BTreeMap<u64, Sieve>) -> Result<bool, Fault> {
        if known.is_empty() {
            return Ok(true);
        }
        let buckets: Vec<u64> = known.keys().copied().collect();
        let (mut new, mut is_whole) = (Vec::new(), true);
        let max = self.looks.keys_max;
        self.keys(&buckets, "", |row| {
            if known.get_mut(&(row.0 / BUCKET_NS)).is_some_and(|sieve| sieve.is_new(row.1)) {
                match new.len() < max {
                    true => new.push(row),
                    false => is_whole = false,
                }
            }
        })
        .await?;
        self.pending.extend(new);
        Ok(is_whole)
    }

    /// Event time and key of all rows of these half minutes, which are in order.
    async fn keys(&self, buckets: &[u64], more: &str, mut each: impl FnMut((u64, u64))) -> Result<(), Fault> {
        let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return Ok(()) };
        let list: Vec<String> = buckets.iter().map(u64::to_string).collect();
        let time = self.layout.time();
        let sql = format!(
            "SELECT {time}, {} FROM {} WHERE {} AND {time} < {} AND intDiv({time}, {BUCKET_NS}) IN ({}){more}",
            self.layout.key(),
            self.layout.table,
            self.condition(*first),
            (last + 1).saturating_mul(BUCKET_NS),
            list.join(",")
        );
        let mut carry: Vec<u8> = Vec::new();
        let mut read = 0;
        let stream = self.client.stream(&sql, |chunk| {
            carry.extend_from_slice(chunk);
            let mut reader = Reader::new(&carry);
            while carry.len() - reader.position() >= 16 {
                each((reader.u64()?, reader.u64()?));
                read += 1;
            }
            let done = reader.position();
            carry.drain(..done);
            Ok(())
        });
        stream.await?;
        add(&COUNTERS.keys_read, read);
        match carry.is_empty() {
            true => Ok(()),
            false => Err(Fault::new(Kind::Garbled, "an answer of ClickHouse ends inside a row")),
        }
    }

    /// Fetches the next rows that wait.
    async fn deliver(&mut self) -> Result<Option<Batch>, Fault> {
        let count = (self.slice_rows as usize).min(self.pending.len());
        let wanted: Vec<(u64, u64)> = self.pending.iter().take(count).copied().collect();
        let rows = match self.fetch(&wanted).await {
            Ok(rows) => rows,
            Err(fault) => return self.retreat(fault).map(|()| None),
        };
        self.row_failures = 0;
        self.slice_rows = (self.slice_rows * 2).min(KEYS_PER_READ_MAX);
        self.pending.drain(..count);
        self.consume(&wanted);
        Ok(Some(Batch::new(rows, self.position.to_json())))
    }

    /// After an answer that was too big or unreadable: takes fewer rows, or passes over the one at hand.
    fn retreat(&mut self, fault: Fault) -> Result<(), Fault> {
        let fault = match retreat(fault, &mut self.slice_rows, &mut self.row_failures)? {
            Retreat::Smaller => return Ok(()),
            Retreat::PassOver(fault) => fault,
        };
        let Some(row) = self.pending.pop_front() else { return Err(fault) };
        self.consume(&[row]);
        Event::RowPassedOver { part: &self.layout.name, offset: row.1, why: &fault }.emit();
        Ok(())
    }

    /// The rows of `wanted`, which are in the order of time; rows that are gone are not waited for.
    async fn fetch(&self, wanted: &[(u64, u64)]) -> Result<Rows, Fault> {
        let (Some((from_ns, _)), Some((to_ns, _))) = (wanted.first(), wanted.last()) else {
            return Ok(Rows::default());
        };
        let keys: Vec<String> = wanted.iter().map(|(_, key)| key.to_string()).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND {} BETWEEN {from_ns} AND {to_ns} AND {} IN ({})",
            self.layout.select_list(),
            self.layout.table,
            self.condition(from_ns / BUCKET_NS),
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

    /// Notes that rows were consumed.
    fn consume(&mut self, rows: &[(u64, u64)]) {
        self.buckets.consume(rows);
        self.note();
    }

    /// Brings the position up to date. What is listed and not consumed is still before it.
    fn note(&mut self) {
        let waits = self.pending.front().map(|(time_ns, _)| *time_ns);
        let waits = waits.into_iter().chain(self.grown.front().map(|grown| grown.bucket * BUCKET_NS)).min();
        let before = self.position.scan.take().unwrap_or_default();
        let mut swept_ns = before.swept_ns;
        if waits.is_none() {
            swept_ns = self.sweep_began_ns.take().unwrap_or(swept_ns);
            self.tell_backlog();
        }
        let through_ns = waits.map_or(self.through_ns, |waits_ns| waits_ns.min(self.through_ns));
        let (buckets, seen) = self.buckets.store();
        let through_ns = through_ns.max(before.through_ns);
        self.position.scan = Some(Scan { through_ns, swept_ns, buckets, seen });
    }

    fn tell_backlog(&self) {
        let new = |grown: &Grown| grown.rows.saturating_sub(self.buckets.rows(grown.bucket));
        let waiting = self.grown.iter().map(new).sum::<u64>();
        METRICS.backlog(BTreeMap::from([((0, "by time".to_owned()), waiting)]));
    }
}

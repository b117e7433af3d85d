//! Reads what the ledger of parts says is new.
//!
//! A part may be merged away between listing and reading: then its rows are absent from the answer,
//! without an error, so rows are counted per part and what is missing is listed anew.

use super::ledger::{self, Ledger, Work};
use super::mixed::Mixed;
use super::part::Part;
use super::position::Position;
use super::progress::Progress;
use super::sieve::Sieve;
use super::table::{Listing, Piece, Table};
use super::{Batch, Retreat, retreat};
use crate::clickhouse::{Fault, Kind, Row, Rows};
use crate::config::{CatchUp, Start};
use crate::events::Event;
use std::collections::{BTreeMap, VecDeque};

/// Most parts read by one query: bounds its text.
const PARTS_PER_READ_MAX: usize = 64;
/// Most rows whose keys are read back by one query.
const KEYS_PER_READ_MAX: u64 = 1_000_000;
/// Most listings for one batch: a part that is always gone when it is read needs another poll.
const LISTINGS_MAX: u32 = 5;
/// Most steps without rows for one batch: then the caller is told how far reading came, with an empty one. Each step
/// is a handful of questions about at most `batch_rows` rows, or the keys of one part.
const STEPS_MAX: u32 = 32;
/// Listings by so many batches of a backlog, so that rows that arrive meanwhile are seen.
const BATCHES_PER_LISTING: u32 = 4;
/// With more batches waiting, the newest rows are read in between.
const BACKLOG_BATCHES: u64 = 2;
/// A part that is listed and gone so often in a row is read by its keys: it has deleted rows, which
/// leave gaps between the offsets.
const GONE_MAX: u32 = 3;

/// How reading is done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Most rows of one batch.
    pub batch_rows: u64,
    /// The order of a backlog.
    pub catch_up: CatchUp,
    /// Most keys of consumed rows held.
    pub keys_max: usize,
    /// Most new rows noted of one mixed part, 24 bytes each; the others are found when these are
    /// done.
    pub mixed_rows_max: usize,
}

/// The reader.
#[derive(Debug)]
pub struct Parts<T> {
    pub(super) table: T,
    pub(super) position: Position,
    pub(super) options: Options,
    /// Rows taken at a time: `batch_rows`, less after an answer that was too big.
    pub(super) slice_rows: u64,
    /// Failures in a row of the single row at hand.
    row_failures: u32,
    queue: VecDeque<Work>,
    /// Which of the queue is at hand.
    at: usize,
    /// Batches since the last listing.
    batches: u32,
    /// Whether the next batch of a backlog is of the newest rows.
    newest: bool,
    /// Whether the table must be asked if it is still the same.
    recheck: bool,
    /// ClickHouse's clock at the last listing; what `queue` is of.
    pub(super) clock_ns: u64,
    /// New rows of a mixed part of the queue.
    pub(super) mixed: Option<Mixed>,
    /// The part that was gone when it was to be read, and how often in a row.
    gone: Option<(String, u32)>,
    pub(super) progress: Progress,
}

/// What one step came to.
pub(super) enum Step {
    Batch(Batch),
    /// Progress without rows.
    Nothing,
    /// A part was merged away: list anew.
    Vanished(String),
}

impl<T: Table> Parts<T> {
    /// Opens at `position`; if it `is_first`, what `start` does not want is passed over.
    pub async fn open(
        table: T,
        start: Start,
        options: Options,
        position: Position,
        is_first: bool,
    ) -> Result<Parts<T>, Fault> {
        let abilities = table.abilities();
        let mut reader = Parts {
            table,
            position,
            options,
            slice_rows: options.batch_rows,
            row_failures: 0,
            queue: VecDeque::new(),
            at: 0,
            batches: 0,
            newest: false,
            recheck: false,
            clock_ns: 0,
            mixed: None,
            gone: None,
            progress: Progress::default(),
        };
        let ledger = &mut reader.position.ledger;
        (ledger.plain, ledger.ordered, ledger.keys_max) =
            (abilities.plain, abilities.ordered, options.keys_max);
        if is_first {
            reader.pass_over(start).await?;
        }
        reader.restore_keys().await?;
        Ok(reader)
    }

    /// The position after the last batch.
    pub fn position(&self) -> String {
        self.position.to_json()
    }

    /// The next batch; an empty one after many rows that are not wanted.
    pub async fn next(&mut self) -> Result<Option<Batch>, Fault> {
        let mut listings = 0;
        for _ in 0..STEPS_MAX {
            if self.queue.is_empty() || self.batches >= BATCHES_PER_LISTING {
                if listings == LISTINGS_MAX {
                    return Ok(None);
                }
                listings += 1;
                self.list().await?;
                if self.queue.is_empty() {
                    return Ok(None);
                }
            }
            self.choose();
            match self.step().await {
                Ok(Step::Batch(batch)) => return Ok(Some(batch)),
                Ok(Step::Nothing) => {}
                Ok(Step::Vanished(name)) => self.vanished(name),
                Err(fault) => self.retreat(fault)?,
            }
        }
        Ok(Some(Batch::new(Rows::default(), self.position.to_json())))
    }

    /// Lists the parts and plans what to read.
    async fn list(&mut self) -> Result<(), Fault> {
        let Listing { parts, clock_ns } = self.table.list().await?;
        self.queue.clear();
        let works = self.position.ledger.plan(&parts);
        // Parts that are listed no more may mean that all is another table.
        self.recheck |= self.position.ledger.absent() > 0;
        if self.recheck && !self.table.is_same().await? {
            return Err(Fault::new(Kind::Missing, "the table was created anew under its name"));
        }
        self.recheck = false;
        self.queue = works.into();
        self.batches = 0;
        for at in 0..self.queue.len() {
            if self.is_gone_again(self.queue[at].part()) {
                self.queue[at] = Work::Mixed(self.queue[at].part().clone());
            }
        }
        let mixed = self.mixed.take();
        self.mixed = mixed.filter(|m| self.queue.iter().any(|work| m.is_of(work.part())));
        self.clock_ns = clock_ns;
        self.progress.listed(&parts, &self.queue, self.options.batch_rows * BACKLOG_BATCHES);
        self.clean();
        Ok(())
    }

    /// If nothing is left of the last listing, everything up to it has been consumed.
    fn clean(&mut self) {
        if self.queue.is_empty() && self.clock_ns > 0 {
            self.position.as_of_ns = self.clock_ns;
        }
    }

    /// A part was merged away while it was to be read.
    fn vanished(&mut self, name: String) {
        Event::PartVanished.emit();
        let before = self.gone.take().filter(|(gone, _)| *gone == name).map_or(0, |(_, times)| times);
        self.gone = Some((name, before + 1));
        self.queue.clear();
    }

    /// Whether the part was listed and gone several times in a row.
    pub(super) fn is_gone_again(&self, part: &Part) -> bool {
        self.gone.as_ref().is_some_and(|(name, times)| *name == part.name && *times >= GONE_MAX)
    }

    /// Chooses what of the queue to read: its front, or, every other batch of a backlog, what was
    /// inserted last.
    fn choose(&mut self) {
        let waiting: u64 = self.queue.iter().map(rows_left).sum();
        let newest = waiting > self.options.batch_rows * BACKLOG_BATCHES
            && (self.newest || self.options.catch_up == CatchUp::NewestFirst);
        self.at = 0;
        if !newest {
            return;
        }
        let last = self.queue.iter().enumerate().max_by_key(|(_, work)| work.part().hi);
        self.at = last.map_or(0, |(at, _)| at);
        // As many of those before it as make one batch.
        let mut left = self.slice_rows;
        while let Some(work @ Work::Fresh { .. }) = self.queue.get(self.at) {
            left = left.saturating_sub(rows_left(work));
            match self.at.checked_sub(1).and_then(|before| self.queue.get(before)) {
                Some(work @ Work::Fresh { .. }) if rows_left(work) <= left => self.at -= 1,
                _ => break,
            }
        }
    }

    /// After an answer that was too big or unreadable: takes fewer rows, or passes over the one at hand.
    fn retreat(&mut self, fault: Fault) -> Result<(), Fault> {
        let fault = match retreat(fault, &mut self.slice_rows, &mut self.row_failures)? {
            Retreat::Smaller => return Ok(()),
            Retreat::PassOver(fault) => fault,
        };
        let Some(work) = self.queue.get(self.at).cloned() else { return Err(fault) };
        let (part, offset) = match work {
            // The last piece of a part with deleted rows reaches over all that stands beyond their gaps.
            Work::Fresh { part, from } if part.mutation > 0 && from + 1 >= part.rows => {
                self.queue[self.at] = Work::Mixed(part);
                return Ok(());
            }
            Work::Fresh { part, from } => {
                let next = (from + 1 < part.rows).then_some(from + 1);
                self.position.ledger.consume(&part, 1, next, ledger::Rows::default());
                self.advance(next);
                (part, from)
            }
            Work::Mixed(part) => {
                // Before its new rows are known, it is the listing that fails, not a row.
                let Some(offset) = self.mixed.as_mut().and_then(|m| m.pass_over(&part)) else {
                    return Err(fault);
                };
                (part, offset)
            }
        };
        Event::RowPassedOver { part: &part.name, offset, why: &fault }.emit();
        Ok(())
    }

    /// The work at hand goes on from `next`, or is done.
    fn advance(&mut self, next: Option<u64>) {
        match (self.queue.get_mut(self.at), next) {
            (Some(Work::Fresh { from, .. }), Some(next)) => *from = next,
            _ => self.done(1),
        }
    }

    /// `count` works from the one at hand on are done.
    pub(super) fn done(&mut self, count: usize) {
        let end = (self.at + count).min(self.queue.len());
        self.queue.drain(self.at.min(end)..end);
        self.clean();
    }

    async fn step(&mut self) -> Result<Step, Fault> {
        match self.queue.get(self.at).cloned() {
            None => Ok(Step::Nothing),
            Some(Work::Fresh { .. }) => self.read_fresh().await,
            Some(Work::Mixed(part)) => self.read_mixed(part).await,
        }
    }

    /// As many fresh pieces from the work at hand on as make one batch.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut left = self.slice_rows;
        for work in self.queue.iter().skip(self.at).take(PARTS_PER_READ_MAX) {
            let Work::Fresh { part, from } = work else { break };
            let to = part.rows.min(from.saturating_add(left));
            // A part that does not fit whole is cut only if it is the first.
            if to < part.rows && !pieces.is_empty() {
                break;
            }
            left -= to - from;
            pieces.push(Piece { part: part.clone(), from: *from, to });
            if left == 0 {
                break;
            }
        }
        pieces
    }

    /// Whether not all rows are wanted.
    pub(super) fn is_filtered(&self) -> bool {
        self.position.since_ns > 0 || self.table.abilities().shared
    }

    async fn read_fresh(&mut self) -> Result<Step, Fault> {
        let pieces = self.pieces();
        let since_ns = self.position.since_ns;
        let mut rows = self.table.read(&pieces, since_ns).await?;
        let places: BTreeMap<(u32, &str), usize> =
            pieces.iter().enumerate().map(|(at, p)| ((p.part.shard, p.part.name.as_str()), at)).collect();
        let place = |rows: &Rows, row: &Row| places.get(&(row.shard, rows.part(row))).copied();
        let mut found = vec![0u64; pieces.len()];
        for row in rows.rows() {
            if let Some(at) = place(&rows, row) {
                found[at] += 1;
            }
        }
        // All pieces up to the first that is gone; what follows it is listed anew.
        let filtered = self.is_filtered();
        let is_there = |(piece, found): &(&Piece, &u64)| match filtered {
            // More rows than the part has been counted to have stand beyond gaps of deleted ones.
            true => **found > 0 && **found <= piece.to - piece.from,
            false => **found == piece.to - piece.from,
        };
        let whole = pieces.iter().zip(&found).take_while(is_there).count();
        if whole == 0 {
            return Ok(Step::Vanished(pieces[0].part.name.clone()));
        }
        rows.sort_by_key(|rows, row| (place(rows, row), row.offset));
        let mut read: Vec<ledger::Rows> = pieces.iter().map(|_| ledger::Rows::default()).collect();
        let mut attached = Attached::new(&self.position.ledger, &pieces);
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows.rows() {
            let at = place(&rows, row).filter(|at| *at < whole);
            let at = at.filter(|_| row.ours && row.timestamp_ns >= since_ns);
            if let Some(at) = at {
                read[at].add(row.key, row.timestamp_ns);
            }
            kept.push(at.is_some_and(|at| attached.is_new(&pieces[at].part, row.key)));
        }
        let mut kept = kept.into_iter();
        rows.retain(|_| kept.next().unwrap_or(false));
        attached.tell();
        for (piece, mut read) in pieces.iter().zip(read).take(whole) {
            let next = (piece.to < piece.part.rows).then_some(piece.to);
            read.sort();
            self.position.ledger.consume(&piece.part, piece.to - piece.from, next, read);
            self.progress.consumed(piece.to - piece.from);
        }
        match pieces.first().filter(|first| first.to < first.part.rows) {
            Some(first) => self.advance(Some(first.to)),
            None => self.done(whole),
        }
        if let Some(piece) = pieces.get(whole) {
            self.vanished(piece.part.name.clone());
        }
        Ok(self.give(rows))
    }

    /// Rows as a batch with the position after them; the next read may be larger again.
    pub(super) fn give(&mut self, rows: Rows) -> Step {
        self.row_failures = 0;
        self.gone = None;
        self.slice_rows = (self.slice_rows * 2).min(self.options.batch_rows);
        if rows.is_empty() {
            return Step::Nothing;
        }
        self.batches += 1;
        self.newest = !self.newest;
        Step::Batch(Batch::new(rows, self.position.to_json()))
    }

    /// On the first start: marks what is not wanted as consumed.
    async fn pass_over(&mut self, start: Start) -> Result<(), Fault> {
        let parts = match start {
            Start::Beginning => return Ok(()),
            Start::Now => self.table.list().await?.parts,
            Start::At(ns) => {
                let parts = self.table.list_newest().await?.into_iter();
                parts.filter(|(_, newest_ns)| *newest_ns < ns).map(|(part, _)| part).collect()
            }
        };
        parts.iter().for_each(|part| self.position.ledger.pass_over(part));
        Ok(())
    }

    /// Reads the keys of consumed parts back, newest first, as far as they fit: they will be needed
    /// when ClickHouse merges these parts with new ones.
    async fn restore_keys(&mut self) -> Result<(), Fault> {
        let ledger = &mut self.position.ledger;
        let mut parts = self.table.list().await?.parts;
        // Relabels what was merged while we were away, so that more parts are known by name.
        ledger.plan(&parts);
        let mut left = (ledger.keys_max / 2).saturating_sub(ledger.keys_held()) as u64;
        let fits = |part: &&Part| {
            let fits = part.rows <= left;
            left -= if fits { part.rows } else { 0 };
            fits
        };
        parts = ledger.without_keys(&parts).into_iter().filter(fits).cloned().collect();
        let mut rest = parts.as_slice();
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |part: &&Part| {
                rows += part.rows;
                rows <= KEYS_PER_READ_MAX
            };
            let count = rest.iter().take(PARTS_PER_READ_MAX).take_while(fits).count().max(1);
            self.restore_keys_of(&rest[..count]).await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    async fn restore_keys_of(&mut self, parts: &[Part]) -> Result<(), Fault> {
        let mut read: Vec<ledger::Rows> = parts.iter().map(|_| ledger::Rows::default()).collect();
        for (at, key, timestamp_ns) in self.table.keys(parts, self.position.since_ns).await? {
            read[at].add(key, timestamp_ns);
        }
        let filtered = self.is_filtered();
        for (part, read) in parts.iter().zip(read) {
            // Without any row, the part may have been merged away.
            if (filtered && read.wanted > 0) || read.wanted == part.rows {
                self.position.ledger.restore(part, read);
            }
        }
        Ok(())
    }
}

/// Rows of a work that are not read; of a mixed part, all of its rows, for nobody knows yet which
/// are new.
pub(super) fn rows_left(work: &Work) -> u64 {
    match work {
        Work::Fresh { part, from } => part.rows.saturating_sub(*from),
        Work::Mixed(part) => part.rows,
    }
}

/// Tells rows that were consumed and come back in a part that was detached and attached again.
struct Attached {
    sieves: BTreeMap<(u32, String), Sieve>,
    known: u64,
}

impl Attached {
    fn new(ledger: &Ledger, pieces: &[Piece]) -> Attached {
        let mut sieves = BTreeMap::new();
        for piece in pieces {
            let keys = ledger.known_absent(&piece.part);
            if !keys.is_empty() {
                sieves.insert(piece.part.partition_key(), Sieve::new(keys));
            }
        }
        Attached { sieves, known: 0 }
    }

    fn is_new(&mut self, part: &Part, key: u64) -> bool {
        if self.sieves.is_empty() {
            return true;
        }
        let sieve = self.sieves.get_mut(&part.partition_key());
        let is_new = sieve.is_none_or(|sieve| sieve.is_new(key));
        self.known += u64::from(!is_new);
        is_new
    }

    fn tell(&self) {
        if self.known > 0 {
            Event::RowsAttached { rows: self.known }.emit();
        }
    }
}

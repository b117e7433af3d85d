//! Reads a mixed part, in which rows we have consumed stand beside new ones: in two phases, keys
//! first, then the new rows by their offsets.
//!
//! Which rows are new is found within a bound where there is one: outside the blocks that were
//! consumed, or created since the last complete reading. A bound counts only if the number of rows
//! found is the one that must be new; else the keys of all rows are looked at.

use super::ledger;
use super::minutes::Minutes;
use super::part::Part;
use super::parts::{Parts, Step};
use super::sieve::Sieve;
use super::table::{Bound, Seen, Table};
use crate::clickhouse::{Fault, Rows};
use crate::events::{COUNTERS, Event, add};
use std::collections::VecDeque;

/// Most rows fetched by their offsets in one query: bounds its text to some 100 KB, below
/// ClickHouse's `max_query_size` of 256 KiB.
const OFFSETS_PER_READ_MAX: u64 = 10_000;
/// Rows created so long before the last complete reading count as created since: an insert takes
/// its time, and servers' clocks differ.
const CREATED_SLACK_NS: u64 = 2_000_000_000;

/// New rows of a mixed part, in the part's order.
#[derive(Debug)]
pub struct Mixed {
    shard: u32,
    name: String,
    rows: VecDeque<Seen>,
    /// Whether `rows` are all that are new.
    complete: bool,
    /// All wanted rows of the part, if they were all looked at and are not too many.
    whole: Option<ledger::Rows>,
}

impl Mixed {
    /// Whether it is about this part.
    pub fn is_of(&self, part: &Part) -> bool {
        self.shard == part.shard && self.name == part.name
    }

    /// Gives up the next row of `part`: its offset.
    pub fn pass_over(&mut self, part: &Part) -> Option<u64> {
        self.rows.pop_front_if(|_| self.shard == part.shard && self.name == part.name).map(|row| row.offset)
    }
}

/// What looking at a part came to.
enum Look {
    /// The part is gone.
    Gone,
    /// The bound does not tell.
    Differs,
    Found(Mixed),
}

impl<T: Table> Parts<T> {
    /// Reads some of the new rows of a mixed part.
    pub(super) async fn read_mixed(&mut self, part: Part) -> Result<Step, Fault> {
        if self.mixed.as_ref().is_none_or(|mixed| !mixed.is_of(&part)) {
            match self.find_new(&part).await? {
                Some(mixed) => self.mixed = Some(mixed),
                None => return Ok(Step::Vanished(part.name)),
            }
        }
        let Some(mixed) = &self.mixed else { return Ok(Step::Nothing) };
        let count = self.slice_rows.min(OFFSETS_PER_READ_MAX).min(mixed.rows.len() as u64) as usize;
        let wanted: Vec<Seen> = mixed.rows.iter().take(count).copied().collect();
        let offsets: Vec<u64> = wanted.iter().map(|row| row.offset).collect();
        let mut rows = Rows::default();
        if !offsets.is_empty() {
            rows = self.table.read_at(&part, &offsets).await?;
            if rows.len() != offsets.len() {
                return Ok(Step::Vanished(part.name));
            }
            rows.sort_by_key(|_, row| row.offset);
        }
        let mut read = ledger::Rows::default();
        wanted.iter().for_each(|row| read.add(row.key, row.timestamp_ns));
        read.sort();
        let next_offset = offsets.last().map_or(0, |last| last + 1);
        self.position.ledger.deliver(&part, next_offset, read);
        self.progress.consumed(count as u64);
        if let Some(mixed) = self.mixed.as_mut().filter(|m| m.rows.len() > count) {
            mixed.rows.drain(..count);
        } else if let Some(mixed) = self.mixed.take().filter(|m| m.complete) {
            self.position.ledger.settle(&part, mixed.whole);
            self.done(1);
        }
        Ok(self.give(rows))
    }

    /// The new rows of a mixed part; `None` if it is gone.
    async fn find_new(&self, part: &Part) -> Result<Option<Mixed>, Fault> {
        if let Some(expected) = self.position.ledger.expected_new(part) {
            for bound in self.bounds(part) {
                match self.look_within(part, &bound, expected).await? {
                    Look::Gone => return Ok(None),
                    Look::Found(mixed) => return Ok(Some(mixed)),
                    Look::Differs => {}
                }
            }
        }
        self.look_at_all(part).await
    }

    /// What narrows down which rows of `part` are new, the best first.
    fn bounds(&self, part: &Part) -> Vec<Bound> {
        let abilities = self.table.abilities();
        let ledger = &self.position.ledger;
        let mut bounds = Vec::new();
        // Where consumed rows cannot be told from new ones, they could make up for new ones that a
        // bound misses, and the numbers would agree. (Found by simulation.)
        let certain = !self.is_filtered() && ledger.unknown(part) == 0;
        if abilities.blocks
            && (certain || !ledger.is_begun(part))
            && let Some(ranges) = ledger.consumed_blocks(part)
        {
            bounds.push(Bound::OutsideBlocks(ranges));
        }
        // Consumed rows of other workers within the slack cannot be told from new ones. The upper
        // end leaves out rows older than the column, which read as created now.
        let from_ns = self.position.as_of_ns.saturating_sub(CREATED_SLACK_NS);
        if abilities.created_at && certain && from_ns > 0 {
            bounds.push(Bound::Created { from_ns, to_ns: self.clock_ns });
        }
        bounds
    }

    /// The new rows within a bound, if they are as many as must be new.
    async fn look_within(&self, part: &Part, bound: &Bound, expected: u64) -> Result<Look, Fault> {
        let ledger = &self.position.ledger;
        let (mut known, mut absent) = (Sieve::new(ledger.known(part)), Sieve::new(ledger.known_absent(part)));
        let (since_ns, resume) = (self.position.since_ns, ledger.resume(part));
        let (mut read, mut new, mut attached) = (0u64, 0u64, 0u64);
        let mut rows: Vec<Seen> = Vec::new();
        let rows_max = self.options.mixed_rows_max;
        let each = |row: Seen| {
            read += 1;
            if !row.bounded || !known.is_new(row.key) {
                return;
            }
            new += 1;
            if !row.ours || row.timestamp_ns < since_ns || row.offset < resume {
                return;
            }
            match absent.is_new(row.key) {
                true if rows.len() < rows_max => rows.push(row),
                true => {}
                false => attached += 1,
            }
        };
        self.table.look(part, bound, true, since_ns, each).await?;
        if read == 0 {
            return Ok(Look::Gone);
        }
        add(&COUNTERS.keys_read, read);
        if new != expected {
            let bound = if matches!(bound, Bound::Created { .. }) { "created_at" } else { "blocks" };
            Event::BoundMismatch { bound, part: &part.name, expected, found: new }.emit();
            return Ok(Look::Differs);
        }
        tell_attached(attached);
        let complete = rows.len() < rows_max;
        Ok(Look::Found(Mixed::of(part, rows, complete, None)))
    }

    /// The new rows by the keys of all rows.
    async fn look_at_all(&self, part: &Part) -> Result<Option<Mixed>, Fault> {
        let ledger = &self.position.ledger;
        let (mut known, mut absent) = (Sieve::new(ledger.known(part)), Sieve::new(ledger.known_absent(part)));
        let (since_ns, resume) = (self.position.since_ns, ledger.resume(part));
        // Of a part with deleted rows, the first row may be one of those, and prove nothing.
        let all = !self.is_filtered() || self.is_gone_again(part);
        let keep_keys = part.rows as usize <= ledger.keys_max / 2;
        let (mut read, mut attached, mut unknown_new) = (0u64, 0u64, 0u64);
        let mut whole = ledger::Rows::default();
        let mut by_minute = Minutes::default();
        let mut rows: Vec<Seen> = Vec::new();
        let rows_max = self.options.mixed_rows_max;
        let each = |row: Seen| {
            read += 1;
            if !row.ours || row.timestamp_ns < since_ns {
                return;
            }
            let minute = Minutes::of(row.timestamp_ns);
            whole.wanted += 1;
            whole.minutes.add(minute, 1);
            if keep_keys {
                whole.keys.push(row.key);
            }
            if !known.is_new(row.key) {
                return;
            }
            unknown_new += 1;
            if row.offset < resume {
                return;
            }
            match absent.is_new(row.key) {
                true => {
                    by_minute.add(minute, 1);
                    if rows.len() < rows_max {
                        rows.push(row);
                    }
                }
                false => attached += 1,
            }
        };
        self.table.look(part, &Bound::Whole, all, since_ns, each).await?;
        if read == 0 || (all && read != part.rows) {
            return Ok(None);
        }
        add(&COUNTERS.keys_read, read);
        tell_attached(attached);
        let unknown = ledger.unknown(part);
        if let Some(expected) = ledger.expected_new(part).filter(|_| resume == 0 && !self.is_filtered())
            && unknown_new != expected + unknown
        {
            Event::KeysMismatch { part: &part.name, expected, found: unknown_new, unknown }.emit();
        }
        let complete = rows.len() < rows_max;
        if unknown > 0 {
            self.leave_out_known(part, unknown, &whole.minutes, &by_minute, &mut rows);
        }
        whole.sort();
        Ok(Some(Mixed::of(part, rows, complete, Some(whole))))
    }

    /// Of rows whose keys are not known, leaves out those that cannot be new although keys of
    /// consumed rows are forgotten: the minutes of which no more rows are there than were consumed,
    /// and what was passed over at the start. The rest is delivered, perhaps again.
    fn leave_out_known(
        &self,
        part: &Part,
        unknown: u64,
        present: &Minutes,
        candidates: &Minutes,
        rows: &mut Vec<Seen>,
    ) {
        let told = self.position.ledger.by_minute(part);
        // Where rows may have been deleted, numbers prove nothing.
        let is_mutated = self.position.ledger.expected_new(part).is_none();
        let counts = told.exact && !is_mutated && present.covers(&told.consumed);
        let mut uncertain = 0;
        rows.retain(|row| {
            if told.passed && row.timestamp_ns < self.position.passed_ns {
                return false;
            }
            let minute = Minutes::of(row.timestamp_ns);
            let surplus = present.rows(minute).saturating_sub(told.consumed.rows(minute));
            if counts && surplus == 0 {
                return false;
            }
            uncertain += u64::from(!counts || told.passed || candidates.rows(minute) > surplus);
            true
        });
        if uncertain > 0 {
            Event::RowsUncertain { part: &part.name, rows: uncertain, forgotten: unknown }.emit();
        }
    }
}

impl Mixed {
    fn of(part: &Part, mut rows: Vec<Seen>, complete: bool, whole: Option<ledger::Rows>) -> Mixed {
        rows.sort_unstable_by_key(|row| row.offset);
        Mixed { shard: part.shard, name: part.name.clone(), rows: rows.into(), complete, whole }
    }
}

fn tell_attached(rows: u64) {
    if rows > 0 {
        Event::RowsAttached { rows }.emit();
    }
}

//! Reads a mixed part, in which rows we have consumed stand beside new ones: in two phases, keys
//! first, then the new rows by their offsets.
//!
//! Which rows are new is found within a bound where there is one: outside the blocks that were
//! consumed, or created since the last complete reading. A bound counts only if the number of rows
//! found is the one that must be new; else the keys of all rows are looked at.

use super::ledger;
use super::minutes::Minutes;
use super::part::{Expired, Part, Times, differ};
use super::parts::{Parts, Step};
use super::sieve::Sieve;
use super::table::{Bound, Seen, Table};
use crate::clickhouse::{Fault, Rows};
use crate::events::{COUNTERS, Event, add};
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

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
    times: Option<Times>,
    rows: VecDeque<New>,
    /// Whether `rows` are all that are new.
    complete: bool,
    /// With `rows`, all rows before this offset are dealt with: some may have been left out.
    next_offset: u64,
    /// Minutes of `rows` that may have been consumed before.
    uncertain: BTreeSet<u64>,
    /// All wanted rows of the part, if they were all looked at and are not too many.
    whole: Option<ledger::Rows>,
}

impl Mixed {
    /// Whether it is about this part.
    pub fn is_of(&self, part: &Part) -> bool {
        self.shard == part.shard && self.name == part.name && !differ(self.times, part.times)
    }

    /// Gives up the next row of `part`: its offset.
    pub fn pass_over(&mut self, part: &Part) -> Option<u64> {
        let is_of = self.is_of(part);
        self.rows.pop_front_if(|_| is_of).map(|row| row.offset)
    }
}

/// A row that may be new; ordered by its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct New {
    offset: u64,
    key: u64,
    timestamp_ns: u64,
}

/// The first rows of a part, by offset: ClickHouse reads a part with several threads and sends its
/// rows in any order.
struct First {
    rows: BinaryHeap<New>,
    max: usize,
    /// How many rows after these were left.
    left: u64,
}

impl First {
    fn push(&mut self, row: Seen) {
        let Seen { offset, key, timestamp_ns, .. } = row;
        self.rows.push(New { offset, key, timestamp_ns });
        if self.rows.len() > self.max {
            self.rows.pop();
            self.left += 1;
        }
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
        let wanted: Vec<New> = mixed.rows.iter().take(count).copied().collect();
        let offsets: Vec<u64> = wanted.iter().map(|row| row.offset).collect();
        let mut rows = Rows::default();
        if !offsets.is_empty() {
            rows = self.table.read_at(&part, &offsets).await?;
            rows.sort_by_key(|_, row| row.offset);
            // Other rows than were looked at are those of another part of its name.
            if !rows.rows().iter().map(|row| row.key).eq(wanted.iter().map(|row| row.key)) {
                self.mixed = None;
                return Ok(Step::Vanished(part.name));
            }
        }
        let next_offset = match offsets.last() {
            Some(last) if mixed.rows.len() > count => last + 1,
            _ => mixed.next_offset,
        };
        let read = mixed.read(&wanted);
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
        let mut first = First { rows: BinaryHeap::new(), max: self.options.mixed_rows_max, left: 0 };
        let each = |row: Seen| {
            read += 1;
            let Some(offset) = row.bounded.then(|| known.left_over(row.key, row.offset)).flatten() else {
                return;
            };
            new += 1;
            if !row.ours || row.timestamp_ns < since_ns || offset < resume {
                return;
            }
            match absent.left_over(row.key, offset) {
                Some(offset) => first.push(Seen { offset, ..row }),
                None => attached += 1,
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
        Ok(Look::Found(Mixed::of(part, first)))
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
        let mut first = First { rows: BinaryHeap::new(), max: self.options.mixed_rows_max, left: 0 };
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
            let Some(offset) = known.left_over(row.key, row.offset) else { return };
            unknown_new += 1;
            if offset < resume {
                return;
            }
            match absent.left_over(row.key, offset) {
                Some(offset) => {
                    by_minute.add(minute, 1);
                    first.push(Seen { offset, ..row });
                }
                None => attached += 1,
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
        let mut mixed = Mixed::of(part, first);
        if unknown > 0 {
            self.leave_out_known(part, unknown, &whole.minutes, &by_minute, &mut mixed);
        }
        whole.sort();
        mixed.whole = Some(whole);
        Ok(Some(mixed))
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
        mixed: &mut Mixed,
    ) {
        let told = self.position.ledger.by_minute(part);
        // Where rows may have been deleted, numbers prove nothing; of minutes after the oldest row that
        // is left, none has expired.
        let from = match part.expired {
            Expired::Nothing => 0,
            Expired::Oldest => present.first().map_or(0, |first| first + 1),
            Expired::Any => u64::MAX,
        };
        let is_mutated = self.position.ledger.is_mutated(part);
        let counts = told.exact && !is_mutated && present.covers(&told.consumed, from);
        let mut uncertain = 0;
        let Mixed { rows, uncertain: minutes, .. } = mixed;
        rows.retain(|row| {
            if told.passed && row.timestamp_ns < self.position.passed_ns {
                return false;
            }
            let minute = Minutes::of(row.timestamp_ns);
            let surplus = present.rows(minute).saturating_sub(told.consumed.rows(minute));
            let counts = counts && minute >= from;
            if counts && surplus == 0 {
                return false;
            }
            if !counts || told.passed || candidates.rows(minute) > surplus {
                uncertain += 1;
                minutes.insert(minute);
            }
            true
        });
        if uncertain > 0 {
            Event::RowsUncertain { part: &part.name, rows: uncertain, forgotten: unknown }.emit();
        }
    }
}

impl Mixed {
    fn of(part: &Part, first: First) -> Mixed {
        let complete = first.left == 0;
        let rows: VecDeque<New> = first.rows.into_sorted_vec().into();
        let next_offset = rows.back().map_or(0, |last| last.offset + 1);
        let (shard, name, times) = (part.shard, part.name.clone(), part.times);
        Mixed { shard, name, times, rows, complete, next_offset, uncertain: BTreeSet::new(), whole: None }
    }

    /// Rows of it as delivered ones. Those that may have been consumed before do not count by their
    /// minute: they would stand for new ones that are still to come.
    fn read(&self, rows: &[New]) -> ledger::Rows {
        let mut read = ledger::Rows::default();
        for row in rows {
            match self.uncertain.contains(&Minutes::of(row.timestamp_ns)) {
                true => read.add_uncertain(row.key),
                false => read.add(row.key, row.timestamp_ns),
            }
        }
        read.sort();
        read
    }
}

fn tell_attached(rows: u64) {
    if rows > 0 {
        Event::RowsAttached { rows }.emit();
    }
}

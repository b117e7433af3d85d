//! Which rows have been consumed, told by the parts of the table. Pure: no I/O, no clock.
//!
//! A MergeTree part is named `partition_min_max_level[_mutation]` after the insert blocks it holds.
//! A new part is new rows; a merged part holds what its sources held. So consumed block ranges with
//! their row counts tell what is new, however late a row's event time is. Rules of the game, each
//! from a measured failure: never a highest number (blocks may appear out of order), always row
//! accounting (a merge may have swallowed an unread part).

mod partition;
mod rows;

use super::minutes::Minutes;
use super::part::{Part, differ};
pub use partition::{Loose, Partition, Segment};
pub use rows::Rows;
use std::collections::{BTreeMap, BTreeSet};

/// Most row keys held in memory, 8 bytes each. Beyond it, the keys of the segments consumed longest
/// ago are forgotten; see [`Ledger::unknown`].
pub const KEYS_MAX: usize = 4_000_000;
/// Likewise where rows keep the block of their insertion, and keys are hardly needed.
pub const KEYS_WITH_BLOCKS_MAX: usize = 250_000;
/// Listings without any part of a partition until it is taken for dropped. Many, because a listing
/// may come from a replica that lags.
const ABSENT_MAX: u32 = 1_000;
/// Most ranges of blocks that are told to ClickHouse in one condition, some 45 bytes each.
const RANGES_MAX: usize = 2_000;

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Rows of a part from an offset to its end, in the part's order.
    Fresh { part: Part, from: u64 },
    /// A part in which consumed and new rows are mixed.
    Mixed(Part),
}

impl Work {
    /// The part to be read.
    pub fn part(&self) -> &Part {
        let (Work::Fresh { part, .. } | Work::Mixed(part)) = self;
        part
    }
}

/// Consumed ranges of all partitions of all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    pub(super) partitions: BTreeMap<(u32, String), Partition>,
    serial: u64,
    /// Most keys held.
    pub(super) keys_max: usize,
    /// What is not listed is gone: see [`super::table::Abilities::plain`].
    pub(super) plain: bool,
    /// Parts become visible in the order of their blocks: see [`super::table::Abilities::ordered`].
    pub(super) ordered: bool,
    /// Segments that were listed before and are not in the last listing.
    absent: usize,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            partitions: BTreeMap::new(),
            serial: 0,
            keys_max: KEYS_MAX,
            plain: false,
            ordered: false,
            absent: 0,
        }
    }
}

/// What the ledger can tell of the consumed rows of a part by event time.
#[derive(Debug, Default)]
pub struct ByMinute {
    /// Wanted rows that were consumed.
    pub consumed: Minutes,
    /// Whether these are all of them, except rows passed over.
    pub exact: bool,
    /// Whether there may be rows that were passed over at the start.
    pub passed: bool,
}

impl Ledger {
    /// What is new in `parts`, in the order of insertion. Merges of consumed parts are relabelled
    /// without reading.
    pub fn plan(&mut self, parts: &[Part]) -> Vec<Work> {
        self.note_absent(parts);
        let mut works = Vec::new();
        let mut unread: BTreeMap<(u32, String), Vec<(i64, i64)>> = BTreeMap::new();
        for part in parts {
            let partition = self.partitions.entry(part.partition_key()).or_default();
            let blocks = unread.entry(part.partition_key()).or_default();
            let work = partition.judge(part, self.ordered);
            blocks.extend(work.as_ref().map(|_| (part.lo, part.hi)));
            works.extend(work);
        }
        for (key, blocks) in unread {
            self.partitions.entry(key).or_default().unread = blocks;
        }
        self.forget_dropped(parts);
        self.evict();
        works.sort_by(|a, b| order(a).cmp(&order(b)));
        works
    }

    /// Notes which segments no listed part holds.
    fn note_absent(&mut self, parts: &[Part]) {
        let mut listed: BTreeMap<(u32, &str), Vec<&Part>> = BTreeMap::new();
        for part in parts {
            listed.entry((part.shard, part.partition.as_str())).or_default().push(part);
        }
        self.absent = 0;
        for ((shard, id), partition) in &mut self.partitions {
            let parts = listed.get(&(*shard, id.as_str())).map_or(&[][..], Vec::as_slice);
            for segment in &mut partition.segments {
                segment.gone |= parts.iter().any(|part| segment.contradicts(part, self.plain));
                let is_there = parts.iter().any(|part| match self.plain {
                    true => segment.is_within(part),
                    // A lagging replica shows the sources of a part that was consumed.
                    false => segment.overlaps(part),
                });
                let was_absent = segment.absent;
                segment.absent = segment.gone || !is_there;
                self.absent += usize::from(segment.absent && !was_absent);
                segment.gone |= segment.absent && self.plain;
            }
            let is_gone = |loose: &mut Loose| {
                let is_away = self.plain && !parts.iter().any(|part| part.holds(loose.lo, loose.hi));
                is_away || parts.iter().any(|part| loose.contradicts(part))
            };
            for Loose { lo, hi, read, .. } in partition.loose.extract_if(.., is_gone) {
                let (absent, gone) = (true, true);
                partition.segments.push(Segment { lo, hi, read, absent, gone, ..Segment::default() });
            }
            // What is gone and has no keys tells nothing.
            partition.segments.retain(|s| !s.gone || !s.read.keys.is_empty());
        }
    }

    /// How many segments were listed before and are not in the last listing: dropped, detached, or
    /// of another table.
    pub fn absent(&self) -> usize {
        self.absent
    }

    fn forget_dropped(&mut self, parts: &[Part]) {
        let listed: BTreeSet<(u32, &str)> = parts.iter().map(|p| (p.shard, p.partition.as_str())).collect();
        let shards: BTreeSet<u32> = parts.iter().map(|p| p.shard).collect();
        for ((shard, id), partition) in &mut self.partitions {
            match listed.contains(&(*shard, id.as_str())) {
                true => partition.absent = 0,
                // A shard that shows nothing at all may just be away.
                false => partition.absent += u32::from(shards.contains(shard)),
            }
        }
        self.partitions.retain(|_, partition| partition.absent <= ABSENT_MAX);
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Marks `rows` more rows of `part`, up to `next_offset` (`None`: to its end), as consumed.
    /// `read` are the wanted ones among them.
    pub fn consume(&mut self, part: &Part, rows: u64, next_offset: Option<u64>, read: Rows) {
        let serial = self.next_serial();
        let partition = self.partitions.entry(part.partition_key()).or_default();
        if next_offset.is_none() {
            partition.note_read(part);
        }
        let segment = partition.segment(part, serial);
        segment.rows += rows;
        segment.next_offset = next_offset;
        segment.serial = serial;
        segment.read.merge(read);
        self.evict();
    }

    /// Marks `part`, which was there before the start, as consumed without reading it.
    pub fn pass_over(&mut self, part: &Part) {
        let serial = self.next_serial();
        let segment = self.partitions.entry(part.partition_key()).or_default().segment(part, serial);
        (segment.rows, segment.passed, segment.next_offset) = (part.rows, part.rows, None);
    }

    /// Notes rows delivered out of a mixed part, of which all before `next_offset` are dealt with.
    pub fn deliver(&mut self, part: &Part, next_offset: u64, read: Rows) {
        let partition = self.partitions.entry(part.partition_key()).or_default();
        let at = partition.loose.iter().position(|l| l.is_of(part)).unwrap_or_else(|| {
            let Part { lo, hi, level, mutation, times, .. } = *part;
            partition.loose.push(Loose { lo, hi, level, mutation, times, ..Loose::default() });
            partition.loose.len() - 1
        });
        let loose = &mut partition.loose[at];
        loose.next_offset = loose.next_offset.max(next_offset);
        loose.read.merge(read);
    }

    /// Marks a mixed part as consumed to the end: it takes the place of all it holds. `whole` are
    /// all wanted rows of it, where they are known; without keys, if they are too many.
    pub fn settle(&mut self, part: &Part, whole: Option<Rows>) {
        let serial = self.next_serial();
        let partition = self.partitions.entry(part.partition_key()).or_default();
        partition.note_read(part);
        let mut merged = Segment { rows: part.rows, next_offset: None, ..Segment::of(part, serial) };
        for loose in partition.loose.extract_if(.., |l| part.holds(l.lo, l.hi)) {
            merged.read.merge(loose.read);
        }
        for segment in partition.segments.extract_if(.., |s| !s.gone && s.is_within(part)) {
            merged.passed += segment.passed;
            merged.read.merge(segment.read);
        }
        if let Some(mut whole) = whole {
            if whole.keys.is_empty() {
                whole.keys = merged.read.keys;
            }
            (merged.read, merged.passed) = (whole, 0);
        }
        if partition.loose.iter().any(|l| part.overlaps(l.lo, l.hi)) {
            // Some of its rows are noted there as well: their numbers would count twice.
            merged.read.minutes = Minutes::default();
        }
        partition.segments.push(merged);
        self.evict();
    }

    /// How many rows of `part` must be new, by its number of rows. `None` where that cannot be
    /// said: consumed rows may have been deleted, or a range reaches beyond the part.
    pub fn expected_new(&self, part: &Part) -> Option<u64> {
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return Some(part.rows) };
        let held = partition.held(part).filter(|held| held.is_counted(part))?;
        let (mut consumed, mut is_begun) = (held.rows, false);
        for loose in partition.loose.iter().filter(|l| part.overlaps(l.lo, l.hi)) {
            if !part.holds(loose.lo, loose.hi) {
                return None;
            }
            (consumed, is_begun) = (consumed + loose.read.wanted, true);
        }
        let new = part.rows.checked_sub(consumed)?;
        // Rows that are dated otherwise than the consumed ones came, so as many of these went.
        let is_odd = new == 0 && !is_begun && differ(held.times, part.times);
        (!is_odd).then_some(new)
    }

    /// Whether a mutation may have deleted consumed rows of `part`, or a range reaches beyond it.
    pub fn is_mutated(&self, part: &Part) -> bool {
        let partition = self.partitions.get(&part.partition_key());
        partition.is_some_and(|partition| partition.held(part).is_none_or(|held| held.is_mutated))
    }

    /// Whether a range or a mixed part of it is consumed in part.
    pub fn is_begun(&self, part: &Part) -> bool {
        self.partitions.get(&part.partition_key()).is_some_and(|p| {
            p.segments.iter().any(|s| !s.gone && s.overlaps(part) && s.next_offset.is_some())
                || p.loose.iter().any(|l| part.overlaps(l.lo, l.hi))
        })
    }

    /// The ranges of blocks of `part` that are consumed to the end; `None` if they are too many.
    pub fn consumed_blocks(&self, part: &Part) -> Option<Vec<(i64, i64)>> {
        let partition = self.partitions.get(&part.partition_key())?;
        let whole = partition.segments.iter().filter(|s| !s.gone && s.next_offset.is_none());
        let mut ranges: Vec<(i64, i64)> = whole.filter(|s| s.is_within(part)).map(|s| (s.lo, s.hi)).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let joins = next.0 == last.1 + 1;
            if joins {
                last.1 = next.1;
            }
            joins
        });
        (ranges.len() <= RANGES_MAX).then_some(ranges)
    }

    /// The sorted keys of all consumed rows that `part` may hold.
    pub fn known(&self, part: &Part) -> Vec<u64> {
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return Vec::new() };
        let mut keys = Vec::new();
        for loose in partition.loose.iter().filter(|l| part.overlaps(l.lo, l.hi)) {
            keys.extend(&loose.read.keys);
        }
        for segment in partition.segments.iter().filter(|s| !s.gone && s.overlaps(part)) {
            keys.extend(&segment.read.keys);
        }
        keys.sort();
        keys
    }

    /// The sorted keys of rows of the partition that were consumed and are not listed any more:
    /// if they are attached again, it is under another number.
    pub fn known_absent(&self, part: &Part) -> Vec<u64> {
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return Vec::new() };
        let absent = partition.segments.iter().filter(|s| s.absent && (s.gone || !s.overlaps(part)));
        let mut keys: Vec<u64> = absent.flat_map(|s| s.read.keys.iter().copied()).collect();
        keys.sort();
        keys
    }

    /// How many consumed rows of `part` cannot be told from new ones by their keys, because these
    /// were forgotten. What was delivered out of this very part is told by its offset.
    pub fn unknown(&self, part: &Part) -> u64 {
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return 0 };
        let held = partition.segments.iter().filter(|s| !s.gone && s.overlaps(part));
        let loose = partition.loose.iter().filter(|l| part.overlaps(l.lo, l.hi) && !l.is_of(part));
        let forgotten = |read: &Rows| read.wanted.saturating_sub(read.keys.len() as u64);
        held.map(Segment::forgotten).sum::<u64>() + loose.map(|l| forgotten(&l.read)).sum::<u64>()
    }

    /// In this very part, all rows before this offset have been dealt with.
    pub fn resume(&self, part: &Part) -> u64 {
        let partition = self.partitions.get(&part.partition_key());
        let loose = partition.and_then(|p| p.loose.iter().find(|l| l.is_of(part)));
        loose.map_or(0, |l| l.next_offset)
    }

    /// The consumed rows that `part` may hold, by event time.
    pub fn by_minute(&self, part: &Part) -> ByMinute {
        let mut told = ByMinute { exact: true, ..ByMinute::default() };
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return told };
        let mut add = |read: &Rows| {
            told.consumed.merge(&read.minutes);
            told.exact &= read.minutes.total() == read.wanted;
        };
        for segment in partition.segments.iter().filter(|s| !s.gone && s.overlaps(part)) {
            add(&segment.read);
            told.passed |= segment.passed > 0;
        }
        for loose in partition.loose.iter().filter(|l| part.overlaps(l.lo, l.hi)) {
            add(&loose.read);
        }
        told
    }

    /// Consumed parts among `parts` whose keys are not known, newest first: they can be read again
    /// while the part is still there under the same range.
    pub fn without_keys<'p>(&self, parts: &'p [Part]) -> Vec<&'p Part> {
        let mut found: Vec<&Part> = parts
            .iter()
            .filter(|part| {
                let partition = self.partitions.get(&part.partition_key());
                let segment = partition.and_then(|p| p.segments.iter().find(|s| s.is_whole(part)));
                segment.is_some_and(|s| s.forgotten() > 0)
            })
            .collect();
        found.sort_by_key(|part| std::cmp::Reverse(part.hi));
        found
    }

    /// Gives a consumed part its rows back: all that are wanted.
    pub fn restore(&mut self, part: &Part, mut read: Rows) {
        read.sort();
        let partition = self.partitions.get_mut(&part.partition_key());
        if let Some(segment) = partition.and_then(|p| p.segments.iter_mut().find(|s| s.is_whole(part))) {
            (segment.read, segment.passed) = (read, 0);
        }
    }

    /// Other rows are wanted than before: what was consumed counts as passed over.
    pub fn forget_wanted(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.loose.clear();
            for segment in &mut partition.segments {
                (segment.passed, segment.read) = (segment.rows, Rows::default());
            }
        }
    }

    /// Whether nothing has been consumed.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Forgets all keys.
    #[cfg(test)]
    pub fn forget_keys(&mut self) {
        let segments = self.partitions.values_mut().flat_map(|p| &mut p.segments);
        segments.for_each(|segment| segment.read.keys.clear());
    }

    /// How many keys of consumed ranges are held.
    #[cfg(test)]
    pub fn keys_in_segments(&self) -> usize {
        self.partitions.values().flat_map(|p| &p.segments).map(|s| s.read.keys.len()).sum()
    }

    /// How many keys are held.
    pub fn keys_held(&self) -> usize {
        let of = |p: &Partition| {
            let loose: usize = p.loose.iter().map(|l| l.read.keys.len()).sum();
            loose + p.segments.iter().map(|s| s.read.keys.len()).sum::<usize>()
        };
        self.partitions.values().map(of).sum()
    }

    /// Forgets the keys of the segments consumed longest ago until the rest fits.
    fn evict(&mut self) {
        let mut held = self.keys_held();
        if held <= self.keys_max {
            return;
        }
        let segments = self.partitions.values_mut().flat_map(|p| &mut p.segments);
        let mut segments: Vec<&mut Segment> = segments.filter(|s| !s.read.keys.is_empty()).collect();
        segments.sort_by_key(|segment| segment.serial);
        for segment in segments {
            if held <= self.keys_max {
                break;
            }
            held -= segment.read.keys.len();
            segment.read.keys = Vec::new();
        }
    }

    /// Takes up numbering after the segments were loaded.
    pub(super) fn resume_serial(&mut self) {
        let segments = self.partitions.values().flat_map(|p| &p.segments);
        self.serial = segments.map(|s| s.serial).max().unwrap_or(0);
    }
}

/// Insertion order: block numbers of plain MergeTree count over the whole table.
fn order(work: &Work) -> (i64, u32, &str) {
    let part = work.part();
    (part.lo, part.shard, &part.name)
}

#[cfg(test)]
mod tests;

//! What is known of one partition: ranges of blocks that were consumed, and what there is to do for a
//! part that is listed.
//!
//! A merged part is named after the first block of its first source and the last block of its last one. So
//! where one of these is not consumed, there is something in it that was not read. What lies between
//! is decided by what was listed before, or by the number of rows where no row can be gone.
//!
//! A part never changes under its name. So one that has the name of a consumed part and another
//! number of rows, or other times, is another part: of a table that was created anew, or that
//! counts its blocks anew after TRUNCATE and a restart.

use super::{Rows, Work};
use crate::tail::minutes::Minutes;
use crate::tail::part::{Expired, Part, Times, differ};

/// A consumed range of insert blocks of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// First block.
    pub lo: i64,
    /// Last block.
    pub hi: i64,
    /// Level of the part it was read from.
    pub level: u64,
    /// Mutation version of that part.
    pub mutation: i64,
    /// Event times of that part; `None` if they were not told.
    pub times: Option<Times>,
    /// Rows consumed, wanted or not.
    pub rows: u64,
    /// Of these, rows passed over unread: they were there before the start.
    pub passed: u64,
    /// Where reading goes on in the same part; `None`: all of it is consumed.
    pub next_offset: Option<u64>,
    /// Recency: higher was consumed later.
    pub serial: u64,
    /// The rows that were read.
    pub read: Rows,
    /// No part of the last listing holds it.
    pub absent: bool,
    /// It will not come back under its number: only its keys count.
    pub gone: bool,
}

impl Segment {
    pub(super) fn of(part: &Part, serial: u64) -> Segment {
        let Part { lo, hi, level, mutation, times, .. } = *part;
        Segment { lo, hi, level, mutation, times, serial, next_offset: Some(0), ..Segment::default() }
    }

    pub(super) fn forgotten(&self) -> u64 {
        (self.read.wanted + self.passed).saturating_sub(self.read.keys.len() as u64)
    }

    pub(super) fn is_within(&self, part: &Part) -> bool {
        part.holds(self.lo, self.hi)
    }

    pub(super) fn overlaps(&self, part: &Part) -> bool {
        part.overlaps(self.lo, self.hi)
    }
}

/// Consumed ranges of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    pub segments: Vec<Segment>,
    /// Blocks of parts that were listed and are not consumed to the end, from first to last.
    pub unread: Vec<(i64, i64)>,
    /// Rows delivered out of mixed parts that are not yet consumed to the end.
    pub loose: Vec<Loose>,
    /// In how many listings in a row no part of it was seen.
    pub absent: u32,
}

/// Rows delivered out of a mixed part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loose {
    /// First block of the part.
    pub lo: i64,
    /// Last block of the part.
    pub hi: i64,
    /// Level of the part.
    pub level: u64,
    /// Mutation version of the part.
    pub mutation: i64,
    /// Event times of the part; `None` if they were not told.
    pub times: Option<Times>,
    /// In this very part, all rows before this offset have been dealt with.
    pub next_offset: u64,
    /// The rows.
    pub read: Rows,
}

impl Loose {
    pub(super) fn is_of(&self, part: &Part) -> bool {
        self.has_name_of(part) && !differ(self.times, part.times)
    }

    fn has_name_of(&self, part: &Part) -> bool {
        (self.lo, self.hi, self.level, self.mutation) == (part.lo, part.hi, part.level, part.mutation)
    }

    /// Whether a part has its name and is another.
    pub(super) fn contradicts(&self, part: &Part) -> bool {
        self.has_name_of(part) && differ(self.times, part.times)
    }
}

impl Segment {
    /// Whether it is this part, consumed to the end.
    pub(super) fn is_whole(&self, part: &Part) -> bool {
        let same = (self.lo, self.hi, self.rows) == (part.lo, part.hi, part.rows);
        same && !self.gone && self.next_offset.is_none()
    }

    /// Whether a mutation touched its rows on their way into `part`. Mutations are numbered as
    /// blocks are, and do not touch later ones.
    fn is_mutated_in(&self, part: &Part) -> bool {
        self.mutation != part.mutation && self.lo < part.mutation
    }

    /// Whether a part has its blocks and cannot hold what was consumed. `plain`: no replica lags.
    pub(super) fn contradicts(&self, part: &Part, plain: bool) -> bool {
        let dated = |outer: Option<Times>, inner: Option<Times>| {
            outer.zip(inner).is_none_or(|(outer, inner)| outer.hold(&inner))
        };
        if (self.lo, self.hi) != (part.lo, part.hi) {
            // A lagging replica shows a source of it. The newest row goes by a mutation only.
            let is_source = self.lo <= part.lo && part.hi <= self.hi && self.mutation == part.mutation;
            return is_source
                && self.times.zip(part.times).is_some_and(|(of, is)| is.newest_ns > of.newest_ns);
        }
        if (self.level, self.mutation) == (part.level, part.mutation) {
            let is_whole = self.next_offset.is_none();
            return (is_whole && self.rows != part.rows) || differ(self.times, part.times);
        }
        if part.level < self.level || part.mutation < self.mutation {
            // No merge and no mutation is undone, but a lagging replica shows what the part was before.
            return plain || !dated(part.times, self.times);
        }
        !dated(self.times, part.times)
    }
}

/// The consumed ranges that a part holds, together.
pub(super) struct Held {
    pub(super) rows: u64,
    /// Of all of them; `None` if they are not told of one.
    pub(super) times: Option<Times>,
    /// All are consumed to their ends.
    is_whole: bool,
    /// A mutation touched some on their way into the part.
    pub(super) is_mutated: bool,
    /// They have its first and its last block, which are blocks of parts it was merged of.
    has_ends: bool,
    /// They have all of its blocks.
    has_all: bool,
}

impl Held {
    /// Whether numbers of rows tell what of the part is new: no consumed row was deleted.
    pub(super) fn is_counted(&self, part: &Part) -> bool {
        let are_there = part.times.zip(self.times).is_none_or(|(is, of)| is.hold(&of));
        are_there && !self.is_mutated && part.expired == Expired::Nothing
    }
}

impl Partition {
    /// The consumed ranges within `part`; `None` if one reaches beyond it.
    pub(super) fn held(&self, part: &Part) -> Option<Held> {
        let mut segments: Vec<&Segment> =
            self.segments.iter().filter(|s| !s.gone && s.overlaps(part)).collect();
        if !segments.iter().all(|s| s.is_within(part)) {
            return None;
        }
        segments.sort_by_key(|s| s.lo);
        let times: Option<Vec<Times>> = segments.iter().map(|s| s.times).collect();
        let ends = segments.first().zip(segments.last());
        let has_ends = ends.is_some_and(|(first, last)| (first.lo, last.hi) == (part.lo, part.hi));
        Some(Held {
            rows: segments.iter().map(|s| s.rows).sum(),
            times: times.and_then(|times| times.into_iter().reduce(|all, one| all.and(&one))),
            is_whole: segments.iter().all(|s| s.next_offset.is_none()),
            is_mutated: segments.iter().any(|s| s.is_mutated_in(part)),
            has_ends,
            has_all: has_ends && segments.windows(2).all(|pair| pair[0].hi + 1 == pair[1].lo),
        })
    }

    /// Whether all rows of `part` are consumed. `ordered`: parts become visible in the order of their
    /// blocks.
    fn is_known(&self, part: &Part, ordered: bool) -> bool {
        let Some(held) = self.held(part) else { return false };
        let is_dated = part.times.zip(held.times).is_none_or(|(is, of)| of.hold(&is));
        if !held.is_whole || !held.has_ends || held.rows < part.rows || !is_dated {
            return false;
        }
        if held.has_all {
            return true;
        }
        if self.unread.iter().any(|(lo, hi)| part.overlaps(*lo, *hi)) {
            return false;
        }
        // Blocks between consumed ones may be of other partitions, of inserts that failed, or of parts
        // that are new. In order, what is new comes after all that was listed.
        ordered || (held.is_counted(part) && held.rows == part.rows && !differ(held.times, part.times))
    }

    /// The segment with the range of `part`, which is made if there is none.
    pub(super) fn segment(&mut self, part: &Part, serial: u64) -> &mut Segment {
        let is_same = |s: &Segment| !s.gone && (s.lo, s.hi) == (part.lo, part.hi);
        let at = self.segments.iter().position(is_same).unwrap_or_else(|| {
            self.segments.push(Segment::of(part, serial));
            self.segments.len() - 1
        });
        &mut self.segments[at]
    }

    /// What there is to do for `part`, if anything.
    pub(super) fn judge(&mut self, part: &Part, ordered: bool) -> Option<Work> {
        let in_progress = self.loose.iter().any(|l| part.overlaps(l.lo, l.hi));
        let exact = self.segments.iter_mut().find(|s| !s.gone && (s.lo, s.hi) == (part.lo, part.hi));
        if let Some(segment) = exact {
            match segment.next_offset {
                // Not while rows of it were delivered out of a merged part that another replica showed.
                Some(from)
                    if !in_progress && (segment.level, segment.mutation) == (part.level, part.mutation) =>
                {
                    return Some(Work::Fresh { part: part.clone(), from });
                }
                // A mutation or a merge with itself never adds rows.
                None if part.rows <= segment.rows => {
                    if part.rows < segment.rows {
                        // Nobody knows which rows were deleted.
                        segment.read.minutes = Minutes::default();
                    }
                    segment.level = part.level;
                    segment.mutation = part.mutation;
                    segment.rows = part.rows;
                    segment.times = part.times;
                    return None;
                }
                _ => return Some(Work::Mixed(part.clone())),
            }
        }
        let live = || self.segments.iter().filter(|s| !s.gone);
        // A lagging replica shows the sources of a part that was consumed.
        if live().any(|s| s.lo <= part.lo && part.hi <= s.hi) {
            return None;
        }
        if !in_progress && !live().any(|s| s.overlaps(part)) {
            return Some(Work::Fresh { part: part.clone(), from: 0 });
        }
        if in_progress || !self.is_known(part, ordered) {
            return Some(Work::Mixed(part.clone()));
        }
        self.relabel(part);
        None
    }

    /// A merge of consumed parts only.
    fn relabel(&mut self, part: &Part) {
        let mut merged = Segment { rows: part.rows, next_offset: None, ..Segment::of(part, 0) };
        let mut rows = 0;
        for segment in self.segments.extract_if(.., |s| !s.gone && s.is_within(part)) {
            merged.serial = merged.serial.max(segment.serial);
            merged.passed += segment.passed;
            rows += segment.rows;
            merged.read.wanted += segment.read.wanted;
            merged.read.minutes.merge(&segment.read.minutes);
            merged.read.keys.extend(segment.read.keys);
        }
        merged.read.sort();
        if merged.rows < rows {
            // Nobody knows which rows are gone.
            merged.read.minutes = Minutes::default();
        }
        self.segments.push(merged);
    }

    /// Notes that `part` is consumed to its end.
    pub(super) fn note_read(&mut self, part: &Part) {
        self.unread.retain(|(lo, hi)| !part.holds(*lo, *hi));
    }
}

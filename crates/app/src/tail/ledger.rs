//! Which rows have been consumed, told by the parts of the table. Pure: no I/O.
//!
//! A MergeTree part is named `partition_min_max_level[_mutation]` after the insert blocks it holds.
//! A new part is new rows; a merged part holds what its sources held. So consumed block ranges with
//! their row counts tell what is new, however late a row's event time is. Rules of the game, each
//! from a measured failure: never a highest number (blocks may appear out of order), always row
//! accounting (a merge may have swallowed an unread part), names parsed against the partition id
//! (it may itself hold separators).

use std::collections::{BTreeMap, BTreeSet};

/// Most row keys held in memory, 8 bytes each. Beyond it, the keys of the segments consumed longest
/// ago are forgotten; see [`Ledger::unknown`].
pub const KEYS_MAX: usize = 4_000_000;

/// One active part as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Shard number; 0 where there is only one.
    pub shard: u32,
    /// Partition id.
    pub partition: String,
    /// Full name.
    pub name: String,
    /// First insert block.
    pub lo: i64,
    /// Last insert block.
    pub hi: i64,
    /// How often it was merged.
    pub level: u64,
    /// Mutation version; 0 for none.
    pub mutation: i64,
    /// Rows.
    pub rows: u64,
}

impl Part {
    /// Parses the name; `None` if it is not a MergeTree part's.
    pub fn parse(shard: u32, partition: &str, name: &str, rows: u64) -> Option<Part> {
        let rest = name.strip_prefix(partition)?.strip_prefix('_')?;
        let numbers: Vec<i64> = rest.split('_').map(str::parse).collect::<Result<_, _>>().ok()?;
        let (lo, hi, level, mutation) = match numbers[..] {
            [lo, hi, level] => (lo, hi, level, 0),
            [lo, hi, level, mutation] => (lo, hi, level, mutation),
            _ => return None,
        };
        let level = u64::try_from(level).ok()?;
        let (partition, name) = (partition.to_string(), name.to_string());
        (lo <= hi).then_some(Part { shard, partition, name, lo, hi, level, mutation, rows })
    }

    fn partition_key(&self) -> (u32, String) {
        (self.shard, self.partition.clone())
    }

    fn holds(&self, segment: &Segment) -> bool {
        self.lo <= segment.lo && segment.hi <= self.hi
    }

    fn overlaps(&self, segment: &Segment) -> bool {
        self.lo <= segment.hi && segment.lo <= self.hi
    }
}

/// A consumed range of insert blocks of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// First block.
    pub lo: i64,
    /// Last block.
    pub hi: i64,
    /// Level of the part it was read from.
    pub level: u64,
    /// Mutation version of that part.
    pub mutation: i64,
    /// Rows consumed.
    pub rows: u64,
    /// Where reading goes on in the same part; `None`: all of it is consumed.
    pub next_offset: Option<u64>,
    /// Recency: higher was consumed later.
    pub serial: u64,
    /// Keys of consumed rows, sorted, with repetitions. All of them are known if there are `rows`.
    pub keys: Vec<u64>,
}

impl Segment {
    fn keys_known(&self) -> bool {
        self.keys.len() as u64 >= self.rows
    }
}

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Rows of a part from an offset to its end, in the part's order.
    Fresh { part: Part, from: u64 },
    /// A part in which consumed and new rows are mixed.
    Mixed(Part),
}

/// Consumed ranges of all partitions of all shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    pub(super) partitions: BTreeMap<(u32, String), Partition>,
    serial: u64,
}

/// Consumed ranges of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    pub segments: Vec<Segment>,
    /// Rows delivered out of mixed parts that are not yet consumed to the end.
    pub loose: Vec<Loose>,
    /// In how many listings in a row no part of it was seen.
    pub absent: u32,
}

/// Rows delivered out of a mixed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loose {
    /// First block of the part.
    pub lo: i64,
    /// Last block of the part.
    pub hi: i64,
    /// Sorted keys of the rows.
    pub keys: Vec<u64>,
}

/// Listings without any part of a partition until it is taken for dropped. Many, because a listing
/// may come from a replica that lags.
const ABSENT_MAX: u32 = 1_000;

impl Ledger {
    /// What is new in `parts`, in the order of insertion. Merges of consumed parts are relabelled
    /// without reading.
    pub fn plan(&mut self, parts: &[Part]) -> Vec<Work> {
        let mut works = Vec::new();
        for part in parts {
            let partition = self.partitions.entry(part.partition_key()).or_default();
            works.extend(partition.judge(part));
        }
        self.forget_dropped(parts);
        works.sort_by(|a, b| order(a).cmp(&order(b)));
        works
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

    /// Marks `part` as consumed up to `next_offset` (`None`: to its end). `keys` are those of the
    /// rows consumed now.
    pub fn consume(&mut self, part: &Part, rows: u64, next_offset: Option<u64>, keys: Vec<u64>) {
        self.serial += 1;
        let serial = self.serial;
        let partition = self.partitions.entry(part.partition_key()).or_default();
        let at = partition.segments.iter().position(|s| (s.lo, s.hi) == (part.lo, part.hi));
        let at = at.unwrap_or_else(|| {
            partition.segments.push(Segment {
                lo: part.lo,
                hi: part.hi,
                level: part.level,
                mutation: part.mutation,
                rows: 0,
                next_offset: Some(0),
                serial,
                keys: Vec::new(),
            });
            partition.segments.len() - 1
        });
        let segment = &mut partition.segments[at];
        segment.rows += rows;
        segment.next_offset = next_offset;
        segment.serial = serial;
        merge_keys(&mut segment.keys, keys);
        self.evict();
    }

    /// Notes rows delivered out of a mixed part.
    pub fn deliver(&mut self, part: &Part, keys: Vec<u64>) {
        let partition = self.partitions.entry(part.partition_key()).or_default();
        match partition.loose.iter_mut().find(|l| (l.lo, l.hi) == (part.lo, part.hi)) {
            Some(loose) => merge_keys(&mut loose.keys, keys),
            None => {
                let mut loose = Loose { lo: part.lo, hi: part.hi, keys: Vec::new() };
                merge_keys(&mut loose.keys, keys);
                partition.loose.push(loose);
            }
        }
    }

    /// Marks a mixed part as consumed to the end: it takes the place of all it holds.
    pub fn settle(&mut self, part: &Part) {
        self.serial += 1;
        let partition = self.partitions.entry(part.partition_key()).or_default();
        let mut keys = Vec::new();
        for loose in partition.loose.extract_if(.., |l| part.lo <= l.lo && l.hi <= part.hi) {
            merge_keys(&mut keys, loose.keys);
        }
        for segment in partition.segments.iter_mut().filter(|s| part.holds(s)) {
            merge_keys(&mut keys, std::mem::take(&mut segment.keys));
        }
        partition.segments.retain(|segment| !part.holds(segment));
        partition.segments.push(Segment {
            lo: part.lo,
            hi: part.hi,
            level: part.level,
            mutation: part.mutation,
            rows: part.rows,
            next_offset: None,
            serial: self.serial,
            keys,
        });
        self.evict();
    }

    /// The sorted keys of all consumed rows that `part` may hold.
    pub fn known(&self, part: &Part) -> Vec<u64> {
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return Vec::new() };
        let mut keys = Vec::new();
        for loose in partition.loose.iter().filter(|l| part.lo <= l.hi && l.lo <= part.hi) {
            keys.extend(&loose.keys);
        }
        for segment in partition.segments.iter().filter(|s| part.overlaps(s)) {
            keys.extend(&segment.keys);
        }
        keys.sort_unstable();
        keys
    }

    /// How many consumed rows of `part` cannot be told from new ones, because their keys were
    /// forgotten.
    pub fn unknown(&self, part: &Part) -> u64 {
        let Some(partition) = self.partitions.get(&part.partition_key()) else { return 0 };
        let held = partition.segments.iter().filter(|s| part.overlaps(s) && !s.keys_known());
        held.map(|s| s.rows.saturating_sub(s.keys.len() as u64)).sum()
    }

    /// Consumed parts among `parts` whose keys are not known, newest first: they can be read again
    /// while the part is still there under the same range.
    pub fn without_keys<'p>(&self, parts: &'p [Part]) -> Vec<&'p Part> {
        let mut found: Vec<&Part> = parts
            .iter()
            .filter(|part| {
                let partition = self.partitions.get(&part.partition_key());
                let same = |s: &&Segment| (s.lo, s.hi, s.rows) == (part.lo, part.hi, part.rows);
                let segment = partition.and_then(|p| p.segments.iter().find(same));
                segment.is_some_and(|s| s.next_offset.is_none() && !s.keys_known())
            })
            .collect();
        found.sort_by_key(|part| std::cmp::Reverse(part.hi));
        found
    }

    /// Gives a consumed part its keys back; ignored unless there is one for each row.
    pub fn restore_keys(&mut self, part: &Part, mut keys: Vec<u64>) {
        keys.sort_unstable();
        let partition = self.partitions.get_mut(&part.partition_key());
        let segments = partition.into_iter().flat_map(|p| &mut p.segments);
        for segment in segments.filter(|s| (s.lo, s.hi) == (part.lo, part.hi)) {
            if segment.rows == keys.len() as u64 {
                segment.keys = std::mem::take(&mut keys);
            }
        }
    }

    /// How many keys are held.
    pub fn keys_held(&self) -> usize {
        let of = |p: &Partition| {
            let loose: usize = p.loose.iter().map(|l| l.keys.len()).sum();
            loose + p.segments.iter().map(|s| s.keys.len()).sum::<usize>()
        };
        self.partitions.values().map(of).sum()
    }

    /// Forgets the keys of the segments consumed longest ago until the rest fits.
    fn evict(&mut self) {
        let mut held = self.keys_held();
        if held <= KEYS_MAX {
            return;
        }
        let mut segments: Vec<&mut Segment> = self
            .partitions
            .values_mut()
            .flat_map(|p| &mut p.segments)
            .filter(|s| !s.keys.is_empty())
            .collect();
        segments.sort_by_key(|segment| segment.serial);
        for segment in segments {
            if held <= KEYS_MAX {
                break;
            }
            held -= segment.keys.len();
            segment.keys = Vec::new();
        }
    }

    /// Takes up numbering after the segments were loaded.
    pub(super) fn resume_serial(&mut self) {
        let segments = self.partitions.values().flat_map(|p| &p.segments);
        self.serial = segments.map(|s| s.serial).max().unwrap_or(0);
    }
}

impl Partition {
    /// What there is to do for `part`, if anything.
    fn judge(&mut self, part: &Part) -> Option<Work> {
        let exact = self.segments.iter_mut().find(|s| (s.lo, s.hi) == (part.lo, part.hi));
        if let Some(segment) = exact {
            match segment.next_offset {
                Some(from) if (segment.level, segment.mutation) == (part.level, part.mutation) => {
                    return Some(Work::Fresh { part: part.clone(), from });
                }
                // A mutation or a merge with itself never adds rows.
                None if part.rows <= segment.rows => {
                    segment.level = part.level;
                    segment.mutation = part.mutation;
                    segment.rows = part.rows;
                    return None;
                }
                _ => return Some(Work::Mixed(part.clone())),
            }
        }
        // A lagging replica shows the sources of a part that was consumed.
        if self.segments.iter().any(|s| s.lo <= part.lo && part.hi <= s.hi) {
            return None;
        }
        if !self.segments.iter().any(|s| part.overlaps(s)) {
            return Some(Work::Fresh { part: part.clone(), from: 0 });
        }
        let held: Vec<&Segment> = self.segments.iter().filter(|s| part.holds(s)).collect();
        let rows: u64 = held.iter().map(|s| s.rows).sum();
        let whole = held.iter().all(|s| s.next_offset.is_none() && s.mutation == part.mutation);
        let in_progress = self.loose.iter().any(|l| part.lo <= l.hi && l.lo <= part.hi);
        if !whole || rows != part.rows || in_progress {
            return Some(Work::Mixed(part.clone()));
        }
        self.relabel(part);
        None
    }

    /// A merge of consumed parts only.
    fn relabel(&mut self, part: &Part) {
        let (held, mut kept): (Vec<Segment>, Vec<Segment>) =
            std::mem::take(&mut self.segments).into_iter().partition(|s| part.holds(s));
        let mut merged = Segment {
            lo: part.lo,
            hi: part.hi,
            level: part.level,
            mutation: part.mutation,
            rows: part.rows,
            next_offset: None,
            serial: 0,
            keys: Vec::new(),
        };
        for segment in held {
            merged.serial = merged.serial.max(segment.serial);
            merged.keys.extend(segment.keys);
        }
        merged.keys.sort_unstable();
        kept.push(merged);
        self.segments = kept;
    }
}

/// Insertion order: block numbers of plain MergeTree count over the whole table.
fn order(work: &Work) -> (i64, u32, &str) {
    let (Work::Fresh { part, .. } | Work::Mixed(part)) = work;
    (part.lo, part.shard, &part.name)
}

/// Adds `more` to the sorted `keys`.
fn merge_keys(keys: &mut Vec<u64>, more: Vec<u64>) {
    if keys.is_empty() {
        *keys = more;
    } else {
        keys.extend(more);
    }
    // The sort is adaptive: two sorted runs merge in linear time.
    keys.sort();
}

/// Tells new rows from known ones by counting keys: of rows with one key, as many are known as the
/// sorted list holds it times.
#[derive(Debug)]
pub struct Sieve {
    known: Vec<u64>,
    used: Vec<bool>,
}

impl Sieve {
    /// `known` must be sorted.
    pub fn new(known: Vec<u64>) -> Sieve {
        let used = vec![false; known.len()];
        Sieve { known, used }
    }

    /// Whether the row with this key is new; each row must be asked about once.
    pub fn is_new(&mut self, key: u64) -> bool {
        let from = self.known.partition_point(|k| *k < key);
        let same = (from..self.known.len()).take_while(|at| self.known[*at] == key);
        match same.into_iter().find(|at| !self.used[*at]) {
            Some(at) => {
                self.used[at] = true;
                false
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests;

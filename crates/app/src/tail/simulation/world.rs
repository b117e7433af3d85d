//! A simulated table: what ClickHouse may do to one, in random order.

use crate::tail::part::{Part, Times};
use crate::tail::table::Abilities;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, BTreeSet};

pub const MINUTE_NS: u64 = 60_000_000_000;
pub const DAY_NS: u64 = 1_440 * MINUTE_NS;
/// When the simulation begins.
pub const BEGIN_NS: u64 = 20_000 * DAY_NS + 720 * MINUTE_NS;

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// Tells it from all others.
    pub id: u32,
    /// Two equal rows without an id of their own share it.
    pub key: u64,
    pub timestamp_ns: u64,
    pub(super) block: i64,
    /// `None`: inserted before the column was there.
    pub(super) created_ns: Option<u64>,
    pub ours: bool,
    /// Deleted in place: gone, but its offset stays.
    pub(super) masked: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) part: Part,
    pub(super) rows: Vec<Row>,
}

impl Stored {
    fn of(partition: &str, lo: i64, hi: i64, level: u64, mutation: i64, rows: Vec<Row>) -> Stored {
        let version = if mutation > 0 { format!("_{mutation}") } else { String::new() };
        let name = format!("{partition}_{lo}_{hi}_{level}{version}");
        let shown = rows.iter().filter(|row| !row.masked);
        let dated =
            shown.clone().map(|row| Times { oldest_ns: row.timestamp_ns, newest_ns: row.timestamp_ns });
        let times = dated.reduce(|all, one| all.and(&one));
        let part = Part { times, ..Part::parse(0, partition, &name, shown.count() as u64).unwrap() };
        Stored { part, rows }
    }

    fn covers(&self, other: &Stored) -> bool {
        self.part.partition == other.part.partition && self.part.holds(other.part.lo, other.part.hi)
    }
}

/// Which rows merges leave out.
#[derive(Debug, Clone, Copy)]
pub enum Retention {
    Forever,
    /// Those older than so much, nanoseconds.
    Until(u64),
    /// Some of any age, and nobody knows which.
    Unknown,
}

/// A part that was detached.
#[derive(Debug)]
struct Detached {
    stored: Stored,
    /// How often the reader had been opened.
    openings: u32,
}

/// What of the table differs from run to run.
#[derive(Debug, Clone, Copy)]
pub struct Kinds {
    pub abilities: Abilities,
    /// Rows may be equal in all they have.
    pub equal_rows: bool,
    /// How often, in a hundred, a question fails.
    pub failures: u32,
    /// Parts are mutated, dropped, detached, the table is created anew.
    pub upheaval: bool,
    /// The times of parts are told.
    pub times: bool,
    /// Merges do not correct the times of the parts they make, as in ClickHouse 25.5.
    pub stale_times: bool,
    pub retention: Retention,
}

#[derive(Debug)]
pub struct World {
    pub random: StdRng,
    pub kinds: Kinds,
    pub clock_ns: u64,
    /// What each replica shows; a plain table has one.
    pub(super) replicas: Vec<Vec<Stored>>,
    /// Which the reader asks.
    pub(super) asked: usize,
    /// What all replicas must do in the end, and which each has done.
    log: Vec<Stored>,
    done: Vec<Vec<bool>>,
    /// All parts as they stand in the end.
    settled: Vec<Stored>,
    next_block: BTreeMap<String, i64>,
    in_flight: Vec<(String, i64, Vec<Row>)>,
    detached: Vec<Detached>,
    /// Blocks and rows of parts that were detached.
    holes: Vec<(Part, Vec<u32>)>,
    next_id: u32,
    /// Changes when the table is created anew.
    pub identity: u32,
    /// From this clock on, merges keep blocks and inserts note their time.
    columns_from_ns: u64,
    /// Rows that became visible, by id.
    pub inserted: BTreeMap<u32, Row>,
    /// Rows that were deleted or detached for good.
    pub removed: BTreeMap<u32, Row>,
    /// Rows that may come twice if they are detached and attached again: the reader cannot know them any more.
    pub unknown: BTreeSet<u32>,
    /// How often the reader was opened.
    pub openings: u32,
    /// The reader forgets keys.
    pub forgets: bool,
    /// Nothing fails or moves any more.
    pub calm: bool,
    /// Questions asked.
    pub questions: u32,
    /// Rows that were passed over at the start; `None`: those that the next listing shows.
    pub passed: Option<BTreeSet<u32>>,
}

impl World {
    pub fn new(seed: u64, kinds: Kinds) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let replicas = if kinds.abilities.plain { 1 } else { 2 };
        World {
            columns_from_ns: BEGIN_NS + random.random_range(0..3) * 20_000_000_000,
            random,
            kinds,
            clock_ns: BEGIN_NS,
            replicas: vec![Vec::new(); replicas],
            asked: 0,
            log: Vec::new(),
            done: vec![Vec::new(); replicas],
            settled: Vec::new(),
            next_block: BTreeMap::new(),
            in_flight: Vec::new(),
            detached: Vec::new(),
            holes: Vec::new(),
            next_id: 0,
            identity: 1,
            inserted: BTreeMap::new(),
            removed: BTreeMap::new(),
            unknown: BTreeSet::new(),
            openings: 0,
            forgets: false,
            calm: false,
            questions: 0,
            passed: Some(BTreeSet::new()),
        }
    }

    /// Something happens.
    pub fn step(&mut self) {
        self.clock_ns += self.random.random_range(0..1_000) * 1_000_000;
        if !self.kinds.abilities.plain {
            return self.step_replicated();
        }
        match self.random.random_range(0..100) {
            0..45 => self.begin_insert(),
            45..50 if self.kinds.upheaval => self.mutate(),
            50..53 if self.kinds.upheaval => self.remove(false),
            53..57 if self.kinds.upheaval => self.remove(true),
            57..62 if self.kinds.upheaval => self.attach(),
            62..64 if self.kinds.upheaval => self.delete_in_place(),
            64..66 => self.expire(),
            66 if self.kinds.upheaval && self.random.random_bool(0.3) => self.create_anew(),
            67 if self.kinds.upheaval && self.random.random_bool(0.3) => self.count_anew(),
            _ => self.merge(),
        }
    }

    fn step_replicated(&mut self) {
        match self.random.random_range(0..100) {
            0..35 => self.begin_insert(),
            35..65 if !self.in_flight.is_empty() => {
                let at = self.random.random_range(0..self.in_flight.len());
                let (partition, block, rows) = self.in_flight.remove(at);
                // One in ten fails, and leaves a hole.
                if self.random.random_bool(0.9) {
                    self.commit(&partition, block, rows);
                }
            }
            65..80 => self.merge(),
            _ => {
                let replica = self.random.random_range(0..self.replicas.len());
                let pending: Vec<usize> =
                    (0..self.log.len()).filter(|at| !self.done[replica][*at]).take(6).collect();
                if !pending.is_empty() {
                    let at = pending[self.random.random_range(0..pending.len())];
                    self.apply(replica, at);
                }
            }
        }
        if self.random.random_bool(0.03) {
            self.asked = self.random.random_range(0..self.replicas.len());
        }
    }

    /// All replicas come up to date.
    pub fn calm_down(&mut self) {
        for (partition, block, rows) in std::mem::take(&mut self.in_flight) {
            self.commit(&partition, block, rows);
        }
        for replica in 0..self.replicas.len() {
            for at in 0..self.log.len() {
                if !self.done[replica][at] {
                    self.apply(replica, at);
                }
            }
        }
        self.calm = true;
    }

    fn apply(&mut self, replica: usize, at: usize) {
        self.done[replica][at] = true;
        let new = self.log[at].clone();
        let shown = &mut self.replicas[replica];
        let age = |stored: &Stored| (stored.part.level, stored.part.mutation);
        let is_old =
            |stored: &Stored| stored.covers(&new) && !(new.covers(stored) && age(stored) < age(&new));
        if shown.iter().any(is_old) {
            return;
        }
        shown.retain(|stored| !new.covers(stored));
        shown.push(new);
    }

    fn publish(&mut self, new: Stored) {
        self.settled.retain(|stored| !new.covers(stored));
        self.settled.push(new.clone());
        self.log.push(new);
        self.done.iter_mut().for_each(|done| done.push(false));
        if self.kinds.abilities.plain {
            self.apply(0, self.log.len() - 1);
        }
    }

    fn block(&mut self, partition: &str) -> i64 {
        // Plain tables count over all partitions.
        let counter = if self.kinds.abilities.plain { "" } else { partition };
        let next = self.next_block.entry(counter.into()).or_default();
        *next += 1;
        *next
    }

    fn begin_insert(&mut self) {
        let late_ns = match self.random.random_range(0..10) {
            0 => self.random.random_range(0..3 * DAY_NS),
            1 => self.random.random_range(0..90 * MINUTE_NS),
            _ => self.random.random_range(0..MINUTE_NS),
        };
        let partition = ((self.clock_ns - late_ns) / DAY_NS).to_string();
        // An insert may take longer than the slack.
        let slow_ns = if self.random.random_bool(0.05) { 5_000_000_000 } else { 100_000_000 };
        let created_ns = (self.clock_ns >= self.columns_from_ns).then_some(self.clock_ns - slow_ns);
        let block = self.block(&partition);
        let count = self.random.random_range(1..8);
        let rows = self.rows(count, self.clock_ns - late_ns, block, created_ns);
        match self.kinds.abilities.plain {
            true => self.commit(&partition, block, rows),
            false => self.in_flight.push((partition, block, rows)),
        }
    }

    /// New rows.
    fn rows(&mut self, count: u64, timestamp_ns: u64, block: i64, created_ns: Option<u64>) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for n in 0..count {
            let id = self.next_id;
            self.next_id += 1;
            let equal = self.kinds.equal_rows && n > 0 && self.random.random_bool(0.2);
            let key = if equal { rows[0].key } else { u64::from(id) << 8 | 7 };
            let ours = !self.kinds.abilities.shared || self.random.random_bool(0.5);
            let ours = if equal { rows[0].ours } else { ours };
            rows.push(Row { id, key, timestamp_ns, block, created_ns, ours, masked: false });
        }
        rows
    }

    fn commit(&mut self, partition: &str, block: i64, rows: Vec<Row>) {
        self.inserted.extend(rows.iter().map(|row| (row.id, row.clone())));
        self.publish(Stored::of(partition, block, block, 0, 0, rows));
    }

    fn merge(&mut self) {
        if self.settled.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.settled.len());
        let partition = self.settled[at].part.partition.clone();
        let mut sources: Vec<Stored> =
            self.settled.iter().filter(|s| s.part.partition == partition).cloned().collect();
        sources.sort_by_key(|s| s.part.lo);
        let from = self.random.random_range(0..sources.len());
        let count = self.random.random_range(2..7);
        let sources: Vec<Stored> = sources.into_iter().skip(from).take(count).collect();
        if sources.len() < 2 {
            return;
        }
        let (lo, hi) = (sources[0].part.lo, sources[sources.len() - 1].part.hi);
        if self.in_flight.iter().any(|(p, block, _)| *p == partition && lo <= *block && *block <= hi) {
            return;
        }
        let level = sources.iter().map(|s| s.part.level).max().unwrap_or(0) + 1;
        let mutation = sources.iter().map(|s| s.part.mutation).max().unwrap_or(0);
        self.rewrite(sources, level, mutation);
    }

    /// A part takes the place of its sources, without rows that are deleted or expired.
    fn rewrite(&mut self, sources: Vec<Stored>, level: u64, mutation: i64) {
        let keeps = self.kinds.abilities.blocks && self.clock_ns >= self.columns_from_ns;
        let (first, last) = (&sources[0].part, &sources[sources.len() - 1].part);
        let (partition, lo, hi) = (first.partition.clone(), first.lo, last.hi);
        let times = sources.iter().filter_map(|s| s.part.times).reduce(|all, one| all.and(&one));
        // A part that was detached, and is not known to be, seems to be held by what is merged around it.
        let around = |part: &Part| part.partition == partition && lo <= part.lo && part.hi <= hi;
        let hidden = self.holes.iter().filter(|(part, _)| around(part)).flat_map(|(_, ids)| ids);
        self.unknown.extend(hidden);
        let rows = sources.into_iter().flat_map(|s| s.rows).filter(|row| !row.masked);
        let (gone, mut rows): (Vec<Row>, Vec<Row>) = rows.partition(|row| self.is_expired(row));
        self.note_removed(gone);
        if rows.is_empty() {
            return self.drop_within(&partition, lo, hi);
        }
        for row in &mut rows {
            row.created_ns.get_or_insert(self.clock_ns);
            if !keeps {
                row.block = lo;
            }
        }
        // The order of a part is that of its sorting key.
        rows.sort_by_key(|row| (row.timestamp_ns / (10 * MINUTE_NS), row.key % 5, row.id));
        let mut new = Stored::of(&partition, lo, hi, level, mutation, rows);
        if self.kinds.stale_times {
            new.part.times = times;
        }
        self.publish(new);
    }

    fn is_expired(&self, row: &Row) -> bool {
        match self.kinds.retention {
            Retention::Forever => false,
            Retention::Until(age_ns) => row.timestamp_ns + age_ns <= self.clock_ns,
            Retention::Unknown => (u64::from(row.id) + self.clock_ns / MINUTE_NS).is_multiple_of(4),
        }
    }

    /// `ALTER TABLE … DELETE`, done in all parts, or `UPDATE`, which deletes nothing.
    fn mutate(&mut self) {
        let version = self.block("");
        let deletes = self.random.random_bool(0.7);
        for stored in self.settled.clone() {
            let Part { partition, lo, hi, level, .. } = stored.part;
            let (gone, rows): (Vec<Row>, Vec<Row>) =
                stored.rows.into_iter().partition(|row| row.masked || (deletes && row.id % 9 == 0));
            self.note_removed(gone);
            if rows.is_empty() {
                self.drop_part(&partition, lo);
            } else {
                self.publish(Stored::of(&partition, lo, hi, level, version, rows));
            }
        }
    }

    /// `DELETE FROM`, which marks rows.
    fn delete_in_place(&mut self) {
        let Some(mut stored) = self.some_part() else { return };
        let version = self.block("");
        let mut gone = Vec::new();
        let count = stored.rows.len();
        for row in &mut stored.rows {
            if row.id % 5 == 0 && !row.masked && count > 1 {
                row.masked = true;
                gone.push(row.clone());
            }
        }
        let Part { partition, lo, hi, level, .. } = stored.part;
        if stored.rows.iter().all(|row| row.masked) {
            self.drop_part(&partition, lo);
        } else {
            self.publish(Stored::of(&partition, lo, hi, level, version, stored.rows));
        }
        self.note_removed(gone);
    }

    /// A part is merged with itself, for its TTL.
    fn expire(&mut self) {
        if let Some(stored) = self.some_part().filter(|_| !matches!(self.kinds.retention, Retention::Forever))
        {
            let (level, mutation) = (stored.part.level + 1, stored.part.mutation);
            self.rewrite(vec![stored], level, mutation);
        }
    }

    fn some_part(&mut self) -> Option<Stored> {
        (!self.settled.is_empty())
            .then(|| self.settled[self.random.random_range(0..self.settled.len())].clone())
    }

    fn note_removed(&mut self, rows: Vec<Row>) {
        self.removed.extend(rows.into_iter().map(|row| (row.id, row)));
    }

    fn drop_part(&mut self, partition: &str, lo: i64) {
        self.drop_within(partition, lo, lo);
    }

    /// Drops what begins from `lo` to `hi`.
    fn drop_within(&mut self, partition: &str, lo: i64, hi: i64) {
        let is_it = |stored: &Stored| {
            stored.part.partition == partition && lo <= stored.part.lo && stored.part.lo <= hi
        };
        self.settled.retain(|stored| !is_it(stored));
        self.replicas.iter_mut().for_each(|shown| shown.retain(|stored| !is_it(stored)));
    }

    /// A part is dropped, or detached.
    fn remove(&mut self, detach: bool) {
        let Some(stored) = self.some_part() else { return };
        self.drop_part(&stored.part.partition, stored.part.lo);
        let rows: Vec<Row> = stored.rows.into_iter().filter(|row| !row.masked).collect();
        self.note_removed(rows.clone());
        if detach {
            self.holes.push((stored.part.clone(), rows.iter().map(|row| row.id).collect()));
            self.detached.push(Detached { stored: Stored { rows, ..stored }, openings: self.openings });
        }
    }

    /// A detached part comes back under a new number.
    fn attach(&mut self) {
        if self.detached.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.detached.len());
        let Detached { stored: Stored { part, mut rows }, openings } = self.detached.remove(at);
        if rows.is_empty() {
            return;
        }
        // Its keys cannot be read back on opening; and those of what was passed over may never have been read.
        let is_unknown = self.forgets || openings != self.openings;
        let partition = part.partition;
        let block = self.block(&partition);
        for row in &mut rows {
            row.block = block;
            self.removed.remove(&row.id);
            let is_passed = self.passed.as_ref().is_some_and(|passed| passed.contains(&row.id));
            if is_unknown || is_passed {
                self.unknown.insert(row.id);
            }
        }
        self.publish(Stored::of(&partition, block, block, 0, 0, rows));
    }

    /// `DROP TABLE` and `CREATE TABLE`.
    fn create_anew(&mut self) {
        self.count_anew();
        self.detached.clear();
        self.identity += 1;
    }

    /// `TRUNCATE` and a restart of ClickHouse: blocks are counted from 1 again. Often the parts that come
    /// then have the blocks, the levels and the numbers of rows of those that went.
    fn count_anew(&mut self) {
        let mut old = std::mem::take(&mut self.settled);
        old.sort_by_key(|stored| stored.part.lo);
        self.replicas.iter_mut().for_each(Vec::clear);
        self.next_block.clear();
        let has_twins = self.kinds.times && self.random.random_bool(0.7);
        for Stored { part, rows } in old {
            self.note_removed(rows);
            if has_twins && part.mutation == 0 && self.random.random_bool(0.8) {
                self.twin(&part);
            }
        }
    }

    /// A part of new rows that is told from `part` by its times only.
    fn twin(&mut self, part: &Part) {
        let day: u64 = part.partition.parse().unwrap();
        let timestamp_ns = match day == self.clock_ns / DAY_NS {
            true => self.clock_ns,
            false => day * DAY_NS + self.random.random_range(0..DAY_NS),
        };
        let next = self.next_block.entry(String::new()).or_default();
        *next = part.hi.max(*next);
        let created_ns = (self.clock_ns >= self.columns_from_ns).then_some(self.clock_ns);
        let rows = self.rows(part.rows, timestamp_ns, part.lo, created_ns);
        self.inserted.extend(rows.iter().map(|row| (row.id, row.clone())));
        self.publish(Stored::of(&part.partition, part.lo, part.hi, part.level, 0, rows));
    }
}

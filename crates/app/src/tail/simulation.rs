//! The reader against a simulated table: every order of events that ClickHouse allows, thousands of
//! times. `OTEL_LOG_AI_SEEDS` sets how many; a failure names its seed and kind.

mod table;
mod world;

use super::parts::{Options, Parts};
use super::position::Position;
use super::table::Abilities;
use super::{Is, at};
use crate::clickhouse::Kind;
use crate::config::{CatchUp, Start};
use crate::events::COUNTERS;
use futures_util::FutureExt;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use table::Simulated;
use world::{BEGIN_NS, Kinds, MINUTE_NS, Retention, World};

/// Seeds for each kind of table, unless the environment says otherwise.
const SEEDS: u64 = 60;

/// Most questions for one batch: 32 steps of at most 4, and listings.
const QUESTIONS_MAX: u32 = 32 * 4 + 10;

/// One run: a table and its reader.
struct Run {
    table: Simulated,
    start: Start,
    options: Options,
    reader: Option<Parts<Simulated>>,
    /// Committed positions with what had been committed by then, the last one last.
    committed: Vec<(String, BTreeMap<u32, u32>)>,
    seen: BTreeMap<u32, u32>,
    /// The table's clock at the start, nanoseconds since the epoch.
    started_ns: u64,
    /// Rows of a table created anew that were read before this was noticed.
    unnoticed: u32,
}

impl Run {
    fn new(seed: u64, kinds: Kinds, start: Start, options: Options) -> Run {
        let forgets = options.keys_max < 1_000;
        let mut world = World::new(seed, kinds);
        world.forgets = forgets;
        let world = Arc::new(Mutex::new(world));
        let table = Simulated { world, identity: 1 };
        let (reader, committed, seen) = (None, Vec::new(), BTreeMap::new());
        Run { table, start, options, reader, committed, seen, started_ns: 0, unnoticed: 0 }
    }

    fn chance(&self, probability: f64) -> bool {
        self.table.world().random.random_bool(probability)
    }

    /// Opens at the last committed position, or at an earlier one.
    fn open(&mut self) {
        if self.committed.len() > 1 && self.chance(0.3) {
            self.committed.pop();
        }
        let saved = self.committed.last().cloned();
        self.seen = saved.as_ref().map(|(_, seen)| seen.clone()).unwrap_or_default();
        let saved = saved.map(|(position, _)| Position::from_json(&position).unwrap());
        let (identity, now_ns) = {
            let world = self.table.world();
            (world.identity, world.clock_ns)
        };
        self.table.identity = identity;
        let is = Is { name: "d.t", identity: &identity.to_string(), share: "all hosts".into() };
        if saved.as_ref().is_some_and(|saved| saved.identity != is.identity) {
            let world = self.table.world();
            let still = |id: &&u32| !world.removed.contains_key(*id);
            self.unnoticed += self.seen.keys().filter(still).count() as u32;
        }
        self.table.world().openings += 1;
        let is_first = saved.is_none();
        let position = at(&is, self.start, saved, now_ns);
        if is_first {
            self.table.world().passed = (!matches!(self.start, Start::Now)).then(BTreeSet::new);
            self.started_ns = now_ns;
        }
        let opened = Parts::open(self.table.clone(), self.start, self.options, position, is_first);
        self.reader = opened.now_or_never().unwrap().ok();
        if let Some(reader) = self.reader.as_ref().filter(|_| is_first) {
            self.committed = vec![(reader.position(), BTreeMap::new())];
        }
    }

    /// Reads once; `false`: there was nothing.
    fn read(&mut self) -> bool {
        if self.reader.is_none() {
            self.open();
        }
        let Some(reader) = &mut self.reader else { return true };
        let asked = self.table.world().questions;
        let next = reader.next().now_or_never().unwrap();
        let asked = self.table.world().questions - asked;
        assert!(asked <= QUESTIONS_MAX, "{asked} questions for one batch");
        match next {
            Ok(None) => false,
            Ok(Some(batch)) => {
                assert!(batch.len() as u64 <= self.options.batch_rows);
                let held: usize = reader.position.ledger.keys_in_segments();
                assert!(held <= self.options.keys_max, "{held} keys held");
                if self.chance(0.15) && !self.table.world().calm {
                    self.reader = None; // Killed before the commit.
                    return true;
                }
                for index in 0..batch.len() {
                    *self.seen.entry(batch.record(index).id.parse().unwrap()).or_default() += 1;
                }
                self.committed.push((batch.position.clone(), self.seen.clone()));
                if self.committed.len() > 4 {
                    self.committed.remove(0);
                }
                if self.chance(0.1) {
                    self.reader = None; // Killed after it.
                }
                true
            }
            Err(fault) => {
                if fault.kind == Kind::Missing {
                    self.reader = None;
                }
                true
            }
        }
    }

    /// Lets the table and its reader live, then lets the reader come to the end.
    fn live(&mut self) {
        let steps = 150;
        for _ in 0..steps {
            self.table.world().step();
            while self.chance(0.3) {
                self.read();
            }
        }
        self.table.world().calm_down();
        // Whatever the loop looks at from time to time.
        self.reader = None;
        for _ in 0..1_000 {
            if !self.read() && !self.read() {
                return;
            }
        }
        panic!("the reader does not come to an end");
    }

    /// Holds what was read against what was there, and against what was told: rows that are uncertain, and
    /// rows that failed alone so often that they were passed over.
    fn judge(&self, uncertain: u64, passed_over: u64) {
        let world = self.table.world();
        let since_ns = if let Start::At(ns) = self.start { ns } else { 0 };
        let is_passed = |id: &u32| world.passed.as_ref().is_some_and(|passed| passed.contains(id));
        let mut missing = Vec::new();
        for row in world.inserted.values() {
            let wanted = row.ours && row.timestamp_ns >= since_ns && !is_passed(&row.id);
            // Merged with parts that were passed over, whose keys are not known, rows dated more than an
            // hour before the start are taken for what was there.
            let is_old = row.timestamp_ns + 60 * MINUTE_NS < self.started_ns;
            let left = matches!(self.start, Start::Now) && is_old;
            let removed = world.removed.contains_key(&row.id);
            if wanted && !left && !removed && !self.seen.contains_key(&row.id) {
                missing.push(row);
            }
        }
        assert!(missing.len() as u64 <= passed_over, "{passed_over} passed over, missing {missing:?}");
        let mut doubled = 0;
        for (id, times) in &self.seen {
            let row = &world.inserted[id];
            assert!(row.ours && row.timestamp_ns >= since_ns, "not wanted: {row:?}");
            if !world.unknown.contains(id) {
                doubled += u64::from(times - 1) + u64::from(is_passed(id));
            }
        }
        let excused = uncertain + u64::from(self.unnoticed);
        assert!(doubled <= excused, "{doubled} rows came twice, {excused} were told");
    }
}

/// Runs many seeds on tables of one kind.
fn simulate(name: &str, kinds: impl Fn(u64) -> Kinds, keys_max: usize) {
    let seeds = std::env::var("OTEL_LOG_AI_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let first = std::env::var("OTEL_LOG_AI_SEED").ok().and_then(|text| text.parse().ok());
    let mut uncertain_total = 0;
    let mut rows = 0;
    for seed in first.map_or(0..seeds, |seed| seed..seed + 1) {
        let start = match seed % 4 {
            1 => Start::At(BEGIN_NS - 30 * MINUTE_NS),
            2 => Start::Now,
            _ => Start::Beginning,
        };
        let options = Options {
            batch_rows: [3, 20, 1_000][seed as usize % 3],
            catch_up: [CatchUp::OldestFirst, CatchUp::NewestFirst][seed as usize / 3 % 2],
            keys_max,
            mixed_rows_max: [4, 1_000][seed as usize / 6 % 2],
        };
        let mut run = Run::new(seed, kinds(seed), start, options);
        for _ in 0..seed % 20 {
            run.table.world().step();
        }
        let told =
            || [&COUNTERS.rows_uncertain, &COUNTERS.rows_passed_over].map(|c| c.load(Ordering::Relaxed));
        let before = told();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run.live();
            let [uncertain, passed_over] = [0, 1].map(|at| told()[at] - before[at]);
            run.judge(uncertain, passed_over);
            uncertain
        }));
        rows += run.seen.len();
        match outcome {
            Ok(uncertain) => uncertain_total += uncertain,
            Err(_) => panic!("{name}: OTEL_LOG_AI_SEED={seed} {start:?} {options:?}"),
        }
    }
    println!("{name}: {seeds} seeds, {rows} rows, {uncertain_total} told uncertain");
}

fn plain(seed: u64) -> Kinds {
    let (blocks, created_at) = (seed % 5 == 1, seed % 5 == 2);
    let abilities = Abilities { plain: true, ordered: true, shared: seed % 7 == 3, blocks, created_at };
    let (failures, times) = ((seed % 3) as u32 * 10, seed % 8 < 6);
    let (stale_times, retention) = ((seed / 4).is_multiple_of(2), Retention::Forever);
    Kinds { abilities, equal_rows: false, failures, upheaval: false, times, stale_times, retention }
}

fn replicated(seed: u64) -> Kinds {
    let kinds = plain(seed);
    Kinds { abilities: Abilities { plain: false, ordered: false, ..kinds.abilities }, ..kinds }
}

fn upheaval(seed: u64) -> Kinds {
    let retention =
        [Retention::Forever, Retention::Until(60_000_000_000), Retention::Unknown][seed as usize / 5 % 3];
    Kinds { upheaval: true, retention, ..plain(seed) }
}

/// Merges leave rows out.
fn expiring(seed: u64) -> Kinds {
    let kinds = if seed.is_multiple_of(2) { plain(seed) } else { replicated(seed) };
    let retention = match seed / 2 % 4 {
        0 => Retention::Until(45_000_000_000),
        1 => Retention::Until(90_000_000_000),
        2 => Retention::Until(30 * MINUTE_NS),
        _ if kinds.abilities.plain => Retention::Unknown,
        _ => Retention::Until(60_000_000_000),
    };
    Kinds { retention, ..kinds }
}

#[test]
fn a_plain_table_is_read_once() {
    simulate("plain", |seed| Kinds { equal_rows: seed % 2 == 0, ..plain(seed) }, 100_000);
}

#[test]
fn a_plain_table_is_read_when_keys_are_forgotten() {
    simulate("plain, few keys", plain, 12);
}

#[test]
fn a_replicated_table_is_read_once() {
    simulate("replicated", |seed| Kinds { equal_rows: seed % 2 == 0, ..replicated(seed) }, 100_000);
}

#[test]
fn a_replicated_table_is_read_when_keys_are_forgotten() {
    simulate("replicated, few keys", replicated, 12);
}

#[test]
fn mutations_drops_attached_parts_and_new_tables_lose_nothing() {
    simulate("upheaval", upheaval, 100_000);
}

#[test]
fn nor_do_they_when_keys_are_forgotten() {
    simulate("upheaval, few keys", upheaval, 12);
}

#[test]
fn rows_that_expire_take_no_new_row_with_them() {
    simulate("expiring", expiring, 100_000);
}

#[test]
fn nor_do_they_when_the_keys_of_consumed_rows_are_forgotten() {
    simulate("expiring, few keys", expiring, 12);
}

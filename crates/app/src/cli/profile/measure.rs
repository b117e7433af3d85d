//! Measures the rules one by one, by looking on while the engine runs. The clock's own cost is measured
//! and left out.

use otel_log_ai_core::engine::{Engine, Scratch, Watch};
use otel_log_ai_core::otel::{Assembler, AuditRecord, Event, LogRecord, Taxonomy};
use std::time::Instant;

/// An interval longer than this was perhaps spent by another program: the event is evaluated again,
/// and the shorter time counts.
const DOUBTFUL_NS: u64 = 20_000;
/// So often a doubtful event is evaluated again.
const AGAIN_MAX: usize = 2;
/// Readings of the clock by which its cost is measured.
const CLOCK_READINGS: u32 = 10_000;

/// What one rule took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Events for which it was looked at.
    pub asked: u64,
    /// Events that it matched.
    pub hits: u64,
    /// Its own code, without the clock's part.
    pub time_ns: u64,
}

/// What the events of one class took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ClassCost {
    /// Its events.
    pub events: u64,
    /// Rules looked at, in all events.
    pub asked: u64,
    /// Rules that matched, in all events.
    pub hits: u64,
    /// Reading and searching the values.
    pub scan_ns: u64,
    /// The rules' own code.
    pub rules_ns: u64,
}

/// Everything measured.
#[derive(Debug, Default)]
pub struct Costs {
    /// Rows read.
    pub rows: u64,
    /// Events of a class.
    pub events: u64,
    /// By number of rule.
    pub rules: Vec<Cost>,
    /// By number of class.
    pub classes: Vec<ClassCost>,
}

/// Evaluates records and measures.
pub struct Profiler<'e> {
    engine: &'e Engine,
    taxonomy: &'e Taxonomy,
    scratch: Scratch,
    assembler: Assembler,
    clock: Clock,
    /// The first evaluation of the event at hand.
    lap: Lap,
    again: Lap,
    costs: Costs,
}

/// One evaluation of one event.
#[derive(Debug)]
struct Lap {
    last: Instant,
    class: Option<usize>,
    scan_ns: u64,
    /// Each rule that was looked at: its number, the time, whether it matches.
    asked: Vec<(usize, u64, bool)>,
}

/// What reading the clock takes.
#[derive(Debug, Clone, Copy)]
struct Clock {
    read_ns: f64,
}

impl Clock {
    fn measured() -> Clock {
        let started = Instant::now();
        for _ in 0..CLOCK_READINGS {
            std::hint::black_box(Instant::now());
        }
        Clock { read_ns: started.elapsed().as_nanos() as f64 / f64::from(CLOCK_READINGS) }
    }

    /// `measured_ns` in `readings` intervals, without the clock's part.
    fn without(self, measured_ns: u64, readings: u64) -> u64 {
        measured_ns.saturating_sub((self.read_ns * readings as f64) as u64)
    }
}

impl Lap {
    fn new() -> Lap {
        Lap { last: Instant::now(), class: None, scan_ns: 0, asked: vec![] }
    }

    fn split(&mut self) -> u64 {
        let now = Instant::now();
        let split = now.duration_since(self.last);
        self.last = now;
        u64::try_from(split.as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_doubtful(&self) -> bool {
        self.scan_ns > DOUBTFUL_NS || self.asked.iter().any(|(_, time_ns, _)| *time_ns > DOUBTFUL_NS)
    }

    /// Takes the shorter time of each step of two evaluations of one event.
    fn shorten(&mut self, other: &Lap) {
        self.scan_ns = self.scan_ns.min(other.scan_ns);
        for ((_, time_ns, _), (_, other_ns, _)) in self.asked.iter_mut().zip(&other.asked) {
            *time_ns = (*time_ns).min(*other_ns);
        }
    }
}

impl Watch for Lap {
    fn begins(&mut self, class: usize) {
        self.class = Some(class);
        self.scan_ns = 0;
        self.asked.clear();
        self.last = Instant::now();
    }

    fn scanned(&mut self) {
        self.scan_ns = self.split();
    }

    fn asked(&mut self, rule: usize, matches: bool) {
        let time_ns = self.split();
        self.asked.push((rule, time_ns, matches));
    }
}

impl<'e> Profiler<'e> {
    /// With the engine's rules, whose classes are those of `taxonomy`.
    pub fn new(engine: &'e Engine, taxonomy: &'e Taxonomy) -> Profiler<'e> {
        let costs = Costs {
            rules: vec![Cost::default(); engine.rules().len()],
            classes: vec![ClassCost::default(); engine.classes().len()],
            ..Costs::default()
        };
        Profiler {
            engine,
            taxonomy,
            scratch: Scratch::default(),
            assembler: Assembler::default(),
            clock: Clock::measured(),
            lap: Lap::new(),
            again: Lap::new(),
            costs,
        }
    }

    /// Evaluates the events of a record.
    pub fn record(&mut self, record: &LogRecord<'_>) {
        self.costs.rows += 1;
        let mut audit = Vec::new();
        self.taxonomy.recognise(record, &mut |event| {
            self.event(event);
            audit.extend(AuditRecord::all(event, record, &[]));
        });
        for record in audit {
            self.assembler.add(record, 0);
        }
        for whole in self.assembler.due(0) {
            if let Some(event) = self.taxonomy.audit_event(&whole) {
                self.event(&event);
            }
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        self.lap.class = None;
        self.engine.run_watched(event, &mut self.scratch, &mut self.lap);
        let Some(class) = self.lap.class else { return };
        for _ in 0..AGAIN_MAX {
            if self.lap.is_doubtful() {
                self.engine.run_watched(event, &mut self.scratch, &mut self.again);
                self.lap.shorten(&self.again);
            }
        }
        self.costs.add(class, &self.lap);
    }

    /// Evaluates the audit events that still wait for records, and says what everything took.
    pub fn finish(mut self) -> Costs {
        for whole in self.assembler.flush() {
            if let Some(event) = self.taxonomy.audit_event(&whole) {
                self.event(&event);
            }
        }
        self.costs.without_clock(self.clock);
        self.costs
    }
}

impl Costs {
    fn add(&mut self, class: usize, lap: &Lap) {
        self.events += 1;
        let of_class = &mut self.classes[class];
        of_class.events += 1;
        of_class.scan_ns += lap.scan_ns;
        of_class.asked += lap.asked.len() as u64;
        for (rule, time_ns, matches) in &lap.asked {
            let rule = &mut self.rules[*rule];
            rule.asked += 1;
            rule.time_ns += time_ns;
            rule.hits += u64::from(*matches);
            of_class.rules_ns += time_ns;
            of_class.hits += u64::from(*matches);
        }
    }

    fn without_clock(&mut self, clock: Clock) {
        for rule in &mut self.rules {
            rule.time_ns = clock.without(rule.time_ns, rule.asked);
        }
        for class in &mut self.classes {
            class.rules_ns = clock.without(class.rules_ns, class.asked);
            class.scan_ns = clock.without(class.scan_ns, class.events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_left_out_and_the_shorter_time_counts() {
        let clock = Clock { read_ns: 20.0 };
        assert_eq!((clock.without(1000, 10), clock.without(100, 10)), (800, 0));
        let mut lap = Lap { asked: vec![(0, 500, true), (1, 30_000, false)], scan_ns: 9, ..Lap::new() };
        assert!(lap.is_doubtful());
        lap.shorten(&Lap { asked: vec![(0, 700, true), (1, 40, false)], scan_ns: 10, ..Lap::new() });
        assert_eq!((lap.scan_ns, &lap.asked[..]), (9, &[(0, 500, true), (1, 40, false)][..]));
        assert!(!lap.is_doubtful());
    }
}

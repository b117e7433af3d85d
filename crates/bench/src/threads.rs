//! The whole way of records on two threads over one, by the clock on the wall, beside work that shares
//! nothing at all: what the machine gives.

use crate::matching::in_turn;
use crate::report::Report;
use otel_log_ai_bench::inputs::Set;
use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::otel::LogRecord;
use std::hint::black_box;
use std::thread::scope;
use std::time::{Duration, Instant};

/// How long rounds are measured, of which the fastest counts. Long, for machines that are shared have times of
/// many seconds in which a second core gives less, and each round's thread is a new one, while the expressions
/// keep what they have learnt by eight kinds of threads.
const MEASURED: Duration = Duration::from_secs(15);

/// Measures each set.
pub fn measure(detector: &Detector, sets: &[Set], report: &mut Report) {
    for set in sets {
        let records = set.records();
        // Every second record each: neighbours are alike, and the two shares must cost the same.
        let run = |first: usize, step: usize, scratch: &mut Scratch| {
            let mut found = vec![];
            for record in in_turn(records.iter().skip(first).step_by(step)) {
                detector.detect(record, scratch, &mut found);
                found.clear();
            }
        };
        // Kept from round to round, as the service keeps them, so that none has to learn in the rounds that count.
        let (mut a, mut b) = (Scratch::default(), Scratch::default());
        let (mut ours, mut bound) = (Pair::default(), Pair::default());
        // One after the other in every round, so that whatever disturbs the machine disturbs them all.
        let started = Instant::now();
        while started.elapsed() < MEASURED {
            ours.alone(|| run(0, 1, &mut a));
            ours.together(|| run(0, 2, &mut a), || run(1, 2, &mut b));
            bound.alone(|| read(records.iter()));
            bound.together(|| read(records.iter().step_by(2)), || read(records.iter().skip(1).step_by(2)));
        }
        report.aim("two threads over one (wall)", set.name, ours.ratio(), "x", 1.85);
        report.add("bound: two threads over one, each byte read once", set.name, bound.ratio(), "x");
    }
}

/// The shortest times of the same work, seconds.
struct Pair {
    alone: f64,
    together: f64,
}

impl Default for Pair {
    fn default() -> Pair {
        Pair { alone: f64::MAX, together: f64::MAX }
    }
}

impl Pair {
    fn alone(&mut self, work: impl FnOnce()) {
        self.alone = self.alone.min(took(work));
    }

    fn together(&mut self, half: impl FnOnce() + Send, other: impl FnOnce()) {
        let both = || {
            scope(|scope| {
                scope.spawn(half);
                other();
            });
        };
        self.together = self.together.min(took(both));
    }

    fn ratio(&self) -> f64 {
        self.alone / self.together
    }
}

fn took(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// Reads each byte of the records and does little with it.
fn read<'r, 't: 'r>(records: impl Iterator<Item = &'r LogRecord<'t>>) {
    for record in records {
        let step =
            |sum: u64, byte: u8| (sum ^ u64::from(byte)).rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        black_box(record.body.bytes().fold(0, step));
    }
}

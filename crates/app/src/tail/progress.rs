//! How far reading has come where much waits to be read.

use super::ledger::Work;
use super::part::Part;
use super::parts::rows_left;
use crate::events::Event;
use crate::telemetry::metrics::METRICS;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines about a backlog.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// A backlog that is being read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Rows read since it was noticed.
    pub done: u64,
    /// Rows that wait, as listed; of mixed parts, all rows.
    pub left: u64,
    /// How long it has been read.
    pub took: Duration,
}

impl Backlog {
    /// Rows read in a second.
    pub fn rows_per_second(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// Hundredths of all that was to be read.
    pub fn percent(&self) -> u64 {
        self.done * 100 / (self.done + self.left).max(1)
    }

    /// How long the rest will take at this rate, seconds; `None` before anything was read.
    pub fn eta_s(&self) -> Option<u64> {
        (self.done > 0).then(|| (self.left as f64 / self.rows_per_second()) as u64)
    }
}

/// The backlog that is being read now, for whoever wants to show it.
static NOW: Mutex<Option<Backlog>> = Mutex::new(None);

/// The backlog that is being read, if there is one.
pub fn backlog() -> Option<Backlog> {
    *NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts while there is a backlog.
#[derive(Debug, Default)]
pub struct Progress {
    reading: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    began: Instant,
    told: Instant,
    done: u64,
    left: u64,
}

impl Progress {
    /// What a listing leaves to be read; more than `most` rows are a backlog.
    pub fn listed(&mut self, parts: &[Part], queue: &VecDeque<Work>, most: u64) {
        let mut waiting: BTreeMap<(u32, String), u64> = BTreeMap::new();
        for part in parts {
            waiting.entry(part.partition_key()).or_default();
        }
        for work in queue {
            *waiting.entry(work.part().partition_key()).or_default() += rows_left(work);
        }
        let left = waiting.values().sum();
        METRICS.backlog(waiting);
        let now = Instant::now();
        match &mut self.reading {
            Some(reading) if left > 0 => reading.left = left,
            Some(reading) => {
                let took = reading.began.elapsed();
                if took >= TELL_INTERVAL {
                    Event::CaughtUp { rows: reading.done, took }.emit();
                }
                self.reading = None;
            }
            None if left > most => self.reading = Some(Reading { began: now, told: now, done: 0, left }),
            None => {}
        }
        self.show();
    }

    /// So many rows more were read.
    pub fn consumed(&mut self, rows: u64) {
        let Some(reading) = &mut self.reading else { return };
        reading.done += rows;
        reading.left = reading.left.saturating_sub(rows);
        if reading.told.elapsed() >= TELL_INTERVAL {
            reading.told = Instant::now();
            if let Some(backlog) = self.now() {
                Event::CatchingUp { backlog: &backlog }.emit();
            }
        }
        self.show();
    }

    fn now(&self) -> Option<Backlog> {
        let Reading { began, done, left, .. } = self.reading.as_ref()?;
        Some(Backlog { done: *done, left: *left, took: began.elapsed() })
    }

    fn show(&self) {
        let now = self.now();
        METRICS.backlog_eta(now.and_then(|backlog| backlog.eta_s()).unwrap_or(0));
        *NOW.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_tells_how_long_it_will_take() {
        let backlog = Backlog { done: 300, left: 900, took: Duration::from_secs(3) };
        assert_eq!((backlog.percent(), backlog.eta_s()), (25, Some(9)));
        assert_eq!(Backlog { done: 0, left: 900, took: Duration::ZERO }.eta_s(), None);
    }
}

//! A few events are evaluated a second time, by the definition of right: how many, for how long, and
//! who is told of a difference.
//!
//! The definition is slow on purpose: an event of a busy class may take it a tenth of a second. So the
//! time spent on it has a bound; what is left out for it is counted.

use crate::events::{COUNTERS, Event, add};
use otel_log_ai_core::otel::{Event as LogEvent, LogRecord};
use otel_log_ai_core::review::{Difference, Review, Sample};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// At most one part in so many of the time since the start is spent.
const TIME_SHARE: u32 = 50;
/// Before the bound holds, so much may be spent, so that a service on trial verifies something.
const TIME_FREE: Duration = Duration::from_secs(2);
/// Events with more text are left out, bytes: the definition would hold up a batch for seconds.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Of so many rules it is remembered that they were told.
const RULES_TOLD_MAX: usize = 10_000;

/// What all threads share.
#[derive(Debug)]
pub struct Reviews {
    sample: Sample,
    started: Instant,
    spent_us: AtomicU64,
    /// Ids of rules of which a difference was logged.
    told: Mutex<BTreeSet<String>>,
}

impl Reviews {
    /// Of one event in `one_in`; of none if that is 0.
    pub fn new(one_in: u64) -> Reviews {
        Reviews {
            sample: Sample { one_in },
            started: Instant::now(),
            spent_us: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// For the events of one row.
    pub fn reviewer(&self) -> Reviewer<'_> {
        Reviewer { shared: self, since: None }
    }

    fn has_time(&self) -> bool {
        let spent = Duration::from_micros(self.spent_us.load(Ordering::Relaxed));
        spent <= TIME_FREE + self.started.elapsed() / TIME_SHARE
    }

    /// Whether this rule was not told before.
    fn first(&self, rule: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.len() < RULES_TOLD_MAX && told.insert(rule.to_owned())
    }
}

/// One thread's share.
#[derive(Debug)]
pub struct Reviewer<'r> {
    shared: &'r Reviews,
    since: Option<Instant>,
}

impl Review for Reviewer<'_> {
    fn wants(&mut self, record: &LogRecord<'_>, event: &LogEvent<'_>, number: u64) -> bool {
        if !self.shared.sample.takes(record, number) {
            return false;
        }
        let fields = event.fields.iter().filter_map(|(_, value)| Some(value.text()?.len()));
        let bytes: usize = fields.sum::<usize>() + event.texts.iter().map(|text| text.len()).sum::<usize>();
        // Of the source only what rules ask for may have been decoded.
        if bytes.max(event.source.len()) > TEXT_BYTES_MAX || !self.shared.has_time() {
            add(&COUNTERS.verify_skipped, 1);
            return false;
        }
        self.since = Some(Instant::now());
        true
    }

    fn done(&mut self, differences: &[Difference<'_>]) {
        add(&COUNTERS.verified, 1);
        if let Some(since) = self.since.take() {
            let spent = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.shared.spent_us.fetch_add(spent, Ordering::Relaxed);
        }
        for difference in differences {
            let rule = &difference.rule.info.id;
            let first = self.shared.first(rule);
            Event::EngineDiffers { rule, class: difference.class, right: difference.right, first }.emit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use otel_log_ai_core::detect::Detector;
    use otel_log_ai_core::detect::Scratch;
    use otel_log_ai_core::otel::Taxonomy;
    use otel_log_ai_core::rule::load;

    fn detector() -> Detector {
        let text = "title: A\nlogsource: {product: windows, service: security}\n\
            detection: {s: {TargetUserName: bob}, condition: s}\n";
        Detector::new(load("t.yml", text).0, Taxonomy::builtin().unwrap())
    }

    fn record(text: &str) -> LogRecord<'static> {
        let body = format!(
            r#"{{"channel":"Security","event_id":{{"id":4624}},"event_data":{{"TargetUserName":"bob","X":"{text}"}}}}"#
        );
        LogRecord { body: body.into(), ..LogRecord::default() }
    }

    /// Runs the record and says how many were verified and skipped, and how many detections came.
    fn run(reviews: &Reviews, record: &LogRecord<'_>) -> (u64, u64, usize) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut found = vec![];
        // Its outline is known.
        let (detector, mut scratch) = (detector(), Scratch::default());
        detector.detect(record, &mut scratch, &mut found);
        let before = (get(&COUNTERS.verified), get(&COUNTERS.verify_skipped));
        found.clear();
        detector.detect_reviewed(record, &mut scratch, &mut found, &mut reviews.reviewer());
        (get(&COUNTERS.verified) - before.0, get(&COUNTERS.verify_skipped) - before.1, found.len())
    }

    // One test: the counters are the process's.
    #[test]
    fn chosen_events_are_verified_unless_they_are_too_long_or_time_is_up() {
        assert_eq!(run(&Reviews::new(1), &record("short")), (1, 0, 1));
        assert_eq!(run(&Reviews::new(0), &record("short")), (0, 0, 1), "turned off");
        assert_eq!(run(&Reviews::new(1), &record(&"x".repeat(TEXT_BYTES_MAX))), (0, 1, 1), "too long");
        let late = Reviews::new(1);
        late.spent_us.store(60_000_000, Ordering::Relaxed);
        assert_eq!(run(&late, &record("short")), (0, 1, 1), "a minute was spent");

        let rules =
            load("t.yml", "title: A\nid: 1\nlogsource: {product: x}\ndetection: {s: {F: x}, condition: s}\n")
                .0;
        let reviews = Reviews::new(1);
        let difference = Difference { rule: &rules[0], class: "c", right: true };
        let before = COUNTERS.engine_differences.load(Ordering::Relaxed);
        reviews.reviewer().done(&[difference, difference]);
        assert_eq!(COUNTERS.engine_differences.load(Ordering::Relaxed) - before, 2);
        assert!(!reviews.first(&rules[0].info.id), "it was told, and is not told again");
    }
}

//! What is counted since the start of the process.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// The process's counters.
pub static COUNTERS: Counters = Counters::new();

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Counters {
    /// Log rows evaluated.
    pub rows: AtomicU64,
    /// Batches evaluated.
    pub batches: AtomicU64,
    /// Matches of a rule and a row.
    pub detections: AtomicU64,
    /// Rows whose body or attributes were not what they seemed.
    pub faults: AtomicU64,
    /// Rows that no class of the taxonomy wanted.
    pub unrecognised: AtomicU64,
    /// Notifications put into the outbox.
    pub alerts_queued: AtomicU64,
    /// Bodies cut because they were too long.
    pub bodies_cut: AtomicU64,
    /// Rows passed over because they could not be read or evaluated.
    pub rows_passed_over: AtomicU64,
    /// Rows that may have been read before.
    pub rows_uncertain: AtomicU64,
    /// Rows that came back in parts that were attached again.
    pub rows_attached: AtomicU64,
    /// Parts merged away between listing and reading.
    pub parts_vanished: AtomicU64,
    /// Failed attempts to read from ClickHouse.
    pub source_failures: AtomicU64,
    /// Failed attempts to write the state file.
    pub store_failures: AtomicU64,
    /// Rules in use.
    pub rules: AtomicU64,
    /// Times the rules were exchanged.
    pub reloads: AtomicU64,
    /// How late a row may come where the table is read by event time, seconds; 0: by parts, where a
    /// row may be as late as it likes.
    pub loss_window_s: AtomicU64,
    /// Age of the newest row of the last batch when its results were committed, milliseconds.
    pub lag_ms: AtomicU64,
    /// Events evaluated a second time, by the definition of right.
    pub verified: AtomicU64,
    /// Events chosen for that and left out, because they were too long or it took too much time.
    pub verify_skipped: AtomicU64,
    /// Answers in which the engine differed from the definition, one for each event and rule.
    pub engine_differences: AtomicU64,
    /// Log rows read, bytes on the wire before compression.
    pub read_bytes: AtomicU64,
    /// Rows read with their bodies; more than were evaluated where some had to be read again.
    pub bodies_read: AtomicU64,
    /// Keys of rows read to tell new rows of a mixed part from known ones.
    pub keys_read: AtomicU64,
    /// Rows of the service's own logs.
    pub rows_own: AtomicU64,
    /// Alerts closed early to make room.
    pub alerts_evicted: AtomicU64,
    /// Detections counted in an alert for many entities.
    pub detections_folded: AtomicU64,
    /// Detections refused, because the record had come before.
    pub detections_repeated: AtomicU64,
    /// Detections forgotten early: their repetitions would be counted.
    pub detections_forgotten: AtomicU64,
    /// Audit events evaluated before all of their records had come.
    pub audit_events_early: AtomicU64,
    /// Queries made.
    pub queries: AtomicU64,
    /// Rows that ClickHouse read for our queries, as it reports.
    pub query_rows: AtomicU64,
    /// Bytes that ClickHouse read for our queries, as it reports.
    pub query_bytes: AtomicU64,
    /// Time that ClickHouse worked for our queries, as it reports, nanoseconds.
    pub query_ns: AtomicU64,
}

impl Counters {
    const fn new() -> Counters {
        Counters {
            rows: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            detections: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            unrecognised: AtomicU64::new(0),
            alerts_queued: AtomicU64::new(0),
            bodies_cut: AtomicU64::new(0),
            rows_passed_over: AtomicU64::new(0),
            rows_uncertain: AtomicU64::new(0),
            rows_attached: AtomicU64::new(0),
            parts_vanished: AtomicU64::new(0),
            source_failures: AtomicU64::new(0),
            store_failures: AtomicU64::new(0),
            rules: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            loss_window_s: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            verify_skipped: AtomicU64::new(0),
            engine_differences: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            bodies_read: AtomicU64::new(0),
            keys_read: AtomicU64::new(0),
            rows_own: AtomicU64::new(0),
            alerts_evicted: AtomicU64::new(0),
            detections_folded: AtomicU64::new(0),
            detections_repeated: AtomicU64::new(0),
            detections_forgotten: AtomicU64::new(0),
            audit_events_early: AtomicU64::new(0),
            queries: AtomicU64::new(0),
            query_rows: AtomicU64::new(0),
            query_bytes: AtomicU64::new(0),
            query_ns: AtomicU64::new(0),
        }
    }
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// What the counters say, as it is written to the log and to the statistics file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the counters of the same name are described above")]
pub struct Stats {
    /// When the service started, RFC 3339.
    pub started: String,
    pub rows: u64,
    pub batches: u64,
    pub detections: u64,
    pub detections_repeated: u64,
    pub alerts_queued: u64,
    pub alerts_delivered: u64,
    pub alerts_dead: u64,
    pub alerts_open: u64,
    pub faults: u64,
    pub unrecognised: u64,
    pub bodies_cut: u64,
    pub rows_passed_over: u64,
    pub rows_uncertain: u64,
    pub parts_vanished: u64,
    pub source_failures: u64,
    pub store_failures: u64,
    pub rules: u64,
    pub reloads: u64,
    pub lag_ms: u64,
    pub verified: u64,
    pub verify_skipped: u64,
    pub engine_differences: u64,
}

impl Stats {
    /// Reads the counters; what the outbox and the open alerts know is filled in by the caller.
    pub fn read(started: &str) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &COUNTERS;
        Stats {
            started: started.to_string(),
            rows: get(&c.rows),
            batches: get(&c.batches),
            detections: get(&c.detections),
            detections_repeated: get(&c.detections_repeated),
            alerts_queued: get(&c.alerts_queued),
            alerts_delivered: 0,
            alerts_dead: 0,
            alerts_open: 0,
            faults: get(&c.faults),
            unrecognised: get(&c.unrecognised),
            bodies_cut: get(&c.bodies_cut),
            rows_passed_over: get(&c.rows_passed_over),
            rows_uncertain: get(&c.rows_uncertain),
            parts_vanished: get(&c.parts_vanished),
            source_failures: get(&c.source_failures),
            store_failures: get(&c.store_failures),
            rules: get(&c.rules),
            reloads: get(&c.reloads),
            lag_ms: get(&c.lag_ms),
            verified: get(&c.verified),
            verify_skipped: get(&c.verify_skipped),
            engine_differences: get(&c.engine_differences),
        }
    }
}

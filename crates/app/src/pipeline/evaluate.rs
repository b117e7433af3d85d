//! Runs the rules on a batch, over all cores, with the result in the order of the rows.

use super::review::Reviews;
use crate::events::Event;
use crate::tail::Batch;
use crate::telemetry::otlp;
use otel_log_ai_core::alert::Detection;
use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::otel::{Assembler, AuditEvent, AuditRecord, LogRecord};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Fewest rows that are worth a thread of their own.
const ROWS_PER_THREAD_MIN: usize = 256;

/// What a batch came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Detections in the order of rows, for one row in the order of rules.
    pub detections: Vec<Detection>,
    /// Rows with a fault.
    pub faults: u64,
    /// Rows that no class of the taxonomy wanted.
    pub unrecognised: u64,
    /// Rows of our own log, which are not evaluated.
    pub own: u64,
    /// Audit records, in the order of rows.
    audit: Vec<AuditRecord>,
}

/// The threads' working memory, kept from batch to batch.
#[derive(Debug, Default)]
pub struct Workers(Vec<Scratch>);

/// Evaluates all rows of `batch`, then the audit events that its records made whole at `now_ms`.
/// Blocks for as long as it takes.
pub fn evaluate(
    detector: &Detector,
    reviews: &Reviews,
    batch: &Batch,
    workers: &mut Workers,
    assembler: &mut Assembler,
    now_ms: i64,
) -> Found {
    let mut found = evaluate_rows(detector, reviews, batch, workers);
    for record in std::mem::take(&mut found.audit) {
        assembler.add(record, now_ms);
    }
    found.detections.extend(evaluate_audit(detector, reviews, &assembler.due(now_ms)));
    found
}

/// The detections of whole audit events.
pub fn evaluate_audit(detector: &Detector, reviews: &Reviews, events: &[AuditEvent]) -> Vec<Detection> {
    let mut detections = vec![];
    let mut scratch = Scratch::default();
    for audit in events {
        let before = detections.len();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            detector.detect_audit_reviewed(audit, &mut scratch, &mut detections, &mut reviews.reviewer());
        }));
        if outcome.is_err() {
            detections.truncate(before);
            scratch = Scratch::default();
            Event::RowPanicked { record_id: &audit.row.id }.emit();
        }
    }
    detections
}

fn evaluate_rows(
    detector: &Detector,
    reviews: &Reviews,
    batch: &Batch,
    Workers(scratches): &mut Workers,
) -> Found {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(batch.len() / ROWS_PER_THREAD_MIN).max(1);
    let share = batch.len().div_ceil(threads).max(1);
    let ranges: Vec<Range<usize>> =
        (0..batch.len()).step_by(share).map(|from| from..(from + share).min(batch.len())).collect();
    if scratches.len() < ranges.len() {
        scratches.resize_with(ranges.len(), Scratch::default);
    }
    let mut parts: Vec<Found> = ranges.iter().map(|_| Found::default()).collect();
    std::thread::scope(|scope| {
        for ((range, part), scratch) in ranges.into_iter().zip(&mut parts).zip(scratches) {
            scope.spawn(move || *part = evaluate_range(detector, reviews, batch, range, scratch));
        }
    });
    let mut found = Found::default();
    for part in parts {
        found.detections.extend(part.detections);
        found.faults += part.faults;
        found.unrecognised += part.unrecognised;
        found.own += part.own;
        found.audit.extend(part.audit);
    }
    found
}

fn evaluate_range(
    detector: &Detector,
    reviews: &Reviews,
    batch: &Batch,
    range: Range<usize>,
    scratch: &mut Scratch,
) -> Found {
    let (mut found, mut record) = (Found::default(), LogRecord::default());
    for index in range {
        batch.read(index, &mut record);
        if otlp::is_own(&record) {
            found.own += 1;
            continue;
        }
        let before = found.detections.len();
        // The engine does not panic on input; if it does all the same, one row is lost and told,
        // not the batch again and again.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            detector.detect_reviewed(&record, scratch, &mut found.detections, &mut reviews.reviewer())
        }));
        match outcome {
            Ok(outcome) => {
                found.faults += u64::from(outcome.fault.is_some());
                found.unrecognised += u64::from(!outcome.recognised);
                found.audit.extend(outcome.audit);
                if found.detections.len() > before {
                    let insert = batch.insert(index);
                    found.detections[before..].iter_mut().for_each(|detection| detection.insert = insert);
                }
            }
            Err(_) => {
                found.detections.truncate(before);
                found.faults += 1;
                *scratch = Scratch::default();
                Event::RowPanicked { record_id: &record.id }.emit();
            }
        }
    }
    found
}

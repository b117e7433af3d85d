//! Matching alone, on decoded events, and the whole way of a record.

use crate::report::{Report, rate, without};
use anyhow::Result;
use cpu_time::ThreadTime;
use otel_log_ai_bench::inputs::Set;
use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::engine;
use otel_log_ai_core::otel::{Buffers, Event, LogRecord};
use otel_log_ai_core::prefetch::ahead;
use std::hint::black_box;

/// So many events are matched in one round, if need be several times.
const EVENTS_TIMED_MIN: usize = 20_000;

/// Measures.
pub fn measure(detector: &Detector, sets: &[Set], report: &mut Report) -> Result<()> {
    for set in sets {
        let records = set.records();
        let events: Vec<Event<'_>> =
            records.iter().flat_map(|record| detector.taxonomy().events(record)).collect();
        let class = |record: &&LogRecord<'_>| {
            let class = detector.taxonomy().events(record).first().and_then(|event| event.class);
            class.map_or("", |id| detector.engine().classes()[usize::from(id.0)].name.as_str())
        };
        let all: Vec<&LogRecord<'_>> = records.iter().collect();
        let of =
            |is_of: fn(&str) -> bool| all.iter().copied().filter(|record| is_of(class(record))).collect();
        let security: Vec<_> = of(|class| class.starts_with("windows/security"));
        let sysmon: Vec<_> = of(|class| class == "windows/sysmon/1");
        matched(detector, set.name, &all, 1e6, report);
        matched(detector, &format!("{}: Security", set.name), &security, 700_000.0, report);
        matched(detector, &format!("{}: Sysmon 1", set.name), &sysmon, 300_000.0, report);
        let unwanted: Vec<_> = events.iter().cloned().map(|event| Event { class: None, ..event }).collect();
        let per_s = matched_from_memory(detector, &unwanted);
        report.aim("match", &format!("{}: no class", set.name), per_s, "/s", 5e6);
        report.add("match from memory", set.name, matched_from_memory(detector, &events), "/s");
        whole(detector, set, &records, report);
        slow_tail(detector, set, &records, report);
    }
    blocks(detector, report);
    Ok(())
}

/// Matches events as soon as they are decoded, as the service does; what decoding takes is measured alone
/// and taken off.
fn matched(detector: &Detector, on: &str, records: &[&LogRecord<'_>], target: f64, report: &mut Report) {
    if records.is_empty() {
        return;
    }
    // A difference of short times would be noise.
    let times = (EVENTS_TIMED_MIN / records.len()).max(1);
    let run = |matches: bool| {
        let (mut buffers, mut scratch) = (Buffers::default(), engine::Scratch::default());
        rate(times * records.len(), || {
            for record in std::iter::repeat_n(records, times).flatten() {
                detector.taxonomy().recognise_for(detector, &mut buffers, record, &mut |event| {
                    if matches {
                        black_box(detector.engine().run(event, &mut scratch));
                    }
                    black_box(&event);
                });
            }
        })
    };
    let (decoded, both) = (run(false), run(true));
    report.aim("match", on, without(decoded, both), "/s", target);
}

/// Matches whole events that were decoded long before: most of them are in no cache.
fn matched_from_memory(detector: &Detector, events: &[Event<'_>]) -> f64 {
    let mut scratch = engine::Scratch::default();
    rate(events.len(), || {
        for event in events {
            black_box(detector.engine().run(event, &mut scratch));
        }
    })
}

/// Finds out which rules match a record, as [`Detector::detect`] does.
pub fn decide(
    detector: &Detector,
    record: &LogRecord<'_>,
    buffers: &mut Buffers,
    scratch: &mut engine::Scratch,
) {
    detector.taxonomy().recognise_for(detector, buffers, record, &mut |event| {
        black_box(detector.hits(event, scratch));
    });
}

/// The records of a batch one after the other, as the service and `scan` take their rows and lines.
pub fn in_turn<'r, 't: 'r>(
    records: impl IntoIterator<Item = &'r LogRecord<'t>>,
) -> impl Iterator<Item = &'r LogRecord<'t>> {
    ahead(records, |record| record.body.as_bytes())
}

/// The whole way on one thread.
fn whole(detector: &Detector, set: &Set, records: &[LogRecord<'_>], report: &mut Report) {
    let (mut buffers, mut matching) = (Buffers::default(), engine::Scratch::default());
    let mut matched = || {
        for record in in_turn(records) {
            decide(detector, record, &mut buffers, &mut matching);
        }
    };
    // When no outline and no value is known yet.
    let started = ThreadTime::now();
    matched();
    let first = records.len() as f64 / started.elapsed().as_secs_f64();
    report.add("recognise, decode, match", set.name, rate(records.len(), matched), "/s");
    report.add("the same, all seen for the first time", set.name, first, "/s");
    let mut scratch = Scratch::default();
    let mut found = vec![];
    let one = rate(records.len(), || {
        for record in in_turn(records) {
            detector.detect(record, &mut scratch, &mut found);
            found.clear();
        }
    });
    report.add("the same, with evidence and identity", set.name, one, "/s");
}

/// What the slowest thousandth of the records costs.
fn slow_tail(detector: &Detector, set: &Set, records: &[LogRecord<'_>], report: &mut Report) {
    let (mut scratch, mut found) = (Scratch::default(), vec![]);
    let mut times: Vec<f64> = records
        .iter()
        .map(|record| {
            let started = ThreadTime::now();
            detector.detect(record, &mut scratch, &mut found);
            found.clear();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    report.add("one record, median", set.name, at(0.5), "us");
    report.add("one record, 99.9 %", set.name, at(0.999), "us");
}

/// Script blocks of growing size: the time must grow with the size, not faster.
fn blocks(detector: &Detector, report: &mut Report) {
    let line =
        "$r = Invoke-WebRequest -Uri ('https://files.example/' + $n) -OutFile $p; # fetch and store\\r\\n";
    for kb in [16, 64, 256] {
        let script = line.repeat(kb * 1024 / line.len());
        let body = format!(
            r#"{{"channel":"Microsoft-Windows-PowerShell/Operational","computer":"w","event_id":{{"id":4104}},"event_data":{{"ScriptBlockText":"{script}"}}}}"#
        );
        let record = LogRecord { body: body.as_str().into(), ..LogRecord::default() };
        let (mut scratch, mut found) = (Scratch::default(), vec![]);
        let per_s = rate(1, || {
            detector.detect(&record, &mut scratch, &mut found);
            found.clear();
        });
        report.add("script block, whole way", &format!("{kb} KB"), 1e3 / per_s, "ms");
    }
}

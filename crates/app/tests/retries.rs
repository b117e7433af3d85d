//! A record is one happening, however often a Collector sends it and however often it is read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::site::{Site, again, now_ns, row};
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::signoz::LogRow;
use serde_json::Value;

/// How often a rule matched, by host, as Keep has it.
fn counts(site: &Site) -> Vec<u64> {
    site.alerts().into_values().collect()
}

/// A site whose alerts are told of soon again.
fn site(database: &'static str) -> Site {
    let site = Site::new(database);
    site.configure(&ClickHouse::shared().url(), "alerts: {group_interval: 1s}\n");
    site
}

/// Waits until so many rows were read since the start.
fn wait_for_rows(site: &Site, rows: u64) {
    site.wait("the rows", |site| site.stats()["rows"].as_u64() >= Some(rows));
}

#[test]
fn a_batch_that_is_sent_again_counts_once_also_across_a_kill() {
    let site = site("retries_kill");
    let rows: Vec<LogRow> = (0..3).map(|host| row("one", host, now_ns())).collect();
    site.write(&rows);
    let service = site.start();
    site.wait("three alerts", |site| site.alerts().len() == 3);
    site.write(&again(&rows));
    wait_for_rows(&site, 6);
    drop(service); // SIGKILL
    site.write(&again(&rows));
    std::fs::remove_file(site.path("stats.json")).unwrap();
    let service = site.start();
    wait_for_rows(&site, 3);
    assert_eq!(site.stats()["detections_repeated"], 3, "{}", site.stats());
    // What is new of a batch that holds known rows too counts.
    let mut mixed = again(&rows);
    mixed.push(row("one", 0, now_ns()));
    site.write(&mixed);
    wait_for_rows(&site, 7);
    site.wait("the new count", |site| counts(site) == [2, 1, 1]);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert_eq!(counts(&site), [2, 1, 1]);
}

#[test]
fn copies_that_were_merged_before_they_were_read_count_once() {
    let site = site("retries_merged");
    let rows: Vec<LogRow> = (0..3).map(|host| row("one", host, now_ns())).collect();
    site.write(&rows);
    site.write(&again(&rows));
    ClickHouse::shared().execute("OPTIMIZE TABLE retries_merged.logs_v2 FINAL").unwrap();
    let service = site.start();
    wait_for_rows(&site, 6);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert_eq!(counts(&site), [1, 1, 1]);
}

#[test]
fn equal_lines_of_one_batch_are_as_many_happenings() {
    let site = site("retries_equal");
    let line = row("one", 7, now_ns());
    let three = again(&[line.clone(), line.clone(), line]);
    site.write(&three);
    let service = site.start();
    wait_for_rows(&site, 3);
    site.write(&again(&three));
    wait_for_rows(&site, 6);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert_eq!(counts(&site), [3]);
}

#[test]
fn rows_that_are_read_again_after_a_long_absence_count_once() {
    let site = site("retries_absence");
    // A part with more rows than keys are stored with the position, all of one minute.
    let minute_ns = now_ns() / 60_000_000_000 * 60_000_000_000;
    let mut rows: Vec<LogRow> = (0..3).map(|host| row("one", host, minute_ns)).collect();
    rows.extend(
        (0..40_000).map(|n| LogRow::new(minute_ns + n, &[("service.name", "x")], format!("line {n}"))),
    );
    site.write(&rows);
    let service = site.start();
    wait_for_rows(&site, 40_003);
    site.wait("three alerts", |site| site.alerts().len() == 3);
    drop(service);
    std::fs::remove_file(site.path("stats.json")).unwrap();
    // Meanwhile it is merged with new rows.
    site.write(&[row("one", 0, minute_ns + 50_000), row("one", 3, minute_ns + 50_000)]);
    ClickHouse::shared().execute("OPTIMIZE TABLE retries_absence.logs_v2 FINAL").unwrap();
    let service = site.start();
    site.wait("the new alert", |site| site.alerts().len() == 4);
    site.wait("the new count", |site| counts(site) == [2, 1, 1, 1]);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert_eq!(counts(&site), [2, 1, 1, 1]);
    let stats: Value = site.stats();
    assert_eq!(stats["detections"], 2, "{stats}");
    assert!(stats["rows_uncertain"].as_u64() >= Some(40_000), "the case is not what it was: {stats}");
    assert_eq!(stats["detections_repeated"], 3, "{stats}");
}

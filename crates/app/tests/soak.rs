//! Kills, faults of ClickHouse and faults of Keep at random, all at once, under load with late rows,
//! repeated batches, merges and rules that are read again: what Keep knows in the end is what happened,
//! and what a service that is left alone finds. Keep also loses what it took; looking for it
//! (`keep.read_key`) brings it back.
//!
//! Not part of `cargo xtask test`. For ten minutes:
//!
//! ```sh
//! OTEL_LOG_AI_SOAK_S=600 cargo test -p otel-log-ai --test soak -- --ignored --nocapture
//! ```
//! `OTEL_LOG_AI_SEED` repeats the choices of an earlier run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::site::{Site, again, now_ns, row};
use common::{Service, ids_stand_for_one_content};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Fault, Options};
use otel_log_ai_testkit::keep;
use otel_log_ai_testkit::signoz::LogRow;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RULES: [&str; 3] = ["one", "two", "three"];
const HOSTS: u32 = 40;
const MINUTE_NS: u64 = 60_000_000_000;
/// Alerts are told of soon, and again later than what Keep lost is found to be missing (three minutes).
const ALERTS: &str = "alerts: {group_wait: 100ms, group_interval: 1s, repeat_interval: 4m, window: 24h}\n";
/// A real Keep needs 40 to 100 ms for an alert.
const KEEP_PER_ALERT: Duration = Duration::from_millis(40);
/// For the end: an alert that Keep lost is looked for after one minute and after three.
const LAST_PATIENCE: Duration = Duration::from_secs(600);
/// Counters of a run, added up over all runs.
const COUNTERS: [&str; 9] = [
    "otel_log_ai_rows_total",
    "otel_log_ai_bodies_read_total",
    "otel_log_ai_keys_read_total",
    "otel_log_ai_detections_repeated_total",
    "otel_log_ai_clickhouse_queries_total",
    "otel_log_ai_clickhouse_elapsed_seconds_total",
    "otel_log_ai_alerts_resent_total{target=\"keep\"}",
    "otel_log_ai_rule_reloads_total",
    "otel_log_ai_rows_uncertain_total",
];

/// Rule and host → how often it happened.
type Events = BTreeMap<(String, String), u64>;

/// What was done to the service.
#[derive(Debug, Default)]
struct Done {
    /// What → how often.
    troubles: BTreeMap<&'static str, u32>,
    /// Alerts that Keep took and lost.
    lost_by_keep: usize,
    counters: [f64; 9],
}

impl Done {
    fn note(&mut self, trouble: &'static str) {
        *self.troubles.entry(trouble).or_default() += 1;
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn configure(site: &Site, url: &str) {
    site.configure(url, ALERTS);
    let text = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    let text = text.replace("poll_interval: 50ms", "batch_rows: 500");
    let text = text
        .replace("api_key: key-in-config", "api_key: key-in-config, read_key: any, alerts_per_second: 1000");
    std::fs::write(site.path("c.yaml"), text).unwrap();
}

/// Writes until told to stop: what happened, and how many rows it were.
fn write(site: &Site, stop: &AtomicBool, seed: u64) -> (Events, u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut events, mut rows, mut serial) = (Events::new(), 0, 0);
    let mut lately: Vec<Vec<LogRow>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Vec::new();
        for _ in 0..random.random_range(1..120) {
            serial += 1;
            // One in five is late, by up to three days.
            let late_ns =
                if random.random_ratio(1, 5) { random.random_range(0..4_320) * MINUTE_NS } else { 0 };
            let (rule, host) = (RULES[random.random_range(0..3)], random.random_range(0..HOSTS));
            let happened = random.random_ratio(1, 4);
            let marker = if happened { rule } else { "nothing" };
            batch.push(row(marker, host, now_ns() - late_ns - serial));
            if happened {
                *events.entry((format!("Marker {rule}"), format!("host-{host}"))).or_default() += 1;
            }
        }
        site.write(&batch);
        rows += batch.len() as u64;
        if random.random_ratio(1, 12) && !lately.is_empty() {
            let copies = again(&lately[random.random_range(0..lately.len())]);
            site.write(&copies);
            rows += copies.len() as u64;
        }
        lately.push(batch);
        if lately.len() > 50 {
            lately.remove(0);
        }
        std::thread::sleep(Duration::from_millis(random.random_range(20..250)));
    }
    (events, rows)
}

fn merge(site: &Site, stop: &AtomicBool, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(random.random_range(500..8_000)));
        let is_final = if random.random_ratio(1, 3) { "FINAL" } else { "" };
        // A merge that is under way refuses another; then there is one.
        let _ = ClickHouse::shared().execute(&format!("OPTIMIZE TABLE {}.logs_v2 {is_final}", site.database));
    }
}

/// A fault of ClickHouse, for some requests or until it is healed.
fn trouble(server: &ClickHouse, random: &mut SmallRng) -> &'static str {
    let exception = |code, text: &str| Fault::exception(code, text);
    let (name, fault) = match random.random_range(0..8) {
        0 => ("ClickHouse refuses", Fault::refuse()),
        1 => ("ClickHouse is slow", Fault::delay(Duration::from_millis(random.random_range(50..1_500)))),
        2 => ("ClickHouse's answer is cut", Fault::cut(random.random_range(0..5_000))),
        3 => ("ClickHouse 241", exception(241, "(total) memory limit exceeded: would use 7.00 GiB")),
        4 => ("ClickHouse 159", exception(159, "Timeout exceeded: elapsed 60.1 seconds")),
        5 => ("ClickHouse 202", exception(202, "Too many simultaneous queries")),
        6 => ("ClickHouse 394", exception(394, "Query was cancelled")),
        _ => {
            server.stop();
            std::thread::sleep(Duration::from_millis(random.random_range(50..800)));
            server.restart().unwrap();
            return "ClickHouse restarts";
        }
    };
    let about = ["", "_part IN", "GROUP BY"][random.random_range(0..3)];
    server.inject(fault.matching(about).times(random.random_range(1..6)));
    name
}

fn trouble_at_keep(keep: &keep::Keep, random: &mut SmallRng, done: &mut Done) -> &'static str {
    let (name, fault) = match random.random_range(0..8) {
        0 => ("Keep 500", keep::Fault::status(500)),
        1 => ("Keep 503", keep::Fault::status(503)),
        2 => ("Keep closes", keep::Fault::close()),
        3 => ("Keep takes and closes", keep::Fault::take_and_close()),
        4 => ("Keep 429 with Retry-After", keep::Fault::retry_after(random.random_range(1..4))),
        5 => ("Keep hangs", keep::Fault::hang(Duration::from_millis(random.random_range(100..2_000)))),
        _ => {
            done.lost_by_keep += keep.lose();
            return "Keep loses its queue";
        }
    };
    keep.inject(fault.times(random.random_range(1..4)));
    name
}

/// Makes the service read its rules again; those that the events are for stay what they are.
fn reload(site: &Site, service: &Service, random: &mut SmallRng) -> &'static str {
    let spare = site.path("rules/spare.yml");
    match random.random_range(0..4) {
        // Before it reads, it may not listen to signals yet; `service.rs` has a test of that.
        0 if site.path("stats.json").exists() => {
            service.signal("HUP");
            return "SIGHUP";
        }
        0 | 1 => {
            // A rule file is exchanged as a whole, as a checkout does it.
            let rule = site.path(&format!("rules/{}.yml", RULES[random.random_range(0..3)]));
            let text = std::fs::read_to_string(&rule).unwrap();
            let new = site.path("rules/new");
            std::fs::write(&new, format!("{text}# {}\n", random.random::<u32>())).unwrap();
            std::fs::rename(new, rule).unwrap();
        }
        2 => std::fs::write(spare, "title: [").unwrap(),
        _ => drop(std::fs::remove_file(spare)),
    }
    "rule file changes"
}

/// Starts the service; its statistics tell when it reads.
fn start(site: &Site) -> Service {
    let _ = std::fs::remove_file(site.path("stats.json"));
    site.start()
}

/// Adds up the counters of a run that is about to end.
fn scrape(site: &Site, done: &mut Done) {
    if !site.path("stats.json").exists() {
        return;
    }
    let (_, text) = site.get("/metrics");
    for (at, name) in COUNTERS.iter().enumerate() {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        done.counters[at] += line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0);
    }
}

#[test]
#[ignore = "takes minutes: see the head of this file"]
fn everything_at_once_loses_nothing_and_doubles_nothing() {
    let duration = Duration::from_secs(number("OTEL_LOG_AI_SOAK_S", 600));
    let seed = number("OTEL_LOG_AI_SEED", now_ns());
    println!("{} s, seed {seed}", duration.as_secs());
    let server = ClickHouse::with(Options::default()).unwrap();
    let mut site = Site::new("soak");
    site.keep = keep::Keep::with(keep::Options { per_alert: KEEP_PER_ALERT, ..Default::default() }).unwrap();
    RULES.iter().for_each(|rule| site.write_rule(rule));
    configure(&site, &server.url());
    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let mut done = Done::default();
    let (events, rows) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&site, &stop, seed ^ 1));
        scope.spawn(|| merge(&site, &stop, seed ^ 2));
        let mut random = SmallRng::seed_from_u64(seed);
        let mut service = start(&site);
        while began.elapsed() < duration {
            std::thread::sleep(Duration::from_millis(random.random_range(50..2_500)));
            let trouble = match random.random_range(0..13) {
                0..3 => {
                    scrape(&site, &mut done);
                    drop(service); // SIGKILL
                    std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
                    service = start(&site);
                    "SIGKILL"
                }
                3..7 => trouble(&server, &mut random),
                7..10 => trouble_at_keep(&site.keep, &mut random, &mut done),
                10..12 => reload(&site, &service, &mut random),
                _ => {
                    server.heal();
                    site.keep.heal();
                    continue;
                }
            };
            done.note(trouble);
        }
        stop.store(true, Ordering::Relaxed);
        let written = writing.join().unwrap();
        server.heal();
        site.keep.heal();
        // Among what is lost here is the last word on some alerts.
        wait(&site, "alerts in Keep's memory", |site| site.keep.queued() > 0);
        done.lost_by_keep += site.keep.lose();
        done.note("Keep loses its queue");
        let expected: u64 = written.0.values().sum();
        wait(&site, "all events", |site| site.alerts().values().sum::<u64>() >= expected);
        scrape(&site, &mut done);
        assert_eq!(service.stop(), Some(0));
        written
    });
    report(&site, &events, rows, &done, began.elapsed());
    assert_eq!(site.alerts(), events);
    ids_stand_for_one_content(&site.keep);
    // The same rows, read by a service that is left alone.
    let calm = site.beside();
    RULES.iter().for_each(|rule| calm.write_rule(rule));
    configure(&calm, &ClickHouse::shared().url());
    let service = calm.start();
    let expected: u64 = events.values().sum();
    calm.wait("all events", |calm| calm.alerts().values().sum::<u64>() >= expected);
    assert_eq!(service.stop(), Some(0));
    assert_eq!(calm.alerts(), site.alerts());
    println!("a service left alone finds the same");
}

/// Waits longer than [`Site::wait`], and shows what is missing.
fn wait(site: &Site, what: &str, done: impl Fn(&Site) -> bool) {
    let begin = Instant::now();
    while !done(site) {
        let alerts = site.alerts();
        assert!(
            begin.elapsed() < LAST_PATIENCE,
            "waited for {what} in vain; {alerts:?}; log:\n{}",
            site.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn report(site: &Site, events: &Events, rows: u64, done: &Done, took: Duration) {
    let found = site.alerts();
    let count = |key: &(String, String)| found.get(key).copied().unwrap_or(0);
    let lost: u64 = events.iter().map(|(key, expected)| expected.saturating_sub(count(key))).sum();
    let doubled: u64 =
        found.iter().map(|(key, count)| count.saturating_sub(events.get(key).copied().unwrap_or(0))).sum();
    let [evaluated, bodies, keys, repeated, queries, elapsed_s, resent, reloads, uncertain] = done.counters;
    println!("{} s: {:?}", took.as_secs(), done.troubles);
    println!(
        "{rows} rows written, {} events, {} alerts expected, {} received in {} deliveries; \
         events lost {lost}, doubled {doubled}",
        events.values().sum::<u64>(),
        events.len(),
        found.len(),
        site.keep.received().len(),
    );
    println!(
        "Keep took and lost {} alerts; by the runs' own count {resent} were sent again, and rules were read \
         again {reloads} times",
        done.lost_by_keep
    );
    println!(
        "{evaluated} rows evaluated, {uncertain} of them perhaps again, each read {:.2} times with its body, \
         {:.2} keys read; {repeated} repeated detections refused; {queries} queries, {:.1} ms of ClickHouse each",
        bodies / evaluated.max(1.0),
        keys / evaluated.max(1.0),
        elapsed_s * 1e3 / queries.max(1.0),
    );
}

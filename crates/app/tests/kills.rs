//! SIGKILL at random moments, under load, again and again: what Keep knows in the end is what it
//! would know without a kill.
//!
//! `OTEL_LOG_AI_KILLS` sets how often, `OTEL_LOG_AI_SEED` the moments; both are printed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::ids_stand_for_one_content;
use common::site::{Site, now_ns, row};
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::signoz::LogRow;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Kills without the variable.
const KILLS: u64 = 200;
/// Hosts that are attacked.
const HOSTS: u32 = 40;
const RULES: [&str; 3] = ["one", "two", "three"];
/// Alerts are told of soon, and once a minute in any case.
const ALERTS: &str = "alerts: {group_wait: 100ms, group_interval: 1s, repeat_interval: 1m, window: 1h}\n";

fn configure(site: &Site) {
    RULES.iter().for_each(|rule| site.write_rule(rule));
    site.configure(&ClickHouse::shared().url(), ALERTS);
    let text = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    let text = text.replace("poll_interval: 50ms", "poll_interval: 50ms, batch_rows: 200");
    let text = text.replace("api_key: key-in-config", "alerts_per_second: 1000");
    std::fs::write(site.path("c.yaml"), text).unwrap();
}

/// Inserts a batch in which every row is an event, some of them late.
fn insert(site: &Site, rows: u64, random: &mut SmallRng) {
    let now_ns = now_ns();
    let row = |n: u64| {
        let (host, rule) = (random.random_range(0..HOSTS), random.random_range(0..3));
        let late_ns = random.random_range(0..3) * 600_000_000_000;
        row(RULES[rule], host, now_ns - late_ns - n)
    };
    site.write(&(0..rows).map(row).collect::<Vec<LogRow>>());
}

fn wait_for(site: &Site, events: u64) {
    site.wait("all events", |site| site.alerts().values().sum::<u64>() >= events);
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let kills = number("OTEL_LOG_AI_KILLS", KILLS);
    let seed = number("OTEL_LOG_AI_SEED", now_ns());
    println!("{kills} kills, seed {seed}");
    let site = Site::new("kills");
    configure(&site);
    let (stop, inserted) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = SmallRng::seed_from_u64(seed ^ 1);
            while !stop.load(Ordering::Relaxed) {
                let rows = random.random_range(1..60);
                insert(&site, rows, &mut random);
                inserted.fetch_add(rows, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(random.random_range(10..150)));
            }
        });
        let mut random = SmallRng::seed_from_u64(seed);
        for kill in 0..kills {
            let service = site.start();
            // From before it has opened its state until well into its work.
            std::thread::sleep(Duration::from_millis(random.random_range(0..800)));
            drop(service);
            if kill % 20 == 19 {
                ClickHouse::shared().execute("OPTIMIZE TABLE kills.logs_v2 FINAL").unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let events = inserted.load(Ordering::Relaxed);
    let service = site.start();
    wait_for(&site, events);
    assert_eq!(service.stop(), Some(0));
    let killed_for = began.elapsed();

    // The same rows, read by one that is left alone.
    let calm = site.beside();
    configure(&calm);
    let service = calm.start();
    wait_for(&calm, events);
    assert_eq!(service.stop(), Some(0));
    let (found, expected) = (site.alerts(), calm.alerts());
    let received = site.keep.received().len();
    println!(
        "{kills} kills in {} s: {events} events, {} alerts expected, {} received in {received} deliveries; \
         lost {}, doubled {}",
        killed_for.as_secs(),
        expected.len(),
        found.len(),
        expected.iter().filter(|(alert, count)| found.get(*alert).is_none_or(|n| n < *count)).count(),
        found.iter().filter(|(alert, count)| expected.get(*alert).is_none_or(|n| n < *count)).count(),
    );
    assert_eq!(found, expected);
    assert!(site.keep.errors().is_empty());
    ids_stand_for_one_content(&site.keep);
}

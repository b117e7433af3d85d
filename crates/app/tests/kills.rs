//! SIGKILL at random moments, under load, again and again: what Keep knows in the end is what it
//! would know without a kill.
//!
//! `OTEL_LOG_AI_KILLS` sets how often, `OTEL_LOG_AI_SEED` the moments; both are printed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{PATIENCE, Service, ids_stand_for_one_content};
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::keep::Keep;
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Kills without the variable.
const KILLS: u64 = 200;
/// Hosts that are attacked.
const HOSTS: u64 = 40;
const DATABASE: &str = "kills";

/// A service with its state and its Keep.
struct Site {
    directory: tempfile::TempDir,
    keep: Keep,
}

impl Site {
    fn new() -> Site {
        let site = Site { directory: tempfile::tempdir().unwrap(), keep: Keep::start().unwrap() };
        let mut rules = String::new();
        for rule in 0..3 {
            rules += &format!(
                "---\ntitle: Rule {rule}\nid: 5c0ff1ce-0000-4000-8000-00000000000{rule}\nstatus: stable\nlevel: high\n\
                 logsource: {{product: windows, category: process_creation}}\n\
                 detection: {{sel: {{CommandLine|contains: 'marker-{rule}'}}, condition: sel}}\n"
            );
        }
        std::fs::write(site.path("rules.yml"), rules).unwrap();
        let config = format!(
            "clickhouse: {{url: '{}', database: {DATABASE}, start: beginning, poll_interval: 50ms, batch_rows: 200}}\n\
             rules: {{paths: [./rules.yml]}}\nhttp: {{listen: ''}}\n\
             alerts: {{group_wait: 100ms, group_interval: 1s, repeat_interval: 1m, window: 1h}}\n\
             keep: {{url: '{}', alerts_per_second: 1000}}\n",
            ClickHouse::shared().url(),
            site.keep.url()
        );
        std::fs::write(site.path("c.yaml"), config).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self) -> Service {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_otel-log-ai"));
        command.args(["run", "--config"]).arg(self.path("c.yaml"));
        Service::start(command.stderr(log).stdout(Stdio::null()))
    }

    /// What Keep knows: fingerprint → events.
    fn alerts(&self) -> BTreeMap<String, u64> {
        let of = |alert: serde_json::Map<String, Value>| {
            let print = alert["fingerprint"].as_str().unwrap_or_default().to_owned();
            (print, alert["match_count"].as_u64().unwrap_or(0))
        };
        self.keep.alerts().into_iter().map(of).collect()
    }

    /// Waits until Keep knows of `events`.
    fn wait_for(&self, events: u64) {
        let start = Instant::now();
        loop {
            let known: u64 = self.alerts().values().sum();
            if known >= events {
                return;
            }
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            let end = &log[log.floor_char_boundary(log.len().saturating_sub(3000))..];
            assert!(start.elapsed() < PATIENCE, "{known} of {events} events; log:\n{end}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn insert(rows: u64, random: &mut SmallRng) {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let row = |n: u64| {
        let (host, rule) = (random.random_range(0..HOSTS), random.random_range(0..3));
        let body = json!({
            "channel": "Microsoft-Windows-Sysmon/Operational", "computer": format!("host-{host}"),
            "event_id": {"id": 1, "qualifiers": 0},
            "provider": {"name": "Microsoft-Windows-Sysmon", "guid": "", "event_source": ""},
            "event_data": {"Image": "C:\\Windows\\cmd.exe", "CommandLine": format!("cmd /c marker-{rule}")},
        });
        // Some are late.
        let late_ns = random.random_range(0..3) * 600_000_000_000;
        LogRow::new(now_ns - late_ns - n, &[("service.name", "windows")], body.to_string())
    };
    let rows: Vec<LogRow> = (0..rows).map(row).collect();
    Writer::new(ClickHouse::shared(), Layout::Signoz, DATABASE).write(&rows).unwrap();
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let kills = number("OTEL_LOG_AI_KILLS", KILLS);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("OTEL_LOG_AI_SEED", clock);
    println!("{kills} kills, seed {seed}");
    let server = ClickHouse::shared();
    server.execute(&format!("DROP DATABASE IF EXISTS {DATABASE} SYNC")).unwrap();
    schema::create(server, Layout::Signoz, DATABASE).unwrap();
    let site = Site::new();
    let (stop, inserted) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = SmallRng::seed_from_u64(seed ^ 1);
            while !stop.load(Ordering::Relaxed) {
                let rows = random.random_range(1..60);
                insert(rows, &mut random);
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
                server.execute(&format!("OPTIMIZE TABLE {DATABASE}.logs_v2 FINAL")).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let events = inserted.load(Ordering::Relaxed);
    let service = site.start();
    site.wait_for(events);
    assert_eq!(service.stop(), Some(0));
    let killed_for = began.elapsed();

    // The same rows, read by one that is left alone.
    let calm = Site::new();
    let service = calm.start();
    calm.wait_for(events);
    assert_eq!(service.stop(), Some(0));
    let (found, expected) = (site.alerts(), calm.alerts());
    let received = site.keep.received().len();
    println!(
        "{kills} kills in {} s: {events} events, {} alerts expected, {} received in {received} deliveries; \
         lost {}, doubled {}",
        killed_for.as_secs(),
        expected.len(),
        found.len(),
        expected.iter().filter(|(print, count)| found.get(*print).is_none_or(|n| n < *count)).count(),
        found.iter().filter(|(print, count)| expected.get(*print).is_none_or(|n| n < *count)).count(),
    );
    assert_eq!(found, expected);
    assert!(site.keep.errors().is_empty());
    ids_stand_for_one_content(&site.keep);
}

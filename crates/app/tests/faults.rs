//! Whatever ClickHouse does, every row is evaluated, and each happening is told once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::site::{Site, again, now_ns, row};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Fault, Options};
use otel_log_ai_testkit::signoz::LogRow;
use std::time::Duration;

const HOUR_NS: u64 = 3_600_000_000_000;
/// Alerts are told of soon again.
const SOON: &str = "alerts: {group_interval: 1s}\n";

/// A site that talks to a server of its own, whose faults befall nobody else.
fn site(database: &'static str) -> (Site, ClickHouse) {
    let server = ClickHouse::with(Options::default()).unwrap();
    let site = Site::new(database);
    site.configure(&server.url(), SOON);
    (site, server)
}

/// Waits for one alert for each of `hosts`, and holds that each tells of one event and no row was
/// passed over.
fn each_once(site: &Site, hosts: u64) {
    site.wait("an alert for each host", |site| site.alerts().len() as u64 == hosts);
    site.wait("all of it to be read", |site| site.stats()["alerts_open"] == hosts);
    let twice: Vec<_> = site.alerts().into_iter().filter(|(_, count)| *count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert_eq!(site.stats()["rows_passed_over"], 0, "{}", site.log());
}

/// Rows before, while and after `trouble` befalls the server.
fn bears(database: &'static str, troubles: Vec<Fault>) {
    let (site, server) = site(database);
    let service = site.start();
    let mut hosts = 0;
    for trouble in troubles {
        site.insert("one", hosts..hosts + 4);
        each_once(&site, u64::from(hosts) + 4);
        server.inject(trouble);
        site.insert("one", hosts + 4..hosts + 8);
        std::thread::sleep(Duration::from_millis(900));
        server.heal();
        site.insert("one", hosts + 8..hosts + 10);
        hosts += 10;
        each_once(&site, u64::from(hosts));
    }
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    each_once(&site, u64::from(hosts));
}

#[test]
fn it_bears_connections_that_are_refused_or_closed() {
    let (site, server) = site("faults_refused");
    site.insert("one", 0..10);
    let service = site.start();
    each_once(&site, 10);
    server.stop();
    site.insert("one", 10..20);
    std::thread::sleep(Duration::from_millis(700));
    server.restart().unwrap();
    each_once(&site, 20);
    server.inject(Fault::refuse().times(3));
    site.insert("one", 20..30);
    each_once(&site, 30);
    assert_eq!(service.stop(), Some(0));
    // Another server with the same data, elsewhere.
    let other = ClickHouse::with(Options::default()).unwrap();
    site.configure(&other.url(), SOON);
    server.stop();
    site.insert("one", 30..40);
    std::fs::remove_file(site.path("stats.json")).unwrap();
    let service = site.start();
    each_once(&site, 40);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn it_bears_answers_that_are_slow_or_break_off() {
    let cut = Fault::cut(900).matching("_part IN");
    bears("faults_slow", vec![Fault::delay(Duration::from_millis(600)), cut, Fault::cut(3)]);
}

#[test]
fn it_bears_a_server_without_memory() {
    let total = "(total) memory limit exceeded: would use 7.00 GiB (MEMORY_LIMIT_EXCEEDED)";
    let query = "Query memory limit exceeded: would use 1.01 GiB (MEMORY_LIMIT_EXCEEDED)";
    bears("faults_memory", vec![Fault::exception(241, total), Fault::exception(241, query).times(3)]);
}

#[test]
fn it_bears_a_server_without_time() {
    let late = Fault::exception(159, "Timeout exceeded: elapsed 60.1 seconds (TIMEOUT_EXCEEDED)");
    let many = Fault::exception(202, "Too many simultaneous queries (TOO_MANY_SIMULTANEOUS_QUERIES)");
    let killed = Fault::exception(394, "Query was cancelled (QUERY_WAS_CANCELLED)").matching("_part IN");
    bears("faults_time", vec![late, many, killed]);
}

#[test]
fn a_part_that_is_merged_between_listing_and_reading_is_found_again() {
    let (site, server) = site("faults_merged");
    site.insert("one", 0..10);
    let service = site.start();
    each_once(&site, 10);
    server.inject(Fault::delay(Duration::from_millis(900)).matching("_part IN").times(1));
    site.insert("one", 10..20);
    std::thread::sleep(Duration::from_millis(400));
    ClickHouse::shared().execute("OPTIMIZE TABLE faults_merged.logs_v2 FINAL").unwrap();
    each_once(&site, 20);
    assert!(site.stats()["parts_vanished"].as_u64() > Some(0), "the case is not what it was");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn columns_that_are_added_and_parts_that_are_rewritten_change_nothing() {
    let (site, _server) = site("faults_columns");
    site.insert("one", 0..10);
    let service = site.start();
    each_once(&site, 10);
    let execute = |sql: &str| ClickHouse::shared().execute(sql).unwrap();
    execute("ALTER TABLE faults_columns.logs_v2 ADD COLUMN inserted_at DateTime64(3)");
    execute("ALTER TABLE faults_columns.logs_v2 ADD COLUMN created_at DateTime64(3) DEFAULT now64(3)");
    site.insert("one", 10..20);
    execute("ALTER TABLE faults_columns.logs_v2 MATERIALIZE COLUMN created_at SETTINGS mutations_sync = 1");
    each_once(&site, 20);
    execute("OPTIMIZE TABLE faults_columns.logs_v2 FINAL");
    site.insert("one", 20..30);
    each_once(&site, 30);
    assert_eq!(service.stop(), Some(0));
    let service = site.start();
    site.insert("one", 30..35);
    site.wait("the rest", |site| site.alerts().len() == 35);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert!(site.alerts().values().all(|count| *count == 1), "{:?}", site.alerts());
}

#[test]
fn rules_that_are_exchanged_in_the_midst_of_a_backlog_lose_and_double_nothing() {
    let (site, _server) = site("faults_reload");
    let text = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    std::fs::write(site.path("c.yaml"), text.replace("start: beginning", "start: beginning, batch_rows: 20"))
        .unwrap();
    let insert = |seconds: std::ops::Range<u64>| {
        let rows =
            seconds.flat_map(|s| (0..20).map(move |host| row("one", host, now_ns() - s * 1_000_000_000)));
        site.write(&rows.collect::<Vec<_>>());
    };
    insert(0..30);
    let service = site.start();
    site.wait("its readiness", |site| site.stats()["rules"] == 1);
    for name in ["two", "three", "four"] {
        site.write_rule(name);
        service.signal("HUP");
        insert(30..35);
        std::thread::sleep(Duration::from_millis(200));
    }
    site.wait("the rules", |site| site.stats()["rules"] == 4);
    insert(40..45);
    site.wait("all events", |site| site.alerts().values().sum::<u64>() >= 1_000);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert_eq!(site.alerts().into_values().collect::<Vec<_>>(), [50; 20]);
}

#[test]
fn rows_that_no_decoder_likes_keep_nothing_else_back() {
    let (site, _server) = site("faults_poison");
    let poison: [Vec<u8>; 4] =
        [b"{\xff\xfe\x00".to_vec(), "[".repeat(200_000).into(), vec![b'x'; 5 << 20], vec![]];
    let mut rows: Vec<LogRow> = (0..10).map(|host| row("one", host, now_ns())).collect();
    rows.extend(poison.map(|body| LogRow::new(now_ns(), &[("service.name", "x")], body)));
    rows.extend((10..20).map(|host| row("one", host, now_ns())));
    site.write(&rows);
    let service = site.start();
    each_once(&site, 20);
    assert_eq!(site.stats()["rows"], 24);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn two_days_of_a_laptop_that_was_off_alert_at_once_with_their_times() {
    let (site, _server) = site("faults_laptop");
    let service = site.start();
    site.insert("one", 0..1);
    each_once(&site, 1);
    let now_ns = now_ns();
    let rows: Vec<LogRow> = (0..48).map(|hour| row("one", 7, now_ns - hour * HOUR_NS)).collect();
    site.write(&rows);
    site.wait("the count", |site| site.alerts().values().any(|count| *count == 48));
    // Its Collector got no answer and sends everything again.
    site.write(&again(&rows));
    site.wait("the copies", |site| site.stats()["detections_repeated"] == 48);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    let alerts = site.keep.alerts();
    assert_eq!(alerts.len(), 2);
    let late = alerts.iter().find(|alert| alert["host"] == "host-7").unwrap();
    let seconds = |name: &str| {
        let text = late[name].as_str().unwrap_or_else(|| panic!("{name} in {late:#?}"));
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    };
    assert_eq!(late["match_count"], 48);
    assert_eq!(seconds("last_seen"), (now_ns / 1_000_000_000) as i64);
    assert_eq!(seconds("last_seen") - seconds("first_seen"), 47 * 3_600);
}

#[test]
fn a_view_is_read_across_a_kill_and_a_late_row_is_found() {
    let site = Site::new("faults_view");
    ClickHouse::shared().execute("CREATE VIEW faults_view.v AS SELECT * FROM faults_view.logs_v2").unwrap();
    site.configure(&ClickHouse::shared().url(), SOON);
    let text = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    std::fs::write(site.path("c.yaml"), text.replace("start: beginning", "start: beginning, table: v"))
        .unwrap();
    site.insert("one", 0..10);
    let service = site.start();
    each_once(&site, 10);
    let (_, metrics) = site.get("/metrics");
    assert!(metrics.contains("otel_log_ai_tail_by_time 1"), "{metrics}");
    assert!(metrics.contains("otel_log_ai_tail_window_seconds 86400"), "{metrics}");
    drop(service); // SIGKILL
    let mut late: Vec<LogRow> = (10..15).map(|host| row("one", host, now_ns() - 3 * HOUR_NS)).collect();
    late.extend((15..20).map(|host| row("one", host, now_ns() - HOUR_NS / 12)));
    site.write(&late);
    let service = site.start();
    each_once_of(&site, 20);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    assert!(site.log().contains("engine View"), "{}", site.log());
    let output = String::from_utf8(site.command(&["check"]).output().unwrap().stdout).unwrap();
    assert!(output.contains("more than 24 h late will be missed"), "{output}");
}

/// As [`each_once`], after a kill: the statistics are of one run.
fn each_once_of(site: &Site, hosts: usize) {
    site.wait("an alert for each host", |site| site.alerts().len() == hosts);
    assert!(site.alerts().values().all(|count| *count == 1), "{:?}", site.alerts());
}

#[test]
fn two_services_on_two_shares_find_together_what_one_finds() {
    let alone = Site::new("faults_shares");
    let with_host = |n: u32| {
        let mut row = row("one", n % 40, now_ns());
        row.resources.push(("host.name".into(), format!("host-{}", n % 40)));
        row
    };
    let url = ClickHouse::shared().url();
    alone.configure(&url, SOON);
    let halves = [alone.beside(), alone.beside()];
    let mut services = vec![alone.start()];
    for (index, half) in halves.iter().enumerate() {
        half.configure(&url, SOON);
        let text = std::fs::read_to_string(half.path("c.yaml")).unwrap();
        let share = format!("start: beginning, share: {{index: {index}, of: 2}}");
        std::fs::write(half.path("c.yaml"), text.replace("start: beginning", &share)).unwrap();
        services.push(half.start());
    }
    for _ in 0..4 {
        alone.write(&(0..60).map(with_host).collect::<Vec<_>>());
        ClickHouse::shared().execute("OPTIMIZE TABLE faults_shares.logs_v2 FINAL").unwrap();
    }
    let events = |site: &Site| site.alerts().values().sum::<u64>();
    alone.wait("all events", |alone| events(alone) == 240);
    alone.wait("all events of both", |_| halves.iter().map(events).sum::<u64>() == 240);
    let found = halves.each_ref().map(Site::alerts);
    assert!(found.iter().all(|alerts| !alerts.is_empty()), "{found:?}");
    let mut together = found[0].clone();
    together.extend(found[1].clone());
    assert_eq!(found[0].len() + found[1].len(), together.len(), "a host is in both shares");
    assert_eq!(together, alone.alerts());
    for service in services {
        assert_eq!(service.stop(), Some(0));
    }
    let rows = |site: &Site| site.stats()["rows"].as_u64().unwrap_or_default();
    assert_eq!(halves.iter().map(rows).sum::<u64>(), 240);
}

//! Against the real engine: every row exactly once, whatever merges and restarts do.

use super::*;
use crate::clickhouse::Family;
use crate::config::{ClickHouse as Settings, PollInterval, Secret};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Fault as Injected, Options};
use otel_log_ai_testkit::schema::{self, Layout as Tables};
use otel_log_ai_testkit::signoz::{LogRow, Writer};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;
use std::time::Duration;

mod changes;
mod cost;
mod cuts;
mod shares;

const HOUR_NS: u64 = 3_600 * 1_000_000_000;

pub(super) fn settings(server: &ClickHouse, database: &str) -> Settings {
    Settings {
        url: server.url(),
        user: "default".into(),
        password: Secret::default(),
        database: database.into(),
        table: None,
        start: Start::Beginning,
        poll_interval: PollInterval::Auto,
        batch_rows: 100,
        max_threads: 2,
        max_memory_bytes: 1 << 30,
        max_execution_time: Duration::from_secs(60),
        share: Default::default(),
        catch_up: Default::default(),
        tls: Default::default(),
    }
}

/// A database of its own for one test.
pub(super) fn fresh(tables: Tables, database: &str) -> &'static ClickHouse {
    let server = ClickHouse::shared();
    server.execute(&format!("DROP DATABASE IF EXISTS `{database}` SYNC")).unwrap();
    schema::create(server, tables, database).unwrap();
    server
}

async fn open(settings: &Settings, saved: Option<&str>) -> Tail {
    let client = Arc::new(Client::connect(settings).await.unwrap());
    let layout = Layout::detect(&client, settings).await.unwrap();
    Tail::open(client, layout, settings, saved).await.unwrap()
}

/// Reads all there is; the position after it.
async fn drain(tail: &mut Tail, seen: &mut BTreeMap<String, u32>) -> String {
    let mut position = tail.position();
    while let Some(batch) = tail.next().await.unwrap() {
        note(&batch, seen);
        position = batch.position;
    }
    position
}

pub(super) fn note(batch: &Batch, seen: &mut BTreeMap<String, u32>) {
    for index in 0..batch.len() {
        *seen.entry(batch.record(index).body.into_owned()).or_default() += 1;
    }
}

pub(super) fn rows(names: std::ops::Range<u32>, timestamp_ns: u64) -> Vec<LogRow> {
    let host = [("host.name", "web-01"), ("service.name", "shop")];
    names.map(|n| LogRow::new(timestamp_ns + u64::from(n), &host, format!("row {n}"))).collect()
}

pub(super) fn assert_each_once(seen: &BTreeMap<String, u32>, count: u32) {
    let wrong: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).take(5).collect();
    assert!(wrong.is_empty(), "not once: {wrong:?}");
    assert_eq!(seen.len() as u32, count);
}

#[tokio::test]
async fn every_layout_gives_the_same_record() {
    for (n, tables) in Tables::ALL.into_iter().enumerate() {
        let database = format!("layout_{n}");
        let server = fresh(tables, &database);
        let now_ns = now_ns();
        let body = r#"{"channel":"Security","event_id":{"id":4688}}"#;
        let mut row = LogRow::new(now_ns, &[("host.name", "web-01"), ("service.name", "shop")], body);
        row.attributes_string = vec![("log.file.path".into(), "/var/log/x".into())];
        row.severity_text = "INFO".into();
        row.severity_number = 9;
        row.trace_id = "0123456789abcdef0123456789abcdef".into();
        row.scope_name = "scope".into();
        Writer::new(server, tables, &database).write(std::slice::from_ref(&row)).unwrap();
        let settings = settings(server, &database);
        let client = Arc::new(Client::connect(&settings).await.unwrap());
        let layout = Layout::detect(&client, &settings).await.unwrap();
        assert_eq!(layout.family == Family::SigNoz, tables.is_signoz(), "{tables:?}");
        assert!(layout.has_parts && !layout.sharded, "{tables:?}: {layout:?}");
        let mut tail = open(&settings, None).await;
        let batch = tail.next().await.unwrap().unwrap();
        assert_eq!(batch.len(), 1, "{tables:?}");
        assert_eq!((batch.oldest_ns, batch.newest_ns), (now_ns, now_ns));
        let record = batch.record(0);
        assert_eq!(record.timestamp_ns, now_ns, "{tables:?}");
        let read: serde_json::Value = serde_json::from_str(&record.body).unwrap();
        assert_eq!(read["event_id"]["id"], 4688, "{tables:?}: {}", record.body);
        assert_eq!(record.attribute("log.file.path"), Some("/var/log/x"), "{tables:?}");
        assert_eq!(record.resource("host.name"), Some("web-01"), "{tables:?}");
        assert_eq!(record.resource("service.name"), Some("shop"), "{tables:?}");
        assert_eq!((record.severity_text.as_ref(), record.severity_number), ("INFO", 9), "{tables:?}");
        assert_eq!((record.trace_id.as_ref(), record.scope_name.as_ref()), (row.trace_id.as_str(), "scope"));
        match tables.is_signoz() {
            true => assert_eq!((record.id.as_ref(), record.observed_ns), (row.id.as_str(), row.observed_ns)),
            false => assert_eq!((record.id.len(), record.observed_ns), (16, 0)),
        }
        assert!(tail.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn ids_made_of_the_content_have_one_length() {
    let tables = Tables::ALL.into_iter().find(|tables| !tables.is_signoz()).unwrap();
    let server = fresh(tables, "ids");
    // Of so many some are certain to begin with zeros.
    Writer::new(server, tables, "ids").write(&rows(0..4000, now_ns())).unwrap();
    let (mut tail, mut ids) = (open(&settings(server, "ids"), None).await, vec![]);
    while let Some(batch) = tail.next().await.unwrap() {
        ids.extend((0..batch.len()).map(|index| batch.record(index).id.into_owned()));
    }
    assert_eq!(ids.len(), 4000);
    assert!(ids.iter().any(|id| id.starts_with("00")));
    assert!(ids.iter().all(|id| id.len() == 16));
}

/// Inserts (some rows days late), merges of all kinds and restarts from the last committed
/// position, interleaved by chance.
async fn chaos(tables: Tables, seed: u64) {
    let database = format!("chaos_{seed}");
    let server = fresh(tables, &database);
    if tables.is_signoz() {
        schema::keep_forever(server, &database).unwrap();
    }
    let settings = settings(server, &database);
    let mut random = StdRng::seed_from_u64(seed);
    let mut writer = Writer::new(server, tables, &database);
    let mut tail = open(&settings, None).await;
    let mut committed = tail.position();
    let mut seen = BTreeMap::new();
    let mut written = 0u32;
    let now_ns = now_ns();
    for _ in 0..80 {
        match random.random_range(0..10) {
            0..=4 => {
                let count = random.random_range(1..60);
                let late_ns = if random.random_bool(0.3) { random.random_range(0..72) * HOUR_NS } else { 0 };
                writer.write(&rows(written..written + count, now_ns - late_ns)).unwrap();
                written += count;
            }
            5 | 6 => {
                let last = if random.random_bool(0.7) { "FINAL" } else { "" };
                server.execute(&format!("OPTIMIZE TABLE `{database}`.{} {last}", tables.table())).unwrap();
            }
            7 | 8 => {
                for _ in 0..random.random_range(1..4) {
                    if let Some(batch) = tail.next().await.unwrap() {
                        note(&batch, &mut seen);
                        committed = batch.position;
                    }
                }
            }
            _ => {
                // A batch that was read and not committed must come again.
                let _ = tail.next().await.unwrap();
                tail = open(&settings, Some(&committed)).await;
            }
        }
    }
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, written);
}

#[tokio::test]
async fn each_row_once_through_merges_and_restarts() {
    for seed in 1..=4 {
        chaos(Tables::SignozCreatedAt, seed).await;
    }
    chaos(Tables::SignozOld, 5).await;
    chaos(Tables::OtelNewest, 6).await;
}

#[tokio::test]
async fn merges_behind_our_back_are_read_once() {
    // The writer and the merges run while the reader reads.
    let tables = Tables::Signoz;
    let server = fresh(tables, "behind");
    let mut settings = settings(server, "behind");
    settings.batch_rows = 40;
    let mut tail = open(&settings, None).await;
    let writing = std::thread::spawn(move || {
        let mut writer = Writer::new(server, tables, "behind");
        let now_ns = now_ns();
        for n in 0..120 {
            writer.write(&rows(n * 25..(n + 1) * 25, now_ns)).unwrap();
            if n % 3 == 0 {
                server.execute("OPTIMIZE TABLE behind.logs_v2 FINAL").unwrap();
            }
        }
    });
    let mut seen = BTreeMap::new();
    while !writing.is_finished() {
        drain(&mut tail, &mut seen).await;
    }
    writing.join().unwrap();
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 3_000);
}

#[tokio::test]
async fn a_big_part_is_read_in_slices_that_survive_a_restart() {
    let server = fresh(Tables::Signoz, "slices");
    let now_ns = now_ns();
    Writer::new(server, Tables::Signoz, "slices").write(&rows(0..1_000, now_ns)).unwrap();
    let settings = settings(server, "slices");
    let mut seen = BTreeMap::new();
    let mut tail = open(&settings, None).await;
    for _ in 0..3 {
        let batch = tail.next().await.unwrap().unwrap();
        assert_eq!(batch.len(), 100);
        note(&batch, &mut seen);
        tail = open(&settings, Some(&batch.position)).await;
    }
    // Merged with new rows while half read.
    Writer::new(server, Tables::Signoz, "slices").write(&rows(1_000..1_050, now_ns)).unwrap();
    server.execute("OPTIMIZE TABLE slices.logs_v2 FINAL").unwrap();
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 1_050);
}

#[tokio::test]
async fn starting_now_passes_over_what_is_there_once() {
    let server = fresh(Tables::Signoz, "now");
    let mut settings = settings(server, "now");
    settings.start = Start::Now;
    let now_ns = now_ns();
    let mut writer = Writer::new(server, Tables::Signoz, "now");
    writer.write(&rows(0..500, now_ns)).unwrap();
    let tail = open(&settings, None).await;
    let position = tail.position();
    drop(tail);
    // Rows that come while the service is down, merged with those passed over.
    writer.write(&rows(500..530, now_ns)).unwrap();
    server.execute("OPTIMIZE TABLE now.logs_v2 FINAL").unwrap();
    let mut seen = BTreeMap::new();
    let mut tail = open(&settings, Some(&position)).await;
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 30);
}

#[tokio::test]
async fn starting_at_a_time_takes_rows_from_there_on() {
    let server = fresh(Tables::Signoz, "attime");
    let now_ns = now_ns();
    let mut writer = Writer::new(server, Tables::Signoz, "attime");
    let mut both = rows(0..10, now_ns - 5 * HOUR_NS);
    both.extend(rows(10..20, now_ns));
    writer.write(&both).unwrap();
    writer.write(&rows(20..30, now_ns - 4 * HOUR_NS)).unwrap();
    let mut settings = settings(server, "attime");
    settings.start = Start::At(now_ns - HOUR_NS);
    let mut seen = BTreeMap::new();
    let mut tail = open(&settings, None).await;
    let position = drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 10);
    writer.write(&rows(30..40, now_ns)).unwrap();
    server.execute("OPTIMIZE TABLE attime.logs_v2 FINAL").unwrap();
    let mut tail = open(&settings, Some(&position)).await;
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 20);
}

#[tokio::test]
async fn bad_bodies_lose_nothing_else() {
    let server = fresh(Tables::SignozCreatedAt, "bad");
    // The oldest row: JSON mode off, so the body stands in `body`.
    let now_ns = now_ns();
    let host = [("host.name", "h")];
    let mut all = vec![
        LogRow::new(now_ns, &host, vec![b'x'; 10 << 20]),
        LogRow::new(now_ns + 1, &host, b"caf\xe9 \xff".to_vec()),
        LogRow::new(now_ns + 2, &host, "[".repeat(100_000)),
        LogRow::new(now_ns + 3, &host, ""),
    ];
    all.extend(rows(0..5, now_ns + 10));
    Writer::new(server, Tables::SignozCreatedAt, "bad").write(&all).unwrap();
    let mut tail = open(&settings(server, "bad"), None).await;
    let batch = tail.next().await.unwrap().unwrap();
    let lengths: Vec<usize> = (0..batch.len()).map(|i| batch.record(i).body.len()).collect();
    assert_eq!(lengths[..4], [1 << 20, 10, 100_000, 0]);
    assert_eq!(batch.record(1).body, "caf\u{fffd} \u{fffd}");
    assert_eq!(batch.len(), 9);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_passed_over_alone() {
    let server = ClickHouse::with(Options::default()).unwrap();
    fresh(Tables::Signoz, "poison");
    Writer::new(&server, Tables::Signoz, "poison").write(&rows(0..20, now_ns())).unwrap();
    let mut settings = settings(&server, "poison");
    settings.batch_rows = 1;
    let mut tail = open(&settings, None).await;
    let poison = Injected::exception(241, "Memory limit exceeded").matching("_part_offset < 8)");
    server.inject(poison.times(ROW_ATTEMPTS));
    let mut seen = BTreeMap::new();
    let mut failures = 0;
    loop {
        match tail.next().await {
            Ok(Some(batch)) => note(&batch, &mut seen),
            Ok(None) => break,
            Err(fault) => {
                assert_eq!(fault.kind, crate::clickhouse::Kind::TooBig);
                failures += 1;
            }
        }
    }
    assert_eq!(failures, ROW_ATTEMPTS - 1);
    assert_each_once(&seen, 19);
    assert!(!seen.contains_key("row 7"));
}

#[tokio::test]
async fn an_answer_that_is_too_big_is_taken_in_smaller_pieces() {
    let server = ClickHouse::with(Options::default()).unwrap();
    fresh(Tables::Signoz, "toobig");
    Writer::new(&server, Tables::Signoz, "toobig").write(&rows(0..100, now_ns())).unwrap();
    let mut tail = open(&settings(&server, "toobig"), None).await;
    server.inject(Injected::exception(241, "Memory limit exceeded").matching("_part = '").times(1));
    let first = tail.next().await.unwrap().unwrap();
    assert_eq!(first.len(), 12);
    let mut seen = BTreeMap::new();
    note(&first, &mut seen);
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 100);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_read_again() {
    let server = ClickHouse::with(Options::default()).unwrap();
    fresh(Tables::Signoz, "cutoff");
    Writer::new(&server, Tables::Signoz, "cutoff").write(&rows(0..90, now_ns())).unwrap();
    let mut tail = open(&settings(&server, "cutoff"), None).await;
    server.inject(Injected::cut(900).matching("_part = '").times(1));
    let mut seen = BTreeMap::new();
    // Either the break is seen as such, or as rows that are missing; both read again.
    if let Ok(Some(batch)) = tail.next().await {
        note(&batch, &mut seen);
    }
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 90);
}

#[tokio::test]
async fn a_view_is_read_by_time_without_doubles() {
    let server = fresh(Tables::Signoz, "viewed");
    server.execute("CREATE VIEW viewed.v AS SELECT * FROM viewed.logs_v2").unwrap();
    let mut settings = settings(server, "viewed");
    settings.table = Some("v".into());
    let now_ns = now_ns() - 60_000_000_000;
    let mut writer = Writer::new(server, Tables::Signoz, "viewed");
    writer.write(&rows(0..250, now_ns)).unwrap();
    let mut tail = open(&settings, None).await;
    let mut seen = BTreeMap::new();
    let position = drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 250);
    // Later in arrival, earlier in time.
    writer.write(&rows(250..300, now_ns - 100_000_000_000)).unwrap();
    let mut tail = open(&settings, Some(&position)).await;
    drain(&mut tail, &mut seen).await;
    assert_each_once(&seen, 300);
}

#[tokio::test]
async fn what_is_wrong_with_clickhouse_is_told() {
    let server = ClickHouse::with(Options {
        credentials: Some(("sigma".into(), "right".into())),
        ..Options::default()
    })
    .unwrap();
    let mut settings = settings(&server, "nowhere");
    settings.user = "sigma".into();
    settings.password = Secret::new("wrong-pass");
    let fault = Client::connect(&settings).await.unwrap_err();
    assert_eq!(fault.kind, crate::clickhouse::Kind::Login);
    assert!(!fault.to_string().contains("wrong-pass"), "{fault}");
    settings.password = Secret::new("right");
    let client = Client::connect(&settings).await.unwrap();
    assert!(client.version().starts_with("2"), "{}", client.version());
    let fault = Layout::detect(&client, &settings).await.unwrap_err();
    assert_eq!(fault.kind, crate::clickhouse::Kind::Missing, "{fault}");
    assert!(fault.to_string().contains("clickhouse.database"), "{fault}");
    settings.url = "http://127.0.0.1:9".into();
    let fault = Client::connect(&settings).await.unwrap_err();
    assert_eq!(fault.kind, crate::clickhouse::Kind::Unreachable);
    assert!(fault.to_string().contains("127.0.0.1:9"), "{fault}");
}

#[tokio::test]
async fn a_user_that_may_not_send_settings_is_served() {
    let server = ClickHouse::with(Options::default()).unwrap();
    server.inject(Injected::exception(164, "Cannot modify 'priority' setting in readonly mode").times(1));
    let client = Client::connect(&settings(&server, "default")).await.unwrap();
    assert!(!client.settings_allowed());
}

#[tokio::test]
async fn a_position_of_another_table_starts_over() {
    let server = fresh(Tables::Signoz, "other_a");
    fresh(Tables::Signoz, "other_b");
    Writer::new(server, Tables::Signoz, "other_b").write(&rows(0..5, now_ns())).unwrap();
    let position = open(&settings(server, "other_a"), None).await.position();
    let mut tail = open(&settings(server, "other_b"), Some(&position)).await;
    assert_eq!(tail.next().await.unwrap().unwrap().len(), 5);
    let settings = settings(server, "other_b");
    let client = Arc::new(Client::connect(&settings).await.unwrap());
    let layout = Layout::detect(&client, &settings).await.unwrap();
    assert!(Tail::open(client, layout, &settings, Some("garbage")).await.is_err());
}

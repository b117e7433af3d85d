//! A cluster of two shards, whose parts have the same names. In a process of its own, because the
//! engine reads its cluster definition once.
//!
//! The embedded engine takes no connections of other servers, so both shards are its one table:
//! every row is there once for each shard.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use otel_log_ai::clickhouse::{Client, Layout};
use otel_log_ai::config::{ClickHouse as Settings, PollInterval, Secret, Start};
use otel_log_ai::tail::Tail;
use otel_log_ai_testkit::clickhouse::{ClickHouse, Options};
use otel_log_ai_testkit::schema::{self, Layout as Tables};
use otel_log_ai_testkit::signoz::{LogRow, Writer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CLUSTER: &str = "<clickhouse><tcp_port>9000</tcp_port><remote_servers><cluster>
<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>
<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>
</cluster></remote_servers></clickhouse>";

#[tokio::test]
async fn rows_of_each_shard_come_once() {
    let directory = tempfile::tempdir().unwrap();
    let config_file = directory.path().join("config.xml");
    std::fs::write(&config_file, CLUSTER).unwrap();
    let server = ClickHouse::with(Options { config_file: Some(config_file), ..Options::default() }).unwrap();
    schema::create(&server, Tables::Signoz, "sharded").unwrap();
    schema::create_distributed(&server, "sharded", "cluster").unwrap();
    let settings = Settings {
        url: server.url(),
        user: "default".into(),
        password: Secret::default(),
        database: "sharded".into(),
        table: None,
        start: Start::Beginning,
        poll_interval: PollInterval::Auto,
        batch_rows: 40,
        max_threads: 2,
        max_memory_bytes: 1 << 30,
        max_execution_time: Duration::from_secs(60),
        share: Default::default(),
        catch_up: Default::default(),
        tls: Default::default(),
    };
    let client = Arc::new(Client::connect(&settings).await.unwrap());
    let layout = Layout::detect(&client, &settings).await.unwrap();
    assert!(layout.sharded && layout.has_parts, "{layout:?}");

    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut position: Option<String> = None;
    for round in 0..6 {
        let row = |n| LogRow::new(now_ns, &[("host.name", "h")], format!("{round} {n}"));
        Writer::new(&server, Tables::Signoz, "sharded").write(&(0..30).map(row).collect::<Vec<_>>()).unwrap();
        if round % 2 == 1 {
            server.execute("OPTIMIZE TABLE sharded.logs_v2 FINAL").unwrap();
        }
        let saved = position.as_deref();
        let mut tail = Tail::open(Arc::clone(&client), layout.clone(), &settings, saved).await.unwrap();
        // Not always all of it, so that merges meet unread parts.
        for _ in 0..if round == 5 { 100 } else { 2 } {
            let Some(batch) = tail.next().await.unwrap() else { break };
            for index in 0..batch.len() {
                *seen.entry(batch.record(index).body.into_owned()).or_default() += 1;
            }
            position = Some(batch.position);
        }
    }
    assert_eq!(seen.len(), 180);
    assert!(seen.values().all(|times| *times == 2), "{seen:?}");

    // Behind the Distributed table another is created: its parts have blocks that were read, and the same dates.
    server.execute("DROP DATABASE sharded SYNC").unwrap();
    schema::create(&server, Tables::Signoz, "sharded").unwrap();
    schema::create_distributed(&server, "sharded", "cluster").unwrap();
    let row = |n| LogRow::new(now_ns, &[("host.name", "h")], format!("anew {n}"));
    Writer::new(&server, Tables::Signoz, "sharded").write(&(0..30).map(row).collect::<Vec<_>>()).unwrap();
    let layout = Layout::detect(&client, &settings).await.unwrap();
    let mut tail = Tail::open(Arc::clone(&client), layout, &settings, position.as_deref()).await.unwrap();
    let mut anew = 0;
    while let Some(batch) = tail.next().await.unwrap() {
        anew += batch.len();
    }
    assert_eq!(anew, 60);
}

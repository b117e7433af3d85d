//! Workers that share the hosts of a table, on the real engine.

use super::*;
use crate::config::Share;
use std::collections::BTreeSet;

/// Rows of 12 hosts in turn.
fn rows_of_hosts(names: std::ops::Range<u32>, timestamp_ns: u64) -> Vec<LogRow> {
    let row = |n: u32| {
        let host = format!("web-{:02}", n % 12);
        let resource = [("host.name", host.as_str()), ("service.name", "shop")];
        LogRow::new(timestamp_ns + u64::from(n), &resource, format!("row {n}"))
    };
    names.map(row).collect()
}

/// A worker, the rows it has seen and their hosts.
struct Worker {
    settings: Settings,
    tail: Tail,
    seen: BTreeMap<String, u32>,
    hosts: BTreeSet<String>,
}

impl Worker {
    async fn open(server: &ClickHouse, database: &str, index: u64) -> Worker {
        let share = Share { index, of: 2, shards: Vec::new() };
        let settings = Settings { share, ..settings(server, database) };
        let tail = open(&settings, None).await;
        Worker { settings, tail, seen: BTreeMap::new(), hosts: BTreeSet::new() }
    }

    /// Reads at most so many batches.
    async fn read(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some(batch) = self.tail.next().await.unwrap() else { return };
            note(&batch, &mut self.seen);
            for index in 0..batch.len() {
                let host = batch.record(index).resource("host.name").unwrap().to_string();
                self.hosts.insert(host);
            }
        }
    }

    async fn restart(&mut self) {
        self.tail = open(&self.settings, Some(&self.tail.position())).await;
    }
}

#[tokio::test]
async fn two_workers_read_each_row_once_and_no_host_both() {
    for tables in [Tables::Signoz, Tables::SignozCreatedAt, Tables::OtelNewest] {
        let database = format!("shared_{tables:?}").to_lowercase();
        let server = fresh(tables, &database);
        let now_ns = now_ns();
        let mut writer = Writer::new(server, tables, &database);
        let mut one = Worker::open(server, &database, 0).await;
        let mut two = Worker::open(server, &database, 1).await;
        for n in 0..8 {
            writer.write(&rows_of_hosts(n * 60..(n + 1) * 60, now_ns)).unwrap();
            // The workers stand in different places when consumed and new rows are merged.
            if n % 3 != 0 {
                one.read(1).await;
            }
            if n % 2 == 0 {
                two.read(9).await;
            }
            if n % 2 == 1 {
                let sql = format!("OPTIMIZE TABLE {database}.{} FINAL", tables.table());
                server.execute(&sql).unwrap();
            }
            if n == 4 {
                one.restart().await;
                two.restart().await;
            }
        }
        one.read(99).await;
        two.read(99).await;
        assert!(one.hosts.is_disjoint(&two.hosts), "{:?} and {:?}", one.hosts, two.hosts);
        assert!(!one.hosts.is_empty() && !two.hosts.is_empty());
        assert_eq!(one.hosts.len() + two.hosts.len(), 12);
        let mut all = one.seen;
        two.seen.into_iter().for_each(|(row, times)| *all.entry(row).or_default() += times);
        assert_each_once(&all, 480);
    }
}

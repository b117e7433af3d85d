//! The real binary between the real ClickHouse engine and a receiver that behaves as Keep does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::{PATIENCE, Service};
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::keep::Keep;
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer, ksuid};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BINARY: &str = env!("CARGO_BIN_EXE_otel-log-ai");

/// A directory with configuration, rules and state, and what the service talks to.
pub struct Site {
    pub directory: tempfile::TempDir,
    pub keep: Keep,
    pub database: &'static str,
}

impl Site {
    pub fn new(database: &'static str) -> Site {
        let server = ClickHouse::shared();
        server.execute(&format!("DROP DATABASE IF EXISTS {database} SYNC")).unwrap();
        schema::create(server, Layout::Signoz, database).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("rules")).unwrap();
        let site = Site { directory, keep: Keep::start().unwrap(), database };
        site.write_rule("one");
        site.configure(&server.url(), "");
        site
    }

    /// Another service with a Keep of its own on the same logs.
    pub fn beside(&self) -> Site {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("rules")).unwrap();
        let site = Site { directory, keep: Keep::start().unwrap(), database: self.database };
        site.write_rule("one");
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A rule that matches command lines with `marker-<name>`.
    pub fn write_rule(&self, name: &str) {
        let rule = format!(
            "title: Marker {name}\nid: 5c0ff1ce-0000-4000-8000-{:012x}\nstatus: stable\nlevel: high\n\
             logsource: {{product: windows, category: process_creation}}\n\
             detection: {{sel: {{CommandLine|contains: 'marker-{name}'}}, condition: sel}}\n",
            name.bytes().fold(0u64, |sum, byte| sum * 31 + u64::from(byte))
        );
        std::fs::write(self.path(&format!("rules/{name}.yml")), rule).unwrap();
    }

    pub fn configure(&self, clickhouse_url: &str, more: &str) {
        let (database, keep) = (self.database, self.keep.url());
        let text = format!(
            "clickhouse: {{url: '{clickhouse_url}', database: {database}, start: beginning, poll_interval: 50ms, \
             password: '${{env:TEST_PASSWORD:-}}'}}\n\
             rules: {{paths: [./rules], reload_interval: 1s}}\n\
             http: {{listen: '127.0.0.1:0'}}\n\
             keep: {{url: '{keep}', api_key: key-in-config}}\n{more}"
        );
        std::fs::write(self.path("c.yaml"), text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(self.path("c.yaml"));
        command
    }

    pub fn start(&self) -> Service {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["run"]);
        command.env("OTEL_LOG_AI_STATS_FILE", self.path("stats.json")).stderr(log).stdout(Stdio::null());
        Service::start(&mut command)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The address of the HTTP port, which the service tells in its log.
    pub fn port(&self) -> String {
        self.wait("the port", |site| site.log().contains("health and metrics"));
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("health and metrics")).unwrap();
        let plain: String = line.replace("\u{1b}[3m", "").replace("\u{1b}[0m", "").replace("\u{1b}[2m", "");
        format!("http://{}", plain.rsplit("address=").next().unwrap().trim())
    }

    /// Status and body of the answer of the HTTP port.
    pub fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let response = reqwest::get(url).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        })
    }

    pub fn stats(&self) -> Value {
        let text = std::fs::read_to_string(self.path("stats.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// One row for each host, with `marker-<marker>` in its command line.
    pub fn insert(&self, marker: &str, hosts: std::ops::Range<u32>) {
        let rows: Vec<LogRow> = hosts.map(|host| row(marker, host, now_ns())).collect();
        self.write(&rows);
    }

    /// Inserts rows as one batch.
    pub fn write(&self, rows: &[LogRow]) {
        Writer::new(ClickHouse::shared(), Layout::Signoz, self.database).write(rows).unwrap();
    }

    /// Distinct alerts that Keep holds: name and host → how often the rule matched.
    pub fn alerts(&self) -> BTreeMap<(String, String), u64> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let alerts = self.keep.alerts();
        let of = |alert: &serde_json::Map<String, Value>| {
            ((text(&alert["name"]), text(&alert["host"])), alert["match_count"].as_u64().unwrap_or_default())
        };
        alerts.iter().map(of).collect()
    }

    pub fn wait(&self, what: &str, done: impl Fn(&Site) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let (log, alerts) = (self.log(), self.alerts());
            assert!(start.elapsed() < PATIENCE, "waited for {what} in vain; alerts {alerts:?}; log:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The clock, nanoseconds since the epoch.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A row of `host-<host>` with `marker-<marker>` in its command line.
pub fn row(marker: &str, host: u32, timestamp_ns: u64) -> LogRow {
    let body = json!({
        "channel": "Microsoft-Windows-Sysmon/Operational",
        "computer": format!("host-{host}"),
        "event_id": {"id": 1, "qualifiers": 0},
        "provider": {"name": "Microsoft-Windows-Sysmon", "guid": "", "event_source": ""},
        "event_data": {"Image": "C:\\Windows\\cmd.exe", "CommandLine": format!("cmd /c marker-{marker}")},
    });
    LogRow::new(timestamp_ns, &[("service.name", "windows")], body.to_string())
}

/// The same rows as SigNoz's exporter writes them when a Collector sends the batch again.
pub fn again(rows: &[LogRow]) -> Vec<LogRow> {
    let fresh = |row: &LogRow| LogRow { id: ksuid::random(row.timestamp_ns), ..row.clone() };
    rows.iter().map(fresh).collect()
}

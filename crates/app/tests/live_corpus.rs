//! The live way on real events: SigmaHQ's regression events in ClickHouse, the service with SigmaHQ's
//! rules, alerts at a receiver that behaves as Keep does. Every expected rule must arrive as an alert
//! for every body shape. The corpora are not part of the project; the test skips where they are absent.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{PATIENCE, Service, corpus, corpus_rows, sigmahq};
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::keep::Keep;
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer};
use otel_log_ai_testkit::windows::Shape;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DATABASE: &str = "live_corpus";

#[test]
fn regression_events_become_alerts_in_every_shape() {
    let Some(expectations) = corpus("sigma-regression/expectations.dev.json") else { return };
    let Some(events) = corpus("sigma-regression/events.dev.ndjson.gz") else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(rules) = sigmahq(directory.path()) else { return };
    let expectations: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(expectations).unwrap()).unwrap();
    let shapes = [("B", Shape::B), ("C", Shape::C), ("D", Shape::D), ("XML", Shape::Xml)];

    let server = ClickHouse::shared();
    schema::create(server, Layout::Signoz, DATABASE).unwrap();
    schema::keep_forever(server, DATABASE).unwrap();
    for (name, shape) in shapes {
        let rows: Vec<LogRow> = corpus_rows(&events, shape)
            .map(|mut row| {
                // Alerts are grouped by host: one host for each shape and event file.
                let (file, _) = row.id.split_once('#').unwrap();
                let host = format!("{name}/{file}");
                let body = String::from_utf8(row.body.clone()).unwrap();
                row.body = rename_computer(&body, &host).into_bytes();
                row
            })
            .collect();
        Writer::new(server, Layout::Signoz, DATABASE).write(&rows).unwrap();
    }

    let keep = Keep::start().unwrap();
    let config = directory.path().join("config.yaml");
    let paths: Vec<String> = rules.iter().map(|path| format!("'{}'", path.display())).collect();
    let text = format!(
        "clickhouse: {{url: '{}', database: {DATABASE}, start: beginning, poll_interval: 50ms}}\n\
         rules: {{paths: [{}], min_level: informational}}\n\
         alerts: {{group_wait: 0s}}\n\
         keep: {{url: '{}', alerts_per_second: 1000}}\n",
        server.url(),
        paths.join(", "),
        keep.url()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_otel-log-ai"));
    command.arg("run").arg("--config").arg(&config).current_dir(directory.path()).stdout(Stdio::null());
    let _service = Service::start(&mut command);

    let expected: BTreeSet<(String, String)> = (shapes.iter())
        .flat_map(|(name, _)| {
            expectations.iter().map(move |expected| {
                let text = |key: &str| expected[key].as_str().unwrap_or_default().to_owned();
                (text("rule_id"), bounded(&format!("{name}/{}", text("source_file"))))
            })
        })
        .collect();
    let start = Instant::now();
    loop {
        let arrived: BTreeSet<(String, String)> = (keep.alerts().iter())
            .map(|alert| {
                let text = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
                (text("rule_id"), text("host"))
            })
            .collect();
        let missing: Vec<_> = expected.difference(&arrived).collect();
        if missing.is_empty() {
            eprintln!("all {} expected alerts arrived, {} in all", expected.len(), arrived.len());
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{} alerts missing, first {:?}", missing.len(), missing[0]);
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Host names are cut at this length on their way.
fn bounded(host: &str) -> String {
    host[..host.floor_char_boundary(256)].to_owned()
}

fn rename_computer(body: &str, host: &str) -> String {
    let (start, end) = if body.starts_with('<') {
        let start = body.find("<Computer>").unwrap() + "<Computer>".len();
        (start, start + body[start..].find('<').unwrap())
    } else {
        let start = body.find("\"computer\":\"").unwrap() + "\"computer\":\"".len();
        (start, start + body[start..].find('"').unwrap())
    };
    format!("{}{host}{}", &body[..start], &body[end..])
}

//! The real binary between the real ClickHouse engine and a receiver that behaves as Keep does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::Service;
use common::site::{Site, now_ns};
use otel_log_ai_testkit::clickhouse::{ClickHouse, Options};
use otel_log_ai_testkit::signoz::LogRow;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_otel-log-ai");

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_row_becomes_one_alert_and_sigterm_drains() {
    let site = Site::new("svc_first");
    site.insert("one", 0..3);
    site.insert("nothing", 0..5);
    let service = site.start();
    site.wait("three alerts", |site| site.alerts().len() == 3);
    assert!(site.alerts().values().all(|count| *count == 1), "{:?}", site.alerts());
    // A group that still waits for company is told at the stop.
    site.configure(&ClickHouse::shared().url(), "alerts: {group_wait: 10m}\n");
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    let service = site.start();
    site.insert("one", 3..5);
    site.wait("the rows", |site| site.stats()["detections"] == 2);
    assert_eq!(site.alerts().len(), 3);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
    site.wait("five alerts", |site| site.alerts().len() == 5);
    let stats = site.stats();
    assert_eq!(stats["rows"], 2, "{stats}");
    assert_eq!(stats["alerts_delivered"], 2, "{stats}");
    assert_eq!(stats["rules"], 1, "{stats}");
    let log = site.log();
    assert!(log.contains("SIGTERM: stopping") && log.contains("svc_first.logs_v2"), "{log}");
    assert!(!log.contains("key-in-config"), "a secret shows");
}

#[test]
fn kills_neither_lose_nor_double() {
    let site = Site::new("svc_kill");
    let mut hosts = 0;
    for pause_ms in [0, 300, 900, 1_500] {
        site.insert("one", hosts..hosts + 3);
        let service = site.start();
        std::thread::sleep(Duration::from_millis(pause_ms));
        site.insert("one", hosts + 3..hosts + 6);
        ClickHouse::shared().execute("OPTIMIZE TABLE svc_kill.logs_v2 FINAL").unwrap();
        hosts += 6;
        drop(service); // SIGKILL
    }
    let service = site.start();
    site.wait("an alert for each host", |site| site.alerts().len() as u32 == hosts);
    site.wait("all of it to be read", |site| site.stats()["alerts_open"] == u64::from(hosts));
    assert_eq!(service.stop(), Some(0));
    assert!(site.alerts().values().all(|count| *count == 1), "a row counted twice: {:?}", site.alerts());
    assert!(site.keep.errors().is_empty());
}

#[test]
fn a_backlog_draws_nothing_where_there_is_no_terminal() {
    let site = Site::new("svc_bar");
    let text = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    std::fs::write(site.path("c.yaml"), text.replace("poll_interval: 50ms", "batch_rows: 200")).unwrap();
    for _ in 0..8 {
        site.insert("nothing", 0..1_000);
    }
    let service = site.start();
    site.wait("a backlog", |site| {
        let (_, text) = site.get("/metrics");
        let waits = |line: &str| line.starts_with("otel_log_ai_backlog_rows{") && !line.ends_with(" 0");
        text.lines().any(waits)
    });
    site.wait("its end", |site| site.stats()["rows"] == 8_000);
    assert_eq!(service.stop(), Some(0));
    let log = site.log();
    assert!(!log.contains('\u{1b}') && !log.contains('█') && !log.contains('\r'), "{log:?}");
}

#[test]
fn rules_are_exchanged_while_it_runs() {
    let site = Site::new("svc_rules");
    let service = site.start();
    site.insert("one", 0..1);
    site.wait("the first alert", |site| site.alerts().len() == 1);
    site.write_rule("two");
    site.wait("the reload", |site| site.stats()["rules"] == 2);
    site.insert("two", 0..1);
    site.wait("the new rule's alert", |site| site.alerts().len() == 2);
    // Nothing usable left: the old rules stay.
    for name in ["one", "two"] {
        std::fs::write(site.path(&format!("rules/{name}.yml")), "title: [").unwrap();
    }
    site.wait("the refusal", |site| site.log().contains("stay in use"));
    site.insert("two", 1..2);
    site.wait("an alert of the old rules", |site| site.alerts().len() == 3);
    site.write_rule("three");
    service.signal("HUP");
    site.wait("the reload", |site| site.stats()["rules"] == 1);
    assert_eq!(service.stop(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_hangup_while_it_starts_neither_ends_it_nor_is_lost() {
    let site = Site::new("svc_hangup");
    let config = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    std::fs::remove_file(site.path("c.yaml")).unwrap();
    assert!(Command::new("mkfifo").arg(site.path("c.yaml")).status().unwrap().success());
    let mut service = site.start();
    // Opens once the service reads its configuration, which then waits for our text.
    let mut pipe = std::fs::File::options().write(true).open(site.path("c.yaml")).unwrap();
    service.signal("HUP");
    std::thread::sleep(Duration::from_millis(200));
    assert!(service.is_running(), "SIGHUP ended it");
    pipe.write_all(config.as_bytes()).unwrap();
    drop(pipe);
    site.wait("the reload", |site| site.stats()["reloads"] == 1);
    site.insert("one", 0..1);
    site.wait("the alert", |site| site.alerts().len() == 1);
    assert_eq!(service.stop(), Some(0), "{}", site.log());
}

#[test]
fn it_waits_for_clickhouse_and_says_why() {
    let site = Site::new("svc_away");
    let server = ClickHouse::with(Options {
        credentials: Some(("default".into(), "right-pass".into())),
        ..Options::default()
    })
    .unwrap();
    server.stop();
    site.configure(&server.url(), "");
    site.insert("one", 0..2);
    let mut service = site.start();
    site.wait("the reason", |site| site.log().contains("cannot be reached"));
    server.restart().unwrap();
    site.wait("the next reason", |site| site.log().contains("wrong user or password"));
    assert!(service.is_running());
    drop(service);

    let log = std::fs::File::options().append(true).open(site.path("log")).unwrap();
    let service = Service::start(site.command(&["run"]).env("TEST_PASSWORD", "right-pass").stderr(log));
    site.wait("the alerts", |site| site.alerts().len() == 2);
    server.stop();
    site.insert("one", 2..4);
    std::thread::sleep(Duration::from_millis(700));
    server.restart().unwrap();
    site.wait("the alerts after the outage", |site| site.alerts().len() == 4);
    site.wait("the good news", |site| site.log().contains("reading logs again"));
    assert!(site.alerts().values().all(|count| *count == 1));
    assert!(!site.log().contains("right-pass"), "a secret shows");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn check_tells_what_is_right_and_what_is_wrong() {
    let site = Site::new("svc_check");
    site.insert("one", 0..2);
    let output = site.command(&["check"]).output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    for expected in
        ["1 rules of 1 files", "svc_check.logs_v2 (SigNoz)", "2 rows of the last hour", "takes alerts"]
    {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert!(!text.contains("error"), "{text}");
    assert!(!site.path("otel-log-ai.sqlite").exists(), "a check leaves no file");

    std::fs::write(site.path("rules/broken.yml"), "title: [").unwrap();
    site.keep.stop();
    site.configure("http://127.0.0.1:9", "state: {path: /nonexistent/x.sqlite}\n");
    let output = site.command(&["check", "--output", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let of = |subject: &str, status: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().any(|check| check["subject"] == subject && check["status"] == status)
    };
    assert_eq!(report["ok"], false);
    for (subject, status) in [
        ("config", "ok"),
        ("rules", "ok"),
        ("rules", "warn"),
        ("clickhouse", "error"),
        ("keep", "error"),
        ("state", "error"),
    ] {
        assert!(of(subject, status), "{subject} {status} in {report:#}");
    }
}

#[test]
fn wrong_use_is_told_with_exit_code_2() {
    let site = Site::new("svc_usage");
    site.configure("http://127.0.0.1:9", "alertz: {}\n");
    let output = site.command(&["run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `alerts`?"), "{}", stderr(&output));
    std::fs::remove_file(site.path("c.yaml")).unwrap();
    let output = site.command(&["run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("hint: `otel-log-ai config example"), "{}", stderr(&output));
    let output = Command::new(BINARY).args(["config", "example"]).output().unwrap();
    assert!(stdout(&output).contains("clickhouse:") && output.status.success());
    let output = Command::new(BINARY).args(["completions", "bash"]).output().unwrap();
    assert!(stdout(&output).contains("otel-log-ai") && output.status.success());
    site.configure("http://127.0.0.1:9", "");
    std::fs::remove_file(site.path("rules/one.yml")).unwrap();
    let output = site.command(&["run"]).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).contains("no rule is left")), (Some(2), true));
}

#[test]
fn the_records_of_one_audit_event_meet_across_batches_and_a_restart() {
    let site = Site::new("svc_audit");
    std::fs::write(
        site.path("rules/shell.yml"),
        "title: Web shell\nid: 5c0ff1ce-0000-4000-8000-00000000000a\nstatus: stable\nlevel: high\n\
         logsource: {product: linux, category: process_creation}\n\
         detection: {sel: {ParentImage|endswith: '/nginx', CommandLine|contains: 'sh -c id'}, condition: sel}\n",
    )
    .unwrap();
    let insert = |records: &[String]| {
        let row = |record: &String| LogRow::new(now_ns(), &[("host.name", "lin01")], record.clone());
        site.write(&records.iter().map(row).collect::<Vec<_>>());
    };
    let execve = |serial: u32, ids: &str, exe: &str, arguments: &str| -> Vec<String> {
        let id = format!("msg=audit(1785924930.{serial}:{serial})");
        vec![
            format!(
                "type=SYSCALL {id}: arch=c000003e syscall=59 success=yes exit=0 items=1 {ids} uid=33 ses=4294967295 comm=\"x\" exe=\"{exe}\""
            ),
            format!("type=EXECVE {id}: {arguments}"),
            format!("type=CWD {id}: cwd=\"/\""),
            format!("type=PATH {id}: item=0 name=\"{exe}\" nametype=NORMAL"),
        ]
    };
    let nginx = execve(100, "ppid=1 pid=700", "/usr/sbin/nginx", "argc=1 a0=\"nginx\"");
    let shell = execve(200, "ppid=700 pid=701", "/usr/bin/dash", "argc=3 a0=\"sh\" a1=\"-c\" a2=\"id\"");
    let service = site.start();
    insert(&shell[1..]);
    site.wait("the first half", |site| site.stats()["rows"] == 3);
    drop(service);
    // Killed with half an event; its rows are behind the position.
    let service = site.start();
    insert(&nginx);
    insert(&shell[..1]);
    site.wait("the alert", |site| site.alerts().len() == 1);
    let key = ("Web shell".to_string(), "lin01".to_string());
    assert_eq!(site.alerts().get(&key), Some(&1), "{:?}", site.alerts());
    assert_eq!(service.stop(), Some(0), "{}", site.log());
}

#[test]
fn the_port_tells_how_it_goes() {
    let site = Site::new("svc_port");
    site.insert("one", 0..3);
    let service = site.start();
    site.wait("three alerts", |site| site.alerts().len() == 3);
    site.wait("readiness", |site| site.get("/readyz").0 == 200);
    assert_eq!(site.get("/healthz").0, 200);
    site.wait("the count", |site| {
        site.get("/metrics").1.contains("alerts_delivered_total{target=\"keep\"} 3")
    });
    let (_, text) = site.get("/metrics");
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("otel_log_ai_rows_total"), 3.0);
    assert_eq!(value("otel_log_ai_detections_total"), 3.0);
    assert_eq!(value("otel_log_ai_backlog_rows"), 0.0);
    assert_eq!(value("otel_log_ai_queue_alerts"), 0.0);
    assert_eq!(value("otel_log_ai_target_up"), 1.0);
    assert_eq!(value("otel_log_ai_rules"), 1.0);
    assert!(value("otel_log_ai_read_bytes_total") > 0.0);
    assert!(value("otel_log_ai_clickhouse_queries_total") > 2.0);
    assert!(!text.contains("key-in-config"));
    // It tells the truth when Keep is away.
    site.keep.stop();
    site.insert("one", 3..4);
    site.wait("the bad news", |site| site.get("/readyz").0 == 503);
    let (_, body) = site.get("/readyz");
    let ready: Value = serde_json::from_str(&body).unwrap();
    let broken: Vec<&str> = ready["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| check["part"].as_str().unwrap())
        .collect();
    assert_eq!(broken, ["target keep"], "{body}");
    assert_eq!(site.get("/healthz").0, 200);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn alerts_are_listed_retried_and_dropped_beside_the_service() {
    let site = Site::new("svc_alerts");
    let file = site.path("alerts.ndjson");
    let targets = format!("targets: [{{name: archive, type: file, path: '{}'}}]\n", file.display());
    site.configure(&ClickHouse::shared().url(), &targets);
    site.insert("one", 0..3);
    site.keep.stop();
    let service = site.start();
    site.wait("the file", |_| std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 3));
    let output = site.command(&["alerts", "list", "--output", "ndjson"]).output().unwrap();
    let entries: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 3, "{}{}", stdout(&output), stderr(&output));
    assert!(entries.iter().all(|entry| entry["state"] == "waiting" && entry["target"] == "keep"));
    let id = entries[0]["id"].as_str().unwrap();
    let output = site.command(&["alerts", "drop", "--waiting", &id[..13]]).output().unwrap();
    assert_eq!(stdout(&output), "1 removed\n", "{}", stderr(&output));
    let output = site.command(&["alerts", "list"]).output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("keep: 2 wait, 0 given up") && text.contains("archive: 0 wait"), "{text}");
    let output = site.command(&["alerts", "retry", "abcdef99"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no dead letter"), "{}", stderr(&output));
    // A target that is taken out of the configuration leaves its queue behind, and that is told.
    assert_eq!(service.stop(), Some(0));
    let with_keep = std::fs::read_to_string(site.path("c.yaml")).unwrap();
    let without: Vec<&str> = with_keep.lines().filter(|line| !line.starts_with("keep:")).collect();
    std::fs::write(site.path("c.yaml"), without.join("\n")).unwrap();
    let service = site.start();
    site.wait("the word on it", |site| site.log().contains("alerts wait for `keep`, which is not a target"));
    assert_eq!(service.stop(), Some(0));
    std::fs::write(site.path("c.yaml"), with_keep).unwrap();
    site.keep.restart().unwrap();
    let service = site.start();
    site.wait("what is left", |site| site.alerts().len() == 2);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_dead_letter_is_retried_and_arrives() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let site = Site::new("svc_retry");
    let (broken, taken) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let state = (Arc::clone(&broken), Arc::clone(&taken));
    let answer = move |axum::Json(alerts): axum::Json<Vec<Value>>| {
        let (broken, taken) = state.clone();
        async move {
            if broken.load(Ordering::Relaxed) {
                return (axum::http::StatusCode::BAD_REQUEST, "no field \u{1b}[31m`x`");
            }
            taken.fetch_add(alerts.len(), Ordering::Relaxed);
            (axum::http::StatusCode::OK, "")
        }
    };
    let app = axum::Router::new().route("/hook", axum::routing::post(answer));
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let targets = format!("targets: [{{name: hook, type: webhook, url: '{url}'}}]\n");
    site.configure(&ClickHouse::shared().url(), &targets);
    site.insert("one", 0..3);
    let service = site.start();
    site.wait("the alerts in Keep", |site| site.alerts().len() == 3);
    let list = |site: &Site| stdout(&site.command(&["alerts", "list"]).output().unwrap());
    site.wait("the dead letters", |site| list(site).contains("hook: 0 wait, 3 given up"));
    let text = list(&site);
    assert!(text.contains("cannot make sense of it") && text.contains("keep: 0 wait, 0 given up"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    broken.store(false, Ordering::Relaxed);
    let output = site.command(&["alerts", "retry", "--all", "--target", "hook"]).output().unwrap();
    assert_eq!(stdout(&output), "3 put back into the queue\n", "{}", stderr(&output));
    site.wait("the alerts at the webhook", |_| taken.load(Ordering::Relaxed) == 3);
    site.wait("an empty list", |site| list(site).contains("hook: 0 wait, 0 given up"));
    assert_eq!(service.stop(), Some(0));
}

//! `explain` never disagrees with the engine, and `rules coverage` reads what really arrives: from a
//! file, and from the real ClickHouse engine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{corpus, corpus_rows, otel_log_ai, sigmahq, workspace};
use otel_log_ai_core::engine::{Engine, Scratch};
use otel_log_ai_core::otel::{LogRecord, Taxonomy};
use otel_log_ai_core::report::coverage::coverage;
use otel_log_ai_core::report::explain::explain;
use otel_log_ai_testkit::clickhouse::ClickHouse;
use otel_log_ai_testkit::schema::{self, Layout};
use otel_log_ai_testkit::signoz::{LogRow, Writer};
use otel_log_ai_testkit::windows::Shape;
use serde_json::Value;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Holds `explain` against the engine, for every rule and every record.
struct Twins {
    taxonomy: Taxonomy,
    engine: Engine,
    scratch: Scratch,
    matches: usize,
}

impl Twins {
    fn of(rules: &[std::path::PathBuf]) -> Twins {
        let taxonomy = Taxonomy::builtin().unwrap();
        let rules = otel_log_ai::rules::read(rules).unwrap().rules;
        let engine = Engine::compile(rules, &taxonomy.classes);
        Twins { taxonomy, engine, scratch: Scratch::default(), matches: 0 }
    }

    fn agree(&mut self, record: &LogRecord<'_>, place: &str) {
        for (index, event) in self.taxonomy.events(record).into_iter().enumerate() {
            let hits = self.engine.run(&event, &mut self.scratch);
            let hits: Vec<usize> = hits.iter().map(|hit| hit.rule).collect();
            let views = event.class.map_or(&[][..], |id| &self.taxonomy.classes[usize::from(id.0)].views);
            for (number, rule) in self.engine.rules().iter().enumerate() {
                if !views.iter().any(|view| view.takes(&rule.info.logsource)) {
                    assert!(!hits.contains(&number), "{place}: {}", rule.info.title);
                    continue;
                }
                let told = &explain(rule, &self.taxonomy, record)[index];
                assert!(told.covered);
                assert_eq!(told.matches, hits.contains(&number), "{place}: {}", rule.info.title);
                self.matches += usize::from(told.matches);
            }
        }
    }
}

#[test]
fn explain_agrees_with_the_engine_on_the_events_of_the_starter_rules() {
    let rules = workspace().join("rules");
    let mut twins = Twins::of(std::slice::from_ref(&rules));
    for entry in walkdir::WalkDir::new(&rules).sort_by_file_name() {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let test: Value = serde_json::from_str(line).unwrap();
                let row = test["row"].to_string();
                for record in otel_log_ai::rows::parse(&row).unwrap() {
                    twins.agree(&record, &path.display().to_string());
                }
            }
        }
    }
    assert!(twins.matches >= 92, "{}", twins.matches);
}

#[test]
fn explain_agrees_with_the_engine_on_recorded_attacks() {
    let Some(events) = corpus("evtx-attack/events.dev.ndjson.gz") else { return };
    let tree = tempfile::tempdir().unwrap();
    let Some(rules) = sigmahq(tree.path()) else { return };
    let mut twins = Twins::of(&rules);
    for row in corpus_rows(&events, Shape::C).step_by(2003) {
        let text = String::from_utf8(row.to_json_each_row()).unwrap();
        for record in otel_log_ai::rows::parse(&text).unwrap() {
            twins.agree(&record, &row.id);
        }
    }
}

#[test]
fn every_rule_of_sigmahq_has_a_source_or_a_reason() {
    let tree = tempfile::tempdir().unwrap();
    let Some(folders) = sigmahq(tree.path()) else { return };
    let rules = otel_log_ai::rules::read(&folders).unwrap().rules;
    let report = coverage(&rules, &Taxonomy::builtin().unwrap());
    let blind: Vec<String> = (report.rules.iter())
        .filter_map(|rule| Some(format!("{}: {}", rule.rule.path, rule.why_not.as_ref()?.text())))
        .filter(|line| !line.contains("needs values for"))
        .collect();
    assert_eq!(report.summary.blind_without_reason, 0, "{blind:#?}");
    assert!(blind.len() < 25, "{blind:#?}");
}

fn json(output: std::process::Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_layer_for_the_navigator_has_what_its_format_demands() {
    let rules = workspace().join("rules");
    let args = ["rules", "coverage", "--output", "navigator", "--rules"].map(Path::new);
    let layer = json(otel_log_ai(args.into_iter().chain([rules.as_path()])));
    assert_eq!((&layer["versions"]["layer"], &layer["domain"]), (&"4.5".into(), &"enterprise-attack".into()));
    assert!(layer["name"].is_string() && layer["gradient"]["colors"].as_array().unwrap().len() >= 2);
    let techniques = layer["techniques"].as_array().unwrap();
    assert!(techniques.len() > 30);
    for technique in techniques {
        let id = technique["techniqueID"].as_str().unwrap();
        assert!(id.starts_with('T') && id[1..].chars().all(|c| c.is_ascii_digit() || c == '.'), "{id}");
        assert!(technique["score"].as_u64().unwrap() >= 1, "every starter rule can fire: {technique}");
    }
}

#[test]
fn what_arrives_in_clickhouse_is_held_against_the_rules() {
    let server = ClickHouse::shared();
    let database = "coverage";
    server.execute(&format!("DROP DATABASE IF EXISTS {database} SYNC")).unwrap();
    schema::create(server, Layout::Signoz, database).unwrap();
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let body = |host: u32| {
        format!(
            r#"{{"channel":"Security","computer":"w{host}","event_id":{{"id":4688}},"event_data":{{"NewProcessName":"C:\\b.exe","CommandLine":""}}}}"#
        )
    };
    // The last one is older than asked for.
    let age_ns = [1, 3_600, 7_000, 20_000].map(|seconds| seconds * 1_000_000_000);
    let row = |(n, age): (usize, &u64)| LogRow::new(now_ns - age, &[("host.name", "fwd")], body(n as u32));
    let rows: Vec<LogRow> = age_ns.iter().enumerate().map(row).collect();
    Writer::new(server, Layout::Signoz, database).write(&rows).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    let text = format!(
        "clickhouse: {{url: '{}', database: {database}}}\nrules: {{paths: [{}]}}\nkeep: {{url: 'http://127.0.0.1:1'}}\n",
        server.url(),
        workspace().join("rules").display()
    );
    std::fs::write(&config, text).unwrap();
    let rules = workspace().join("rules");
    let args = ["rules", "coverage", "--output", "json", "--against-clickhouse", "--hours", "2", "--config"];
    let args = args.map(Path::new).into_iter();
    let report = json(otel_log_ai(args.chain([config.as_path(), Path::new("--rules"), &rules])));
    let seen = &report["seen"];
    assert_eq!((seen["events"].as_u64(), seen["hosts"].as_array().unwrap().len()), (Some(3), 3), "{seen}");
    assert!(report["sample"].as_str().unwrap().starts_with("3 of 3 rows of the last 2 h"), "{report}");
    let findings = seen["findings"].as_array().unwrap();
    let silent =
        |finding: &&Value| finding["text"].as_str().unwrap().contains("carries no command line on 3 of 3");
    let finding = findings.iter().find(silent).expect("the command line is missing");
    assert!(finding["rules"].as_u64().unwrap() > 5, "{finding}");
}

//! Every optimisation of the engine can be switched off and changes no answer: on recorded attacks,
//! from the row on, and by the hidden flag of `scan`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{corpus, corpus_rows, otel_log_ai, sigmahq, workspace};
use otel_log_ai_core::detect::{Detector, Scratch};
use otel_log_ai_core::engine::Options;
use otel_log_ai_core::otel::Taxonomy;
use otel_log_ai_testkit::windows::Shape;

/// Each switch off by itself, and all of them.
fn all_off() -> Vec<Vec<&'static str>> {
    let names: Vec<&str> = Options::SWITCHES.iter().map(|(name, _)| *name).collect();
    names.iter().map(|name| vec![*name]).chain([names.clone()]).collect()
}

#[test]
fn recorded_attacks_give_the_same_detections_without_any_optimisation() {
    let Some(events) = corpus("evtx-attack/events.dev.ndjson.gz") else { return };
    let tree = tempfile::tempdir().unwrap();
    let Some(rules) = sigmahq(tree.path()) else { return };
    let rules = otel_log_ai::rules::read(&rules).unwrap().rules;
    let taxonomy = Taxonomy::builtin().unwrap();
    let detector = Detector::new(rules.clone(), taxonomy.clone());
    let rows: Vec<String> = corpus_rows(&events, Shape::D)
        .step_by(97)
        .map(|row| String::from_utf8(row.to_json_each_row()).unwrap())
        .collect();
    let found = |detector: &Detector| {
        let (mut scratch, mut found) = (Scratch::default(), vec![]);
        for row in &rows {
            for record in otel_log_ai::rows::parse(row).unwrap() {
                detector.detect(&record, &mut scratch, &mut found);
            }
        }
        found
    };
    let right = found(&detector);
    assert!(right.len() > 10, "{}", right.len());
    for off in all_off() {
        let slow = Detector::with_options(rules.clone(), taxonomy.clone(), Options::without(&off).unwrap());
        assert!(found(&slow) == right, "without {off:?}");
    }
    eprintln!("{} rows, {} detections, the same without each of {:?}", rows.len(), right.len(), all_off());
}

#[test]
fn the_hidden_flag_of_scan_changes_nothing_but_time() {
    let rules = workspace().join("rules");
    let row = r#"{"id":"r","timestamp":"1795424400000000000","body":"{\"channel\":\"Application\",\"computer\":\"w\",\"event_id\":{\"id\":1},\"event_data\":{\"a\":\"b\"}}"}"#;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), row).unwrap();
    let scan = |more: &[&str]| {
        let mut args = vec!["scan", "--rules", rules.to_str().unwrap(), "--output", "ndjson"];
        args.extend(more);
        args.extend(["--", file.path().to_str().unwrap()]);
        otel_log_ai(&args)
    };
    let plain = scan(&[]);
    assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
    assert_eq!(scan(&["--engine-without", "index,wake"]).stdout, plain.stdout);
    let wrong = scan(&["--engine-without", "speed"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`speed` is none of"));
}

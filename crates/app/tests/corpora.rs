//! Real Windows events against real rules, through `scan`: SigmaHQ's regression events must each
//! trigger their rule in every body shape, and recorded attacks exactly the rules that independent
//! engines agree on. The corpora are not part of the project; the tests skip where they are absent.

mod common;

use common::{corpus, corpus_rows, otel_log_ai, scan, sigmahq, truth};
use otel_log_ai_testkit::windows::Shape;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

const SHAPES: [Shape; 4] = [Shape::B, Shape::C, Shape::D, Shape::Xml];

/// Rules that we hold to be right where the truth table has no match: it is made of engines that do
/// not map these fields of Security 4688 and 4624, nor feed a category from a second log.
const ARGUED: [(&str, &str); 9] = [
    ("d2b7a134-9c3e-4f8a-b56d-e0c1f8a29b47", "4688 tells both users: creator (ParentUser) and target (User)"),
    ("d21374ff-f574-44a7-9998-4a8c8bf33d7d", "4688 tells LogonId (SubjectLogonId), which the rule requires"),
    (
        "3037d961-21e9-4732-b27a-637bcc7bf539",
        "4688 tells IntegrityLevel (MandatoryLabel), as the rule expects",
    ),
    ("8eef149c-bd26-49f2-9e5a-9b00e3af499b", "LogonProcessName is `NtLmSsp ` with a trailing blank"),
    ("ed74fe75-7594-4b4b-ae38-e38e3fd2eb23", "5156 tells the connection of a recorded RDP tunnel"),
    ("a1dfd976-4852-41d4-9507-dc6590a3ccd0", "4663 tells the file access of a recorded credential stealer"),
    ("91cb43db-302a-47e3-b3c8-7ede481e27bf", "4663 tells the file access of a recorded credential stealer"),
    ("c5f37810-a85f-4186-81e9-33f23abb4141", "4663 tells the file access of a recorded credential stealer"),
    ("fe21810c-2a8c-478f-8dd3-5a287fb2a0e0", "WMI-Activity 5861 prints the script of the consumer"),
];

/// The corpus's events as a file of SigNoz rows.
fn rows(events: &Path, shape: Shape) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for row in corpus_rows(events, shape) {
        file.write_all(&row.to_json_each_row())
            .and_then(|()| file.write_all(b"\n"))
            .expect("a row is written");
    }
    file
}

fn agree(set: &str, shapes: &[Shape]) {
    let Some(events) = corpus(&format!("{set}/events.dev.ndjson.gz")) else { return };
    let Some(table) = corpus(&format!("truth/truth.{set}.dev.ndjson.gz")) else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let (must, may) = truth(&table);
    for shape in shapes {
        let found = scan(&rules, rows(&events, *shape).path());
        let missing: Vec<_> = must.difference(&found).collect();
        assert!(
            missing.is_empty(),
            "{set} in shape {shape:?}: {} missing, first {:?}",
            missing.len(),
            missing[0]
        );
        let argued = |rule: &str| ARGUED.iter().any(|(id, _)| *id == rule);
        let extra: Vec<_> =
            found.iter().filter(|hit| !must.contains(hit) && !may.contains(hit) && !argued(&hit.0)).collect();
        assert!(extra.is_empty(), "{set} in shape {shape:?}: {} extra, first {:?}", extra.len(), extra[0]);
        eprintln!("{set} in shape {shape:?}: {} of {} matches found, none extra", must.len(), must.len());
    }
}

#[test]
fn regression_events_trigger_their_rules_in_every_shape() {
    let Some(expectations) = corpus("sigma-regression/expectations.dev.json") else { return };
    let Some(events) = corpus("sigma-regression/events.dev.ndjson.gz") else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let text = std::fs::read_to_string(expectations).expect("the expectations open");
    let expectations: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    for shape in SHAPES {
        let found = scan(&rules, rows(&events, shape).path());
        for expected in &expectations {
            let rule = expected["rule_id"].as_str().unwrap_or_default();
            let file = expected["source_file"].as_str().unwrap_or_default();
            let hits = found.iter().filter(|(id, record)| {
                id == rule && record.rsplit_once('#').is_some_and(|(from, _)| from == file)
            });
            let (hits, least) = (hits.count() as u64, expected["min_matches"].as_u64().unwrap_or(1));
            assert!(hits >= least, "shape {shape:?}: {rule} found {hits} times, wanted {least}: {file}");
        }
        eprintln!("shape {shape:?}: all {} expected rules fire", expectations.len());
    }
}

#[test]
fn regression_events_match_what_independent_engines_agree_on() {
    agree("sigma-regression", &[Shape::D]);
}

#[test]
fn recorded_attacks_match_what_independent_engines_agree_on() {
    agree("evtx-attack", &[Shape::C]);
}

#[test]
fn ordinary_events_match_what_independent_engines_agree_on() {
    agree("evtx-other", &[Shape::D]);
}

#[test]
fn every_rule_of_sigmahq_loads() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let mut args: Vec<std::path::PathBuf> =
        vec!["rules".into(), "check".into(), "--output".into(), "ndjson".into()];
    args.push("--rules".into());
    args.extend(rules);
    let output = otel_log_ai(&args);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(output.status.success());
}

/// The warning must not cry wolf: those few that it names have an expression without any literal, on the
/// long texts of PowerShell.
#[test]
fn of_sigmahq_a_handful_of_rules_is_called_dear() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let mut args: Vec<std::path::PathBuf> = vec!["rules".into(), "check".into(), "--rules".into()];
    args.extend(rules);
    let output = otel_log_ai(&args);
    let text = String::from_utf8_lossy(&output.stdout);
    let dear: Vec<&str> = text.lines().filter(|line| line.contains("costs about")).collect();
    eprintln!("{}", dear.join("\n"));
    assert!((1..=6).contains(&dear.len()), "{}", dear.len());
    assert!(dear.iter().all(|line| line.contains("/powershell/")), "{dear:?}");
}

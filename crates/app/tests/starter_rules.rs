//! Every starter rule finds its matching events and none of its near misses, through `scan`.

mod common;

use common::{otel_log_ai, scan, workspace};
use serde_json::Value;
use std::io::Write;

#[test]
fn starter_rules_match_their_test_events_and_no_near_miss() {
    let rules = workspace().join("rules");
    let mut rows = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut expected = Vec::new();
    let mut with_events = 0;
    for entry in walkdir::WalkDir::new(&rules).sort_by_file_name() {
        let path = entry.expect("a readable directory").into_path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let rule = std::fs::read_to_string(&path).expect("a rule");
        let id = rule.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").trim().to_owned();
        let events = std::fs::read_to_string(path.with_extension("ndjson"))
            .unwrap_or_else(|_| panic!("{} has no test events beside it", path.display()));
        let (mut hits, mut misses) = (0, 0);
        for (number, line) in events.lines().enumerate() {
            let mut test: Value = serde_json::from_str(line).expect("a JSON line");
            let expect = test["expect"].as_bool().expect("`expect` is true or false");
            let record = format!("{}:{}", path.with_extension("ndjson").display(), number + 1);
            test["row"]["id"] = record.clone().into();
            writeln!(rows, "{}", test["row"]).expect("a row is written");
            *(if expect { &mut hits } else { &mut misses }) += 1;
            expected.push((id.clone(), record, expect));
        }
        assert!(
            hits > 0 && misses > 0,
            "{}: needs an event that matches and one that does not",
            path.display()
        );
        with_events += 1;
    }
    assert!(with_events >= 40, "only {with_events} starter rules");
    let found = scan(&[rules], rows.path());
    let wrong: Vec<_> = expected
        .into_iter()
        .filter(|(id, record, expect)| found.contains(&(id.clone(), record.clone())) != *expect)
        .collect();
    assert_eq!(wrong, [], "(rule, event, should match)");
}

#[test]
fn all_starter_rules_load() {
    let rules = workspace().join("rules");
    let output = otel_log_ai(["rules".as_ref(), "check".as_ref(), "--rules".as_ref(), rules.as_os_str()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("warn:"), "{text}");
}

#[test]
fn the_index_lists_every_starter_rule() {
    let rules = workspace().join("rules");
    let index = std::fs::read_to_string(rules.join("INDEX.md")).expect("the index");
    for entry in walkdir::WalkDir::new(&rules) {
        let path = entry.expect("a readable directory").into_path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let rule = std::fs::read_to_string(&path).expect("a rule");
        let line =
            |key: &str| rule.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        let (id, level) = (line("id: "), line("level: "));
        let file = path.strip_prefix(&rules).expect("a path below").display().to_string();
        let row = index.lines().find(|row| row.contains(&format!("({file})")));
        let row = row.unwrap_or_else(|| panic!("rules/INDEX.md does not list {file}"));
        assert!(row.contains(id) && row.starts_with(&format!("| {level} |")), "rules/INDEX.md: {row}");
    }
}

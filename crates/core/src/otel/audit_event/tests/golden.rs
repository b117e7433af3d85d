//! The same as two other assemblers: LAUREL (its JSON), and Elastic's go-libaudit (`auparse` for
//! records, `aucoalesce` for events). Skips where the corpora are not there.
//!
//! Their conventions, which are translated here so that everything can be compared:
//! - LAUREL writes numbers as numbers, hexadecimal and octal with `0x` and `0o`, drops repeated
//!   fields, and adds upper-case names from the user table of the machine on which it ran, which no
//!   record holds (these alone are not compared).
//! - go-libaudit says `unset` for -1, names the machine and errors, calls `success` and `res` a
//!   `result`, splits SELinux labels, calls `key` a tag, and leaves out `?` and what is empty.

use super::super::*;
use super::record;
use flate2::read::GzDecoder;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

type Files = BTreeMap<String, Vec<(String, String)>>;

/// The lines of each source file, with the test they belong to, and the golden parses.
fn corpus() -> Option<(Files, serde_json::Map<String, Json>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/linux");
    let (Ok(lines), Ok(golden)) = (
        std::fs::File::open(folder.join("auditd.dev.ndjson.gz")),
        std::fs::read_to_string(folder.join("auditd.golden.dev.json")),
    ) else {
        eprintln!("skipped: no auditd corpus in {}", folder.display());
        return None;
    };
    let mut files = Files::new();
    for line in BufReader::new(GzDecoder::new(lines)).lines() {
        let line: Json = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        files.entry(text("source_file")).or_default().push((text("test"), text("raw")));
    }
    let Json::Object(golden) = serde_json::from_str(&golden).unwrap() else { return None };
    Some((files, golden))
}

/// The events of some lines, whatever their category.
fn assembled<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<AuditEvent> {
    let settings = AssemblerSettings { is_complete: true, ..AssemblerSettings::default() };
    let mut assembler = Assembler::new(settings);
    for line in lines {
        let head = auditd::head(line).unwrap();
        assembler.add(record(head.node, head.record), 0);
    }
    assembler.flush()
}

/// A number without its base and leading zeros, anything else as it is.
fn plain(value: &str) -> String {
    let digits = value.strip_prefix("0x").or_else(|| value.strip_prefix("0o")).unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return value.to_owned();
    }
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// A golden record as sorted `name=value`.
fn of_laurel(fields: &serde_json::Map<String, Json>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (name, value) in fields {
        let is_of_the_machine = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
            && !matches!(name.as_str(), "ARGV" | "SYSCALL");
        match value {
            _ if is_of_the_machine => {}
            Json::Null => {}
            Json::Array(words) => {
                for (number, word) in words.iter().enumerate() {
                    all.insert(format!("a{number}={}", plain(word.as_str().unwrap())));
                }
            }
            Json::String(text) => drop(all.insert(format!("{name}={}", plain(text)))),
            other => drop(all.insert(format!("{name}={}", plain(&other.to_string())))),
        }
    }
    all
}

fn of_record(record: &Record) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (name, value) in &record.fields {
        if name == "proctitle" {
            // LAUREL has its words.
            let words = value.split(' ').enumerate();
            all.extend(words.map(|(number, word)| format!("a{number}={}", plain(word))));
            continue;
        }
        all.insert(format!("{name}={}", plain(value)));
    }
    all
}

#[test]
fn laurel_puts_the_same_records_together() {
    let Some((files, golden)) = corpus() else { return };
    let mut compared = 0;
    for (file, events) in golden.iter().filter(|(file, _)| file.starts_with("laurel/")) {
        let found = assembled(files[file].iter().map(|(_, line)| line.as_str()));
        let events = events.as_array().unwrap();
        assert_eq!(found.len(), events.len(), "{file}");
        for (found, event) in found.iter().zip(events) {
            let id = format!("{}.{:03}:{}", found.time_ms / 1000, found.time_ms % 1000, found.serial);
            assert_eq!(event["ID"], id.as_str());
            assert_eq!(event["NODE"].as_str().unwrap_or(""), found.host);
            let mut kinds = BTreeSet::from(["EOE".to_owned()]);
            for (kind, value) in event.as_object().unwrap() {
                let records = match value {
                    Json::Array(list) => list.clone(),
                    Json::Object(_) => vec![value.clone()],
                    _ => continue,
                };
                kinds.insert(kind.clone());
                let mut ours: Vec<_> = found.of(kind).map(of_record).collect();
                if value.get("SYSCALL").is_none() {
                    // LAUREL names no calls of records in which fields are repeated.
                    ours.iter_mut().for_each(|fields| fields.retain(|field| !field.starts_with("SYSCALL=")));
                }
                // A title with blanks in a word cannot be split again: its text is compared.
                let golden: Vec<_> = records.iter().map(|r| of_laurel(r.as_object().unwrap())).collect();
                if kind == "PROCTITLE" {
                    let words = records[0]["ARGV"].as_array().unwrap();
                    let words: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
                    assert_eq!(
                        found.of(kind).next().unwrap().get("proctitle"),
                        Some(words.join(" ").as_str())
                    );
                } else {
                    assert_eq!(ours, golden, "{file}: {kind}");
                }
                compared += golden.len();
            }
            let ours: BTreeSet<_> = found.records.iter().map(|record| record.kind.clone()).collect();
            assert!(ours.is_subset(&kinds), "{ours:?} {kinds:?}");
        }
    }
    assert!(compared >= 12, "{compared}");
}

/// go-libaudit's names of machines and errors, as far as the corpus has them.
const MACHINES: [(&str, &str); 3] = [("c000003e", "x86_64"), ("40000003", "i386"), ("c00000b7", "aarch64")];
const ERRORS: [(&str, &str); 6] = [
    ("-115", "EINPROGRESS"),
    ("-2", "ENOENT"),
    ("-13", "EACCES"),
    ("-1", "EPERM"),
    ("-11", "EAGAIN"),
    ("-17", "EEXIST"),
];

/// A record in go-libaudit's words.
fn of_libaudit(record: &Record) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let named = |table: &[(&str, &str)], value: &str| {
        let found = table.iter().find(|(number, _)| *number == value);
        found.map_or(value, |(_, name)| name).to_owned()
    };
    for (name, value) in &record.fields {
        let value = value.trim_end_matches('\'');
        let text = match name.as_str() {
            "auid" | "ses" | "old-auid" if matches!(value, "4294967295" | "-1") => "unset".to_owned(),
            "arch" => named(&MACHINES, value),
            "exit" => named(&ERRORS, value),
            "sig" if value == "31" => "SIGSYS".to_owned(),
            "syscall" => record.call().unwrap_or(value).to_owned(),
            "res" | "success" => {
                let is_good = matches!(value, "yes" | "1" | "success");
                all.insert("result".to_owned(), if is_good { "success" } else { "fail" }.to_owned());
                continue;
            }
            "subj" | "obj" => {
                for (part, text) in ["user", "role", "domain", "level", "category"].iter().zip(label(value)) {
                    all.insert(format!("{name}_{part}"), text.to_owned());
                }
                continue;
            }
            "SYSCALL" | "key" => continue,
            _ => value.to_owned(),
        };
        if !matches!(text.as_str(), "" | "?") {
            all.entry(name.clone()).or_insert(text);
        }
    }
    all
}

/// The parts of an SELinux label; the level keeps its own colon only where a category follows.
fn label(value: &str) -> impl Iterator<Item = &str> {
    value.splitn(5, ':').filter(|part| !matches!(*part, "" | "?"))
}

#[test]
fn go_libaudit_reads_the_same_records() {
    let Some((_, golden)) = corpus() else { return };
    let mut compared = 0;
    let records = golden.values().flat_map(|list| list.as_array().unwrap());
    for golden in records.filter(|golden| golden["raw_msg"].is_string()) {
        let kind = golden["record_type"].as_str().unwrap().to_uppercase();
        let line = format!("type={kind} msg={}", golden["raw_msg"].as_str().unwrap());
        let mut ours = of_libaudit(&Record::read(&line).unwrap().0);
        ["type", "audit_id"].iter().for_each(|name| drop(ours.remove(*name)));
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in golden["data"].as_object().into_iter().flatten() {
            if let Some(text) = value.as_str().filter(|text| !matches!(*text, "" | "?")) {
                wanted.insert(name.clone(), text.to_owned());
            }
        }
        for (name, value) in &wanted {
            assert_eq!(ours.get(name), Some(value), "{name} of {line}: {ours:?}");
            compared += 1;
        }
    }
    assert!(compared > 600, "{compared}");
}

#[test]
fn go_libaudit_puts_the_same_events_together() {
    let Some((files, golden)) = corpus() else { return };
    let mut compared = 0;
    for (file, tests) in golden.iter().filter(|(file, _)| file.contains("/aucoalesce/")) {
        for golden in tests.as_array().unwrap() {
            let name = format!("tests/{}", golden["test_name"].as_str().unwrap());
            let lines = files[file].iter().filter(|(test, _)| *test == name).map(|(_, line)| line.as_str());
            let found = assembled(lines);
            assert_eq!(found.len(), 1, "{name}");
            compared += compare(&name, &found[0], &golden["event"]);
        }
    }
    assert!(compared > 300, "{compared}");
}

/// Compares all of a golden event that stands in its records; gives back how much that was.
fn compare(name: &str, found: &AuditEvent, golden: &Json) -> usize {
    let records: Vec<_> = found.records.iter().map(of_libaudit).collect();
    let has =
        |field: &str, value: &str| records.iter().any(|r| r.get(field).is_some_and(|text| text == value));
    let mut wanted: Vec<(String, String)> = vec![];
    let mut want = |prefix: &str, fields: &Json| {
        for (field, value) in fields.as_object().into_iter().flatten() {
            if let Some(value) = value.as_str() {
                wanted.push((format!("{prefix}{field}"), value.to_owned()));
            }
        }
    };
    want("", &golden["data"]);
    want("", &golden["user"]["ids"]);
    want("subj_", &golden["user"]["selinux"]);
    want("process.", &golden["process"]);
    for path in golden["paths"].as_array().into_iter().flatten() {
        want("", path);
    }
    for (field, value) in &wanted {
        let field = match field.as_str() {
            "process.title" => "proctitle",
            "process.name" => "comm",
            "socket_addr" => "addr",
            "socket_port" => "port",
            "socket_family" => "family",
            "socket_path" => "path",
            field => field.strip_prefix("process.").unwrap_or(field),
        };
        assert!(has(field, value), "{name}: no {field}={value} in {records:#?}");
    }
    let texts = |list: &Json| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let arguments = texts(&golden["process"]["args"]);
    assert_eq!(found.arguments(), arguments, "{name}");
    for tag in texts(&golden["tags"]) {
        let is_key =
            |r: &Record| r.fields.iter().any(|(n, v)| n == "key" && v.trim_start_matches("key=") == tag);
        assert!(found.records.iter().any(is_key), "{name}: {tag}");
    }
    assert_eq!(found.of("PATH").count(), golden["paths"].as_array().map_or(0, Vec::len), "{name}");
    let times = golden["@timestamp"].as_str().unwrap();
    let fraction = times.split_once('.').map_or("0", |(_, f)| f.trim_end_matches('Z'));
    assert_eq!(format!("{:0<3}", fraction), format!("{:03}", found.time_ms % 1000), "{name}");
    assert_eq!(golden["sequence"], found.serial, "{name}");
    // What Sigma's taxonomy makes of it.
    let event = happening::event(found);
    let field = |name: &str| {
        event.as_ref().and_then(|e| e.field(name)).and_then(|v| v.text()).map(|t| t.into_owned())
    };
    if !arguments.is_empty() {
        assert_eq!(field("CommandLine"), Some(arguments.join(" ")), "{name}");
        assert_eq!(field("Image").as_deref(), golden["process"]["exe"].as_str(), "{name}");
        assert_eq!(field("CurrentDirectory").as_deref(), golden["process"]["cwd"].as_str(), "{name}");
    }
    if let Some(address) = golden["destination"]["ip"].as_str() {
        assert_eq!(field("DestinationIp").as_deref(), Some(address));
        assert_eq!(field("DestinationPort").as_deref(), golden["destination"]["port"].as_str());
    }
    wanted.len()
}

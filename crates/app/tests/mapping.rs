//! The user's own mapping and pipelines, through the commands that take them.

mod common;

use common::otel_log_ai;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A directory with a rule, its rows, and files that extend what the program knows.
struct Case(tempfile::TempDir);

impl Case {
    fn new(rule: &str, rows: &[Value]) -> Case {
        let case = Case(tempfile::tempdir().expect("a temporary directory"));
        case.write("rule.yml", rule);
        let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
        case.write("rows.ndjson", &rows);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).expect("a file is written");
        self.path(name)
    }

    fn scan(&self, more: &[(&str, &Path)]) -> Output {
        let (rule, rows) = (self.path("rule.yml"), self.path("rows.ndjson"));
        let mut args: Vec<&OsStr> = vec!["scan".as_ref(), "--rules".as_ref(), rule.as_ref()];
        args.extend(["--output".as_ref(), "ndjson".as_ref()] as [&OsStr; 2]);
        for (flag, path) in more {
            args.extend([flag.as_ref(), path.as_os_str()] as [&OsStr; 2]);
        }
        args.push(rows.as_ref());
        otel_log_ai(args)
    }

    /// The ids of the rows that were found.
    #[track_caller]
    fn found(&self, more: &[(&str, &Path)]) -> Vec<String> {
        let output = self.scan(more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let id = |line: &str| {
            let detection: Value = serde_json::from_str(line).expect("a JSON line");
            detection["record_id"].as_str().unwrap_or_default().to_owned()
        };
        String::from_utf8_lossy(&output.stdout).lines().map(id).collect()
    }

    /// What stands on standard error of a scan that could not be done.
    #[track_caller]
    fn refused(&self, more: &[(&str, &Path)]) -> String {
        let output = self.scan(more);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn row(id: &str, body: &str, service: &str) -> Value {
    json!({"id": id, "timestamp": 1_790_000_000_000_000_000_u64, "body": body,
           "resources_string": {"service.name": service}})
}

fn rule(logsource: &str, selection: &str) -> String {
    format!(
        "title: T\nid: 6f0d6c7e-0000-4000-8000-000000000001\nstatus: test\nlevel: high\n\
         logsource: {{{logsource}}}\ndetection:\n  sel:\n    {selection}\n  condition: sel\n"
    )
}

#[test]
fn a_custom_mapping_makes_a_rule_fire_on_a_custom_log() {
    let denied = r#"{"event":"login","actor":{"name":"eve"}}"#;
    let rows = [row("shop", denied, "shop"), row("other", denied, "other")];
    let case = Case::new(&rule("product: shop, service: audit", "User: eve"), &rows);
    assert!(case.found(&[]).is_empty());
    let mapping = case.write(
        "shop.yaml",
        "version: 1\nsources:\n  - class: shop/audit\n    when: {format: [json], resource: {service.name: [shop]}}\n    \
         views: [{product: shop, service: audit}]\n    fields: {User: [actor.name]}\n",
    );
    assert_eq!(case.found(&[("--mapping", &mapping)]), ["shop"]);
}

#[test]
fn a_service_that_is_nginx_has_its_lines_read_as_nginxs() {
    let line = "192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] \"GET /?x=../etc HTTP/1.1\" 200 9 \"-\" \"curl\"";
    let rows = [row("edge", line, "edge-7"), row("else", line, "other")];
    let case = Case::new(&rule("product: nginx, service: access", "cs-uri-query|contains: ../etc"), &rows);
    assert!(case.found(&[]).is_empty());
    let text = "version: 1\nprograms: [{program: nginx, when: {resource: {service.name: [edge-*]}}}]\n";
    let mapping = case.write("edge.yaml", text);
    assert_eq!(case.found(&[("--mapping", &mapping)]), ["edge"]);
}

#[test]
fn a_pipelines_placeholder_makes_a_rule_fire() {
    let line = "Oct 10 13:55:36 web-1 sshd[7]: Accepted password for root from 192.0.2.7 port 22 ssh2";
    let rule = rule("product: linux, service: sshd", "'|expand|contains': 'for %admins% from'");
    let case =
        Case::new(&rule.replace("'|expand|contains'", "message|expand|contains"), &[row("a", line, "x")]);
    assert!(case.found(&[]).is_empty());
    let pipeline = case.write(
        "names.yml",
        "vars: {admins: [admin, root]}\ntransformations:\n  - {type: field_name_mapping, mapping: {message: msg_text}}\n",
    );
    let mapping = case.write(
        "text.yaml",
        "version: 1\nfields: [{logsource: {product: linux, service: sshd}, fields: {msg_text: [log.text]}}]\n",
    );
    // The renamed field is looked up in the mapping, where an attribute of the row carries it.
    let mut with_attribute = row("b", line, "x");
    with_attribute["attributes_string"] = json!({"sshd.text": "Accepted for root from 192.0.2.7"});
    case.write("rows.ndjson", &format!("{with_attribute}\n"));
    case.write("text.yaml", &std::fs::read_to_string(&mapping).unwrap().replace("log.text", "sshd.text"));
    assert_eq!(case.found(&[("--pipeline", &pipeline), ("--mapping", &mapping)]), ["b"]);
    let args = |with: bool| {
        let mut args = vec!["rules".into(), "check".into(), "--rules".into(), case.path("rule.yml")];
        if with {
            args.extend(["--pipeline".into(), pipeline.clone()]);
        }
        String::from_utf8_lossy(&otel_log_ai(args).stdout).into_owned()
    };
    assert!(args(false).contains("needs values for %admins%"), "{}", args(false));
    assert!(!args(true).contains("needs values"), "{}", args(true));
}

#[test]
fn broken_files_are_told_with_file_and_line() {
    let case = Case::new(&rule("product: linux", "a: b"), &[row("a", "x", "x")]);
    let mapping = case.write("m.yaml", "version: 1\nsources:\n  - class: x\n    wen: {}\n");
    let pipeline = case.write("p.yml", "transformations:\n  - type: command_placeholders\n");
    let absent = case.path("absent.yaml");
    for (flag, path, wanted) in [
        ("--mapping", &mapping, "m.yaml:4: unknown field `wen`"),
        ("--mapping", &absent, "absent.yaml: does not exist"),
        (
            "--pipeline",
            &pipeline,
            "p.yml:2: `command_placeholders`: is a transformation that is not supported",
        ),
    ] {
        let told = case.refused(&[(flag, path)]);
        assert!(told.contains(wanted), "{told}");
    }
    let args: [&OsStr; 6] = [
        "rules".as_ref(),
        "check".as_ref(),
        "--rules".as_ref(),
        case.0.path().as_ref(),
        "--mapping".as_ref(),
        mapping.as_ref(),
    ];
    let output = otel_log_ai(args);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("m.yaml:4: "));
}

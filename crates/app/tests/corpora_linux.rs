//! Real Linux lines against real rules: what independent engines agree on, what fail2ban and CrowdSec
//! expect of their lines, and silence on what is ordinary. The corpora are not part of the project;
//! the tests skip where they are absent.

mod common;

use common::{corpus, lines, scan, sigmahq};
use otel_log_ai_core::otel::{LogRecord, Taxonomy};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

/// How a line becomes a row.
type Wrap = fn(&Value) -> Value;

/// `(rule, event)` pairs.
type Pairs = BTreeSet<(String, String)>;

fn text(line: &Value, name: &str) -> String {
    line[name].as_str().unwrap_or_default().to_owned()
}

/// A row as a Collector makes it of a line of a file.
fn row(line: &Value, body: &str, attributes: &Value) -> Value {
    json!({
        "timestamp": "1785924930128453200",
        "id": format!("{}#{}", text(line, "source_file"), line["n"]),
        "body": body,
        "attributes_string": attributes,
        "resources_string": {"host.name": "lin01"},
    })
}

/// What a line's body is: the raw line, or the document as compact JSON.
fn body(line: &Value) -> String {
    line["raw"].as_str().map_or_else(|| line["event"].to_string(), str::to_owned)
}

fn write(rows: impl Iterator<Item = Value>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for row in rows {
        writeln!(file, "{row}").expect("a row is written");
    }
    file
}

/// Of truth tables: what must be found, and what may be.
struct Truth {
    must: Pairs,
    may: Pairs,
}

fn truth(names: &[&str]) -> Option<Truth> {
    let mut truth = Truth { must: Pairs::new(), may: Pairs::new() };
    for name in names {
        let table = corpus(&format!("truth/truth.{name}.dev.ndjson.gz"))?;
        for line in lines(&table) {
            let pairs = if line["verdict"] == "match" { &mut truth.must } else { &mut truth.may };
            let numbers = line["n"].as_array().cloned().unwrap_or_else(|| vec![line["n"].clone()]);
            for n in numbers {
                pairs.insert((text(&line, "rule_id"), format!("{}#{n}", text(&line, "source_file"))));
            }
        }
    }
    Some(truth)
}

/// Compares what was found with what must be found; each difference must be argued: rule, beginning
/// of the event's name, reason.
fn agree(what: &str, found: &Pairs, truth: &Truth, missing: &[[&str; 3]], extra: &[[&str; 3]]) {
    let unargued = |pairs: BTreeSet<(String, String)>, argued: &[[&str; 3]]| -> Vec<_> {
        let is_argued = |pair: &(String, String)| {
            argued.iter().any(|[rule, event, _]| pair.0.starts_with(rule) && pair.1.starts_with(event))
        };
        pairs.into_iter().filter(|pair| !is_argued(pair)).collect()
    };
    let Truth { must, may } = truth;
    let not_found = unargued(must.difference(found).cloned().collect(), missing);
    let others = found.iter().filter(|pair| !must.contains(pair) && !may.contains(pair));
    let too_much = unargued(others.cloned().collect(), extra);
    assert!(
        not_found.is_empty() && too_much.is_empty(),
        "{what}: missing {not_found:#?}, extra {too_much:#?}"
    );
    eprintln!("{what}: {} of {} matches found", must.intersection(found).count(), must.len());
}

/// The rules for Linux; others find what they find in lines that are not of Linux.
fn linux_rules(tree: &std::path::Path) -> Option<Vec<PathBuf>> {
    sigmahq(tree)?;
    let folders = ["rules/linux", "rules-threat-hunting/linux", "rules-emerging-threats"];
    Some(folders.iter().map(|folder| tree.join(folder)).collect())
}

const FROM_RECORDS: &str = "put together from audit records; the table was made of single records";

#[test]
fn audit_records_match_what_independent_engines_agree_on() {
    let Some(records) = corpus("linux/auditd.dev.ndjson.gz") else { return };
    let Some(truth) = truth(&["lnx_auditd"]) else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = linux_rules(tree.path()) else { return };
    let forms: [(&str, Wrap); 3] = [
        ("file", |line| row(line, &body(line), &json!({"log.file.name": "audit.log"}))),
        ("syslog", |line| {
            let body = format!("<13>Aug  5 10:15:30 lin01 audispd: {}", body(line));
            row(line, &body, &json!({"appname": "audispd", "hostname": "lin01"}))
        }),
        ("Azure", |line| {
            let row_of_azure =
                json!({"HostName": "lin01", "ProcessName": "audispd", "SyslogMessage": body(line)});
            row(line, &row_of_azure.to_string(), &json!({}))
        }),
    ];
    let extra = [
        ["30aed7b6", "crowdsec/auditd-postexploit-rm", FROM_RECORDS],
        ["42df45e7", "go-libaudit/", FROM_RECORDS],
        ["259df6bc", "laurel/record-perl-reverse-shell.txt#0", FROM_RECORDS],
        ["710bdbce", "go-libaudit/aucoalesce/testdata/rhel-7", "the number of mknod is translated"],
        ["738d9bcf", "laurel/record-perl-reverse-shell.txt#1", "the hexadecimal argument is decoded"],
    ];
    for (form, make) in forms {
        let found = scan(&rules, write(lines(&records).map(|line| make(&line))).path());
        agree(&format!("auditd through {form}"), &found, &truth, &[], &extra);
    }
}

#[test]
fn syslog_lines_match_what_independent_engines_agree_on() {
    let Some(truth) = truth(&["lnx_builtin", "lnx_proc"]) else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = linux_rules(tree.path()) else { return };
    let mut rows = vec![];
    for name in ["wazuh-ossec", "log4shell-mixed", "fail2ban", "journal-json"] {
        let Some(path) = corpus(&format!("linux/{name}.dev.ndjson.gz")) else { return };
        rows.extend(lines(&path).map(|line| row(&line, &body(&line), &json!({"log.file.name": "syslog"}))));
    }
    let found = scan(&rules, write(rows.into_iter()).path());
    let is_not_crons = "a line of IIS: the rule is for cron's log, the engines were given every line";
    let missing = [
        ["af202fd3", "ossec/web_rules.ini", is_not_crons],
        ["af202fd3", "wazuh/web_rules.ini", is_not_crons],
    ];
    let same = "the agent of Azure saw the same as Sysmon, and tells it as one audit record";
    let extra = [
        ["", "otrf/syslog_auoms_auditd", same],
        [
            "7a14080d",
            "aminer/journal.log#192",
            "`_SCP Extensions` holds `scp `: what the rule says, of level low",
        ],
    ];
    agree("syslog", &found, &truth, &missing, &extra);
}

#[test]
fn an_ordinary_journal_makes_no_alert_of_a_high_level() {
    let Some(journal) = corpus("linux/journal-json.dev.ndjson.gz") else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(mut rules) = sigmahq(tree.path()) else { return };
    rules.push(common::workspace().join("rules"));
    let rows = write(lines(&journal).map(|line| row(&line, &body(&line), &json!({}))));
    let mut args: Vec<PathBuf> = vec!["scan".into(), "--output".into(), "ndjson".into(), "--rules".into()];
    args.extend(rules);
    args.extend(["--".into(), rows.path().into()]);
    let output = common::otel_log_ai(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let detection: Value = serde_json::from_str(line).expect("a JSON line");
        assert!(!matches!(detection["level"].as_str(), Some("high" | "critical")), "{line}");
    }
}

/// First value of each field of the events of a row.
fn fields(taxonomy: &Taxonomy, body: &str, attributes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |text: &str| std::borrow::Cow::Owned(text.to_owned());
    let record = LogRecord {
        body: owned(body),
        attributes_string: attributes.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
        ..LogRecord::default()
    };
    let mut all = BTreeMap::new();
    for event in taxonomy.events(&record) {
        for (name, value) in event.fields {
            let value = value.text().unwrap_or_default().into_owned();
            all.entry(name.into_owned()).or_insert(value);
        }
    }
    all
}

/// Field names under which the other machine and the account stand.
const ADDRESSES: [&str; 8] = ["src_ip", "c-ip", "addr", "hostname", "rhost", "src", "client_ip", "remote_ip"];
const USERS: [&str; 7] = ["user", "ruser", "login", "acct", "cs-username", "username", "USER"];

/// The same address, however it is written.
fn is_same(wanted: &str, found: &str) -> bool {
    let plain = |text: &str| {
        let text = text.trim_start_matches("::ffff:");
        text.parse::<std::net::IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_string())
    };
    plain(wanted) == plain(found)
}

/// A line as a Collector delivers it: with a syslog header or of a file of the host's log directory;
/// of the journal where fail2ban took it from there.
fn wrap(source: &str, raw: &str) -> (String, Vec<(&'static str, String)>) {
    let program = source.rsplit('/').next().unwrap_or_default();
    let from_journal = raw.split_once(' ').and_then(|(host, rest)| Some((host, rest.split_once(": ")?)));
    if let (true, Some((host, (tag, message)))) = (source.ends_with("-journal"), from_journal) {
        let program = tag.split('[').next().unwrap_or_default();
        let entry =
            json!({"MESSAGE": message, "SYSLOG_IDENTIFIER": program, "_HOSTNAME": host, "__CURSOR": "s"});
        return (entry.to_string(), vec![]);
    }
    let path = format!("/var/log/{program}.log");
    (raw.to_owned(), vec![("log.file.name", format!("{program}.log")), ("log.file.path", path)])
}

/// Sources whose lines say who and from where in no words at all: source, reason.
const FAIL2BAN_ARGUED: [(&str, &str); 2] = [
    ("fail2ban/drupal-auth", "`attempt failed from Jack Sparrow`: the word says where from, not who"),
    ("fail2ban/oracleims", "the third of five columns of one attribute is the client, the first the server"),
];

#[test]
fn the_addresses_and_users_that_fail2ban_expects_are_decoded() {
    let Some(path) = corpus("linux/fail2ban.dev.ndjson.gz") else { return };
    let taxonomy = Taxonomy::builtin().expect("the built-in taxonomy");
    let (mut hosts, mut users, mut wrong) = ((0, 0), (0, 0), vec![]);
    for line in lines(&path) {
        let expect = &line["expect"];
        if expect["match"] != true {
            continue;
        }
        let (source, raw) = (text(&line, "source_file"), text(&line, "raw"));
        let (body, attributes) = wrap(&source, &raw);
        let attributes: Vec<(&str, &str)> = attributes.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let fields = fields(&taxonomy, &body, &attributes);
        let found = |names: &[&str]| -> Vec<String> {
            names.iter().filter_map(|n| fields.get(*n).cloned()).collect()
        };
        // Otherwise an earlier line of the same process tells it, which one row cannot.
        if let Some(host) = expect["host"].as_str().filter(|host| raw.contains(host)) {
            let is_right = found(&ADDRESSES).iter().any(|found| is_same(host, found));
            hosts = (hosts.0 + i32::from(is_right), hosts.1 + 1);
            if !is_right && !FAIL2BAN_ARGUED.iter().any(|(argued, _)| *argued == source) {
                wrong.push(format!("{source} host {host}, found {:?}: {raw}", found(&ADDRESSES)));
            }
        }
        if let Some(user) = expect["user"].as_str().filter(|user| !user.is_empty()) {
            let is_right = found(&USERS).iter().any(|found| found == user);
            users = (users.0 + i32::from(is_right), users.1 + 1);
            if !is_right && !FAIL2BAN_ARGUED.iter().any(|(argued, _)| *argued == source) {
                wrong.push(format!("{source} user {user}, found {:?}: {raw}", found(&USERS)));
            }
        }
    }
    eprintln!("fail2ban: {} of {} addresses, {} of {} users", hosts.0, hosts.1, users.0, users.1);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_addresses_of_which_crowdsec_tells_are_decoded() {
    let Some(path) = corpus("linux/crowdsec-hub.dev.ndjson.gz") else { return };
    let Some(expectations) = corpus("linux/crowdsec-hub.expect.dev.json") else { return };
    let taxonomy = Taxonomy::builtin().expect("the built-in taxonomy");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut raws: BTreeMap<String, String> = BTreeMap::new();
    for line in lines(&path) {
        let (source, raw) = (text(&line, "source_file"), text(&line, "raw"));
        let (body, attributes) = wrap(&source, &raw);
        let attributes: Vec<(&str, &str)> = attributes.iter().map(|(n, v)| (*n, v.as_str())).collect();
        found.entry(source.clone()).or_default().extend(fields(&taxonomy, &body, &attributes).into_values());
        let all = raws.entry(source).or_default();
        all.push_str(&raw);
        all.push('\n');
    }
    let expectations = std::fs::read_to_string(expectations).expect("the expectations open");
    let expectations: Vec<Value> = serde_json::from_str(&expectations).expect("JSON");
    let (mut right, mut all, mut wrong) = (0, 0, vec![]);
    for expected in &expectations {
        let source = text(expected, "source_file");
        let Some(raw) = raws.get(&source) else { continue };
        for address in expected["sources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // Networks and what stands in none of the lines are what CrowdSec made of them.
            if address.parse::<std::net::IpAddr>().is_err() || !raw.contains(address) {
                continue;
            }
            all += 1;
            // Comma-separated columns of which only their order tells what they are.
            if source == "crowdsec/exchange-pop-bf"
                || found[&source].iter().any(|value| is_same(address, value))
            {
                right += 1;
            } else {
                wrong.push(format!(
                    "{source} ({}) {address}: {}",
                    text(expected, "log_type"),
                    raw.lines().find(|l| l.contains(address)).unwrap_or("")
                ));
            }
        }
    }
    eprintln!("CrowdSec: {right} of {all} addresses");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

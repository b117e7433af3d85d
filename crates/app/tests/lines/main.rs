//! Lines and documents of web servers, proxies, name servers, firewalls, devices and databases against
//! SigmaHQ's rules, through `scan`: each log source is proved by a rule that fires on what its products
//! write. And access lines of scanners against the truth of independent engines. The corpora are not
//! part of the project; the tests skip where they are absent.

mod cases;
#[path = "../common/mod.rs"]
mod common;

use cases::{Case, DEVICES, DNS, FIREWALLS, PROXY, WEB, ZEEK};
use common::{corpus, lines, scan, sigmahq};
use otel_log_ai_testkit::signoz::LogRow;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

const TIME_NS: u64 = 1_785_924_930_128_453_200;

#[test]
fn every_log_source_of_the_network_fires_a_rule() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let cases: Vec<&Case> = [WEB, PROXY, DNS, ZEEK, FIREWALLS, DEVICES].into_iter().flatten().collect();
    let rows = cases.iter().enumerate().map(|(n, (_, _, body, attributes))| {
        let mut row = LogRow::new(TIME_NS, &[("host.name", "h")], *body);
        row.attributes_string = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        row.id = n.to_string();
        row
    });
    let found = found(&rules, rows);
    let silent = cases
        .iter()
        .enumerate()
        .filter(|(n, (_, rule, ..))| !found.contains(&((*rule).to_owned(), n.to_string())));
    let silent: Vec<_> = silent.map(|(_, (name, rule, ..))| format!("{name}: {rule}")).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// `(rule, record)` of every detection in `rows`.
fn found(rules: &[PathBuf], rows: impl Iterator<Item = LogRow>) -> BTreeSet<(String, String)> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for row in rows {
        file.write_all(&row.to_json_each_row())
            .and_then(|()| file.write_all(b"\n"))
            .expect("a row is written");
    }
    scan(rules, file.path())
}

/// Rules that we hold to be right where the truth table, made of engines that give `cs-uri-query`
/// the query alone, has no match: both look for what stands in a path as well, and an access line's
/// target is the one place where they can find it.
const ARGUED: [(&str, &str); 2] = [
    (
        "f0500377-bc70-425d-ac8c-e956cd906871",
        "the attack is `/images/..%2fapply_abstract.cgi`: the rule wants a directory that needs no login and `..%2f`, \
         both of the path; in a query alone it could never match what it is written for",
    ),
    (
        "7745c2ea-24a5-4290-b680-04359cb84b35",
        "`GET /../../../etc/passwd` is the path traversal that the rule names, the extra lines are all of that kind",
    ),
];

/// Access lines of a corpus as the filelog receiver sends them.
fn access_rows(name: &str) -> Option<Vec<LogRow>> {
    let path = corpus(&format!("web-cloud-k8s/{name}.dev.ndjson.gz"))?;
    let rows = lines(&path).map(|line| {
        let mut row = LogRow::new(TIME_NS, &[("host.name", "h")], line["raw"].as_str().unwrap_or_default());
        row.attributes_string = vec![("log.file.name".into(), "access.log".into())];
        row.id = format!("{}#{}", line["source_file"].as_str().unwrap_or_default(), line["n"]);
        row
    });
    Some(rows.collect())
}

#[test]
fn access_lines_of_scanners_match_what_independent_engines_agree_on() {
    let Some(table) = corpus("truth/truth.web.dev.ndjson.gz") else { return };
    let Some(rows) = access_rows("apache-scans") else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let mut must = BTreeSet::new();
    for line in lines(&table) {
        let numbers = match &line["n"] {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        for n in numbers {
            let record = format!("{}#{n}", line["source_file"].as_str().unwrap_or_default());
            must.insert((line["rule_id"].as_str().unwrap_or_default().to_owned(), record));
        }
    }
    let found = found(&rules, rows.into_iter());
    let missing: Vec<_> = must.difference(&found).collect();
    assert!(missing.is_empty(), "{} missing, first {:?}", missing.len(), missing[0]);
    let argued = |rule: &str| ARGUED.iter().any(|(id, _)| *id == rule);
    let extra: Vec<_> = found.difference(&must).filter(|(rule, _)| !argued(rule)).collect();
    assert!(extra.is_empty(), "{} extra, first {:?}", extra.len(), extra[0]);
}

#[test]
fn ordinary_access_lines_raise_no_serious_alert() {
    let Some(rows) = access_rows("apache-normal") else { return };
    let tree = tempfile::tempdir().expect("a temporary directory");
    let Some(rules) = sigmahq(tree.path()) else { return };
    let found = found(&rules, rows.into_iter());
    assert!(found.is_empty(), "{found:?}");
}

//! What the tests of the binary share.
#![allow(dead_code)]

pub mod site;

use flate2::read::GzDecoder;
use otel_log_ai_testkit::keep::Keep;
use otel_log_ai_testkit::signoz::LogRow;
use otel_log_ai_testkit::windows::{Form, Shape, evtx};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// Root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace exists")
}

/// A corpus that is not part of the project; prints a notice where it is absent.
pub fn corpus(path: &str) -> Option<PathBuf> {
    let full = workspace().join("../shared/corpora").join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!("skipped: the corpus {path} is not on this machine");
    None
}

/// Runs the binary.
pub fn otel_log_ai<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otel-log-ai")).args(args).output().expect("the binary runs")
}

/// Runs `scan --output ndjson` and gives back `(rule_id, record_id)` of every detection.
pub fn scan(rules: &[PathBuf], rows: &Path) -> BTreeSet<(String, String)> {
    let mut args: Vec<PathBuf> = vec!["scan".into(), "--rules".into()];
    args.extend(rules.iter().cloned());
    args.extend(["--output".into(), "ndjson".into(), "--".into(), rows.into()]);
    let output = otel_log_ai(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| {
            let detection: Value = serde_json::from_str(line).expect("a JSON line");
            let field = |name: &str| detection[name].as_str().unwrap_or_default().to_owned();
            (field("rule_id"), field("record_id"))
        })
        .collect()
}

/// The JSON lines of a gzipped file.
pub fn lines(path: &Path) -> impl Iterator<Item = Value> {
    let file = std::fs::File::open(path).expect("the corpus opens");
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("a JSON line"))
}

/// Windows events of a corpus as SigNoz rows; the id of a row is `source_file#n`.
pub fn corpus_rows(events: &Path, shape: Shape) -> impl Iterator<Item = LogRow> {
    lines(events).map(move |line| {
        let mut row = evtx::read(&line["Event"]).row(Form::from(shape));
        row.id = format!("{}#{}", line["source_file"].as_str().unwrap_or_default(), line["n"]);
        row
    })
}

/// `(rule, event)` pairs.
pub type Pairs = BTreeSet<(String, String)>;

/// Of a truth table: those that must match, and those that may.
pub fn truth(path: &Path) -> (Pairs, Pairs) {
    let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
    for line in lines(path) {
        let numbers = match &line["n"] {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        for n in numbers {
            let record = format!("{}#{n}", line["source_file"].as_str().unwrap_or_default());
            let set = if line["verdict"] == "match" { &mut must } else { &mut may };
            set.insert((line["rule_id"].as_str().unwrap_or_default().to_owned(), record));
        }
    }
    (must, may)
}

/// SigmaHQ's tree, unpacked below `into`: the folders of rules that are meant to be used.
pub fn sigmahq(into: &Path) -> Option<Vec<PathBuf>> {
    let archive = corpus("sigma-rules/sigmahq-rules-8eaafff1.tar.gz")?;
    let file = std::fs::File::open(archive).expect("the archive opens");
    tar::Archive::new(GzDecoder::new(file)).unpack(into).expect("the archive unpacks");
    let folders = [
        "rules",
        "rules-emerging-threats",
        "rules-threat-hunting",
        "rules-compliance",
        "rules-dfir",
        "rules-placeholder",
    ];
    Some(folders.iter().map(|folder| into.join(folder)).filter(|folder| folder.exists()).collect())
}

/// Longest wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The running service; killed when dropped.
pub struct Service {
    child: Child,
}

impl Service {
    /// Starts `command`, which is `run` with its configuration.
    pub fn start(command: &mut Command) -> Service {
        Service { child: command.spawn().expect("the service starts") }
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("`kill` runs").success());
    }

    /// SIGTERM; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < PATIENCE, "SIGTERM did not stop it");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.wait().expect("it has ended").code()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was delivered twice was the same bytes: no id ever stood for two different alerts.
pub fn ids_stand_for_one_content(keep: &Keep) {
    let mut ids: BTreeMap<String, Value> = BTreeMap::new();
    for received in keep.received() {
        let mut alert = json!(received.alert);
        alert["lastReceived"] = Value::Null;
        let id = alert["id"].as_str().unwrap_or_default().to_owned();
        let before = ids.entry(id).or_insert_with(|| alert.clone());
        assert_eq!(*before, alert);
    }
}

//! The numbers at `/metrics`, in the text form of OpenMetrics that Prometheus reads.
//!
//! Plain counts are in [`crate::events::COUNTERS`], beside the log line that goes with each; here
//! are the ones with labels, and the names under which all of them are told. Every label has a
//! bounded set of values. `docs/guide/operation.md` lists them; a test holds the list and this file
//! together.

use crate::events::{COUNTERS, Counters};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The process's numbers with labels.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Most rules with a count of their own; those that match first get one, the others share `other`.
const RULES_MAX: usize = 1_000;
/// Most partitions told of at a time: SigNoz makes one a day and keeps some weeks.
const PARTITIONS_MAX: usize = 64;

/// One label's name and value.
type Labels<const N: usize> = [(&'static str, String); N];
/// Counts by labels.
type Counts<const N: usize> = Family<Labels<N>, Counter>;
/// Present values by labels.
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

/// Numbers with labels, and the registry of everything.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    detections: Counts<1>,
    rules_seen: Mutex<BTreeMap<String, Counter>>,
    backlog: Mutex<Backlog>,
    backlog_eta: Gauge,
    mismatches: Counts<1>,
    polls: Family<Labels<1>, Histogram>,
    evaluations: Histogram,
    commits: Histogram,
    delivered: Counts<1>,
    dead: Counts<2>,
    requests: Counts<2>,
    resent: Counts<1>,
    up: Gauges<1>,
    queued: Gauges<1>,
    dead_letters: Gauges<1>,
    open: Gauge,
    telemetry_dropped: Counter,
    all_runs: Gauges<1>,
}

/// Rows that were listed and not read yet, by shard and partition.
#[derive(Debug, Default)]
struct Backlog {
    /// Rows, and since when there are any.
    waiting: BTreeMap<(u32, String), (u64, Option<Instant>)>,
}

/// How asking for new rows came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// There were some.
    Rows,
    /// There were none.
    Nothing,
    /// ClickHouse failed.
    Failure,
}

impl Poll {
    fn as_str(self) -> &'static str {
        match self {
            Poll::Rows => "rows",
            Poll::Nothing => "nothing",
            Poll::Failure => "failure",
        }
    }
}

impl Metrics {
    fn new() -> Metrics {
        let durations =
            || Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0]);
        let mut metrics = Metrics {
            registry: Registry::with_prefix("otel_log_ai"),
            detections: Counts::default(),
            rules_seen: Mutex::default(),
            backlog: Mutex::default(),
            backlog_eta: Gauge::default(),
            mismatches: Counts::default(),
            polls: Family::new_with_constructor(durations),
            evaluations: durations(),
            commits: durations(),
            delivered: Counts::default(),
            dead: Counts::default(),
            requests: Counts::default(),
            resent: Counts::default(),
            up: Gauges::default(),
            queued: Gauges::default(),
            dead_letters: Gauges::default(),
            open: Gauge::default(),
            telemetry_dropped: Counter::default(),
            all_runs: Gauges::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("detections", "Matches of a rule and a row, by rule", self.detections.clone());
        let help = "Merged parts in which not as many rows were new as there must be, by what told";
        r.register("accounting_mismatches", help, self.mismatches.clone());
        let seconds = Unit::Seconds;
        let help = "How long it will take to read what waits";
        r.register_with_unit("backlog_eta", help, seconds.clone(), self.backlog_eta.clone());
        let help = "Time to ask ClickHouse for new rows, by what came of it";
        r.register_with_unit("poll", help, seconds.clone(), self.polls.clone());
        let help = "Time to evaluate the rules on a batch";
        r.register_with_unit("evaluation", help, seconds.clone(), self.evaluations.clone());
        let help = "Time to store the results of a batch";
        r.register_with_unit("commit", help, seconds, self.commits.clone());
        r.register("alerts_delivered", "Alerts that a target took", self.delivered.clone());
        r.register("alerts_dead", "Alerts given up, by target and reason", self.dead.clone());
        r.register("target_requests", "Requests to a target, by what it answered", self.requests.clone());
        let help = "Alerts sent again because the target had taken and then lost them";
        r.register("alerts_resent", help, self.resent.clone());
        let help = "1 if the target takes alerts, 0 if it fails or refuses us";
        r.register("target_up", help, self.up.clone());
        r.register("queue_alerts", "Alerts that wait for delivery", self.queued.clone());
        r.register("dead_letter_alerts", "Alerts given up and kept", self.dead_letters.clone());
        r.register("open_alerts", "Alerts that are not over yet", self.open.clone());
        let help = "Records and spans of our own that the Collector did not take";
        r.register("telemetry_dropped", help, self.telemetry_dropped.clone());
        r.register("all_runs", "Counts since the state file was made, by name", self.all_runs.clone());
        r.register_collector(Box::new(Plain));
    }

    /// `detections` more of the rule with this id.
    pub fn detections(&self, rule_id: &str, detections: u64) {
        let mut seen = self.rules_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = seen.get(rule_id) {
            counter.inc_by(detections);
            return;
        }
        let known = seen.len() < RULES_MAX;
        let label = if known { rule_id } else { "other" };
        let counter = self.detections.get_or_create_owned(&[("rule", label.to_owned())]);
        counter.inc_by(detections);
        if known {
            seen.insert(rule_id.to_owned(), counter);
        }
    }

    /// What is listed and not read yet: rows by shard and partition, one entry each.
    pub fn backlog(&self, rows: BTreeMap<(u32, String), u64>) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for (place, (waiting, since)) in &mut backlog.waiting {
            *waiting = rows.get(place).copied().unwrap_or(0);
            *since = (*waiting > 0).then(|| since.unwrap_or(now));
        }
        for (place, waiting) in rows {
            backlog.waiting.entry(place).or_insert((waiting, (waiting > 0).then_some(now)));
        }
        // Partitions are named by their day: the first is the oldest.
        while backlog.waiting.len() > PARTITIONS_MAX {
            backlog.waiting.pop_first();
        }
    }

    /// How long it will take to read what waits, seconds.
    pub fn backlog_eta(&self, seconds: u64) {
        self.backlog_eta.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// In a merged part not as many rows were new as there must be.
    pub fn mismatch(&self, told_by: &'static str) {
        self.mismatches.get_or_create_owned(&[("by", told_by.to_owned())]).inc();
    }

    /// ClickHouse was asked for new rows.
    pub fn poll(&self, outcome: Poll, took: Duration) {
        self.polls.get_or_create_owned(&[("found", outcome.as_str().to_owned())]).observe(took.as_secs_f64());
    }

    /// A batch was evaluated.
    pub fn evaluated(&self, took: Duration) {
        self.evaluations.observe(took.as_secs_f64());
    }

    /// The results of a batch were stored.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Number of alerts that are not over.
    pub fn open(&self, alerts: usize) {
        self.open.set(alerts as i64);
    }

    /// A target took alerts.
    pub fn delivered(&self, target: &str, alerts: u64) {
        self.delivered.get_or_create_owned(&[("target", target.to_owned())]).inc_by(alerts);
    }

    /// Alerts for a target were given up.
    pub fn dead(&self, target: &str, reason: &'static str, alerts: u64) {
        let labels = [("target", target.to_owned()), ("reason", reason.to_owned())];
        self.dead.get_or_create_owned(&labels).inc_by(alerts);
    }

    /// A request was made.
    pub fn request(&self, target: &str, answer: &'static str) {
        let labels = [("target", target.to_owned()), ("answer", answer.to_owned())];
        self.requests.get_or_create_owned(&labels).inc();
    }

    /// Alerts are sent again that a target had lost.
    pub fn resent(&self, target: &str, alerts: u64) {
        self.resent.get_or_create_owned(&[("target", target.to_owned())]).inc_by(alerts);
    }

    /// Whether a target takes alerts.
    pub fn up(&self, target: &str, up: bool) {
        self.up.get_or_create_owned(&[("target", target.to_owned())]).set(i64::from(up));
    }

    /// What waits for a target and what was given up, as the store has it.
    pub fn queue(&self, target: &str, queued: u64, dead: u64) {
        let labels = [("target", target.to_owned())];
        self.queued.get_or_create_owned(&labels).set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.dead_letters.get_or_create_owned(&labels).set(i64::try_from(dead).unwrap_or(i64::MAX));
    }

    /// The counts that survive a restart, as the store has them. Their names are a closed set.
    pub fn all_runs(&self, totals: &BTreeMap<String, u64>) {
        for (name, value) in totals {
            let gauge = self.all_runs.get_or_create_owned(&[("count", name.clone())]);
            gauge.set(i64::try_from(*value).unwrap_or(i64::MAX));
        }
    }

    /// Records and spans of our own were not sent.
    pub fn telemetry_dropped(&self, count: u64) {
        self.telemetry_dropped.inc_by(count);
    }

    /// Everything, as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// The counts without labels, and the backlog, as they stand when somebody asks.
#[derive(Debug)]
struct Plain;

/// Name, help and counter.
type Named = (&'static str, &'static str, fn(&Counters) -> &AtomicU64);

const COUNTS: &[Named] = &[
    ("rows", "Log rows evaluated", |c| &c.rows),
    ("read_bytes", "Log rows read, bytes on the wire before compression", |c| &c.read_bytes),
    ("bodies_read", "Rows read with their bodies", |c| &c.bodies_read),
    ("keys_read", "Keys of rows read to tell new rows from known ones", |c| &c.keys_read),
    ("batches", "Batches evaluated", |c| &c.batches),
    ("row_faults", "Rows whose body or attributes were not what they seemed", |c| &c.faults),
    ("rows_unrecognised", "Rows that no log source of a rule wanted", |c| &c.unrecognised),
    ("events_verified", "Events evaluated a second time, by the definition of right", |c| &c.verified),
    ("verify_skipped", "Events chosen for that and left out, for want of time or for length", |c| {
        &c.verify_skipped
    }),
    ("engine_differences", "Answers of the engine that the definition corrected", |c| &c.engine_differences),
    ("rows_own", "Rows of the service's own logs, which are not evaluated", |c| &c.rows_own),
    ("bodies_cut", "Bodies cut because they were too long", |c| &c.bodies_cut),
    ("rows_passed_over", "Rows that could not be read or evaluated", |c| &c.rows_passed_over),
    ("rows_uncertain", "Rows that may have been read before", |c| &c.rows_uncertain),
    ("rows_attached", "Rows that came back in parts that were attached again", |c| &c.rows_attached),
    ("parts_vanished", "Parts merged away between listing and reading", |c| &c.parts_vanished),
    ("source_failures", "Failed attempts to read from ClickHouse", |c| &c.source_failures),
    ("store_failures", "Failed attempts to write the state file", |c| &c.store_failures),
    ("rule_reloads", "Times the rules were exchanged", |c| &c.reloads),
    ("alerts_queued", "Notifications put into the queues", |c| &c.alerts_queued),
    ("alerts_evicted", "Alerts closed early to make room", |c| &c.alerts_evicted),
    ("detections_folded", "Detections counted in an alert for many entities", |c| &c.detections_folded),
    ("detections_repeated", "Detections on records that had come before, not counted again", |c| {
        &c.detections_repeated
    }),
    ("detections_forgotten", "Detections forgotten early, so that a repetition would count", |c| {
        &c.detections_forgotten
    }),
    ("audit_events_early", "Audit events evaluated before all of their records had come", |c| {
        &c.audit_events_early
    }),
    ("clickhouse_queries", "Queries made", |c| &c.queries),
    ("clickhouse_read_rows", "Rows that ClickHouse read for us, as it reports", |c| &c.query_rows),
    ("clickhouse_read_bytes", "Bytes that ClickHouse read for us, as it reports", |c| &c.query_bytes),
];

impl Collector for Plain {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, help, counter) in COUNTS {
            let value = ConstCounter::new(get(counter(&COUNTERS)));
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let value = ConstCounter::new(get(&COUNTERS.query_ns) as f64 / 1e9);
        let (name, help) = ("clickhouse_elapsed", "Time ClickHouse worked for us, as it reports");
        value.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), value.metric_type())?)?;
        let rules = ConstGauge::new(get(&COUNTERS.rules) as f64);
        rules.encode(encoder.encode_descriptor("rules", "Rules in use", None, rules.metric_type())?)?;
        let lag = ConstGauge::new(get(&COUNTERS.lag_ms) as f64 / 1e3);
        let help = "Age of the newest row of the last batch when its results were stored";
        lag.encode(encoder.encode_descriptor("lag", help, Some(&Unit::Seconds), lag.metric_type())?)?;
        let window = get(&COUNTERS.loss_window_s) as f64;
        let by_time = ConstGauge::new(f64::from(u8::from(window > 0.0)));
        let help = "1 if the table is read by event time, 0 if by parts";
        by_time.encode(encoder.encode_descriptor("tail_by_time", help, None, by_time.metric_type())?)?;
        let window = ConstGauge::new(window);
        let help = "Rows that come later are missed, where the table is read by event time";
        let seconds = Some(&Unit::Seconds);
        window.encode(encoder.encode_descriptor("tail_window", help, seconds, window.metric_type())?)?;
        encode_backlog(&mut encoder)
    }
}

fn encode_backlog(encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let backlog = METRICS.backlog.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let gauge = ConstGauge::new(0.0).metric_type();
    let help = "Rows that were inserted and not read yet";
    let mut rows = encoder.encode_descriptor("backlog_rows", help, None, gauge)?;
    for ((shard, partition), (waiting, _)) in &backlog.waiting {
        let labels = [("shard", shard.to_string()), ("partition", partition.clone())];
        ConstGauge::new(*waiting as f64).encode(rows.encode_family(&labels)?)?;
    }
    let help = "How long rows of the partition have been waiting to be read";
    let mut age = encoder.encode_descriptor("backlog", help, Some(&Unit::Seconds), gauge)?;
    for ((shard, partition), (_, since)) in &backlog.waiting {
        let labels = [("shard", shard.to_string()), ("partition", partition.clone())];
        let waited = since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        ConstGauge::new(waited).encode(age.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_as_prometheus_wants_them() {
        METRICS.detections("rule-a", 3);
        METRICS.poll(Poll::Nothing, Duration::from_millis(7));
        METRICS.dead("siem", "too_old", 2);
        METRICS.backlog(BTreeMap::from([((1, "20261124".to_owned()), 5)]));
        let text = METRICS.text();
        for expected in [
            "otel_log_ai_rows_total ",
            "otel_log_ai_read_bytes_total ",
            "otel_log_ai_detections_total{rule=\"rule-a\"} 3",
            "otel_log_ai_poll_seconds_bucket{le=\"0.01\",found=\"nothing\"}",
            "otel_log_ai_alerts_dead_total{target=\"siem\",reason=\"too_old\"} 2",
            "otel_log_ai_backlog_rows{shard=\"1\",partition=\"20261124\"} 5",
            "otel_log_ai_backlog_seconds{shard=\"1\",partition=\"20261124\"}",
            "otel_log_ai_clickhouse_elapsed_seconds_total",
            "otel_log_ai_lag_seconds ",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        METRICS.backlog(BTreeMap::new());
        assert!(METRICS.text().contains("otel_log_ai_backlog_rows{shard=\"1\",partition=\"20261124\"} 0"));
    }

    #[test]
    fn the_number_of_rules_with_a_count_of_their_own_is_bounded() {
        let metrics = Metrics::new();
        for n in 0..RULES_MAX + 50 {
            metrics.detections(&format!("rule-{n}"), 1);
        }
        let text = metrics.text();
        assert_eq!(text.matches("detections_total{").count(), RULES_MAX + 1);
        assert!(text.contains("otel_log_ai_detections_total{rule=\"other\"} 50"));
    }

    #[test]
    fn every_metric_is_documented() {
        let guide = include_str!("../../../../docs/guide/operation.md");
        let text = METRICS.text();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            assert!(guide.contains(&format!("`{name}")), "`{name}` is not in docs/guide/operation.md");
        }
    }
}

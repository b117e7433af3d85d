//! What the demo found, against what was planted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use otel_log_ai_testkit::estate::Planted;
use otel_log_ai_testkit::keep::Received;

use super::Run;

/// The alerts of one rule on one host.
#[derive(Debug, Default)]
struct Arrived {
    title: String,
    severity: String,
    fingerprints: BTreeSet<String>,
    first: Option<SystemTime>,
}

type Key = (String, String);

/// Prints the report; whether every planted attack arrived exactly once, nothing else did and the
/// service ended well.
pub(crate) fn judge(run: &Run, planted: &[Planted], received: &[Received]) -> bool {
    let arrived = by_rule_and_host(received);
    let mut found = 0;
    let mut latencies = Vec::new();
    let mut complaints = Vec::new();
    for attack in planted {
        let key = (attack.rule_id.to_owned(), attack.host.clone());
        match arrived.get(&key) {
            Some(alert) if alert.fingerprints.len() == 1 => {
                found += 1;
                let inserted = run.inserted_at.get(&attack.row_id);
                let latency = inserted.and_then(|at| alert.first?.duration_since(*at).ok());
                latencies.extend(latency.map(|latency| (latency, attack.story)));
            }
            Some(alert) => complaints.push(format!(
                "arrived {} times: {} ({}, rule {})",
                alert.fingerprints.len(),
                attack.story,
                attack.host,
                attack.rule_id
            )),
            None => {
                complaints
                    .push(format!("not found: {} ({}, rule {})", attack.story, attack.host, attack.rule_id));
            }
        }
    }
    let expected = |key: &Key| planted.iter().any(|attack| attack.rule_id == key.0 && attack.host == key.1);
    let mut false_alerts = 0;
    for (key, alert) in arrived.iter().filter(|(key, _)| !expected(key)) {
        false_alerts += alert.fingerprints.len();
        complaints.push(format!("false alert: {} ({}, rule {})", alert.title, key.1, key.0));
    }
    latencies.sort();
    let slowest = latencies.last().map_or("none", |(_, story)| story);
    let latencies: Vec<Duration> = latencies.iter().map(|(latency, _)| *latency).collect();
    print_scan(run);
    line("alerts", &by_severity(&arrived));
    line(
        "insert to alert",
        &format!(
            "p50 {}, p90 {}, p99 {} ({slowest})",
            percentile(&latencies, 50),
            percentile(&latencies, 90),
            percentile(&latencies, 99)
        ),
    );
    line("attacks found", &format!("{found} of {}", planted.len()));
    line("false alerts", &false_alerts.to_string());
    for complaint in &complaints {
        println!("  {complaint}");
    }
    exit_line(run);
    found == planted.len() && run.clean_exit
}

/// The report where the alerts went to a Keep we cannot look into.
pub(crate) fn sent_elsewhere(run: &Run, planted: &[Planted]) -> bool {
    print_scan(run);
    let stats = &run.stats;
    line(
        "alerts",
        &format!("{} accepted by Keep, {} refused for good", stats.alerts_delivered, stats.alerts_dead),
    );
    line("attacks planted", &planted.len().to_string());
    exit_line(run);
    stats.alerts_delivered >= planted.len() as u64 && stats.alerts_dead == 0 && run.clean_exit
}

fn print_scan(run: &Run) {
    let seconds = run.elapsed.as_secs_f64().max(0.001);
    println!();
    line("rules", &run.stats.rules.to_string());
    line("rows scanned", &format!("{} of {} inserted", run.stats.rows, run.inserted));
    line("rows/s", &format!("{:.0}", run.stats.rows as f64 / seconds));
    line("detections", &format!("{} in {} batches", run.stats.detections, run.stats.batches));
    line("faults", &run.stats.faults.to_string());
}

fn exit_line(run: &Run) {
    line("drained and ended", if run.clean_exit { "yes" } else { "no" });
}

fn line(name: &str, value: &str) {
    println!("  {name:<18} {value}");
}

fn by_rule_and_host(received: &[Received]) -> BTreeMap<Key, Arrived> {
    let mut all: BTreeMap<Key, Arrived> = BTreeMap::new();
    for one in received {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let get = |name: &str| one.alert.get(name).map(&text).unwrap_or_default();
        let arrived = all.entry((get("rule_id"), get("host"))).or_default();
        arrived.title = get("name");
        arrived.severity = get("severity");
        arrived.fingerprints.insert(get("fingerprint"));
        arrived.first = Some(arrived.first.map_or(one.at, |first| first.min(one.at)));
    }
    all
}

fn by_severity(arrived: &BTreeMap<Key, Arrived>) -> String {
    let mut parts =
        vec![format!("{}", arrived.values().map(|alert| alert.fingerprints.len()).sum::<usize>())];
    for severity in ["critical", "high", "warning", "info", "low"] {
        let of_it = arrived.values().filter(|alert| alert.severity == severity);
        match of_it.map(|alert| alert.fingerprints.len()).sum::<usize>() {
            0 => {}
            count => parts.push(format!("{severity} {count}")),
        }
    }
    parts.join(", ")
}

/// The value below which so many of a hundred lie (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> String {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    match sorted.get(rank) {
        Some(value) => format!("{:.2} s", value.as_secs_f64()),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!(percentile(&values, 50), "50.00 s");
        assert_eq!(percentile(&values, 99), "99.00 s");
        assert_eq!(percentile(&values[..1], 99), "1.00 s");
        assert_eq!(percentile(&[], 50), "none");
    }
}

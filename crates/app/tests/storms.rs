//! Grouping on a corpus of a million alerts of intrusion detection systems, each labelled as a step of
//! an attack or as a false positive: how many alerts does a person get, and is every step of the attack
//! among them? Run with `--nocapture` to see the figures.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use otel_log_ai_core::alert::{Detection, GroupField, Grouping, GroupingSettings, Notification, Origin};
use otel_log_ai_core::rule::{Level, RuleInfo};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The defaults of the configuration.
fn settings() -> GroupingSettings {
    GroupingSettings {
        instance: "default".into(),
        group_by: vec![GroupField::Host],
        group_wait: Duration::from_secs(1),
        group_interval: Duration::from_secs(60),
        repeat_interval: Duration::from_secs(30 * 60),
        window: Duration::from_secs(15 * 60),
        resolve: false,
        evidence_max: 5,
        rule_max: GroupingSettings::RULE_MAX,
        total_max: GroupingSettings::TOTAL_MAX,
        open_max: GroupingSettings::OPEN_MAX,
    }
}

/// One line: `time,name,ip,host,short,time_label,event_label`. Only the name may hold commas.
struct Alert {
    at_s: i64,
    name: String,
    host: String,
    label: String,
}

fn read(path: &Path) -> Vec<Alert> {
    let mut decoder = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut alerts = Vec::new();
    for line in BufReader::new(decoder).lines().skip(1) {
        let line = line.unwrap();
        let (time, rest) = line.split_once(',').unwrap();
        let mut from_end = rest.rsplitn(6, ',');
        let (_event, label) = (from_end.next().unwrap(), from_end.next().unwrap());
        let (_short, host) = (from_end.next().unwrap(), from_end.next().unwrap());
        let (_ip, name) = (from_end.next().unwrap(), from_end.next().unwrap());
        alerts.push(Alert {
            at_s: time.parse().unwrap(),
            name: name.trim_matches('"').into(),
            host: host.into(),
            label: label.into(),
        });
    }
    alerts.sort_by_key(|alert| alert.at_s);
    alerts
}

/// What a receiver is told, and which labels it was told of.
#[derive(Default)]
struct Told {
    notifications: usize,
    /// Last count of each group.
    groups: HashMap<uuid::Uuid, u64>,
    /// Labels of the detections of each open group that are not told yet.
    untold: HashMap<(String, String), BTreeSet<String>>,
    /// Notifications that carried detections of a label.
    labels: BTreeMap<String, usize>,
    /// Groups, and whether they hold anything of an attack.
    attacks: HashMap<uuid::Uuid, bool>,
}

impl Told {
    fn tell(&mut self, sent: Vec<Notification>) {
        for notification in sent {
            let alert = &notification.alert;
            self.notifications += 1;
            self.groups.insert(notification.group_id, alert.count);
            let key = (alert.rule.id.clone(), alert.origin.host.clone());
            let is_attack = self.attacks.entry(notification.group_id).or_default();
            for label in self.untold.remove(&key).unwrap_or_default() {
                *is_attack |= label != "false_positive";
                *self.labels.entry(label).or_default() += 1;
            }
        }
    }
}

fn run(alerts: &[Alert]) -> Told {
    let mut grouping = Grouping::new(settings());
    let mut told = Told::default();
    let mut rules: HashMap<&str, Arc<RuleInfo>> = HashMap::new();
    for (n, alert) in alerts.iter().enumerate() {
        let now_ms = alert.at_s * 1000;
        while let Some(due_ms) = grouping.next_due_ms().filter(|due_ms| *due_ms <= now_ms) {
            told.tell(grouping.due(due_ms.max(0)));
        }
        let rule = rules.entry(&alert.name).or_insert_with(|| {
            let (id, title) = (alert.name.clone(), alert.name.clone());
            Arc::new(RuleInfo { id, title, level: Level::Medium, ..RuleInfo::default() })
        });
        let origin = Origin {
            record_id: n.to_string(),
            timestamp_ns: alert.at_s as u64 * 1_000_000_000,
            host: alert.host.clone(),
            ..Origin::default()
        };
        let detection =
            Detection { rule: Arc::clone(rule), origin, excerpt: alert.name.clone(), ..Detection::default() };
        grouping.observe(&detection, now_ms);
        let key = (alert.name.clone(), alert.host.clone());
        told.untold.entry(key).or_default().insert(alert.label.clone());
    }
    let mut now_ms = alerts.last().map_or(0, |alert| alert.at_s * 1000);
    while grouping.open_count() > 0 {
        now_ms += 60_000;
        told.tell(grouping.due(now_ms));
    }
    told
}

#[test]
fn a_million_alerts_become_few_and_no_step_of_an_attack_is_lost() {
    for scenario in ["fox", "santos", "wardbeck"] {
        let Some(path) = common::corpus(&format!("ait-alerts/{scenario}.dev.csv.zst")) else { return };
        let alerts = read(&path);
        let told = run(&alerts);
        let steps: BTreeSet<&str> = alerts
            .iter()
            .map(|alert| alert.label.as_str())
            .filter(|label| *label != "false_positive")
            .collect();
        let false_positives = alerts.iter().filter(|alert| alert.label == "false_positive").count();
        let noise = told.attacks.values().filter(|is_attack| !**is_attack).count();
        println!(
            "{scenario}: {} alerts in, {} alerts in Keep, {} notifications; attack steps {} of {}: {:?}; {} false \
             positives in {noise} alerts without anything of an attack",
            alerts.len(),
            told.groups.len(),
            told.notifications,
            steps.iter().filter(|step| told.labels.contains_key(**step)).count(),
            steps.len(),
            told.labels,
            false_positives,
        );
        assert!(steps.iter().all(|step| told.labels.contains_key(*step)), "{scenario}: {:?}", told.labels);
        assert_eq!(told.groups.values().sum::<u64>(), alerts.len() as u64, "{scenario}: counts are true");
        assert!(told.groups.len() * 10 < alerts.len(), "{scenario}: {} alerts", told.groups.len());
        assert!(noise * 5 < false_positives, "{scenario}: {noise} of {false_positives}");
    }
}

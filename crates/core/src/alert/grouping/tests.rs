//! Grouping as a specification.

use super::*;
use crate::alert::{Evidence, Origin};
use crate::rule::{Level, RuleInfo};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const S: i64 = 1000;
const MIN: i64 = 60 * S;

fn settings() -> GroupingSettings {
    GroupingSettings {
        instance: "default".into(),
        group_by: vec![GroupField::Host],
        group_wait: Duration::from_secs(1),
        group_interval: Duration::from_secs(60),
        repeat_interval: Duration::from_secs(30 * 60),
        window: Duration::from_secs(15 * 60),
        resolve: false,
        evidence_max: 3,
        rule_max: 50,
        total_max: 80,
        open_max: 100,
    }
}

fn rule(id: &str) -> Arc<RuleInfo> {
    Arc::new(RuleInfo {
        id: id.into(),
        title: format!("Rule {id}"),
        level: Level::High,
        ..RuleInfo::default()
    })
}

fn detection(rule_id: &str, host: &str, n: u64) -> Detection {
    Detection {
        rule: rule(rule_id),
        origin: Origin {
            record_id: format!("row-{n}"),
            timestamp_ns: n * 1_000_000,
            host: host.into(),
            user: format!("user-{}", n % 40),
            ..Origin::default()
        },
        fields: vec![("CommandLine".into(), format!("whoami {n}"))],
        excerpt: format!("event {n}"),
        ..Detection::default()
    }
}

fn told(notifications: &[Notification]) -> Vec<(Kind, u64)> {
    notifications.iter().map(|n| (n.kind, n.alert.count)).collect()
}

#[test]
fn a_burst_is_one_notification_with_its_count_after_group_wait() {
    let mut grouping = Grouping::new(settings());
    assert_eq!(grouping.next_due_ms(), None);
    for n in 0..5 {
        grouping.observe(&detection("r", "web-01", n), 100);
    }
    assert_eq!(grouping.next_due_ms(), Some(100 + S));
    assert_eq!(told(&grouping.due(99 + S)), []);
    assert_eq!(told(&grouping.due(100 + S)), [(Kind::New, 5)]);
    assert_eq!(told(&grouping.due(101 + S)), []);
}

#[test]
fn rule_and_entity_make_the_group() {
    let mut grouping = Grouping::new(settings());
    for (rule_id, host) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x"), ("a", "")] {
        grouping.observe(&detection(rule_id, host, 1), 0);
    }
    let due = grouping.due(S);
    assert_eq!(due.len(), 4);
    let prints: HashSet<_> = due.iter().map(|n| n.alert.fingerprint).collect();
    assert_eq!(prints.len(), 4);
}

#[test]
fn further_detections_are_told_once_an_interval() {
    let mut grouping = Grouping::new(settings());
    grouping.observe(&detection("r", "h", 0), 0);
    assert_eq!(told(&grouping.due(S)), [(Kind::New, 1)]);
    grouping.observe(&detection("r", "h", 1), 2 * S);
    grouping.observe(&detection("r", "h", 2), 3 * S);
    assert_eq!(grouping.next_due_ms(), Some(S + MIN));
    assert_eq!(told(&grouping.due(S + MIN - 1)), []);
    assert_eq!(told(&grouping.due(S + MIN)), [(Kind::Update, 3)]);
    // After a long pause the next one is told at once.
    grouping.observe(&detection("r", "h", 3), 10 * MIN);
    assert_eq!(told(&grouping.due(10 * MIN)), [(Kind::Update, 4)]);
}

#[test]
fn an_active_alert_is_repeated_under_the_same_id() {
    let mut settings = settings();
    settings.window = Duration::from_secs(3600);
    let mut grouping = Grouping::new(settings);
    grouping.observe(&detection("r", "h", 0), 0);
    let first = grouping.due(S).remove(0);
    assert_eq!(told(&grouping.due(30 * MIN)), []);
    let again = grouping.due(30 * MIN + S).remove(0);
    assert_eq!((again.kind, again.id), (Kind::Repeat, first.id));
    assert_eq!(again.alert.evidence, first.alert.evidence);
}

#[test]
fn the_last_word_is_repeated_when_the_group_ends() {
    let mut grouping = Grouping::new(settings());
    grouping.observe(&detection("r", "h", 0), 0);
    let first = grouping.due(S).remove(0);
    let last = grouping.due(15 * MIN).remove(0);
    assert_eq!((last.kind, last.id), (Kind::Repeat, first.id));
    assert_eq!((grouping.open_count(), grouping.next_due_ms()), (0, None));
}

#[test]
fn a_quiet_group_is_resolved_where_that_is_wanted() {
    let mut grouping = Grouping::new(GroupingSettings { resolve: true, ..settings() });
    grouping.observe(&detection("r", "h", 0), 0);
    let first = grouping.due(S).remove(0);
    grouping.observe(&detection("r", "h", 1), 30 * S);
    assert_eq!(told(&grouping.due(MIN + S)), [(Kind::Update, 2)]);
    grouping.observe(&detection("r", "h", 2), MIN + 2 * S);
    assert_eq!(told(&grouping.due(15 * MIN + 30 * S)), [(Kind::Update, 3)]);
    let end = grouping.due(16 * MIN + 2 * S);
    assert_eq!(told(&end), [(Kind::Resolved, 3)]);
    assert_eq!(end[0].alert.fingerprint, first.alert.fingerprint);
    assert_ne!(end[0].id, first.id);
    assert_eq!(end[0].group_id, first.group_id);
}

#[test]
fn a_group_that_ends_untold_is_told_and_then_resolved() {
    let settings = GroupingSettings { resolve: true, window: Duration::ZERO, ..settings() };
    let mut grouping = Grouping::new(settings);
    grouping.observe(&detection("r", "h", 0), 0);
    assert_eq!(told(&grouping.due(0)), [(Kind::New, 1), (Kind::Resolved, 1)]);
}

#[test]
fn after_its_end_the_same_entity_opens_another_group() {
    let mut grouping = Grouping::new(settings());
    grouping.observe(&detection("r", "h", 0), 0);
    let first = grouping.due(S).remove(0);
    grouping.due(15 * MIN);
    grouping.observe(&detection("r", "h", 9), 20 * MIN);
    let second = grouping.due(20 * MIN + S).remove(0);
    assert_eq!((second.kind, second.alert.count), (Kind::New, 1));
    assert_eq!(second.alert.fingerprint, first.alert.fingerprint);
    assert_ne!((second.id, second.group_id), (first.id, first.group_id));
}

#[test]
fn a_storm_is_one_alert_of_bounded_size() {
    let mut grouping = Grouping::new(settings());
    for n in 0..100_000 {
        let mut detection = detection("r", "h", 200_000 - n);
        detection.excerpt = "x".repeat(10_000);
        detection.fields = vec![("f".repeat(1000).into(), "y".repeat(10_000)); 20];
        detection.origin.user = format!("{n}{}", "ü".repeat(1000));
        grouping.observe(&detection, 0);
    }
    let due = grouping.due(S);
    assert_eq!(told(&due), [(Kind::New, 100_000)]);
    let alert = &due[0].alert;
    assert_eq!((alert.first_seen_ns, alert.last_seen_ns), (100_001_000_000, 200_000_000_000));
    let kept: Vec<_> = alert.evidence.iter().map(|e| e.record_id.as_str()).collect();
    assert_eq!(kept, ["row-200000", "row-199999", "row-100001"]);
    assert_eq!((alert.users.values.len(), alert.users.more), (16, true));
    let size = serde_json::to_string(alert).unwrap().len();
    assert!(size < 4 * Evidence::BYTES_MAX + 16 * 300 + 2000, "{size}");
}

/// Runs `detections` over ten minutes of simulated time, and the half hour after; gives all that the
/// receiver is told.
fn storm(settings: GroupingSettings, detections: u64, host: impl Fn(u64) -> String) -> Vec<Notification> {
    let mut grouping = Grouping::new(settings);
    let mut sent = Vec::new();
    for n in 0..detections {
        let now_ms = (n * 600_000 / detections) as i64;
        while grouping.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            sent.extend(grouping.due(now_ms));
        }
        grouping.observe(&detection("scan", &host(n), n), now_ms);
    }
    for minute in 10..40 {
        sent.extend(grouping.due(minute * MIN));
    }
    assert_eq!(grouping.open_count(), 0);
    sent
}

/// The last word on each group: how often it was told, and the count.
fn last_words(sent: &[Notification]) -> HashMap<uuid::Uuid, (usize, u64)> {
    let mut words: HashMap<_, (usize, u64)> = HashMap::new();
    for notification in sent {
        let (times, count) = words.entry(notification.group_id).or_default();
        *times += 1;
        *count = notification.alert.count;
    }
    words
}

#[test]
fn four_hundred_thousand_detections_of_one_rule_are_a_handful_of_alerts_with_the_true_count() {
    let sent = storm(settings(), 400_000, |_| "web-01".into());
    let words = last_words(&sent);
    assert_eq!(words.len(), 1);
    let told: Vec<_> = sent.iter().map(|notification| notification.kind).collect();
    use Kind::{New, Repeat, Update};
    // After 1 s, then 1, 2 and 4 minutes later, then the last count, said twice.
    assert_eq!(told, [New, Update, Update, Update, Update, Repeat]);
    assert_eq!(sent.last().unwrap().alert.count, 400_000);
}

#[test]
fn a_storm_over_many_hosts_is_bounded_and_counted() {
    let settings = GroupingSettings { rule_max: 20, total_max: 1000, open_max: 2000, ..settings() };
    let sent = storm(settings, 400_000, |n| format!("host-{}", n % 50_000));
    let words = last_words(&sent);
    assert_eq!(words.len(), 21, "twenty hosts, and one for all others");
    assert_eq!(words.values().map(|(_, count)| count).sum::<u64>(), 400_000);
    assert!(sent.len() <= 21 * 6, "{} notifications", sent.len());
    let many = &sent.iter().rfind(|notification| notification.alert.of_many).unwrap().alert;
    assert_eq!((many.count, many.origin.host.as_str()), (400_000 - 20 * 8, ""));
    assert_eq!((many.hosts.values.len(), many.hosts.more), (16, true));
}

#[test]
fn where_there_are_too_many_alerts_a_new_rule_is_still_seen() {
    let mut grouping = Grouping::new(GroupingSettings { rule_max: 50, total_max: 30, ..settings() });
    for n in 0..200 {
        grouping.observe(&detection("noise", &format!("host-{n}"), n), 0);
    }
    grouping.observe(&detection("theft", "bank-01", 900), 0);
    grouping.observe(&detection("theft", "bank-02", 901), 0);
    assert_eq!(grouping.folded_total(), 172);
    let due = grouping.due(S);
    assert_eq!(due.len(), 32);
    let theft: Vec<_> = due.iter().filter(|notification| notification.alert.rule.id == "theft").collect();
    assert_eq!((theft.len(), theft[0].alert.count), (1, 2));
    assert_eq!(theft[0].alert.hosts.values, ["bank-01", "bank-02"]);
    assert!(theft[0].alert.origin.host.is_empty() && theft[0].alert.of_many);
    // Who has an alert of its own keeps it.
    grouping.observe(&detection("noise", "host-3", 999), 2 * S);
    assert_eq!(grouping.folded_total(), 172);
}

#[test]
fn down_time_is_not_quiet_time() {
    let resolving = GroupingSettings { resolve: true, ..settings() };
    let mut grouping = Grouping::new(resolving.clone());
    grouping.observe(&detection("r", "h", 0), 0);
    grouping.due(S);
    let stored = grouping.take_changes().upserts;
    let mut grouping = Grouping::restore(resolving, stored);
    // An hour later nothing is resolved: the rows of that hour are still to be read.
    assert_eq!(told(&grouping.due(60 * MIN)), [(Kind::Repeat, 1)]);
    grouping.observe(&detection("r", "h", 1), 61 * MIN);
    assert_eq!(told(&grouping.due(62 * MIN)), [(Kind::Update, 2)]);
    // Nor while the database is away.
    grouping.hold(80 * MIN);
    assert_eq!(told(&grouping.due(81 * MIN)), []);
    assert_eq!(told(&grouping.due(95 * MIN)), [(Kind::Resolved, 2)]);
}

#[test]
fn the_longest_quiet_group_makes_room_and_is_told_first() {
    let mut grouping = Grouping::new(GroupingSettings { open_max: 2, ..settings() });
    grouping.observe(&detection("r", "a", 0), 0);
    grouping.observe(&detection("r", "b", 1), 1);
    grouping.observe(&detection("r", "a", 2), 2);
    grouping.observe(&detection("r", "c", 3), 3);
    assert_eq!((grouping.open_count(), grouping.evicted_total()), (2, 1));
    assert!(grouping.next_due_ms().unwrap() <= 3);
    let due = grouping.due(3);
    assert_eq!(told(&due), [(Kind::New, 1)]);
    assert_eq!(due[0].alert.origin.host, "b");
    assert_eq!(grouping.take_changes().deletes, [due[0].alert.fingerprint]);
    assert_eq!(told(&grouping.due(2 * S)), [(Kind::New, 2), (Kind::New, 1)]);
}

#[test]
fn changes_follow_what_happened() {
    let mut grouping = Grouping::new(settings());
    grouping.observe(&detection("r", "h", 0), 0);
    let changes = grouping.take_changes();
    assert_eq!((changes.upserts.len(), changes.deletes.len()), (1, 0));
    assert!(grouping.take_changes().is_empty());
    let print = grouping.due(S)[0].alert.fingerprint;
    assert!(grouping.take_changes().upserts[0].delivered.is_some());
    grouping.due(15 * MIN);
    assert_eq!(grouping.take_changes(), Changes { upserts: vec![], deletes: vec![print] });
}

#[test]
fn at_the_end_of_the_service_nothing_untold_waits() {
    let mut grouping = Grouping::new(settings());
    grouping.observe(&detection("r", "h", 0), 0);
    assert_eq!(told(&grouping.flush(1)), [(Kind::New, 1)]);
    assert_eq!(told(&grouping.flush(2)), []);
}

#[test]
fn intervals_of_zero_end() {
    let zero = Duration::ZERO;
    let settings =
        GroupingSettings { group_wait: zero, group_interval: zero, repeat_interval: zero, ..settings() };
    let mut grouping = Grouping::new(settings);
    grouping.observe(&detection("r", "h", 0), 0);
    assert_eq!(told(&grouping.due(0)), [(Kind::New, 1)]);
    assert_eq!(told(&grouping.due(1)), [(Kind::Repeat, 1)]);
}

#[test]
fn a_reloaded_rule_speaks_for_itself() {
    let mut grouping = Grouping::new(settings());
    grouping.observe(&detection("r", "h", 0), 0);
    let mut changed = detection("r", "h", 1);
    Arc::make_mut(&mut changed.rule).level = Level::Critical;
    grouping.observe(&changed, 0);
    assert_eq!(grouping.due(S)[0].alert.rule.level, Level::Critical);
}

/// What the property test does.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes, then a detection of rule and host.
    Observe(i64, u8, u8),
    /// Time passes, notifications are taken and stored.
    Turn(i64),
    /// The process dies: what was not stored is forgotten, and its rows are read again.
    Crash(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![0..3 * S, 0..2 * MIN, 0..40 * MIN];
    prop_oneof![
        6 => (time.clone(), 0..2_u8, 0..4_u8).prop_map(|(ms, rule, host)| Step::Observe(ms, rule, host)),
        3 => time.clone().prop_map(Step::Turn),
        1 => time.prop_map(Step::Crash),
    ]
}

/// What a store would hold, and what a receiver would have got.
#[derive(Default)]
struct World {
    open: BTreeMap<Fingerprint, OpenAlert>,
    sent: Vec<Notification>,
    /// Detections not stored yet: read again after a crash.
    pending: Vec<Detection>,
}

impl World {
    fn turn(&mut self, grouping: &mut Grouping, now_ms: i64) {
        self.sent.extend(grouping.due(now_ms));
        let changes = grouping.take_changes();
        for print in changes.deletes {
            self.open.remove(&print);
        }
        for alert in changes.upserts {
            self.open.insert(alert.fingerprint, alert);
        }
        self.pending.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn counts_are_true_and_ids_unique(
        steps in prop::collection::vec(step(), 1..80),
        resolve: bool,
        open_max in 1..6_usize,
        rule_max in 1..6_usize,
        total_max in 1..6_usize,
    ) {
        let settings = GroupingSettings { resolve, open_max, rule_max, total_max, ..settings() };
        let mut grouping = Grouping::new(settings.clone());
        let mut world = World::default();
        let (mut now_ms, mut observed) = (0, 0);
        for step in steps {
            match step {
                Step::Observe(ms, rule, host) => {
                    now_ms += ms;
                    observed += 1;
                    let detection = detection(&format!("rule-{rule}"), &format!("host-{host}"), observed);
                    grouping.observe(&detection, now_ms);
                    world.pending.push(detection);
                }
                Step::Turn(ms) => {
                    now_ms += ms;
                    world.turn(&mut grouping, now_ms);
                }
                Step::Crash(ms) => {
                    now_ms += ms;
                    grouping = Grouping::restore(settings.clone(), world.open.values().cloned().collect());
                    for detection in &world.pending {
                        grouping.observe(detection, now_ms);
                    }
                }
            }
            let stored: HashSet<_> = world.open.keys().collect();
            prop_assert!(stored.len() <= open_max + 80);
        }
        // Enough turns for everything to end.
        for _ in 0..3 {
            now_ms += 60 * MIN;
            world.turn(&mut grouping, now_ms);
        }
        prop_assert_eq!(grouping.open_count(), 0);
        prop_assert!(world.open.is_empty());

        let mut final_count: HashMap<_, u64> = HashMap::new();
        let mut ids = HashSet::new();
        let mut resolved = HashSet::new();
        for sent in &world.sent {
            let before = final_count.insert(sent.group_id, sent.alert.count).unwrap_or(0);
            prop_assert!(before <= sent.alert.count, "a count never falls");
            prop_assert!(!resolved.contains(&sent.group_id), "nothing comes after resolved");
            if sent.kind != Kind::Repeat {
                prop_assert!(ids.insert(sent.id), "an id never stands for two notifications");
            } else {
                prop_assert!(ids.contains(&sent.id), "a repetition has an id that was told");
            }
            if sent.is_resolved() {
                resolved.insert(sent.group_id);
            }
        }
        prop_assert_eq!(final_count.values().sum::<u64>(), observed, "every detection is told of");
        prop_assert_eq!(resolved.len(), if resolve { final_count.len() } else { 0 });
    }
}

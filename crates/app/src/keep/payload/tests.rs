//! The payload as Keep's users will see it.

use super::*;
use otel_log_ai_core::alert::{Detection, GroupField, Grouping, GroupingSettings, Origin};
use otel_log_ai_core::rule::{LogSource, RuleInfo, Status};
use std::sync::Arc;
use std::time::Duration;

fn rule() -> RuleInfo {
    RuleInfo {
        id: "8c5a1a2e-6f0f-4f9e-9a51-0f1d6f1f0b11".into(),
        title: "Encoded PowerShell Command".into(),
        level: Level::Medium,
        status: Some(Status::Stable),
        description: "PowerShell was started with an encoded command.".into(),
        author: "OpenTelemetry Log AI".into(),
        references: vec!["https://attack.mitre.org/techniques/T1059/001/".into(), "a book".into()],
        falsepositives: vec!["Software deployment".into()],
        tags: vec!["attack.execution".into(), "attack.command_and_control".into(), "attack.t1059.001".into()],
        logsource: LogSource {
            product: Some("windows".into()),
            category: Some("process_creation".into()),
            service: None,
        },
        path: "rules/x.yml".into(),
    }
}

fn detection(excerpt: &str) -> Detection {
    Detection {
        rule: Arc::new(rule()),
        origin: Origin {
            record_id: "2xK".into(),
            timestamp_ns: 1_763_844_000_123_456_789,
            host: "web-01".into(),
            user: "CORP\\alice".into(),
            src_ip: "10.1.2.3".into(),
            ..Origin::default()
        },
        fields: vec![("CommandLine".into(), "powershell -enc SQBFAFgA".into())],
        excerpt: excerpt.into(),
        ..Detection::default()
    }
}

fn notifications(detections: &[Detection], resolve: bool) -> Vec<Notification> {
    let mut grouping = Grouping::new(GroupingSettings {
        instance: "default".into(),
        group_by: vec![GroupField::Host],
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        repeat_interval: Duration::from_secs(1800),
        window: Duration::ZERO,
        resolve,
        evidence_max: 5,
        rule_max: 1000,
        total_max: 1000,
        open_max: 10,
    });
    for detection in detections {
        grouping.observe(detection, 1_763_844_001_000);
    }
    grouping.due(1_763_844_001_500)
}

fn settings() -> PayloadSettings {
    PayloadSettings {
        environment: "production".into(),
        severity: SeverityMap::default(),
        signoz_url: Some(Url::parse("https://signoz.example").unwrap()),
    }
}

fn alert(detection: &Detection) -> Value {
    payload(&notifications(std::slice::from_ref(detection), false)[0], &settings())
}

#[test]
fn it_looks_like_this() {
    let log = "{\"event_data\":{\"CommandLine\":\"powershell -enc SQBFAFgA\"}}";
    let mut alert = payload(&notifications(&[detection(log), detection(log)], false)[0], &settings());
    assert!(alert["url"].as_str().unwrap().starts_with("https://signoz.example/logs/logs-explorer?"));
    alert["url"] = json!("(link)");
    insta::assert_json_snapshot!(alert);
}

#[test]
fn resolving_keeps_identity_and_labels() {
    let sent = notifications(&[detection("x")], true);
    let (firing, resolved) = (payload(&sent[0], &settings()), payload(&sent[1], &settings()));
    assert_eq!((&firing["status"], &resolved["status"]), (&json!("firing"), &json!("resolved")));
    assert_ne!(firing["id"], resolved["id"]);
    for key in ["fingerprint", "name", "labels", "severity", "service", "environment"] {
        assert_eq!(firing[key], resolved[key]);
    }
}

#[test]
fn a_repetition_differs_in_the_time_of_sending_only() {
    let mut sent = notifications(&[detection("x")], false);
    let first = payload(&sent[0], &settings());
    sent[0].at_ms += 1_800_000;
    sent[0].kind = Kind::Repeat;
    let mut again = payload(&sent[0], &settings());
    assert_ne!(first["lastReceived"], again["lastReceived"]);
    again["lastReceived"] = first["lastReceived"].clone();
    assert_eq!(first, again);
}

#[test]
fn severity_keeps_the_order_of_the_levels() {
    let map = SeverityMap::default();
    let words = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical]
        .map(|level| map.of(level).as_str());
    assert_eq!(words, ["low", "info", "warning", "high", "critical"]);
    assert_eq!("warning".parse(), Ok(KeepSeverity::Warning));
    assert!("medium".parse::<KeepSeverity>().unwrap_err().contains("`medium`"));
}

/// Every string in `value`, keys too.
fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            out.push(key.clone());
            strings(value, out);
        }),
        _ => {}
    }
}

#[test]
fn nothing_hostile_survives_anywhere() {
    let evil = "x{{alert.name}}}} keep.uppercase(a) KEEP.len([1])\u{1b}[2J\u{202e}\u{7}```\n````js\n\0{{{";
    let mut detection = detection(evil);
    detection.fields = vec![(evil.into(), evil.into()), ("".into(), evil.into())];
    let mut rule = rule();
    for text in [&mut rule.title, &mut rule.description, &mut rule.author, &mut rule.id] {
        *text = evil.into();
    }
    rule.tags = vec![format!("attack.{evil}"), format!("attack.t1{evil}")];
    rule.references = vec![evil.into(), format!("https://{evil}")];
    rule.falsepositives = vec![evil.into()];
    rule.logsource.product = Some(evil.into());
    detection.rule = Arc::new(rule);
    let origin = &mut detection.origin;
    for text in [
        &mut origin.record_id,
        &mut origin.host,
        &mut origin.user,
        &mut origin.src_ip,
        &mut origin.service,
        &mut origin.k8s_namespace,
        &mut origin.k8s_pod,
        &mut origin.container,
        &mut origin.trace_id,
    ] {
        *text = evil.into();
    }
    let alert = alert(&detection);
    let mut all = Vec::new();
    strings(&alert, &mut all);
    for text in all {
        assert!(!text.contains("{{") && !text.contains("}}"), "{text:?}");
        assert!(!text.to_lowercase().contains("keep."), "{text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
    assert!(!alert["message"].as_str().unwrap().contains('\n'));
    // The log text stays inside its fence: five back-ticks, for it holds four.
    let description = alert["description"].as_str().unwrap();
    assert_eq!(description.lines().filter(|line| line.starts_with("`````")).count(), 4, "{description}");
    assert_eq!(alert["evidence"][0]["attributes"].as_object().unwrap().len(), 2);
}

#[test]
fn the_message_says_what_where_how_many_and_shows_the_log() {
    let message = |log: &str, host: &str, service: &str| {
        let mut detection = detection(log);
        detection.origin.host = host.into();
        detection.origin.service = service.into();
        alert(&detection)["message"].as_str().unwrap().to_owned()
    };
    let title = "Encoded PowerShell Command";
    let fields = "CommandLine=powershell -enc SQBFAFgA";
    assert_eq!(message("\n---\n sshd[1]: x\nmore", "h", "s"), format!("{title} on h, 1 event: sshd[1]: x"));
    assert_eq!(message("<Event>", "", "api"), format!("{title} on api, 1 event: {fields}"));
    assert_eq!(message("", "", ""), format!("{title}, 1 event: {fields}"));
}

#[test]
fn an_alert_for_many_hosts_says_so() {
    let mut notification = notifications(&[detection("x")], false).remove(0);
    let alert = &mut notification.alert;
    alert.of_many = true;
    alert.origin = Origin::default();
    alert.hosts.values = vec!["web-01".into(), "`web`-02\u{1b}[31m".into()];
    alert.count = 31;
    let json = payload(&notification, &settings());
    let message = json["message"].as_str().unwrap();
    assert!(message.contains("on 2 further hosts, 31 events"), "{message}");
    assert_eq!((json["host"].as_str(), json["labels"]["host"].as_str()), (Some(""), Some("")));
    let text = json["description"].as_str().unwrap();
    assert!(
        text.contains("**Hosts:** `web-01`, `` `web`-02␛[31m ``") || text.contains("too many hosts"),
        "{text}"
    );
}

#[test]
fn labels_are_flat_and_their_keys_plain() {
    for (key, value) in alert(&detection("x"))["labels"].as_object().unwrap() {
        assert!(key.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')) && !key.is_empty(), "{key}");
        assert!(value.is_string(), "{key}");
    }
}

#[test]
fn keep_is_never_sent_what_it_computes() {
    let alert = alert(&detection("x"));
    for key in "startedAt firingStartTime firingStartTimeSinceLastResolved firingCounter unresolvedCounter pushed \
                event_id providerId providerType alert_hash isFullDuplicate isPartialDuplicate deleted dismissed \
                dismissUntil incident isNoisy enriched_fields apiKeyRef imageUrl note assignee ticket_url"
        .split_whitespace()
    {
        assert!(alert.get(key).is_none(), "{key}");
    }
}

#[test]
fn its_size_is_bounded() {
    let mut detection = detection(&"{\"\\".repeat(100_000));
    detection.fields = vec![("f".repeat(9999).into(), "\\\"".repeat(9999)); 100];
    let mut rule = rule();
    rule.description = "d".repeat(1_000_000);
    rule.references = vec!["https://x.example/".repeat(10_000); 1000];
    rule.falsepositives = vec!["f".repeat(100_000); 1000];
    rule.tags = vec!["attack.execution".into(); 10_000];
    detection.rule = Arc::new(rule);
    let all = vec![detection; 20];
    let payload = payload(&notifications(&all, false)[0], &settings());
    assert!(payload["description"].as_str().unwrap().len() < 20_000);
    assert!(payload["message"].as_str().unwrap().len() <= MESSAGE_MAX);
    let bytes = payload.to_string().into_bytes();
    assert!(bytes.len() < 128 * 1024, "{}", bytes.len());
    let short = shortened(&bytes).unwrap();
    assert!(short.len() < 16 * 1024, "{}", short.len());
    let short: Value = serde_json::from_slice(&short).unwrap();
    assert_eq!((&short["id"], &short["fingerprint"]), (&payload["id"], &payload["fingerprint"]));
}

#[test]
fn only_inessential_keys_can_be_left_out() {
    let bytes = alert(&detection("x")).to_string().into_bytes();
    let fixed: Value = serde_json::from_slice(&without(&bytes, "url").unwrap()).unwrap();
    assert!(fixed.get("url").is_none() && fixed["name"].is_string());
    assert_eq!(without(&bytes, "fingerprint"), None);
    assert_eq!(without(&bytes, "nosuch"), None);
}

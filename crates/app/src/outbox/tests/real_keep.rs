//! The whole way to a real Keep, by hand:
//! `KEEP_URL=http://localhost:8080 cargo test -p otel-log-ai real_keep -- --ignored --nocapture`.
//! What Keep made of it is printed, for a person to look at.

use super::*;
use crate::keep::{PayloadSettings, SeverityMap, outbox_item};
use otel_log_ai_core::alert::{Detection, GroupField, Grouping, GroupingSettings, Notification};
use otel_log_ai_core::rule::{Level, LogSource, RuleInfo, Status};

fn detection(level: Level, n: u64) -> Detection {
    let rule = RuleInfo {
        id: format!("8c5a1a2e-6f0f-4f9e-9a51-0f1d6f1f0b1{}", level as u8),
        title: format!("Encoded PowerShell ({level})"),
        level,
        status: Some(Status::Stable),
        description: "PowerShell was started with an encoded command.".into(),
        author: "OpenTelemetry Log AI".into(),
        references: vec!["https://attack.mitre.org/techniques/T1059/001/".into()],
        falsepositives: vec!["Software deployment".into()],
        tags: vec!["attack.execution".into(), "attack.t1059.001".into()],
        logsource: LogSource {
            product: Some("windows".into()),
            category: Some("process_creation".into()),
            service: None,
        },
        path: String::new(),
    };
    let origin = Origin {
        record_id: format!("row-{n}"),
        timestamp_ns: now_ms() as u64 * 1_000_000,
        host: "web-01".into(),
        user: "CORP\\alice".into(),
        ..Origin::default()
    };
    let fields = vec![("CommandLine".into(), "powershell -enc SQBFAFgA {{alert.name}} keep.len([1])".into())];
    Detection {
        rule: Arc::new(rule),
        origin,
        fields,
        excerpt: "```\npowershell\u{1b}[31m {{alert.name}}".into(),
        ..Detection::default()
    }
}

#[tokio::test]
#[ignore = "needs a running Keep without authentication at KEEP_URL"]
async fn real_keep_stores_our_alerts() {
    let url = Url::parse(&std::env::var("KEEP_URL").expect("KEEP_URL is set")).unwrap();
    assert_eq!(client(url.clone()).probe().await, Ok(()));
    let grouping = GroupingSettings {
        instance: format!("try-{}", now_ms()),
        group_by: vec![GroupField::Host],
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        repeat_interval: Duration::from_secs(60),
        window: Duration::from_secs(120),
        resolve: true,
        evidence_max: 5,
        rule_max: 1000,
        total_max: 1000,
        open_max: 100,
    };
    let payload = PayloadSettings {
        environment: "production".into(),
        severity: SeverityMap::default(),
        signoz_url: Some(Url::parse("http://localhost:3301").unwrap()),
    };
    let mut grouping = Grouping::new(grouping);
    let settings =
        OutboxSettings { fingerprint_interval: Duration::from_secs(3), ..OutboxSettings::default() };
    let world = World::start(url.clone(), settings, vec![]);
    let levels = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];
    let begin_ms = now_ms();
    for level in levels {
        grouping.observe(&detection(level, 1), begin_ms);
    }
    // New; the same again; one more event of the first rule; all over.
    for (step, at_ms) in [("new", 0), ("repeat", 61_000), ("update", 62_000), ("resolved", 300_000)] {
        if step == "update" {
            grouping.observe(&detection(Level::Informational, 2), begin_ms + at_ms);
        }
        let due = grouping.due(begin_ms + at_ms);
        println!("== {step}: {} notifications", due.len());
        let item = |notification: &Notification| {
            let bytes = crate::keep::payload(notification, &payload).to_string().into_bytes();
            outbox_item(notification, "keep", bytes)
        };
        world.add(due.iter().map(item).collect());
        world.delivered().await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let print = due[0].alert.fingerprint;
        for path in ["alerts?limit=20".to_owned(), format!("alerts/{print}/history")] {
            let request = reqwest::Client::new().get(url.join(&path).unwrap()).header("x-api-key", "x");
            let seen: Value =
                serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
            for alert in seen.as_array().into_iter().flatten() {
                let short = |key: &str| alert[key].to_string();
                println!(
                    "{path:.12} {} {} {} count {} last {} full {} partial {}",
                    short("name"),
                    short("severity"),
                    short("status"),
                    short("match_count"),
                    short("lastReceived"),
                    short("isFullDuplicate"),
                    short("isPartialDuplicate"),
                );
            }
            if step == "new" && path.contains("history") {
                println!("{}", serde_json::to_string_pretty(&seen[0]).unwrap());
            }
        }
    }
    println!("dead: {:?}", world.dead());
}

/// Kill Keep (`kill -9` of its worker or container) and start it again while this runs:
/// `KEEP_URL=… cargo test -p otel-log-ai real_keep_that_loses -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a running Keep without authentication at KEEP_URL, to be killed by hand"]
async fn a_real_keep_that_loses_alerts_gets_them_again() {
    const ALERTS: u64 = 100;
    let url = Url::parse(&std::env::var("KEEP_URL").expect("KEEP_URL is set")).unwrap();
    let slow = Duration::from_secs(10);
    let keep = KeepSettings { read_key: Some(ApiKey::new("any")), timeout: slow, ..keep_settings(url) };
    let settings = OutboxSettings {
        verify_after: Duration::from_secs(30),
        verify_again: Duration::from_secs(15),
        backoff_max: Duration::from_secs(2),
        ..settings()
    };
    let begin_ms = now_ms();
    let payload =
        PayloadSettings { environment: "t".into(), severity: SeverityMap::default(), signoz_url: None };
    let mut grouping = Grouping::new(GroupingSettings {
        instance: format!("try-{begin_ms}"),
        group_by: vec![GroupField::Host],
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        repeat_interval: Duration::from_secs(3600),
        window: Duration::from_secs(3600),
        resolve: false,
        evidence_max: 1,
        rule_max: 1000,
        total_max: 1000,
        open_max: 1000,
    });
    for n in 0..ALERTS {
        let mut detection = detection(Level::High, n);
        detection.origin.host = format!("host-{n}");
        grouping.observe(&detection, begin_ms);
    }
    let item = |notification: &Notification| {
        let bytes = crate::keep::payload(notification, &payload).to_string().into_bytes();
        outbox_item(notification, "keep", bytes)
    };
    let items = grouping.due(begin_ms).iter().map(item).collect();
    let world = World::of(Target::new("keep", Sink::Keep(Client::new(&keep).unwrap())), settings, items);
    let mut told = (0, 0, 0);
    for _ in 0..6000 {
        let totals = lock(&world.store).load().unwrap().totals;
        let of = |name: &str| totals.get(name).copied().unwrap_or(0);
        let now = (of("alerts_delivered"), of("alerts_resent"), of("alerts_verified"));
        if now != told {
            println!(
                "{} s: delivered {}, sent again {}, seen {}",
                (now_ms() - begin_ms) / 1000,
                now.0,
                now.1,
                now.2
            );
            told = now;
        }
        if now.2 == ALERTS {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not all were seen: {told:?}, dead {:?}", world.dead());
}

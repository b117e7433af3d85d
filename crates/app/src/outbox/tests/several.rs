//! Several targets beside each other, and looking for what was taken.

use super::*;
use crate::target::{FileSettings, FileTarget};
use crate::tls::TlsSettings;
use otel_log_ai_testkit::keep::{ApiKey as Key, Fault as KeepFault, Keep, Options, Role};

/// Two targets on one store; the first is away.
#[tokio::test]
async fn a_dead_target_delays_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alerts.ndjson");
    let away = Url::parse("http://127.0.0.1:1/").unwrap();
    let world = World::start(away, settings(), vec![]);
    let file = Sink::File(FileTarget::new(FileSettings { path: Some(path.clone()), sync: true }));
    let second = Outbox::new(Arc::clone(&world.store), Target::new("archive", file), settings());
    let health = second.health();
    let (_stop, stopped) = watch::channel(false);
    let task = tokio::spawn(second.run(stopped));
    let names: Vec<String> = (0..100).map(|n| format!("alert-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let both = |item: OutboxItem| [OutboxItem { target: "archive".into(), ..item.clone() }, item];
    world.add(alerts(&names).into_iter().flat_map(both).collect());
    until(|| std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 100)).await;
    assert_eq!(*health.borrow(), Health::Delivering);
    until(|| matches!(*world.health.borrow(), Health::Retrying(_))).await;
    // What is delivered waits no more, once that is noted; the rest waits for Keep only.
    let waiting = || -> Vec<(String, u64)> {
        let depths = lock(&world.store).depths().unwrap();
        depths.into_iter().map(|depth| (depth.target, depth.queued)).collect()
    };
    until(|| waiting() == [("keep".to_owned(), 100)]).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let written: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(written, names);
    task.abort();
}

/// A wrong key, or a Keep that is away, shows before the first alert.
#[tokio::test]
async fn an_idle_target_is_asked() {
    let script = |n, _: &[Value]| if n == 1 { (401, String::new()) } else { (202, String::new()) };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let settings = OutboxSettings { idle_probe: Some(Duration::from_millis(50)), ..settings() };
    let world = World::start(url, settings, vec![]);
    let mut health = world.health.clone();
    health.wait_for(|health| matches!(health, Health::Paused(_))).await.unwrap();
    health.wait_for(|health| *health == Health::Delivering).await.unwrap();
    assert!(keep.requests().iter().all(|request| request.alerts.is_empty()));
    let nobody = Url::parse("http://127.0.0.1:1/").unwrap();
    let settings = OutboxSettings { idle_probe: Some(Duration::from_millis(50)), ..super::settings() };
    let world = World::start(nobody, settings, vec![]);
    let mut health = world.health.clone();
    health.wait_for(|health| matches!(health, Health::Retrying(_))).await.unwrap();
}

/// What an idle target says of its rate holds for alerts too, and no longer than it says.
#[tokio::test]
async fn an_idle_target_that_limits_the_rate_is_asked_when_it_says() {
    let keep = Keep::start().unwrap();
    keep.inject(KeepFault::retry_after(1).times(1));
    let settings = OutboxSettings { idle_probe: Some(Duration::from_secs(3600)), ..settings() };
    let world = World::start(Url::parse(&keep.url()).unwrap(), settings, vec![]);
    let mut health = world.health.clone();
    health.wait_for(|health| matches!(health, Health::Retrying(_))).await.unwrap();
    world.add(alerts(&["one"]));
    health.wait_for(|health| *health == Health::Delivering).await.unwrap();
    let requests = keep.requests();
    let distance = requests[1].0 - requests[0].0;
    assert!((1.0..60.0).contains(&distance.as_secs_f64()), "{distance:?}");
    world.delivered().await;
}

/// One that was away when it was idle is asked again soon.
#[tokio::test]
async fn an_idle_target_that_failed_is_asked_sooner() {
    let keep = Keep::start().unwrap();
    keep.inject(KeepFault::status(503).times(1));
    let settings = OutboxSettings { idle_probe: Some(Duration::from_secs(12)), ..settings() };
    let world = World::start(Url::parse(&keep.url()).unwrap(), settings, vec![]);
    let mut health = world.health.clone();
    health.wait_for(|health| matches!(health, Health::Retrying(_))).await.unwrap();
    let failed = Instant::now();
    health.wait_for(|health| *health == Health::Delivering).await.unwrap();
    assert!(failed.elapsed() < Duration::from_secs(10), "{:?}", failed.elapsed());
}

fn keep_with_keys() -> Keep {
    let key = |name: &str, role| Key { name: name.into(), role, secret: format!("{name}-secret") };
    let keys = vec![key("writer", Role::Webhook), key("reader", Role::Noc)];
    Keep::with(Options { keys, per_alert: Duration::from_millis(200), ..Options::default() }).unwrap()
}

fn verifying(keep: &Keep, read_key: &str) -> Target {
    let settings = KeepSettings {
        url: Url::parse(&keep.url()).unwrap(),
        api_key: Some(ApiKey::new("writer-secret")),
        read_key: Some(ApiKey::new(read_key)),
        tls: TlsSettings::default(),
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
    };
    Target::new("keep", Sink::Keep(Client::new(&settings).unwrap()))
}

fn quick() -> OutboxSettings {
    OutboxSettings {
        verify_after: Duration::from_millis(600),
        verify_again: Duration::from_millis(600),
        ..settings()
    }
}

/// Names that the testkit's Keep holds.
fn held(keep: &Keep) -> Vec<String> {
    let mut names: Vec<String> =
        keep.alerts().iter().map(|alert| alert["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn whole(name: &str, group: u128) -> OutboxItem {
    let mut item = item(name, group, 1, false);
    let mut alert: Value = serde_json::from_slice(&item.payload).unwrap();
    alert["fingerprint"] = item.fingerprint.to_string().into();
    item.payload = alert.to_string().into_bytes();
    item
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keep_takes_and_loses_is_sent_again() {
    let keep = keep_with_keys();
    let world = World::of(verifying(&keep, "reader-secret"), quick(), vec![]);
    world.add(vec![whole("a", 1), whole("b", 2)]);
    world.delivered().await;
    // Whatever Keep had in memory is gone; what it had stored is still there.
    keep.stop();
    let lost = 2 - held(&keep).len();
    assert!(lost > 0, "Keep was stopped in time");
    keep.restart().unwrap();
    until(|| held(&keep) == ["a", "b"]).await;
    let totals = lock(&world.store).load().unwrap().totals;
    assert_eq!(totals.get("alerts_resent").copied().unwrap_or(0), lost as u64);
    until(|| lock(&world.store).load().unwrap().totals.get("alerts_verified") == Some(&2)).await;
    assert!(world.dead().is_empty() && keep.errors().is_empty());
}

/// Takes all and stores nothing.
#[tokio::test]
async fn what_is_never_stored_is_given_up() {
    let receiver = Arc::new(Receiver { script: take(), requests: Mutex::default() });
    let app = axum::Router::new()
        .route("/alerts/event", post(answer))
        .route("/alerts/batch", post(|| async { "[]" }))
        .with_state(Arc::clone(&receiver));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let client =
        Client::new(&KeepSettings { read_key: Some(ApiKey::new("r")), ..keep_settings(url) }).unwrap();
    let quick = OutboxSettings {
        verify_after: Duration::from_millis(20),
        verify_again: Duration::from_millis(20),
        resends_max: 2,
        ..settings()
    };
    let world = World::of(Target::new("keep", Sink::Keep(client)), quick, alerts(&["a"]));
    until(|| !world.dead().is_empty()).await;
    assert!(world.dead()[0].1.contains("never there"), "{:?}", world.dead());
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3, "once and twice again");
    assert!(requests.iter().all(|request| request.body == requests[0].body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_an_answer_sends_nothing_again() {
    let keep = keep_with_keys();
    let world = World::of(verifying(&keep, "writer-secret"), quick(), vec![]);
    world.add(vec![whole("a", 1)]);
    world.delivered().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(keep.requests().len(), 1);
    assert_eq!(lock(&world.store).sent_due("keep", now_ms(), 9).unwrap().len(), 1);
}

/// Keep is away for an hour of simulated time, in which forty hosts are attacked every second. The
/// clock of the alerts is simulated; the wire is real.
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_away() {
    use crate::keep::{PayloadSettings, SeverityMap, outbox_item, payload};
    use otel_log_ai_core::alert::{Detection, GroupField, Grouping, GroupingSettings};
    use otel_log_ai_core::rule::RuleInfo;
    let keep = Keep::start().unwrap();
    keep.stop();
    let world = World::start(Url::parse(&keep.url()).unwrap(), settings(), vec![]);
    let mut grouping = Grouping::new(GroupingSettings {
        instance: "default".into(),
        group_by: vec![GroupField::Host],
        group_wait: Duration::from_secs(1),
        group_interval: Duration::from_secs(60),
        repeat_interval: Duration::from_secs(1800),
        window: Duration::from_secs(900),
        resolve: false,
        evidence_max: 2,
        rule_max: 500,
        total_max: 500,
        open_max: 500,
    });
    let written =
        PayloadSettings { environment: "t".into(), severity: SeverityMap::default(), signoz_url: None };
    let rule = Arc::new(RuleInfo { id: "r".into(), title: "Rule".into(), ..RuleInfo::default() });
    let begin_ms = now_ms();
    let mut turn = |second: i64, hosts: std::ops::Range<i64>| {
        let at_ms = begin_ms + second * 1000;
        for host in hosts {
            let origin = Origin {
                record_id: format!("{second}-{host}"),
                timestamp_ns: at_ms as u64 * 1_000_000,
                host: format!("host-{host}"),
                ..Origin::default()
            };
            let (rule, fields) = (Arc::clone(&rule), vec![]);
            let excerpt = "x".into();
            grouping.observe(&Detection { rule, origin, fields, excerpt, ..Detection::default() }, at_ms);
        }
        let due = grouping.due(at_ms);
        let bytes = |n: &_| payload(n, &written).to_string().into_bytes();
        let outbox: Vec<_> = due.iter().map(|n| outbox_item(n, "keep", bytes(n))).collect();
        let (open_changes, queued) = (grouping.take_changes(), outbox.len());
        lock(&world.store).commit(&Commit { open_changes, outbox, ..Commit::default() }).unwrap();
        queued
    };
    let mut queued = 0;
    for second in 0..3600 {
        queued += turn(second, if second % 10 == 0 { 0..40 } else { 0..0 });
    }
    assert!(queued > 40 * 5 && world.waiting() == 40, "{queued} words, of which only the last wait");
    keep.restart().unwrap();
    queued += turn(5400, 0..0);
    until(|| world.waiting() == 0 && keep.queued() == 0 && keep.alerts().len() == 40).await;
    let counts: Vec<u64> = keep.alerts().iter().map(|alert| alert["match_count"].as_u64().unwrap()).collect();
    assert_eq!(counts, vec![360; 40], "the last word of each, {queued} in all");
    assert!(world.dead().is_empty() && keep.errors().is_empty());
}

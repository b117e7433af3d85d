//! Every row of the policy table, against a scripted receiver on the loopback interface.

mod ending;
mod real_keep;
mod refusals;
mod several;

use super::*;
use crate::keep::{ApiKey, Client, KeepSettings};
use crate::store::{Commit, OutboxItem, StoreSettings};
use crate::target::{Sink, array};
use crate::tls::TlsSettings;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use otel_log_ai_core::alert::{Fingerprint, Origin};
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;

type Script = Box<dyn Fn(usize, &[Value]) -> (u16, String) + Send + Sync>;

/// A receiver that answers as it is told and remembers what came.
struct Receiver {
    script: Script,
    requests: Mutex<Vec<Request>>,
}

#[derive(Clone)]
struct Request {
    at: Instant,
    headers: HeaderMap,
    body: Vec<u8>,
    alerts: Vec<Value>,
    status: u16,
}

async fn answer(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    let alerts: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let n = receiver.requests.lock().unwrap().len();
    let (status, text) = (receiver.script)(n, &alerts);
    let request = Request { at: Instant::now(), headers, body: body.to_vec(), alerts, status };
    receiver.requests.lock().unwrap().push(request);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut response = (StatusCode::from_u16(status).unwrap(), text.clone()).into_response();
    if let Some(seconds) = text.strip_prefix("retry-after ") {
        response.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    if let Some(place) = text.strip_prefix("location ") {
        response.headers_mut().insert("location", place.parse().unwrap());
    }
    response
}

impl Receiver {
    async fn start(script: Script) -> (Arc<Receiver>, Url) {
        let receiver = Arc::new(Receiver { script, requests: Mutex::default() });
        let app =
            axum::Router::new().route("/v2/alerts/event", post(answer)).with_state(Arc::clone(&receiver));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/v2/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (receiver, url)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The names of the alerts it took, in order.
    fn taken(&self) -> Vec<String> {
        let requests = self.requests();
        let taken = requests.iter().filter(|request| request.status == 202);
        taken.flat_map(|request| names(&request.alerts)).collect()
    }
}

fn names(alerts: &[Value]) -> Vec<String> {
    alerts.iter().map(|alert| alert["name"].as_str().unwrap().to_owned()).collect()
}

/// Always 202.
fn take() -> Script {
    Box::new(|_, _| (202, "{\"task_name\":\"1\"}".into()))
}

fn settings() -> OutboxSettings {
    OutboxSettings {
        alerts_per_second: 1e6,
        fingerprint_interval: Duration::ZERO,
        backoff_min: Duration::from_millis(4),
        backoff_max: Duration::from_millis(20),
        rate_limit_wait: Duration::from_millis(150),
        probe_interval: Duration::from_millis(60),
        poll_interval: Duration::from_millis(5),
        drain: Duration::from_millis(500),
        ..OutboxSettings::default()
    }
}

fn item(name: &str, group: u128, count: u64, resolved: bool) -> OutboxItem {
    let id = Uuid::from_u128(group << 32 | u128::from(count) << 1 | u128::from(resolved));
    let origin = Origin::default();
    let payload = json!({
        "id": id.to_string(), "name": name, "match_count": count, "url": "http://x",
        "status": if resolved { "resolved" } else { "firing" },
        "evidence": ["x".repeat(100)],
    });
    OutboxItem {
        target: "keep".into(),
        id,
        group_id: Uuid::from_u128(group),
        fingerprint: Fingerprint::new("", name, &[], &origin),
        resolved,
        queued_at_ms: now_ms(),
        payload: payload.to_string().into_bytes(),
    }
}

fn alerts(names: &[&str]) -> Vec<OutboxItem> {
    names.iter().enumerate().map(|(i, name)| item(name, i as u128 + 1, 1, false)).collect()
}

/// An outbox at work.
struct World {
    store: SharedStore,
    health: watch::Receiver<Health>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

fn keep_settings(url: Url) -> KeepSettings {
    KeepSettings {
        url,
        api_key: Some(ApiKey::new("secret-key")),
        read_key: None,
        tls: TlsSettings::default(),
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_millis(300),
    }
}

fn client(url: Url) -> Client {
    Client::new(&keep_settings(url)).unwrap()
}

fn target(url: Url) -> Target {
    Target::new("keep", Sink::Keep(client(url)))
}

impl World {
    fn start(url: Url, settings: OutboxSettings, items: Vec<OutboxItem>) -> World {
        World::of(target(url), settings, items)
    }

    fn of(target: Target, settings: OutboxSettings, items: Vec<OutboxItem>) -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreSettings::new(directory.path().join("state.sqlite"))).unwrap();
        let store = Arc::new(Mutex::new(store));
        let (stop, stopped) = watch::channel(false);
        let outbox = Outbox::new(Arc::clone(&store), target, settings);
        let health = outbox.health();
        lock(&store).commit(&Commit { outbox: items, ..Commit::default() }).unwrap();
        let task = tokio::spawn(outbox.run(stopped));
        World { store, health, stop, task, _directory: directory }
    }

    fn add(&self, items: Vec<OutboxItem>) {
        lock(&self.store).commit(&Commit { outbox: items, ..Commit::default() }).unwrap();
    }

    fn waiting(&self) -> usize {
        lock(&self.store).outbox_len().unwrap()
    }

    /// Waits until nothing waits any more.
    async fn delivered(&self) {
        until(|| self.waiting() == 0).await;
    }

    /// The dead letters' names and reasons.
    fn dead(&self) -> Vec<(String, String)> {
        let dead = lock(&self.store).dead_letters(100).unwrap();
        let name = |payload: &[u8]| {
            serde_json::from_slice::<Value>(payload).unwrap()["name"].as_str().unwrap().to_owned()
        };
        dead.into_iter().map(|letter| (name(&letter.payload), letter.reason)).collect()
    }
}

async fn until(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited for ten seconds");
}

#[tokio::test]
async fn what_is_taken_is_gone() {
    let (keep, url) = Receiver::start(take()).await;
    let world = World::start(url, settings(), alerts(&["a", "b", "c"]));
    world.delivered().await;
    let requests = keep.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(names(&requests[0].alerts), ["a", "b", "c"]);
    assert_eq!(requests[0].headers["x-api-key"], "secret-key");
    assert_eq!(requests[0].headers["content-type"], "application/json");
    assert!(!requests[0].headers.contains_key("accept-encoding"));
    assert_eq!(*world.health.borrow(), Health::Delivering);
}

#[tokio::test]
async fn a_request_is_bounded_in_number_and_bytes() {
    let (keep, url) = Receiver::start(take()).await;
    let names: Vec<String> = (0..20).map(|n| format!("alert-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world =
        World::start(url, OutboxSettings { batch_alerts: 3, batch_bytes: 700, ..settings() }, alerts(&names));
    world.delivered().await;
    assert_eq!(keep.taken(), names);
    assert!(keep.requests().iter().all(|r| r.alerts.len() <= 3 && r.body.len() <= 700));
}

#[tokio::test]
async fn firing_and_resolved_go_together_in_order_other_words_apart() {
    let (keep, url) = Receiver::start(take()).await;
    let interval = Duration::from_millis(100);
    let items =
        vec![item("a", 1, 3, false), item("a", 1, 3, true), item("a", 2, 1, false), item("b", 3, 1, false)];
    let world = World::start(url, OutboxSettings { fingerprint_interval: interval, ..settings() }, items);
    world.delivered().await;
    let requests = keep.requests();
    assert_eq!(names(&requests[0].alerts), ["a", "a", "b"]);
    let statuses: Vec<_> = requests[0].alerts.iter().map(|alert| alert["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["firing", "resolved", "firing"]);
    assert_eq!(names(&requests[1].alerts), ["a"]);
    assert!(requests[1].at - requests[0].at >= interval);
}

#[tokio::test]
async fn a_newer_count_replaces_an_unsent_older_one() {
    let (keep, url) = Receiver::start(take()).await;
    let items = vec![item("a", 1, 1, false), item("b", 2, 1, false), item("a", 1, 5, false)];
    let world = World::start(url, settings(), items);
    world.delivered().await;
    let alerts = &keep.requests()[0].alerts;
    assert_eq!(names(alerts), ["a", "b"]);
    assert_eq!(alerts[0]["match_count"], 5);
}

#[tokio::test]
async fn the_rate_is_capped() {
    let (keep, url) = Receiver::start(take()).await;
    let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settings = OutboxSettings { alerts_per_second: 20.0, batch_alerts: 4, ..settings() };
    let begin = Instant::now();
    let world = World::start(url, settings, alerts(&names));
    world.delivered().await;
    // Four at once, the other eight at twenty a second.
    assert!(begin.elapsed() >= Duration::from_millis(380), "{:?}", begin.elapsed());
    assert_eq!(keep.taken(), names);
}

#[tokio::test]
async fn failures_are_retried_with_the_same_bytes() {
    for status in [500, 502, 503, 504, 408] {
        let script =
            move |n, _: &[Value]| if n < 3 { (status, "broken".into()) } else { (202, String::new()) };
        let (keep, url) = Receiver::start(Box::new(script)).await;
        let world = World::start(url, settings(), alerts(&["a", "b"]));
        world.delivered().await;
        let requests = keep.requests();
        assert_eq!(requests.len(), 4, "{status}");
        assert!(requests.iter().all(|request| request.body == requests[0].body));
        assert_eq!(*world.health.borrow(), Health::Delivering);
    }
}

#[tokio::test]
async fn an_alert_that_breaks_the_receiver_does_not_hold_up_the_others() {
    let script = |_, alerts: &[Value]| match names(alerts).iter().any(|name| name == "poison") {
        true => (500, "no".into()),
        false => (202, String::new()),
    };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let world = World::start(url, settings(), alerts(&["a", "poison", "b", "c", "d", "e"]));
    until(|| world.waiting() == 1).await;
    let mut taken = keep.taken();
    taken.sort();
    assert_eq!(taken, ["a", "b", "c", "d", "e"]);
    // Later ones go together and without it.
    world.add(vec![item("f", 20, 1, false), item("g", 21, 1, false)]);
    until(|| world.waiting() == 1).await;
    assert!(world.dead().is_empty(), "it is still tried");
}

#[tokio::test]
async fn what_fails_for_too_long_goes_to_the_dead_letters() {
    let (_keep, url) = Receiver::start(Box::new(|_, _| (503, "down".into()))).await;
    let settings = OutboxSettings { retry_for: Duration::from_millis(100), ..settings() };
    let world = World::start(url, settings, alerts(&["a"]));
    world.delivered().await;
    let dead = world.dead();
    assert_eq!(dead[0].0, "a");
    assert!(dead[0].1.contains("503") && dead[0].1.contains("too long"), "{dead:?}");
}

#[tokio::test]
async fn a_receiver_that_is_away_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let world = World::start(url, settings(), alerts(&["a"]));
    let mut health = world.health.clone();
    health
        .wait_for(|health| matches!(health, Health::Retrying(reason) if reason.contains("reached")))
        .await
        .unwrap();
    let receiver = Arc::new(Receiver { script: take(), requests: Mutex::default() });
    let app = axum::Router::new().route("/alerts/event", post(answer)).with_state(Arc::clone(&receiver));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    world.delivered().await;
    assert_eq!(receiver.taken(), ["a"]);
}

#[tokio::test]
async fn no_answer_in_time_is_retried_and_keeps_the_distance() {
    let script = |n, _: &[Value]| if n == 0 { (0, String::new()) } else { (202, String::new()) };
    let (keep, url) = Receiver::start(Box::new(script)).await;
    let interval = Duration::from_millis(700);
    let settings = OutboxSettings { fingerprint_interval: interval, ..settings() };
    let world = World::start(url, settings, alerts(&["a"]));
    world.delivered().await;
    let requests = keep.requests();
    assert_eq!(requests[0].body, requests[1].body);
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(650), "Keep may have taken the first");
}

/// Keep's server closes a connection at the moment it is used again.
#[tokio::test]
async fn a_reset_on_a_used_connection_is_retried_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let server = tokio::spawn(async move {
        let mut seen = Vec::new();
        let (mut first, _) = listener.accept().await.unwrap();
        read_request(&mut first).await;
        first.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        seen.push(read_request(&mut first).await);
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        seen.push(read_request(&mut second).await);
        second.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        seen
    });
    let client = client(url);
    assert_eq!(client.probe().await, Ok(()));
    assert_eq!(client.post("[1]".into()).await, crate::target::Reply::Accepted);
    let seen = server.await.unwrap();
    assert!(seen[0].ends_with("[1]") && seen[1].ends_with("[1]"), "{seen:?}");
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while !bytes.ends_with(b"]") {
        let n = stream.read(&mut part).await.unwrap();
        assert!(n > 0);
        bytes.extend_from_slice(&part[..n]);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn the_probe_tells_in_plain_words() {
    let (_keep, url) = Receiver::start(take()).await;
    assert_eq!(client(url).probe().await, Ok(()));
    let error = client(Url::parse("http://127.0.0.1:1/x").unwrap()).probe().await.unwrap_err();
    assert!(error.contains("cannot be reached at http://127.0.0.1:1/x/alerts/event"), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn secrets_stay_out_of_sight() {
    let key = ApiKey::new("secret\nkey");
    assert_eq!(format!("{key:?}"), "***");
    let url = Url::parse("http://keep.example").unwrap();
    let settings = |api_key| KeepSettings { api_key: Some(api_key), ..keep_settings(url.clone()) };
    let error = format!("{:#}", Client::new(&settings(key)).unwrap_err());
    assert!(!error.contains("secret"), "{error}");
    let client = Client::new(&settings(ApiKey::new("secret"))).unwrap();
    assert!(!format!("{client:?}").contains("secret"));
    let url = Url::parse("http://user:secret@keep.example").unwrap();
    let error = format!("{:#}", Client::new(&keep_settings(url)).unwrap_err());
    assert!(!error.contains("secret"), "{error}");
}

fn queued(item: &OutboxItem) -> Queued {
    Queued {
        seq: 0,
        target: item.target.clone(),
        id: item.id.to_string(),
        group_id: item.group_id.to_string(),
        fingerprint: item.fingerprint.to_string(),
        resolved: item.resolved,
        queued_at_ms: item.queued_at_ms,
        payload: item.payload.clone(),
        attempts: 0,
        alone: false,
        altered: false,
    }
}

#[test]
fn an_alert_under_suspicion_is_sent_alone_and_blocks_only_its_own() {
    let mut ready: Vec<_> = alerts(&["a", "bad", "b"]).iter().map(queued).collect();
    ready.push(queued(&item("bad", 2, 1, true)));
    ready[1].alone = true;
    let expected = [ready[0].clone(), ready[2].clone()];
    assert_eq!(select(ready.clone(), 10, 10_000), expected);
    assert_eq!(select(ready[1..].to_vec(), 10, 10_000).len(), 1);
}

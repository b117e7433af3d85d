//! The receiver against what was observed of a running Keep backend.
#![allow(clippy::unwrap_used, reason = "a test that fails by panicking says enough")]

use std::time::Duration;

use otel_log_ai_testkit::keep::{ApiKey, Fault, Keep, Options, Outcome, Role};
use serde_json::{Value, json};

fn key(name: &str, role: Role) -> ApiKey {
    ApiKey { name: name.into(), secret: format!("{name}-secret"), role }
}

async fn post(keep: &Keep, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}/alerts/event", keep.url()));
    let response = request.header("X-API-KEY", "any").body(body.to_string()).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn settle(keep: &Keep) {
    while keep.queued() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn alert(fingerprint: &str, id: &str) -> Value {
    json!({"name": "x", "fingerprint": fingerprint, "id": id, "severity": "high", "status": "firing"})
}

#[tokio::test]
async fn arrays_are_queued_and_deduplicated() {
    let keep = Keep::start().unwrap();
    let (status, body) = post(&keep, &json!([alert("f", "1"), alert("g", "2")])).await;
    assert!(status == 202 && body["task_name"].is_string());
    settle(&keep).await;
    post(&keep, &json!([alert("f", "1")])).await;
    settle(&keep).await;
    post(&keep, &json!([alert("f", "3")])).await;
    settle(&keep).await;
    let outcomes: Vec<Outcome> = keep.received().iter().map(|received| received.outcome).collect();
    assert_eq!(outcomes, [Outcome::New, Outcome::New, Outcome::FullDuplicate, Outcome::PartialDuplicate]);
    assert_eq!(keep.alerts().len(), 2);
    assert_eq!(post(&keep, &json!([])).await.0, 202);
    assert_eq!(keep.received().len(), 4);
}

#[tokio::test]
async fn what_keep_refuses_or_loses_is_refused_or_lost() {
    let keep = Keep::start().unwrap();
    let bad = json!({"name": "x", "fingerprint": "f", "url": "http://", "severity": "high"});
    let (status, body) = post(&keep, &json!([alert("a", "1"), bad])).await;
    assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["body", 1, "url"])));
    assert_eq!(post(&keep, &bad).await.0, 202);
    assert_eq!(keep.errors().len(), 1);
    assert_eq!(post(&keep, &Value::Null).await.0, 422);
    assert_eq!(post(&keep, &json!([{"severity": "low", "status": "firing", "id": "1"}])).await.0, 422);

    // Both objects have two keys: one alert named like the second key comes of them.
    assert_eq!(
        post(&keep, &json!([{"name": "x", "severity": "high"}, {"name": "y", "severity": "low"}])).await.0,
        202
    );
    // Words Keep does not know fall back silently.
    let odd = json!([{"name": "z", "fingerprint": "z", "severity": "medium", "status": "Firing"}]);
    assert_eq!(post(&keep, &odd).await.0, 202);
    settle(&keep).await;
    let received = keep.received();
    assert_eq!(received[0].alert["name"], "severity");
    assert_eq!(
        (&received[1].alert["severity"], &received[1].alert["status"]),
        (&json!("info"), &json!("firing"))
    );
    assert_eq!(received.len(), 2);
}

#[tokio::test]
async fn keys_and_routes_are_checked() {
    let keys = vec![key("hook", Role::Webhook), key("noc", Role::Noc), key("admin", Role::Admin)];
    let keep = Keep::with(Options { keys, ..Options::default() }).unwrap();
    let redirects = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().redirect(redirects).build().unwrap();
    let url = |path: &str| format!("{}{path}", keep.url());
    let probe = || http.post(url("/alerts/event")).body("[]");
    let status = |request: reqwest::RequestBuilder| async { request.send().await.unwrap().status().as_u16() };
    assert_eq!(status(probe()).await, 401);
    assert_eq!(status(probe().header("x-api-key", "wrong")).await, 401);
    assert_eq!(status(probe().header("X-API-KEY", "hook-secret")).await, 202);
    assert_eq!(status(probe().basic_auth("whoever", Some("hook-secret"))).await, 202);
    assert_eq!(status(probe().header("X-API-KEY", "hook-secret").bearer_auth("hook-secret")).await, 401);
    assert_eq!(status(probe().header("X-API-KEY", "noc-secret")).await, 403);
    assert_eq!(status(http.post(url("/alerts/event/")).body("[]")).await, 307);
    assert_eq!(
        status(http.post(url("/alerts/event/nosuch")).body("[]").header("X-API-KEY", "hook-secret")).await,
        400
    );
    assert_eq!(status(http.post(url("/alerts"))).await, 405);
    assert_eq!(status(http.get(url("/nowhere"))).await, 404);
    assert_eq!(status(http.get(url("/healthcheck"))).await, 200);
    assert_eq!(status(http.get(url("/alerts")).header("X-API-KEY", "hook-secret")).await, 403);

    let sent = probe().body(json!([alert("f", "1")]).to_string()).header("X-API-KEY", "hook-secret");
    assert_eq!(status(sent).await, 202);
    settle(&keep).await;
    let batch = http.post(url("/alerts/batch")).header("X-API-KEY", "admin-secret").body(r#"["f","none"]"#);
    let found: Value = batch.send().await.unwrap().json().await.unwrap();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["apiKeyRef"]), (1, &json!("hook")));
}

#[tokio::test]
async fn it_fails_and_forgets_as_told() {
    let keep = Keep::with(Options { per_alert: Duration::from_millis(200), ..Options::default() }).unwrap();
    keep.inject(Fault::status(500).times(1));
    keep.inject(Fault::status(429).times(1));
    assert_eq!(post(&keep, &json!([alert("f", "1")])).await.0, 500);
    assert_eq!(post(&keep, &json!([alert("f", "1")])).await.0, 429);
    let send = || {
        let request = reqwest::Client::new().post(format!("{}/alerts/event", keep.url()));
        request.header("X-API-KEY", "k").body(json!([alert("t", "1")]).to_string()).send()
    };
    keep.inject(Fault::close().times(1));
    assert!(send().await.is_err());
    assert_eq!(keep.queued(), 0);
    keep.inject(Fault::take_and_close().times(1));
    assert!(send().await.is_err());
    settle(&keep).await;
    assert_eq!(keep.received().len(), 1);

    assert_eq!(post(&keep, &json!([alert("f", "1"), alert("g", "1")])).await.0, 202);
    keep.stop();
    assert!(send().await.is_err());
    keep.restart().unwrap();
    settle(&keep).await;
    assert_eq!(keep.received().len(), 1, "what was queued is lost");
    assert_eq!(keep.requests().iter().map(|(_, status)| *status).collect::<Vec<_>>(), [500, 429, 0, 0, 202]);
}

#[tokio::test]
async fn the_rate_limit_counts_requests() {
    let keep = Keep::with(Options { limit_per_minute: Some(2), ..Options::default() }).unwrap();
    for expected in [202, 202, 429] {
        assert_eq!(post(&keep, &json!([])).await.0, expected);
    }
}

//! Keep's endpoints: routes, who may call them, and the shapes of their answers.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, header};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::store::Shared;
use super::{Kind, Role, next_fault, validate};
use crate::http::{Answer, Dropped, lock, read_body, reply};

/// Keep itself has no limit; a proxy in front of it would.
const BODY_BYTES_MAX: usize = 64 << 20;

pub(super) async fn answer(shared: &Shared, request: Request<Body>) -> Answer {
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST && (path == "/alerts/event" || path.starts_with("/alerts/event/")) {
        let at = Instant::now();
        let answer = event(shared, &path, request).await;
        let status = answer.as_ref().map_or(0, |response| response.status().as_u16());
        lock(&shared.requests).push((at, status));
        return answer;
    }
    Ok(read(shared, &path, request).await)
}

async fn event(shared: &Shared, path: &str, request: Request<Body>) -> Answer {
    if path == "/alerts/event/error/dismiss" {
        lock(&shared.store).errors.clear();
        return Ok(json_reply(200, &json!({"success": true})));
    }
    match next_fault(&shared.faults) {
        Some(Kind::Close) => return Err(Dropped),
        Some(Kind::Status(429)) => return Ok(rate_limited(0)),
        Some(Kind::RateLimit(seconds)) => {
            return Ok(reply(429, &[("Retry-After", &seconds.to_string())], "Too Many Requests"));
        }
        Some(Kind::Status(status)) => {
            let body = json!({"message": "An internal server error occurred.", "trace_id": "0", "error_msg": "injected"});
            return Ok(json_reply(status, &body));
        }
        Some(Kind::Hang(by)) => tokio::time::sleep(by).await,
        Some(Kind::TakeAndClose) => {
            let _ = take(shared, path, request).await;
            return Err(Dropped);
        }
        None => {}
    }
    Ok(take(shared, path, request).await)
}

async fn take(shared: &Shared, path: &str, request: Request<Body>) -> Response<Body> {
    if path == "/alerts/event/" {
        return reply(307, &[("Location", "/alerts/event")], "");
    }
    let (head, body) = request.into_parts();
    if let Some(limit) = over_limit(shared) {
        return rate_limited(limit);
    }
    let Ok(bytes) = read_body(body, BODY_BYTES_MAX).await else {
        return detail(400, "There was an error parsing the body");
    };
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded") || bytes.is_empty() {
        return json_reply(
            422,
            &json!({"detail": [{"loc": ["body"], "msg": "field required", "type": "value_error.missing"}]}),
        );
    }
    // A compressed body is not unpacked, and so is no JSON.
    let Ok(body) = serde_json::from_slice::<Value>(&bytes) else {
        return detail(400, "There was an error parsing the body");
    };
    let event = match sort_out(body) {
        Ok(event) => event,
        Err(refusal) => return json_reply(422, &refusal),
    };
    let key = match authorize(shared, &head.headers, head.uri.query().unwrap_or_default(), true) {
        Ok(key) => key,
        Err(response) => return *response,
    };
    match (path.strip_prefix("/alerts/event/"), event) {
        (None, Event::Alerts(alerts)) => shared.accept(alerts, &key),
        (None, Event::Broken(event)) => shared.reject(event, "validation failed after it was accepted"),
        (Some("keep"), Event::Alerts(alerts)) if alerts.len() == 1 => shared.accept(alerts, &key),
        (Some("keep"), Event::Alerts(alerts)) => {
            let event = Value::Array(alerts.into_iter().map(Value::Object).collect());
            shared.reject(event, "'list' object has no attribute 'source'");
        }
        (Some("keep" | "webhook"), Event::Broken(event)) => shared.reject(event, "format_alert() failed"),
        (Some("webhook"), Event::Alerts(alerts)) => {
            let event = Value::Array(alerts.into_iter().map(Value::Object).collect());
            shared.reject(event, "format_alert() method not implemented");
        }
        (Some(provider), _) => return detail(400, &format!("Provider {provider} not found")),
    }
    json_reply(202, &json!({"task_name": format!("{}", rand::random::<u64>() >> 16)}))
}

/// A body after Keep's union of types `AlertDto | list[AlertDto] | dict` has looked at it.
enum Event {
    Alerts(Vec<Map<String, Value>>),
    /// Accepted as a plain dict, dropped when it is processed.
    Broken(Value),
}

fn sort_out(body: Value) -> Result<Event, Value> {
    match body {
        Value::Object(object) if object.is_empty() => Ok(Event::Alerts(Vec::new())),
        Value::Object(mut object) => {
            if !object.contains_key("name") {
                let name = object.get("id").map_or_else(|| "unknown alert name".to_owned(), validate::text);
                object.insert("name".into(), name.into());
            }
            match validate::alert(object.clone()) {
                Ok(alert) => Ok(Event::Alerts(vec![alert])),
                Err(_) => Ok(Event::Broken(Value::Object(object))),
            }
        }
        Value::Array(items) => {
            if let Some(alert) = two_keys(&items) {
                return Ok(Event::Alerts(vec![alert]));
            }
            let mut alerts = Vec::new();
            let mut details = Vec::new();
            for (index, item) in items.into_iter().enumerate() {
                match item {
                    Value::Object(object) => match validate::alert(object) {
                        Ok(alert) => alerts.push(alert),
                        Err(invalid) => details.extend(invalid.iter().map(|i| i.detail(Some(index)))),
                    },
                    _ => details.push(
                        json!({"loc": ["body", index], "msg": "value is not a valid dict", "type": "type_error.dict"}),
                    ),
                }
            }
            if details.is_empty() { Ok(Event::Alerts(alerts)) } else { Err(json!({"detail": details})) }
        }
        _ => Err(
            json!({"detail": [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}]}),
        ),
    }
}

/// Keep's bug: an array whose objects all have two keys is read as pairs of a dict, each object's first
/// key naming its second.
fn two_keys(items: &[Value]) -> Option<Map<String, Value>> {
    let mut read = Map::new();
    for item in items {
        let mut keys = item.as_object().filter(|object| object.len() == 2)?.keys();
        let (name, value) = (keys.next()?, keys.next()?);
        read.insert(name.clone(), value.clone().into());
    }
    if read.is_empty() { None } else { validate::alert(read).ok() }
}

fn over_limit(shared: &Shared) -> Option<u32> {
    let limit = shared.options.limit_per_minute?;
    let mut recent = lock(&shared.recent);
    let now = Instant::now();
    while recent.front().is_some_and(|at| now.duration_since(*at) > Duration::from_secs(60)) {
        recent.pop_front();
    }
    if recent.len() >= limit as usize {
        return Some(limit);
    }
    recent.push_back(now);
    None
}

/// The name of the key, or Keep's refusal. Bearer is tried first, then the rest.
fn authorize(
    shared: &Shared,
    headers: &HeaderMap,
    query: &str,
    write: bool,
) -> Result<String, Box<Response<Body>>> {
    let refuse = |text| Err(Box::new(detail(401, text)));
    let authorization =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if authorization.starts_with("Bearer ") {
        return refuse("Invalid JWT token");
    }
    let given = headers
        .get("x-api-key")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
        .or_else(|| basic_password(authorization))
        .or_else(|| authorization.strip_prefix("Digest ").map(str::to_owned))
        .or_else(|| {
            let mut fields = form_urlencoded::parse(query.as_bytes());
            fields.find(|(name, _)| name == "api_key").map(|(_, value)| value.into_owned())
        })
        .filter(|key| !key.is_empty());
    let Some(given) = given else { return refuse("Missing API Key") };
    if shared.options.keys.is_empty() {
        return Ok("noauth".to_owned());
    }
    let Some(key) = shared.options.keys.iter().find(|key| key.secret == given) else {
        return refuse("Invalid API Key");
    };
    let (allowed, scope) = match write {
        true => (key.role != Role::Noc, "write:alert"),
        false => (key.role != Role::Webhook, "read:alert"),
    };
    if !allowed {
        let text = format!(
            "You don't have the required scopes to access this resource [required scopes: ['{scope}']]"
        );
        return Err(Box::new(detail(403, &text)));
    }
    Ok(key.name.clone())
}

fn basic_password(authorization: &str) -> Option<String> {
    let encoded = authorization.strip_prefix("Basic ")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    Some(String::from_utf8(bytes).ok()?.split_once(':')?.1.to_owned())
}

async fn read(shared: &Shared, path: &str, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    match (head.method.as_str(), path) {
        ("GET", "/healthcheck") => return json_reply(200, &json!({})),
        ("GET", "/status") => {
            return json_reply(200, &json!({"status": "OK", "consumer": {"consumers": []}}));
        }
        ("GET", "/") => return json_reply(200, &json!({"message": "Keep API", "version": "0.54.2"})),
        ("GET", "/alerts" | "/alerts/event/error") | ("POST", "/alerts/batch") => {}
        ("GET", path) if path.starts_with("/alerts/") => {}
        (_, "/alerts" | "/alerts/event" | "/alerts/batch") => return detail(405, "Method Not Allowed"),
        _ => return detail(404, "Not Found"),
    }
    if let Err(response) = authorize(shared, &head.headers, query, false) {
        return *response;
    }
    let asked: Option<Vec<String>> = match path {
        "/alerts/batch" => {
            let bytes = read_body(body, BODY_BYTES_MAX).await.unwrap_or_default();
            match serde_json::from_slice(&bytes) {
                Ok(fingerprints) => Some(fingerprints),
                Err(_) => return detail(422, "a list of fingerprints is expected"),
            }
        }
        _ => None,
    };
    let limit = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "limit");
    let limit = limit.and_then(|(_, value)| value.parse().ok()).unwrap_or(1000);
    let store = lock(&shared.store);
    match (path, asked) {
        ("/alerts/event/error", _) => {
            let errors =
                store.errors.iter().map(|(event, why)| json!({"event": event, "error_message": why}));
            json_reply(200, &errors.collect())
        }
        (_, Some(fingerprints)) => {
            let alerts = fingerprints.iter().filter_map(|f| store.alerts.get(f));
            json_reply(200, &alerts.map(|stored| Value::Object(stored.fields.clone())).collect())
        }
        ("/alerts", None) => {
            let alerts = store.alerts.values().take(limit);
            json_reply(200, &alerts.map(|stored| Value::Object(stored.fields.clone())).collect())
        }
        (path, None) => match store.alerts.get(path.trim_start_matches("/alerts/")) {
            Some(stored) => json_reply(200, &Value::Object(stored.fields.clone())),
            None => detail(404, "Alert not found"),
        },
    }
}

fn rate_limited(limit: u32) -> Response<Body> {
    json_reply(429, &json!({"error": format!("Rate limit exceeded: {limit} per 1 minute")}))
}

fn detail(status: u16, text: &str) -> Response<Body> {
    json_reply(status, &json!({"detail": text}))
}

fn json_reply(status: u16, body: &Value) -> Response<Body> {
    reply(status, &[("Content-Type", "application/json")], body.to_string())
}

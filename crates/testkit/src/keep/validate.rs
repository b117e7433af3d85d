//! Keep's `AlertDto`: what is refused, what is coerced, what falls back silently.

use serde_json::{Map, Value, json};

/// A refused field: its name, Keep's words and type of the error.
pub(super) struct Invalid {
    pub(super) field: &'static str,
    pub(super) message: &'static str,
    pub(super) kind: &'static str,
}

impl Invalid {
    /// As FastAPI tells it; `place` is the index in an array.
    pub(super) fn detail(&self, place: Option<usize>) -> Value {
        let loc = match place {
            Some(index) => json!(["body", index, self.field]),
            None => json!(["body", self.field]),
        };
        json!({"loc": loc, "msg": self.message, "type": self.kind})
    }
}

/// Text of a scalar, as pydantic coerces it.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Checks an alert and brings it to the form Keep stores.
pub(super) fn alert(alert: Map<String, Value>) -> Result<Map<String, Value>, Vec<Invalid>> {
    let invalid = faults(&alert);
    if invalid.is_empty() { Ok(filled(alert)) } else { Err(invalid) }
}

/// The fields that are refused.
fn faults(alert: &Map<String, Value>) -> Vec<Invalid> {
    let mut invalid = Vec::new();
    let mut refuse = |field, message, kind| invalid.push(Invalid { field, message, kind });
    match alert.get("name") {
        None => refuse("name", "field required", "value_error.missing"),
        Some(Value::String(_) | Value::Number(_)) => {}
        Some(Value::Null) => refuse("name", "none is not an allowed value", "type_error.none.not_allowed"),
        Some(_) => refuse("name", "str type expected", "type_error.str"),
    }
    for field in [
        "fingerprint",
        "environment",
        "service",
        "message",
        "description",
        "note",
        "assignee",
        "playbook_url",
    ] {
        if !matches!(alert.get(field), None | Some(Value::Null | Value::String(_))) {
            refuse(field, "str type expected", "type_error.str");
        }
    }
    if !matches!(alert.get("labels"), None | Some(Value::Null | Value::Object(_))) {
        refuse("labels", "value is not a valid dict", "type_error.dict");
    }
    if !matches!(alert.get("source"), None | Some(Value::Null | Value::Array(_))) {
        refuse("source", "value is not a valid list", "type_error.list");
    }
    match alert.get("description_format") {
        None | Some(Value::Null) => {}
        Some(Value::String(format)) if format == "markdown" || format == "html" => {}
        Some(_) => refuse("description_format", "unexpected value", "value_error.const"),
    }
    match alert.get("url") {
        Some(Value::String(url)) if !url.is_empty() && !has_host(url) => {
            refuse("url", "URL host invalid", "value_error.url.host");
        }
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => refuse("url", "str type expected", "type_error.str"),
    }
    match alert.get("imageUrl") {
        None | Some(Value::Null) => {}
        Some(Value::String(url)) if url.starts_with("http") && has_host(url) => {}
        Some(_) => refuse("imageUrl", "invalid or missing URL scheme", "value_error.url.scheme"),
    }
    match alert.get("lastReceived") {
        None | Some(Value::Null) => {}
        Some(Value::String(time)) if is_time(time) => {}
        Some(_) => refuse("lastReceived", "Invalid isoformat string", "value_error"),
    }
    invalid
}

/// What Keep fills in and what it coerces.
fn filled(mut alert: Map<String, Value>) -> Map<String, Value> {
    let severity = match alert.get("severity") {
        Some(Value::String(word))
            if ["critical", "high", "warning", "info", "low"].contains(&word.as_str()) =>
        {
            word
        }
        Some(Value::Number(number)) => match number.as_u64() {
            Some(5) => "critical",
            Some(4) => "high",
            Some(3) => "warning",
            Some(1) => "low",
            _ => "info",
        },
        _ => "info",
    };
    let statuses = ["firing", "resolved", "acknowledged", "suppressed", "pending", "maintenance"];
    let status = match alert.get("status") {
        Some(Value::String(word)) if statuses.contains(&word.as_str()) => word,
        _ => "firing",
    };
    let (severity, status) = (severity.to_owned(), status.to_owned());
    alert.insert("severity".into(), severity.into());
    alert.insert("status".into(), status.into());
    if alert.get("source").is_none_or(Value::is_null) {
        alert.insert("source".into(), json!(["keep"]));
    }
    if alert.get("lastReceived").is_none_or(Value::is_null) {
        alert.insert("lastReceived".into(), jiff::Timestamp::now().to_string().into());
    }
    if alert.get("url") == Some(&Value::from("")) {
        alert.insert("url".into(), Value::Null);
    }
    alert
}

fn has_host(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']'))
}

/// ISO 8601 or unix seconds as text.
fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
        || text.parse::<jiff::civil::DateTime>().is_ok()
        || text.parse::<f64>().is_ok()
}

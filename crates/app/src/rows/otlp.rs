//! OTLP/JSON log requests (opentelemetry-proto `ExportLogsServiceRequest`), brought to the form that
//! SigNoz's exporter would store: map and list values become JSON text with sorted keys.

use otel_log_ai_core::otel::LogRecord;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Whether the line looks like a request rather than a row.
pub fn is_request(line: &str) -> bool {
    let head = line.trim_start();
    head.starts_with('{')
        && head.get(1..).is_some_and(|rest| rest.trim_start().starts_with("\"resourceLogs\""))
}

/// All log records of one request.
pub fn records(line: &str) -> Result<Vec<LogRecord<'static>>, String> {
    let request: Request =
        serde_json::from_str(line).map_err(|error| format!("no OTLP/JSON request: {error}"))?;
    let mut records = Vec::new();
    for group in request.resource_logs {
        let mut base = LogRecord::default();
        for attribute in group.resource.attributes {
            base.resources.push((attribute.key.into(), attribute.value.text().into()));
        }
        for scope in group.scope_logs {
            base.scope_name = scope.scope.name.into();
            records.extend(scope.log_records.into_iter().map(|log| log.record(base.clone())));
        }
    }
    Ok(records)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceLogs {
    resource: Resource,
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeLogs {
    scope: Scope,
    log_records: Vec<Log>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Scope {
    name: String,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: AnyValue,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Log {
    time_unix_nano: Nanoseconds,
    observed_time_unix_nano: Nanoseconds,
    severity_number: u8,
    severity_text: String,
    body: AnyValue,
    attributes: Vec<Attribute>,
    trace_id: String,
}

/// `fixed64` is a string in OTLP/JSON; some writers leave the quotes out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nanoseconds {
    Quoted(String),
    Plain(u64),
}

impl Default for Nanoseconds {
    fn default() -> Self {
        Nanoseconds::Plain(0)
    }
}

impl Nanoseconds {
    fn get(&self) -> u64 {
        match self {
            Nanoseconds::Quoted(text) => text.parse().unwrap_or(0),
            Nanoseconds::Plain(n) => *n,
        }
    }
}

/// OTLP's value union.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Json>,
    double_value: Option<f64>,
    bytes_value: Option<String>,
    array_value: Option<ArrayValue>,
    kvlist_value: Option<KeyValues>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArrayValue {
    values: Vec<AnyValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyValues {
    values: Vec<Attribute>,
}

impl AnyValue {
    /// The value as JSON; maps with sorted keys, as the Collector prints them.
    fn json(self) -> Json {
        if let Some(text) = self.string_value.or(self.bytes_value) {
            return Json::String(text);
        }
        if let Some(flag) = self.bool_value {
            return Json::Bool(flag);
        }
        if let Some(number) = self.int_value {
            let text = number.as_str().map_or_else(|| number.to_string(), str::to_owned);
            return text.parse::<i64>().map_or(Json::String(text), Json::from);
        }
        if let Some(number) = self.double_value {
            return Json::from(number);
        }
        if let Some(list) = self.array_value {
            return Json::Array(list.values.into_iter().map(AnyValue::json).collect());
        }
        match self.kvlist_value {
            Some(map) => {
                let sorted: BTreeMap<String, Json> =
                    map.values.into_iter().map(|entry| (entry.key, entry.value.json())).collect();
                Json::Object(sorted.into_iter().collect())
            }
            None => Json::Null,
        }
    }

    fn text(self) -> String {
        match self.json() {
            Json::String(text) => text,
            Json::Null => String::new(),
            other => other.to_string(),
        }
    }
}

impl Log {
    fn record(self, mut record: LogRecord<'static>) -> LogRecord<'static> {
        let observed_ns = self.observed_time_unix_nano.get();
        let timestamp_ns = self.time_unix_nano.get();
        record.timestamp_ns = if timestamp_ns == 0 { observed_ns } else { timestamp_ns };
        record.observed_ns = observed_ns;
        record.severity_number = self.severity_number;
        record.severity_text = self.severity_text.into();
        record.trace_id = self.trace_id.into();
        record.body = self.body.text().into();
        for attribute in self.attributes {
            super::push(&mut record, attribute.key, attribute.value.json());
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_the_file_exporter() {
        let line = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"w1"}}]},"scopeLogs":[{"scope":{},"logRecords":[{"timeUnixNano":"17","severityNumber":9,"body":{"kvlistValue":{"values":[{"key":"z","value":{"intValue":"3"}},{"key":"a","value":{"stringValue":"x\\y"}}]}},"attributes":[{"key":"n","value":{"intValue":"4625"}},{"key":"s","value":{"stringValue":"t"}}]},{"observedTimeUnixNano":"18","body":{"stringValue":"line"}}]}]}]}"#;
        assert!(is_request(line));
        let records = records(line).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].body, r#"{"a":"x\\y","z":3}"#);
        assert_eq!(records[0].attributes_number, [("n".into(), 4625.0)]);
        assert_eq!(records[0].attribute("s"), Some("t"));
        assert_eq!((records[1].timestamp_ns, records[1].body.as_ref()), (18, "line"));
        assert_eq!(records[1].resource("host.name"), Some("w1"));
    }
}

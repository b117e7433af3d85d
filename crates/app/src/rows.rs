//! Log rows from files: ClickHouse's `FORMAT JSONEachRow`, and OTLP/JSON as the Collector's file
//! exporter writes it.
//!
//! One line is one row, or one OTLP request with many records. Missing columns default; 64-bit
//! numbers may be quoted (ClickHouse's `output_format_json_quote_64bit_integers`).

use otel_log_ai_core::otel::LogRecord;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::fmt;

mod otlp;

/// Reads one line. The error says what is wrong with it, without the line itself.
pub fn parse(line: &str) -> Result<Vec<LogRecord<'_>>, String> {
    if !line.trim_start().starts_with('{') {
        return Err("no JSON object".into());
    }
    if otlp::is_request(line) {
        return otlp::records(line);
    }
    let row: Row<'_> = serde_json::from_str(line).map_err(|error| format!("no JSON row: {error}"))?;
    Ok(vec![row.record()])
}

/// A row of `logs_v2` or, by the names with capitals, of `otel_logs`.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Row<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, alias = "Timestamp")]
    timestamp: Text<'a>,
    #[serde(borrow)]
    observed_timestamp: Text<'a>,
    #[serde(borrow, alias = "TraceId")]
    trace_id: Text<'a>,
    #[serde(borrow, alias = "SeverityText")]
    severity_text: Text<'a>,
    #[serde(alias = "SeverityNumber")]
    severity_number: u8,
    #[serde(borrow, alias = "Body")]
    body: Text<'a>,
    body_v2: Option<Json>,
    body_json: Option<Json>,
    #[serde(alias = "LogAttributes")]
    attributes_string: Json,
    attributes_number: Json,
    attributes_bool: Json,
    #[serde(alias = "ResourceAttributes")]
    resources_string: Json,
    resource: Json,
    #[serde(borrow, alias = "ScopeName")]
    scope_name: Text<'a>,
    #[serde(borrow)]
    resource_fingerprint: Text<'a>,
}

/// A text, or a number taken as text; borrowed where it holds no escape.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

impl<'a> Text<'a> {
    fn cow(self) -> Cow<'a, str> {
        self.0
    }

    /// Nanoseconds since the epoch: a whole number, or ClickHouse's or RFC 3339 text.
    fn nanoseconds(self) -> u64 {
        let text = self.cow();
        text.parse().unwrap_or_else(|_| time(&text).unwrap_or(0))
    }
}

fn time(text: &str) -> Option<u64> {
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant,
        Err(_) => format!("{}Z", text.replacen(' ', "T", 1)).parse().ok()?,
    };
    u64::try_from(instant.as_nanosecond()).ok()
}

impl<'a> Row<'a> {
    fn record(self) -> LogRecord<'a> {
        let mut body = self.body.cow();
        if body.is_empty()
            && let Some(json) = self.body_v2.or(self.body_json)
            && !json.is_null()
        {
            body = Cow::Owned(json.to_string());
        }
        let mut record = LogRecord {
            id: self.id.cow(),
            timestamp_ns: self.timestamp.nanoseconds(),
            observed_ns: self.observed_timestamp.nanoseconds(),
            trace_id: self.trace_id.cow(),
            severity_text: self.severity_text.cow(),
            severity_number: self.severity_number,
            body,
            scope_name: self.scope_name.cow(),
            resource_fingerprint: self.resource_fingerprint.cow(),
            ..LogRecord::default()
        };
        for attributes in [self.attributes_string, self.attributes_number, self.attributes_bool] {
            flatten(attributes, String::new(), &mut |name, value| push(&mut record, name, value));
        }
        let resources = match self.resources_string {
            Json::Object(map) if !map.is_empty() => Json::Object(map),
            _ => self.resource,
        };
        flatten(resources, String::new(), &mut |name, value| {
            record.resources.push((name.into(), text_of(&value).into()));
        });
        record
    }
}

/// Adds an attribute under the type it has, as SigNoz's exporter sorts them.
fn push(record: &mut LogRecord<'_>, name: String, value: Json) {
    match value {
        Json::Number(number) => {
            record.attributes_number.push((name.into(), number.as_f64().unwrap_or_default()));
        }
        Json::Bool(flag) => record.attributes_bool.push((name.into(), flag)),
        Json::Null => {}
        other => record.attributes_string.push((name.into(), text_of(&other).into())),
    }
}

fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Deepest nesting that is taken apart; below, the JSON text is the value.
const DEPTH_MAX: usize = 16;

/// Walks a map; nested maps (ClickHouse's JSON columns) get dotted names.
fn flatten(value: Json, name: String, found: &mut impl FnMut(String, Json)) {
    match value {
        Json::Object(map) if name.split('.').count() <= DEPTH_MAX => {
            for (key, value) in map {
                let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                flatten(value, name, found);
            }
        }
        Json::Null if name.is_empty() => {}
        value => found(name, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_as_clickhouse_prints_it() {
        let line = r#"{"ts_bucket_start":"1785924000","timestamp":"1785924930128453200","id":"0lNWf","severity_number":9,"body":"a \"b\"","attributes_string":{"k":"v"},"attributes_number":{"n":1.5},"attributes_bool":{"t":true},"resources_string":{"host.name":"lin01"},"resource":{"host":{"name":"x"}},"unknown_column":1}"#;
        let record = &parse(line).unwrap()[0];
        assert_eq!(record.timestamp_ns, 1785924930128453200);
        assert_eq!(record.body, "a \"b\"");
        assert_eq!(record.attribute("k"), Some("v"));
        assert_eq!(record.attributes_number, [("n".into(), 1.5)]);
        assert_eq!(record.attributes_bool, [("t".into(), true)]);
        assert_eq!(record.resource("host.name"), Some("lin01"));
    }

    #[test]
    fn missing_columns_default_and_unquoted_numbers_are_read() {
        let record = &parse(r#"{"timestamp":1785924930128453200,"body":null}"#).unwrap()[0];
        assert_eq!((record.timestamp_ns, record.body.as_ref()), (1785924930128453200, ""));
    }

    #[test]
    fn json_body_mode_and_json_resources_are_read() {
        let line =
            r#"{"body":"","body_v2":{"message":"","event_id":{"id":1}},"resource":{"host":{"name":"w1"}}}"#;
        let record = &parse(line).unwrap()[0];
        assert_eq!(record.body, r#"{"message":"","event_id":{"id":1}}"#);
        assert_eq!(record.resource("host.name"), Some("w1"));
    }

    #[test]
    fn a_row_of_the_contrib_exporter() {
        let line = r#"{"Timestamp":"2026-08-05 10:15:30.128453200","SeverityText":"INFO","Body":"x","ResourceAttributes":{"host.name":"h"},"LogAttributes":{"a":"1"}}"#;
        let record = &parse(line).unwrap()[0];
        assert_eq!(record.timestamp_ns, 1785924930128453200);
        assert_eq!((record.resource("host.name"), record.attribute("a")), (Some("h"), Some("1")));
    }

    #[test]
    fn what_is_no_row_is_told() {
        assert!(parse("{nonsense").is_err_and(|e| e.starts_with("no JSON row: ")));
        assert_eq!(parse("[1]"), Err("no JSON object".into()));
    }
}

//! A row as ClickHouse prints it with `FORMAT JSONEachRow` and default settings.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::LogRow;

pub(super) fn json_each_row(row: &LogRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.body.len() + 1024);
    out.push(b'{');
    number(&mut out, "ts_bucket_start", row.ts_bucket_start());
    text(&mut out, "resource_fingerprint", row.resource_fingerprint().as_bytes());
    number(&mut out, "timestamp", row.timestamp_ns);
    number(&mut out, "observed_timestamp", row.observed_ns);
    text(&mut out, "id", row.id.as_bytes());
    text(&mut out, "trace_id", row.trace_id.as_bytes());
    text(&mut out, "span_id", row.span_id.as_bytes());
    number(&mut out, "trace_flags", row.trace_flags);
    text(&mut out, "severity_text", row.severity_text.as_bytes());
    number(&mut out, "severity_number", row.severity_number);
    text(&mut out, "body", &row.body);
    map(&mut out, "attributes_string", &row.attributes_string, |value, out| quote(value.as_bytes(), out));
    map(&mut out, "attributes_number", &row.attributes_number, |value, out| {
        out.extend(float(*value).bytes())
    });
    map(&mut out, "attributes_bool", &row.attributes_bool, |value, out| {
        out.extend(value.to_string().bytes())
    });
    map(&mut out, "resources_string", &row.resources, |value, out| quote(value.as_bytes(), out));
    text(&mut out, "scope_name", row.scope_name.as_bytes());
    text(&mut out, "scope_version", row.scope_version.as_bytes());
    map(&mut out, "scope_string", &row.scope, |value, out| quote(value.as_bytes(), out));
    number(&mut out, "_retention_days", 15);
    number(&mut out, "_retention_days_cold", 0);
    name(&mut out, "resource");
    json(&nested(&row.resources), &mut out);
    out.push(b'}');
    out
}

fn name(out: &mut Vec<u8>, name: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    quote(name.as_bytes(), out);
    out.push(b':');
}

fn number(out: &mut Vec<u8>, key: &str, value: impl std::fmt::Display) {
    name(out, key);
    out.extend(value.to_string().bytes());
}

fn text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    name(out, key);
    quote(value, out);
}

fn map<V>(out: &mut Vec<u8>, key: &str, pairs: &[(String, V)], write: impl Fn(&V, &mut Vec<u8>)) {
    name(out, key);
    out.push(b'{');
    for (i, (key, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        quote(key.as_bytes(), out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

/// NaN and the infinities are `null`, as with default settings.
fn float(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { "null".to_owned() }
}

/// ClickHouse escapes the slash too, leaves other bytes as they are, valid UTF-8 or not.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'/' => out.extend(b"\\/"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            0..=0x1f => {
                let mut escape = String::new();
                let _ = write!(escape, "\\u{byte:04X}");
                out.extend(escape.bytes());
            }
            // U+2028 and U+2029 end a line in JavaScript.
            0xe2 if matches!(after, [0x80, 0xa8 | 0xa9, ..]) => {
                out.extend(if after[1] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                rest = &after[2..];
            }
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Dotted names as the JSON type nests them, in order of their paths.
fn nested(pairs: &[(String, String)]) -> Value {
    let mut sorted: Vec<&(String, String)> = pairs.iter().collect();
    sorted.sort();
    let mut root = Map::new();
    for (path, value) in sorted {
        put_path(&mut root, path, value);
    }
    Value::Object(root)
}

fn put_path(map: &mut Map<String, Value>, path: &str, value: &str) {
    let Some((first, rest)) = path.split_once('.') else {
        map.insert(path.to_owned(), Value::String(value.to_owned()));
        return;
    };
    let next = map.entry(first).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(next) = next {
        put_path(next, rest, value);
    }
}

fn json(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            out.push(b'{');
            for (i, (key, value)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                quote(key.as_bytes(), out);
                out.push(b':');
                json(value, out);
            }
            out.push(b'}');
        }
        Value::String(text) => quote(text.as_bytes(), out),
        other => out.extend(other.to_string().bytes()),
    }
}

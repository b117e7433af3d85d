//! Inserts rows as the exporters do: explicit columns, SigNoz's resource rows once in half an hour.
//!
//! The tag and key tables are not written: nothing that reads logs needs them.

use std::collections::HashSet;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::{LogRow, contrib, go_json};
use crate::clickhouse::ClickHouse;
use crate::schema::Layout;

/// SigNoz's exporter sets these: without the last two, texts that look like dates would be rewritten
/// in JSON columns. The first makes JSON columns of RowBinary plain text.
pub(super) const SETTINGS: &str = "input_format_binary_read_json_as_string = 1, \
     type_json_skip_duplicated_paths = 1, \
     input_format_try_infer_dates = 0, input_format_try_infer_datetimes = 0";

/// Inserts into one database.
pub struct Writer<'a> {
    server: &'a ClickHouse,
    layout: Layout,
    database: String,
    /// Resources already written, with their half hour.
    seen: HashSet<(u64, String)>,
}

impl<'a> Writer<'a> {
    /// For tables made by [`crate::schema::create`].
    #[must_use]
    pub fn new(server: &'a ClickHouse, layout: Layout, database: &str) -> Self {
        Self { server, layout, database: database.to_owned(), seen: HashSet::new() }
    }

    /// Inserts the rows as one batch: one part, visible at once.
    ///
    /// # Errors
    /// The engine's exception; nothing of the batch was inserted then.
    pub fn write(&mut self, rows: &[LogRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.layout.is_signoz() {
            return contrib::insert(self.server, self.layout, &self.database, rows);
        }
        self.write_resources(rows)?;
        let mut columns = vec![
            "ts_bucket_start",
            "resource_fingerprint",
            "timestamp",
            "observed_timestamp",
            "id",
            "trace_id",
            "span_id",
            "trace_flags",
            "severity_text",
            "severity_number",
            "body",
            "attributes_string",
            "attributes_number",
            "attributes_bool",
            "resources_string",
            "scope_name",
            "scope_version",
            "scope_string",
        ];
        if self.layout.has_resource() {
            columns.push("resource");
        }
        if self.layout.has_body_v2() {
            columns.extend(["body_v2", "body_promoted"]);
        }
        if self.layout == Layout::SignozCreatedAt {
            columns.push("inserted_at");
        }
        let mut data = Vec::with_capacity(rows.len() * 2048);
        for row in rows {
            self.encode(row, &mut data);
        }
        let sql = format!("INSERT INTO `{}`.logs_v2 ({})", self.database, columns.join(", "));
        self.server.insert_with(SETTINGS, &sql, "RowBinary", &data).context("insert into logs_v2")
    }

    fn encode(&self, row: &LogRow, out: &mut Vec<u8>) {
        let json_mode = self.layout == Layout::SignozJsonBody;
        out.extend(row.ts_bucket_start().to_le_bytes());
        put_text(row.resource_fingerprint().as_bytes(), out);
        out.extend(row.timestamp_ns.to_le_bytes());
        out.extend(row.observed_ns.to_le_bytes());
        put_text(row.id.as_bytes(), out);
        put_text(row.trace_id.as_bytes(), out);
        put_text(row.span_id.as_bytes(), out);
        out.extend(row.trace_flags.to_le_bytes());
        put_text(row.severity_text.as_bytes(), out);
        out.push(row.severity_number);
        put_text(if json_mode { b"" } else { &row.body }, out);
        put_map(&row.attributes_string, out, |value, out| put_text(value.as_bytes(), out));
        put_map(&row.attributes_number, out, |value, out| out.extend(value.to_le_bytes()));
        put_map(&row.attributes_bool, out, |value, out| out.push(u8::from(*value)));
        put_map(&row.resources, out, |value, out| put_text(value.as_bytes(), out));
        put_text(row.scope_name.as_bytes(), out);
        put_text(row.scope_version.as_bytes(), out);
        put_map(&row.scope, out, |value, out| put_text(value.as_bytes(), out));
        if self.layout.has_resource() {
            put_text(labels(&row.resources).as_bytes(), out);
        }
        if self.layout.has_body_v2() {
            put_text(if json_mode { body_json(&row.body) } else { "{}".to_owned() }.as_bytes(), out);
            put_text(b"{}", out);
        }
        if self.layout == Layout::SignozCreatedAt {
            out.extend(jiff::Timestamp::now().as_millisecond().to_le_bytes());
        }
    }

    fn write_resources(&mut self, rows: &[LogRow]) -> Result<()> {
        let mut data = Vec::new();
        for row in rows {
            let key = (row.ts_bucket_start(), row.resource_fingerprint());
            if !self.seen.contains(&key) {
                put_text(labels(&row.resources).as_bytes(), &mut data);
                put_text(key.1.as_bytes(), &mut data);
                data.extend(key.0.to_le_bytes());
                self.seen.insert(key);
            }
        }
        if data.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO `{}`.logs_v2_resource (labels, fingerprint, seen_at_ts_bucket_start)",
            self.database
        );
        self.server.insert(&sql, "RowBinary", &data).context("insert into logs_v2_resource")
    }
}

/// Resource attributes as SigNoz's `labels`: compact JSON, keys sorted, HTML-escaped.
pub(super) fn labels(pairs: &[(String, String)]) -> String {
    let map: Map<String, Value> = pairs.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect();
    go_json::encode(&Value::Object(map), go_json::Html::Escaped)
}

/// What SigNoz's normalize operator makes of a body: a JSON object as it is (the first of `log`, `msg`
/// renamed to `message` where that is missing), any other text under `message`.
fn body_json(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut map = match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => map,
        _ => Map::from_iter([("message".to_owned(), Value::String(text.into_owned()))]),
    };
    if !map.contains_key("message") {
        let renamed = ["log", "msg"].iter().find_map(|name| map.remove(*name));
        if let Some(value) = renamed {
            map.insert("message".to_owned(), value);
        }
    }
    go_json::encode(&Value::Object(map), go_json::Html::Escaped)
}

pub(super) fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_length(text.len(), out);
    out.extend(text);
}

pub(super) fn put_map<V>(pairs: &[(String, V)], out: &mut Vec<u8>, put: impl Fn(&V, &mut Vec<u8>)) {
    put_length(pairs.len(), out);
    for (key, value) in pairs {
        put_text(key.as_bytes(), out);
        put(value, out);
    }
}

/// A length as LEB128.
pub(super) fn put_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

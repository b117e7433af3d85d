//! The same records as the contrib exporter writes them to `otel_logs`: every attribute as text.

use anyhow::{Context, Result};

use super::LogRow;
use super::writer::{SETTINGS, labels, put_length, put_map, put_text};
use crate::clickhouse::ClickHouse;
use crate::schema::Layout;

pub(super) fn insert(server: &ClickHouse, layout: Layout, database: &str, rows: &[LogRow]) -> Result<()> {
    let json = layout == Layout::OtelJson;
    let mut columns = vec![
        "Timestamp",
        "TraceId",
        "SpanId",
        "TraceFlags",
        "SeverityText",
        "SeverityNumber",
        "ServiceName",
        "Body",
        "ResourceAttributes",
        "ScopeName",
        "ScopeVersion",
        "ScopeAttributes",
        "LogAttributes",
    ];
    if json {
        columns.extend(["ResourceAttributesKeys", "ScopeAttributesKeys", "LogAttributesKeys"]);
    }
    let mut data = Vec::with_capacity(rows.len() * 2048);
    for row in rows {
        encode(row, json, &mut data);
    }
    let sql = format!("INSERT INTO `{database}`.otel_logs ({})", columns.join(", "));
    server.insert_with(SETTINGS, &sql, "RowBinary", &data).context("insert into otel_logs")
}

fn encode(row: &LogRow, json: bool, out: &mut Vec<u8>) {
    let service = row.resources.iter().find(|(key, _)| key == "service.name").map_or("", |(_, value)| value);
    let attributes = attributes(row);
    out.extend(row.timestamp_ns.to_le_bytes());
    put_text(row.trace_id.as_bytes(), out);
    put_text(row.span_id.as_bytes(), out);
    out.push(row.trace_flags as u8);
    put_text(row.severity_text.as_bytes(), out);
    out.push(row.severity_number);
    put_text(service.as_bytes(), out);
    put_text(&row.body, out);
    put_attributes(&row.resources, json, out);
    put_text(row.scope_name.as_bytes(), out);
    put_text(row.scope_version.as_bytes(), out);
    put_attributes(&row.scope, json, out);
    put_attributes(&attributes, json, out);
    if json {
        for pairs in [&row.resources, &row.scope, &attributes] {
            put_length(pairs.len(), out);
            pairs.iter().for_each(|(key, _)| put_text(key.as_bytes(), out));
        }
    }
}

/// All attributes as text, as Go prints them.
fn attributes(row: &LogRow) -> Vec<(String, String)> {
    let mut all = row.attributes_string.clone();
    all.extend(row.attributes_number.iter().map(|(key, value)| (key.clone(), value.to_string())));
    all.extend(row.attributes_bool.iter().map(|(key, value)| (key.clone(), value.to_string())));
    all
}

fn put_attributes(pairs: &[(String, String)], json: bool, out: &mut Vec<u8>) {
    if json {
        put_text(labels(pairs).as_bytes(), out);
    } else {
        put_map(pairs, out, |value, out| put_text(value.as_bytes(), out));
    }
}

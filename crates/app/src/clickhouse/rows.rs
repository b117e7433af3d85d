//! Rows as they came over the wire, from which log records are borrowed.

use super::{Fault, Kind, Reader};
use otel_log_ai_core::otel::LogRecord;
use otel_log_ai_core::prefetch::prefetch;
use std::borrow::Cow;

/// The rows of one answer. The bytes are checked once, when they come in; records are decoded when
/// they are asked for, so that threads can share the work.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// Where a row came from, and where it stands in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whether it is in our share of the hosts.
    pub ours: bool,
    /// Shard number; 0 where there is only one.
    pub shard: u32,
    /// Part name, as a range of the bytes.
    part: (usize, usize),
    /// Offset in the part.
    pub offset: u64,
    /// 64 bits that tell rows apart.
    pub key: u64,
    /// Event time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// True length of the body, bytes.
    pub body_bytes: u64,
    /// Length of the body that was read, bytes.
    pub body_bytes_read: u64,
    /// Where the row's record starts: at its id.
    start: usize,
}

/// About what a record takes besides its body.
const BESIDE_BODY_BYTES: usize = 512;
/// Most levels of a JSON attribute column that are flattened.
const JSON_DEPTH_MAX: usize = 32;

impl Rows {
    /// Finds the rows in a RowBinary answer to [`super::Layout::select_list`].
    pub fn decode(bytes: Vec<u8>) -> Result<Rows, Fault> {
        let mut reader = Reader::new(&bytes);
        let mut rows = Vec::new();
        while !reader.is_empty() {
            rows.push(walk(&mut reader)?);
        }
        Ok(Rows { bytes, rows })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The part a row came from; empty where the table has none.
    pub fn part(&self, row: &Row) -> &str {
        std::str::from_utf8(&self.bytes[row.part.0..row.part.1]).unwrap_or_default()
    }

    /// Keeps the rows that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&Row) -> bool) {
        self.rows.retain(|row| keep(row));
    }

    /// Brings the rows into the order of `key`.
    pub fn sort_by_key<K: Ord>(&mut self, mut key: impl FnMut(&Self, &Row) -> K) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by_cached_key(|row| key(self, row));
        self.rows = rows;
    }

    /// The record of row `index`.
    pub fn record(&self, index: usize) -> LogRecord<'_> {
        let mut record = LogRecord::default();
        self.read(index, &mut record);
        record
    }

    /// Makes `record` the one of row `index`; the memory that it has is used again. The bytes were
    /// checked when they came in. Those of the next row are fetched meanwhile.
    pub fn read<'r>(&'r self, index: usize, record: &mut LogRecord<'r>) {
        let row = &self.rows[index];
        if let Some(next) = self.rows.get(index + 1) {
            let end = next.start + next.body_bytes_read as usize + BESIDE_BODY_BYTES;
            prefetch(&self.bytes[next.start..end.min(self.bytes.len())]);
        }
        if read_record(&self.bytes[row.start..], row.timestamp_ns, record).is_err() {
            *record = LogRecord::default();
        }
    }
}

/// Checks one row and notes what is needed of it.
fn walk(reader: &mut Reader<'_>) -> Result<Row, Fault> {
    let ours = reader.flag()?;
    let shard = reader.u32()?;
    let part_bytes = reader.bytes()?;
    if std::str::from_utf8(part_bytes).is_err() {
        return Err(Fault::new(Kind::Garbled, "an answer of ClickHouse holds a part name that is not text"));
    }
    let part = (reader.position() - part_bytes.len(), reader.position());
    let offset = reader.u64()?;
    let key = reader.u64()?;
    let start = reader.position();
    reader.bytes()?; // id
    let timestamp_ns = reader.u64()?;
    reader.u64()?; // observed
    reader.bytes()?; // trace id
    reader.bytes()?; // severity text
    reader.u8()?; // severity number
    let body_bytes = reader.u64()?;
    let body_bytes_read = reader.bytes()?.len() as u64;
    skip_entries(reader, |reader| reader.bytes().map(drop))?;
    skip_entries(reader, |reader| reader.f64().map(drop))?;
    skip_entries(reader, |reader| reader.u8().map(drop))?;
    skip_entries(reader, |reader| reader.bytes().map(drop))?;
    reader.bytes()?; // scope name
    reader.bytes()?; // fingerprint
    Ok(Row { ours, shard, part, offset, key, timestamp_ns, body_bytes, body_bytes_read, start })
}

/// Passes over a map whose values `value` passes over.
fn skip_entries<'a>(
    reader: &mut Reader<'a>,
    mut value: impl FnMut(&mut Reader<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for _ in 0..reader.length()? {
        reader.bytes()?;
        value(reader)?;
    }
    Ok(())
}

/// Reads a map, whose values `value` reads.
fn entries<'a, V>(
    reader: &mut Reader<'a>,
    entries: &mut Vec<(Cow<'a, str>, V)>,
    value: impl Fn(&mut Reader<'a>) -> Result<V, Fault>,
) -> Result<(), Fault> {
    entries.clear();
    for _ in 0..reader.length()? {
        entries.push((reader.text()?, value(reader)?));
    }
    Ok(())
}

fn read_record<'r>(bytes: &'r [u8], timestamp_ns: u64, record: &mut LogRecord<'r>) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    record.id = reader.text()?;
    reader.u64()?; // event time: known already
    record.timestamp_ns = timestamp_ns;
    record.observed_ns = reader.u64()?;
    record.trace_id = reader.text()?;
    record.severity_text = reader.text()?;
    record.severity_number = reader.u8()?;
    reader.u64()?; // body length
    record.body = reader.text()?;
    let (attributes, resources) = (&mut record.attributes_string, &mut record.resources);
    entries(&mut reader, attributes, Reader::text)?;
    entries(&mut reader, &mut record.attributes_number, Reader::f64)?;
    entries(&mut reader, &mut record.attributes_bool, |reader| Ok(reader.u8()? != 0))?;
    entries(&mut reader, resources, Reader::text)?;
    record.scope_name = reader.text()?;
    record.resource_fingerprint = reader.text()?;
    if let Some(json) = json_column(attributes) {
        let mut flat = Flat::default();
        flat.add(String::new(), json, 0);
        record.attributes_number.extend(flat.numbers);
        record.attributes_bool.extend(flat.bools);
        *attributes = flat.texts;
    }
    if let Some(json) = json_column(resources) {
        let mut flat = Flat { all_text: true, ..Flat::default() };
        flat.add(String::new(), json, 0);
        *resources = flat.texts;
    }
    Ok(())
}

/// The value of a JSON column, which the SELECT list sends as a map with one empty key.
fn json_column(entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> Option<serde_json::Value> {
    match entries {
        [(key, text)] if key.is_empty() => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// A JSON object with its paths joined by dots, as the attributes were called before ClickHouse
/// nested them.
#[derive(Default)]
struct Flat {
    texts: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    numbers: Vec<(Cow<'static, str>, f64)>,
    bools: Vec<(Cow<'static, str>, bool)>,
    /// Numbers and booleans become text too, as resource attributes are.
    all_text: bool,
}

impl Flat {
    fn add(&mut self, path: String, value: serde_json::Value, depth: usize) {
        use serde_json::Value;
        match value {
            Value::Null => {}
            Value::Object(entries) if depth < JSON_DEPTH_MAX => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.add(path, value, depth + 1);
                }
            }
            Value::String(text) => self.texts.push((path.into(), text.into())),
            Value::Number(number) if !self.all_text => {
                self.numbers.push((path.into(), number.as_f64().unwrap_or_default()));
            }
            Value::Bool(value) if !self.all_text => self.bools.push((path.into(), value)),
            other => self.texts.push((path.into(), other.to_string().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut Vec<u8>, text: &[u8]) {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text);
    }

    fn row(body: &[u8], attributes: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(3u32.to_le_bytes());
        put(&mut bytes, b"20261123_1_1_0");
        bytes.extend(9u64.to_le_bytes());
        bytes.extend(77u64.to_le_bytes());
        put(&mut bytes, b"id1");
        bytes.extend(1_000u64.to_le_bytes());
        bytes.extend(2_000u64.to_le_bytes());
        put(&mut bytes, b"abc");
        put(&mut bytes, b"INFO");
        bytes.push(9);
        bytes.extend(5_000u64.to_le_bytes());
        put(&mut bytes, body);
        bytes.push(attributes.len() as u8);
        for (key, value) in attributes {
            put(&mut bytes, key.as_bytes());
            put(&mut bytes, value.as_bytes());
        }
        bytes.push(1);
        put(&mut bytes, b"n");
        bytes.extend(4625.0f64.to_le_bytes());
        bytes.push(1);
        put(&mut bytes, b"b");
        bytes.push(1);
        bytes.push(1);
        put(&mut bytes, b"host.name");
        put(&mut bytes, b"web-01");
        put(&mut bytes, b"scope");
        put(&mut bytes, b"fp");
        bytes
    }

    #[test]
    fn a_row_becomes_a_record() {
        let mut bytes = row(b"hello", &[("a", "1")]);
        bytes.extend(row(b"bad \xff", &[]));
        let rows = Rows::decode(bytes).unwrap();
        assert_eq!(rows.len(), 2);
        let first = &rows.rows()[0];
        assert_eq!((first.shard, rows.part(first), first.offset, first.key), (3, "20261123_1_1_0", 9, 77));
        assert_eq!((first.body_bytes, first.body_bytes_read), (5_000, 5));
        let record = rows.record(0);
        assert_eq!((record.id.as_ref(), record.timestamp_ns, record.observed_ns), ("id1", 1_000, 2_000));
        assert_eq!((record.body.as_ref(), record.severity_number), ("hello", 9));
        assert_eq!(record.attribute("a"), Some("1"));
        assert_eq!(record.attributes_number, [("n".into(), 4625.0)]);
        assert_eq!(record.attributes_bool, [("b".into(), true)]);
        assert_eq!(record.resource("host.name"), Some("web-01"));
        assert_eq!((record.scope_name.as_ref(), record.resource_fingerprint.as_ref()), ("scope", "fp"));
        assert_eq!(rows.record(1).body, "bad \u{fffd}");
        let mut record = rows.record(0);
        rows.read(1, &mut record);
        assert_eq!(record, rows.record(1));
    }

    #[test]
    fn a_json_column_is_flattened() {
        let json = r#"{"host":{"name":"a"},"n":5,"ok":true,"list":[1],"gone":null}"#;
        let rows = Rows::decode(row(b"", &[("", json)])).unwrap();
        let record = rows.record(0);
        assert_eq!(record.attribute("host.name"), Some("a"));
        assert_eq!(record.attribute("list"), Some("[1]"));
        assert!(record.attributes_number.contains(&("n".into(), 5.0)));
        assert!(record.attributes_bool.contains(&("ok".into(), true)));
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let whole = row(b"hello", &[("a", "1")]);
        for end in 1..whole.len() {
            assert!(Rows::decode(whole[..end].to_vec()).is_err(), "{end}");
        }
    }
}

//! What a record is: from text, attributes and resource to fields, host and class.

use super::class::{Format, Found};
use super::derive;
use super::event::{ClassId, Event};
use super::json::Flat;
use super::record::LogRecord;
use super::taxonomy::Taxonomy;
use super::windows::{self, Identity};
use crate::value::Value;
use std::borrow::Cow;

/// Longest part of a body that is read, bytes. Real events end far below; ClickHouse rows do not.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// Decodes `record` into the empty `event`.
pub(super) fn recognise<'a>(taxonomy: &Taxonomy, record: &'a LogRecord<'a>, event: &mut Event<'a>) {
    let body = body(record, event);
    let found = match first(body) {
        Some(b'{' | b'[') => json_body(taxonomy, record, body, event),
        _ => text_body(taxonomy, record, body, event),
    };
    let Some(found) = found else { return };
    if event.host.is_empty() {
        event.host = host(record);
    }
    event.class = source(taxonomy, &found, record, event);
    derive_for(taxonomy, event);
}

/// The record's text: its body, else the original that a receiver kept beside it; cut at
/// [`BODY_BYTES_MAX`].
fn body<'a>(record: &'a LogRecord<'a>, event: &mut Event<'a>) -> &'a str {
    let body = match record.body.as_ref() {
        "" => record.attribute("log.record.original").unwrap_or(""),
        body => body,
    };
    if body.len() <= BODY_BYTES_MAX {
        return body;
    }
    let mut end = BODY_BYTES_MAX;
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    event.fault = Some(format!("body of {} bytes is read up to byte {end}", body.len()));
    &body[..end]
}

/// First byte that is not blank.
fn first(text: &str) -> Option<u8> {
    text.bytes().find(|b| !b.is_ascii_whitespace())
}

/// Reads a JSON body. `None` once the event is complete.
fn json_body<'a>(
    taxonomy: &Taxonomy,
    record: &'a LogRecord<'a>,
    body: &'a str,
    event: &mut Event<'a>,
) -> Option<Found<'a>> {
    let mut flat = Flat::default();
    if let Err(fault) = flat.read("", body) {
        event.fault.get_or_insert(fault);
        event.texts.push(Cow::Borrowed(body));
    }
    if let Some(identity) = windows::from_flat(&mut flat, event) {
        windows_event(taxonomy, record, identity, event);
        return None;
    }
    for leaf in std::mem::take(&mut flat.leaves) {
        let name = flat.name(&leaf);
        event.fields.push((name, leaf.value));
    }
    Some(Found { format: Format::Json, ..Found::default() })
}

/// Reads a body that is not JSON. `None` once the event is complete.
fn text_body<'a>(
    taxonomy: &Taxonomy,
    record: &'a LogRecord<'a>,
    body: &'a str,
    event: &mut Event<'a>,
) -> Option<Found<'a>> {
    if let Some(at) = windows::find_xml(body)
        && let Some(identity) = windows::from_xml(&body[at..], event)
    {
        windows_event(taxonomy, record, identity, event);
        return None;
    }
    if body.is_empty() {
        let mut flat = attributes(record);
        if let Some(identity) = windows::from_flat(&mut flat, event) {
            windows_event(taxonomy, record, identity, event);
            return None;
        }
    }
    if !body.is_empty() {
        event.texts.push(Cow::Borrowed(body));
    }
    Some(Found::default())
}

/// All attributes, flattened as a JSON body would be; JSON text among them is read.
fn attributes<'a>(record: &'a LogRecord<'a>) -> Flat<'a> {
    let mut flat = Flat::default();
    for (name, value) in &record.attributes_string {
        if is_metadata(name) {
            continue;
        }
        let is_json = matches!(value.as_bytes().first(), Some(b'{' | b'['));
        if !is_json || flat.read(name, value).is_err() {
            flat.push_path(Cow::Borrowed(name), Value::from(value.as_ref()));
        }
    }
    for (name, value) in &record.attributes_number {
        flat.push_path(Cow::Borrowed(name), Value::Float(*value));
    }
    for (name, value) in &record.attributes_bool {
        flat.push_path(Cow::Borrowed(name), Value::Bool(*value));
    }
    flat
}

/// Attributes that say how the record was collected, not what happened.
fn is_metadata(name: &str) -> bool {
    name.starts_with("log.") || matches!(name, "logtag" | "time")
}

/// Finishes a Windows event: what the JSON body lacks is taken from the original XML, if kept.
fn windows_event<'a>(
    taxonomy: &Taxonomy,
    record: &'a LogRecord<'a>,
    mut identity: Identity<'a>,
    event: &mut Event<'a>,
) {
    if !identity.has_data
        && let Some(original) = record.attribute("log.record.original")
        && let Some(at) = windows::find_xml(original)
    {
        let mut from_xml = Event::default();
        if let Some(better) = windows::from_xml(&original[at..], &mut from_xml)
            && better.has_data
        {
            identity = better;
            event.fields = from_xml.fields;
        }
    }
    event.host = match identity.computer.is_empty() {
        true => host(record),
        false => identity.computer.clone(),
    };
    let Identity { channel, provider, event_id, .. } = &identity;
    event.class = taxonomy.channels.class(channel, provider, *event_id, event);
    derive_for(taxonomy, event);
}

/// The first source whose conditions hold.
fn source<'a>(
    taxonomy: &Taxonomy,
    found: &Found<'a>,
    record: &LogRecord<'a>,
    event: &Event<'a>,
) -> Option<ClassId> {
    let fits = taxonomy.sources.iter().find(|source| source.when.holds(found, record, event));
    fits.map(|source| source.class)
}

fn derive_for(taxonomy: &Taxonomy, event: &mut Event<'_>) {
    if let Some(ClassId(class)) = event.class
        && let Some(steps) = taxonomy.derive.get(usize::from(class))
    {
        derive::apply(steps, event);
    }
}

/// The host by the record's metadata, where the event itself does not name one: the origin's name
/// before the forwarder's.
fn host<'a>(record: &'a LogRecord<'a>) -> Cow<'a, str> {
    let named = record
        .attribute("hostname")
        .or_else(|| record.resource("host.name"))
        .or_else(|| record.resource("k8s.node.name"))
        .or_else(|| record.attribute("server.address"))
        .filter(|name| !name.is_empty());
    let first_of_fingerprint = || {
        let first = record.resource_fingerprint.split(';').next().unwrap_or("");
        first.split_once('=').filter(|(key, _)| *key != "hash").map_or("", |(_, value)| value)
    };
    Cow::Borrowed(named.unwrap_or_else(first_of_fingerprint))
}

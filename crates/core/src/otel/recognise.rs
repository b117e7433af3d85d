//! What a record is: from text, attributes and resource to fields, host and class.

use super::asks::Asks;
use super::audit_event::laurel;
use super::buffers::{Arena, Buffers, Desk, keep};
use super::class::{Format, Found};
use super::event::{ClassId, Event};
use super::json::outline::Outlines;
use super::json::{Flat, Roots};
use super::line::{self, Read};
use super::record::LogRecord;
use super::split::{self, Documents};
use super::taxonomy::Taxonomy;
use super::windows::{self, Identity};
use super::{derive, envelope, form, journald, syslog};
use crate::prefetch::prefetch;
use crate::value::Value;
use std::borrow::Cow;

/// Longest part of one document that is read, bytes. Real events end far below; ClickHouse rows do
/// not.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest part of a list of documents that is read, bytes.
const LIST_BYTES_MAX: usize = 64 << 20;

/// What is being read, and where texts are put together for it.
#[derive(Clone, Copy)]
struct Reading<'a> {
    taxonomy: &'a Taxonomy,
    record: &'a LogRecord<'a>,
    arena: &'a Arena,
}

/// The form of Windows events, whatever wrote them.
const WINDOWS: &str = "windows";

/// Takes the events of a record.
type Each<'f> = &'f mut dyn FnMut(&mut Event<'_>);

/// Decodes `record` and hands out its events.
pub(super) fn recognise(
    taxonomy: &Taxonomy,
    record: &LogRecord<'_>,
    asks: Option<&dyn Asks>,
    buffers: &mut Buffers,
    each: Each<'_>,
) {
    let body = body(record);
    prefetch(body.as_bytes());
    match first_byte(body) {
        Some(b'{') if body.len() <= BODY_BYTES_MAX => {
            if known(taxonomy, record, body, asks, buffers, each)
                || object(taxonomy, record, body, buffers, each)
            {
                return;
            }
        }
        Some(b'{' | b'[') => {}
        // Neither a list nor an envelope.
        _ => return document(taxonomy, record, body, buffers, &mut None, each),
    }
    documents(taxonomy, record, body, buffers, each);
}

/// Hands out the event of a body with the outline of an earlier one; `false` where it has none, or is
/// broken.
fn known(
    taxonomy: &Taxonomy,
    record: &LogRecord<'_>,
    body: &str,
    asks: Option<&dyn Asks>,
    buffers: &mut Buffers,
    each: Each<'_>,
) -> bool {
    let Buffers { outlines, spans, folded, quiet, .. } = buffers;
    let Some((number, twice)) = outlines.find(body, spans) else { return false };
    let shape = outlines.shape_mut(number);
    let wants = asks.and_then(|asks| {
        let wants = shape.prepare(taxonomy, asks, body, spans, quiet)?;
        Some((wants, shape.search(wants, asks, body, spans, &twice, folded)))
    });
    let class = wants.and_then(|(wants, _)| shape.class(wants));
    let place = match wants.map_or(Err(None), |wants| shape.is_quiet(wants, body, spans, quiet)) {
        Err(place) => place,
        Ok(()) => {
            let mut event = Event { class: class.flatten(), is_quiet: true, ..Event::default() };
            event.source = Cow::Borrowed(body);
            event.decided.form = WINDOWS;
            each(&mut event);
            return true;
        }
    };
    let Desk { arena, room, outlines, quiet, spans } = buffers.desk();
    let outlines: &Outlines<_> = outlines;
    let shape = outlines.shape(number);
    let mut event = room.take_event();
    let identity = shape.read(wants, body, spans, &mut event, arena);
    let is_whole = identity.is_some();
    if let Some(identity) = identity {
        let reading = Reading { taxonomy, record, arena };
        event.source = Cow::Borrowed(body);
        reading.windows_event(identity, class, &mut event);
        reading.derive(&mut event);
        each(&mut event);
    }
    if event.is_quiet
        && let Some(place) = place
    {
        quiet.keep(place);
    }
    room.put_event(event);
    is_whole
}

/// Hands out the event of a body that is one whole JSON object; `false` where it may be otherwise.
fn object(
    taxonomy: &Taxonomy,
    record: &LogRecord<'_>,
    body: &str,
    buffers: &mut Buffers,
    each: Each<'_>,
) -> bool {
    let Desk { arena, room, outlines, .. } = buffers.desk();
    let (mut flat, mut event) = room.take(arena);
    let is_one = flat.read_whole(body) && !may_hold_documents(&flat);
    if is_one {
        // Whether one of some `kind` is a list of others depends on its value.
        if windows::is_windows(&flat) && !flat.roots.has(&[Roots::KIND]) {
            outlines.learn(body, &flat, windows::Shape::of);
        }
        let reading = Reading { taxonomy, record, arena };
        event.source = Cow::Borrowed(body);
        let read = json_document(&mut flat, &mut event);
        reading.finish(read, &mut flat, &mut event);
        each(&mut event);
    }
    room.put(flat, event);
    is_one
}

/// Whether a document may be a list of others, or their envelope; most are neither, which a look at
/// their keys tells.
fn may_hold_documents(flat: &Flat<'_>) -> bool {
    laurel::is_possible(flat) || split::is_possible(flat) || envelope::is_possible(flat)
}

/// Hands out the events of a body that may hold several documents.
fn documents(taxonomy: &Taxonomy, record: &LogRecord<'_>, body: &str, buffers: &mut Buffers, each: Each<'_>) {
    if let Some(records) = laurel::records(cut(body, BODY_BYTES_MAX)) {
        let (arena, _) = buffers.begin();
        return Reading { taxonomy, record, arena }.audit_records(records, each);
    }
    let list = cut(body, LIST_BYTES_MAX);
    let inside = || Some(Documents { texts: envelope::documents(list)?, fault: None });
    let Some(Documents { texts, mut fault }) = split::documents(list).or_else(inside) else {
        return document(taxonomy, record, body, buffers, &mut None, each);
    };
    for text in &texts {
        document(taxonomy, record, text, buffers, &mut fault, each);
    }
}

/// Hands out the event of one document; it takes `fault` where it has none of its own.
fn document(
    taxonomy: &Taxonomy,
    record: &LogRecord<'_>,
    text: &str,
    buffers: &mut Buffers,
    fault: &mut Option<String>,
    each: Each<'_>,
) {
    let (arena, room) = buffers.begin();
    let (mut flat, mut event) = room.take(arena);
    let reading = Reading { taxonomy, record, arena };
    let body = cut(text, BODY_BYTES_MAX);
    if body.len() < text.len() {
        event.fault = Some(format!("body of {} bytes is read up to byte {}", text.len(), body.len()));
    }
    event.source = Cow::Borrowed(body);
    let read = match first_byte(body) {
        Some(b'{' | b'[') => json_body(body, &mut flat, &mut event),
        Some(_) if !has_windows_attributes(record) => line::read(body, &mut event, arena),
        _ => reading.attribute_body(body, &mut flat, &mut event),
    };
    reading.finish(read, &mut flat, &mut event);
    event.fault = event.fault.take().or_else(|| fault.take());
    each(&mut event);
    room.put(flat, event);
}

/// The first byte that is no blank.
fn first_byte(text: &str) -> Option<u8> {
    text.bytes().find(|byte| !byte.is_ascii_whitespace())
}

/// The record's text: its body, else the original that a receiver kept beside it.
fn body<'a>(record: &'a LogRecord<'a>) -> &'a str {
    match record.body.as_ref() {
        "" => record.attribute("log.record.original").unwrap_or(""),
        body => body,
    }
}

/// The first `bytes_max` bytes of `text`, or fewer, to end with a whole character.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Root keys under which wrappers keep the line that a program wrote.
const MESSAGE_KEYS: [&str; 5] = ["message", "MESSAGE", "log", "msg", "SyslogMessage"];

fn json_body<'a>(body: &'a str, flat: &mut Flat<'a>, event: &mut Event<'a>) -> Read<'a> {
    if let Err(fault) = flat.read("", body) {
        if flat.leaves.iter().all(|leaf| leaf.prefix == 0 && leaf.key == "value") {
            // `[2026-08-05] x` or `[Fri Oct 08 17:08:41] [error] …`: text that only begins like JSON.
            return line::read(body, event, flat.arena);
        }
        event.fault.get_or_insert(fault);
        event.texts.push(Cow::Borrowed(body));
    }
    json_document(flat, event)
}

/// Reads a flattened document.
fn json_document<'a>(flat: &mut Flat<'a>, event: &mut Event<'a>) -> Read<'a> {
    if let Some(identity) = windows::from_flat(flat, event) {
        return Read::Windows(identity);
    }
    if let Some(entry) = journald::decode(flat) {
        return journal_entry(entry, flat, event);
    }
    if let Some(text) = wrapped_line(flat) {
        match line::read_cow(text, event, flat.arena) {
            Read::Windows(identity) => return Read::Windows(identity),
            Read::Other(mut found) => {
                azure_syslog(flat, &mut found);
                flat.leaves.retain(|leaf| leaf.prefix != 0 || !MESSAGE_KEYS.contains(&leaf.key));
                line::push_leaves(flat, event);
                return Read::Other(found);
            }
        }
    }
    line::push_leaves(flat, event);
    Read::Other(Found { format: Format::Json, ..Found::default() })
}

/// The line inside a document that is only its wrapping: Docker's `{"log":…,"stream":…}`, SigNoz's
/// JSON mode `{"message":…}`, any document whose message is an XML event.
fn wrapped_line<'a>(flat: &Flat<'a>) -> Option<Cow<'a, str>> {
    let text = |key: &str| match flat.root(key) {
        Some(Value::Str(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let line = MESSAGE_KEYS.iter().find_map(|key| text(key))?;
    let is_docker = flat.root("log").is_some() && flat.root("stream").is_some();
    if is_docker {
        return Some(match line {
            Cow::Borrowed(line) => Cow::Borrowed(line.trim_end_matches('\n')),
            Cow::Owned(line) => Cow::Owned(line.trim_end_matches('\n').to_owned()),
        });
    }
    let is_alone = flat.leaves.len() == 1 || flat.root("SyslogMessage").is_some();
    (is_alone || windows::find_xml(&line).is_some()).then_some(line)
}

/// A row of Azure's `Syslog` table, whose columns hold what the header said.
fn azure_syslog<'a>(flat: &Flat<'a>, found: &mut Found<'a>) {
    let text = |key: &str| match flat.root(key) {
        Some(Value::Str(text)) if flat.root("SyslogMessage").is_some() => text.clone(),
        _ => Cow::Borrowed(""),
    };
    if found.host.is_empty() {
        found.host = text("HostName");
    }
    if found.host.is_empty() {
        found.host = text("Computer");
    }
    if found.program.is_empty() {
        found.program = text("ProcessName");
    }
    if found.format == Format::Text && !found.program.is_empty() {
        found.format = Format::Syslog;
    }
}

fn journal_entry<'a>(entry: journald::Entry<'a>, flat: &mut Flat<'a>, event: &mut Event<'a>) -> Read<'a> {
    let message = match entry.audit_type.as_ref() {
        "" => entry.message,
        // The kernel's audit records stand in the journal without their header.
        kind => {
            let serial = flat.root("_AUDIT_ID").and_then(Value::text).unwrap_or_default();
            // Microseconds, of which the audit system knows the first three.
            let time = flat.root("_SOURCE_REALTIME_TIMESTAMP").and_then(Value::text);
            let time: u64 = time.and_then(|time| time.parse().ok()).unwrap_or(0);
            let id = format!("{}.{:03}:{serial}", time / 1_000_000, time / 1000 % 1000);
            let fields = entry.message.strip_prefix(kind).unwrap_or(&entry.message);
            Cow::Owned(format!("type={kind} msg=audit({id}): {}", fields.trim_start()))
        }
    };
    let mut found = match line::read_cow(message, event, flat.arena) {
        Read::Windows(identity) => return Read::Windows(identity),
        Read::Other(found) => found,
    };
    if found.format == Format::Text {
        found.format = Format::Syslog;
    }
    if found.program.is_empty() {
        found.program = match entry.program {
            Cow::Borrowed(program) => Cow::Borrowed(syslog::name(program)),
            Cow::Owned(program) => Cow::Owned(syslog::name(&program).to_owned()),
        };
    }
    found.facility = found.facility.or(entry.facility);
    if !entry.host.is_empty() {
        found.host = entry.host;
    }
    line::push_leaves(flat, event);
    Read::Other(found)
}

/// Whether a pipeline or shipper put a Windows event into the attributes.
fn has_windows_attributes(record: &LogRecord<'_>) -> bool {
    ["channel", "Channel", "winlog.channel"].iter().any(|name| record.attribute(name).is_some())
}

/// All attributes, flattened as a JSON body would be; JSON text among them is read.
fn attributes<'a>(record: &'a LogRecord<'a>, flat: &mut Flat<'a>) {
    flat.clear();
    for (name, value) in &record.attributes_string {
        if is_metadata(name) {
            continue;
        }
        let is_json = matches!(value.as_bytes().first(), Some(b'{' | b'['));
        if !is_json || flat.read(name, value).is_err() {
            flat.push_path(name, Value::from(value.as_ref()));
        }
    }
    for (name, value) in &record.attributes_number {
        if !is_metadata(name) {
            flat.push_path(name, Value::Float(*value));
        }
    }
    for (name, value) in &record.attributes_bool {
        flat.push_path(name, Value::Bool(*value));
    }
}

/// Attributes that say how the record was collected or repeat the syslog header, not what happened.
fn is_metadata(name: &str) -> bool {
    name.starts_with("log.")
        || matches!(
            name,
            "logtag"
                | "time"
                | "appname"
                | "hostname"
                | "proc_id"
                | "msg_id"
                | "priority"
                | "facility"
                | "facility_text"
                | "structured_data"
        )
}

impl<'a> Reading<'a> {
    /// The events of an audit event that LAUREL had put together: one a record.
    fn audit_records(self, records: Vec<String>, each: Each<'_>) {
        let mut flat = Flat::new(self.arena);
        let mut parent = vec![];
        for text in records {
            let mut event = Event { source: Cow::Borrowed(body(self.record)), ..Event::default() };
            let read = line::read(self.arena.alloc_str(&text), &mut event, self.arena);
            let Read::Other(found) = read else { continue };
            if event.fields.first().is_some_and(|(_, kind)| *kind == Value::from(laurel::PARENT)) {
                parent = event.audit;
                continue;
            }
            event.audit.splice(..0, std::mem::take(&mut parent));
            self.other(found, &mut flat, &mut event);
            each(&mut event);
        }
    }

    /// A record whose content stands in its attributes.
    fn attribute_body(self, body: &'a str, flat: &mut Flat<'a>, event: &mut Event<'a>) -> Read<'a> {
        attributes(self.record, flat);
        if let Some(identity) = windows::from_flat(flat, event) {
            return Read::Windows(identity);
        }
        if body.is_empty()
            && let Some(message) = self.record.attribute("message")
        {
            return line::read(message, event, self.arena);
        }
        if !body.is_empty() {
            return line::read(body, event, self.arena);
        }
        line::push_leaves(flat, event);
        Read::Other(Found { format: Format::Json, ..Found::default() })
    }

    /// What the text did not tell, and what follows from all of it. `flat` is no longer needed.
    fn finish(self, read: Read<'a>, flat: &mut Flat<'a>, event: &mut Event<'a>) {
        match read {
            Read::Windows(identity) => self.windows_event(identity, None, event),
            Read::Other(found) => self.other(found, flat, event),
        }
        self.derive(event);
    }

    /// Adds what is computed for the event's class.
    fn derive(self, event: &mut Event<'a>) {
        if let Some(ClassId(class)) = event.class
            && let Some(steps) = self.taxonomy.derive.get(usize::from(class))
        {
            derive::apply(steps, self.record, event, self.arena);
        }
    }

    /// Finishes a Windows event: what the JSON body lacks is taken from the original XML, if kept. `class` if
    /// that is known already.
    fn windows_event(
        self,
        mut identity: Identity<'a>,
        mut class: Option<Option<ClassId>>,
        event: &mut Event<'a>,
    ) {
        let Reading { taxonomy, record, arena } = self;
        if !identity.has_data
            && let Some(original) = record.attribute("log.record.original")
            && let Some(at) = windows::find_xml(original)
        {
            let mut from_xml = Event::default();
            if let Some(better) = windows::from_xml(&original[at..], &mut from_xml, arena)
                && better.has_data
            {
                identity = better;
                class = None;
                event.fields = from_xml.fields;
                event.searched = 0;
            }
        }
        event.host = match identity.computer.is_empty() {
            true => host(record, Cow::Borrowed("")),
            false => identity.computer.clone(),
        };
        if identity.anonymous > 0 {
            let Identity { channel, event_id, anonymous, .. } = &identity;
            let positions = taxonomy.channels.positions(channel, *event_id, *anonymous);
            windows::name_data(&identity, positions, event);
        }
        let Identity { channel, provider, event_id, .. } = &identity;
        event.class = class.unwrap_or_else(|| taxonomy.channels.class(channel, provider, *event_id, event));
        event.decided.form = WINDOWS;
    }

    /// Finishes anything else: what the text did not tell, attributes and resource may.
    fn other(self, mut found: Found<'a>, flat: &mut Flat<'a>, event: &mut Event<'a>) {
        let Reading { taxonomy, record, arena } = self;
        if let Some(program) = record.attribute("appname") {
            found.program = Cow::Borrowed(syslog::name(program));
            if found.format == Format::Text {
                found.format = Format::Syslog;
            }
        }
        if found.program.is_empty() {
            found.program = writer(record).unwrap_or("").into();
        }
        // A number in SigNoz; text in `otel_logs`, which has only text attributes.
        let number = record.attributes_number.iter().find(|(name, _)| name == "facility");
        let facility = number.map(|(_, number)| *number as u8);
        let facility = facility.or_else(|| record.attribute("facility").and_then(|text| text.parse().ok()));
        found.facility = found.facility.or(facility);
        found.path = record.attribute("log.file.path").unwrap_or("").into();
        let name = record.attribute("log.file.name").or_else(|| record.attribute("log.file.path"));
        found.file = name.and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or("").into();
        if let Some(known) = taxonomy.programs.iter().find(|entry| entry.when.holds(&found, record, event)) {
            found.program = Cow::Borrowed(&known.program);
        }
        if matches!(found.format, Format::Text | Format::Syslog) && !found.is_document {
            known_form(&mut found, event, arena);
        }
        // Without a body, the attributes are the document and are fields already.
        let has_more = match found.format {
            Format::Text | Format::Syslog => true,
            Format::Json => !event.source.is_empty(),
            Format::Audit | Format::AuditEvent | Format::Access | Format::Form => false,
        };
        if has_more && event.fields.len() < super::json::LEAVES_MAX {
            // What a receiver knows, or a parser of the pipeline took out of the line.
            attributes(record, flat);
            flat.leaves.retain(|leaf| leaf.prefix != 0 || leaf.key != "message");
            line::push_leaves(flat, event);
        }
        self.classify(&found, event);
        if found.host.is_empty() && (found.format == Format::Json || found.is_document) {
            found.host = document_host(event);
        }
        event.host = host(record, found.host);
    }

    /// Finds the class by the sources' conditions.
    fn classify(self, found: &Found<'a>, event: &mut Event<'a>) {
        let fits = |found: &Found<'_>| self.taxonomy.sources.find(found, self.record, event, self.arena);
        let document =
            found.is_document.then(|| fits(&Found { format: Format::Json, ..found.clone() })).flatten();
        let class = document.or_else(|| fits(found));
        event.class = class.map(|(_, class)| class);
        event.decided.source = class.map(|(number, _)| number);
        event.decided.form = if found.form.is_empty() { found.format.name() } else { found.form };
    }
}

/// Under these names agents write the host that a document is about: ECS, osquery, Tetragon.
const HOST_FIELDS: [&str; 4] = ["host.name", "host.hostname", "hostIdentifier", "node_name"];

/// The host that a document itself names.
fn document_host<'a>(event: &Event<'a>) -> Cow<'a, str> {
    let host = HOST_FIELDS.iter().find_map(|name| match event.field(name) {
        Some(Value::Str(host)) if !host.is_empty() => Some(host.clone()),
        _ => None,
    });
    host.unwrap_or_default()
}

/// Looks for the marks of a known form in the line that was read.
fn known_form<'a>(found: &mut Found<'a>, event: &mut Event<'a>, arena: &'a Arena) {
    let Some(whole) = event.texts.last().map(|text| keep(arena, text.clone())) else { return };
    if let Some((format, form)) = form::decode(line_of(whole, found), event) {
        found.format = format;
        found.form = form;
    }
}

fn line_of<'t, 'h>(whole: &'t str, found: &'h Found<'_>) -> form::Line<'t, 'h> {
    let message = whole.get(found.message..).unwrap_or(whole);
    form::Line { whole, message, program: &found.program, file: &found.file }
}

/// Who wrote a line that has no syslog header, as far as the record tells.
fn writer<'a>(record: &'a LogRecord<'a>) -> Option<&'a str> {
    record
        .attribute("syslog.identifier")
        .or_else(|| record.attribute("source"))
        .or_else(|| record.resource("k8s.container.name"))
        .or_else(|| record.resource("container.name"))
        .or_else(|| record.attribute("container_name"))
        .or_else(|| record.resource("service.name"))
}

/// The host: the origin's name before the forwarder's. `own` is what the text itself says.
fn host<'a>(record: &'a LogRecord<'a>, own: Cow<'a, str>) -> Cow<'a, str> {
    let named = |name: Option<&'a str>| name.filter(|name| !name.is_empty());
    if let Some(sender) = named(record.attribute("hostname")) {
        return Cow::Borrowed(sender);
    }
    if !own.is_empty() {
        return own;
    }
    let known = named(record.resource("host.name"))
        .or_else(|| named(record.resource("k8s.node.name")))
        .or_else(|| named(record.attribute("server.address")));
    let first_of_fingerprint = || {
        let first = record.resource_fingerprint.split(';').next().unwrap_or("");
        first.split_once('=').filter(|(key, _)| *key != "hash").map_or("", |(_, value)| value)
    };
    Cow::Borrowed(known.unwrap_or_else(first_of_fingerprint))
}

#[cfg(test)]
mod tests;

//! Windows events from their XML: raw bodies, `log.record.original`, Sysmon for Linux.
//!
//! XML that is cut in the middle (syslog's size limit) gives what was complete, and a fault.

use super::super::buffers::{Arena, keep};
use super::super::event::Event as LogEvent;
use super::{Draft, Identity, Part};
use crate::value::Value;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// Elements nested deeper than this end the reading; real events have at most six levels.
const DEPTH_MAX: usize = 32;
/// More values than this are not read.
const FIELDS_MAX: usize = 2000;

/// Where an `<Event …>` begins in `text`, looking past a syslog header only.
pub(in super::super) fn find(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let head = &bytes[..bytes.len().min(HEADER_BYTES_MAX + 1)];
    let is_event = |at: &usize| {
        let after = bytes[*at..].strip_prefix(b"<Event").and_then(|rest| rest.first());
        matches!(after, Some(b' ' | b'>' | b'\t' | b'\r' | b'\n'))
    };
    memchr::memchr_iter(b'<', head).find(is_event)
}

/// Longest header in front of the XML, bytes.
const HEADER_BYTES_MAX: usize = 512;

/// Decodes the event that `text` begins with. `None` if it has no `<System>`.
pub(in super::super) fn decode<'a>(
    text: &'a str,
    event: &mut LogEvent<'a>,
    arena: &'a Arena,
) -> Option<Identity<'a>> {
    let mut fault = None;
    let fields_before = event.fields.len();
    let mut walk = Walk {
        draft: Draft::new(event, arena),
        source: text,
        path: vec![],
        name: Name::None,
        text: Cow::Borrowed(""),
        has_system: false,
    };
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    config.allow_dangling_amp = true;
    loop {
        let at = reader.buffer_position();
        match reader.read_event() {
            Ok(Event::Start(start)) => walk.open(&start),
            Ok(Event::Empty(start)) => {
                walk.open(&start);
                walk.close();
            }
            Ok(Event::End(_)) => walk.close(),
            Ok(Event::Text(text)) => walk.append(text.into_inner()),
            Ok(Event::CData(text)) => walk.append(text.into_inner()),
            Ok(Event::GeneralRef(reference)) => {
                let character = reference.resolve_char_ref().ok().flatten();
                walk.append(entity(character, &reference.into_inner()));
            }
            Ok(Event::Eof) => {
                fault = Some(format!("event XML is cut at byte {at}"));
                break;
            }
            Ok(_) => {}
            Err(error) => {
                fault = Some(format!("broken event XML at byte {at}: {error}"));
                break;
            }
        }
        if walk.path.is_empty() && walk.has_system {
            break;
        }
        if walk.path.len() > DEPTH_MAX || walk.draft.event.fields.len() > fields_before + FIELDS_MAX {
            fault = Some(format!("event XML is too deep or too long at byte {at}"));
            break;
        }
    }
    if !walk.has_system {
        walk.draft.event.fields.truncate(fields_before);
        return None;
    }
    let identity = walk.draft.finish();
    event.fault = event.fault.take().or(fault);
    Some(identity)
}

/// The text of a reference: a character, one of XML's five entities, else as it was written.
fn entity(character: Option<char>, name: &str) -> Cow<'static, str> {
    if let Some(character) = character {
        return Cow::Owned(character.to_string());
    }
    match name {
        "lt" => "<".into(),
        "gt" => ">".into(),
        "amp" => "&".into(),
        "quot" => "\"".into(),
        "apos" => "'".into(),
        _ => Cow::Owned(format!("&{name};")),
    }
}

/// What the open value element is called.
enum Name<'a> {
    None,
    System(Part),
    Data(&'a str),
    Anonymous,
}

/// Place in the document.
struct Walk<'e, 'a> {
    draft: Draft<'e, 'a>,
    /// The whole text: names and values are borrowed from it.
    source: &'a str,
    /// Local names of the open elements.
    path: Vec<&'a str>,
    name: Name<'a>,
    text: Cow<'a, str>,
    has_system: bool,
}

impl<'a> Walk<'_, 'a> {
    fn open(&mut self, start: &BytesStart<'a>) {
        let name = within(self.source, start.local_name().into_inner()).unwrap_or("");
        let section = self.path.get(1).copied().unwrap_or("");
        let depth = self.path.len();
        let is_value = matches!(self.name, Name::None);
        match (section, depth) {
            ("System", 2) => {
                self.name = Name::System(system_part(name));
                self.attributes(name, start);
            }
            ("EventData", 2) => {
                let given = match name {
                    "Data" => self.attribute(start, "Name").map(|name| keep(self.draft.arena, name)),
                    name => Some(name),
                };
                self.name = given.map_or(Name::Anonymous, Name::Data);
            }
            ("UserData", 3..) => {
                if depth == 3 && is_value {
                    self.name = Name::Data(name);
                }
                self.user_data_attributes(start);
            }
            ("RenderingInfo", 2) if name == "Message" => self.name = Name::System(Part::RenderedMessage),
            ("RenderingInfo", 2) if name == "Level" => self.name = Name::System(Part::Level),
            ("RenderingInfo", 2) if name == "Task" => self.name = Name::System(Part::Named("Task")),
            ("RenderingInfo", 2) if name == "Opcode" => self.name = Name::System(Part::Named("Opcode")),
            ("RenderingInfo", 3) if name == "Keyword" => self.name = Name::System(Part::Keywords),
            ("", 1) if name == "System" => self.has_system = true,
            _ => {}
        }
        if depth <= 3 {
            self.text = Cow::Borrowed("");
        }
        self.path.push(name);
    }

    fn close(&mut self) {
        self.path.pop();
        let is_end_of_value = match self.path.get(1).copied().unwrap_or("") {
            "UserData" => self.path.len() == 3,
            "RenderingInfo" => true,
            _ => self.path.len() == 2,
        };
        if !is_end_of_value {
            return;
        }
        let text = std::mem::replace(&mut self.text, Cow::Borrowed(""));
        match std::mem::replace(&mut self.name, Name::None) {
            Name::None => {}
            Name::System(part) => self.draft.system(part, Value::Str(text)),
            Name::Data(name) => self.draft.data(name, Value::Str(text)),
            Name::Anonymous => self.draft.anonymous(Value::Str(text)),
        }
    }

    fn append(&mut self, piece: Cow<'a, str>) {
        if matches!(self.name, Name::None) {
            return;
        }
        if self.text.is_empty() {
            self.text = piece;
        } else {
            self.text.to_mut().push_str(&piece);
        }
    }

    /// The parts of the system section that stand in attributes.
    fn attributes(&mut self, element: &str, start: &BytesStart<'a>) {
        let wanted: &[(&str, Part)] = match element {
            "Provider" => &[
                ("Name", Part::Provider),
                ("Guid", Part::Named("Provider_Guid")),
                ("EventSourceName", Part::Named("Provider_EventSourceName")),
            ],
            "EventID" => &[("Qualifiers", Part::Named("EventID_Qualifiers"))],
            "TimeCreated" => &[("SystemTime", Part::Named("SystemTime"))],
            "Execution" => &[
                ("ProcessID", Part::Named("Execution_ProcessID")),
                ("ThreadID", Part::Named("Execution_ThreadID")),
            ],
            "Correlation" => &[
                ("ActivityID", Part::Named("Correlation_ActivityID")),
                ("RelatedActivityID", Part::Named("Correlation_RelatedActivityID")),
            ],
            // Sysmon for Linux writes `UserId`.
            "Security" => {
                &[("UserID", Part::Named("Security_UserID")), ("UserId", Part::Named("Security_UserID"))]
            }
            _ => return,
        };
        for (name, part) in wanted {
            if let Some(value) = self.attribute(start, name) {
                self.draft.system(*part, Value::Str(value));
            }
        }
    }

    /// Certificate events keep their data in attributes (`<Certificate subjectName='…'/>`).
    fn user_data_attributes(&mut self, start: &BytesStart<'a>) {
        for attribute in start.attributes().with_checks(false).flatten() {
            if attribute.key.as_ref().starts_with("xmlns") {
                continue;
            }
            let name = within(self.source, attribute.key.local_name().into_inner()).unwrap_or("");
            let value = unescape(self.source, &attribute.value);
            self.draft.data(name, Value::Str(value));
        }
    }

    fn attribute(&self, start: &BytesStart<'a>, name: &str) -> Option<Cow<'a, str>> {
        let found = start.attributes().with_checks(false).flatten().find(|a| a.key.as_ref() == name)?;
        Some(unescape(self.source, &found.value))
    }
}

fn system_part(element: &str) -> Part {
    match element {
        "EventID" => Part::EventId,
        "Channel" => Part::Channel,
        "Computer" => Part::Computer,
        "Level" => Part::Level,
        "Keywords" => Part::Keywords,
        "Task" => Part::Named("Task"),
        "Opcode" => Part::Named("Opcode"),
        "Version" => Part::Named("Version"),
        "EventRecordID" => Part::Named("EventRecordID"),
        // The element's own text is blank; what matters stands in its attributes.
        _ => Part::Named(""),
    }
}

/// `part`, borrowed from the text that it is a part of: the reader hands out the same bytes with a
/// shorter life.
fn within<'a>(whole: &'a str, part: &str) -> Option<&'a str> {
    let from = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    whole.get(from..from + part.len())
}

/// An attribute's value with its entities decoded; one with a broken entity stays as it is.
fn unescape<'a>(whole: &'a str, value: &str) -> Cow<'a, str> {
    match quick_xml::escape::unescape(value) {
        Ok(Cow::Owned(text)) => Cow::Owned(text),
        _ => within(whole, value).map_or_else(|| Cow::Owned(value.to_owned()), Cow::Borrowed),
    }
}

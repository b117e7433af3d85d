//! How an event finds its class.

use super::event::{ClassId, Event};
use super::record::LogRecord;
use crate::value::Value;
use foldhash::fast::FixedState;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// What the decoder found besides fields; conditions may ask for it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Found<'a> {
    pub format: Format,
    /// Name of the line's form, where one of [`super::form`] took it; else empty.
    pub form: &'static str,
    /// Where the message begins in the event's last text, behind a syslog header.
    pub message: usize,
    /// Whether the message of a syslog line or journal entry is a JSON document, whose fields were
    /// read.
    pub is_document: bool,
    /// Program that wrote the line (`sshd`), as syslog or journald names it; else the container or
    /// service.
    pub program: Cow<'a, str>,
    /// Syslog facility, 0 to 23.
    pub facility: Option<u8>,
    /// Base name of the log file (`auth.log`), and its whole path where that is known.
    pub file: Cow<'a, str>,
    pub path: Cow<'a, str>,
    /// Host that the text itself names.
    pub host: Cow<'a, str>,
}

/// Form of a record, as far as it was recognised.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// One auditd record.
    Audit,
    /// An event put together from auditd's records.
    #[serde(rename = "audit_event")]
    AuditEvent,
    /// A line with a syslog header, syslog attributes, or a journald entry.
    Syslog,
    /// A line of a web server's access log.
    Access,
    /// Any other line whose form tells what it is: see [`When::form`].
    Form,
    /// A JSON document, or attributes without a body.
    Json,
    /// Any other text.
    #[default]
    Text,
}

impl Format {
    /// Every one, in the order of their numbers.
    pub const ALL: [Format; Format::COUNT] = [
        Format::Audit,
        Format::AuditEvent,
        Format::Syslog,
        Format::Access,
        Format::Form,
        Format::Json,
        Format::Text,
    ];
    /// How many there are.
    pub const COUNT: usize = 7;

    /// As the taxonomy writes it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Audit => "audit",
            Format::AuditEvent => "audit_event",
            Format::Syslog => "syslog",
            Format::Access => "access",
            Format::Form => "form",
            Format::Json => "json",
            Format::Text => "text",
        }
    }
}

/// Conditions that must all hold. Values may begin or end with `*`, and letter case does not
/// count; any value of a list may fit.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct When {
    /// See [`Format`].
    pub format: Vec<Format>,
    /// Names of forms, see [`super::form`].
    pub form: Vec<String>,
    /// Program names.
    pub program: Vec<String>,
    /// Base name or path of the log file.
    pub file: Vec<String>,
    /// Syslog facilities by number.
    pub facility: Vec<u8>,
    /// Texts of the event: its line or message.
    pub text: Vec<String>,
    /// Fields of the event.
    pub field: BTreeMap<String, Vec<String>>,
    /// Names of fields, of which one must be there.
    pub one_of: Vec<String>,
    /// Text attributes of the record.
    pub attribute: BTreeMap<String, Vec<String>>,
    /// Resource attributes.
    pub resource: BTreeMap<String, Vec<String>>,
}

impl When {
    /// Whether everything holds for this record.
    pub fn holds(&self, found: &Found<'_>, record: &LogRecord<'_>, event: &Event<'_>) -> bool {
        (self.format.is_empty() || self.format.contains(&found.format))
            && (self.form.is_empty() || any(&self.form, found.form))
            && (self.program.is_empty() || any(&self.program, &found.program))
            && (self.file.is_empty() || any(&self.file, &found.file) || any(&self.file, &found.path))
            && (self.facility.is_empty() || found.facility.is_some_and(|f| self.facility.contains(&f)))
            && fields_hold(&self.field, event)
            && (self.one_of.is_empty() || self.one_of.iter().any(|name| has_field(event, name)))
            && (self.text.is_empty() || event.texts.iter().any(|text| any(&self.text, text)))
            && texts_hold(&self.attribute, |name| record.attribute(name))
            && texts_hold(&self.resource, |name| record.resource(name))
    }
}

/// Whether each named field has one of the wanted values.
pub(super) fn fields_hold(wanted: &BTreeMap<String, Vec<String>>, event: &Event<'_>) -> bool {
    wanted.iter().all(|(name, values)| {
        let of_name = event.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        of_name.into_iter().any(|(_, value)| value.text().is_some_and(|text| any(values, &text)))
    })
}

fn has_field(event: &Event<'_>, name: &str) -> bool {
    event.fields.iter().any(|(field, value)| field.eq_ignore_ascii_case(name) && *value != Value::Null)
}

fn texts_hold<'r>(wanted: &BTreeMap<String, Vec<String>>, get: impl Fn(&str) -> Option<&'r str>) -> bool {
    wanted.iter().all(|(name, values)| get(name).is_some_and(|text| any(values, text)))
}

/// Whether `text` fits one of `patterns`.
pub(super) fn any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, text))
}

fn fits(pattern: &str, text: &str) -> bool {
    let (open_start, pattern) = pattern.strip_prefix('*').map_or((false, pattern), |rest| (true, rest));
    let (open_end, pattern) = pattern.strip_suffix('*').map_or((false, pattern), |rest| (true, rest));
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    if pattern.len() > text.len() {
        return false;
    }
    let starts = || text[..pattern.len()].eq_ignore_ascii_case(pattern);
    let ends = || text[text.len() - pattern.len()..].eq_ignore_ascii_case(pattern);
    match (open_start, open_end) {
        (false, false) => text.eq_ignore_ascii_case(pattern),
        (false, true) => starts(),
        (true, false) => ends(),
        (true, true) => {
            // The byte of the pattern that text holds least often says where to look.
            let Some((offset, rare)) = pattern.iter().enumerate().min_by_key(|(_, byte)| commonness(**byte))
            else {
                return true;
            };
            let places = memchr::memchr2_iter(rare.to_ascii_lowercase(), rare.to_ascii_uppercase(), text);
            let here = |at: usize| text.get(at.checked_sub(offset)?..)?.get(..pattern.len());
            { places }.filter_map(here).any(|part| part.eq_ignore_ascii_case(pattern))
        }
    }
}

/// How often a byte stands in text, roughly.
fn commonness(byte: u8) -> usize {
    const RISING: &[u8] = b"zqjxkvbywgpfmucdlhrsnioate ";
    let letter = RISING.iter().position(|known| *known == byte.to_ascii_lowercase());
    letter.map_or(usize::from(byte.is_ascii_digit() || b"./:-=".contains(&byte)), |place| place + 2)
}

/// Who wrote the records for which something holds, whatever these say themselves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    pub when: When,
    pub program: String,
}

/// The keys are the taxonomy's own, so no sender can choose them to collide.
type Table<K, V> = HashMap<K, V, FixedState>;

/// Classes of Windows events, by channel and event id.
#[derive(Debug, Clone, Default)]
pub(super) struct Channels {
    /// Folded channel name → number of the channel.
    pub names: Table<String, u16>,
    /// Provider → channel, for events whose channel is not told.
    pub providers: Table<String, String>,
    /// By channel: the class of its events without a category.
    pub services: Vec<ClassId>,
    pub events: Table<(u16, u32), Slot>,
    /// Folded channel name and event id → the names of its data, one list for each number of
    /// values; for agents that send the values alone.
    pub positions: Table<(String, u32), Vec<Vec<String>>>,
    /// Any other channel.
    pub other: Option<ClassId>,
}

/// Fields, and the values of which each must have one.
pub(super) type Condition = BTreeMap<String, Vec<String>>;

/// The classes of one channel and event id. Which one it is may depend on fields: bit *i* of the
/// index into `classes` is set if condition *i* holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slot {
    pub conditions: Vec<Condition>,
    pub classes: Vec<ClassId>,
}

impl Channels {
    /// The names of `count` values of an event's data, in their order.
    pub fn positions(&self, channel: &str, event_id: u32, count: usize) -> Option<&[String]> {
        let lists = self.positions.get(&(channel.to_ascii_lowercase(), event_id))?;
        lists.iter().find(|names| names.len() == count).map(Vec::as_slice)
    }

    /// The classes that an event of this channel and event id may be of, and the conditions that decide
    /// among them.
    pub fn possible(&self, channel: &str, event_id: u32) -> (&[ClassId], &[Condition]) {
        let number = self.names.get(channel).or_else(|| self.names.get(&channel.to_ascii_lowercase()));
        let Some(&number) = number else { return (self.other.as_slice(), &[]) };
        match self.events.get(&(number, event_id)) {
            Some(slot) => (&slot.classes, &slot.conditions),
            None => (std::slice::from_ref(&self.services[usize::from(number)]), &[]),
        }
    }

    /// The class of an event of this channel and event id.
    pub fn class(&self, channel: &str, provider: &str, event_id: u32, event: &Event<'_>) -> Option<ClassId> {
        let channel = match channel {
            "" => self.providers.get(&provider.to_ascii_lowercase()).map_or("", String::as_str),
            channel => channel,
        };
        // Agents write the channel in its usual spelling, which is stored beside the folded one.
        let number = self.names.get(channel).or_else(|| self.names.get(&channel.to_ascii_lowercase()));
        let Some(&number) = number else {
            return self.other;
        };
        let Some(slot) = self.events.get(&(number, event_id)) else {
            return Some(self.services[usize::from(number)]);
        };
        let mut index = 0;
        for (bit, condition) in slot.conditions.iter().enumerate() {
            index |= usize::from(fields_hold(condition, event)) << bit;
        }
        Some(slot.classes[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_exact_or_open_at_an_end() {
        for (pattern, text, is_fit) in [
            ("auth.log", "AUTH.log", true),
            ("auth.log*", "auth.log.1", true),
            ("*.amazonaws.com", "s3.amazonaws.com", true),
            ("*", "", true),
            ("*b*", "abc", true),
            ("*at java.*", "x\n\tAT Java.lang", true),
            ("*ab*", "b", false),
            ("*ba*", "xb", false),
            ("ab", "abc", false),
            ("abc*", "ab", false),
        ] {
            assert_eq!(fits(pattern, text), is_fit, "{pattern} {text}");
        }
    }
}

//! Windows events, whatever wrote them: the Collector's parsed bodies, raw XML, Winlogbeat, NXLog,
//! fluent-bit, SigNoz pipelines that moved the body into attributes; Sysmon for Linux as well.
//!
//! All forms end in the same fields: the parts of `<System>` under the names that Sigma uses
//! (`EventID`, `Channel`, `Provider_Name`, …), the event's data under its own names. Which log
//! source that is, and what rules call the fields, is decided later by the taxonomy.

mod json;
mod shape;
mod xml;
pub(super) use json::{decode as from_flat, is_windows};
pub(super) use shape::Shape;
pub(super) use xml::{decode as from_xml, find as find_xml};

use super::buffers::{Arena, concat, text_of};
use super::event::Event;
use crate::value::Value;
use bumpalo::collections::Vec as ArenaVec;
use std::borrow::Cow;

/// What decides the class.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Identity<'a> {
    pub channel: Cow<'a, str>,
    pub provider: Cow<'a, str>,
    pub event_id: u32,
    pub computer: Cow<'a, str>,
    /// Whether the event carried data of its own (`EventData`, `UserData`).
    pub has_data: bool,
    /// How many values of it came without a name.
    pub anonymous: usize,
}

/// Parts of `<System>` and `<RenderingInfo>`, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Channel,
    Computer,
    EventId,
    Level,
    Keywords,
    Message,
    RenderedMessage,
    Provider,
    /// Anything that is only passed on, under this name.
    Named(&'static str),
}

/// A Windows event being put together.
struct Draft<'e, 'a> {
    event: &'e mut Event<'a>,
    arena: &'a Arena,
    id: Identity<'a>,
    level: ArenaVec<'a, &'a str>,
    keywords: ArenaVec<'a, &'a str>,
    message: Cow<'a, str>,
    rendered: Cow<'a, str>,
    /// Which parts of the identity become fields.
    named: Named,
}

/// Which parts of an event's identity become fields.
#[derive(Debug, Clone, Copy)]
struct Named {
    channel: bool,
    provider: bool,
    computer: bool,
}

impl<'e, 'a> Draft<'e, 'a> {
    fn new(event: &'e mut Event<'a>, arena: &'a Arena) -> Self {
        Draft {
            event,
            arena,
            id: Identity::default(),
            level: ArenaVec::new_in(arena),
            keywords: ArenaVec::new_in(arena),
            message: Cow::Borrowed(""),
            rendered: Cow::Borrowed(""),
            named: Named { channel: true, provider: true, computer: true },
        }
    }

    /// Takes a part of the system section.
    fn system(&mut self, part: Part, value: Value<'a>) {
        match part {
            Part::Channel => set(&mut self.id.channel, value),
            Part::Computer => set(&mut self.id.computer, value),
            Part::Provider => set(&mut self.id.provider, value),
            Part::Message => set(&mut self.message, value),
            Part::RenderedMessage => set(&mut self.rendered, value),
            Part::Level => self.level.extend(text_of(self.arena, &value)),
            Part::Keywords => self.keywords.extend(text_of(self.arena, &value)),
            Part::EventId => {
                if let Some(number) = value.number()
                    && (0.0..=f64::from(u32::MAX)).contains(&number)
                {
                    self.id.event_id = number as u32;
                    self.event.push("EventID", Value::Int(number as i64));
                }
            }
            Part::Named(name) => {
                let has_text = match &value {
                    Value::Str(text) => !text.is_empty(),
                    value => *value != Value::Null,
                };
                if has_text && !name.is_empty() {
                    self.event.push(name, value);
                }
            }
        }
    }

    /// Whether a name of the event's data means nothing but itself.
    fn is_plain(name: &str) -> bool {
        !name.eq_ignore_ascii_case("EventID")
            && !name.eq_ignore_ascii_case("Provider_Name")
            && !name.starts_with("param")
    }

    /// Takes a named value of the event's data. `param1`, `param2`, … are what newer Collectors
    /// call data without a name, so they count as `Data` too. Data that speaks of another event
    /// (Security 1108 names the id of the event that could not be written) must not pass for the
    /// identity of this one.
    fn data(&mut self, name: &'a str, value: Value<'a>) {
        self.id.has_data = true;
        if name.eq_ignore_ascii_case("EventID") || name.eq_ignore_ascii_case("Provider_Name") {
            self.event.push(concat(self.arena, &["data.", name]), value);
            return;
        }
        let number = name.strip_prefix("param").unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
            self.event.push("Data", value.clone());
        }
        self.event.push(name, value);
    }

    /// Takes a value of the event's data that has no name: one of `Data`, and `paramN` by its place.
    fn anonymous(&mut self, value: Value<'a>) {
        self.id.has_data = true;
        self.id.anonymous += 1;
        self.event.push("Data", value.clone());
        let name = concat(self.arena, &["param", &self.id.anonymous.to_string()]);
        self.event.push(name, value);
    }

    /// Adds what is told by several parts together, and says what the event is.
    fn finish(mut self) -> Identity<'a> {
        if self.id.channel.is_empty() && self.id.provider.eq_ignore_ascii_case("Linux-Sysmon") {
            self.id.channel = Cow::Borrowed("Linux-Sysmon/Operational");
        }
        for (name, value, is_named) in [
            ("Channel", &self.id.channel, self.named.channel),
            ("Provider_Name", &self.id.provider, self.named.provider),
            ("Computer", &self.id.computer, self.named.computer),
        ] {
            if is_named && !value.is_empty() {
                self.event.push(name, value.clone());
            }
        }
        let message = if self.rendered.is_empty() { self.message.clone() } else { self.rendered.clone() };
        if !message.is_empty() {
            self.event.push("Message", message);
        }
        self.push_keywords();
        self.push_level();
        self.id
    }

    /// Both spellings of each keyword: agents write the mask or its rendered name, rules either.
    fn push_keywords(&mut self) {
        for keyword in std::mem::replace(&mut self.keywords, ArenaVec::new_in(self.arena)) {
            let rendered = KEYWORDS.iter().find(|(name, _, _)| keyword.eq_ignore_ascii_case(name));
            if let Some((_, text, _)) = rendered {
                self.event.push("Keywords", *text);
            }
            if let Some(mask) = mask(keyword) {
                for (name, _, bit) in KEYWORDS {
                    if mask & bit != 0 {
                        self.event.push("Keywords", *name);
                    }
                }
                if !keyword.starts_with("0x") {
                    self.event.push("Keywords", format!("0x{mask:x}"));
                    continue;
                }
            }
            self.event.push("Keywords", keyword);
        }
    }

    /// The level as number and as text. Windows renders level 0 (always logged) as
    /// `Information`, so for audit events, which are all of level 0, both numbers count.
    fn push_level(&mut self) {
        if self.level.is_empty() {
            return;
        }
        let is_audit = self.event.fields.iter().any(|(name, value)| {
            name == "Keywords" && value.text().is_some_and(|text| text.starts_with("Audit "))
        });
        for level in std::mem::replace(&mut self.level, ArenaVec::new_in(self.arena)) {
            let known = LEVELS
                .iter()
                .find(|(number, name)| level.parse() == Ok(*number) || level.eq_ignore_ascii_case(name));
            let Some((number, name)) = known else {
                self.event.push("Level", level);
                continue;
            };
            if *number == 0 || (*number == 4 && is_audit) {
                self.event.push("Level", Value::Int(0));
            }
            if *number != 0 {
                self.event.push("Level", Value::Int(*number));
            } else {
                self.event.push("Level", Value::Int(4));
            }
            self.event.push("Level", *name);
        }
    }
}

/// Names the data of an agent that sends values alone (Collectors before v0.76): by their
/// `positions` where these are known, else for Sysmon by its rendered message, which has all names, a
/// line each, and is not localised.
pub(super) fn name_data<'a>(identity: &Identity<'_>, positions: Option<&'a [String]>, event: &mut Event<'a>) {
    if let Some(names) = positions {
        event.fields.retain(|(name, _)| name != "Data");
        for (name, _) in &mut event.fields {
            let number = name.strip_prefix("param").and_then(|number| number.parse::<usize>().ok());
            if let Some(real) = number.and_then(|number| names.get(number.checked_sub(1)?)) {
                *name = Cow::Borrowed(real);
            }
        }
    } else if identity.provider == "Microsoft-Windows-Sysmon" {
        let message = event.field("Message").and_then(Value::text).unwrap_or_default().into_owned();
        for line in message.lines().skip(1) {
            let Some((name, value)) = line.split_once(':') else { continue };
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()) {
                let value = value.strip_prefix(' ').unwrap_or(value);
                event.push(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// Rendered level names of the standard levels (winmeta.xml). Level 0 is rendered `Information`.
const LEVELS: &[(i64, &str)] =
    &[(1, "Critical"), (2, "Error"), (3, "Warning"), (4, "Information"), (5, "Verbose"), (0, "Information")];

/// All that is rendered here and need not stand in the document, folded.
const WORDS: &str = "critical\0error\0warning\0information\0verbose\0audit success\0audit failure\0classic";

/// Rendered names of the standard keywords (winmeta.xml), their usual mask and their own bit; bit 63
/// says only that the keyword is the event log's.
const KEYWORDS: &[(&str, &str, u64)] = &[
    ("Audit Success", "0x8020000000000000", 0x0020_0000_0000_0000),
    ("Audit Failure", "0x8010000000000000", 0x0010_0000_0000_0000),
    ("Classic", "0x80000000000000", 0x0080_0000_0000_0000),
];

/// A keyword mask: hexadecimal, or NXLog's signed decimal.
fn mask(keyword: &str) -> Option<u64> {
    match keyword.strip_prefix("0x").or_else(|| keyword.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => keyword.parse::<i64>().ok().map(|number| number as u64),
    }
}

/// Sets what is still empty: the first to say something wins.
fn set<'a>(slot: &mut Cow<'a, str>, value: Value<'a>) {
    if slot.is_empty()
        && let Some(value) = text(value)
    {
        *slot = value;
    }
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Str(text) => Some(text),
        other => other.text().map(|text| Cow::Owned(text.into_owned())),
    }
}

#[cfg(test)]
mod tests;

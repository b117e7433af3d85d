//! One line or message of text: which of the known forms it has.

use super::buffers::{Arena, join, keep};
use super::class::{Format, Found};
use super::event::Event;
use super::json::Flat;
use super::windows::{self, Identity};
use super::{auditd, syslog};
use std::borrow::Cow;

/// What a text turned out to be. The fields are in the event already.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read<'t> {
    Windows(Identity<'t>),
    Other(Found<'t>),
}

/// Reads `text` into `event`.
pub(super) fn read<'t>(text: &'t str, event: &mut Event<'t>, arena: &'t Arena) -> Read<'t> {
    if let Some(at) = windows::find_xml(text)
        && let Some(identity) = windows::from_xml(&text[at..], event, arena)
    {
        return Read::Windows(identity);
    }
    let text = without_container(text);
    let header = syslog::parse(text);
    let message = header.map_or(text, |line| line.message);
    let mut found = match header {
        Some(line) => Found {
            format: Format::Syslog,
            program: line.program.into(),
            facility: line.facility,
            host: line.host.into(),
            ..Found::default()
        },
        None => Found::default(),
    };
    if let Some(node) = auditd::decode(message, event) {
        found.format = Format::Audit;
        if !node.is_empty() {
            found.host = node.into();
        }
    } else if message.starts_with('{') {
        // A program that logs JSON through syslog. Text that only begins like JSON stays text.
        let mut flat = Flat::new(arena);
        if flat.read("", message).is_ok() {
            push_leaves(&mut flat, event);
            found.is_document = true;
        }
    }
    found.message = text.len() - message.len();
    if !text.is_empty() {
        event.texts.push(Cow::Borrowed(text));
    }
    Read::Other(found)
}

/// The line inside what a container runtime (CRI) writes: `2026-08-05T10:15:30.1Z stdout F line`.
fn without_container(text: &str) -> &str {
    let Some((time, rest)) = text.split_once(' ') else { return text };
    let is_time = time.len() >= 20 && time.as_bytes()[10] == b'T' && time.as_bytes()[0].is_ascii_digit();
    let rest = rest.strip_prefix("stdout ").or_else(|| rest.strip_prefix("stderr "));
    let rest = rest.filter(|_| is_time);
    let line = rest.and_then(|rest| rest.strip_prefix("F ").or_else(|| rest.strip_prefix("P ")));
    line.unwrap_or(text)
}

/// [`read`], for text that may not live as long as the record.
pub(super) fn read_cow<'a>(text: Cow<'a, str>, event: &mut Event<'a>, arena: &'a Arena) -> Read<'a> {
    read(keep(arena, text), event, arena)
}

/// Moves all leaves of a document into the event, under their whole names.
pub(super) fn push_leaves<'a>(flat: &mut Flat<'a>, event: &mut Event<'a>) {
    let Flat { leaves, prefixes, arena, .. } = flat;
    event.fields.reserve(leaves.len());
    for leaf in leaves.drain(..) {
        let name = join(arena, prefixes[leaf.prefix], leaf.key);
        event.fields.push((Cow::Borrowed(name), leaf.value));
    }
}

//! Memory that decoding takes again from record to record, so that an event costs no allocation once
//! the memory has grown to what the largest one needs.
//!
//! Texts that do not stand in the record as they are (escapes taken out, names put together) go to an
//! arena that is emptied before the next document; lists of fields give their room to the next event.

use super::event::{Event, FieldName};
use super::json::outline::{Outlines, Span};
use super::json::{Flat, Leaf};
use super::quiet::Quiet;
use super::windows::Shape;
use crate::value::Value;
use bumpalo::collections::String as ArenaString;
use std::borrow::Cow;

/// Texts that live as long as the event.
pub(super) type Arena = bumpalo::Bump;

/// One thread's memory for decoding; see [`super::Taxonomy::recognise_in`].
#[derive(Debug, Default)]
pub struct Buffers {
    arena: Arena,
    room: Room,
    /// What is known of Windows events read before.
    pub(super) outlines: Outlines<Shape>,
    /// Those of which nothing came.
    pub(super) quiet: Quiet,
    /// Where the values of the document stand.
    pub(super) spans: Vec<Span>,
    /// The document or parts of it, folded.
    pub(super) folded: Vec<u8>,
}

/// More than so many bytes are not kept for the next record.
const ARENA_BYTES_MAX: usize = 1 << 20;

impl Buffers {
    /// Forgets what is known of earlier records.
    pub fn forget(&mut self) {
        self.outlines = Outlines::default();
        self.quiet = Quiet::default();
    }

    /// Empties the arena, for a new document.
    pub(super) fn begin(&mut self) -> (&Arena, &mut Room) {
        let Desk { arena, room, .. } = self.desk();
        (arena, room)
    }

    /// The same, with all that is there.
    pub(super) fn desk(&mut self) -> Desk<'_> {
        if self.arena.allocated_bytes() > ARENA_BYTES_MAX {
            self.arena = Arena::new();
        } else {
            self.arena.reset();
        }
        let Buffers { arena, room, outlines, quiet, spans, .. } = self;
        Desk { arena, room, outlines, quiet, spans }
    }
}

/// What a document is read with.
pub(super) struct Desk<'b> {
    pub arena: &'b Arena,
    pub room: &'b mut Room,
    pub outlines: &'b mut Outlines<Shape>,
    pub quiet: &'b mut Quiet,
    pub spans: &'b [Span],
}

/// Lists without content, which keep their room.
#[derive(Debug, Default)]
pub(super) struct Room {
    leaves: Vec<Leaf<'static>>,
    prefixes: Vec<&'static str>,
    fields: Vec<(FieldName<'static>, Value<'static>)>,
    texts: Vec<Cow<'static, str>>,
}

impl Room {
    /// An empty document and an empty event.
    pub fn take<'a>(&mut self, arena: &'a Arena) -> (Flat<'a>, Event<'a>) {
        let mut flat = Flat::new(arena);
        flat.leaves = emptied(std::mem::take(&mut self.leaves));
        flat.prefixes = emptied(std::mem::take(&mut self.prefixes));
        (flat, self.take_event())
    }

    /// An empty event.
    pub fn take_event<'a>(&mut self) -> Event<'a> {
        let fields = emptied(std::mem::take(&mut self.fields));
        let texts = emptied(std::mem::take(&mut self.texts));
        Event { fields, texts, ..Event::default() }
    }

    /// Takes its room back.
    pub fn put_event(&mut self, event: Event<'_>) {
        self.fields = emptied(event.fields);
        self.texts = emptied(event.texts);
    }

    /// Takes their room back.
    pub fn put(&mut self, flat: Flat<'_>, event: Event<'_>) {
        self.leaves = emptied(flat.leaves);
        self.prefixes = emptied(flat.prefixes);
        self.put_event(event);
    }
}

/// The list without its content, for content of another lifetime. Collecting takes the room over, as
/// both have the same layout.
fn emptied<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    list.into_iter().filter_map(|_| None).collect()
}

/// `parts`, one behind the other.
pub(super) fn concat<'a>(arena: &'a Arena, parts: &[&str]) -> &'a str {
    let mut text = ArenaString::with_capacity_in(parts.iter().map(|part| part.len()).sum(), arena);
    for part in parts {
        text.push_str(part);
    }
    text.into_bump_str()
}

/// `prefix.key`, where there is a prefix.
pub(super) fn join<'a>(arena: &'a Arena, prefix: &str, key: &'a str) -> &'a str {
    if prefix.is_empty() { key } else { concat(arena, &[prefix, ".", key]) }
}

/// The text, independent of who owns it.
pub(super) fn keep<'a>(arena: &'a Arena, text: Cow<'a, str>) -> &'a str {
    match text {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => arena.alloc_str(&text),
    }
}

/// The value as Sigma compares it, see [`Value::text`].
pub(super) fn text_of<'a>(arena: &'a Arena, value: &Value<'a>) -> Option<&'a str> {
    match value {
        Value::Str(Cow::Borrowed(text)) => Some(text),
        value => value.text().map(|text| -> &'a str { arena.alloc_str(&text) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_again() {
        let mut buffers = Buffers::default();
        let mut room_of = |count: usize| {
            let (arena, room) = buffers.begin();
            let (flat, mut event) = room.take(arena);
            let before = event.fields.capacity();
            for number in 0..count {
                event.push(concat(arena, &["field", &number.to_string()]), "x");
            }
            room.put(flat, event);
            before
        };
        room_of(100);
        assert!(room_of(1) >= 100);
        assert!(room_of(1) >= 100);
    }

    #[test]
    fn texts_are_put_together() {
        let arena = Arena::new();
        assert_eq!(join(&arena, "a.b", "c"), "a.b.c");
        assert_eq!(join(&arena, "", "c"), "c");
        assert_eq!(text_of(&arena, &Value::Int(7)), Some("7"));
        assert_eq!(text_of(&arena, &Value::Null), None);
    }
}

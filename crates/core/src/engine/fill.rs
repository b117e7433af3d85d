//! Takes an event's values: files them under their slots, finds what they fulfil, and wakes rules.
//!
//! A value that is remembered costs a lookup. The others are copied one after the other, folded
//! together, and asked for in the index of each slot that takes them.

use super::program::Program;
use super::remembered::{Field, Place};
use super::run::{END, Folded, Link, Scratch, UNFOLDED, Whose, text};
use crate::otel::{Event, normal_name};
use crate::value::{Value, fold_into, same};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Names in the order of an event's fields, each with its list of slots: the next event of the class
/// mostly has the same, which saves looking them up.
#[derive(Debug, Default)]
pub(super) struct Layout(Vec<(Box<str>, u32)>);

/// Most and longest names remembered of a class.
const LAYOUT_NAMES_MAX: usize = 256;
const LAYOUT_NAME_BYTES_MAX: usize = 128;
/// The list of slots of a name that no rule asks for.
const UNWANTED: u32 = u32::MAX;

/// A value that is yet to be asked for in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unknown {
    /// Index into [`Scratch::values`].
    value: u32,
    /// The list of slots that take it.
    list: u32,
    /// Where to remember what comes of it.
    place: Option<Place>,
}

impl Scratch {
    /// Takes the values of all fields and texts that any rule wants.
    pub(super) fn fill(&mut self, whose: Whose, program: &Program, event: &Event<'_>) {
        let mut layout = std::mem::take(&mut self.layouts[whose.class]);
        for (source, (name, value)) in event.fields.iter().enumerate() {
            let list = match layout.0.get(source) {
                Some((known, list)) if same(known.as_bytes(), name.as_bytes()) => *list,
                _ => {
                    let list = self.look_up(program, name);
                    if program.remember_names {
                        layout.remember(source, name, list);
                    }
                    list
                }
            };
            if list != UNWANTED {
                self.take(whose, program, source as u32, list, value);
            } else if program.texts.is_some() {
                let value = self.copy(source as u32, value);
                self.unknown.push(Unknown { value, list, place: None });
            }
        }
        self.layouts[whose.class] = layout;
        if program.texts.is_some() {
            for (number, text) in event.texts.iter().enumerate() {
                let start = self.folded.len() as u32;
                self.folded.push_str(text);
                let end = self.folded.len() as u32;
                let source = (event.fields.len() + number) as u32;
                self.values.push(Folded { source, start, end, is_null: false });
                let value = self.values.len() as u32 - 1;
                self.unknown.push(Unknown { value, list: UNWANTED, place: None });
            }
        }
        self.fold_copied(event);
        self.find(program, event);
    }

    /// Takes a value that rules ask for by its field's name.
    fn take(&mut self, whose: Whose, program: &Program, source: u32, list: u32, value: &Value<'_>) {
        let field = |is_number| Field { program: whose.program as u32, list, is_number };
        let known = match value {
            _ if !program.remember_values => Err(None),
            Value::Str(text) => self.remembered.find(field(false), text.as_bytes()),
            Value::Int(int) => self.remembered.find(field(true), &int.to_le_bytes()),
            _ => Err(None),
        };
        let value = match known {
            Ok(known) => {
                let Scratch { epoch, preds, groups, woken, candidates, .. } = self;
                let mut marks = Marks { epoch: *epoch, preds, groups, woken, candidates };
                known.iter().for_each(|pred| marks.set(program, *pred));
                self.values.push(Folded { source, start: UNFOLDED, end: UNFOLDED, is_null: false });
                self.values.len() as u32 - 1
            }
            Err(place) => {
                let value = self.copy(source, value);
                self.unknown.push(Unknown { value, list, place });
                value
            }
        };
        for slot in program.name_slots.get(list) {
            self.file(program, *slot, value);
        }
    }

    /// The list of slots for the values of a field.
    fn look_up(&mut self, program: &Program, name: &str) -> u32 {
        normalise(name, &mut self.name);
        program.names.get(self.name.as_str()).copied().unwrap_or(UNWANTED)
    }

    /// Appends the text of a value, to be folded with the others; gives its number.
    fn copy(&mut self, source: u32, value: &Value<'_>) -> u32 {
        let start = self.folded.len() as u32;
        match value {
            Value::Str(text) => self.folded.push_str(text),
            Value::Null => {}
            // Writing to a String cannot fail.
            Value::Int(number) => _ = write!(self.folded, "{number}"),
            other => self.folded.push_str(&other.text().unwrap_or_default()),
        }
        let end = self.folded.len() as u32;
        self.values.push(Folded { source, start, end, is_null: *value == Value::Null });
        self.values.len() as u32 - 1
    }

    /// Folds what was copied. Only ASCII keeps its length.
    fn fold_copied(&mut self, event: &Event<'_>) {
        if self.folded.is_ascii() {
            self.folded.make_ascii_lowercase();
            return;
        }
        self.folded.clear();
        for value in self.values.iter_mut().filter(|value| value.start != UNFOLDED) {
            value.fold(event, &mut self.folded);
        }
    }

    fn file(&mut self, program: &Program, slot: u32, value: u32) {
        let next = self.head(slot);
        self.heads[slot as usize] = (self.epoch, self.links.len() as u32);
        self.links.push(Link { value, next });
        if next == END {
            self.wake(&program.slots[slot as usize].wakes);
        }
    }

    fn wake(&mut self, rules: &[u32]) {
        for rule in rules {
            if std::mem::replace(&mut self.woken[*rule as usize], self.epoch) != self.epoch {
                self.candidates.push(*rule);
            }
        }
    }

    /// Asks the indexes for what is not known of the values, and remembers it. All values and texts
    /// together are the values of the slot for keywords.
    fn find(&mut self, program: &Program, event: &Event<'_>) {
        let mut texts = program.texts;
        if let Some(slot) = texts {
            if !self.values.is_empty() {
                self.wake(&program.slots[slot as usize].wakes);
            }
            texts = texts.filter(|_| program.prefilter.may_match(&self.folded));
        }
        for at in 0..self.unknown.len() {
            let Unknown { value, list, place } = self.unknown[at];
            self.found.clear();
            self.begin_value();
            let slots = if list == UNWANTED { &[] } else { program.name_slots.get(list) };
            for slot in slots.iter().copied().chain(texts) {
                self.scan(program, event, slot, value);
            }
            let Scratch { epoch, preds, groups, woken, candidates, found, .. } = self;
            let mut marks = Marks { epoch: *epoch, preds, groups, woken, candidates };
            found.iter().for_each(|pred| marks.set(program, *pred));
            let Some(place) = place else { continue };
            match event.fields.get(self.values[value as usize].source as usize) {
                Some((_, Value::Str(text))) => self.remembered.remember(place, text.as_bytes(), &self.found),
                Some((_, Value::Int(int))) => {
                    self.remembered.remember(place, &int.to_le_bytes(), &self.found);
                }
                _ => {}
            }
        }
    }

    fn begin_value(&mut self) {
        self.asked = self.asked.wrapping_add(1);
        if self.asked == 0 {
            self.told.fill(0);
            self.asked = 1;
        }
    }

    /// Asks the index of a slot which predicates a value fulfils; they are appended to `found`, each once.
    fn scan(&mut self, program: &Program, event: &Event<'_>, slot: u32, value: u32) {
        let index = &program.slots[slot as usize].index;
        let value = self.values[value as usize];
        if index.is_empty() || value.is_null {
            return;
        }
        let Scratch { folded, tried, found, told, asked, .. } = self;
        let mut hit = |pred: u32| {
            if std::mem::replace(&mut told[pred as usize], *asked) != *asked {
                found.push(pred);
            }
        };
        let raw = || text(event, value.source).unwrap_or_default();
        let folded = &folded[value.start as usize..value.end as usize];
        index.scan(tried, folded, raw, &mut hit);
        if folded.ends_with(' ') {
            let raw = || match raw() {
                Cow::Borrowed(raw) => Cow::Borrowed(raw.trim_end_matches(' ')),
                Cow::Owned(raw) => Cow::Owned(raw.trim_end_matches(' ').to_owned()),
            };
            index.scan(tried, folded.trim_end_matches(' '), raw, &mut hit);
        }
    }
}

/// What is true of the event at hand: what carries its number.
struct Marks<'s> {
    epoch: u32,
    preds: &'s mut [u32],
    groups: &'s mut [u32],
    woken: &'s mut [u32],
    candidates: &'s mut Vec<u32>,
}

impl Marks<'_> {
    /// Marks a predicate as true, and its groups, which wakes rules.
    #[inline]
    fn set(&mut self, program: &Program, pred: u32) {
        if std::mem::replace(&mut self.preds[pred as usize], self.epoch) == self.epoch {
            return;
        }
        for group in program.pred_groups.get(pred) {
            if std::mem::replace(&mut self.groups[*group as usize], self.epoch) == self.epoch {
                continue;
            }
            for rule in program.group_rules.get(*group) {
                if std::mem::replace(&mut self.woken[*rule as usize], self.epoch) != self.epoch {
                    self.candidates.push(*rule);
                }
            }
        }
    }
}

impl Layout {
    fn remember(&mut self, at: usize, name: &str, list: u32) {
        if at >= LAYOUT_NAMES_MAX || name.len() > LAYOUT_NAME_BYTES_MAX {
            return;
        }
        if at >= self.0.len() {
            self.0.resize(at + 1, (Box::from(""), UNWANTED));
        }
        self.0[at] = (name.into(), list);
    }
}

impl Folded {
    /// Appends the folded text of the value to `folded` and notes where it stands.
    pub(super) fn fold(&mut self, event: &Event<'_>, folded: &mut String) {
        self.start = folded.len() as u32;
        if let Some(text) = text(event, self.source) {
            fold_into(&text, folded);
        }
        self.end = folded.len() as u32;
    }
}

/// [`normal_name`] into a reused buffer.
fn normalise(name: &str, out: &mut String) {
    out.clear();
    if name.is_ascii() {
        out.extend(
            name.bytes().filter(|b| !matches!(b, b' ' | b'_')).map(|b| b.to_ascii_lowercase() as char),
        );
    } else {
        out.push_str(&normal_name(name));
    }
}

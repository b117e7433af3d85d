//! Takes an event's values: files them under their slots, finds what they fulfil, and wakes rules.
//!
//! A value that is remembered costs a lookup. The others are copied one after the other, folded
//! together, and asked for in the index of each slot that takes them. Values that wake no rule wait until
//! a rule asks.

use super::bits::Bits;
use super::cases::{Case, Look};
use super::index::Seen;
use super::program::{Program, SlotProgram};
use super::remembered::{Field, Known};
use super::run::{END, Folded, Link, Scratch, UNFOLDED, Whose, text};
use crate::otel::{Event, normal_name};
use crate::remembered::Place;
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

/// A value that was copied and is yet to be searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unknown {
    /// Index into [`Scratch::values`].
    value: u32,
    /// Whether for keywords only.
    is_text: bool,
    /// Where to remember what comes of it.
    place: Option<Place>,
}

impl Scratch {
    /// Takes the values of all fields and texts that any rule wants, and says which rules these are.
    pub(super) fn fill<'p>(&mut self, whose: Whose, program: &'p Program, event: &Event<'_>) -> &'p Case {
        let case = self.case(whose, program, event);
        // What is remembered was searched when it came first.
        let mut is_open = case.searches && !event.texts.is_empty();
        for (source, (_, value)) in event.fields.iter().enumerate() {
            let list = self.lists[source];
            let is_searched = case.searches && source >= event.searched;
            let (source, look) = (source as u32, case.look(list));
            is_open |= is_searched && look != Look::AtOnce;
            match look {
                Look::AtOnce => is_open |= !self.take(program, case, source, list, value) && is_searched,
                Look::Asked => self.put_off(program, case, source, list, value, is_searched),
                Look::Never if is_searched => _ = self.take_text(source, list, value),
                Look::Never => {}
            }
        }
        if case.searches {
            for (number, text) in event.texts.iter().enumerate() {
                let source = (event.fields.len() + number) as u32;
                self.take_text(source, UNWANTED, &Value::from(text.as_ref()));
            }
        }
        self.fold_copied(event);
        self.find(program, case, event, is_open);
        case
    }

    /// Finds the list of slots of each field, and which case the event is.
    fn case<'p>(&mut self, whose: Whose, program: &'p Program, event: &Event<'_>) -> &'p Case {
        let mut layout = std::mem::take(&mut self.layouts[whose.class]);
        let wanted = program.cases.key();
        let (mut keys, mut key) = (0, 0);
        self.lists.clear();
        for (source, (name, _)) in event.fields.iter().enumerate() {
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
            if Some(list) == wanted {
                (keys, key) = (keys + 1, source);
            }
            self.lists.push(list);
        }
        self.layouts[whose.class] = layout;
        if keys != 1 || event.fields[key].1 == Value::Null {
            return program.cases.any();
        }
        self.name.clear();
        match &event.fields[key].1 {
            Value::Int(number) => return program.cases.of_number(*number),
            Value::Str(text) => fold_into(text, &mut self.name),
            other => self.name.push_str(&other.text().unwrap_or_default()),
        }
        program.cases.of(&self.name)
    }

    /// Takes a value that may wake rules; says whether it is remembered.
    fn take(&mut self, program: &Program, case: &Case, source: u32, list: u32, value: &Value<'_>) -> bool {
        let known = self.recall(program, Some(case), list, value);
        let value = match known {
            Ok(()) => self.push(Folded::new(source, list, false)),
            Err(place) => {
                let value = self.copy(source, list, value);
                self.unknown.push(Unknown { value, is_text: false, place });
                value
            }
        };
        for slot in program.name_slots.get(list) {
            self.file(program, case, *slot, value);
        }
        known.is_ok()
    }

    /// Takes a value that no rule looks at before another field has woken it.
    fn put_off(
        &mut self,
        program: &Program,
        case: &Case,
        source: u32,
        list: u32,
        value: &Value<'_>,
        is_searched: bool,
    ) {
        let value = match is_searched {
            true => self.take_text(source, list, value),
            false => self.push(Folded::new(source, list, *value == Value::Null)),
        };
        self.values[value as usize].is_put_off = true;
        for slot in program.name_slots.get(list) {
            self.put_off.insert(*slot);
            self.file(program, case, *slot, value);
        }
    }

    /// Takes a value in which keywords are looked for.
    fn take_text(&mut self, source: u32, list: u32, value: &Value<'_>) -> u32 {
        let value = self.copy(source, list, value);
        self.unknown.push(Unknown { value, is_text: true, place: None });
        value
    }

    /// Marks what a value fulfils that is remembered; else says where to remember it, if that may be done.
    #[inline]
    fn recall(
        &mut self,
        program: &Program,
        case: Option<&Case>,
        list: u32,
        value: &Value<'_>,
    ) -> Result<(), Option<Place>> {
        let field = |is_number| Field { program: self.program, list, is_number };
        let known = match value {
            _ if !program.remember_values => Err(None),
            Value::Str(text) => self.remembered.find(field(false), text.as_bytes()),
            Value::Int(int) => self.remembered.find(field(true), &int.to_le_bytes()),
            _ => Err(None),
        }?;
        if !known.is_nothing() {
            let Scratch { preds, groups, woken, candidates, .. } = self;
            Marks { case, preds, groups, woken, candidates }.set_known(known);
        }
        Ok(())
    }

    /// Finds what the values of a slot fulfil that were put off. They wake no rule.
    pub(super) fn catch_up(&mut self, program: &Program, event: &Event<'_>, slot: u32) {
        if !self.put_off.remove(slot) {
            return;
        }
        let mut at = self.head(slot);
        while let Some(Link { value, next }) = self.links.get(at as usize).copied() {
            at = next;
            let Some(folded) = self.values.get_mut(value as usize) else { continue };
            if !std::mem::take(&mut folded.is_put_off) {
                continue;
            }
            let Folded { source, list, .. } = *folded;
            let Some((_, known)) = event.fields.get(source as usize) else { continue };
            if let Err(place) = self.recall(program, None, list, known) {
                if self.values[value as usize].start == UNFOLDED {
                    self.values[value as usize].fold(event, &mut self.folded);
                }
                self.search(program, None, event, Unknown { value, is_text: false, place });
            }
        }
    }

    /// The list of slots for the values of a field.
    fn look_up(&mut self, program: &Program, name: &str) -> u32 {
        normalise(name, &mut self.name);
        program.names.get(self.name.as_str()).copied().unwrap_or(UNWANTED)
    }

    fn push(&mut self, value: Folded) -> u32 {
        self.values.push(value);
        self.values.len() as u32 - 1
    }

    /// Appends the text of a value, to be folded with the others; gives its number.
    fn copy(&mut self, source: u32, list: u32, value: &Value<'_>) -> u32 {
        let start = self.folded.len() as u32;
        match value {
            Value::Str(text) => self.folded.push_str(text),
            Value::Null => {}
            // Writing to a String cannot fail.
            Value::Int(number) => _ = write!(self.folded, "{number}"),
            other => self.folded.push_str(&other.text().unwrap_or_default()),
        }
        let end = self.folded.len() as u32;
        self.push(Folded { start, end, ..Folded::new(source, list, *value == Value::Null) })
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

    fn file(&mut self, program: &Program, case: &Case, slot: u32, value: u32) {
        let next = self.head(slot);
        self.heads[slot as usize] = self.links.len() as u32;
        self.links.push(Link { value, next });
        if next == END {
            self.wake(case, program.slot_rules.get(slot));
        }
    }

    fn wake(&mut self, case: &Case, rules: &[u32]) {
        rules.iter().for_each(|rule| wake(case, *rule, &mut self.woken, &mut self.candidates));
    }

    /// Asks the indexes for what is not known of the values, and remembers it. All values and texts
    /// together are the values of the slot for keywords; `is_open` if one may stand in what was copied.
    fn find(&mut self, program: &Program, case: &Case, event: &Event<'_>, is_open: bool) {
        self.keywords = program.texts.filter(|_| case.searches);
        if let Some(slot) = self.keywords {
            if !self.values.is_empty() {
                self.wake(case, program.slot_rules.get(slot));
            }
            if !is_open || !program.prefilter.may_match(self.folded.as_bytes()) {
                self.keywords = None;
            }
        }
        for at in 0..self.unknown.len() {
            if !self.unknown[at].is_text || self.keywords.is_some() {
                self.search(program, Some(case), event, self.unknown[at]);
            }
        }
    }

    /// Asks the indexes what a value fulfils, and remembers it.
    fn search(&mut self, program: &Program, case: Option<&Case>, event: &Event<'_>, unknown: Unknown) {
        let Unknown { value, is_text, place } = unknown;
        let Folded { source, list, .. } = self.values[value as usize];
        self.found.clear();
        let slots = if is_text { &[] } else { program.name_slots.get(list) };
        for slot in slots.iter().copied().chain(self.keywords) {
            self.scan(program, event, slot, value);
        }
        let Scratch { preds, groups, woken, candidates, found, told, .. } = self;
        let mut marks = Marks { case, preds, groups, woken, candidates };
        for pred in found {
            told.remove(*pred);
            marks.set(program, *pred);
        }
        let Some(place) = place else { return };
        let found = &self.found;
        match event.fields.get(source as usize) {
            Some((_, Value::Str(text))) => self.remembered.remember(place, text.as_bytes(), found, program),
            Some((_, Value::Int(int))) => {
                self.remembered.remember(place, &int.to_le_bytes(), found, program);
            }
            _ => {}
        }
    }

    /// Asks the index of a slot which predicates a value fulfils; they are appended to `found`, each once.
    fn scan(&mut self, program: &Program, event: &Event<'_>, slot: u32, value: u32) {
        let SlotProgram { index, compared, .. } = &program.slots[slot as usize];
        let value = self.values[value as usize];
        if value.is_null {
            return;
        }
        for (lazy, pred) in compared {
            if self.compare_value(program, event, &program.lazies[*lazy as usize], &value) {
                self.found.push(*pred);
            }
        }
        if index.is_empty() {
            return;
        }
        let field = Field { program: self.program, list: slot, is_number: false };
        let Scratch { folded, tried, found, told, lines, .. } = self;
        let mut seen = Seen { lines: program.remember_values.then_some((lines, field)), tried };
        let mut hit = |pred: u32| {
            if told.insert(pred) {
                found.push(pred);
            }
        };
        let raw = || text(event, value.source).unwrap_or_default();
        let folded = &folded[value.start as usize..value.end as usize];
        index.scan(&mut seen, folded, raw, &mut hit);
        if folded.ends_with(' ') {
            let raw = || match raw() {
                Cow::Borrowed(raw) => Cow::Borrowed(raw.trim_end_matches(' ')),
                Cow::Owned(raw) => Cow::Owned(raw.trim_end_matches(' ').to_owned()),
            };
            index.scan(&mut seen, folded.trim_end_matches(' '), raw, &mut hit);
        }
    }
}

/// Wakes a rule that can match, once.
#[inline]
fn wake(case: &Case, rule: u32, woken: &mut Bits, candidates: &mut Vec<u32>) {
    if woken.insert(rule) && case.has(rule) {
        candidates.push(rule);
    }
}

/// What is true of the event at hand.
struct Marks<'s> {
    /// Tells which rules may be woken, if any.
    case: Option<&'s Case>,
    preds: &'s mut Bits,
    groups: &'s mut Bits,
    woken: &'s mut Bits,
    candidates: &'s mut Vec<u32>,
}

impl Marks<'_> {
    /// Marks all that is known of a value.
    #[inline]
    fn set_known(&mut self, known: Known<'_>) {
        known.preds().for_each(|pred| _ = self.preds.insert(pred));
        known.groups().for_each(|group| _ = self.groups.insert(group));
        if let Some(case) = self.case {
            known.rules().for_each(|rule| wake(case, rule, self.woken, self.candidates));
        }
    }

    /// Marks a predicate as true, and its groups, which wakes rules.
    #[inline]
    fn set(&mut self, program: &Program, pred: u32) {
        if !self.preds.insert(pred) {
            return;
        }
        for group in program.pred_groups.get(pred) {
            if !self.groups.insert(*group) {
                continue;
            }
            let Some(case) = self.case else { continue };
            for rule in program.group_rules.get(*group) {
                wake(case, *rule, self.woken, self.candidates);
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
    /// A value that is not folded yet.
    fn new(source: u32, list: u32, is_null: bool) -> Folded {
        Folded { source, list, start: UNFOLDED, end: UNFOLDED, is_null, is_put_off: false }
    }

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

//! Runs a program over one event.

use super::glob::Glob;
use super::index::Tried;
use super::program::{Ask, Lazy, NO, Program, YES};
use super::table::same;
use super::watch::Watch;
use crate::otel::{Event, normal_name};
use crate::rule::Test;
use crate::spec;
use crate::value::{Value, fold_into};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::net::IpAddr;

/// A rule that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Index into the rule set.
    pub rule: usize,
    /// Index into the rules of the program's plan.
    pub(super) planned: u32,
}

/// One thread's working memory: kept from event to event, so that a run allocates nothing once the
/// memory has grown to what the largest event needs.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The engine whose names `layouts` remember.
    engine: u64,
    /// By class: the fields of its last event.
    layouts: Vec<Layout>,
    /// Marks of the current event carry this number; older marks are void.
    epoch: u32,
    /// Predicates that were found true.
    preds: Vec<u32>,
    groups: Vec<u32>,
    woken: Vec<u32>,
    candidates: Vec<u32>,
    /// Comparisons that were made, and what came of them.
    answers: Vec<(u32, bool)>,
    /// Head of the chain of values of each slot, valid if stamped with the epoch.
    heads: Vec<(u32, u32)>,
    links: Vec<Link>,
    values: Vec<Folded>,
    folded: String,
    name: String,
    hits: Vec<Hit>,
    tried: Tried,
    /// The address read last: epoch, source, and what it is.
    address: Cell<(u32, u32, Option<IpAddr>)>,
}

/// Names in the order of an event's fields, each with its list of slots: the next event of the class
/// mostly has the same, which saves looking them up.
#[derive(Debug, Default)]
struct Layout(Vec<(Box<str>, u32)>);

/// Most and longest names remembered of a class.
const LAYOUT_NAMES_MAX: usize = 256;
const LAYOUT_NAME_BYTES_MAX: usize = 128;

/// A value that some rule may want.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folded {
    /// Index into the event's fields, or beyond them into its texts.
    pub source: u32,
    /// The folded text.
    start: u32,
    end: u32,
    pub is_null: bool,
}

/// A value in a slot.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// Index into [`Scratch::values`].
    value: u32,
    /// Next link of the slot.
    next: u32,
}

const END: u32 = u32::MAX;
/// The list of slots of a name that no rule asks for.
const UNWANTED: u32 = u32::MAX;

impl Scratch {
    /// Finds the rules that match, in the order of the rule set, each once. The first argument says
    /// which program of all programs it is.
    pub(super) fn run(
        &mut self,
        (engine, class): (u64, usize),
        program: &Program,
        event: &Event<'_>,
        watch: &mut impl Watch,
    ) -> &[Hit] {
        self.hits.clear();
        if program.entries.is_empty() {
            return &[];
        }
        self.begin(engine, class, program);
        self.fill(class, program, event);
        self.candidates.extend(&program.always);
        self.candidates.sort_unstable();
        watch.scanned();
        for at in 0..self.candidates.len() {
            let planned = self.candidates[at];
            let hit = Hit { rule: program.plan.rules[planned as usize].rule, planned };
            let known = self.hits.last().is_some_and(|last| last.rule == hit.rule);
            let holds = !known && self.holds(program, event, program.entries[planned as usize]);
            watch.asked(hit.rule, holds);
            if holds {
                self.hits.push(hit);
            }
        }
        &self.hits
    }

    fn begin(&mut self, engine: u64, class: usize, program: &Program) {
        if self.engine != engine || self.epoch == u32::MAX {
            *self = Scratch { engine, ..Scratch::default() };
        }
        self.epoch += 1;
        if self.layouts.len() <= class {
            self.layouts.resize_with(class + 1, Layout::default);
        }
        grow(&mut self.preds, program.pred_groups.len(), 0);
        grow(&mut self.groups, program.groups, 0);
        grow(&mut self.woken, program.entries.len(), 0);
        grow(&mut self.answers, program.lazies.len(), (0, false));
        grow(&mut self.heads, program.slots.len(), (0, END));
        self.candidates.clear();
        self.links.clear();
        self.values.clear();
        self.folded.clear();
    }

    /// Folds the values that any rule wants, files them under their slots, asks the index of each slot
    /// and wakes rules.
    fn fill(&mut self, class: usize, program: &Program, event: &Event<'_>) {
        let mut layout = std::mem::take(&mut self.layouts[class]);
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
            if list == UNWANTED && program.texts.is_none() {
                continue;
            }
            let number = self.fold(source as u32, value);
            if list != UNWANTED {
                for slot in program.name_slots.get(list) {
                    self.file(program, *slot, number);
                    self.scan(program, event, *slot, number);
                }
            }
        }
        self.layouts[class] = layout;
        if let Some(slot) = program.texts {
            self.fill_texts(program, event, slot);
        }
    }

    /// All values and texts together are the values of the slot for keywords.
    fn fill_texts(&mut self, program: &Program, event: &Event<'_>, slot: u32) {
        for (number, text) in event.texts.iter().enumerate() {
            let start = self.folded.len() as u32;
            fold_into(text, &mut self.folded);
            let end = self.folded.len() as u32;
            let source = (event.fields.len() + number) as u32;
            self.values.push(Folded { source, start, end, is_null: false });
        }
        if self.values.is_empty() {
            return;
        }
        self.wake(&program.slots[slot as usize].wakes);
        if program.prefilter.may_match(&self.folded) {
            for number in 0..self.values.len() as u32 {
                self.scan(program, event, slot, number);
            }
        }
    }

    /// The list of slots for the values of a field.
    fn look_up(&mut self, program: &Program, name: &str) -> u32 {
        normalise(name, &mut self.name);
        program.names.get(self.name.as_str()).copied().unwrap_or(UNWANTED)
    }

    /// Appends the folded text of a value; gives its number.
    fn fold(&mut self, source: u32, value: &Value<'_>) -> u32 {
        let start = self.folded.len() as u32;
        match value {
            Value::Str(text) => fold_into(text, &mut self.folded),
            Value::Null => {}
            // Writing to a String cannot fail.
            Value::Int(number) => _ = write!(self.folded, "{number}"),
            other => self.folded.push_str(&other.text().unwrap_or_default()),
        }
        let end = self.folded.len() as u32;
        self.values.push(Folded { source, start, end, is_null: *value == Value::Null });
        self.values.len() as u32 - 1
    }

    fn file(&mut self, program: &Program, slot: u32, value: u32) {
        let next = self.head(slot);
        self.heads[slot as usize] = (self.epoch, self.links.len() as u32);
        self.links.push(Link { value, next });
        if next == END {
            self.wake(&program.slots[slot as usize].wakes);
        }
    }

    fn head(&self, slot: u32) -> u32 {
        match self.heads[slot as usize] {
            (epoch, head) if epoch == self.epoch => head,
            _ => END,
        }
    }

    fn wake(&mut self, rules: &[u32]) {
        for rule in rules {
            if std::mem::replace(&mut self.woken[*rule as usize], self.epoch) != self.epoch {
                self.candidates.push(*rule);
            }
        }
    }

    /// Asks the index of a slot what a value fulfils.
    fn scan(&mut self, program: &Program, event: &Event<'_>, slot: u32, value: u32) {
        let index = &program.slots[slot as usize].index;
        let value = self.values[value as usize];
        if index.is_empty() || value.is_null {
            return;
        }
        let Scratch { epoch, preds, groups, woken, candidates, folded, tried, .. } = self;
        let epoch = *epoch;
        let mut hit = |pred: u32| {
            if std::mem::replace(&mut preds[pred as usize], epoch) == epoch {
                return;
            }
            for group in program.pred_groups.get(pred) {
                if std::mem::replace(&mut groups[*group as usize], epoch) == epoch {
                    continue;
                }
                for rule in program.group_rules.get(*group) {
                    if std::mem::replace(&mut woken[*rule as usize], epoch) != epoch {
                        candidates.push(*rule);
                    }
                }
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

    fn holds(&mut self, program: &Program, event: &Event<'_>, entry: u32) -> bool {
        let mut at = entry;
        loop {
            match at {
                YES => return true,
                NO => return false,
                _ => {}
            }
            let op = &program.code[at as usize];
            let answer = match op.ask {
                Ask::Group(group) => self.groups[group as usize] == self.epoch,
                Ask::Lazy(lazy) => self.answer(program, event, lazy),
                Ask::AtLeast(count) => {
                    let (n, entries) = &program.counts[count as usize];
                    let true_ones = entries.iter().filter(|entry| self.holds(program, event, **entry));
                    true_ones.take(*n as usize).count() == *n as usize
                }
            };
            at = if answer { op.yes } else { op.no };
        }
    }

    /// What came of a comparison that is not indexed; made once for an event.
    fn answer(&mut self, program: &Program, event: &Event<'_>, lazy: u32) -> bool {
        let (epoch, known) = self.answers[lazy as usize];
        if epoch == self.epoch {
            return known;
        }
        let answer = self.compare(program, event, &program.lazies[lazy as usize]);
        self.answers[lazy as usize] = (self.epoch, answer);
        answer
    }

    fn compare(&self, program: &Program, event: &Event<'_>, lazy: &Lazy) -> bool {
        if lazy.guard.is_some_and(|group| self.groups[group as usize] != self.epoch) {
            return false;
        }
        let slot = lazy.pred.slot as u32;
        match &lazy.pred.test {
            Test::Exists(wanted) => *wanted == self.values_of(program, slot).next().is_some(),
            Test::Null => self.values_of(program, slot).all(|value| value.is_null),
            _ => self.values_of(program, slot).any(|value| self.compare_value(program, event, lazy, value)),
        }
    }

    /// Whether one value makes a comparison true that looks at values.
    pub(super) fn compare_value(
        &self,
        program: &Program,
        event: &Event<'_>,
        lazy: &Lazy,
        value: &Folded,
    ) -> bool {
        let Some(text) = text(event, value.source) else { return false };
        match &lazy.pred.test {
            Test::Exists(_) | Test::Null => false,
            Test::Number(order, bound) => {
                let number = match event.fields.get(value.source as usize) {
                    Some((_, value)) => value.number(),
                    None => text.trim().parse().ok(),
                };
                number.is_some_and(|number| spec::compare(*order, number, *bound))
            }
            Test::FieldRef { place, cased: false, .. } => lazy.pred.other.is_some_and(|other| {
                let mut others = self.values_of(program, other as u32).filter(|other| !other.is_null);
                others.any(|other| spec::stands(self.folded(value), self.folded(other), *place, true))
            }),
            Test::FieldRef { place, cased: true, .. } => lazy.pred.other.is_some_and(|other| {
                let others = self.values_of(program, other as u32);
                let mut others = others.filter_map(|other| self::text(event, other.source));
                others.any(|other| spec::stands(&text, &other, *place, true))
            }),
            Test::Regex(expression) => {
                lazy.checks.may_match(&text, self.folded(value)) && expression.is_match(&text)
            }
            Test::Cidr(network) => {
                self.address(value, &text).is_some_and(|address| network.contains(&address))
            }
            Test::TimePart(part, wanted) => spec::time_part(*part, &text) == Some(*wanted),
            Test::Text(_) => lazy.glob.as_ref().is_some_and(|glob| self.glob_holds(event, glob, value)),
        }
    }

    fn folded(&self, value: &Folded) -> &str {
        &self.folded[value.start as usize..value.end as usize]
    }

    /// The address that a value is, which several networks may be asked about one after the other.
    fn address(&self, value: &Folded, text: &str) -> Option<IpAddr> {
        let (epoch, source, known) = self.address.get();
        if (epoch, source) == (self.epoch, value.source) {
            return known;
        }
        let address = spec::address(text);
        self.address.set((self.epoch, value.source, address));
        address
    }

    pub(super) fn glob_holds(&self, event: &Event<'_>, glob: &Glob, value: &Folded) -> bool {
        let folded = self.folded(value);
        text(event, value.source).is_some_and(|raw| {
            let subject = if glob.cased() { raw.as_ref() } else { folded };
            glob.matches(subject) || glob.matches(subject.trim_end_matches(' '))
        })
    }

    /// The values of a slot.
    pub(super) fn values_of(&self, program: &Program, slot: u32) -> impl Iterator<Item = &Folded> {
        let is_all = program.texts == Some(slot);
        let mut at = if is_all { 0 } else { self.head(slot) };
        std::iter::from_fn(move || {
            if is_all {
                at += 1;
                return self.values.get(at as usize - 1);
            }
            let link = self.links.get(at as usize)?;
            at = link.next;
            self.values.get(link.value as usize)
        })
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

/// The text of a field or, beyond the fields, of one of the event's other texts; `None` for null.
pub(super) fn text<'e>(event: &'e Event<'_>, source: u32) -> Option<Cow<'e, str>> {
    match event.fields.get(source as usize) {
        Some((_, value)) => value.text(),
        None => event.texts.get(source as usize - event.fields.len()).map(|t| Cow::Borrowed(t.as_ref())),
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

fn grow<T: Clone>(list: &mut Vec<T>, len: usize, empty: T) {
    if list.len() < len {
        list.resize(len, empty);
    }
}

//! Runs a program over one event.

use super::glob::Glob;
use super::index::Tried;
use super::program::{Ask, Lazy, NO, Program, YES};
use super::watch::Watch;
use crate::otel::{Event, normal_name};
use crate::rule::Test;
use crate::spec;
use crate::value::{Value, fold_into};
use std::borrow::Cow;

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
    /// Marks of the current event carry this number; older marks are void.
    epoch: u32,
    /// Predicates that were found true.
    preds: Vec<u32>,
    groups: Vec<u32>,
    woken: Vec<u32>,
    candidates: Vec<u32>,
    /// Head of the chain of values of each slot, valid if stamped with the epoch.
    heads: Vec<(u32, u32)>,
    values: Vec<Slotted>,
    folded: String,
    name: String,
    hits: Vec<Hit>,
    tried: Tried,
}

/// A value in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slotted {
    /// Index into the event's fields, or beyond them into its texts.
    pub source: u32,
    /// The folded text.
    start: u32,
    end: u32,
    /// Next value of the slot.
    next: u32,
}

const END: u32 = u32::MAX;

impl Scratch {
    /// Finds the rules that match, in the order of the rule set, each once.
    pub(super) fn run(&mut self, program: &Program, event: &Event<'_>, watch: &mut impl Watch) -> &[Hit] {
        self.begin(program);
        self.fill(program, event);
        self.scan(program, event);
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

    fn begin(&mut self, program: &Program) {
        self.epoch = match self.epoch.checked_add(1) {
            Some(epoch) => epoch,
            None => {
                *self = Scratch::default();
                1
            }
        };
        grow(&mut self.preds, program.pred_groups.len(), 0);
        grow(&mut self.groups, program.groups, 0);
        grow(&mut self.woken, program.entries.len(), 0);
        grow(&mut self.heads, program.slots.len(), (0, END));
        self.candidates.clear();
        self.values.clear();
        self.folded.clear();
        self.hits.clear();
    }

    /// Folds the values that any rule wants and files them under their slots.
    fn fill(&mut self, program: &Program, event: &Event<'_>) {
        for (source, (name, value)) in event.fields.iter().enumerate() {
            normalise(name, &mut self.name);
            let slots = program.names.get(self.name.as_str()).map_or(&[][..], Vec::as_slice);
            if slots.is_empty() && program.texts.is_none() {
                continue;
            }
            let (start, end) = self.fold(value);
            for slot in slots.iter().copied().chain(program.texts) {
                self.file(slot, source as u32, start, end);
            }
        }
        if let Some(slot) = program.texts {
            for (number, text) in event.texts.iter().enumerate() {
                let start = self.folded.len() as u32;
                fold_into(text, &mut self.folded);
                self.file(slot, (event.fields.len() + number) as u32, start, self.folded.len() as u32);
            }
        }
    }

    fn fold(&mut self, value: &Value<'_>) -> (u32, u32) {
        let start = self.folded.len() as u32;
        match value {
            Value::Str(text) => fold_into(text, &mut self.folded),
            other => self.folded.push_str(&other.text().unwrap_or_default()),
        }
        (start, self.folded.len() as u32)
    }

    fn file(&mut self, slot: u32, source: u32, start: u32, end: u32) {
        let next = self.head(slot);
        self.heads[slot as usize] = (self.epoch, self.values.len() as u32);
        self.values.push(Slotted { source, start, end, next });
    }

    fn head(&self, slot: u32) -> u32 {
        match self.heads[slot as usize] {
            (epoch, head) if epoch == self.epoch => head,
            _ => END,
        }
    }

    /// Asks the index of every slot and wakes rules.
    fn scan(&mut self, program: &Program, event: &Event<'_>) {
        let Scratch { epoch, preds, groups, woken, candidates, heads, values, folded, tried, .. } = self;
        let mut wake = |rules: &[u32]| {
            for rule in rules {
                let mark = &mut woken[*rule as usize];
                if *mark != *epoch {
                    *mark = *epoch;
                    candidates.push(*rule);
                }
            }
        };
        for (slot, (stamp, head)) in program.slots.iter().zip(heads) {
            if stamp != epoch {
                continue;
            }
            wake(&slot.wakes);
            if slot.index.is_empty() {
                continue;
            }
            let mut hit = |pred: u32| {
                if std::mem::replace(&mut preds[pred as usize], *epoch) == *epoch {
                    return;
                }
                for group in program.pred_groups.get(pred) {
                    let mark = &mut groups[*group as usize];
                    if *mark != *epoch {
                        *mark = *epoch;
                        wake(program.group_rules.get(*group));
                    }
                }
            };
            let mut at = *head;
            while let Some(value) = values.get(at as usize) {
                at = value.next;
                let Some(raw) = text(event, value.source) else { continue };
                let text = &folded[value.start as usize..value.end as usize];
                slot.index.scan(&slot.globs, tried, text, &raw, &mut hit);
                let trimmed = text.trim_end_matches(' ');
                if trimmed.len() < text.len() {
                    slot.index.scan(&slot.globs, tried, trimmed, raw.trim_end_matches(' '), &mut hit);
                }
            }
        }
    }

    fn holds(&self, program: &Program, event: &Event<'_>, entry: u32) -> bool {
        let mut at = entry;
        loop {
            match at {
                YES => return true,
                NO => return false,
                _ => {}
            }
            let op = &program.code[at as usize];
            let answer = match &op.ask {
                Ask::Group(group) => self.groups[*group as usize] == self.epoch,
                Ask::Lazy(lazy) => self.compare(event, &program.lazies[*lazy as usize]),
                Ask::AtLeast(n, entries) => {
                    let true_ones = entries.iter().filter(|entry| self.holds(program, event, **entry));
                    true_ones.take(*n as usize).count() == *n as usize
                }
            };
            at = if answer { op.yes } else { op.no };
        }
    }

    /// Makes a comparison that is not indexed.
    fn compare(&self, event: &Event<'_>, lazy: &Lazy) -> bool {
        if lazy.guard.is_some_and(|group| self.groups[group as usize] != self.epoch) {
            return false;
        }
        let slot = lazy.pred.slot as u32;
        match &lazy.pred.test {
            Test::Exists(wanted) => *wanted == (self.head(slot) != END),
            Test::Null => self.values_of(slot).all(|value| text(event, value.source).is_none()),
            _ => self.values_of(slot).any(|value| self.compare_value(event, lazy, value)),
        }
    }

    /// Whether one value makes a comparison true that looks at values.
    pub(super) fn compare_value(&self, event: &Event<'_>, lazy: &Lazy, value: &Slotted) -> bool {
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
            Test::FieldRef { place, cased, .. } => lazy.pred.other.is_some_and(|other| {
                let others = self.values_of(other as u32).filter_map(|other| self::text(event, other.source));
                others.into_iter().any(|other| spec::stands(&text, &other, *place, *cased))
            }),
            Test::Regex(expression) => expression.is_match(&text),
            Test::Cidr(network) => spec::address(&text).is_some_and(|address| network.contains(&address)),
            Test::TimePart(part, wanted) => spec::time_part(*part, &text) == Some(*wanted),
            Test::Text(_) => lazy.glob.as_ref().is_some_and(|glob| self.glob_holds(event, glob, value)),
        }
    }

    pub(super) fn glob_holds(&self, event: &Event<'_>, glob: &Glob, value: &Slotted) -> bool {
        let folded = &self.folded[value.start as usize..value.end as usize];
        text(event, value.source).is_some_and(|raw| {
            let subject = if glob.cased() { raw.as_ref() } else { folded };
            glob.matches(subject) || glob.matches(subject.trim_end_matches(' '))
        })
    }

    pub(super) fn values_of(&self, slot: u32) -> impl Iterator<Item = &Slotted> {
        let first = self.values.get(self.head(slot) as usize);
        std::iter::successors(first, |value| self.values.get(value.next as usize))
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

//! Runs a program over one event.

use super::bits::Bits;
use super::fill::{Layout, Unknown};
use super::glob::Glob;
use super::index::Tried;
use super::program::{Ask, Lazy, NO, Program, YES};
use super::remembered::{Lines, Values};
use super::watch::Watch;
use crate::otel::Event;
use crate::rule::{Expression, Place, Test};
use crate::spec;
use crate::value::fold;
use std::borrow::Cow;
use std::cell::Cell;
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
    /// The engine whose names and values are remembered.
    engine: u64,
    /// By class: the fields of its last event.
    pub(super) layouts: Vec<Layout>,
    /// Values that came before.
    pub(super) remembered: Values,
    pub(super) lines: Lines,
    /// Predicates that are true.
    pub(super) preds: Bits,
    /// Groups that are true.
    pub(super) groups: Bits,
    /// Number of the event's program.
    pub(super) program: u32,
    /// By field of the event, the list of slots that take its values.
    pub(super) lists: Vec<u32>,
    /// Slots with values that were put off until a rule asks.
    pub(super) put_off: Bits,
    /// The slot of the keywords, if one may be in the event.
    pub(super) keywords: Option<u32>,
    /// Rules that were woken, and those of them that can match.
    pub(super) woken: Bits,
    pub(super) candidates: Vec<u32>,
    /// Comparisons that were made, and those of them that hold.
    answered: Bits,
    answers: Bits,
    /// Head of the chain of values of each slot.
    pub(super) heads: Vec<u32>,
    pub(super) links: Vec<Link>,
    pub(super) values: Vec<Folded>,
    /// Values that are yet to be asked for in the index.
    pub(super) unknown: Vec<Unknown>,
    /// The predicates that the value at hand fulfils, as a list and as a set.
    pub(super) found: Vec<u32>,
    pub(super) told: Bits,
    /// Folded texts of values, one after the other.
    pub(super) folded: String,
    /// A field's name in the form in which names are compared.
    pub(super) name: String,
    hits: Vec<Hit>,
    pub(super) tried: Tried,
    /// The address read last: of which source, and what it is.
    address: Cell<Option<(u32, Option<IpAddr>)>>,
}

/// Which of all programs is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose {
    /// Number of the engine.
    pub engine: u64,
    /// Number of the class.
    pub class: usize,
    /// Number of the program.
    pub program: usize,
}

/// A value that some rule may want.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folded {
    /// Index into the event's fields, or beyond them into its texts.
    pub source: u32,
    /// The list of slots that take it.
    pub list: u32,
    /// The folded text, from where to where; [`UNFOLDED`] until it is wanted.
    pub start: u32,
    pub end: u32,
    pub is_null: bool,
    /// Whether the index is asked about it only when a rule asks.
    pub is_put_off: bool,
}

/// A value in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Index into [`Scratch::values`].
    pub value: u32,
    /// Next link of the slot.
    pub next: u32,
}

/// No further link.
pub(super) const END: u32 = u32::MAX;
/// A value whose folded text nobody asked for.
pub(super) const UNFOLDED: u32 = u32::MAX;
impl Scratch {
    /// Finds the rules that match, in the order of the rule set, each once. The first argument says
    /// whose class and program it is.
    pub(super) fn run(
        &mut self,
        whose: Whose,
        program: &Program,
        event: &Event<'_>,
        watch: &mut impl Watch,
    ) -> &[Hit] {
        self.hits.clear();
        if program.entries.is_empty() {
            return &[];
        }
        self.begin(whose, program);
        let case = self.fill(whose, program, event);
        self.candidates.extend(&case.always);
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

    fn begin(&mut self, Whose { engine, class, program: number }: Whose, program: &Program) {
        if self.engine != engine {
            *self = Scratch { engine, ..Scratch::default() };
        }
        self.program = number as u32;
        self.keywords = None;
        if self.layouts.len() <= class {
            self.layouts.resize_with(class + 1, Layout::default);
        }
        self.preds.reset(program.pred_groups.len());
        self.told.reset(program.pred_groups.len());
        self.groups.reset(program.groups);
        self.woken.reset(program.entries.len());
        self.answered.reset(program.lazies.len());
        self.answers.reset(program.lazies.len());
        self.put_off.reset(program.slots.len());
        self.heads.clear();
        self.heads.resize(program.slots.len(), END);
        self.address.set(None);
        self.candidates.clear();
        self.links.clear();
        self.values.clear();
        self.unknown.clear();
        self.folded.clear();
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
                Ask::Group(group) => self.group(program, event, group),
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

    /// Whether one of a group's predicates is true.
    #[inline]
    fn group(&mut self, program: &Program, event: &Event<'_>, group: u32) -> bool {
        if self.groups.has(group) {
            return true;
        }
        let slots = program.group_slots.get(group);
        if slots.iter().all(|slot| !self.put_off.has(*slot)) {
            return false;
        }
        slots.iter().for_each(|slot| self.catch_up(program, event, *slot));
        self.groups.has(group)
    }

    /// What came of a comparison that is not indexed; made once for an event.
    pub(super) fn answer(&mut self, program: &Program, event: &Event<'_>, lazy: u32) -> bool {
        if !self.answered.insert(lazy) {
            return self.answers.has(lazy);
        }
        let compared = &program.lazies[lazy as usize];
        if compared.guard.is_some_and(|group| !self.group(program, event, group)) {
            return false;
        }
        if compared.needs_folded() {
            self.fold_slot(program, event, compared.pred.slot as u32);
        }
        let answer = self.compare(program, event, compared);
        if answer {
            self.answers.insert(lazy);
        }
        answer
    }

    fn compare(&self, program: &Program, event: &Event<'_>, lazy: &Lazy) -> bool {
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
            Test::FieldRef { place, cased, .. } => lazy.pred.other.is_some_and(|other| {
                let others = self.values_of(program, other as u32);
                let mut others = others.filter_map(|other| self::text(event, other.source));
                others.any(|other| match place {
                    Place::Whole if !cased && text.is_ascii() => text.eq_ignore_ascii_case(&other),
                    place => spec::stands(&text, &other, *place, *cased),
                })
            }),
            Test::Regex(expression) => {
                let is_found = if program.finders { Expression::is_found } else { Expression::is_match };
                lazy.checks.may_match(&text, &self.folded(event, value)) && is_found(expression, &text)
            }
            Test::Cidr(network) => {
                self.address(value, &text).is_some_and(|address| network.contains(&address))
            }
            Test::TimePart(part, wanted) => spec::time_part(*part, &text) == Some(*wanted),
            Test::Text(_) => lazy.glob.as_ref().is_some_and(|glob| self.glob_holds(event, glob, value)),
        }
    }

    /// Folds the values of a slot that are not folded yet.
    fn fold_slot(&mut self, program: &Program, event: &Event<'_>, slot: u32) {
        let mut at = self.head(slot);
        let Scratch { values, folded, links, .. } = self;
        let mut fold = |value: &mut Folded| {
            if value.start == UNFOLDED {
                value.fold(event, folded);
            }
        };
        if program.texts == Some(slot) {
            values.iter_mut().for_each(fold);
            return;
        }
        while let Some(link) = links.get(at as usize) {
            fold(&mut values[link.value as usize]);
            at = link.next;
        }
    }

    /// The folded text of a value.
    fn folded(&self, event: &Event<'_>, value: &Folded) -> Cow<'_, str> {
        match value.start {
            UNFOLDED => Cow::Owned(text(event, value.source).map_or(String::new(), |text| fold(&text))),
            start => Cow::Borrowed(&self.folded[start as usize..value.end as usize]),
        }
    }

    /// The address that a value is, which several networks may be asked about one after the other.
    fn address(&self, value: &Folded, text: &str) -> Option<IpAddr> {
        if let Some((source, known)) = self.address.get()
            && source == value.source
        {
            return known;
        }
        let address = spec::address(text);
        self.address.set(Some((value.source, address)));
        address
    }

    pub(super) fn glob_holds(&self, event: &Event<'_>, glob: &Glob, value: &Folded) -> bool {
        let folded = if glob.cased() { Cow::Borrowed("") } else { self.folded(event, value) };
        text(event, value.source).is_some_and(|raw| {
            let subject = if glob.cased() { raw.as_ref() } else { folded.as_ref() };
            glob.matches(subject) || glob.matches(subject.trim_end_matches(' '))
        })
    }

    /// The first link of a slot.
    pub(super) fn head(&self, slot: u32) -> u32 {
        self.heads[slot as usize]
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

/// The text of a field or, beyond the fields, of one of the event's other texts; `None` for null.
pub(super) fn text<'e>(event: &'e Event<'_>, source: u32) -> Option<Cow<'e, str>> {
    match event.fields.get(source as usize) {
        Some((_, value)) => value.text(),
        None => event.texts.get(source as usize - event.fields.len()).map(|t| Cow::Borrowed(t.as_ref())),
    }
}

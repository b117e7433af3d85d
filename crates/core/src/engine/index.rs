//! Finds which of many texts a value equals, begins with, ends with or contains, in one pass.
//!
//! Every literal is filed under a few of its bytes: a whole value under its hash, a prefix under its
//! first and a suffix under its last bytes, a substring under the four bytes in it that are rarest
//! among all literals ([`super::grams`]). What is found is verified, so the index has neither false
//! nor missed hits for plain literals; for a [`Glob`] it finds one literal that the pattern needs, and
//! the rest is verified.

use super::glob::Glob;
use super::grams::Grams;
use super::remembered::{Field, Lines};
use super::table::{Filed, Table};
use crate::rule::{Part, Pattern};
use crate::value::{fold, same};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Index of all text predicates of one slot.
#[derive(Debug, Default)]
pub struct Index {
    store: Store,
    exact: Table,
    /// Bit *i* is set if a whole value of *i* bytes is filed; the last bit stands for all longer ones.
    exact_lengths: u64,
    prefix: Ends,
    suffix: Ends,
    grams: Grams,
    globs: Vec<Glob>,
}

/// Who wants to know of a literal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pred: u32,
    /// Number of a glob: the predicate holds only if that matches too. [`PLAIN`] if there is none.
    verify: u32,
}

/// The literal says it all.
const PLAIN: u32 = u32::MAX;

/// Literals one after the other, and after each other who wants to know of them.
#[derive(Debug, Default)]
pub(super) struct Store {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

/// From where, and how long or to where.
type Span = (u32, u32);

impl Store {
    /// Stores literals, each once, in their order: its text, where that stands and who wants it.
    pub fn add_all(&mut self, literals: Vec<(String, Entry)>) -> Vec<(String, Span, Span)> {
        let mut by_text: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for (text, entry) in literals {
            by_text.entry(text).or_default().push(entry);
        }
        let add = |(text, entries): (String, Vec<Entry>)| {
            let stored = (self.text.len() as u32, text.len() as u32);
            self.text.extend_from_slice(text.as_bytes());
            let from = self.entries.len() as u32;
            self.entries.extend(entries);
            (text, stored, (from, self.entries.len() as u32))
        };
        by_text.into_iter().map(add).collect()
    }

    /// A literal.
    #[inline]
    pub fn text(&self, (start, length): Span) -> &[u8] {
        &self.text[start as usize..(start + length) as usize]
    }
}

/// How one pattern is filed.
enum Shape<'p> {
    Exact(&'p str),
    Prefix(&'p str),
    Suffix(&'p str),
    Contains(&'p str),
}

/// Files patterns; [`Builder::build`] makes the index.
#[derive(Default)]
pub struct Builder {
    exact: Vec<(String, Entry)>,
    prefix: Vec<(String, Entry)>,
    suffix: Vec<(String, Entry)>,
    contains: Vec<(String, Entry)>,
    globs: Vec<Glob>,
}

impl Builder {
    /// Files `pattern` for `pred`; `false` if it has no literal to file it under.
    pub fn add(&mut self, pred: u32, pattern: &Pattern) -> bool {
        let Some((shape, whole)) = shape(pattern) else { return false };
        let mut entry = Entry { pred, verify: PLAIN };
        if !whole || pattern.cased {
            entry.verify = self.globs.len() as u32;
            self.globs.push(Glob::new(pattern));
        }
        let (list, text) = match shape {
            Shape::Exact(text) => (&mut self.exact, text),
            Shape::Prefix(text) => (&mut self.prefix, text),
            Shape::Suffix(text) => (&mut self.suffix, text),
            Shape::Contains(text) => (&mut self.contains, text),
        };
        list.push((fold(text), entry));
        true
    }

    /// Files a folded literal that is to be found anywhere.
    pub fn add_contains(&mut self, pred: u32, literal: &str) {
        self.contains.push((literal.to_owned(), Entry { pred, verify: PLAIN }));
    }

    /// All literals, if they are all to be found anywhere.
    pub fn only_contains(&self) -> Option<impl Iterator<Item = &str>> {
        let only = self.exact.is_empty() && self.prefix.is_empty() && self.suffix.is_empty();
        only.then(|| self.contains.iter().map(|(text, _)| text.as_str()))
    }

    /// The index.
    pub fn build(self) -> Index {
        let mut index = Index { globs: self.globs, ..Index::default() };
        let mut exact = vec![];
        for (text, stored, entries) in index.store.add_all(self.exact) {
            index.exact_lengths |= length_bit(text.len());
            exact.push(Filed { key: whole(text.as_bytes()), offset: 0, text: stored, entries });
        }
        index.exact = Table::new(exact);
        index.prefix = Ends::new(self.prefix, true, &mut index.store);
        index.suffix = Ends::new(self.suffix, false, &mut index.store);
        index.grams = Grams::new(self.contains, &mut index.store);
        index
    }
}

/// How to file a pattern, and whether the literal says it all.
fn shape(pattern: &Pattern) -> Option<(Shape<'_>, bool)> {
    let shape = match pattern.parts.as_slice() {
        [] => Some((Shape::Exact(""), true)),
        [Part::Text(text)] => Some((Shape::Exact(text), true)),
        [Part::Text(text), Part::Any] => Some((Shape::Prefix(text), true)),
        [Part::Any, Part::Text(text)] => Some((Shape::Suffix(text), true)),
        [Part::Any, Part::Text(text), Part::Any] => Some((Shape::Contains(text), true)),
        parts => {
            let texts = parts.iter().filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                _ => None,
            });
            texts.max_by_key(|text| text.len()).map(|text| (Shape::Contains(text), false))
        }
    };
    shape.filter(|(shape, _)| !matches!(shape, Shape::Prefix("") | Shape::Suffix("") | Shape::Contains("")))
}

impl Index {
    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty() && self.suffix.is_empty() && self.grams.is_empty()
    }

    /// Calls `hit` with every predicate that `value` (folded) fulfils; `raw` gives the same value
    /// before folding. A predicate may be told more than once. Each glob is tried once however often
    /// its literal stands in the value, so that a value made of literals costs no more than its length.
    pub fn scan<'r>(
        &self,
        seen: &mut Seen<'_>,
        value: &str,
        raw: impl Fn() -> Cow<'r, str>,
        hit: &mut impl FnMut(u32),
    ) {
        let Seen { lines, tried } = seen;
        tried.begin(self.globs.len());
        let mut tell = |(from, to): Span| {
            for entry in &self.store.entries[from as usize..to as usize] {
                let holds = entry.verify == PLAIN || {
                    let glob = &self.globs[entry.verify as usize];
                    tried.first(entry.verify)
                        && if glob.cased() { glob.matches(&raw()) } else { glob.matches(value) }
                };
                if holds {
                    hit(entry.pred);
                }
            }
        };
        let value = value.as_bytes();
        if self.exact_lengths & length_bit(value.len()) != 0 {
            look_up(&self.exact, whole(value), |text| same(value, text), &self.store, &mut tell);
        }
        self.prefix.scan(&self.store, value, true, &mut tell);
        self.suffix.scan(&self.store, value, false, &mut tell);
        let lines = lines.as_mut().map(|(lines, field)| (&mut **lines, *field));
        self.grams.scan(&self.store, value, lines, &mut tell);
    }
}

/// Tells of the literals under `key` that stand where they should.
#[inline]
fn look_up(
    table: &Table,
    key: u32,
    stands: impl Fn(&[u8]) -> bool,
    store: &Store,
    tell: &mut impl FnMut(Span),
) {
    if !table.may_have(key) {
        return;
    }
    for filed in table.filed(key) {
        if stands(store.text(filed.text)) {
            tell(filed.entries);
        }
    }
}

/// What a scan may use of those before it.
pub struct Seen<'s> {
    /// Where lines of this slot are remembered, if they are.
    pub lines: Option<(&'s mut Lines, Field)>,
    /// Which globs were tried.
    pub tried: &'s mut Tried,
}

/// Which globs were tried on the value at hand; kept from value to value.
#[derive(Debug, Default)]
pub struct Tried {
    value: u32,
    marks: Vec<u32>,
}

impl Tried {
    fn begin(&mut self, globs: usize) {
        self.value = self.value.wrapping_add(1);
        if self.value == 0 {
            self.marks.fill(0);
            self.value = 1;
        }
        if self.marks.len() < globs {
            self.marks.resize(globs, 0);
        }
    }

    /// Whether it was not tried before.
    fn first(&mut self, glob: u32) -> bool {
        std::mem::replace(&mut self.marks[glob as usize], self.value) != self.value
    }
}

/// The bit of a length in [`Index::exact_lengths`].
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Literals that stand at one end of the value, by their outermost bytes: eight, for all paths of
/// programs end with the same four, else four.
#[derive(Debug, Default)]
struct Ends {
    by_eight: Table,
    by_four: Table,
    short: Vec<(Span, Span)>,
}

impl Ends {
    fn new(literals: Vec<(String, Entry)>, start: bool, store: &mut Store) -> Ends {
        let (mut by_eight, mut by_four, mut short) = (vec![], vec![], vec![]);
        for (text, stored, entries) in store.add_all(literals) {
            let filed = |key| Filed { key, offset: 0, text: stored, entries };
            match (eight(text.as_bytes(), start), four(text.as_bytes(), start)) {
                (Some(key), _) => by_eight.push(filed(key)),
                (None, Some(key)) => by_four.push(filed(key)),
                (None, None) => short.push((stored, entries)),
            }
        }
        Ends { by_eight: Table::new(by_eight), by_four: Table::new(by_four), short }
    }

    fn is_empty(&self) -> bool {
        self.by_eight.is_empty() && self.by_four.is_empty() && self.short.is_empty()
    }

    fn scan(&self, store: &Store, value: &[u8], start: bool, tell: &mut impl FnMut(Span)) {
        let stands = |text: &[u8]| {
            let rest = value.len().checked_sub(text.len());
            rest.is_some_and(|rest| same(if start { &value[..text.len()] } else { &value[rest..] }, text))
        };
        if !self.by_eight.is_empty()
            && let Some(key) = eight(value, start)
        {
            look_up(&self.by_eight, key, stands, store, tell);
        }
        if !self.by_four.is_empty()
            && let Some(key) = four(value, start)
        {
            look_up(&self.by_four, key, stands, store, tell);
        }
        for (text, entries) in &self.short {
            if stands(store.text(*text)) {
                tell(*entries);
            }
        }
    }
}

fn four(text: &[u8], start: bool) -> Option<u32> {
    let bytes = if start { text.first_chunk() } else { text.last_chunk() };
    bytes.map(|bytes| u32::from_le_bytes(*bytes))
}

fn eight(text: &[u8], start: bool) -> Option<u32> {
    let bytes = if start { text.first_chunk() } else { text.last_chunk() };
    bytes.map(|bytes| mix(u64::from_le_bytes(*bytes)))
}

/// A number for a whole text: of its length and both its ends.
fn whole(text: &[u8]) -> u32 {
    let (head, tail) = match (text.first_chunk(), text.last_chunk()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => {
            let mut bytes = [0; 8];
            bytes[..text.len()].copy_from_slice(text);
            (u64::from_le_bytes(bytes), 0)
        }
    };
    mix(head ^ tail.rotate_left(23) ^ text.len() as u64)
}

fn mix(number: u64) -> u32 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![3 => "[aAb\\\\äß\\-]{1,6}".prop_map(Part::Text), 2 => Just(Part::Any), 1 => Just(Part::One)]
    }

    #[test]
    fn a_glob_is_tried_once_for_each_value() {
        let mut tried = Tried::default();
        tried.begin(1);
        assert!(tried.first(0));
        assert!(!tried.first(0));
        tried.begin(1);
        assert!(tried.first(0));
    }

    proptest! {
        #[test]
        fn literals_of_every_length_are_found_wherever_they_stand(
            literals in prop::collection::vec("[ab]{1,12}", 1..8),
            value in "[ab]{0,40}",
        ) {
            let mut builder = Builder::default();
            (0..).zip(&literals).for_each(|(pred, literal)| builder.add_contains(pred, literal));
            let mut found = vec![false; literals.len()];
            let mut seen = Seen { lines: None, tried: &mut Tried::default() };
            builder.build().scan(&mut seen, &value, || value.as_str().into(), &mut |pred| {
                found[pred as usize] = true;
            });
            let right: Vec<bool> = literals.iter().map(|literal| value.contains(literal)).collect();
            prop_assert_eq!(found, right);
        }

        #[test]
        fn long_lines_are_known_when_they_come_again(
            literals in prop::collection::vec("[ab\n]{4,9}", 1..8),
            lines in prop::collection::vec(("[ab]{1,9}", 0..200_usize), 1..8),
            order in prop::collection::vec(0..8_usize, 2..6),
        ) {
            let mut builder = Builder::default();
            (0..).zip(&literals).for_each(|(pred, literal)| builder.add_contains(pred, literal));
            let index = builder.build();
            let lines: Vec<String> = lines.iter().map(|(part, times)| part.repeat(*times)).collect();
            let (mut tried, mut memory) = (Tried::default(), Lines::default());
            for _ in 0..2 {
                let value: Vec<&str> = order.iter().map(|at| lines[at % lines.len()].as_str()).collect();
                let value = value.join("\n");
                let mut found = vec![false; literals.len()];
                let mut seen = Seen { lines: Some((&mut memory, Field::default())), tried: &mut tried };
                index.scan(&mut seen, &value, || value.as_str().into(), &mut |pred| found[pred as usize] = true);
                let right: Vec<bool> = literals.iter().map(|literal| value.contains(literal)).collect();
                prop_assert_eq!(found, right);
            }
        }

        #[test]
        fn finds_exactly_what_the_specification_says(
            patterns in prop::collection::vec((prop::collection::vec(part(), 0..4), any::<bool>()), 1..12),
            raw in "[aAbB\\\\äÄß \\-\n]{0,24}",
        ) {
            let patterns: Vec<Pattern> = (patterns.into_iter())
                .map(|(parts, cased)| {
                    let parts = parts.into_iter().map(|p| match p {
                        Part::Text(t) if !cased => Part::Text(fold(&t)),
                        p => p,
                    });
                    Pattern { parts: parts.collect(), cased }
                })
                .collect();
            let mut builder = Builder::default();
            let filed: Vec<bool> = patterns.iter().enumerate().map(|(i, p)| builder.add(i as u32, p)).collect();
            let index = builder.build();
            let raw = raw.trim_end_matches(' ');
            let mut hits = vec![false; patterns.len()];
            let mut seen = Seen { lines: None, tried: &mut Tried::default() };
            index.scan(&mut seen, &fold(raw), || raw.into(), &mut |pred| hits[pred as usize] = true);
            for (i, pattern) in patterns.iter().enumerate() {
                if filed[i] {
                    prop_assert_eq!(hits[i], crate::spec::matches(pattern, raw), "{:?} on {:?}", pattern, raw);
                }
            }
        }
    }
}

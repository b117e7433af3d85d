//! Finds which of many texts a value equals, begins with, ends with or contains, in one pass.
//!
//! Every literal is filed under a few of its bytes: a whole value under its hash, a prefix under its
//! first and a suffix under its last four bytes, a substring under the four bytes in it that are
//! rarest among all literals. A bitmap says for most positions of a value that nothing is filed
//! there. What is found is verified, so the index has neither false nor missed hits for plain
//! literals; for a [`Glob`] it finds one literal that the pattern needs, and the rest is verified.

use super::glob::Glob;
use crate::rule::{Part, Pattern};
use crate::value::fold;
use foldhash::fast::FixedState;
use std::collections::HashMap;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Index of all text predicates of one slot.
#[derive(Debug, Default)]
pub struct Index {
    exact: Map<Box<str>, Vec<Entry>>,
    /// Length of the longest key of `exact`.
    exact_len_max: usize,
    prefix: Ends,
    suffix: Ends,
    grams: [Grams; 4],
}

/// Who wants to know of a literal.
#[derive(Debug, Clone, Copy)]
struct Entry {
    pred: u32,
    /// Index into the caller's globs: holds only if that matches too.
    verify: Option<u32>,
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
    index: Index,
    contains: Vec<(String, Entry)>,
    globs: Vec<Glob>,
}

impl Builder {
    /// Files `pattern` for `pred`; `false` if it has no literal to file it under.
    pub fn add(&mut self, pred: u32, pattern: &Pattern) -> bool {
        let Some((shape, whole)) = shape(pattern) else { return false };
        let verify = (!whole || pattern.cased).then(|| {
            self.globs.push(Glob::new(pattern));
            self.globs.len() as u32 - 1
        });
        let entry = Entry { pred, verify };
        match shape {
            Shape::Exact(text) => {
                let text = fold(text);
                self.index.exact_len_max = self.index.exact_len_max.max(text.len());
                self.index.exact.entry(text.into()).or_default().push(entry);
            }
            Shape::Prefix(text) => self.index.prefix.add(fold(text), entry, true),
            Shape::Suffix(text) => self.index.suffix.add(fold(text), entry, false),
            Shape::Contains(text) => self.contains.push((fold(text), entry)),
        }
        true
    }

    /// Files a folded literal that is to be found anywhere.
    pub fn add_contains(&mut self, pred: u32, literal: &str) {
        self.contains.push((literal.to_owned(), Entry { pred, verify: None }));
    }

    /// The index and the globs that its entries verify with.
    pub fn build(mut self) -> (Index, Vec<Glob>) {
        for width in 1..=4 {
            let chosen = |len: usize| len.min(4) == width;
            let literals: Vec<_> =
                self.contains.iter().filter(|(text, _)| chosen(text.len())).cloned().collect();
            self.index.grams[width - 1] = Grams::new(width, literals);
        }
        (self.index, self.globs)
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
        self.exact.is_empty()
            && self.prefix.is_empty()
            && self.suffix.is_empty()
            && self.grams.iter().all(|g| g.literals.is_empty())
    }

    /// Calls `hit` with every predicate that `value` (folded) fulfils; `raw` is the same value
    /// before folding. A predicate may be told more than once. Each glob is tried once however often
    /// its literal stands in the value, so that a value made of literals costs no more than its length.
    pub fn scan(&self, globs: &[Glob], tried: &mut Tried, value: &str, raw: &str, hit: &mut impl FnMut(u32)) {
        tried.begin(globs.len());
        let mut tell = |entry: &Entry| {
            let holds = entry.verify.is_none_or(|number| {
                let glob = &globs[number as usize];
                tried.first(number) && glob.matches(if glob.cased() { raw } else { value })
            });
            if holds {
                hit(entry.pred);
            }
        };
        if value.len() <= self.exact_len_max
            && let Some(entries) = self.exact.get(value)
        {
            entries.iter().for_each(&mut tell);
        }
        self.prefix.scan(value.as_bytes(), true, &mut tell);
        self.suffix.scan(value.as_bytes(), false, &mut tell);
        for grams in &self.grams {
            grams.scan(value.as_bytes(), &mut tell);
        }
    }
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

/// Literals that stand at one end of the value, by their outermost four bytes.
#[derive(Debug, Default)]
struct Ends {
    by_four: Map<u32, Vec<(Box<str>, Entry)>>,
    short: Vec<(Box<str>, Entry)>,
}

impl Ends {
    fn add(&mut self, text: String, entry: Entry, start: bool) {
        match outermost(text.as_bytes(), start) {
            Some(key) => self.by_four.entry(key).or_default().push((text.into(), entry)),
            None => self.short.push((text.into(), entry)),
        }
    }

    fn is_empty(&self) -> bool {
        self.by_four.is_empty() && self.short.is_empty()
    }

    fn scan(&self, value: &[u8], start: bool, tell: &mut impl FnMut(&Entry)) {
        let stands = |text: &str| match start {
            true => value.starts_with(text.as_bytes()),
            false => value.ends_with(text.as_bytes()),
        };
        let filed = outermost(value, start).and_then(|key| self.by_four.get(&key));
        for (text, entry) in filed.into_iter().flatten().chain(&self.short) {
            if stands(text) {
                tell(entry);
            }
        }
    }
}

fn outermost(text: &[u8], start: bool) -> Option<u32> {
    let four = if start { text.first_chunk::<4>() } else { text.last_chunk::<4>() };
    four.map(|bytes| u32::from_le_bytes(*bytes))
}

/// Literals to be found anywhere, by `width` neighbouring bytes of theirs.
#[derive(Debug, Default)]
struct Grams {
    width: usize,
    /// One bit for each hash of a gram under which something is filed.
    filter: Vec<u64>,
    shift: u32,
    filed: Map<u32, Vec<Filed>>,
    literals: Vec<Box<str>>,
}

#[derive(Debug)]
struct Filed {
    literal: u32,
    /// Where in the literal the gram stands.
    offset: u32,
    entries: Vec<Entry>,
}

impl Grams {
    fn new(width: usize, literals: Vec<(String, Entry)>) -> Grams {
        if literals.is_empty() {
            return Grams::default();
        }
        let mut by_text: Map<String, Vec<Entry>> = Map::default();
        for (text, entry) in literals {
            by_text.entry(text).or_default().push(entry);
        }
        let mut sorted: Vec<_> = by_text.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut common: Map<u32, u32> = Map::default();
        for (text, _) in &sorted {
            for gram in text.as_bytes().windows(width) {
                *common.entry(key(gram)).or_default() += 1;
            }
        }
        let bits = (sorted.len() * 32).next_power_of_two().clamp(1 << 10, 1 << 18);
        let mut grams = Grams {
            width,
            filter: vec![0; bits / 64],
            shift: 32 - bits.trailing_zeros(),
            ..Default::default()
        };
        for (text, entries) in sorted {
            let windows = text.as_bytes().windows(width).enumerate();
            let rarest = windows.min_by_key(|(_, gram)| {
                (
                    common.get(&key(gram)).copied().unwrap_or(0) * 16
                        + gram.iter().map(|b| commonness(*b)).sum::<u32>(),
                    key(gram),
                )
            });
            let Some((offset, gram)) = rarest else { continue };
            let gram = key(gram);
            let slot = grams.slot(gram);
            grams.filter[slot / 64] |= 1 << (slot % 64);
            let literal = grams.literals.len() as u32;
            grams.filed.entry(gram).or_default().push(Filed { literal, offset: offset as u32, entries });
            grams.literals.push(text.into());
        }
        grams
    }

    fn slot(&self, gram: u32) -> usize {
        (gram.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    fn scan(&self, value: &[u8], tell: &mut impl FnMut(&Entry)) {
        if self.literals.is_empty() || value.len() < self.width {
            return;
        }
        for at in 0..=value.len() - self.width {
            let gram = match value.get(at..at + 4).and_then(|b| b.first_chunk::<4>()) {
                Some(four) => u32::from_le_bytes(*four) & (u32::MAX >> (32 - 8 * self.width)),
                None => key(&value[at..at + self.width]),
            };
            let slot = self.slot(gram);
            if self.filter[slot / 64] >> (slot % 64) & 1 == 1 {
                self.verify(gram, value, at, tell);
            }
        }
    }

    #[cold]
    fn verify(&self, gram: u32, value: &[u8], at: usize, tell: &mut impl FnMut(&Entry)) {
        for filed in self.filed.get(&gram).into_iter().flatten() {
            let Some(start) = at.checked_sub(filed.offset as usize) else { continue };
            if value[start..].starts_with(self.literals[filed.literal as usize].as_bytes()) {
                filed.entries.iter().for_each(&mut *tell);
            }
        }
    }
}

fn key(gram: &[u8]) -> u32 {
    gram.iter().rev().fold(0, |key, byte| key << 8 | u32::from(*byte))
}

/// How often a byte stands in command lines, paths and log lines; a rough order, measured by eye.
fn commonness(byte: u8) -> u32 {
    match byte {
        b' ' | b'e' | b'\\' | b's' | b't' | b'i' | b'o' | b'n' => 8,
        b'a' | b'r' | b'c' | b'.' | b'd' | b'm' | b'l' | b'0' | b'1' => 6,
        b'w' | b'p' | b'u' | b'h' | b'x' | b'2' | b'-' | b'/' | b':' => 4,
        b'3'..=b'9' | b'f' | b'g' | b'b' | b'y' | b'v' | b'k' | b'"' | b'=' => 3,
        _ => 1,
    }
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
            let (index, globs) = builder.build();
            let raw = raw.trim_end_matches(' ');
            let mut hits = vec![false; patterns.len()];
            index.scan(&globs, &mut Tried::default(), &fold(raw), raw, &mut |pred| hits[pred as usize] = true);
            for (i, pattern) in patterns.iter().enumerate() {
                if filed[i] {
                    prop_assert_eq!(hits[i], crate::spec::matches(pattern, raw), "{:?} on {:?}", pattern, raw);
                }
            }
        }
    }
}

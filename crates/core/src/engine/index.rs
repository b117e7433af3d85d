//! Finds which of many texts a value equals, begins with, ends with or contains, in one pass.
//!
//! Every literal is filed under a few of its bytes: a whole value under its hash, a prefix under its
//! first and a suffix under its last bytes, a substring under the four bytes in it that are rarest
//! among all literals ([`super::grams`]). What is found is verified, so the index has neither false
//! nor missed hits for plain literals; for a [`Glob`] it finds one literal that the pattern needs, and
//! the rest is verified.

use super::glob::Glob;
use super::grams::Grams;
use crate::rule::{Part, Pattern};
use crate::value::fold;
use foldhash::fast::FixedState;
use std::collections::HashMap;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Index of all text predicates of one slot.
#[derive(Debug, Default)]
pub struct Index {
    exact: Map<Box<str>, Vec<Entry>>,
    /// Bit *i* is set if a key of `exact` has *i* bytes; the last bit stands for all longer ones.
    exact_lengths: u64,
    prefix: Ends,
    suffix: Ends,
    grams: Grams,
}

/// Who wants to know of a literal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
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
                self.index.exact_lengths |= length_bit(text.len());
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
        self.index.grams = Grams::new(self.contains);
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
        self.exact.is_empty() && self.prefix.is_empty() && self.suffix.is_empty() && self.grams.is_empty()
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
        if self.exact_lengths & length_bit(value.len()) != 0
            && let Some(entries) = self.exact.get(value)
        {
            entries.iter().for_each(&mut tell);
        }
        self.prefix.scan(value.as_bytes(), true, &mut tell);
        self.suffix.scan(value.as_bytes(), false, &mut tell);
        self.grams.scan(value.as_bytes(), &mut tell);
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

/// The bit of a length in [`Index::exact_lengths`].
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Literals that stand at one end of the value, by their outermost bytes: eight, for all paths of
/// programs end with the same four, else four.
#[derive(Debug, Default)]
struct Ends {
    by_eight: Map<u64, Vec<(Box<str>, Entry)>>,
    by_four: Map<u32, Vec<(Box<str>, Entry)>>,
    short: Vec<(Box<str>, Entry)>,
}

impl Ends {
    fn add(&mut self, text: String, entry: Entry, start: bool) {
        let filed = match (eight(text.as_bytes(), start), four(text.as_bytes(), start)) {
            (Some(key), _) => self.by_eight.entry(key).or_default(),
            (None, Some(key)) => self.by_four.entry(key).or_default(),
            (None, None) => &mut self.short,
        };
        filed.push((text.into(), entry));
    }

    fn is_empty(&self) -> bool {
        self.by_eight.is_empty() && self.by_four.is_empty() && self.short.is_empty()
    }

    fn scan(&self, value: &[u8], start: bool, tell: &mut impl FnMut(&Entry)) {
        let stands = |text: &str| match start {
            true => value.starts_with(text.as_bytes()),
            false => value.ends_with(text.as_bytes()),
        };
        let mut try_all = |filed: &[(Box<str>, Entry)]| {
            for (text, entry) in filed {
                if stands(text) {
                    tell(entry);
                }
            }
        };
        if !self.by_eight.is_empty()
            && let Some(filed) = eight(value, start).and_then(|key| self.by_eight.get(&key))
        {
            try_all(filed);
        }
        if !self.by_four.is_empty()
            && let Some(filed) = four(value, start).and_then(|key| self.by_four.get(&key))
        {
            try_all(filed);
        }
        try_all(&self.short);
    }
}

fn four(text: &[u8], start: bool) -> Option<u32> {
    let bytes = if start { text.first_chunk() } else { text.last_chunk() };
    bytes.map(|bytes| u32::from_le_bytes(*bytes))
}

fn eight(text: &[u8], start: bool) -> Option<u64> {
    let bytes = if start { text.first_chunk() } else { text.last_chunk() };
    bytes.map(|bytes| u64::from_le_bytes(*bytes))
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

//! The sources of the taxonomy, and an index by which most of the many are ruled out without a look
//! at their conditions: by the form of the record, and by the names of fields that they ask for.
//!
//! The index may let too many through, never too few; whether a source fits, its conditions say.

use super::buffers::Arena;
use super::class::{Format, Found, When};
use super::event::{ClassId, Event};
use super::record::LogRecord;
use std::collections::BTreeMap;

/// A class that is chosen by conditions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    pub when: When,
    pub class: ClassId,
}

/// All sources, in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    all: Vec<Source>,
    /// By format: the sources that want it.
    of_format: [Set; Format::COUNT],
    /// Those that ask for no field by name.
    without_name: Set,
    /// By a name's number: the sources that ask for a field whose name has it. One that needs several
    /// stands under one of them, one that needs any of several under each.
    of_name: BTreeMap<u16, Set>,
    /// Whether a name's number is in `of_name`.
    names: Names,
}

impl Sources {
    /// Adds a source behind all others.
    pub fn push(&mut self, source: Source) {
        let number = self.all.len();
        for format in Format::ALL {
            if source.when.format.is_empty() || source.when.format.contains(&format) {
                self.of_format[format as usize].add(number);
            }
        }
        let needed = source.when.field.keys().map(|name| name_number(name));
        // The one that fewest others ask for rules out most.
        let rarest = needed.min_by_key(|name| self.of_name.get(name).map_or(0, Set::len));
        let names: Vec<u16> = match rarest {
            Some(name) => vec![name],
            None => source.when.one_of.iter().map(|name| name_number(name)).collect(),
        };
        if names.is_empty() {
            self.without_name.add(number);
        }
        for name in names {
            self.names.add(name);
            self.of_name.entry(name).or_default().add(number);
        }
        self.all.push(source);
    }

    /// The source of this number.
    pub fn get(&self, number: u16) -> Option<&Source> {
        self.all.get(usize::from(number))
    }

    /// All of them.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.all.iter()
    }

    /// Number and class of the first whose conditions hold.
    pub fn find(
        &self,
        found: &Found<'_>,
        record: &LogRecord<'_>,
        event: &Event<'_>,
        arena: &Arena,
    ) -> Option<(u16, ClassId)> {
        let possible = arena.alloc_slice_fill_copy(self.all.len() / 64 + 1, 0);
        self.without_name.join_to(possible);
        for (name, _) in &event.fields {
            let name = name_number(name);
            if self.names.has(name)
                && let Some(sources) = self.of_name.get(&name)
            {
                sources.join_to(possible);
            }
        }
        let fits = |number: &usize| self.all[*number].when.holds(found, record, event);
        let number = self.of_format[found.format as usize].common(possible).find(fits)?;
        Some((number as u16, self.all[number].class))
    }
}

/// A set of sources by their numbers.
#[derive(Debug, Clone, Default, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn add(&mut self, number: usize) {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Adds all of them to another set, which has as many words or more.
    fn join_to(&self, other: &mut [u64]) {
        for (word, other) in self.0.iter().zip(other) {
            *other |= word;
        }
    }

    /// The numbers that are in both, rising.
    fn common(&self, other: &[u64]) -> impl Iterator<Item = usize> {
        let words = self.0.iter().zip(other).enumerate();
        words.flat_map(|(at, (a, b))| {
            let mut word = a & b;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

const NAME_NUMBERS: usize = 2048;

/// Which numbers of names are there.
#[derive(Debug, Clone)]
struct Names([u64; NAME_NUMBERS / 64]);

impl Default for Names {
    fn default() -> Names {
        Names([0; NAME_NUMBERS / 64])
    }
}

impl Names {
    fn add(&mut self, name: u16) {
        self.0[usize::from(name) / 64] |= 1 << (name % 64);
    }

    fn has(&self, name: u16) -> bool {
        self.0[usize::from(name) / 64] & (1 << (name % 64)) != 0
    }
}

/// A number for a field's name, the same in all letter cases; made of its length and its ends.
fn name_number(name: &str) -> u16 {
    const ONE_CASE: u64 = 0x2020_2020_2020_2020;
    let bytes = name.as_bytes();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) | ONE_CASE;
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (word(first), word(last)),
        _ => (bytes.iter().fold(0, |word, byte| word << 8 | u64::from(byte | 0x20)), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 53) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(yaml: &str) -> Sources {
        let whens: Vec<When> = serde_saphyr::from_str(yaml).unwrap();
        let mut sources = Sources::default();
        for (number, when) in whens.into_iter().enumerate() {
            sources.push(Source { when, class: ClassId(number as u16) });
        }
        sources
    }

    #[track_caller]
    fn check(
        sources: &Sources,
        format: Format,
        fields: &[(&'static str, &'static str)],
        wanted: Option<u16>,
    ) {
        let mut event = Event::default();
        for (name, value) in fields {
            event.push(*name, *value);
        }
        let found = Found { format, ..Found::default() };
        let record = LogRecord::default();
        assert_eq!(sources.find(&found, &record, &event, &Arena::new()).map(|(number, _)| number), wanted);
    }

    #[test]
    fn the_first_source_whose_conditions_hold_is_found() {
        let sources = sources(
            "[{format: [json], field: {eventSource: ['*.com'], eventName: ['*']}},
              {format: [json], one_of: [short, a.much.longer.Name]}, {field: {kind: [x]}}, {format: [text]}]",
        );
        let cloud = [("EVENTSOURCE", "a.com"), ("eventname", "b"), ("short", "c")];
        check(&sources, Format::Json, &cloud, Some(0));
        check(&sources, Format::Json, &cloud[1..], Some(1));
        check(&sources, Format::Json, &[("A.much.longer.name", "")], Some(1));
        check(&sources, Format::Text, &cloud, Some(3));
        check(&sources, Format::Audit, &[("Kind", "X")], Some(2));
        check(&sources, Format::Audit, &[("kind", "y")], None);
    }

    #[test]
    fn numbers_of_names_do_not_depend_on_letter_case() {
        for name in
            ["", "a", "Image", "ParentImage", "userIdentity.sessionContext.attributes.mfaAuthenticated"]
        {
            assert_eq!(name_number(name), name_number(&name.to_uppercase()), "{name}");
        }
        let distinct: std::collections::BTreeSet<u16> =
            (0..100).map(|number| name_number(&format!("field_{number}"))).collect();
        assert!(distinct.len() > 80);
    }
}

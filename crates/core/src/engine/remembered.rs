//! What values were found to fulfil, kept for when they come again: most values of logs do.
//!
//! A value is known by its field, its kind and all its bytes, so an answer is never another value's,
//! whatever a log holds. The memory is bounded; a value that does not come again is soon overwritten.

use super::program::{Lists, Program};
use crate::value::same;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher as _, Hasher as _};

/// Places for values, and for lines.
const VALUES: usize = 1 << 15;
const LINES: usize = 1 << 8;
/// What all together may take, bytes, which hostile values could fill. Beyond, all is forgotten.
const ALL_BYTES_MAX: usize = 16 << 20;
/// Longer values are not remembered: they hardly come again. Their long lines may.
const VALUE_BYTES_MAX: usize = 4096;
const LINE_BYTES_MAX: usize = 1 << 14;
/// Values that fulfil more than so many predicates are not remembered.
const PREDS_MAX: usize = 256;

/// Values of fields, and what each fulfils.
pub(super) type Values = Remembered<VALUES, VALUE_BYTES_MAX>;
/// Long lines of long values, and the literals that were found in each.
pub(super) type Lines = Remembered<LINES, LINE_BYTES_MAX>;

/// Texts of up to so many bytes and what came of them. Each may stand in either of two places that are
/// neighbours.
#[derive(Debug, Default)]
pub(super) struct Remembered<const PLACES: usize, const BYTES_MAX: usize> {
    places: Vec<Known>,
    /// What all places have room for, bytes.
    bytes: usize,
    /// What follows from the value at hand.
    groups: Vec<u32>,
    rules: Vec<u32>,
    hasher: FixedState,
}

/// A value and what came of it, which stand together in memory: most lookups find them in no cache.
#[derive(Debug, Default, Clone)]
pub(super) struct Known {
    /// Of field and value; nothing is known if it is 0.
    hash: u64,
    field: Field,
    /// The value's bytes, then what is to be marked: predicates, groups and rules, four bytes each.
    data: Vec<u8>,
    text: u32,
    preds: u32,
    groups: u32,
}

impl Known {
    /// The predicates that the value fulfils.
    #[inline]
    pub fn preds(&self) -> impl Iterator<Item = u32> {
        self.marks(self.text, self.preds)
    }

    /// The groups that they make true.
    #[inline]
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        self.marks(self.preds, self.groups)
    }

    /// The rules that these wake.
    #[inline]
    pub fn rules(&self) -> impl Iterator<Item = u32> {
        self.marks(self.groups, self.data.len() as u32)
    }

    #[inline]
    fn marks(&self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let (marks, _) = self.data[start as usize..end as usize].as_chunks();
        marks.iter().map(|mark| u32::from_le_bytes(*mark))
    }

    fn is(&self, field: Field, value: &[u8]) -> bool {
        self.field == field && self.data.get(..self.text as usize).is_some_and(|text| same(text, value))
    }

    fn set(&mut self, field: Field, value: &[u8], [preds, groups, rules]: [&[u32]; 3]) {
        let data = &mut self.data;
        data.clear();
        data.extend_from_slice(value);
        self.text = data.len() as u32;
        let mut add = |marks: &[u32]| {
            data.extend(marks.iter().flat_map(|mark| mark.to_le_bytes()));
            data.len() as u32
        };
        (self.preds, self.groups) = (add(preds), add(groups));
        add(rules);
        // A long value may have stood there.
        if data.capacity() > 4 * data.len() {
            data.shrink_to_fit();
        }
        self.field = field;
    }
}

/// Which values are the same if their bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// Number of the program.
    pub program: u32,
    /// The list of slots that take the value.
    pub list: u32,
    /// Whether the bytes are those of a number and not a text.
    pub is_number: bool,
}

/// A value that is not known, and where it could be remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    field: Field,
    hash: u64,
}

impl<const PLACES: usize, const BYTES_MAX: usize> Remembered<PLACES, BYTES_MAX> {
    /// What is known of the value; or, if it is not known, where to remember it, if that may
    /// be done.
    #[inline]
    pub fn find(&self, field: Field, value: &[u8]) -> Result<&Known, Option<Place>> {
        if value.len() > BYTES_MAX {
            return Err(None);
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(value);
        hasher.write_u64(
            u64::from(field.program) << 33 | u64::from(field.list) << 1 | u64::from(field.is_number),
        );
        let hash = hasher.finish().max(1);
        let first = first_place::<PLACES>(hash);
        for at in [first, first ^ 1] {
            if let Some(known) = self.places.get(at)
                && known.hash == hash
                && known.is(field, value)
            {
                return Ok(known);
            }
        }
        Err(Some(Place { field, hash }))
    }

    /// Remembers that `value` fulfils `preds`.
    pub fn remember(&mut self, place: Place, value: &[u8], preds: &[u32], program: &Program) {
        if preds.len() > PREDS_MAX {
            return;
        }
        let (mut groups, mut rules) = (std::mem::take(&mut self.groups), std::mem::take(&mut self.rules));
        follow(preds, &program.pred_groups, &mut groups);
        follow(&groups, &program.group_rules, &mut rules);
        self.keep(place, value, [preds, &groups, &rules]);
        (self.groups, self.rules) = (groups, rules);
    }

    /// Remembers the literals that were found in a line: pairs of numbers.
    pub fn remember_found(&mut self, place: Place, line: &[u8], found: &[u32]) {
        if found.len() <= PREDS_MAX {
            self.keep(place, line, [found, &[], &[]]);
        }
    }

    /// What stood in the place moves to the neighbouring one.
    fn keep(&mut self, place: Place, text: &[u8], marks: [&[u32]; 3]) {
        if self.places.is_empty() || self.bytes > ALL_BYTES_MAX {
            self.places = vec![Known::default(); PLACES];
            self.bytes = 0;
        }
        let at = first_place::<PLACES>(place.hash);
        self.places.swap(at, at ^ 1);
        let known = &mut self.places[at];
        self.bytes -= known.data.capacity();
        known.hash = place.hash;
        known.set(place.field, text, marks);
        self.bytes += known.data.capacity();
    }
}

/// What is listed under some numbers, each once.
fn follow(numbers: &[u32], lists: &Lists, all: &mut Vec<u32>) {
    all.clear();
    numbers.iter().for_each(|number| all.extend_from_slice(lists.get(*number)));
    all.sort_unstable();
    all.dedup();
}

fn first_place<const PLACES: usize>(hash: u64) -> usize {
    hash as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELD: Field = Field { program: 1, list: 2, is_number: false };

    fn known(memory: &Values, field: Field, value: &[u8]) -> Option<Vec<u32>> {
        memory.find(field, value).ok().map(|known| known.preds().collect())
    }

    fn remember(memory: &mut Values, field: Field, value: &[u8], preds: &[u32]) {
        let place = memory.find(field, value).err().flatten().expect("not known and short enough");
        memory.remember(place, value, preds, &Program::default());
    }

    #[test]
    fn a_value_is_known_in_its_own_field_only() {
        let mut memory = Values::default();
        remember(&mut memory, FIELD, b"cmd.exe", &[7, 8]);
        assert_eq!(known(&memory, FIELD, b"cmd.exe"), Some(vec![7, 8]));
        assert_eq!(known(&memory, FIELD, b"CMD.EXE"), None);
        for other in
            [Field { program: 2, ..FIELD }, Field { list: 3, ..FIELD }, Field { is_number: true, ..FIELD }]
        {
            assert_eq!(known(&memory, other, b"cmd.exe"), None, "{other:?}");
        }
    }

    #[test]
    fn a_value_with_the_same_hash_is_another() {
        let mut memory = Values::default();
        remember(&mut memory, FIELD, b"a", &[1]);
        let at = memory.places.iter().position(|known| known.hash != 0).expect("it is remembered");
        memory.places[at].data[0] = b'b';
        assert_eq!(known(&memory, FIELD, b"a"), None);
    }

    #[test]
    fn the_memory_is_bounded_and_new_values_displace_old_ones() {
        let mut memory = Values::default();
        for number in 0..3 * VALUES as u32 {
            let value = number.to_string();
            remember(&mut memory, FIELD, value.as_bytes(), &[number]);
            assert_eq!(known(&memory, FIELD, value.as_bytes()), Some(vec![number]));
        }
        assert_eq!(memory.places.len(), VALUES);
        assert!(memory.find(FIELD, &[b'x'; VALUE_BYTES_MAX + 1]).is_err_and(|place| place.is_none()));
        let place = memory.find(FIELD, b"much").err().flatten().expect("not known");
        memory.remember(place, b"much", &[0; PREDS_MAX + 1], &Program::default());
        assert_eq!(known(&memory, FIELD, b"much"), None);
    }

    #[test]
    fn long_values_fill_no_more_than_is_set() {
        let mut memory = Values::default();
        for number in 0..2 * ALL_BYTES_MAX / VALUE_BYTES_MAX {
            let value = format!("{number:0VALUE_BYTES_MAX$}");
            remember(&mut memory, FIELD, value.as_bytes(), &[1]);
            assert_eq!(known(&memory, FIELD, value.as_bytes()), Some(vec![1]));
            assert!(memory.bytes <= ALL_BYTES_MAX + 2 * VALUE_BYTES_MAX);
            assert_eq!(memory.bytes, memory.places.iter().map(|known| known.data.capacity()).sum::<usize>());
        }
    }

    #[test]
    fn what_follows_from_a_value_is_known_with_it() {
        let mut memory = Values::default();
        let program = Program {
            pred_groups: Lists::new(&[vec![2, 0], vec![], vec![0]]),
            group_rules: Lists::new(&[vec![9], vec![8], vec![7, 9]]),
            ..Program::default()
        };
        let place = memory.find(FIELD, b"a").err().flatten().expect("not known");
        memory.remember(place, b"a", &[0, 2], &program);
        let known = memory.find(FIELD, b"a").expect("known");
        assert_eq!(known.preds().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(known.groups().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(known.rules().collect::<Vec<_>>(), [7, 9]);
    }
}

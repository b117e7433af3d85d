//! What values were found to fulfil, kept for when they come again: most values of logs do.
//!
//! A value is known by its field, its kind and all its bytes, so an answer is never another value's,
//! whatever a log holds. Records of values are written one behind the other into a ring, so the memory is
//! bounded, and what is overwritten is what was written longest ago. A small index, which stays in a near
//! cache, says where the records stand; the record itself mostly has to come from far away, at once.

use super::program::{Lists, Program};
use crate::value::same;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher as _, Hasher as _};
use wide::u32x8;

/// Rows of the index, each with [`PLACES`] places for values or for lines.
const VALUE_ROWS: usize = 1 << 12;
const LINE_ROWS: usize = 1 << 5;
/// Places of a row, which is a cache line.
const PLACES: usize = 8;
/// Longer values are not remembered: they hardly come again. Their long lines may.
const VALUE_BYTES_MAX: usize = 4096;
const LINE_BYTES_MAX: usize = 1 << 14;
/// Values that fulfil more than so many predicates are not remembered.
const PREDS_MAX: usize = 256;
/// Bytes of a step in the ring; records begin at one.
const STEP: usize = 8;
/// Steps of the rings: 8 and 2 MB, which hostile values could fill.
const VALUE_RING: u32 = 1 << 20;
const LINE_RING: u32 = 1 << 18;

/// Values of fields, and what each fulfils.
pub(super) type Values = Remembered<VALUE_ROWS, VALUE_BYTES_MAX, VALUE_RING>;
/// Long lines of long values, and the literals that were found in each.
pub(super) type Lines = Remembered<LINE_ROWS, LINE_BYTES_MAX, LINE_RING>;

/// Texts of up to so many bytes and what came of them.
#[derive(Debug, Default)]
pub(super) struct Remembered<const ROWS: usize, const BYTES_MAX: usize, const RING: u32> {
    rows: Vec<Row>,
    /// Records, `RING` steps once there is one.
    ring: Vec<u8>,
    /// How many steps were written since all was forgotten, and `RING` more.
    end: u32,
    /// What follows from the value at hand.
    groups: Vec<u32>,
    rules: Vec<u32>,
    hasher: FixedState,
}

/// Where records stand whose hashes lead here, the newest first.
#[derive(Debug, Default, Clone, Copy)]
#[repr(align(64))]
struct Row {
    /// A part of each hash.
    tags: [u32; PLACES],
    /// At which step each record was written, on the scale of [`Remembered::end`].
    steps: [u32; PLACES],
}

/// What came of a value: what is to be marked when it comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'m> {
    /// Predicates, groups and rules, so many of each.
    marks: &'m [[u8; 4]],
    preds: u32,
    groups: u32,
}

impl Known<'_> {
    /// Whether there is anything to be marked; mostly not.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.marks.is_empty()
    }

    /// The predicates that the value fulfils.
    pub fn preds(&self) -> impl Iterator<Item = u32> {
        self.marks(0, self.preds)
    }

    /// The groups that they make true.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        self.marks(self.preds, self.preds + self.groups)
    }

    /// The rules that these wake.
    pub fn rules(&self) -> impl Iterator<Item = u32> {
        self.marks(self.preds + self.groups, self.marks.len() as u32)
    }

    #[inline]
    fn marks(&self, from: u32, to: u32) -> impl Iterator<Item = u32> {
        self.marks[from as usize..to as usize].iter().map(|mark| u32::from_le_bytes(*mark))
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

impl Field {
    #[inline]
    fn number(self) -> u64 {
        u64::from(self.program) << 33 | u64::from(self.list) << 1 | u64::from(self.is_number)
    }
}

/// A value that is not known, and where it could be remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    field: Field,
    hash: u64,
}

/// What a record begins with: whose it is, and how much of what follows. The value's bytes follow, then
/// the marks.
#[derive(Debug, Clone, Copy)]
struct Header {
    field: u64,
    value_bytes: u32,
    /// Predicates, groups and rules.
    marks: [u32; 3],
}

impl Header {
    const BYTES: usize = 24;

    #[inline]
    fn read(bytes: &[u8; Header::BYTES]) -> Header {
        let (words, _) = bytes.as_chunks();
        let word = |at: usize| u32::from_le_bytes(words[at]);
        let field = u64::from(word(0)) | u64::from(word(1)) << 32;
        Header { field, value_bytes: word(2), marks: [word(3), word(4), word(5)] }
    }

    fn bytes(&self) -> [u8; Header::BYTES] {
        let mut bytes = [0; Header::BYTES];
        bytes[..8].copy_from_slice(&self.field.to_le_bytes());
        let words = [self.value_bytes, self.marks[0], self.marks[1], self.marks[2]];
        for (to, word) in bytes[8..].as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

impl<const ROWS: usize, const BYTES_MAX: usize, const RING: u32> Remembered<ROWS, BYTES_MAX, RING> {
    /// What is known of the value; or, if it is not known, where to remember it, if that may
    /// be done.
    #[inline(always)]
    pub fn find(&self, field: Field, value: &[u8]) -> Result<Known<'_>, Option<Place>> {
        if value.len() > BYTES_MAX {
            return Err(None);
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(value);
        hasher.write_u64(field.number());
        let hash = hasher.finish();
        let unknown = Err(Some(Place { field, hash }));
        let Some(Row { tags, steps }) = self.rows.get(row::<ROWS>(hash)) else { return unknown };
        let mut places = u32x8::new(*tags).simd_eq(u32x8::splat(tag(hash))).to_bitmask();
        while places != 0 {
            let at = places.trailing_zeros() as usize % PLACES;
            if let Some(known) = self.record(steps[at], field, value) {
                return Ok(known);
            }
            places &= places - 1;
        }
        unknown
    }

    /// The record that was written at a step, if it is there and of that value.
    #[inline(always)]
    fn record(&self, step: u32, field: Field, value: &[u8]) -> Option<Known<'_>> {
        if self.end - step > RING {
            return None;
        }
        let record = &self.ring[(step % RING) as usize * STEP..];
        let (header, rest) = record.split_first_chunk()?;
        let Header { field: its, value_bytes, marks: [preds, groups, rules] } = Header::read(header);
        let (its_value, rest) = rest.split_at_checked(value_bytes as usize)?;
        if its != field.number() || !same(its_value, value) {
            return None;
        }
        let marks = rest.as_chunks().0.get(..(preds + groups + rules) as usize)?;
        Some(Known { marks, preds, groups })
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

    /// Writes a record, and files it in front of its row.
    fn keep(&mut self, Place { field, hash }: Place, value: &[u8], marks: [&[u32]; 3]) {
        let bytes = Header::BYTES + value.len() + marks.iter().map(|marks| marks.len() * 4).sum::<usize>();
        let steps = bytes.div_ceil(STEP) as u32;
        if steps > RING / 16 {
            return;
        }
        if self.rows.is_empty() {
            // The system gives memory for it as it is written.
            self.ring = vec![0; RING as usize * STEP];
        }
        if self.rows.is_empty() || self.end > u32::MAX - 2 * steps {
            self.rows.clear();
            self.rows.resize(ROWS, Row::default());
            self.end = RING;
        }
        // What is left at the ring's end may be too little.
        let left = RING - self.end % RING;
        let step = self.end + if left < steps { left } else { 0 };
        self.end = step + steps;
        let header = Header {
            field: field.number(),
            value_bytes: value.len() as u32,
            marks: marks.map(|marks| marks.len() as u32),
        };
        let (start, rest) = self.ring[(step % RING) as usize * STEP..][..bytes].split_at_mut(Header::BYTES);
        start.copy_from_slice(&header.bytes());
        let (text, rest) = rest.split_at_mut(value.len());
        text.copy_from_slice(value);
        let words = rest.as_chunks_mut().0;
        words.iter_mut().zip(marks.into_iter().flatten()).for_each(|(word, mark)| *word = mark.to_le_bytes());
        let row = &mut self.rows[row::<ROWS>(hash)];
        row.tags.rotate_right(1);
        row.steps.rotate_right(1);
        (row.tags[0], row.steps[0]) = (tag(hash), step);
    }
}

/// What is listed under some numbers, each once.
fn follow(numbers: &[u32], lists: &Lists, all: &mut Vec<u32>) {
    all.clear();
    numbers.iter().for_each(|number| all.extend_from_slice(lists.get(*number)));
    all.sort_unstable();
    all.dedup();
}

fn row<const ROWS: usize>(hash: u64) -> usize {
    hash as usize % ROWS
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const RING_BYTES: usize = VALUE_RING as usize * STEP;
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
        memory.ring[Header::BYTES] = b'b';
        assert_eq!(known(&memory, FIELD, b"a"), None);
        // Both are filed under the same hash.
        remember(&mut memory, FIELD, b"a", &[2]);
        memory.ring[Header::BYTES] = b'a';
        assert_eq!(known(&memory, FIELD, b"a"), Some(vec![2]));
    }

    #[test]
    fn new_values_displace_old_ones_of_their_row() {
        let mut memory = Values::default();
        let places = (VALUE_ROWS * PLACES) as u32;
        for number in 0..3 * places {
            let value = number.to_string();
            remember(&mut memory, FIELD, value.as_bytes(), &[number]);
            assert_eq!(known(&memory, FIELD, value.as_bytes()), Some(vec![number]));
        }
        assert_eq!(memory.rows.len(), VALUE_ROWS);
        assert_eq!(size_of_val(memory.rows.as_slice()), VALUE_ROWS * 64);
        let of_last = |count: u32| {
            (3 * places - count..3 * places)
                .filter(|number| known(&memory, FIELD, number.to_string().as_bytes()).is_some())
                .count()
        };
        assert!(of_last(places / 2) > places as usize / 2 * 9 / 10, "{}", of_last(places / 2));
        assert!(of_last(3 * places) <= places as usize);
    }

    #[test]
    fn what_is_too_large_is_not_remembered() {
        let mut memory = Values::default();
        assert!(memory.find(FIELD, &[b'x'; VALUE_BYTES_MAX + 1]).is_err_and(|place| place.is_none()));
        let place = memory.find(FIELD, b"much").err().flatten().expect("not known");
        memory.remember(place, b"much", &[0; PREDS_MAX + 1], &Program::default());
        assert_eq!(known(&memory, FIELD, b"much"), None);
    }

    #[test]
    fn what_was_written_longest_ago_is_overwritten() {
        let mut memory = Values::default();
        let value = |number: usize| format!("{number:0VALUE_BYTES_MAX$}").into_bytes();
        let record = Header::BYTES + VALUE_BYTES_MAX + 4;
        let (fit, all) = (RING_BYTES / record, 3 * RING_BYTES / record);
        for number in 0..all {
            remember(&mut memory, FIELD, &value(number), &[number as u32]);
        }
        assert_eq!(memory.ring.len(), RING_BYTES);
        let is_known = |number: &usize| known(&memory, FIELD, &value(*number)) == Some(vec![*number as u32]);
        assert_eq!((0..all - fit).filter(is_known).count(), 0);
        // A row may have had no place for one or the other.
        assert!((all - fit + 1..all).filter(is_known).count() > fit * 9 / 10);
    }

    #[test]
    fn all_is_forgotten_before_steps_are_counted_from_the_start_again() {
        let mut memory = Values::default();
        remember(&mut memory, FIELD, b"old", &[1]);
        memory.end = u32::MAX - 7;
        remember(&mut memory, FIELD, b"new", &[2]);
        assert_eq!(memory.end, VALUE_RING + 4);
        assert_eq!(known(&memory, FIELD, b"new"), Some(vec![2]));
        assert_eq!(known(&memory, FIELD, b"old"), None);
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

    proptest! {
        #[test]
        fn what_is_known_is_what_was_remembered(
            values in prop::collection::vec(("[ab]{0,3}", 0..1500_usize, prop::collection::vec(0..9_u32, 0..4)), 1..60),
            start in 0..VALUE_RING,
        ) {
            let mut memory = Values::default();
            remember(&mut memory, FIELD, b"first", &[]);
            memory.end = VALUE_RING + start;
            let mut right: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
            for (value, times, preds) in values {
                let value = value.repeat(times).into_bytes();
                match memory.find(FIELD, &value) {
                    Ok(known) => prop_assert_eq!(Some(&known.preds().collect::<Vec<_>>()), right.get(&value)),
                    Err(Some(place)) => {
                        memory.remember(place, &value, &preds, &Program::default());
                        right.insert(value, preds);
                    }
                    Err(None) => prop_assert!(value.len() > VALUE_BYTES_MAX),
                }
            }
        }
    }
}

//! Texts that came before and what came of them, kept for when they come again: most of what stands in
//! logs does.
//!
//! A text is known by its owner and all its bytes, so an answer is never another text's, whatever a log
//! holds. Records are written one behind the other into a ring, so the memory is bounded, and what is
//! overwritten is what was written longest ago. A small index, which stays in a near cache, says where the
//! records stand; the record itself mostly has to come from far away, at once.

use crate::value::same;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher as _, Hasher as _};
use wide::u32x8;

/// Places of a row of the index, which is a cache line.
const PLACES: usize = 8;
/// Bytes of a step in the ring; records begin at one.
const STEP: usize = 8;

/// Texts of up to `BYTES_MAX` bytes and what came of them, in a ring of `RING` [`STEP`]s with an index of `ROWS`
/// rows.
#[derive(Debug, Default)]
pub(crate) struct Remembered<const ROWS: usize, const BYTES_MAX: usize, const RING: u32> {
    rows: Vec<Row>,
    /// Records, `RING` steps once there is one.
    ring: Vec<u8>,
    /// How many steps were written since all was forgotten, and `RING` more.
    end: u32,
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

/// What came of a text: three lists of numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'m> {
    numbers: &'m [[u8; 4]],
    counts: [u32; 3],
}

impl Known<'_> {
    /// Whether there are no numbers; mostly so.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.numbers.is_empty()
    }

    /// One of the lists.
    #[inline]
    pub fn list<const LIST: usize>(&self) -> impl Iterator<Item = u32> {
        let from = self.counts[..LIST].iter().sum::<u32>() as usize;
        let numbers = &self.numbers[from..from + self.counts[LIST] as usize];
        numbers.iter().map(|number| u32::from_le_bytes(*number))
    }
}

/// A text that is not known, and where it could be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    owner: u64,
    hash: u64,
}

/// What a record begins with: whose it is, and how much of what follows. The text follows, then the numbers.
#[derive(Debug, Clone, Copy)]
struct Header {
    owner: u64,
    text_bytes: u32,
    counts: [u32; 3],
}

impl Header {
    const BYTES: usize = 24;

    #[inline]
    fn read(bytes: &[u8; Header::BYTES]) -> Header {
        let (words, _) = bytes.as_chunks();
        let word = |at: usize| u32::from_le_bytes(words[at]);
        let owner = u64::from(word(0)) | u64::from(word(1)) << 32;
        Header { owner, text_bytes: word(2), counts: [word(3), word(4), word(5)] }
    }

    fn bytes(&self) -> [u8; Header::BYTES] {
        let mut bytes = [0; Header::BYTES];
        bytes[..8].copy_from_slice(&self.owner.to_le_bytes());
        let words = [self.text_bytes, self.counts[0], self.counts[1], self.counts[2]];
        for (to, word) in bytes[8..].as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

impl<const ROWS: usize, const BYTES_MAX: usize, const RING: u32> Remembered<ROWS, BYTES_MAX, RING> {
    /// What is known of the text; or, if it is not known, where to remember it, if that may
    /// be done.
    #[inline(always)]
    pub fn find(&self, owner: u64, text: &[u8]) -> Result<Known<'_>, Option<Place>> {
        if text.len() > BYTES_MAX {
            return Err(None);
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        hasher.write_u64(owner);
        let hash = hasher.finish();
        let unknown = Err(Some(Place { owner, hash }));
        let Some(Row { tags, steps }) = self.rows.get(row::<ROWS>(hash)) else { return unknown };
        let mut places = u32x8::new(*tags).simd_eq(u32x8::splat(tag(hash))).to_bitmask();
        while places != 0 {
            let at = places.trailing_zeros() as usize % PLACES;
            if let Some(known) = self.record(steps[at], owner, text) {
                return Ok(known);
            }
            places &= places - 1;
        }
        unknown
    }

    /// The record that was written at a step, if it is there and of that text.
    #[inline(always)]
    fn record(&self, step: u32, owner: u64, text: &[u8]) -> Option<Known<'_>> {
        if self.end - step > RING {
            return None;
        }
        let record = &self.ring[(step % RING) as usize * STEP..];
        let (header, rest) = record.split_first_chunk()?;
        let Header { owner: its, text_bytes, counts } = Header::read(header);
        let (its_text, rest) = rest.split_at_checked(text_bytes as usize)?;
        if its != owner || !same(its_text, text) {
            return None;
        }
        let numbers = rest.as_chunks().0.get(..counts.iter().sum::<u32>() as usize)?;
        Some(Known { numbers, counts })
    }

    /// Writes a record, and files it in front of its row.
    pub fn keep(&mut self, Place { owner, hash }: Place, text: &[u8], lists: [&[u32]; 3]) {
        let bytes = Header::BYTES + text.len() + lists.iter().map(|list| list.len() * 4).sum::<usize>();
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
        let header =
            Header { owner, text_bytes: text.len() as u32, counts: lists.map(|list| list.len() as u32) };
        let (start, rest) = self.ring[(step % RING) as usize * STEP..][..bytes].split_at_mut(Header::BYTES);
        start.copy_from_slice(&header.bytes());
        let (to, rest) = rest.split_at_mut(text.len());
        to.copy_from_slice(text);
        let words = rest.as_chunks_mut().0;
        words
            .iter_mut()
            .zip(lists.into_iter().flatten())
            .for_each(|(word, number)| *word = number.to_le_bytes());
        let row = &mut self.rows[row::<ROWS>(hash)];
        row.tags.rotate_right(1);
        row.steps.rotate_right(1);
        (row.tags[0], row.steps[0]) = (tag(hash), step);
    }
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

    const ROWS: usize = 1 << 12;
    const BYTES_MAX: usize = 4096;
    const RING: u32 = 1 << 20;
    const RING_BYTES: usize = RING as usize * STEP;
    const OWNER: u64 = 7;

    type Memory = Remembered<ROWS, BYTES_MAX, RING>;

    fn known(memory: &Memory, text: &[u8]) -> Option<Vec<u32>> {
        memory.find(OWNER, text).ok().map(|known| known.list::<0>().collect())
    }

    fn remember(memory: &mut Memory, text: &[u8], numbers: &[u32]) {
        let place = memory.find(OWNER, text).err().flatten().expect("not known and short enough");
        memory.keep(place, text, [numbers, &[], &[]]);
    }

    #[test]
    fn three_lists_are_kept_of_a_text_and_its_owner() {
        let mut memory = Memory::default();
        let place = memory.find(OWNER, b"a").err().flatten().expect("not known");
        memory.keep(place, b"a", [&[1, 2], &[], &[3]]);
        let known = memory.find(OWNER, b"a").expect("known");
        let lists: [Vec<u32>; 3] =
            [known.list::<0>().collect(), known.list::<1>().collect(), known.list::<2>().collect()];
        assert_eq!(lists, [vec![1, 2], vec![], vec![3]]);
        assert!(memory.find(OWNER + 1, b"a").is_err() && memory.find(OWNER, b"A").is_err());
        assert!(memory.find(OWNER, &[b'a'; BYTES_MAX + 1]).is_err_and(|place| place.is_none()));
    }

    #[test]
    fn a_text_with_the_same_hash_is_another() {
        let mut memory = Memory::default();
        remember(&mut memory, b"a", &[1]);
        memory.ring[Header::BYTES] = b'b';
        assert_eq!(known(&memory, b"a"), None);
        // Both are filed under the same hash.
        remember(&mut memory, b"a", &[2]);
        memory.ring[Header::BYTES] = b'a';
        assert_eq!(known(&memory, b"a"), Some(vec![2]));
    }

    #[test]
    fn new_texts_displace_old_ones_of_their_row() {
        let mut memory = Memory::default();
        let places = (ROWS * PLACES) as u32;
        for number in 0..3 * places {
            let value = number.to_string();
            remember(&mut memory, value.as_bytes(), &[number]);
            assert_eq!(known(&memory, value.as_bytes()), Some(vec![number]));
        }
        assert_eq!(memory.rows.len(), ROWS);
        assert_eq!(size_of_val(memory.rows.as_slice()), ROWS * 64);
        let of_last = |count: u32| {
            (3 * places - count..3 * places)
                .filter(|number| known(&memory, number.to_string().as_bytes()).is_some())
                .count()
        };
        assert!(of_last(places / 2) > places as usize / 2 * 9 / 10, "{}", of_last(places / 2));
        assert!(of_last(3 * places) <= places as usize);
    }

    #[test]
    fn what_was_written_longest_ago_is_overwritten() {
        let mut memory = Memory::default();
        let value = |number: usize| format!("{number:0BYTES_MAX$}").into_bytes();
        let record = Header::BYTES + BYTES_MAX + 4;
        let (fit, all) = (RING_BYTES / record, 3 * RING_BYTES / record);
        for number in 0..all {
            remember(&mut memory, &value(number), &[number as u32]);
        }
        assert_eq!(memory.ring.len(), RING_BYTES);
        let is_known = |number: &usize| known(&memory, &value(*number)) == Some(vec![*number as u32]);
        assert_eq!((0..all - fit).filter(is_known).count(), 0);
        // A row may have had no place for one or the other.
        assert!((all - fit + 1..all).filter(is_known).count() > fit * 9 / 10);
    }

    #[test]
    fn all_is_forgotten_before_steps_are_counted_from_the_start_again() {
        let mut memory = Memory::default();
        remember(&mut memory, b"old", &[1]);
        memory.end = u32::MAX - 7;
        remember(&mut memory, b"new", &[2]);
        assert_eq!(memory.end, RING + 4);
        assert_eq!(known(&memory, b"new"), Some(vec![2]));
        assert_eq!(known(&memory, b"old"), None);
    }

    proptest! {
        #[test]
        fn what_is_known_is_what_was_remembered(
            values in prop::collection::vec(("[ab]{0,3}", 0..1500_usize, prop::collection::vec(0..9_u32, 0..4)), 1..60),
            start in 0..RING,
        ) {
            let mut memory = Memory::default();
            remember(&mut memory, b"first", &[]);
            memory.end = RING + start;
            let mut right: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
            for (value, times, preds) in values {
                let value = value.repeat(times).into_bytes();
                match memory.find(OWNER, &value) {
                    Ok(known) => prop_assert_eq!(Some(&known.list::<0>().collect::<Vec<_>>()), right.get(&value)),
                    Err(Some(place)) => {
                        memory.keep(place, &value, [&preds, &[], &[]]);
                        right.insert(value, preds);
                    }
                    Err(None) => prop_assert!(value.len() > BYTES_MAX),
                }
            }
        }
    }
}

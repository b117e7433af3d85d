//! Finds which of many literals stand anywhere in a value, in one pass over it.
//!
//! A literal of four bytes or more is filed under the four neighbouring bytes in it (a *gram*) that are
//! rarest among all literals; a bitmap says for most positions of a value that nothing is filed
//! there. Shorter literals have a bitmap of their first two bytes, single bytes are searched for.
//! Everything lies in a few flat tables: what a hit costs is the memory it touches.

use super::index::Entry;
use foldhash::fast::FixedState;
use memchr::memchr;
use std::collections::HashMap;
use std::ops::Range;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Literals to be found anywhere.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// One bit for each hash of a gram under which something is filed.
    filter: Vec<u64>,
    /// For each word of `filter`, how many bits are set in the words before it.
    ranks: Vec<u32>,
    shift: u32,
    /// For each set bit, where its literals begin in `filed`; and the end.
    starts: Vec<u32>,
    filed: Vec<Filed>,
    pairs: Option<Box<Pairs>>,
    /// Literals of one byte.
    bytes: Vec<(u8, Range<u32>)>,
    /// All literals, one after the other.
    text: Vec<u8>,
    entries: Vec<Entry>,
}

/// A literal and who wants to know of it.
#[derive(Debug, Clone)]
struct Filed {
    gram: u32,
    /// Where in the literal the gram stands.
    offset: u32,
    /// In [`Grams::text`].
    text: Range<u32>,
    /// In [`Grams::entries`].
    entries: Range<u32>,
}

/// Literals of two and three bytes.
#[derive(Debug)]
struct Pairs {
    /// One bit for each two bytes with which a literal begins.
    filter: [u64; 1024],
    filed: Map<u16, Vec<Short>>,
}

/// The third byte of a literal, if it has one, and who wants to know, in [`Grams::entries`].
type Short = (Option<u8>, Range<u32>);

impl Grams {
    /// Files literals; the same one may be wanted by several.
    pub fn new(literals: Vec<(String, Entry)>) -> Grams {
        let mut by_text: Map<String, Vec<Entry>> = Map::default();
        for (text, entry) in literals.into_iter().filter(|(text, _)| !text.is_empty()) {
            by_text.entry(text).or_default().push(entry);
        }
        let mut sorted: Vec<_> = by_text.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let long = sorted.iter().filter(|(text, _)| text.len() >= 4);
        let mut common: Map<u32, u32> = Map::default();
        let mut count: usize = 0;
        for (text, _) in long {
            count += 1;
            for gram in text.as_bytes().windows(4) {
                *common.entry(key(gram)).or_default() += 1;
            }
        }
        let mut grams = Grams::default();
        let mut filed = vec![];
        for (text, entries) in sorted {
            let from = grams.entries.len() as u32;
            grams.entries.extend(entries);
            let entries = from..grams.entries.len() as u32;
            match text.as_bytes() {
                [byte] => grams.bytes.push((*byte, entries)),
                [first, second, rest @ ..] if rest.len() < 2 => {
                    let pair = u16::from_le_bytes([*first, *second]);
                    let empty = || Box::new(Pairs { filter: [0; 1024], filed: Map::default() });
                    let pairs = grams.pairs.get_or_insert_with(empty);
                    pairs.filter[usize::from(pair >> 6)] |= 1 << (pair & 63);
                    pairs.filed.entry(pair).or_default().push((rest.first().copied(), entries));
                }
                long => {
                    let from = grams.text.len() as u32;
                    grams.text.extend_from_slice(long);
                    let (offset, gram) = rarest(long, &common);
                    let text = from..grams.text.len() as u32;
                    filed.push(Filed { gram, offset, text, entries });
                }
            }
        }
        grams.file(filed, count);
        grams
    }

    /// Builds the tables of the long literals.
    fn file(&mut self, mut filed: Vec<Filed>, count: usize) {
        if count == 0 {
            return;
        }
        let bits = (count * 32).next_power_of_two().clamp(1 << 10, 1 << 18);
        self.shift = 32 - bits.trailing_zeros();
        self.filter = vec![0; bits / 64];
        filed.sort_by_key(|filed| self.slot(filed.gram));
        for (index, filed) in filed.iter().enumerate() {
            let slot = self.slot(filed.gram);
            let (word, bit) = (slot / 64, 1 << (slot % 64));
            if self.filter[word] & bit == 0 {
                self.filter[word] |= bit;
                self.starts.push(index as u32);
            }
        }
        self.starts.push(filed.len() as u32);
        let mut rank = 0;
        for word in &self.filter {
            self.ranks.push(rank);
            rank += word.count_ones();
        }
        self.filed = filed;
    }

    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.filed.is_empty() && self.pairs.is_none() && self.bytes.is_empty()
    }

    /// Calls `tell` for every literal in `value`; for one that stands there several times, several
    /// times.
    pub fn scan(&self, value: &[u8], tell: &mut impl FnMut(&Entry)) {
        for (byte, entries) in &self.bytes {
            if memchr(*byte, value).is_some() {
                self.tell(entries, tell);
            }
        }
        if !self.filed.is_empty() {
            for (at, gram) in value.windows(4).enumerate() {
                let gram = key(gram);
                let slot = self.slot(gram);
                let word = self.filter[slot / 64];
                if word >> (slot % 64) & 1 == 1 {
                    self.verify(gram, slot, value, at, tell);
                }
            }
        }
        if let Some(pairs) = &self.pairs {
            for (at, pair) in value.windows(2).enumerate() {
                let pair = u16::from_le_bytes([pair[0], pair[1]]);
                if pairs.filter[usize::from(pair >> 6)] >> (pair & 63) & 1 == 1 {
                    for (third, entries) in pairs.filed.get(&pair).into_iter().flatten() {
                        if third.is_none_or(|third| value.get(at + 2) == Some(&third)) {
                            self.tell(entries, tell);
                        }
                    }
                }
            }
        }
    }

    fn slot(&self, gram: u32) -> usize {
        (gram.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    /// Compares the literals that are filed at a set bit.
    #[inline(never)]
    fn verify(&self, gram: u32, slot: usize, value: &[u8], at: usize, tell: &mut impl FnMut(&Entry)) {
        let before = self.filter[slot / 64] & ((1 << (slot % 64)) - 1);
        let bucket = (self.ranks[slot / 64] + before.count_ones()) as usize;
        let (from, to) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        for filed in &self.filed[from..to] {
            if filed.gram != gram {
                continue;
            }
            let Some(start) = at.checked_sub(filed.offset as usize) else { continue };
            let text = &self.text[filed.text.start as usize..filed.text.end as usize];
            if value[start..].starts_with(text) {
                self.tell(&filed.entries, tell);
            }
        }
    }

    fn tell(&self, entries: &Range<u32>, tell: &mut impl FnMut(&Entry)) {
        self.entries[entries.start as usize..entries.end as usize].iter().for_each(tell);
    }
}

/// The gram of a literal under which to file it, and where it stands.
fn rarest(text: &[u8], common: &Map<u32, u32>) -> (u32, u32) {
    let grams = text.windows(4).enumerate().map(|(offset, gram)| {
        let letters: u32 = gram.iter().map(|b| commonness(*b)).sum();
        (common.get(&key(gram)).copied().unwrap_or(0) * 16 + letters, key(gram), offset)
    });
    grams.min().map_or((0, 0), |(_, gram, offset)| (offset as u32, gram))
}

fn key(gram: &[u8]) -> u32 {
    gram.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
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

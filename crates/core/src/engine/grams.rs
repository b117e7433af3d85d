//! Finds which of many literals stand anywhere in a value, in one pass over it.
//!
//! A literal is filed under a few neighbouring bytes of it (a *gram*), the rarest among all literals. Not
//! every position of a value has to be asked for then: a literal of seven bytes or more is filed under
//! four grams of four bytes, one of which begins at every fourth position wherever the literal stands;
//! one of four to six bytes under two grams of three bytes, for every second position. Most positions
//! have nothing filed under their gram. Shorter literals, of which [`super::compile`] leaves few, are
//! filed under their first two bytes, single bytes are searched for.

use super::index::{Entry, Store};
use super::table::{Filed, Table};
use crate::value::same;
use foldhash::fast::FixedState;
use memchr::memchr;
use std::collections::HashMap;

type Map<K, V> = HashMap<K, V, FixedState>;

/// From so many bytes on, a gram of four begins at every fourth position.
const LONG: usize = 7;

/// Literals to be found anywhere.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// Literals of at least [`LONG`] bytes, under four bytes.
    long: Table,
    /// Literals of four bytes up to these, under three bytes.
    middle: Table,
    pairs: Option<Box<Pairs>>,
    /// Literals of one byte, and who wants to know, in [`Store::entries`].
    bytes: Vec<(u8, (u32, u32))>,
}

/// Literals of two and three bytes.
#[derive(Debug)]
struct Pairs {
    /// One bit for each two bytes with which a literal begins.
    filter: [u64; 1024],
    /// By the two bytes, sorted.
    filed: Vec<Short>,
}

#[derive(Debug)]
struct Short {
    pair: u16,
    /// The third byte, if the literal has one.
    third: Option<u8>,
    /// Who wants to know, in [`Store::entries`].
    entries: (u32, u32),
}

impl Grams {
    /// Files literals; the same one may be wanted by several.
    pub fn new(literals: Vec<(String, Entry)>, store: &mut Store) -> Grams {
        let sorted = store.add_all(literals);
        let mut common: Map<u32, u32> = Map::default();
        for (text, _, _) in sorted.iter().filter(|(text, _, _)| text.len() >= 4) {
            for gram in text.as_bytes().windows(size(text)) {
                *common.entry(key(gram)).or_default() += 1;
            }
        }
        let mut grams = Grams::default();
        let (mut long, mut middle, mut short) = (vec![], vec![], vec![]);
        for (text, stored, entries) in sorted {
            match text.as_bytes() {
                [] => {}
                [byte] => grams.bytes.push((*byte, entries)),
                [first, second, rest @ ..] if rest.len() < 2 => {
                    let pair = u16::from_le_bytes([*first, *second]);
                    short.push(Short { pair, third: rest.first().copied(), entries });
                }
                bytes => {
                    let (filed, step) = if bytes.len() < LONG { (&mut middle, 2) } else { (&mut long, 4) };
                    for first in 0..step {
                        let (offset, key) = rarest(bytes, size(&text), first, step, &common);
                        filed.push(Filed { key, offset, text: stored, entries });
                    }
                }
            }
        }
        grams.long = Table::new(long);
        grams.middle = Table::new(middle);
        grams.pairs = (!short.is_empty()).then(|| Box::new(Pairs::new(short)));
        grams
    }

    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.long.is_empty() && self.middle.is_empty() && self.pairs.is_none() && self.bytes.is_empty()
    }

    /// Calls `tell` for every literal in `value`, with who wants to know; for one that stands there
    /// several times, several times.
    pub fn scan(&self, store: &Store, value: &[u8], tell: &mut impl FnMut((u32, u32))) {
        for (byte, entries) in &self.bytes {
            if memchr(*byte, value).is_some() {
                tell(*entries);
            }
        }
        match (self.long.is_empty(), self.middle.is_empty()) {
            (true, true) => {}
            (false, true) => self.walk::<true, false>(store, value, tell),
            (true, false) => self.walk::<false, true>(store, value, tell),
            (false, false) => self.walk::<true, true>(store, value, tell),
        }
        if let Some(pairs) = &self.pairs {
            for (at, pair) in value.windows(2).enumerate() {
                let pair = u16::from_le_bytes([pair[0], pair[1]]);
                if pairs.filter[usize::from(pair >> 6)] >> (pair & 63) & 1 == 1 {
                    pairs.verify(pair, value.get(at + 2).copied(), tell);
                }
            }
        }
    }

    /// Asks for the grams of a value, at every fourth position and at every second.
    fn walk<const LONG: bool, const MIDDLE: bool>(
        &self,
        store: &Store,
        value: &[u8],
        tell: &mut impl FnMut((u32, u32)),
    ) {
        let mut at = 0;
        while let Some(bytes) = value.get(at..).and_then(<[u8]>::first_chunk) {
            self.ask::<LONG, MIDDLE>(store, value, at, u64::from_le_bytes(*bytes), tell);
            at += 4;
        }
        // What is not there counts as zeros: that finds too much at most, which is compared.
        while at < value.len() {
            let mut bytes = [0; 8];
            bytes[..value.len() - at].copy_from_slice(&value[at..]);
            self.ask::<LONG, MIDDLE>(store, value, at, u64::from_le_bytes(bytes), tell);
            at += 4;
        }
    }

    /// Asks for the grams that begin at `at` and two bytes on; `bytes` are those from `at`.
    #[inline(always)]
    fn ask<const LONG: bool, const MIDDLE: bool>(
        &self,
        store: &Store,
        value: &[u8],
        at: usize,
        bytes: u64,
        tell: &mut impl FnMut((u32, u32)),
    ) {
        let four = bytes as u32;
        if LONG && self.long.may_have(four) {
            verify(&self.long, store, four, value, at, tell);
        }
        for (at, three) in [(at, four & THREE), (at + 2, (bytes >> 16) as u32 & THREE)] {
            if MIDDLE && self.middle.may_have(three) {
                verify(&self.middle, store, three, value, at, tell);
            }
        }
    }
}

/// Three of four bytes.
const THREE: u32 = 0x00ff_ffff;

/// Compares the literals that are filed under a gram.
#[inline(never)]
fn verify(
    table: &Table,
    store: &Store,
    gram: u32,
    value: &[u8],
    at: usize,
    tell: &mut impl FnMut((u32, u32)),
) {
    for filed in table.filed(gram) {
        let Some(start) = at.checked_sub(filed.offset as usize) else { continue };
        let text = store.text(filed.text);
        if value.get(start..start + text.len()).is_some_and(|here| same(here, text)) {
            tell(filed.entries);
        }
    }
}

impl Pairs {
    fn new(mut filed: Vec<Short>) -> Pairs {
        filed.sort_by_key(|short| short.pair);
        let mut filter = [0; 1024];
        for Short { pair, .. } in &filed {
            filter[usize::from(pair >> 6)] |= 1 << (pair & 63);
        }
        Pairs { filter, filed }
    }

    fn verify(&self, pair: u16, next: Option<u8>, tell: &mut impl FnMut((u32, u32))) {
        let first = self.filed.partition_point(|short| short.pair < pair);
        for short in self.filed[first..].iter().take_while(|short| short.pair == pair) {
            if short.third.is_none() || short.third == next {
                tell(short.entries);
            }
        }
    }
}

/// Bytes of a literal's grams.
fn size(text: &str) -> usize {
    if text.len() < LONG { 3 } else { 4 }
}

/// Of the grams that begin at `first` and every `step` bytes from there: where the rarest stands, and
/// the gram.
fn rarest(text: &[u8], size: usize, first: usize, step: usize, common: &Map<u32, u32>) -> (u32, u32) {
    let grams = text.windows(size).enumerate().skip(first).step_by(step).map(|(offset, gram)| {
        let letters: u32 = gram.iter().map(|b| commonness(*b)).sum();
        (common.get(&key(gram)).copied().unwrap_or(0) * 16 + letters, key(gram), offset)
    });
    grams.min().map_or((0, 0), |(_, gram, offset)| (offset as u32, gram))
}

/// A gram as a number.
fn key(gram: &[u8]) -> u32 {
    gram.iter().rev().fold(0, |key, byte| key << 8 | u32::from(*byte))
}

/// How often a byte stands in command lines, paths and log lines; a rough order, measured by eye.
pub(super) fn commonness(byte: u8) -> u32 {
    match byte {
        b' ' | b'e' | b'\\' | b's' | b't' | b'i' | b'o' | b'n' => 8,
        b'a' | b'r' | b'c' | b'.' | b'd' | b'm' | b'l' | b'0' | b'1' => 6,
        b'w' | b'p' | b'u' | b'h' | b'x' | b'2' | b'-' | b'/' | b':' => 4,
        b'3'..=b'9' | b'f' | b'g' | b'b' | b'y' | b'v' | b'k' | b'"' | b'=' => 3,
        _ => 1,
    }
}

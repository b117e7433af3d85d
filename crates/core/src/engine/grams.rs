//! Finds which of many literals stand anywhere in a value, in one pass over it.
//!
//! A literal is filed under four neighbouring bytes of it (a *gram*), the rarest in it among all literals
//! and in logs. The gram at each position of a value is asked for; nearly none has anything filed under
//! it, which one byte tells. Literals of two and three bytes, of which [`super::compile`] leaves
//! few, are filed under their first two bytes; one byte, or a handful of literals, are searched for.

use super::index::{Entry, Store};
use super::remembered::{Field, Lines};
use super::table::{Filed, Table};
use crate::value::same;
use foldhash::fast::FixedState;
use memchr::memchr;
use memchr::memmem::Finder;
use std::collections::HashMap;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Literals to be found anywhere.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// Literals of at least four bytes, each under one gram.
    fours: Table,
    /// By hash of a gram, whether something may be filed under it.
    doors: Vec<bool>,
    /// Whether a literal may go on in the next line.
    has_break: bool,
    pairs: Option<Box<Pairs>>,
    /// Shorter literals, and who wants to know, in [`Store::entries`]: each is searched for.
    few: Vec<(Finder<'static>, (u32, u32))>,
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
        let mut grams = Grams::default();
        for (text, _, _) in &sorted {
            grams.has_break |= text.contains('\n');
            text.as_bytes().windows(GRAM).for_each(|gram| *common.entry(key(gram)).or_default() += 1);
        }
        let (mut fours, mut short) = (vec![], vec![]);
        for (text, stored, entries) in sorted {
            match text.as_bytes() {
                [] => {}
                [_] => grams.few.push((Finder::new(&text).into_owned(), entries)),
                [first, second, rest @ ..] if rest.len() < 2 => {
                    let pair = u16::from_le_bytes([*first, *second]);
                    short.push(Short { pair, third: rest.first().copied(), entries });
                }
                bytes => {
                    let (offset, key) = rarest(bytes, &common);
                    fours.push(Filed { key, offset, text: stored, entries });
                }
            }
        }
        grams.doors = doors(&fours);
        grams.fours = Table::new(fours);
        if short.len() <= FEW_SHORT {
            grams.few.extend(short.iter().map(|short| (short.finder(), short.entries)));
            short.clear();
        }
        grams.pairs = (!short.is_empty()).then(|| Box::new(Pairs::new(short)));
        grams
    }

    /// Whether nothing is filed.
    pub fn is_empty(&self) -> bool {
        self.fours.is_empty() && self.pairs.is_none() && self.few.is_empty()
    }

    /// Calls `tell` for every literal in `value`, with who wants to know; for one that stands there
    /// several times, several times.
    pub fn scan(
        &self,
        store: &Store,
        value: &[u8],
        lines: Option<(&mut Lines, Field)>,
        tell: &mut impl FnMut((u32, u32)),
    ) {
        for (finder, entries) in &self.few {
            if finder.find(value).is_some() {
                tell(*entries);
            }
        }
        match lines {
            Some((lines, field)) if value.len() > LONG_BYTES_MIN && !self.has_break => {
                self.scan_lines(store, value, lines, field, tell);
            }
            _ => self.scan_text(store, value, tell),
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

    /// Finds the literals of four bytes and more line by line. Long lines come again where the whole value
    /// does not: PowerShell repeats the command line of its host in everything that it logs.
    fn scan_lines(
        &self,
        store: &Store,
        value: &[u8],
        lines: &mut Lines,
        field: Field,
        tell: &mut impl FnMut((u32, u32)),
    ) {
        let (mut from, mut start) = (0, 0);
        while start < value.len() {
            let end = memchr(b'\n', &value[start..]).map_or(value.len(), |length| start + length);
            let line = &value[start..end];
            if line.len() >= LINE_BYTES_MIN {
                self.scan_text(store, &value[from..start], tell);
                self.scan_line(store, line, lines, field, tell);
                from = end;
            }
            start = end + 1;
        }
        self.scan_text(store, &value[from..], tell);
    }

    /// The same for a line that may be known.
    fn scan_line(
        &self,
        store: &Store,
        line: &[u8],
        lines: &mut Lines,
        field: Field,
        tell: &mut impl FnMut((u32, u32)),
    ) {
        match lines.find(field, line) {
            Ok(known) => {
                let mut numbers = known.list::<0>();
                while let (Some(from), Some(to)) = (numbers.next(), numbers.next()) {
                    tell((from, to));
                }
            }
            Err(None) => self.scan_text(store, line, tell),
            Err(Some(place)) => {
                let mut found = vec![];
                self.scan_text(store, line, &mut |entries: (u32, u32)| {
                    found.extend([entries.0, entries.1]);
                    tell(entries);
                });
                lines.remember(place, line, &found);
            }
        }
    }

    /// Finds the literals of four bytes and more, by the gram at each position.
    fn scan_text(&self, store: &Store, text: &[u8], tell: &mut impl FnMut((u32, u32))) {
        let mut ask = |at, gram| {
            if self.fours.may_have(gram) {
                verify(&self.fours, store, gram, text, at, tell);
            }
        };
        match self.doors.len() {
            0 => {}
            FEW => walk::<FEW, { shift(FEW) }>(&self.doors, text, &mut ask),
            SOME => walk::<SOME, { shift(SOME) }>(&self.doors, text, &mut ask),
            MANY => walk::<MANY, { shift(MANY) }>(&self.doors, text, &mut ask),
            _ => walk::<MOST, { shift(MOST) }>(&self.doors, text, &mut ask),
        }
    }
}

/// So many literals of two and three bytes are searched for one after the other.
const FEW_SHORT: usize = 8;

/// Of shorter values, the lines are not looked at one by one.
const LONG_BYTES_MIN: usize = 1024;
/// Shorter lines are searched as fast as they are looked up.
const LINE_BYTES_MIN: usize = 512;

/// Bytes of a gram.
const GRAM: usize = 4;

/// Numbers of doors, of which the largest still fit into a near cache.
const FEW: usize = 1 << 8;
const SOME: usize = 1 << 12;
const MANY: usize = 1 << 14;
const MOST: usize = 1 << 16;
/// Doors for each filed literal, if there are so many.
const DOORS_PER_LITERAL: usize = 32;

fn doors(filed: &[Filed]) -> Vec<bool> {
    if filed.is_empty() {
        return vec![];
    }
    let wanted = filed.len() * DOORS_PER_LITERAL;
    let number = [FEW, SOME, MANY].into_iter().find(|number| wanted <= *number).unwrap_or(MOST);
    let mut doors = vec![false; number];
    filed.iter().for_each(|filed| doors[door(filed.key, shift(number))] = true);
    doors
}

/// Which of the doors a gram takes.
#[inline(always)]
fn door(gram: u32, shift: u32) -> usize {
    (gram.wrapping_mul(0x85eb_ca6b) >> shift) as usize
}

/// How far a product is shifted to be one of so many numbers.
const fn shift(numbers: usize) -> u32 {
    32 - numbers.trailing_zeros()
}

/// Calls `open` with each position of `value` where a door is open, and the gram there. With a number
/// that is known when this is compiled, a position costs a few instructions.
#[inline]
fn walk<const DOORS: usize, const SHIFT: u32>(
    doors: &[bool],
    value: &[u8],
    open: &mut impl FnMut(usize, u32),
) {
    let Ok(doors) = <&[bool; DOORS]>::try_from(doors) else { return };
    let mut at = 0;
    while let Some(bytes) = value.get(at..).and_then(<[u8]>::first_chunk) {
        let bytes = u64::from_le_bytes(*bytes);
        for ahead in 0..4 {
            let gram = (bytes >> (8 * ahead)) as u32;
            if doors[door(gram, SHIFT)] {
                open(at + ahead, gram);
            }
        }
        at += 4;
    }
    while let Some(bytes) = value.get(at..).and_then(<[u8]>::first_chunk) {
        let gram = u32::from_le_bytes(*bytes);
        if doors[door(gram, SHIFT)] {
            open(at, gram);
        }
        at += 1;
    }
}

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

impl Short {
    /// Searches for the literal alone.
    fn finder(&self) -> Finder<'static> {
        let [first, second] = self.pair.to_le_bytes();
        let bytes = [first, second, self.third.unwrap_or_default()];
        Finder::new(&bytes[..2 + usize::from(self.third.is_some())]).into_owned()
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

/// Where the rarest gram stands, and the gram.
fn rarest(text: &[u8], common: &Map<u32, u32>) -> (u32, u32) {
    let grams = text.windows(GRAM).enumerate().map(|(offset, gram)| {
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

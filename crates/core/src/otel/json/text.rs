//! Texts of JSON: where they end, and what they say.

use super::blocks::{BLOCK, block, is, special};
use crate::otel::buffers::Arena;
use bumpalo::collections::String as ArenaString;
use std::ops::Range;

/// In so many blocks a quote is looked for without the cost of a call.
const BLOCKS_NEAR: usize = 3;
/// A text that goes on for so many bytes may be one that was read before.
const LONG_BYTES: usize = BLOCKS_NEAR * BLOCK;

/// Long texts of a document that stand in it twice, as they are written: what an event's message says, its
/// rendering says again.
#[derive(Debug, Default)]
pub(in crate::otel) struct Twice {
    /// The longest text, among those that are long and have escapes.
    first: Range<usize>,
    /// One that says the same.
    pub again: Range<usize>,
}

impl Twice {
    /// Where the quote stands that ends the text which begins at `start`, if it is that of the first again.
    fn end(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        // With the quote, or it would only begin alike.
        let first = bytes.get(self.first.start..self.first.end + 1).filter(|_| !self.first.is_empty())?;
        let is_again = bytes.get(start..)?.starts_with(first);
        is_again.then(|| self.again = start..start + self.first.len());
        is_again.then_some(self.again.end)
    }

    /// Takes a long text.
    fn add(&mut self, text: Range<usize>) {
        if text.len() > self.first.len() {
            *self = Twice { first: text, again: 0..0 };
        }
    }
}

/// Where the quote stands that ends the text which begins at `start`, and whether the text is without
/// escapes; `None` where it has no end or control characters.
#[inline(always)]
pub(super) fn end(bytes: &[u8], start: usize, twice: &mut Twice) -> Option<(usize, bool)> {
    let at = special(bytes, start)?;
    match bytes[at] {
        b'"' => Some((at, true)),
        b'\\' => escaped_end(bytes, start, at, twice).map(|end| (end, false)),
        _ => None,
    }
}

/// Where the quote stands that ends the text which begins at `start` and whose first escape stands at `escape`.
#[inline(never)]
fn escaped_end(bytes: &[u8], start: usize, escape: usize, twice: &mut Twice) -> Option<usize> {
    let mut at = escape + 2;
    let mut is_long = false;
    loop {
        let near = near_quote(bytes, at);
        if !is_long && (near.is_none() || at - start > LONG_BYTES) {
            is_long = true;
            if let Some(end) = twice.end(bytes, start) {
                return Some(end);
            }
        }
        at = match near {
            Some(quote) => quote,
            None => at + memchr::memchr(b'"', bytes.get(at..)?)?,
        };
        // Texts that end with a backslash are rare, long rows of them are hostile.
        let slashes = bytes[escape..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if slashes.is_multiple_of(2) {
            if is_long {
                twice.add(start..at);
            }
            return Some(at);
        }
        at += 1;
    }
}

/// Where the next quote stands, if it is near, as that of a path is.
#[inline]
fn near_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let blocks = (0..BLOCKS_NEAR).map_while(|number| block(bytes, from + number * BLOCK));
    let mut quotes = blocks.map(|block| is(block, b'"')).enumerate();
    let (number, quotes) = quotes.find(|(_, quotes)| *quotes != 0)?;
    Some(from + number * BLOCK + quotes.trailing_zeros() as usize)
}

/// What the text of `document` says that begins at `start` and whose quote stands at `end`, by [`end`], which
/// told whether it `is_plain`; `None` where an escape is broken or a character stands there that must not.
#[inline]
pub(super) fn said<'a>(
    document: &'a str,
    (start, end): (usize, usize),
    is_plain: bool,
    arena: &'a Arena,
) -> Option<&'a str> {
    if is_plain { Some(&document[start..end]) } else { unescaped(document, start, end, arena) }
}

fn unescaped<'a>(document: &str, start: usize, end: usize, arena: &'a Arena) -> Option<&'a str> {
    let bytes = document.as_bytes();
    let mut said = ArenaString::with_capacity_in(end - start, arena);
    let (mut from, mut at) = (start, start);
    loop {
        at = special(bytes, at)?;
        said.push_str(&document[from..at]);
        if at == end {
            return Some(said.into_bump_str());
        }
        if bytes[at] != b'\\' {
            return None;
        }
        at += 2;
        from = at;
        match bytes.get(at - 1)? {
            // What stands for itself begins the next piece.
            b'"' | b'\\' | b'/' => from -= 1,
            b'n' => said.push('\n'),
            b't' => said.push('\t'),
            b'r' => said.push('\r'),
            b'b' => said.push('\u{8}'),
            b'f' => said.push('\u{c}'),
            b'u' => {
                let (character, length) = unicode(&bytes[at..])?;
                said.push(character);
                at += length;
                from = at;
            }
            _ => return None,
        }
    }
}

/// The character that an escape stands for of which `digits` are the first digits, and their length.
fn unicode(digits: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = digits.get(at..at + 4)?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    let first = unit(0)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).map(|character| (character, 4));
    }
    let second = unit(6).filter(|second| (0xdc00..0xe000).contains(second))?;
    if digits.get(4..6)? != b"\\u" {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00))).map(|character| (character, 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_ends_at_a_quote_that_is_not_escaped() {
        let end = |bytes, from| end(bytes, from, &mut Twice::default());
        assert_eq!(end(br#"abc" x"#, 0), Some((3, true)));
        assert_eq!(end(br#"a\"b\\\" \\" x"#, 0), Some((11, false)));
        assert_eq!(end(b"abc", 0), None);
        assert_eq!(end(b"a\\", 0), None);
        assert_eq!(end(b"a\nb\"", 0), None);
    }

    /// A document of texts, and where each ends.
    fn texts(texts: &[&str]) -> (String, Vec<usize>) {
        let mut document = String::new();
        let ends = texts.iter().map(|text| {
            document += text;
            document += "\"";
            document.len() - 1
        });
        let ends = ends.collect();
        (document, ends)
    }

    /// Finds the texts of a document; says where they end and what stands there twice.
    fn found(document: &str) -> (Vec<usize>, Range<usize>) {
        let (mut start, mut ends, mut twice) = (0, vec![], Twice::default());
        while let Some((end, _)) = end(document.as_bytes(), start, &mut twice) {
            ends.push(end);
            start = end + 1;
        }
        (ends, twice.again)
    }

    #[test]
    fn a_long_text_that_stands_there_again_is_not_read_again() {
        let long = "Process accessed:\\r\\n".repeat(20);
        let (document, ends) = texts(&["a\\nb", &long, "x", &long, "y"]);
        assert_eq!(found(&document), (ends.clone(), ends[2] + 1..ends[3]));
        for other in
            [format!("{long}x"), long[..long.len() - 4].to_owned(), format!("x{long}"), format!("{long}\\\"")]
        {
            let (document, ends) = texts(&[&long, &other, &other]);
            assert_eq!(found(&document).0, ends, "{other}");
        }
    }

    proptest! {
        #[test]
        fn texts_end_where_they_end_whatever_stands_there_twice(
            pieces in prop::collection::vec(
                (prop::collection::vec(prop::sample::select(vec!["ab", r"\n", r#"\""#, r"\\"]), 0..4), 0..90_usize),
                1..4,
            ),
            order in prop::collection::vec(0..4_usize, 1..6),
        ) {
            let pieces: Vec<String> = pieces.iter().map(|(pieces, times)| pieces.concat().repeat(*times)).collect();
            let order: Vec<&str> = order.iter().map(|at| pieces[at % pieces.len()].as_str()).collect();
            let (document, ends) = texts(&order);
            let (found, again) = found(&document);
            prop_assert_eq!(found, ends);
            let times = document.matches(&format!("{}\"", &document[again.clone()])).count();
            prop_assert!(again.is_empty() || times > 1);
        }

        #[test]
        fn a_text_says_what_serde_json_reads(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "C:", r"\\", r"\n", r"\r\n", r"\/", r#"\""#, r"\u00e9", r"\ud83d\ude00", r"\ud83d", r"\x", r"\u12",
                    "\u{1}", "é", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", r"\b\f\t", "\"", "\\", "windows",
                ]),
                0..12,
            ),
        ) {
            let raw = pieces.concat();
            let read = serde_json::from_str::<String>(&format!("\"{raw}\"")).ok();
            let document = format!("{raw}\"");
            let arena = Arena::new();
            let said = end(document.as_bytes(), 0, &mut Twice::default()).filter(|(end, _)| *end == raw.len());
            let said = said.and_then(|(end, is_plain)| self::said(&document, (0, end), is_plain, &arena));
            prop_assert_eq!(said.map(str::to_owned), read);
        }
    }
}

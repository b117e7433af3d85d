//! Texts of JSON: where they end, and what they say.

use super::blocks::{BLOCK, block, is, special};
use crate::otel::buffers::Arena;
use bumpalo::collections::String as ArenaString;

/// In so many blocks a quote is looked for without the cost of a call.
const BLOCKS_NEAR: usize = 3;

/// Where the quote stands that ends the text which begins at `from`, and whether the text is without
/// escapes; `None` where it has no end or control characters.
#[inline(always)]
pub(super) fn end(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let at = special(bytes, from)?;
    match bytes[at] {
        b'"' => Some((at, true)),
        b'\\' => escaped_end(bytes, at).map(|end| (end, false)),
        _ => None,
    }
}

/// Where the quote stands that ends a text whose first escape stands at `from`.
#[inline(never)]
fn escaped_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 2;
    loop {
        at = quote(bytes, at)?;
        // Texts that end with a backslash are rare, long rows of them are hostile.
        let slashes = bytes[from..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if slashes.is_multiple_of(2) {
            return Some(at);
        }
        at += 1;
    }
}

/// Where the next quote stands. That of a path is near.
#[inline]
fn quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for _ in 0..BLOCKS_NEAR {
        let Some(block) = block(bytes, at) else { break };
        let quotes = is(block, b'"');
        if quotes != 0 {
            return Some(at + quotes.trailing_zeros() as usize);
        }
        at += BLOCK;
    }
    memchr::memchr(b'"', bytes.get(at..)?).map(|found| at + found)
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
        assert_eq!(end(br#"abc" x"#, 0), Some((3, true)));
        assert_eq!(end(br#"a\"b\\\" \\" x"#, 0), Some((11, false)));
        assert_eq!(end(b"abc", 0), None);
        assert_eq!(end(b"a\\", 0), None);
        assert_eq!(end(b"a\nb\"", 0), None);
    }

    proptest! {
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
            let said = end(document.as_bytes(), 0).filter(|(end, _)| *end == raw.len());
            let said = said.and_then(|(end, is_plain)| self::said(&document, (0, end), is_plain, &arena));
            prop_assert_eq!(said.map(str::to_owned), read);
        }
    }
}

//! The fast way through JSON text: its bytes are looked at once, no tree is built, and no reader of
//! the general kind is asked.
//!
//! It takes only what is whole and within the bounds of [`Flat`]. At anything else (broken text,
//! nesting beyond the bound, too many fields, a number that is none of the plain ones) it gives up,
//! and the reader beside it says what is right or wrong; so what is JSON is decided in one place.

use super::{Arena, DEPTH_MAX, Flat, LEAVES_MAX, text};
use crate::value::Value;

/// Reads `text` below `parent` into `flat`, under `key` where it is no object. `None`: it gave up,
/// and what `flat` got in the meantime is to be dropped.
pub(super) fn read<'a>(
    flat: &mut Flat<'a>,
    parent: usize,
    key: Option<&'a str>,
    text: &'a str,
) -> Option<()> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0, arena: flat.arena };
    scanner.blanks();
    scanner.value(flat, parent, key, 0)?;
    scanner.blanks();
    (scanner.at == text.len()).then_some(())
}

/// The text, number or word that begins at `at`, and where it ends.
pub(super) fn scalar<'a>(text: &'a str, at: usize, arena: &'a Arena) -> Option<(Value<'a>, usize)> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at, arena };
    let value = scanner.scalar()?;
    Some((value, scanner.at))
}

struct Scanner<'a> {
    text: &'a str,
    /// The same as `text`.
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    /// Where escapes are taken out.
    arena: &'a Arena,
}

impl<'a> Scanner<'a> {
    fn next(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over blanks.
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.next() {
            self.at += 1;
        }
    }

    /// Passes over blanks, `byte`, and blanks.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        if self.next()? != byte {
            return None;
        }
        self.at += 1;
        self.blanks();
        Some(())
    }

    fn value(
        &mut self,
        flat: &mut Flat<'a>,
        parent: usize,
        key: Option<&'a str>,
        depth: usize,
    ) -> Option<()> {
        if depth >= DEPTH_MAX {
            return None;
        }
        match self.next()? {
            b'{' => self.object(flat, parent, key, depth),
            b'[' => self.list(flat, parent, key, depth),
            _ => {
                let value = self.scalar()?;
                flat.leaf(parent, key, value)
            }
        }
    }

    fn scalar(&mut self) -> Option<Value<'a>> {
        Some(match self.next()? {
            b'"' => Value::from(self.string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.word("true", Value::Bool(true))?,
            b'f' => self.word("false", Value::Bool(false))?,
            b'n' => self.word("null", Value::Null)?,
            _ => return None,
        })
    }

    fn object(
        &mut self,
        flat: &mut Flat<'a>,
        parent: usize,
        key: Option<&'a str>,
        depth: usize,
    ) -> Option<()> {
        let here = key.map_or(parent, |key| flat.prefix(parent, key));
        if flat.prefixes.len() > LEAVES_MAX {
            return None;
        }
        self.expect(b'{')?;
        if self.next()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            if self.next()? != b'"' {
                return None;
            }
            let key = self.string()?;
            self.expect(b':')?;
            let (here, key) = flat.split(here, key);
            self.value(flat, here, Some(key), depth + 1)?;
            if self.is_end(b'}')? {
                return Some(());
            }
        }
    }

    fn list(&mut self, flat: &mut Flat<'a>, parent: usize, key: Option<&'a str>, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        if self.next()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.value(flat, parent, key, depth + 1)?;
            if self.is_end(b']')? {
                return Some(());
            }
        }
    }

    /// Behind an element: whether `close` ends them all, or a comma stands before the next.
    fn is_end(&mut self, close: u8) -> Option<bool> {
        self.blanks();
        let byte = self.next()?;
        self.at += 1;
        if byte == close {
            return Some(true);
        }
        self.blanks();
        (byte == b',').then_some(false)
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Option<Value<'a>> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end)? != word.as_bytes() {
            return None;
        }
        self.at = end;
        Some(value)
    }

    /// A whole number that fits, or one with a fraction or an exponent.
    fn number(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let rest = &self.bytes[start..];
        let length = rest.iter().position(|b| !is_part(b)).unwrap_or(rest.len());
        self.at += length;
        let text = &self.text[start..self.at];
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        if !digits.iter().all(u8::is_ascii_digit) {
            return serde_json::from_str(text).ok().map(Value::Float);
        }
        // `-0` is a fraction to JSON's readers, and `01` is no number.
        match digits {
            [] => None,
            [b'0'] if digits.len() < text.len() => None,
            [b'0', _, ..] => None,
            _ => text.parse().ok().map(Value::Int),
        }
    }

    /// A text, from its opening quote.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let (end, is_plain) = text::end(self.bytes, start, &mut text::Twice::default())?;
        self.at = end + 1;
        text::said(self.text, (start, end), is_plain, self.arena)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the reader beside says.
    fn slow<'a>(text: &'a str, arena: &'a Arena) -> Option<Flat<'a>> {
        let mut flat = Flat::new(arena);
        let root = flat.prefix(0, "");
        flat.read_slowly(root, None, text).ok().map(|()| flat)
    }

    fn fast<'a>(text: &'a str, arena: &'a Arena) -> Option<Flat<'a>> {
        let mut flat = Flat::new(arena);
        let root = flat.prefix(0, "");
        read(&mut flat, root, None, text).map(|()| flat)
    }

    /// What is read fast is read the same slowly.
    #[track_caller]
    fn check(text: &str) -> bool {
        let arena = Arena::new();
        let found = fast(text, &arena);
        if let Some(fast) = &found {
            let slow = slow(text, &arena).unwrap_or_else(|| panic!("{text} is no JSON"));
            assert_eq!((&fast.leaves, &fast.prefixes), (&slow.leaves, &slow.prefixes), "{text}");
            assert_eq!(fast.message_bytes, slow.message_bytes, "{text}");
        }
        found.is_some()
    }

    #[test]
    fn plain_documents_are_read_fast() {
        for text in [
            r#"{"a":{"b":1,"c":[true,"x",null,{"d":{}}]},"e.f":-7,"":"","MESSAGE":[65,66]}"#,
            " { \"a\" : [ ] , \"b\"\n:\t[ 1 , 2.5e3 ] } ",
            r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é","\u0041":"0123456789012345678901234567890123456789"}"#,
            r#"{"a":0,"b":-9223372036854775808,"c":9223372036854775807,"d":1E3,"e":false}"#,
            "[[1,[2]],3]",
            "\"x\"",
        ] {
            assert!(check(text), "{text}");
        }
    }

    #[test]
    fn it_gives_up_on_anything_else() {
        for text in [
            "",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "[01]",
            "[-]",
            "[-0]",
            "[1.]",
            "[1e999]",
            "tru",
            "nul",
            "1 2",
            "[\"\u{1}\"]",
            "[\"\\x\"]",
            "[\"\\ud800\"]",
            "[\"\\ud800\\u0041\"]",
            "[\"\\u12\"]",
            "\"abc",
            "[9223372036854775808]",
        ] {
            assert!(!check(text), "{text}");
        }
        assert!(!check(&format!("{}1{}", "[".repeat(40), "]".repeat(40))));
        assert!(!check(&format!("[{}1]", "1,".repeat(LEAVES_MAX))));
    }

    proptest! {
        #[test]
        fn what_is_read_fast_is_read_the_same_slowly(
            text in r#"([\[{]{0,2}("[a.é\\"nu]{0,3}" ?: ?)?([\[{]|"[a.é\\"nu0d8]{0,12}"|-?[0-9.eE]{1,4}|true|null)[\]}, ]{0,3}){0,6}"#,
        ) {
            check(&text);
        }
    }
}

//! Field values, and the folding that makes comparisons case-insensitive.

use std::borrow::Cow;

/// One value of one field. A list is the same field several times.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Text, already decoded (no JSON or XML escapes left).
    Str(Cow<'a, str>),
    /// A whole number.
    Int(i64),
    /// Any other number. SigNoz stores every numeric attribute as Float64.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// The field is there and says nothing (JSON `null`).
    Null,
}

impl<'a> Value<'a> {
    /// The value as Sigma compares it: text as it is, numbers in canonical decimal (`4625`, never
    /// `4625.0`), `true`/`false`; `None` for null.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Str(s) => Some(Cow::Borrowed(s)),
            Value::Int(i) => Some(Cow::Owned(i.to_string())),
            Value::Float(f) => Some(Cow::Owned(float_text(*f))),
            Value::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
            Value::Null => None,
        }
    }

    /// The same value, independent of where its text was borrowed from.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Value::Int(number) => Value::Int(number),
            Value::Float(number) => Value::Float(number),
            Value::Bool(truth) => Value::Bool(truth),
            Value::Null => Value::Null,
        }
    }

    /// The value as a number, where it is one or its text reads as one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            Value::Str(s) => s.trim().parse().ok(),
            Value::Bool(_) | Value::Null => None,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(s: &'a str) -> Self {
        Value::Str(Cow::Borrowed(s))
    }
}

impl From<String> for Value<'_> {
    fn from(s: String) -> Self {
        Value::Str(Cow::Owned(s))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(s: Cow<'a, str>) -> Self {
        Value::Str(s)
    }
}

/// A float without a needless fraction: Float64 4625 is `4625`.
pub fn float_text(f: f64) -> String {
    if f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0 { (f as i64).to_string() } else { f.to_string() }
}

/// Appends `text` in the one letter case in which literals and values are compared.
///
/// Each character is lowered on its own, so that folding a text and folding a piece of it agree
/// (the context rule for the Greek final sigma would break `contains`).
pub fn fold_into(text: &str, out: &mut String) {
    let mut rest = text;
    loop {
        let (ascii, more) = rest.split_at(ascii_length(rest.as_bytes()));
        let start = out.len();
        out.push_str(ascii);
        out[start..].make_ascii_lowercase();
        let mut others = more.chars();
        rest = loop {
            let before = others.as_str();
            match others.next() {
                None => return,
                Some(c) if c.is_ascii() => break before,
                Some(c) => out.extend(c.to_lowercase()),
            }
        };
    }
}

/// How many ASCII bytes stand at the beginning; whole blocks are looked at together.
fn ascii_length(bytes: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        if !block.is_ascii() {
            break;
        }
        at += BLOCK;
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|byte| !byte.is_ascii()).unwrap_or(rest.len())
}

/// [`fold_into`] a new string.
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

/// Whether two texts are the same. Most are so short that calling a function to compare them costs
/// more than comparing both ends, which may overlap.
#[inline(always)]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(text: &[u8]) -> (Option<&[u8; N]>, Option<&[u8; N]>) {
        (text.first_chunk(), text.last_chunk())
    }
    a.len() == b.len()
        && match a.len() {
            0 => true,
            1 => a[0] == b[0],
            2..4 => ends::<2>(a) == ends::<2>(b),
            4..8 => ends::<4>(a) == ends::<4>(b),
            8..=16 => ends::<8>(a) == ends::<8>(b),
            17..=32 => ends::<16>(a) == ends::<16>(b),
            33..=64 => ends::<32>(a) == ends::<32>(b),
            _ => a == b,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_in_canonical_decimal() {
        assert_eq!(Value::Float(4625.0).text().as_deref(), Some("4625"));
        assert_eq!(Value::Float(0.5).text().as_deref(), Some("0.5"));
        assert_eq!(Value::Int(-3).text().as_deref(), Some("-3"));
        assert_eq!(Value::from(" 12 ").number(), Some(12.0));
    }

    proptest::proptest! {
        #[test]
        fn same_is_equal(a in "[ab]{0,40}", at in 0..40_usize) {
            let mut b = a.clone().into_bytes();
            proptest::prop_assert!(same(a.as_bytes(), &b));
            if let Some(byte) = b.get_mut(at) {
                *byte = b'c';
                proptest::prop_assert!(!same(a.as_bytes(), &b));
            }
            proptest::prop_assert!(!same(a.as_bytes(), &[a.as_bytes(), b"a"].concat()));
        }

        #[test]
        fn folding_lowers_each_character_on_its_own(text in "[a-zA-Z ÄΣİßK]{0,80}") {
            let lowered: String = text.chars().flat_map(char::to_lowercase).collect();
            proptest::prop_assert_eq!(fold(&text), lowered);
        }
    }

    #[test]
    fn folding_a_piece_agrees_with_folding_the_whole() {
        assert_eq!(fold("CMD.EXE Ä Σ"), "cmd.exe ä σ");
        assert!(fold("ΟΔΟΣ x").contains(&fold("ΟΔΟΣ")));
    }
}

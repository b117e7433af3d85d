//! Taking lines apart: words, quotes, comma-separated values, `key=value` pairs, endpoints.
//!
//! Everything borrows, runs in linear time and gives back at most [`PARTS_MAX`] parts.

use std::net::IpAddr;

/// More parts of a line than this are not looked at; hostile lines only.
pub(super) const PARTS_MAX: usize = 256;

/// A word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'t> {
    /// Without the quotes.
    pub text: &'t str,
    pub is_quoted: bool,
}

/// The words of `text`: parted by blanks, which may stand inside double quotes.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = vec![];
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() && words.len() < PARTS_MAX {
        if let Some(inside) = rest.strip_prefix('"') {
            // The last quote is missing where the line was cut.
            let (text, after) = quoted(inside).unwrap_or((inside, ""));
            words.push(Word { text, is_quoted: true });
            rest = after;
        } else {
            let (text, after) = rest.split_once(' ').unwrap_or((rest, ""));
            words.push(Word { text, is_quoted: false });
            rest = after;
        }
        rest = rest.trim_start_matches(' ');
    }
    words
}

/// Text up to the closing quote, and what follows it. `\"` does not close.
pub(super) fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|b| {
        let is_end = b == b'"' && !is_escaped;
        is_escaped = b == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// Values parted by commas; a value in double quotes may hold commas and doubled quotes.
pub(super) fn comma_separated(text: &str) -> Vec<&str> {
    let mut values = vec![];
    let mut rest = text;
    while values.len() < PARTS_MAX {
        let end = match rest.strip_prefix('"') {
            Some(inside) => match closing_quote(inside) {
                Some(end) => {
                    values.push(&inside[..end]);
                    let after = &inside[end + 1..];
                    match after.split_once(',') {
                        Some((_, next)) => rest = next,
                        None => return values,
                    }
                    continue;
                }
                None => rest.len(),
            },
            None => rest.find(',').unwrap_or(rest.len()),
        };
        values.push(&rest[..end]);
        match rest.get(end + 1..) {
            Some(next) => rest = next,
            None => return values,
        }
    }
    values
}

/// Where the quote closes; two quotes in a row stand for one.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The `key=value` and `key="a value"` pairs of `text`; what is no pair is skipped.
pub(super) fn pairs(text: &str) -> Vec<(&str, &str)> {
    let mut pairs = vec![];
    let mut rest = text;
    while pairs.len() < PARTS_MAX {
        rest = rest.trim_start_matches([' ', '\t', ',', ';']);
        let Some(end) = rest.find([' ', '\t', '=']) else { break };
        let (key, after) = (&rest[..end], &rest[end + 1..]);
        if rest.as_bytes()[end] != b'=' {
            rest = after;
            continue;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(inside) => quoted(inside).unwrap_or((inside, "")),
            None => after.split_once([' ', '\t']).unwrap_or((after, "")),
        };
        if !key.is_empty() {
            pairs.push((key, value));
        }
        rest = after;
    }
    pairs
}

/// The value of the first pair with this key; empty values and `-` count as missing.
pub(super) fn get<'t>(pairs: &[(&str, &'t str)], key: &str) -> Option<&'t str> {
    pairs.iter().find(|(k, _)| *k == key).and_then(|(_, value)| told(value))
}

/// A value that says something.
pub(super) fn told(value: &str) -> Option<&str> {
    (!matches!(value, "" | "-")).then_some(value)
}

/// Whether this is an IP address.
pub(super) fn is_ip(text: &str) -> bool {
    // No address is longer; names are not tried.
    text.len() <= 45 && text.parse::<IpAddr>().is_ok()
}

/// An IPv4 address without the front of its IPv6 form, which servers that listen on both write.
pub(super) fn plain_address(text: &str) -> &str {
    text.strip_prefix("::ffff:").filter(|rest| rest.contains('.')).unwrap_or(text)
}

/// Address and port of `1.2.3.4:80`, `[::1]:80`, `1.2.3.4/80`, `1.2.3.4#80` or `1.2.3.4(80)`; the port may
/// be missing.
pub(super) fn endpoint(text: &str) -> Option<(&str, &str)> {
    // An address and a port in brackets are no longer; names are not tried.
    if text.len() > 64 {
        return None;
    }
    if is_ip(text) {
        return Some((plain_address(text), ""));
    }
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return is_ip(address).then(|| (plain_address(address), port.trim_start_matches(':')));
    }
    let (address, port) = text.rsplit_once([':', '/', '#', '('])?;
    let port = port.trim_end_matches(')');
    (is_ip(address) && is_number(port)).then_some((plain_address(address), port))
}

/// Whether all bytes are digits, and there are some.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether this is a status of HTTP: three digits.
pub(super) fn is_status(text: &str) -> bool {
    text.len() == 3 && is_number(text)
}

/// Whether `text` begins with this shape, in which `d` stands for a digit.
pub(super) fn has_shape(text: &str, shape: &str) -> bool {
    let (text, shape) = (text.as_bytes(), shape.as_bytes());
    text.len() >= shape.len()
        && shape.iter().zip(text).all(|(shape, b)| match shape {
            b'd' => b.is_ascii_digit(),
            other => other == b,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_blanks_in_quotes() {
        let text: Vec<_> = words(r#"a  "b \" c" - "cut d"#).iter().map(|w| (w.text, w.is_quoted)).collect();
        assert_eq!(text, [("a", false), (r#"b \" c"#, true), ("-", false), ("cut d", true)]);
        assert_eq!(words(&"x ".repeat(1000)).len(), PARTS_MAX);
    }

    #[test]
    fn commas_in_quotes_part_nothing() {
        assert_eq!(comma_separated(r#"a,,"b,""c""",d"#), ["a", "", r#"b,""c"""#, "d"]);
        assert_eq!(comma_separated(r#"a,"cut,b"#), ["a", r#""cut,b"#]);
        assert_eq!(comma_separated(""), [""]);
        assert_eq!(comma_separated("a,"), ["a", ""]);
    }

    #[test]
    fn pairs_may_be_quoted() {
        let found = pairs(r#"x a=1 b="two words" c= d=é e"#);
        assert_eq!(found, [("a", "1"), ("b", "two words"), ("c", ""), ("d", "é")]);
        assert_eq!((get(&found, "b"), get(&found, "c")), (Some("two words"), None));
    }

    #[test]
    fn endpoints_are_an_address_and_perhaps_a_port() {
        for text in ["1.2.3.4:80", "1.2.3.4/80", "1.2.3.4#80", "1.2.3.4(80)"] {
            assert_eq!(endpoint(text), Some(("1.2.3.4", "80")), "{text}");
        }
        assert_eq!(endpoint("::ffff:192.0.2.1:443"), Some(("192.0.2.1", "443")));
        assert_eq!(endpoint("[::1]:443"), Some(("::1", "443")));
        assert_eq!(endpoint("::1#53"), Some(("::1", "53")));
        assert_eq!(endpoint("fe80::1"), Some(("fe80::1", "")));
        assert_eq!((endpoint("host:80"), endpoint("1.2.3.4:x"), endpoint("")), (None, None, None));
    }

    #[test]
    fn shapes() {
        assert!(has_shape("2026/08/05 x", "dddd/dd/dd "));
        assert!(!has_shape("2026-08-05", "dddd/dd/dd"));
        assert!(!has_shape("ä", "dd"));
    }
}

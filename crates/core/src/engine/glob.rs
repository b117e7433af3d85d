//! Patterns with inner wildcards, matched without backtracking over the whole.

use crate::rule::{DASHES, Part, Pattern};
use memchr::memmem::Finder;

/// A pattern cut at its `*`s.
#[derive(Debug)]
pub struct Glob {
    /// Pieces between the `*`s; the first and last may be empty, which leaves that end open.
    segments: Vec<Segment>,
    cased: bool,
}

/// What stands between two `*`s.
#[derive(Debug)]
struct Segment {
    parts: Vec<Part>,
    /// Finds the text with which it begins, if it does.
    finder: Option<Finder<'static>>,
}

impl Glob {
    /// Cuts `pattern`; its texts must already be folded if it is not cased.
    pub fn new(pattern: &Pattern) -> Glob {
        let segment = |parts: &[Part]| {
            let finder = match parts.first() {
                Some(Part::Text(text)) => Some(Finder::new(text.as_bytes()).into_owned()),
                _ => None,
            };
            Segment { parts: parts.to_vec(), finder }
        };
        let segments = pattern.parts.split(|part| *part == Part::Any).map(segment).collect();
        Glob { segments, cased: pattern.cased }
    }

    /// Whether letter case counts, so that the value must not be folded.
    pub fn cased(&self) -> bool {
        self.cased
    }

    /// Whether the whole of `text` matches. Leftmost placement of every piece is enough: between
    /// `*`s an earlier end never loses a match.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.segments.split_first() else { return text.is_empty() };
        let Some(mut at) = match_here(&first.parts, text, 0) else { return false };
        let Some((last, middle)) = rest.split_last() else { return at == text.len() };
        for segment in middle {
            match find(segment, text, at) {
                Some(end) => at = end,
                None => return false,
            }
        }
        match_end(&last.parts, text, at)
    }
}

/// End of `segment` if it matches `text` from `at`.
fn match_here(segment: &[Part], text: &str, mut at: usize) -> Option<usize> {
    for part in segment {
        let rest = &text[at..];
        at += match part {
            Part::Text(wanted) => rest.starts_with(wanted.as_str()).then_some(wanted.len())?,
            Part::One => rest.chars().next()?.len_utf8(),
            Part::Dash => rest.chars().next().filter(|c| DASHES.contains(c))?.len_utf8(),
            Part::Any => 0,
        };
    }
    Some(at)
}

/// End of the leftmost match at or after `at`.
fn find(segment: &Segment, text: &str, mut at: usize) -> Option<usize> {
    loop {
        if let Some(finder) = &segment.finder {
            at += finder.find(&text.as_bytes()[at..])?;
        }
        if let Some(end) = match_here(&segment.parts, text, at) {
            return Some(end);
        }
        at += text[at..].chars().next()?.len_utf8();
    }
}

/// Whether `segment` matches the end of `text`, not before `from`.
fn match_end(segment: &[Part], text: &str, from: usize) -> bool {
    let mut end = text.len();
    for part in segment.iter().rev() {
        let head = &text[from..end];
        let step = match part {
            Part::Text(wanted) => head.ends_with(wanted.as_str()).then_some(wanted.len()),
            Part::One => head.chars().next_back().map(char::len_utf8),
            Part::Dash => head.chars().next_back().filter(|c| DASHES.contains(c)).map(char::len_utf8),
            Part::Any => Some(0),
        };
        match step {
            Some(step) => end -= step,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof!["[aä\\-\n]{1,2}".prop_map(Part::Text), Just(Part::Any), Just(Part::One), Just(Part::Dash),]
    }

    proptest! {
        #[test]
        fn agrees_with_the_specification(
            parts in prop::collection::vec(part(), 0..6),
            text in "[aä/\\-\n]{0,8}",
        ) {
            let pattern = Pattern { parts, cased: true };
            prop_assert_eq!(Glob::new(&pattern).matches(&text), crate::spec::matches(&pattern, &text));
        }
    }
}

//! Whether an expression is found anywhere in a text: all that is asked of it, so that what matters
//! only for where a match begins and ends is left out, and runs of one class are counted.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

/// A way to find out.
#[derive(Debug)]
pub(super) enum Finder {
    Run(Run),
    Behind(Box<Behind>),
    Regex(regex::Regex),
}

impl Finder {
    /// Finds whatever the expression is found in. The error: what is left of it is too large when compiled.
    pub fn new(hir: &Hir, bytes_max: usize) -> Result<Finder, regex::Error> {
        let hir = trimmed(&trimmed(hir, Side::Start), Side::End);
        if let Some(run) = Run::of(&hir) {
            return Ok(Finder::Run(run));
        }
        let compiled = |hir: &Hir| regex::RegexBuilder::new(&hir.to_string()).size_limit(bytes_max).build();
        let whole = compiled(&hir)?;
        Ok(match Behind::parts(&hir) {
            Some((before, rest)) => {
                Finder::Behind(Box::new(Behind { before, rest: compiled(&rest)?, whole }))
            }
            None => Finder::Regex(whole),
        })
    }

    /// Whether it is found anywhere in `text`.
    pub fn is_found(&self, text: &str) -> bool {
        match self {
            Finder::Run(run) => run.is_found(text),
            Finder::Behind(behind) => behind.is_found(text),
            Finder::Regex(regex) => regex.is_match(text),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Start,
    End,
}

/// Without what may be repeated more often, or be missing, at one side: `.*a+` is found wherever `a` is.
fn trimmed(hir: &Hir, side: Side) -> Hir {
    match hir.kind() {
        HirKind::Capture(capture) => trimmed(&capture.sub, side),
        HirKind::Repetition(repetition) => match repetition.min {
            0 => Hir::empty(),
            1 => trimmed(&repetition.sub, side),
            min => Hir::repetition(Repetition { max: Some(min), ..repetition.clone() }),
        },
        HirKind::Concat(parts) => {
            let mut parts = parts.clone();
            loop {
                let at = if side == Side::Start { 0 } else { parts.len().saturating_sub(1) };
                let Some(part) = parts.get_mut(at) else { return Hir::empty() };
                *part = trimmed(part, side);
                if *part.kind() != HirKind::Empty {
                    return Hir::concat(parts);
                }
                parts.remove(at);
            }
        }
        HirKind::Alternation(branches) => {
            let branches: Vec<Hir> = branches.iter().map(|branch| trimmed(branch, side)).collect();
            let is_optional = branches.iter().any(|branch| *branch.kind() == HirKind::Empty);
            if is_optional { Hir::empty() } else { Hir::alternation(branches) }
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => hir.clone(),
    }
}

/// Characters.
#[derive(Debug)]
struct Set {
    class: ClassUnicode,
    /// A bit for each character of ASCII that is in the class.
    ascii: u128,
}

impl Set {
    fn of(class: &ClassUnicode) -> Set {
        let is_in = |byte: u8| {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
        };
        let ascii = (0..128).filter(|byte| is_in(*byte)).fold(0, |set, byte| set | 1 << byte);
        Set { class: class.clone(), ascii }
    }

    #[inline]
    fn has(&self, character: char) -> bool {
        match u32::from(character) {
            ascii @ 0..128 => self.ascii >> ascii & 1 == 1,
            _ => {
                let ranges = self.class.ranges();
                let after = ranges.partition_point(|range| range.end() < character);
                ranges.get(after).is_some_and(|range| range.start() <= character)
            }
        }
    }
}

/// One of many characters and behind it a literal: `\w!x+`. Hardly a place in a text is none where it may begin,
/// so the rest is looked for, which begins with the literal.
#[derive(Debug)]
pub(super) struct Behind {
    before: Set,
    rest: regex::Regex,
    whole: regex::Regex,
}

impl Behind {
    /// Of fewer characters literals are made.
    const CHARACTERS_MIN: u32 = 16;
    /// So often the rest may be found behind something else. What is found can be long, so with no bound the time
    /// would grow with the square of the text's length.
    const TIMES_MAX: usize = 16;

    /// The character and the rest of an expression that is one.
    fn parts(hir: &Hir) -> Option<(Set, Hir)> {
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let [first, rest @ ..] = parts.as_slice() else { return None };
        let (HirKind::Class(Class::Unicode(class)), [second, ..]) = (first.kind(), rest) else { return None };
        let many = |range: &ClassUnicodeRange| u32::from(range.end()) - u32::from(range.start()) + 1;
        let has_many = class.ranges().iter().map(many).sum::<u32>() >= Behind::CHARACTERS_MIN;
        let is_literal = matches!(second.kind(), HirKind::Literal(_));
        (has_many && is_literal).then(|| (Set::of(class), Hir::concat(rest.to_vec())))
    }

    fn is_found(&self, text: &str) -> bool {
        let mut from = 0;
        for _ in 0..Behind::TIMES_MAX {
            let Some(found) = self.rest.find_at(text, from) else { return false };
            let mut before = text[..found.start()].chars();
            if before.next_back().is_some_and(|character| self.before.has(character)) {
                return true;
            }
            from = text.ceil_char_boundary(found.start() + 1);
        }
        self.whole.is_match(text)
    }
}

/// So many characters of one class, one after the other: `.{1000}`, `^[a-z]{16}$`. An automaton for it
/// has as many states.
#[derive(Debug)]
pub(super) struct Run {
    set: Set,
    min: usize,
    /// How many at most, where both ends are bound.
    max: usize,
    /// Whether it begins where the text begins.
    from_start: bool,
    /// Whether it ends where the text ends.
    to_end: bool,
}

impl Run {
    /// The run that an expression is, if it is one.
    pub fn of(hir: &Hir) -> Option<Run> {
        let parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(hir),
        };
        let is = |part: &Hir, look| *part.kind() == HirKind::Look(look);
        let from_start = parts.first().is_some_and(|first| is(first, Look::Start));
        let to_end = parts.last().is_some_and(|last| is(last, Look::End));
        let [run] = &parts[usize::from(from_start)..parts.len() - usize::from(to_end)] else { return None };
        let HirKind::Repetition(Repetition { min, max, sub, .. }) = run.kind() else { return None };
        let HirKind::Class(Class::Unicode(class)) = sub.kind() else { return None };
        let max = max.map_or(usize::MAX, |max| max as usize);
        Some(Run { set: Set::of(class), min: *min as usize, max, from_start, to_end })
    }

    fn is_found(&self, text: &str) -> bool {
        let is_in = |character: &char| self.set.has(*character);
        match (self.from_start, self.to_end) {
            (true, true) => {
                let in_class = text
                    .chars()
                    .take_while(is_in)
                    .fold((0, 0), |(count, bytes), character| (count + 1, bytes + character.len_utf8()));
                in_class.1 == text.len() && (self.min..=self.max).contains(&in_class.0)
            }
            (true, false) => text.chars().take(self.min).take_while(is_in).count() == self.min,
            (false, true) => text.chars().rev().take(self.min).take_while(is_in).count() == self.min,
            (false, false) => {
                let mut run = 0;
                self.min == 0
                    || text.chars().any(|character| {
                        run = if self.set.has(character) { run + 1 } else { 0 };
                        run == self.min
                    })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trim(pattern: &str) -> String {
        let hir = regex_syntax::parse(pattern).unwrap();
        trimmed(&trimmed(&hir, Side::Start), Side::End).to_string()
    }

    #[test]
    fn what_may_be_longer_or_missing_at_the_ends_is_left_out() {
        for (pattern, left) in [
            ("(?:ab)*.*c+d?", "c"),
            ("(a|b)+x(?:-p|-s)?", "(?:a|b)x"),
            ("a{2,}b{3,9}", "a{2}b{3}"),
            ("^a*b*$", "^a*b*$"),
            ("(?:a|)b(?:c|d+)", "b(?:c|d)"),
            (".*", ""),
        ] {
            let [trimmed, left] =
                [trim(pattern), left.into()].map(|p: String| regex_syntax::parse(&p).unwrap());
            assert_eq!(trimmed, left, "{pattern}");
        }
    }

    #[test]
    fn runs_of_one_class_are_counted() {
        let is_run = |pattern: &str| {
            matches!(Finder::new(&regex_syntax::parse(pattern).unwrap(), 1 << 20), Ok(Finder::Run(_)))
        };
        assert!([".{1000,}", "[^/]{100,}$", "^[A-Za-z0-9]{16}$", "^.{1,9}$"].into_iter().all(is_run));
        assert!(![".*a{3}b", "a.{1000}", r"(?m)^a{3}", "[ab]", ""].into_iter().any(is_run));
    }

    #[test]
    fn a_rest_is_looked_for_that_begins_with_a_literal() {
        let finder = |pattern: &str| Finder::new(&regex_syntax::parse(pattern).unwrap(), 1 << 20).unwrap();
        let is_behind = |pattern: &str| matches!(finder(pattern), Finder::Behind(_));
        assert!([r"\w+!(a|b)", "[^x]ab?c"].into_iter().all(is_behind));
        assert!(![r"[ab]!c", r"\w[xy]", "!x", r"^\w!(a|b)"].into_iter().any(is_behind));
        let finder = finder(r"\w!(a|b)+c");
        // Behind something else more often than is tried.
        let often = |times: usize| " !aac".repeat(times);
        for times in [0, 1, Behind::TIMES_MAX - 1, Behind::TIMES_MAX, Behind::TIMES_MAX + 1] {
            assert!(!finder.is_found(&often(times)), "{times}");
            assert!(finder.is_found(&(often(times) + "é!bac")), "{times}");
        }
    }

    const PIECES: &[&str] = &[
        "a",
        "b",
        ".",
        "é",
        "^",
        "$",
        r"\b",
        "[ab]",
        "[^a]",
        "x?",
        "b+",
        "a*",
        ".*",
        ".{2,}",
        "[aé]{2,3}",
        "(a|b+)",
        "(a|)",
        "(?:ab){2,}",
        "(?:^|a)+",
        "(?:b$)*",
        "(?:x|.*)",
    ];

    proptest! {
        #[test]
        fn it_is_found_where_the_expression_matches(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..5),
            flags in prop::sample::select(vec!["", "(?i)", "(?m)", "(?s)", "(?ims)"]),
            text in "[abBxé\n ]{0,12}",
        ) {
            let pattern = format!("{flags}{}", pieces.concat());
            let finder = Finder::new(&regex_syntax::parse(&pattern).unwrap(), 1 << 20).unwrap();
            let right = regex::Regex::new(&pattern).unwrap().is_match(&text);
            prop_assert_eq!(finder.is_found(&text), right, "{} {:?}", pattern, finder);
        }
    }
}

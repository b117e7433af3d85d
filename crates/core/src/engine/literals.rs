//! Which literals a regular expression cannot match without.

use crate::value::fold;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Shortest literal worth looking for.
const BYTES_MIN: usize = 3;
/// More alternatives than so are no filter any more.
const ALTERNATIVES_MAX: usize = 64;

/// Folded texts of which every match of `pattern` contains at least one; `None` if there are none
/// worth looking for. `flags` as in the `regex` crate (`i`, `m`, `s`).
pub fn required(pattern: &str, flags: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .build()
        .parse(pattern)
        .ok()?;
    of(&hir)
}

fn of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => long_enough(fold(std::str::from_utf8(&literal.0).ok()?)),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(of(branch)?);
            }
            (all.len() <= ALTERNATIVES_MAX).then_some(all)
        }
        _ => None,
    }
}

/// The best of the parts; neighbouring letters, also those written as classes like `[aA]`, join.
fn of_sequence(parts: &[Hir]) -> Option<Vec<String>> {
    let mut best: Option<Vec<String>> = None;
    let mut run = String::new();
    for part in parts {
        match letters(part) {
            Some(more) => run.push_str(&more),
            None => {
                best = better(best, long_enough(std::mem::take(&mut run)));
                best = better(best, of(part));
            }
        }
    }
    better(best, long_enough(run))
}

/// The text of a part that always folds to the same text.
fn letters(part: &Hir) -> Option<String> {
    match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(fold),
        HirKind::Class(Class::Unicode(class)) => {
            let mut folded: Option<String> = None;
            for range in class.ranges() {
                if u32::from(range.end()) - u32::from(range.start()) > 4 {
                    return None;
                }
                for c in range.start()..=range.end() {
                    let this = fold(c.encode_utf8(&mut [0; 4]));
                    if folded.get_or_insert_with(|| this.clone()) != &this {
                        return None;
                    }
                }
            }
            folded
        }
        _ => None,
    }
}

fn long_enough(text: String) -> Option<Vec<String>> {
    (text.len() >= BYTES_MIN).then(|| vec![text])
}

/// The set whose shortest member is longer.
fn better(a: Option<Vec<String>>, b: Option<Vec<String>>) -> Option<Vec<String>> {
    let shortest = |set: &Option<Vec<String>>| set.iter().flatten().map(String::len).min().unwrap_or(0);
    if shortest(&b) > shortest(&a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(pattern: &str, flags: &str) -> Vec<String> {
        required(pattern, flags).unwrap_or_default()
    }

    #[test]
    fn every_match_needs_one_of_them() {
        assert_eq!(literals(r"foo\d+BARBAZ", ""), ["barbaz"]);
        assert_eq!(literals(r"(?i)foo|bar", ""), ["foo", "bar"]);
        assert_eq!(literals(r"curl", "i"), ["curl"]);
        assert_eq!(literals(r"(abc)+x?", ""), ["abc"]);
        assert_eq!(literals(r"[a-z]+", ""), [""; 0]);
        assert_eq!(literals(r"abc|x", ""), [""; 0]);
        assert_eq!(literals(r"a?bcd", ""), ["bcd"]);
    }

    #[test]
    fn a_letter_with_an_unfolded_twin_breaks_the_run() {
        assert_eq!(literals("(?i)abcshell", ""), ["hell"], "ſ matches (?i)s and does not fold to it");
    }
}

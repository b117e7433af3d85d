//! Which literals a regular expression cannot match without.

use super::grams::commonness;
use crate::rule::Expression;
use crate::value::fold;
use memchr::memmem::Finder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Shortest literal worth filing in an index; one byte less if its bytes are rare.
const INDEXED_BYTES_MIN: usize = 3;
const RARE_PAIR: u32 = 14;
/// More alternatives than so are no filter any more.
const ALTERNATIVES_MAX: usize = 64;
/// Letters of a class that are spelled out, and spellings of a run of letters.
const CLASS_LETTERS_MAX: usize = 4;
const SPELLINGS_MAX: usize = 8;
/// Most conditions that are checked before an expression is run.
const CHECKS_MAX: usize = 4;

/// Folded texts of which every match contains at least one.
type AnyOf = Vec<String>;

/// What a text must have for an expression to match anywhere in it.
#[derive(Debug, Default)]
pub struct Needs {
    /// Bytes of the shortest match.
    bytes_min: usize,
    /// One of each, the rarest first.
    all: Vec<AnyOf>,
}

impl Needs {
    /// Of an expression.
    pub fn of(expression: &Expression) -> Needs {
        let Some(hir) = expression.parsed() else { return Needs::default() };
        let mut all = of(&hir);
        all.sort_by_key(|any| std::cmp::Reverse(rarity(any)));
        all.dedup();
        Needs { bytes_min: hir.properties().minimum_len().unwrap_or(0), all }
    }

    /// One of each is in every match, the rarest first.
    pub fn all(&self) -> &[Vec<String>] {
        &self.all
    }

    /// The best of them to be filed in an index, if any is good enough.
    pub fn indexed(&self) -> Option<&[String]> {
        let long_enough = |text: &String| {
            text.len() >= INDEXED_BYTES_MIN
                || text.len() + 1 == INDEXED_BYTES_MIN && rarity_of(text) >= RARE_PAIR
        };
        self.all.iter().find(|any| any.iter().all(long_enough)).map(Vec::as_slice)
    }

    /// The quick look at a text before the expression is run on it.
    pub fn checks(&self) -> Checks {
        // A lone letter stands in nearly every text.
        let useful = |any: &&AnyOf| any.iter().all(|text| text.len() > 1 || rarity_of(text) > 8);
        let finders = |any: &AnyOf| any.iter().map(|text| Finder::new(text).into_owned()).collect();
        let all = self.all.iter().filter(useful).take(CHECKS_MAX).map(finders).collect();
        Checks { bytes_min: self.bytes_min, all }
    }
}

/// See [`Needs::checks`].
#[derive(Debug, Default)]
pub struct Checks {
    bytes_min: usize,
    all: Vec<Vec<Finder<'static>>>,
}

impl Checks {
    /// Whether the expression may match `raw`, which folded is `folded`.
    pub fn may_match(&self, raw: &str, folded: &str) -> bool {
        let found = |any: &Vec<Finder<'_>>| any.iter().any(|finder| finder.find(folded.as_bytes()).is_some());
        raw.len() >= self.bytes_min && self.all.iter().all(found)
    }
}

fn of(hir: &Hir) -> Vec<AnyOf> {
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => spellings(hir).into_iter().collect(),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                match of(branch).into_iter().max_by_key(rarity) {
                    Some(best) => all.extend(best),
                    None => return vec![],
                }
            }
            all.sort();
            all.dedup();
            if all.len() <= ALTERNATIVES_MAX { vec![all] } else { vec![] }
        }
        _ => vec![],
    }
}

/// All of the parts; neighbouring letters join, also those of small classes like `[aA]`.
fn of_sequence(parts: &[Hir]) -> Vec<AnyOf> {
    let mut all = Vec::new();
    let mut run: AnyOf = vec![];
    for part in parts {
        let letters = spellings(part);
        let joined = match (&letters, run.is_empty()) {
            (Some(letters), false) if run.len() * letters.len() <= SPELLINGS_MAX => {
                let with =
                    |start: &String| letters.iter().map(|end| format!("{start}{end}")).collect::<Vec<_>>();
                Some(run.iter().flat_map(with).collect())
            }
            _ => None,
        };
        match (joined, letters) {
            (Some(joined), _) => run = joined,
            (None, letters) => {
                all.push(std::mem::take(&mut run));
                match letters {
                    Some(letters) => run = letters,
                    None => all.extend(of(part)),
                }
            }
        }
    }
    all.push(run);
    all.retain(|any| !any.is_empty());
    all
}

/// The folded texts that a literal or a small class stands for.
fn spellings(part: &Hir) -> Option<AnyOf> {
    match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(|text| vec![fold(text)]),
        HirKind::Class(Class::Unicode(class)) => {
            let mut all: AnyOf = vec![];
            for range in class.ranges() {
                if u32::from(range.end()) - u32::from(range.start()) >= 2 * CLASS_LETTERS_MAX as u32 {
                    return None;
                }
                for letter in range.start()..=range.end() {
                    let folded = fold(letter.encode_utf8(&mut [0; 4]));
                    if !all.contains(&folded) {
                        all.push(folded);
                    }
                }
            }
            (1..=CLASS_LETTERS_MAX).contains(&all.len()).then_some(all)
        }
        _ => None,
    }
}

/// How rare it is that one of `any` stands in a text; only the order counts.
fn rarity(any: &AnyOf) -> u32 {
    any.iter().map(|text| rarity_of(text)).min().unwrap_or(0)
}

fn rarity_of(text: &str) -> u32 {
    text.bytes().map(|byte| 10 - commonness(byte)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needs(pattern: &str, flags: &str) -> Needs {
        Needs::of(&Expression::new(pattern.into(), flags.into()).unwrap())
    }

    fn literals(pattern: &str, flags: &str) -> Vec<String> {
        needs(pattern, flags).indexed().unwrap_or_default().to_vec()
    }

    #[test]
    fn every_match_needs_one_of_them() {
        assert_eq!(literals(r"foo\d+BARBAZ", ""), ["barbaz"]);
        assert_eq!(literals(r"(?i)foo|bar", ""), ["bar", "foo"]);
        assert_eq!(literals(r"curl", "i"), ["curl"]);
        assert_eq!(literals(r"(abc)+x?", ""), ["abc"]);
        assert_eq!(literals(r"[a-z]+", ""), [""; 0]);
        assert_eq!(literals(r"abc|x", ""), [""; 0]);
        assert_eq!(literals(r"a?bcd", ""), ["bcd"]);
        assert_eq!(literals(r"https?://0[0-9]{3,11}", ""), ["://0"]);
        assert_eq!(literals(r"\$\{e?n?v?:path", ""), [":path"]);
    }

    #[test]
    fn a_letter_with_an_unfolded_twin_is_spelled_both_ways() {
        assert_eq!(literals("(?i)abcshell", ""), ["abcshell", "abc\u{17f}hell"], "(?i)s matches \u{17f} too");
    }

    #[test]
    fn what_is_too_short_or_lacks_a_letter_is_not_run() {
        let checks = needs(r"\s[a-f0-9]{64}\s", "").checks();
        assert!(!checks.may_match(" abc ", " abc "));
        let checks = needs(r#""(\{\d\}){2,}"\s*-f"#, "").checks();
        assert!(!checks.may_match("echo \"{0} x\" ", "echo \"{0} x\" "));
        assert!(checks.may_match("\"{0}{1}\" -f", "\"{0}{1}\" -f"));
    }

    const PIECES: &[&str] =
        &["(a|[bB]K)", "a", "b", "s", "K", "S", ".", "`", "[ab]", "[^a]", "x?", "b+", "(s|k|`a){2}", "[aks]"];

    proptest! {
        #[test]
        fn what_matches_passes_the_checks(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 1..7),
            insensitive in any::<bool>(),
            text in "[aAbBkKsS`x\u{17f}\u{212a}]{0,12}",
        ) {
            let (flags, pattern) = (if insensitive { "i" } else { "" }, pieces.concat());
            let Ok(expression) = Expression::new(pattern.clone(), flags.into()) else { return Ok(()) };
            if expression.is_match(&text) {
                let needs = Needs::of(&expression);
                prop_assert!(needs.checks().may_match(&text, &fold(&text)), "{} {:?}", pattern, needs);
                let found = needs.indexed().is_none_or(|any| any.iter().any(|t| fold(&text).contains(t.as_str())));
                prop_assert!(found, "{} {:?}", pattern, needs);
            }
        }
    }
}

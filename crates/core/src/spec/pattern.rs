//! Texts with wildcards.

use crate::rule::{DASHES, Part, Pattern};
use crate::value::fold;

/// Whether the whole of `text` is what `pattern` says. Letter case is folded unless the pattern is
/// cased; trailing blanks of the text may be left off.
pub fn matches(pattern: &Pattern, text: &str) -> bool {
    let symbols: Vec<Symbol> = pattern.parts.iter().flat_map(|part| symbols(part, pattern.cased)).collect();
    let text = if pattern.cased { text.to_owned() } else { fold(text) };
    let chars: Vec<char> = text.chars().collect();
    let trimmed = chars.len() - chars.iter().rev().take_while(|c| **c == ' ').count();
    whole(&symbols, &chars) || (trimmed < chars.len() && whole(&symbols, &chars[..trimmed]))
}

/// One step of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Symbol {
    Is(char),
    Any,
    One,
    Dash,
}

fn symbols(part: &Part, cased: bool) -> Vec<Symbol> {
    match part {
        Part::Text(text) if cased => text.chars().map(Symbol::Is).collect(),
        Part::Text(text) => fold(text).chars().map(Symbol::Is).collect(),
        Part::Any => vec![Symbol::Any],
        Part::One => vec![Symbol::One],
        Part::Dash => vec![Symbol::Dash],
    }
}

/// Greedy match that returns to the latest `*` when it is stuck: no more than |pattern| × |text|
/// steps.
fn whole(pattern: &[Symbol], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&Symbol::Any) {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|symbol| step(*symbol, text[t])) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|symbol| *symbol == Symbol::Any)
}

fn step(symbol: Symbol, c: char) -> bool {
    match symbol {
        Symbol::Is(wanted) => wanted == c,
        Symbol::One => true,
        Symbol::Dash => DASHES.contains(&c),
        Symbol::Any => false,
    }
}

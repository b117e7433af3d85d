//! Texts that a pattern or a regular expression accepts.

use super::Random;
use otel_log_ai_core::rule::{DASHES, Expression, Part, Pattern};
use regex_syntax::hir::{Class, Hir, HirKind};

/// What may stand where a rule says nothing.
const FILLING: [&str; 24] = [
    "a",
    "Z",
    "0",
    "7",
    " ",
    "\\",
    "/",
    "-",
    ".",
    ":",
    "\"",
    "'",
    "=",
    "*",
    "?",
    "%",
    "_",
    "x",
    "exe",
    "\\Users\\",
    "ä",
    "Ж",
    "日",
    "\u{2013}",
];

/// A few random characters, possibly none.
pub fn filling(random: &mut Random) -> String {
    let count = if random.chance(40) { 0 } else { random.below(6) };
    (0..count).map(|_| *random.pick(&FILLING)).collect()
}

/// A character for a single place.
pub fn character(random: &mut Random) -> char {
    random.pick(&FILLING).chars().next().unwrap_or('x')
}

/// A text that `pattern` accepts; letter case is shuffled where it does not count.
pub fn of_pattern(pattern: &Pattern, random: &mut Random) -> String {
    let mut text = String::new();
    for part in &pattern.parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Any => text.push_str(&filling(random)),
            Part::One => text.push(character(random)),
            Part::Dash => text.push(*random.pick(&DASHES)),
        }
    }
    if pattern.cased { text } else { shuffle_case(&text, random) }
}

/// The letters in any case that folds back to the same letter.
pub fn shuffle_case(text: &str, random: &mut Random) -> String {
    let way = random.below(4);
    let turned = |c: char, random: &mut Random| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(upper), None) if upper.to_lowercase().eq(c.to_lowercase()) => match way {
                0 => c,
                1 => upper,
                2 => c.to_lowercase().next().unwrap_or(c),
                _ if random.chance(50) => upper,
                _ => c,
            },
            _ => c,
        }
    };
    text.chars().map(|c| turned(c, random)).collect()
}

/// A text in which `expression` is found, unless its anchors or word boundaries forbid it.
pub fn of_expression(expression: &Expression, random: &mut Random) -> String {
    let flags = &expression.flags;
    let parsed = regex_syntax::ParserBuilder::new()
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .build()
        .parse(&expression.pattern);
    let mut found = Vec::new();
    if let Ok(hir) = parsed {
        sample(&hir, random, &mut found);
    }
    let found = String::from_utf8_lossy(&found).into_owned();
    match random.below(3) {
        0 => format!("{}{found}{}", filling(random), filling(random)),
        _ => found,
    }
}

fn sample(hir: &Hir, random: &mut Random, out: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => one_of(class, random, out),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min + 4).min(repetition.min + 4);
            let times = repetition.min + random.below((most - repetition.min + 1) as usize) as u32;
            for _ in 0..times {
                sample(&repetition.sub, random, out);
            }
        }
        HirKind::Capture(capture) => sample(&capture.sub, random, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, random, out)),
        HirKind::Alternation(branches) => {
            let branch = random.below(branches.len());
            sample(&branches[branch], random, out);
        }
    }
}

/// A member of the class, mostly a printable one.
fn one_of(class: &Class, random: &mut Random, out: &mut Vec<u8>) {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect(),
        Class::Bytes(class) => class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))).collect(),
    };
    let printable = ranges.iter().filter_map(|(from, to)| {
        let (from, to) = ((*from).max(0x20), (*to).min(0x7e));
        (from <= to).then_some((from, to))
    });
    let mut usual: Vec<(u32, u32)> = printable.collect();
    if usual.is_empty() || random.chance(10) {
        usual = ranges;
    }
    if usual.is_empty() {
        return;
    }
    let (from, to) = *random.pick(&usual);
    let code = from + random.below((to - from + 1) as usize) as u32;
    let c = char::from_u32(code).unwrap_or('x');
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

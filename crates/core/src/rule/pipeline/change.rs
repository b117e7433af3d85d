//! Changing the values of one detection item.

use super::tree::{Changed, change_items, fault};
use super::{Case, Type};
use crate::rule::lower::Fault;
use regex::Regex;
use rsigma_parser::{
    DetectionItem, FieldSpec, Modifier, SigmaRule, SigmaString, SigmaValue, SpecialChar, StringPart,
};
use std::collections::BTreeMap;

/// Most values that the placeholders of one value may become.
const VALUES_MAX: usize = 10_000;

/// Whether the item's values are plain texts: what an operator takes (an expression, a network, a
/// field's name) is none, though the parser has it as one.
fn has_texts(item: &DetectionItem) -> bool {
    let is_operator = |modifier: &Modifier| {
        use Modifier as M;
        matches!(modifier, M::Re | M::Cidr | M::FieldRef | M::Exists | M::Gt | M::Gte | M::Lt | M::Lte)
    };
    !item.field.modifiers.iter().any(is_operator)
}

/// Replaces each text value.
pub(super) fn texts(item: &mut DetectionItem, mut change: impl FnMut(SigmaString) -> Vec<SigmaString>) {
    if !has_texts(item) {
        return;
    }
    let mut values = Vec::with_capacity(item.values.len());
    for value in std::mem::take(&mut item.values) {
        match value {
            SigmaValue::String(text) => values.extend(change(text).into_iter().map(SigmaValue::String)),
            other => values.push(other),
        }
    }
    item.values = values;
}

/// A text of these parts, with the spelling that a rule would have.
fn text(parts: Vec<StringPart>) -> SigmaString {
    let mut original = String::new();
    for part in &parts {
        match part {
            StringPart::Plain(plain) => {
                for c in plain.chars() {
                    if matches!(c, '*' | '?') {
                        original.push('\\');
                    }
                    original.push(c);
                }
            }
            StringPart::Special(SpecialChar::WildcardMulti) => original.push('*'),
            StringPart::Special(SpecialChar::WildcardSingle) => original.push('?'),
        }
    }
    SigmaString { parts, original }
}

/// Replaces in the value as it is written, or with `skip_special` in what stands between wildcards.
pub(super) fn replaced(
    value: SigmaString,
    regex: &Regex,
    replacement: &str,
    skip_special: bool,
) -> SigmaString {
    let numbered = python_groups(replacement);
    if !skip_special {
        return SigmaString::new(&regex.replace_all(&value.original, numbered.as_str()));
    }
    let part = |part: StringPart| match part {
        StringPart::Plain(plain) => {
            StringPart::Plain(regex.replace_all(&plain, numbered.as_str()).into_owned())
        }
        special => special,
    };
    text(value.parts.into_iter().map(part).collect())
}

/// Python's `\1` and `\g<name>` as `${1}` and `${name}`; its `$` and `\\` are plain.
fn python_groups(replacement: &str) -> String {
    let mut out = String::with_capacity(replacement.len());
    let mut rest = replacement;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = after;
        match (c, after.chars().next()) {
            ('$', _) => out.push_str("$$"),
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                out.push_str(&format!("${{{digit}}}"));
                rest = &after[1..];
            }
            ('\\', Some('\\')) => {
                out.push('\\');
                rest = &after[1..];
            }
            ('\\', Some('g')) => match after.strip_prefix("g<").and_then(|name| name.split_once('>')) {
                Some((name, behind)) => {
                    out.push_str(&format!("${{{name}}}"));
                    rest = behind;
                }
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// The text in one letter case.
pub(super) fn cased(value: SigmaString, case: Case) -> SigmaString {
    let part = |part: StringPart| match part {
        StringPart::Plain(plain) => StringPart::Plain(match case {
            Case::Lower => plain.to_lowercase(),
            Case::Upper => plain.to_uppercase(),
        }),
        special => special,
    };
    text(value.parts.into_iter().map(part).collect())
}

/// Numbers become texts, or texts numbers.
pub(super) fn convert(item: &mut DetectionItem, into: Type) -> Result<(), Fault> {
    if !has_texts(item) {
        return Ok(());
    }
    for value in &mut item.values {
        let converted = match (into, &*value) {
            (Type::Str, SigmaValue::Integer(_) | SigmaValue::Float(_)) => {
                SigmaValue::String(SigmaString::from_raw(&value.to_string()))
            }
            (Type::Num, SigmaValue::String(text)) => {
                let number = text.original.trim();
                match (number.parse::<i64>(), number.parse::<f64>()) {
                    (Ok(whole), _) => SigmaValue::Integer(whole),
                    (_, Ok(number)) if number.is_finite() => SigmaValue::Float(number),
                    _ => return Err(fault(format!("'{}' is not a number", text.original))),
                }
            }
            _ => continue,
        };
        *value = converted;
    }
    Ok(())
}

/// `Hashes: SHA1=…` as an item for each algorithm, any of which may hold.
pub(super) fn hashes(
    mut item: DetectionItem,
    algorithms: &[String],
    prefix: &str,
    without_algorithm: bool,
) -> Result<Changed, Fault> {
    if !matches!(item.field.name.as_deref(), Some("Hashes" | "Hash")) {
        return Ok(Changed::Same(item));
    }
    let mut fields: BTreeMap<String, Vec<SigmaValue>> = BTreeMap::new();
    for value in std::mem::take(&mut item.values) {
        let SigmaValue::String(value) = value else { continue };
        let value = value.original.trim_matches(['*', '?']);
        let (algorithm, hash) = match value.split_once(['=', '|']) {
            Some((algorithm, hash)) => (algorithm.to_uppercase(), hash),
            None => (by_length(value).to_owned(), value),
        };
        if algorithms.iter().any(|known| known.eq_ignore_ascii_case(&algorithm)) {
            let field = format!("{prefix}{}", if without_algorithm { "" } else { &algorithm });
            fields.entry(field).or_default().push(SigmaValue::String(SigmaString::from_raw(hash)));
        }
    }
    if fields.is_empty() {
        return Err(fault(format!("none of the hashes is {}", algorithms.join(", "))));
    }
    let item = |(name, values)| DetectionItem { field: FieldSpec::new(Some(name), vec![]), values };
    let mut items: Vec<DetectionItem> = fields.into_iter().map(item).collect();
    Ok(if items.len() == 1 { Changed::Same(items.remove(0)) } else { Changed::Any(items) })
}

/// Digits of a hash → algorithm.
fn by_length(hash: &str) -> &'static str {
    match hash.len() {
        32 => "MD5",
        40 => "SHA1",
        64 => "SHA256",
        128 => "SHA512",
        _ => "",
    }
}

/// Values for a placeholder; `None` leaves it as it is.
pub(super) type Values<'v> = dyn Fn(&str) -> Result<Option<Vec<SigmaString>>, Fault> + 'v;

/// Gives the placeholders under `|expand` their values. Several values of several placeholders give
/// every combination. The modifier goes when no placeholder is left.
pub(super) fn placeholders(item: &mut DetectionItem, values: &Values<'_>) -> Result<(), Fault> {
    if !item.field.has_modifier(Modifier::Expand) {
        return Ok(());
    }
    let (mut expanded, mut is_left) = (vec![], false);
    for value in std::mem::take(&mut item.values) {
        let SigmaValue::String(value) = value else {
            expanded.push(value);
            continue;
        };
        let mut variants: Vec<Vec<StringPart>> = vec![vec![]];
        for part in value.parts {
            let StringPart::Plain(plain) = part else {
                variants.iter_mut().for_each(|variant| variant.push(part.clone()));
                continue;
            };
            for piece in pieces(&plain) {
                let choices = match piece {
                    Piece::Text(text) => vec![vec![StringPart::Plain(text.to_owned())]],
                    Piece::Placeholder(name) => match values(name)? {
                        Some(values) => values.into_iter().map(|value| value.parts).collect(),
                        None => {
                            is_left = true;
                            vec![vec![StringPart::Plain(format!("%{name}%"))]]
                        }
                    },
                };
                if variants.len() * choices.len() + expanded.len() > VALUES_MAX {
                    return Err(fault(format!(
                        "the placeholders of a value have more than {VALUES_MAX} values"
                    )));
                }
                variants = variants
                    .iter()
                    .flat_map(|v| choices.iter().map(|c| [v.as_slice(), c].concat()))
                    .collect();
            }
        }
        expanded.extend(variants.into_iter().map(|parts| SigmaValue::String(text(joined(parts)))));
    }
    item.values = expanded;
    if !is_left {
        item.field.modifiers.retain(|modifier| *modifier != Modifier::Expand);
    }
    Ok(())
}

/// Resolves every placeholder that `vars` has values for.
pub(super) fn known_placeholders(
    rule: &mut SigmaRule,
    vars: &BTreeMap<String, Vec<String>>,
) -> Result<(), Fault> {
    change_items(rule, &mut |mut item| {
        placeholders(&mut item, &|name| {
            Ok(vars.get(name).map(|values| values.iter().map(|value| SigmaString::new(value)).collect()))
        })?;
        Ok(Changed::Same(item))
    })
}

enum Piece<'t> {
    Text(&'t str),
    Placeholder(&'t str),
}

/// Parts a text at its `%name%`. A name is not empty and has no backslash in it.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest, mut from) = (vec![], text, 0);
    while let Some(start) = rest[from..].find('%').map(|at| at + from) {
        let name = rest[start + 1..].split_once('%').map(|(name, _)| name);
        match name.filter(|name| !name.is_empty() && !name.contains('\\')) {
            Some(name) => {
                if start > 0 {
                    pieces.push(Piece::Text(&rest[..start]));
                }
                pieces.push(Piece::Placeholder(name));
                rest = &rest[start + name.len() + 2..];
                from = 0;
            }
            None => from = start + 1,
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Joins neighbouring texts.
fn joined(parts: Vec<StringPart>) -> Vec<StringPart> {
    let mut all: Vec<StringPart> = Vec::with_capacity(parts.len());
    for part in parts {
        match (all.last_mut(), part) {
            (Some(StringPart::Plain(text)), StringPart::Plain(more)) => text.push_str(&more),
            (_, part) => all.push(part),
        }
    }
    all
}

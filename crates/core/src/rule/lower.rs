//! Detections → [`Expr`]: carries out the modifiers (Sigma specification, appendix Modifiers).
//!
//! We lower the parser's syntax tree ourselves rather than take rsigma's intermediate form, because
//! that form loses wildcards in values under an encoding modifier and renders some values wrongly.

use super::{DASHES, Expr, Expression, Item, Order, Part, Pattern, Place, Test, TimePart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier, SigmaString, SigmaValue,
    SpecialChar, StringPart,
};
use std::net::IpAddr;

/// Nesting of a detection or condition that is still read; deeper is a mistake or an attack.
const DEPTH_MAX: usize = 64;

/// Why a rule cannot be used.
#[derive(Debug)]
pub struct Fault {
    pub message: String,
    pub hint: Option<String>,
}

fn fault<T>(message: impl Into<String>, hint: &str) -> Result<T, Fault> {
    Err(Fault { message: message.into(), hint: (!hint.is_empty()).then(|| hint.to_owned()) })
}

/// Searches by name, the condition, and placeholders that have no values.
type Lowered = (Vec<(String, Expr)>, Expr, Vec<String>);

/// Lowers the `detection` section.
pub fn detection(section: &Detections) -> Result<Lowered, Fault> {
    let mut unmet = Vec::new();
    let mut names: Vec<&String> = section.named.keys().collect();
    names.sort();
    let mut searches = Vec::with_capacity(names.len());
    for name in names {
        searches.push((name.clone(), search(&section.named[name], &mut unmet, 0)?));
    }
    let mut conditions = Vec::new();
    for tree in &section.conditions {
        conditions.push(condition(tree, &searches, 0)?);
    }
    let condition = match conditions.len() {
        0 => return fault("the detection has no condition", "add `condition: selection`"),
        1 => conditions.remove(0),
        _ => Expr::Or(conditions),
    };
    Ok((searches, condition, unmet))
}

fn condition(tree: &ConditionExpr, searches: &[(String, Expr)], depth: usize) -> Result<Expr, Fault> {
    if depth > DEPTH_MAX {
        return fault("the condition is nested too deeply", "");
    }
    let all = |trees: &[ConditionExpr]| -> Result<Vec<Expr>, Fault> {
        trees.iter().map(|t| condition(t, searches, depth + 1)).collect()
    };
    Ok(match tree {
        ConditionExpr::And(trees) => Expr::And(all(trees)?),
        ConditionExpr::Or(trees) => Expr::Or(all(trees)?),
        ConditionExpr::Not(tree) => Expr::Not(Box::new(condition(tree, searches, depth + 1)?)),
        ConditionExpr::Identifier(name) => match searches.iter().position(|(n, _)| n == name) {
            Some(index) => Expr::Search(index),
            None => {
                return fault(
                    format!("the condition names '{name}', which the detection does not define"),
                    "define it or correct the name",
                );
            }
        },
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen: Vec<Expr> = (searches.iter().enumerate())
                .filter(|(_, (name, _))| pattern.matches_detection_name(name))
                .map(|(index, _)| Expr::Search(index))
                .collect();
            if chosen.is_empty() {
                return fault(format!("the condition's '{pattern}' matches no search identifier"), "");
            }
            match quantifier {
                Quantifier::Any | Quantifier::Count(1) => Expr::Or(chosen),
                Quantifier::All => Expr::And(chosen),
                Quantifier::Count(n) => Expr::AtLeast(usize::try_from(*n).unwrap_or(usize::MAX), chosen),
            }
        }
    })
}

fn search(detection: &Detection, unmet: &mut Vec<String>, depth: usize) -> Result<Expr, Fault> {
    if depth > DEPTH_MAX {
        return fault("the detection is nested too deeply", "");
    }
    match detection {
        Detection::AllOf(items) => all_or_one(Expr::And, items, |i| item(i, unmet)),
        Detection::AnyOf(list) => all_or_one(Expr::Or, list, |d| search(d, unmet, depth + 1)),
        Detection::And(list) => all_or_one(Expr::And, list, |d| search(d, unmet, depth + 1)),
        Detection::Keywords(values) => {
            all_or_one(Expr::Or, values, |v| Ok(leaf(None, keyword(v, &Modifiers::default())?)))
        }
        Detection::ArrayMatch { field, .. } => {
            fault(format!("array matching ('{field}[…]') is not supported"), "use the field without brackets")
        }
        Detection::Conditional { .. } => fault("a condition inside a detection is not supported", ""),
    }
}

fn all_or_one<T>(
    join: fn(Vec<Expr>) -> Expr,
    list: &[T],
    mut lower: impl FnMut(&T) -> Result<Expr, Fault>,
) -> Result<Expr, Fault> {
    let mut exprs = list.iter().map(&mut lower).collect::<Result<Vec<_>, _>>()?;
    Ok(if exprs.len() == 1 { exprs.remove(0) } else { join(exprs) })
}

fn leaf(field: Option<String>, test: Test) -> Expr {
    Expr::Item(Item { field, test })
}

/// What the modifiers of one detection item ask for.
#[derive(Default)]
struct Modifiers {
    place: Option<Place>,
    encodings: Vec<Modifier>,
    operator: Option<Modifier>,
    flags: String,
    all: bool,
    cased: bool,
    negated: bool,
    expand: bool,
}

fn modifiers(item: &DetectionItem) -> Result<Modifiers, Fault> {
    let mut m = Modifiers::default();
    for modifier in &item.field.modifiers {
        match modifier {
            Modifier::Contains => m.place = Some(Place::Anywhere),
            Modifier::StartsWith => m.place = Some(Place::Start),
            Modifier::EndsWith => m.place = Some(Place::End),
            Modifier::All => m.all = true,
            Modifier::Cased => m.cased = true,
            Modifier::Neq => m.negated = true,
            Modifier::Expand => m.expand = true,
            Modifier::IgnoreCase => m.flags.push('i'),
            Modifier::Multiline => m.flags.push('m'),
            Modifier::DotAll => m.flags.push('s'),
            Modifier::Base64
            | Modifier::Base64Offset
            | Modifier::Wide
            | Modifier::Utf16
            | Modifier::Utf16be
            | Modifier::WindAsh => m.encodings.push(*modifier),
            Modifier::Re
            | Modifier::Cidr
            | Modifier::Exists
            | Modifier::FieldRef
            | Modifier::Gt
            | Modifier::Gte
            | Modifier::Lt
            | Modifier::Lte
            | Modifier::Minute
            | Modifier::Hour
            | Modifier::Day
            | Modifier::Week
            | Modifier::Month
            | Modifier::Year => {
                if m.operator.replace(*modifier).is_some() {
                    return fault("two modifiers of one field contradict each other", "");
                }
            }
        }
    }
    if !m.flags.is_empty() && m.operator != Some(Modifier::Re) {
        return fault("the modifiers i, m and s belong to |re only", "");
    }
    let fieldref = m.operator == Some(Modifier::FieldRef);
    if m.operator.is_some() && (!m.encodings.is_empty() || m.expand || (m.place.is_some() && !fieldref)) {
        return fault("a text modifier cannot be combined with the comparison on this field", "");
    }
    Ok(m)
}

fn item(item: &DetectionItem, unmet: &mut Vec<String>) -> Result<Expr, Fault> {
    let m = modifiers(item)?;
    let field = &item.field.name;
    let mut exprs = Vec::with_capacity(item.values.len());
    for value in &item.values {
        if m.expand {
            unmet.extend(placeholders(value));
        }
        for test in tests(field.is_none(), value, &m)? {
            exprs.push(leaf(field.clone(), test));
        }
    }
    let expr = match exprs.len() {
        1 => exprs.remove(0),
        _ if m.all => Expr::And(exprs),
        _ => Expr::Or(exprs),
    };
    Ok(if m.negated { Expr::Not(Box::new(expr)) } else { expr })
}

/// The names between percent signs of a value under `|expand`.
fn placeholders(value: &SigmaValue) -> Vec<String> {
    let SigmaValue::String(text) = value else { return vec![] };
    text.original.split('%').skip(1).step_by(2).map(|name| format!("%{name}%")).collect()
}

fn tests(keyword_item: bool, value: &SigmaValue, m: &Modifiers) -> Result<Vec<Test>, Fault> {
    if let Some(operator) = m.operator {
        return Ok(vec![comparison(operator, value, m)?]);
    }
    if keyword_item {
        return Ok(vec![keyword(value, m)?]);
    }
    match value {
        SigmaValue::Null => Ok(vec![Test::Null]),
        SigmaValue::String(text) => {
            let offset = m.encodings.contains(&Modifier::Base64Offset);
            let patterns = if offset { base64_offsets(text, m)? } else { vec![encoded(text, m)?] };
            Ok(patterns.into_iter().map(|p| Test::Text(pattern(p, m.place, m.cased))).collect())
        }
        other => Ok(vec![Test::Text(pattern(vec![Part::Text(plain(other)?)], m.place, m.cased))]),
    }
}

/// A keyword is searched for anywhere in the event's texts.
fn keyword(value: &SigmaValue, m: &Modifiers) -> Result<Test, Fault> {
    let parts = match value {
        SigmaValue::String(text) => encoded(text, m)?,
        SigmaValue::Null => return fault("a keyword cannot be null", "remove the empty list entry"),
        other => vec![Part::Text(plain(other)?)],
    };
    Ok(Test::Text(pattern(parts, Some(Place::Anywhere), m.cased)))
}

fn comparison(operator: Modifier, value: &SigmaValue, m: &Modifiers) -> Result<Test, Fault> {
    let time = |part| Ok(Test::TimePart(part, number(value)? as i64));
    match operator {
        Modifier::Re => match Expression::new(plain(value)?, m.flags.clone()) {
            Ok(expression) => Ok(Test::Regex(expression)),
            Err(message) => {
                fault(message, "expressions run in linear time: no look-around, no back-references")
            }
        },
        Modifier::Cidr => {
            let text = plain(value)?;
            match network(&text) {
                Some(network) => Ok(Test::Cidr(network)),
                None => fault(format!("'{text}' is not a network"), "write it as 10.0.0.0/8 or fe80::/10"),
            }
        }
        Modifier::Exists => match value {
            SigmaValue::Bool(wanted) => Ok(Test::Exists(*wanted)),
            other => match plain(other)?.to_lowercase().as_str() {
                "true" | "yes" | "1" => Ok(Test::Exists(true)),
                "false" | "no" | "0" => Ok(Test::Exists(false)),
                _ => fault("the modifier |exists takes true or false", ""),
            },
        },
        Modifier::FieldRef => Ok(Test::FieldRef {
            field: plain(value)?,
            place: m.place.unwrap_or(Place::Whole),
            cased: m.cased,
        }),
        Modifier::Gt => Ok(Test::Number(Order::Gt, number(value)?)),
        Modifier::Gte => Ok(Test::Number(Order::Gte, number(value)?)),
        Modifier::Lt => Ok(Test::Number(Order::Lt, number(value)?)),
        Modifier::Lte => Ok(Test::Number(Order::Lte, number(value)?)),
        Modifier::Minute => time(TimePart::Minute),
        Modifier::Hour => time(TimePart::Hour),
        Modifier::Day => time(TimePart::Day),
        Modifier::Week => time(TimePart::Week),
        Modifier::Month => time(TimePart::Month),
        _ => time(TimePart::Year),
    }
}

/// Reads a network; a bare address is the network of that one address.
fn network(text: &str) -> Option<ipnet::IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
}

fn plain(value: &SigmaValue) -> Result<String, Fault> {
    match value {
        SigmaValue::String(text) => Ok(text.as_plain().unwrap_or_else(|| text.original.clone())),
        SigmaValue::Integer(n) => Ok(n.to_string()),
        SigmaValue::Float(n) => Ok(crate::value::float_text(*n)),
        SigmaValue::Bool(b) => Ok(b.to_string()),
        SigmaValue::Null => fault("null cannot be used with this modifier", ""),
    }
}

fn number(value: &SigmaValue) -> Result<f64, Fault> {
    let text = plain(value)?;
    text.trim().parse().or_else(|_| fault(format!("'{text}' is not a number"), ""))
}

/// Applies every encoding but `base64offset`.
fn encoded(text: &SigmaString, m: &Modifiers) -> Result<Vec<Part>, Fault> {
    let mut parts = wildcards(text);
    if m.encodings.contains(&Modifier::WindAsh) {
        parts = parts.into_iter().flat_map(dashes).collect();
    }
    if m.encodings.iter().all(|e| *e == Modifier::WindAsh) {
        return Ok(parts);
    }
    let bytes = encoded_bytes(text, m)?;
    let encoded = if m.encodings.contains(&Modifier::Base64) {
        BASE64.encode(bytes)
    } else {
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(vec![Part::Text(encoded)])
}

/// The value in the character encoding that base64 is to be taken of.
fn encoded_bytes(text: &SigmaString, m: &Modifiers) -> Result<Vec<u8>, Fault> {
    let Some(plain) = text.as_plain() else {
        return fault(
            format!("'{}': a wildcard cannot be encoded", text.original),
            "escape it with a backslash",
        );
    };
    let wide = |order: fn(u16) -> [u8; 2]| plain.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    Ok(if m.encodings.contains(&Modifier::Wide) {
        wide(u16::to_le_bytes)
    } else if m.encodings.contains(&Modifier::Utf16be) {
        wide(u16::to_be_bytes)
    } else if m.encodings.contains(&Modifier::Utf16) {
        [vec![0xff, 0xfe], wide(u16::to_le_bytes)].concat()
    } else {
        plain.into_bytes()
    })
}

/// The three texts as which the value can stand inside longer base64, by its offset modulo 3; the
/// characters that also depend on its neighbours are left off.
fn base64_offsets(text: &SigmaString, m: &Modifiers) -> Result<Vec<Vec<Part>>, Fault> {
    let bytes = encoded_bytes(text, m)?;
    let mut variants = Vec::with_capacity(3);
    for offset in 0..3 {
        let padded = [vec![b' '; offset], bytes.clone()].concat();
        let encoded = BASE64.encode(&padded);
        let start = [0, 2, 3][offset];
        let end = encoded.len() - [0, 3, 2][padded.len() % 3];
        let piece = encoded.get(start..end).unwrap_or_default();
        variants.push(vec![Part::Text(piece.to_owned())]);
    }
    Ok(variants)
}

fn wildcards(text: &SigmaString) -> Vec<Part> {
    text.parts
        .iter()
        .map(|part| match part {
            StringPart::Plain(text) => Part::Text(text.clone()),
            StringPart::Special(SpecialChar::WildcardMulti) => Part::Any,
            StringPart::Special(SpecialChar::WildcardSingle) => Part::One,
        })
        .collect()
}

/// `|windash`: a `-` or `/` that begins a word, as pySigma's `\B[-/]\b` has it.
fn dashes(part: Part) -> Vec<Part> {
    let Part::Text(text) = part else { return vec![part] };
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut parts, mut piece, mut before) = (Vec::new(), String::new(), None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let begins_word = !before.is_some_and(word) && chars.peek().is_some_and(|c| word(*c));
        if begins_word && matches!(c, '-' | '/') {
            debug_assert!(DASHES.contains(&c));
            parts.extend((!piece.is_empty()).then(|| Part::Text(std::mem::take(&mut piece))));
            parts.push(Part::Dash);
        } else {
            piece.push(c);
        }
        before = Some(c);
    }
    parts.extend((!piece.is_empty()).then_some(Part::Text(piece)));
    parts
}

/// Adds the wildcards of `|contains`, `|startswith`, `|endswith` and joins neighbours.
fn pattern(parts: Vec<Part>, place: Option<Place>, cased: bool) -> Pattern {
    let before = matches!(place, Some(Place::Anywhere | Place::End)).then_some(Part::Any);
    let after = matches!(place, Some(Place::Anywhere | Place::Start)).then_some(Part::Any);
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len() + 2);
    for part in before.into_iter().chain(parts).chain(after) {
        match (joined.last_mut(), part) {
            (Some(Part::Any), Part::Any) => {}
            (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
            (_, part) => joined.push(part),
        }
    }
    Pattern { parts: joined, cased }
}

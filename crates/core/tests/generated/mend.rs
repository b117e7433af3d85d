//! What rsigma 0.23 does otherwise, each put right by hand before it is asked again.
//!
//! A difference counts as explained only if rsigma, given the mended rule and event, says what we say:
//! a cause excuses nothing else in the rule. Causes in rules (its compiler, `compiler/mod.rs`):
//!
//! - *wildcards*: with `startswith` and `endswith` the anchors of a value with wildcards are swapped,
//!   and no wildcard crosses a line break;
//! - *windash*: only `-` is taken for the other dashes, and so is a hyphen inside a word;
//! - *keywords*: under `|all` they must be whole values and stand in one text;
//! - *base64offset*: the characters that also depend on what follows are not left off;
//! - *blanks*: as below, where an expression searches the same field;
//! - *literals*: numbers are compared as numbers and truth by several words, where Sigma compares text.
//!
//! Causes in events, where its reading of a value is narrower than ours:
//!
//! - *blanks*: we leave off trailing blanks, since Windows pads values;
//! - *numbers*: keywords are not searched for in values that are numbers, and texts with blanks around
//!   a number or an address are not taken for one;
//! - *nulls*: a field that is there with null does not exist, and a list of nulls is not null;
//! - *lists*: fields that are compared with each other and have several values are never equal: this
//!   alone cannot be mended and is left out;
//! - *letters*: where wildcards became an expression, `(?i)` folds more than lower case does.

use otel_log_ai_core::otel::{Event, normal_name};
use otel_log_ai_core::rule::{DASHES, Test};
use otel_log_ai_core::spec::address;
use rsigma_parser::{
    Detection, DetectionItem, FieldSpec, Modifier, SigmaRule, SigmaString, SigmaValue, SpecialChar,
    StringPart,
};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

use crate::cases::Plot;

/// Names of causes.
pub type Causes = BTreeSet<&'static str>;

/// The event as rsigma is given it: every name of the rule with the values that we find under it.
pub fn json(event: &Event<'_>, plot: &Plot) -> Json {
    let mut map = Map::new();
    let wanted: Vec<(String, &str)> =
        plot.fields().into_iter().map(|name| (normal_name(name), name)).collect();
    for (name, value) in &event.fields {
        let normal = normal_name(name);
        let names: Vec<&str> =
            wanted.iter().filter(|(wanted, _)| *wanted == normal).map(|(_, name)| *name).collect();
        let value = serde_value(value);
        match names.is_empty() {
            true => add(&mut map, name, value),
            false => names.into_iter().for_each(|name| add(&mut map, name, value.clone())),
        }
    }
    if !event.texts.is_empty() {
        let texts = event.texts.iter().map(|text| Json::from(text.as_ref()));
        map.insert("Texts of the event".into(), Json::Array(texts.collect()));
    }
    Json::Object(map)
}

fn serde_value(value: &otel_log_ai_core::value::Value<'_>) -> Json {
    use otel_log_ai_core::value::Value;
    match value {
        Value::Str(text) => Json::from(text.as_ref()),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Bool(truth) => Json::from(*truth),
        Value::Null => Json::Null,
    }
}

fn add(map: &mut Map<String, Json>, name: &str, value: Json) {
    match map.get_mut(name) {
        None => {
            map.insert(name.to_owned(), value);
        }
        Some(Json::Array(list)) => list.push(value),
        Some(first) => *first = Json::Array(vec![first.take(), value]),
    }
}

/// The event mended for the comparisons of the rule.
pub fn event(event: &Event<'_>, plot: &Plot, causes: &mut Causes) -> Json {
    let mut json = json(event, plot);
    let Some(map) = json.as_object_mut() else { return json };
    for (name, value) in map.iter_mut() {
        let tests: Vec<&Test> = (plot.leaves.iter())
            .filter(|item| item.field.as_ref().is_none_or(|field| field == name))
            .map(|item| &item.test)
            .collect();
        let before = value.clone();
        let mut list = match value.take() {
            Json::Array(list) => list,
            one => vec![one],
        };
        list = list.into_iter().flat_map(|value| spellings(value, &tests, causes)).collect();
        let exists = tests.iter().any(|test| matches!(test, Test::Exists(_)));
        *value = match list.len() {
            1 if !(exists && list[0].is_null()) => list.remove(0),
            _ if list.iter().all(Json::is_null) && !exists => Json::Null,
            _ => Json::Array(list),
        };
        if value.is_null() != before.is_null() || (exists && before.is_null()) {
            causes.insert("nulls");
        }
    }
    json
}

/// The texts as which we compare a value.
fn spellings(value: Json, tests: &[&Test], causes: &mut Causes) -> Vec<Json> {
    let mut text = match value {
        Json::String(text) => text,
        Json::Null => return vec![value],
        other => {
            causes.insert("numbers");
            let float = other.as_f64().filter(|_| !other.is_i64());
            float.map_or_else(|| other.to_string(), otel_log_ai_core::value::float_text)
        }
    };
    let is_regex = tests.iter().any(|test| matches!(test, Test::Regex(_)));
    for test in tests {
        let plain = match test {
            Test::Number(..) => text.trim().parse::<f64>().ok().map(|_| text.trim().to_owned()),
            Test::Cidr(_) => address(&text).map(|address| address.to_string()),
            _ => None,
        };
        if let Some(plain) = plain.filter(|plain| *plain != text) {
            causes.insert("numbers");
            text = plain;
        }
    }
    if !is_regex && text.contains(['\u{17f}', '\u{212a}', '\u{130}']) {
        causes.insert("letters");
        text = text.replace('\u{17f}', "\u{250}").replace('\u{212a}', "k").replace('\u{130}', "i\u{307}");
    }
    let trimmed = text.trim_end_matches(' ');
    if trimmed.len() < text.len() && !is_regex {
        causes.insert("blanks");
        return vec![trimmed.into(), text.into()];
    }
    vec![text.into()]
}

/// Whether the rule compares fields of which the event has several values: we take any pair, rsigma
/// none.
pub fn compares_lists(event: &Event<'_>, plot: &Plot) -> bool {
    let several = |field: &str| {
        let of_name = event.fields.iter().filter(|(name, _)| normal_name(name) == normal_name(field));
        of_name.count() > 1
    };
    plot.leaves.iter().any(|item| match &item.test {
        Test::FieldRef { field, .. } => several(field) || item.field.as_deref().is_some_and(several),
        _ => false,
    })
}

/// The rule mended, if there is something to mend.
pub fn rule(rule: &SigmaRule, plot: &Plot, causes: &mut Causes) -> SigmaRule {
    let with_regex = plot.leaves.iter().filter(|item| matches!(item.test, Test::Regex(_)));
    let mut mender =
        Mender { with_regex: with_regex.filter_map(|item| item.field.clone()).collect(), causes };
    let mut mended = rule.clone();
    for search in mended.detection.named.values_mut() {
        *search = mender.detection(search);
    }
    mended
}

struct Mender<'c> {
    /// Fields that the rule also searches with expressions: of these, blanks cannot be left off in the
    /// event, so the other comparisons are told of them.
    with_regex: BTreeSet<String>,
    causes: &'c mut Causes,
}

impl Mender<'_> {
    fn detection(&mut self, given: &Detection) -> Detection {
        match given {
            Detection::AllOf(items) => Detection::And(items.iter().map(|given| self.item(given)).collect()),
            Detection::AnyOf(list) => Detection::AnyOf(list.iter().map(|d| self.detection(d)).collect()),
            Detection::And(list) => Detection::And(list.iter().map(|d| self.detection(d)).collect()),
            Detection::Keywords(values) => self.keywords(values, false),
            other => other.clone(),
        }
    }

    fn item(&mut self, given: &DetectionItem) -> Detection {
        let one = |item: DetectionItem| Detection::AllOf(vec![item]);
        let modifiers = &given.field.modifiers;
        let has = |modifier| modifiers.contains(&modifier);
        if given.field.name.is_none() {
            return self.keywords(&given.values, has(Modifier::All));
        }
        const COMPARISONS: [Modifier; 9] = [
            Modifier::Re,
            Modifier::Cidr,
            Modifier::Exists,
            Modifier::FieldRef,
            Modifier::Gt,
            Modifier::Gte,
            Modifier::Lt,
            Modifier::Lte,
            Modifier::Base64,
        ];
        if COMPARISONS.into_iter().any(has) {
            return one(given.clone());
        }
        if has(Modifier::Base64Offset) {
            self.causes.insert("base64offset");
            return one(base64_pieces(given));
        }
        let windash = has(Modifier::WindAsh);
        let wild =
            given.values.iter().any(|value| matches!(value, SigmaValue::String(s) if s.as_plain().is_none()));
        let literal = given.values.iter().any(|value| {
            matches!(value, SigmaValue::Integer(_) | SigmaValue::Float(_) | SigmaValue::Bool(_))
        });
        let to_the_end = !has(Modifier::Contains) && !has(Modifier::StartsWith);
        let blanks =
            to_the_end && given.field.name.as_ref().is_some_and(|name| self.with_regex.contains(name));
        if !windash && !wild && !literal && !blanks || given.values.contains(&SigmaValue::Null) {
            return one(given.clone());
        }
        for (applies, cause) in
            [(windash, "windash"), (wild, "wildcards"), (literal, "literals"), (blanks, "blanks")]
        {
            if applies {
                self.causes.insert(cause);
            }
        }
        let mut kept = vec![Modifier::Re, Modifier::DotAll];
        if !has(Modifier::Cased) {
            kept.push(Modifier::IgnoreCase);
        }
        kept.extend([Modifier::All, Modifier::Neq].into_iter().filter(|modifier| has(*modifier)));
        let (start, end) = match (has(Modifier::Contains), has(Modifier::StartsWith), has(Modifier::EndsWith))
        {
            (true, _, _) => ("", ""),
            (_, true, _) => ("^", ""),
            (_, _, true) if blanks => ("", " *$"),
            (_, _, true) => ("", "$"),
            _ if blanks => ("^", " *$"),
            _ => ("^", "$"),
        };
        let values =
            given.values.iter().map(|value| text(format!("{start}(?:{}){end}", expression(value, windash))));
        one(DetectionItem { field: FieldSpec::new(given.field.name.clone(), kept), values: values.collect() })
    }

    /// Keywords as expressions, each by itself.
    fn keywords(&mut self, values: &[SigmaValue], all: bool) -> Detection {
        self.causes.insert("keywords");
        let each = values.iter().map(|value| {
            let field = FieldSpec::new(None, vec![Modifier::Re, Modifier::IgnoreCase, Modifier::DotAll]);
            Detection::AllOf(vec![DetectionItem { field, values: vec![text(expression(value, false))] }])
        });
        if all { Detection::And(each.collect()) } else { Detection::AnyOf(each.collect()) }
    }
}

fn text(plain: String) -> SigmaValue {
    SigmaValue::String(SigmaString { parts: vec![StringPart::Plain(plain.clone())], original: plain })
}

/// A value as a regular expression.
fn expression(value: &SigmaValue, windash: bool) -> String {
    let SigmaValue::String(value) = value else { return regex_syntax::escape(&plain(value)) };
    let mut expression = String::new();
    for part in &value.parts {
        match part {
            StringPart::Plain(text) if windash => dashes(text, &mut expression),
            StringPart::Plain(text) => expression.push_str(&regex_syntax::escape(text)),
            StringPart::Special(SpecialChar::WildcardMulti) => expression.push_str(".*"),
            StringPart::Special(SpecialChar::WildcardSingle) => expression.push('.'),
        }
    }
    expression
}

fn plain(value: &SigmaValue) -> String {
    match value {
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(truth) => truth.to_string(),
        SigmaValue::String(text) => text.original.clone(),
        SigmaValue::Null => String::new(),
    }
}

/// A dash or slash that has no word before it and one behind it stands for every dash.
fn dashes(text: &str, expression: &mut String) {
    let word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        if matches!(c, '-' | '/') && !word(before) && word(chars.get(at + 1)) {
            expression.push('[');
            DASHES.iter().for_each(|dash| expression.push_str(&regex_syntax::escape(&dash.to_string())));
            expression.push(']');
        } else {
            expression.push_str(&regex_syntax::escape(&c.to_string()));
        }
    }
}

/// `|base64offset` as the pieces of base64 that are the same whatever stands around.
fn base64_pieces(given: &DetectionItem) -> DetectionItem {
    use base64::Engine as _;
    let has = |modifier| given.field.modifiers.contains(&modifier);
    let mut values = Vec::new();
    for value in &given.values {
        let plain = plain(value);
        let bytes: Vec<u8> = match has(Modifier::Wide) {
            true => plain.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            false => plain.into_bytes(),
        };
        for shift in 0..3 {
            let bits = bytes.len() * 8;
            let encoded =
                base64::engine::general_purpose::STANDARD.encode([&[0; 2][..shift], &bytes].concat());
            // Six bits a letter: only letters made of nothing but bits of the value are kept.
            let (first, last) = ((shift * 8).div_ceil(6), (shift * 8 + bits) / 6);
            values.push(text(encoded[first..last].to_owned()));
        }
    }
    let kept = [Modifier::Contains, Modifier::StartsWith, Modifier::EndsWith, Modifier::All, Modifier::Cased];
    let kept = kept.into_iter().filter(|modifier| has(*modifier)).collect();
    DetectionItem { field: FieldSpec::new(given.field.name.clone(), kept), values }
}

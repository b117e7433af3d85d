//! Steps of [`super::derive`] that bring parts of documents into another form: an object as text,
//! text as an object, a list of names and values as fields, several values as one.
//!
//! Field names are compared without letter case here: the same document comes as
//! `targetResources` from one API and as `TargetResources` from another.

use super::buffers::{Arena, concat, keep};
use super::event::Event;
use super::json::{Flat, LEAVES_MAX};
use crate::value::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Longest text made of an object or of several values, bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest name that becomes part of a field's name, bytes.
const NAME_BYTES_MAX: usize = 128;
/// An object of a list has no more fields than this as a text of its own.
const ELEMENT_FIELDS_MAX: usize = 64;

/// The rest of `name` below `path`: `b.c` for `a.b.c` below `a`.
fn below<'n>(name: &'n str, path: &str) -> Option<&'n str> {
    let (start, rest) = (name.get(..path.len())?, name.get(path.len()..)?);
    if !start.eq_ignore_ascii_case(path) {
        return None;
    }
    rest.strip_prefix('.')
}

/// A value as JSON writes it.
fn json_text(value: &Value<'_>) -> String {
    match value {
        Value::Str(text) => serde_json::Value::from(text.as_ref()).to_string(),
        value => value.text().map_or_else(|| "null".to_owned(), Cow::into_owned),
    }
}

/// Writes the fields below `from` as one JSON text, as far as flat fields still tell: objects of a
/// list follow each other as `{…},{…}`, other elements as `a,b`. Texts that JSON writes with escapes
/// (a policy inside a text) are given as they are as well.
pub(super) fn object<'a>(from: &str, into: &'a str, event: &mut Event<'a>) {
    let mut all = String::new();
    let mut open: Vec<&str> = vec![];
    let mut seen: Vec<&str> = vec![];
    let mut plain: Vec<String> = vec![];
    for (name, value) in &event.fields {
        let Some(rest) = below(name, from) else { continue };
        let (path, key) = rest.rsplit_once('.').map_or((None, rest), |(path, key)| (Some(path), key));
        let path: Vec<&str> = path.map(|path| path.split('.').collect()).unwrap_or_default();
        let same = path.iter().zip(&open).take_while(|(a, b)| a == b).count();
        let is_same_object = same == open.len() && same == path.len();
        let text = value;
        let value = json_text(value);
        if all.len() + rest.len() + value.len() + 8 * path.len() > TEXT_BYTES_MAX {
            break;
        }
        if let Value::Str(text) = text
            && value.len() > text.len() + 2
        {
            plain.push(text.clone().into_owned());
        }
        if all.is_empty() {
            all.push('{');
        } else if !is_same_object {
            all.extend(std::iter::repeat_n('}', open.len() - same));
            all.push(',');
            seen.clear();
        } else if seen.last() == Some(&key) {
            // The next element of a list.
            all.push(',');
            all.push_str(&value);
            continue;
        } else if seen.contains(&key) {
            all.push_str("},{");
            seen.clear();
        } else {
            all.push(',');
        }
        for segment in &path[same..] {
            all.push_str(&serde_json::Value::from(*segment).to_string());
            all.push_str(":{");
        }
        open = path;
        all.push_str(&serde_json::Value::from(key).to_string());
        all.push(':');
        all.push_str(&value);
        // Beyond, a repeated key is not seen as the next object of a list; the text has it anyway.
        if seen.len() < ELEMENT_FIELDS_MAX {
            seen.push(key);
        }
    }
    if !all.is_empty() {
        all.extend(std::iter::repeat_n('}', open.len() + 1));
        event.push(into, all);
    }
    for text in plain {
        event.push(into, text);
    }
}

/// Writes each object of the list `from` as one text without braces.
pub(super) fn elements<'a>(from: &str, into: &'a str, event: &mut Event<'a>) {
    let mut texts: Vec<String> = vec![];
    let mut seen: Vec<&str> = vec![];
    let mut bytes = 0;
    for (name, value) in &event.fields {
        let Some(key) = below(name, from).filter(|key| !key.contains('.')) else { continue };
        let field = format!("{}:{}", serde_json::Value::from(key), json_text(value));
        bytes += field.len();
        if bytes > TEXT_BYTES_MAX {
            break;
        }
        match texts.last_mut() {
            Some(text) if !seen.contains(&key) && seen.len() < ELEMENT_FIELDS_MAX => {
                text.push(',');
                text.push_str(&field);
            }
            _ => {
                seen.clear();
                texts.push(field);
            }
        }
        seen.push(key);
    }
    for text in texts {
        event.push(into, text);
    }
}

/// Reads the JSON text in the fields of these names; what it holds gets their names as prefix.
pub(super) fn json<'a>(from: &[String], event: &mut Event<'a>, arena: &'a Arena) {
    let mut read = Flat::new(arena);
    let mut fields = vec![];
    for (name, value) in &event.fields {
        if !from.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
            continue;
        }
        let Value::Str(text) = value else { continue };
        if !text.trim_start().starts_with(['{', '[']) {
            continue;
        }
        read.clear();
        // What is broken stays the text that it is.
        if read.read(keep(arena, name.clone()), keep(arena, text.clone())).is_err() {
            continue;
        }
        let room = LEAVES_MAX.saturating_sub(event.fields.len() + fields.len());
        read.leaves.truncate(room);
        for leaf in std::mem::take(&mut read.leaves) {
            fields.push((Cow::Borrowed(read.name(&leaf)), leaf.value));
        }
    }
    event.fields.extend(fields);
}

/// Renames the fields of the table, and those below them.
pub(super) fn rename<'a>(table: &'a BTreeMap<String, String>, event: &mut Event<'a>, arena: &'a Arena) {
    for (name, _) in &mut event.fields {
        // Backwards, a path comes before those that it lies below.
        let new = table.iter().rev().find_map(|(from, into)| match below(name, from) {
            Some(rest) => Some(concat(arena, &[into, ".", rest])),
            None => name.eq_ignore_ascii_case(from).then_some(into.as_str()),
        });
        if let Some(new) = new {
            *name = Cow::Borrowed(new);
        }
    }
}

/// Makes fields of a list of names and values. A value that is itself a JSON text (`"\"False\""`)
/// is given without its quotes as well.
pub(super) fn pairs(names: &str, values: &str, into: &str, event: &mut Event<'_>) {
    let mut found: Vec<(String, Value<'static>)> = vec![];
    let mut current: Option<String> = None;
    for (name, value) in &event.fields {
        if found.len() >= LEAVES_MAX {
            break;
        }
        if name.eq_ignore_ascii_case(names) {
            current = value.text().filter(|t| t.len() <= NAME_BYTES_MAX).map(|t| format!("{into}.{t}"));
        } else if let (true, Some(current)) = (name.eq_ignore_ascii_case(values), &current) {
            if let Value::Str(text) = value
                && let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'))
            {
                found.push((current.clone(), Value::from(inner.to_owned())));
            }
            found.push((current.clone(), value.clone().into_owned()));
        }
    }
    for (name, value) in found {
        event.push(name, value);
    }
}

/// Writes all values of the fields as one text, behind `prefix`.
pub(super) fn join<'a>(from: &[String], into: &'a str, with: &str, prefix: &str, event: &mut Event<'a>) {
    let mut all = prefix.to_owned();
    for (index, wanted) in from.iter().enumerate() {
        let mut is_there = false;
        for (name, value) in &event.fields {
            if !name.eq_ignore_ascii_case(wanted) {
                continue;
            }
            let text = value.text().unwrap_or_default();
            if all.len() + text.len() > TEXT_BYTES_MAX {
                break;
            }
            if is_there || index > 0 {
                all.push_str(with);
            }
            is_there = true;
            all.push_str(&text);
        }
        if index == 0 && !is_there {
            return;
        }
    }
    event.push(into, all);
}

/// Copies the values of the first of the fields that is there.
pub(super) fn first<'a>(from: &[String], into: &'a str, event: &mut Event<'a>) {
    for wanted in from {
        let values = event
            .fields
            .iter()
            .filter(|(name, value)| name.eq_ignore_ascii_case(wanted) && !matches!(value, Value::Null));
        let values: Vec<_> = values.map(|(_, value)| value.clone()).collect();
        if !values.is_empty() {
            for value in values {
                event.push(into, value);
            }
            return;
        }
    }
}

/// Adds a fixed value where there is neither this field nor any below it.
pub(super) fn default<'a>(from: &str, into: &'a str, value: &'a str, event: &mut Event<'a>) {
    let is_there = |name: &str| name.eq_ignore_ascii_case(from) || below(name, from).is_some();
    if !event.fields.iter().any(|(name, _)| is_there(name)) {
        event.push(into, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(json: &'a str, arena: &'a Arena) -> Event<'a> {
        let mut flat = Flat::new(arena);
        flat.read("", json).unwrap();
        let mut event = Event::default();
        super::super::line::push_leaves(&mut flat, &mut event);
        event
    }

    fn added(document: &str, step: impl for<'a> Fn(&mut Event<'a>, &'a Arena)) -> Vec<String> {
        let arena = Arena::new();
        let mut event = event(document, &arena);
        let before = event.fields.len();
        step(&mut event, &arena);
        let new = event.fields.iter().skip(before);
        new.map(|(name, value)| format!("{name}={}", value.text().unwrap_or_default())).collect()
    }

    #[test]
    fn an_object_is_written_as_it_was() {
        let document = r#"{"r":{"a":1,"b":{"c":"Al\"low","d":null},"e":{"f":true}},"ra":3}"#;
        let text = r#"o={"a":1,"b":{"c":"Al\"low","d":null},"e":{"f":true}}"#;
        assert_eq!(added(document, |e, _| object("R", "o", e)), [text, "o=Al\"low"]);
        assert!(added(r#"{"r":1}"#, |e, _| object("r", "o", e)).is_empty());
    }

    #[test]
    fn lists_keep_their_objects_and_elements_apart() {
        let document = r#"{"p":[{"n":"a","v":"1"},{"n":"b","v":"2"}],"l":{"s":["x","y"]}}"#;
        assert_eq!(added(document, |e, _| object("p", "o", e)), [r#"o={"n":"a","v":"1"},{"n":"b","v":"2"}"#]);
        assert_eq!(added(document, |e, _| object("l", "o", e)), [r#"o={"s":"x","y"}"#]);
        assert_eq!(
            added(document, |e, _| elements("P", "o", e)),
            [r#"o="n":"a","v":"1""#, r#"o="n":"b","v":"2""#]
        );
    }

    #[test]
    fn json_in_a_text_is_read() {
        let document = r#"{"T":"[{\"a\":{\"b\":1}},{\"c\":[2]}]","u":"{broken","v":"[1,2]"}"#;
        let names: Vec<String> = ["t", "u", "v"].map(String::from).to_vec();
        assert_eq!(added(document, |e, arena| json(&names, e, arena)), ["T.a.b=1", "T.c=2", "v=1", "v=2"]);
    }

    #[test]
    fn a_renamed_object_takes_its_fields_along() {
        let table = [("x", "w"), ("x.Y", "a"), ("z", "b.c")].map(|(from, into)| (from.into(), into.into()));
        let (arena, table) = (Arena::new(), table.into());
        let mut event = event(r#"{"x":{"y":{"k":1},"yy":2},"Z":3}"#, &arena);
        rename(&table, &mut event, &arena);
        let names: Vec<_> = event.fields.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["a.k", "w.yy", "b.c"]);
    }

    #[test]
    fn names_with_values_become_fields() {
        let document = r#"{"P":[{"Name":"x y","Value":"\"False\""},{"Name":"z"},{"Value":1}]}"#;
        let found = added(document, |e, _| pairs("p.name", "p.value", "q", e));
        assert_eq!(found, ["q.x y=False", r#"q.x y="False""#, "q.z=1"]);
    }

    #[test]
    fn values_are_joined_in_order() {
        let document = r#"{"d":"/tmp","f":"x","a":["ls","-l",1]}"#;
        let step = |names: &[&str], with: &str| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            added(document, |e, _| join(&names, "o", with, "", e))
        };
        assert_eq!(step(&["a"], " "), ["o=ls -l 1"]);
        assert_eq!(step(&["D", "f"], "/"), ["o=/tmp/x"]);
        assert!(step(&["none", "f"], "/").is_empty());
        let names = ["f".to_owned()];
        assert_eq!(added(document, |e, _| join(&names, "o", " ", "v1.", e)), ["o=v1.x"]);
    }

    #[test]
    fn the_first_field_counts_and_a_missing_one_is_replaced() {
        let names: Vec<String> = ["n", "B"].map(String::from).to_vec();
        assert_eq!(added(r#"{"n":null,"b":[1,2]}"#, |e, _| first(&names, "o", e)), ["o=1", "o=2"]);
        assert_eq!(added(r#"{"a":{"b":1}}"#, |e, _| default("a", "o", "[]", e)), [""; 0]);
        assert_eq!(added(r#"{"a":[]}"#, |e, _| default("a", "o", "[]", e)), ["o=[]"]);
    }
}

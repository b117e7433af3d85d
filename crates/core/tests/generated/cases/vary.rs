//! One change to an event: what a log source, an attacker or a bug might do to a value.

use super::text::{character, filling, shuffle_case};
use super::{Plot, Random};
use otel_log_ai_core::otel::Event;
use otel_log_ai_core::rule::DASHES;
use otel_log_ai_core::value::Value;

/// The event with one thing changed.
pub fn vary(event: &Event<'static>, plot: &Plot, random: &mut Random) -> Event<'static> {
    let mut event = event.clone();
    if event.fields.is_empty() || (!event.texts.is_empty() && random.chance(30)) {
        vary_texts(&mut event, random);
        return event;
    }
    let at = random.below(event.fields.len());
    let name = event.fields[at].0.clone();
    match random.below(14) {
        0 => {
            event.fields.remove(at);
        }
        1 => event.fields[at].1 = Value::from(""),
        2 => event.fields[at].1 = Value::Null,
        3 => {
            let place = random.below(event.fields.len() + 1);
            event.fields.insert(place, (name, filling(random).into()));
        }
        4 => {
            let other = random.below(event.fields.len());
            let value = event.fields[other].1.clone();
            event.fields[at].1 = value;
        }
        5 => {
            if let Some(other) = plot.other_value(&name, random) {
                event.fields[at].1 = other.into();
            }
        }
        6 => event.fields[at].1 = retyped(&event.fields[at].1, random),
        _ => {
            if let Some(text) = event.fields[at].1.text() {
                event.fields[at].1 = changed(&text, random).into();
            }
        }
    }
    event
}

fn vary_texts(event: &mut Event<'static>, random: &mut Random) {
    if event.texts.is_empty() {
        event.texts.push(filling(random).into());
        return;
    }
    let at = random.below(event.texts.len());
    match random.below(5) {
        0 => {
            event.texts.remove(at);
        }
        1 => event.texts.push(filling(random).into()),
        _ => event.texts[at] = changed(&event.texts[at], random).into(),
    }
}

/// The same number in another form, or one beside it.
fn retyped(value: &Value<'static>, random: &mut Random) -> Value<'static> {
    let Some(number) = value.number() else {
        return match value {
            Value::Bool(truth) => Value::from(if *truth { "True" } else { "false" }),
            other => other.clone(),
        };
    };
    match random.below(6) {
        0 => Value::Float(number),
        1 => Value::Int(number as i64),
        2 => Value::Float(number + 1.0),
        3 => Value::Int((number as i64).saturating_sub(1)),
        4 => format!("{number}.0").into(),
        _ => format!(" {number}").into(),
    }
}

/// Letters that lower, or fold in an expression, to an ASCII letter without being its upper case.
const TWINS: [(char, char); 3] = [('k', '\u{212a}'), ('s', '\u{17f}'), ('i', '\u{130}')];

/// The text with one change.
fn changed(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = random.below(chars.len());
    let long = "lorem C:\\Windows\\ -x /y ";
    match random.below(17) {
        0..=2 if !chars.is_empty() => chars[at] = character(random),
        3 if !chars.is_empty() => {
            chars.remove(at);
        }
        4 => chars.insert(at, character(random)),
        5 => chars.insert(at, '\n'),
        6 if !chars.is_empty() => chars.truncate(chars.len() - 1),
        7 if !chars.is_empty() => {
            chars.remove(0);
        }
        8 => return format!("{text}{}", " ".repeat(1 + random.below(3))),
        9 => return format!(" {text}"),
        10 => return shuffle_case(text, random),
        11 => return format!("{text}{}{text}", filling(random)),
        12 => return format!("{}{text}", long.repeat(random.below(40))),
        13 => return format!("{text}{}", long.repeat(random.below(40))),
        14 => {
            let dash = |c: &&mut char| DASHES.contains(c);
            if let Some(c) = chars.iter_mut().filter(dash).nth(random.below(3)) {
                *c = *random.pick(&DASHES);
            }
        }
        15 => {
            let twin = *random.pick(&TWINS);
            if let Some(c) = chars.iter_mut().find(|c| c.eq_ignore_ascii_case(&twin.0)) {
                *c = twin.1;
            }
        }
        _ if random.chance(50) => return text.replace("\\\\", "\\"),
        _ => return text.replace('\\', "\\\\"),
    }
    chars.into_iter().collect()
}
